"""What passes between a file and the first stage: shards of files, raw or document batches, and what could not be read.

A *reader* turns a shard of a file into batches; an *extractor* turns raw batches into documents. Both set single bad
records aside as `Quarantined`, with a reason, and go on: a bad record never ends a shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One input file as its inventory lists it: where it is, its bytes, and the sha256 (hex) of its content.

    `marks` are the size, timestamps and inode it had when it was hashed, () where nobody asked: by these a change
    between hashing and reading is noticed.
    """

    uri: str
    size: int
    checksum: str
    marks: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileShard:
    """A file or a range of it. `start` and `stop` are bytes or row groups, as the reader cuts them; None is the whole.

    `name` is made of the checksum and the range, so it says the same wherever the file lies.
    """

    name: str
    file: SourceFile
    source: str
    start: int | None = None
    stop: int | None = None


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """A record that could not become a document: snake_case `reason`, where it lies, and what was wrong with it."""

    reason: str
    locator: str
    detail: str = ""
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """`count` entries of a file that are no documents by their kind, such as WARC `request` records."""

    kind: str
    count: int


@runtime_checkable
class Reader(Protocol):
    """Frozen dataclass; its fields are part of the fingerprint. `yields` is "raw" or "document"."""

    yields: ClassVar[str]

    def cut(self, file: SourceFile, shard_bytes: int) -> tuple[tuple[int | None, int | None], ...]:
        """Ranges of about `shard_bytes` that cover the file once; `((None, None),)` where it cannot be split."""
        ...

    def read(self, shard: FileShard) -> Iterator[pa.RecordBatch | Quarantined | Skipped]:
        """Stream the shard. Memory is bounded by the reader's caps, never by the shard's length."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Frozen dataclass; its fields are part of the fingerprint."""

    def extract(self, raw: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Quarantined]]:
        """RAW -> DOCUMENT: rows in order, less those quarantined. `num_rows` out + quarantined = `num_rows` in."""
        ...
