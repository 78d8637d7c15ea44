"""WARC files for tests, made of bytes: sound ones, and ones that are broken or hostile on purpose."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import zstandard

from pipelines.records import FileShard, Quarantined, Skipped, SourceFile

PAGE = b"<html><body><p>A page of its own.</p></body></html>"


def response(
    body: bytes = PAGE, *, name: str = "r1", status: str = "200 OK", headers: Iterable[tuple[str, str]] = (),
    content_type: str | None = "text/html; charset=utf-8", length: int | None = None, kind: str = "response",
    extra: Iterable[tuple[str, str]] = (), url: str = "http://example.org/",
) -> bytes:  # fmt: skip
    """One record as it stands in the file, not compressed; `length` is a Content-Length that lies."""
    typed = [("Content-Type", content_type)] if content_type is not None else []
    http = "".join(f"{key}: {value}\r\n" for key, value in (*typed, *headers))
    return record(f"HTTP/1.1 {status}\r\n{http}\r\n".encode() + body, name=name, kind=kind, length=length,
                  content_type="application/http; msgtype=response", extra=extra, url=url)  # fmt: skip


def record(
    block: bytes, *, name: str = "r1", kind: str = "response", content_type: str = "text/plain",
    length: int | None = None, extra: Iterable[tuple[str, str]] = (), url: str = "http://example.org/",
) -> bytes:  # fmt: skip
    """One record with `block` as it is."""
    lines = [
        ("WARC-Type", kind), ("WARC-Record-ID", f"<urn:uuid:{name}>"), ("WARC-Date", "2024-02-29T12:00:00Z"),
        ("WARC-Target-URI", url), ("Content-Type", content_type), *extra,
        ("Content-Length", str(len(block) if length is None else length)),
    ]  # fmt: skip
    head = "".join(f"{key}: {value}\r\n" for key, value in lines)
    return f"WARC/1.0\r\n{head}\r\n".encode() + block + b"\r\n\r\n"


def member(content: bytes, codec: str = "gzip", *, level: int = 6) -> bytes:
    """`content` as one compressed member (as it is for `plain`)."""
    if codec == "gzip":
        return gzip.compress(content, level, mtime=0)
    if codec == "zstd":
        return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(content)
    if codec == "lz4":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "lz4") as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()
    return content


def shard_of(path: Path, content: bytes, *, start: int | None = None, stop: int | None = None) -> FileShard:
    """Write `content` to `path` and describe it, or a range of it, as a shard."""
    path.write_bytes(content)
    file = SourceFile(uri=str(path), size=len(content), checksum=hashlib.sha256(content).hexdigest())
    return FileShard(name="shard", file=file, source="web", start=start, stop=stop)


def read_all(reader: Any, shard: FileShard) -> tuple[list[dict[str, Any]], list[Quarantined], dict[str, int]]:
    """All rows, all quarantined, and counts of all skipped, of one shard."""
    rows: list[dict[str, Any]] = []
    quarantined: list[Quarantined] = []
    skipped: dict[str, int] = {}
    for found in reader.read(shard):
        if isinstance(found, Quarantined):
            quarantined.append(found)
        elif isinstance(found, Skipped):
            skipped[found.kind] = skipped.get(found.kind, 0) + found.count
        else:
            found.validate(full=True)
            rows.extend(found.to_pylist())
    return rows, quarantined, skipped
