"""One shard of work: its files streamed out, then one small JSON put that commits them all.

`counts/<shard>.json` is the commit. It is written last, names every other file of the shard with rows, bytes, sha256 and
content hash, and holds the counts that the work returned. A shard without it, or with a file of another size, never
happened; running it again writes the same bytes. Nothing here renames across a store, so object stores work too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.content_hash import ContentHash
from pipelines.errors import StageError

COUNTS_FORMAT = 1
ROW_GROUP_BYTES = 32 << 20
"""Batches are gathered into row groups of about this many bytes: memory of a writer, and what a reader streams."""


class Shard(Protocol):
    """Any picklable value with a `name` that is unique in its pass and safe in a path."""

    @property
    def name(self) -> str:
        """Unique in its pass."""
        ...


@dataclass(frozen=True, kw_only=True)
class PartShard:
    """One Parquet file of a built artifact."""

    name: str
    uri: str


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What a commit says of one file: its path below the pass's directory, and what is in it."""

    path: str
    rows: int
    bytes: int
    sha256: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Committed:
    """A finished shard of a pass in `directory`: its name, the counts its work returned, its files."""

    directory: str
    shard: str
    counts: dict[str, Any]
    files: tuple[FileRecord, ...]

    def path(self, kind: str, suffix: str = ".parquet") -> str:
        """URI of this shard's file of `kind`."""
        return storage.join(self.directory, kind, self.shard + suffix)


Work = Callable[[Any, "ShardOutput"], Mapping[str, Any]]


class _HashingFile:
    """A binary file that hashes what passes through; what `ShardOutput.open` hands out."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.digest = hashlib.sha256()
        self.bytes = 0
        self.closed = False
        self.abandoned = False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.abandoned:
            return len(view)
        self.digest.update(view)
        self.bytes += len(view)
        self._inner.write(view)
        return len(view)

    def flush(self) -> None:
        """Nothing is buffered here."""

    def tell(self) -> int:
        return self.bytes

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


class _ParquetStream:
    """Streams batches of one schema into one file, gathered into row groups."""

    def __init__(self, file: _HashingFile, schema: pa.Schema) -> None:
        self.schema = schema.remove_metadata()
        self.file = file
        self.rows = 0
        self.content = ContentHash(self.schema)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        plain = [f.name for f in self.schema if f.name in ("id", "text", "content", "locator", "url")]
        coded = [f.name for f in self.schema if f.name not in plain and not pa.types.is_floating(f.type)]
        self._writer = pq.ParquetWriter(
            pa.PythonFile(file, mode="w"), self.schema, compression="zstd", compression_level=1,
            use_dictionary=coded, write_statistics=[name for name in coded if not pa.types.is_nested(self.schema.field(name).type)],
            store_schema=True,
        )  # fmt: skip

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.schema.names != self.schema.names:
            if sorted(batch.schema.names) != sorted(self.schema.names):
                raise StageError(
                    f"a batch has the columns {batch.schema.names}, the ones before it had {self.schema.names}; "
                    "every batch of a shard has the same: declare what a stage adds in `adds`"
                )
            batch = batch.select(self.schema.names)
        if not batch.schema.equals(self.schema):
            batch = batch.cast(self.schema)
        self.content.update(batch)
        self.rows += batch.num_rows
        self._waiting.append(batch)
        self._waiting_bytes += batch.nbytes
        if self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting)
            self._waiting, self._waiting_bytes = [], 0
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def close(self) -> None:
        self._flush()
        self._writer.close()


class ShardOutput:
    """Where a shard's work writes. It commits nothing: `run_shard` does, after the work returned."""

    def __init__(self, directory: str, shard: str) -> None:
        self.directory = directory
        self.shard = shard
        self._stack = ExitStack()
        self._tables: dict[str, _ParquetStream] = {}
        self._files: dict[str, _HashingFile] = {}

    def write(self, kind: str, batch: pa.RecordBatch) -> None:
        """Append `batch` to `<kind>/<shard>.parquet`, whose schema is that of the first batch (or of `declare`)."""
        if kind not in self._tables:
            self.declare(kind, batch.schema)
        if batch.num_rows:
            self._tables[kind].write(batch)

    def declare(self, kind: str, schema: pa.Schema) -> None:
        """Make sure `<kind>/<shard>.parquet` will exist, with `schema`, even where no row comes."""
        if kind not in self._tables:
            self._tables[kind] = _ParquetStream(self._open(kind, ".parquet"), schema)

    def has(self, kind: str) -> bool:
        """Whether a table of `kind` was begun."""
        return kind in self._tables

    def open(self, kind: str, suffix: str) -> BinaryIO:
        """A binary file `<kind>/<shard><suffix>`, to write once from front to back. Closed with the shard."""
        return self._open(kind, suffix)  # type: ignore[return-value]

    def _open(self, kind: str, suffix: str) -> _HashingFile:
        path = f"{kind}/{self.shard}{suffix}"
        if path in self._files:
            raise ValueError(f"{path} is open already; a shard writes each of its files once")
        inner = self._stack.enter_context(storage.open_output(storage.join(self.directory, kind, self.shard + suffix)))
        self._files[path] = _HashingFile(inner)
        return self._files[path]

    def finish(self) -> tuple[FileRecord, ...]:
        """Close every file, in order of path, and say what is in each. Called by `run_shard`."""
        with self._stack:
            for stream in self._tables.values():
                stream.close()
        contents = {f"{kind}/{self.shard}.parquet": stream for kind, stream in self._tables.items()}
        records = []
        for path, file in sorted(self._files.items()):
            sha256 = file.digest.hexdigest()
            table = contents.get(path)
            rows, content = (table.rows, table.content.hexdigest()) if table else (0, sha256)
            records.append(FileRecord(path=path, rows=rows, bytes=file.bytes, sha256=sha256, content=content))
        return tuple(records)

    def abandon(self, error: BaseException) -> None:
        """Drop what was written: the outputs see the exception and remove themselves."""
        for file in self._files.values():
            file.abandoned = True
        for stream in self._tables.values():
            with suppress(OSError, pa.ArrowException):
                stream.close()
        self._stack.__exit__(type(error), error, error.__traceback__)


def run_shard(shard: Any, *, directory: str, work: Work, rehash: bool = False) -> Committed:
    """Run `work` on one shard and commit it, or return the commit that is there already. Idempotent."""
    done = read_commit(directory, shard.name, rehash=rehash)
    if done is not None:
        return done
    out = ShardOutput(directory, shard.name)
    try:
        counts = dict(work(shard, out))
        files = out.finish()
    except BaseException as error:
        out.abandon(error)
        raise
    commit = {"format": COUNTS_FORMAT, "shard": shard.name, "counts": counts, "files": [asdict(f) for f in files]}
    storage.write_bytes(_commit_uri(directory, shard.name), json.dumps(commit, sort_keys=True).encode())
    return Committed(directory=directory, shard=shard.name, counts=json.loads(json.dumps(counts)), files=files)


def read_commit(directory: str, shard: str, *, rehash: bool = False) -> Committed | None:
    """The commit of a shard, or None where it is absent, unreadable, or a file of it has another size.

    With `rehash` each file's sha256 is compared as well.
    """
    uri = _commit_uri(directory, shard)
    if not storage.exists(uri):
        return None
    try:
        data = json.loads(storage.read_bytes(uri))
        files = tuple(FileRecord(**f) for f in data["files"])
        found = Committed(directory=directory, shard=data["shard"], counts=data["counts"], files=files)
    except (ValueError, KeyError, TypeError):
        return None
    if data["format"] != COUNTS_FORMAT or found.shard != shard:
        return None
    return found if all(_intact(directory, f, rehash) for f in files) else None


def _intact(directory: str, file: FileRecord, rehash: bool) -> bool:
    uri = storage.join(directory, *file.path.split("/"))
    if not storage.exists(uri) or storage.size(uri) != file.bytes:
        return False
    return not rehash or storage.sha256(uri) == file.sha256


def _commit_uri(directory: str, shard: str) -> str:
    return storage.join(directory, "counts", f"{shard}.json")
