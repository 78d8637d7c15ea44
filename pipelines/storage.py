"""The one door to filesystems: functions on URI strings, local or remote, through `pyarrow.fs` and fsspec.

`/data/a.parquet`, `file:///data/a.parquet`, `s3://bucket/key`, `gs://bucket/key`, `hf://datasets/owner/name/a.parquet`
and any other scheme fsspec knows all work, as input and as root. Nothing here needs a rename on an object store.

Writing is all or nothing: a local file is written under a temporary name beside its target and renamed into place;
an object is spooled and put when it is complete. A reader therefore never sees half a file, and what a killed process
leaves behind starts with `.tmp-`, is left out of every listing, and goes with `clean_temporaries`.

Errors: reading something that is not there raises InputError; a root that cannot be read or written, or a full disk,
raises StorageError. Both name the path and the cure.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, BinaryIO
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from pipelines.errors import ConfigError, InputError, StorageError
from pipelines.storage_errors import OUTPUT_ERRNOS, cannot_write, missing, output_errors, reading, writing

TEMPORARY_PREFIX = ".tmp-"

SPOOL_BYTES = 64 << 20
"""An object up to this size is kept in memory until it is put; a larger one goes through a temporary file."""

BATCH_ROWS = 1024

OTHERS_SECONDS = 3600
"""A temporary of another machine is left alone for this long: a shard takes minutes."""


# --- URIs -------------------------------------------------------------------------------------------------------------


def scheme_of(uri: str) -> str:
    """`s3://bucket/key` -> `s3`; a plain path -> `file`. `gcs` and `gs` are one."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", uri)
    scheme = match[1].lower() if match else "file"
    return "gs" if scheme == "gcs" else scheme


def is_local(uri: str) -> bool:
    """Whether `uri` lies on a mounted filesystem."""
    return scheme_of(uri) == "file"


def join(uri: str, *parts: str) -> str:
    """`join("s3://b/root/", "kept", "a.parquet") -> "s3://b/root/kept/a.parquet"`; empty parts are left out."""
    base = uri if uri.endswith("://") else uri.rstrip("/") or uri[:1]
    for part in parts:
        if clean := part.strip("/"):
            base = base + clean if base.endswith("/") else f"{base}/{clean}"
    return base


def basename(uri: str) -> str:
    """The last part of the path: `basename("s3://b/a/c.gz") -> "c.gz"`."""
    return uri.rstrip("/").rsplit("/", 1)[-1]


def parent(uri: str) -> str:
    """All but the last part of the path; of a bare name, the folder `.`."""
    head, slash, _ = uri.rstrip("/").rpartition("/")
    return head or (slash or ".")


def path_of(uri: str) -> str:
    """The path as the filesystem of `uri` wants it: without a scheme, `~` expanded, `%20` of a `file://` decoded."""
    if scheme_of(uri) != "file":
        return uri.split("://", 1)[1].rstrip("/")
    if "://" in uri:
        return unquote(re.sub(r"^[^/]*://(localhost)?", "", uri))
    return os.path.expanduser(uri)


def resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem that holds `uri`, made once per process and configuration, and the path in it.

    S3 takes `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, `AWS_REGION` or `AWS_DEFAULT_REGION`, and the usual chain of
    credentials; `gs://` the application default credentials; `hf://` `HF_TOKEN`.
    """
    scheme = scheme_of(uri)
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID")
    settings = tuple(os.environ.get(name, "") for name in names) if scheme == "s3" else ()
    return _filesystem(scheme, settings), path_of(uri)


@cache
def _filesystem(scheme: str, settings: tuple[str, ...]) -> pafs.FileSystem:
    if scheme == "file":
        return pafs.LocalFileSystem()
    if scheme == "s3":
        s3_endpoint, endpoint, region, default_region, _ = settings
        options: dict[str, Any] = {"connect_timeout": 20, "request_timeout": 60}
        if chosen := s3_endpoint or endpoint:
            options["endpoint_override"] = chosen
            options["region"] = region or default_region or "us-east-1"
        elif region or default_region:
            options["region"] = region or default_region
        return pafs.S3FileSystem(**options)
    if scheme == "gs":
        return pafs.GcsFileSystem()
    try:
        return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem(scheme)))
    except (ValueError, ImportError) as error:
        raise InputError(
            f"cannot use {scheme}:// ({error}); use a plain path, file://, s3://, gs://, hf:// or what fsspec opens"
        ) from error


# --- asking -----------------------------------------------------------------------------------------------------------


def file_info(uri: str) -> pafs.FileInfo:
    """Type and size of what lies at `uri` (`FileType.NotFound` where nothing does)."""
    fs, path = resolve(uri)
    with reading(uri):
        return fs.get_file_info(path)


def exists(uri: str) -> bool:
    """Whether a file or folder lies at `uri`."""
    return bool(file_info(uri).type != pafs.FileType.NotFound)


def is_directory(uri: str) -> bool:
    """Whether `uri` is a folder, or a prefix with objects under it."""
    return bool(file_info(uri).type == pafs.FileType.Directory)


def size(uri: str) -> int:
    """Bytes of the file at `uri`; InputError where there is none."""
    info = file_info(uri)
    if info.type != pafs.FileType.File:
        raise missing(uri, "is not a file" if info.type == pafs.FileType.Directory else "does not exist")
    return int(info.size)


def list_files(uri: str, *, recursive: bool = True) -> tuple[str, ...]:
    """URIs of the files under the folder `uri`, sorted; () where there is no such folder. Temporaries are left out."""
    return tuple(found for found in _walk(uri, recursive=recursive) if not basename(found).startswith(TEMPORARY_PREFIX))


def sizes_under(uri: str) -> dict[str, int]:
    """`{path below the folder: bytes}` of every file under `uri`, in one listing."""
    fs, path = resolve(uri)
    with reading(uri):
        found = fs.get_file_info(pafs.FileSelector(path or ".", recursive=True, allow_not_found=True))
    base = path.rstrip("/") + "/"
    return {info.path.removeprefix(base): int(info.size) for info in found if info.type == pafs.FileType.File}


def list_directories(uri: str) -> tuple[str, ...]:
    """URIs of the folders directly under `uri`, sorted; () where there is no such folder."""
    fs, path = resolve(uri)
    with reading(uri):
        found = fs.get_file_info(pafs.FileSelector(path or ".", allow_not_found=True))
    return tuple(sorted(_uri_of(uri, info.path) for info in found if info.type == pafs.FileType.Directory))


def _walk(uri: str, *, recursive: bool) -> list[str]:
    fs, path = resolve(uri)
    with reading(uri):
        found = fs.get_file_info(pafs.FileSelector(path or ".", recursive=recursive, allow_not_found=True))
    return sorted(_uri_of(uri, info.path) for info in found if info.type == pafs.FileType.File)


def _uri_of(asked: str, path: str) -> str:
    scheme = scheme_of(asked)
    return path if scheme == "file" else f"{scheme}://{path.lstrip('/')}"


# --- reading ----------------------------------------------------------------------------------------------------------


def open_input(uri: str) -> pa.NativeFile:
    """A seekable binary file; a context manager. InputError where nothing lies there."""
    fs, path = resolve(uri)
    with reading(uri):
        return fs.open_input_file(path)


def read_bytes(uri: str) -> bytes:
    """The whole content of a small file."""
    with reading(uri), open_input(uri) as file:
        return bytes(file.read())


def sha256_and_size(uri: str) -> tuple[str, int]:
    """sha256 (64 hex digits) and number of bytes of the content, read once in blocks."""
    digest, read = hashlib.sha256(), 0
    with reading(uri), open_input(uri) as file:
        while block := file.read(8 << 20):
            digest.update(block)
            read += len(block)
    return digest.hexdigest(), read


def sha256(uri: str) -> str:
    """sha256 (64 hex digits) of the content."""
    return sha256_and_size(uri)[0]


def read_batches(
    uri: str, columns: Sequence[str] | None = None, *, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Stream a Parquet file in batches of at most `batch_rows`, with `columns` in the order asked.

    A file without rows gives no batch. InputError names a column that is not there.
    """
    with open_input(uri) as file, reading(uri):
        parquet, schema = _parquet(uri, file, columns)
        for batch in parquet.iter_batches(batch_size=batch_rows, columns=None if columns is None else list(columns)):
            chosen = batch if columns is None else batch.select(list(columns))
            yield chosen if chosen.schema.equals(schema) else chosen.cast(schema)


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole Parquet file as a table, with `columns` in the order asked."""
    with open_input(uri) as file, reading(uri):
        parquet, schema = _parquet(uri, file, columns)
        table = parquet.read(columns=None if columns is None else list(columns), use_threads=False)
        return (table if columns is None else table.select(list(columns))).cast(schema)


def read_schema(uri: str) -> pa.Schema:
    """The Arrow schema of a Parquet file."""
    with open_input(uri) as file, reading(uri):
        return _parquet(uri, file, None)[1]


def _parquet(uri: str, file: pa.NativeFile, columns: Sequence[str] | None) -> tuple[pq.ParquetFile, pa.Schema]:
    """The open file, and the schema of `columns` as it was written.

    Parquet has no seconds and names list items its own way; what Arrow was given is in the file's metadata.
    """
    try:
        parquet = pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise InputError(f"{uri}: not a readable Parquet file ({error}); write or fetch it again") from error
    names = parquet.schema_arrow.names
    if absent := [name for name in columns or () if name not in names]:
        raise InputError(f"{uri}: no column {absent[0]!r}; the file has {names}")
    written = (parquet.metadata.metadata or {}).get(b"ARROW:schema")
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(written))) if written else parquet.schema_arrow
    schema = schema.remove_metadata()
    return parquet, schema if columns is None else pa.schema([schema.field(name) for name in columns])


# --- writing ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_output(uri: str, *, sync: bool = False) -> Iterator[BinaryIO]:
    """A binary file that appears at `uri`, whole, when the block ends, and not at all if the block raises.

    Folders are made as needed. `sync` flushes a local file to the disk before it takes its name. StorageError on a
    full disk, missing permission or a store that refuses.
    """
    fs, path = resolve(uri)
    writer = _local_output(path, sync=sync) if is_local(uri) else _object_output(fs, path)
    try:
        with writer as file:
            yield file
    except OSError as error:
        if getattr(error, "__eyas_output__", False) or error.errno in OUTPUT_ERRNOS:
            raise cannot_write(uri, error) from error
        raise


@contextlib.contextmanager
def _local_output(path: str, *, sync: bool) -> Iterator[BinaryIO]:
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, temporary_name(name[:100]))
    with output_errors():
        os.makedirs(folder or ".", exist_ok=True)
        file = pa.OSFile(temporary, "wb")
    try:
        yield file
        with output_errors():
            file.close()
            if sync:
                _flush_to_disk(temporary)
            os.replace(temporary, path)
            if sync:
                _flush_to_disk(folder or ".")
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _flush_to_disk(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _object_output(fs: pafs.FileSystem, path: str) -> Iterator[BinaryIO]:
    # Closing an Arrow output stream publishes what was written so far, and it cannot be aborted: so spool, then put.
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        yield spool  # type: ignore[misc]
        with output_errors():
            spool.seek(0)
            # Arrow would compress a second time by suffix.
            stream = fs.open_output_stream(path, compression=None)
            try:
                shutil.copyfileobj(spool, stream, 8 << 20)
                stream.close()
            except BaseException:
                with contextlib.suppress(OSError):
                    stream.close()
                with contextlib.suppress(OSError):
                    fs.delete_file(path)
                raise


def write_bytes(uri: str, content: bytes | memoryview, *, sync: bool = False) -> None:
    """Write a whole file in one put."""
    with open_output(uri, sync=sync) as file:
        file.write(content)


def write_table(uri: str, table: pa.Table) -> None:
    """Write `table` as one Parquet file (zstd)."""
    with open_output(uri) as file:
        pq.write_table(table, file, compression="zstd")


def check_writable(root: str) -> None:
    """Put, read back and delete a small file under `root`. StorageError names the root and the cure.

    Raises ConfigError for an empty root, which is an unset variable more often than the root of the filesystem.
    """
    if not root.strip():
        raise ConfigError("the root is empty; name a folder or a URI")
    probe = join(root, temporary_name("probe"))
    try:
        clean_temporaries(root, recursive=False)
        write_bytes(probe, b"eyas")
        found = read_bytes(probe)
        delete_file(probe)
    except (StorageError, InputError, OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot write the root {root}: {error}") from error
    if found != b"eyas":
        raise StorageError(f"cannot write the root {root}: read back {found!r}; check the mount or bucket")


# --- deleting ---------------------------------------------------------------------------------------------------------


def delete_file(uri: str) -> None:
    """Delete one file; nothing happens where there is none."""
    fs, path = resolve(uri)
    if exists(uri):
        with writing(uri), contextlib.suppress(FileNotFoundError):
            fs.delete_file(path)


def delete_dir(uri: str) -> None:
    """Delete a folder with all it holds; nothing happens where there is none."""
    fs, path = resolve(uri)
    if not path.strip("/"):
        raise StorageError(f"refusing to delete {uri!r}: it is the root of a filesystem")
    if is_directory(uri):
        with writing(uri), contextlib.suppress(FileNotFoundError):
            fs.delete_dir(path)


def temporary_name(name: str) -> str:
    """A name for a file that is to be gone soon. It tells whose it is, so that `clean_temporaries` knows when to delete it."""
    return f"{TEMPORARY_PREFIX}{_machine()}-{os.getpid()}-{secrets.token_hex(8)}-{name}"


@cache
def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _may_be_written(temporary: str) -> bool:
    """Whether the process that a temporary's name tells of may still be writing it."""
    words = basename(temporary).removeprefix(TEMPORARY_PREFIX).split("-")
    if len(words) >= 3 and words[0] == _machine() and words[1].isdecimal():
        process = int(words[1])
        return process != os.getpid() and os.path.exists(f"/proc/{process}")
    changed = file_info(temporary).mtime_ns
    return changed is not None and time.time() - changed / 1e9 < OTHERS_SECONDS


def clean_temporaries(uri: str, *, recursive: bool = True) -> int:
    """Delete what killed processes left in the folder `uri`, and below; returns how many files that were.

    A file stays while the process named in it lives; of another machine's processes nothing is known, so theirs stay
    for an hour.
    """
    left = [found for found in _walk(uri, recursive=recursive) if basename(found).startswith(TEMPORARY_PREFIX)]
    left = [found for found in left if not _may_be_written(found)]
    for found in left:
        delete_file(found)
    return len(left)
