"""Bytes -> batches. A reader is a frozen dataclass with `cut` and `read` (`pipelines.records.Reader`).

| reader | files | yields |
|---|---|---|
| `WarcReader` | `.warc` `.wet`, and with `.gz` `.zst` `.lz4` | raw |
| `JsonlReader` | `.jsonl` `.ndjson`, and with `.gz` `.zst` `.lz4` | document |
| `ParquetReader` | `.parquet` | document |

Every reader bounds what one record may cost, sets records that cannot be read aside as `Quarantined`, and goes on.
"""

from __future__ import annotations

from pipelines.errors import InputError
from pipelines.readers.jsonl import JsonlReader
from pipelines.readers.parquet import ParquetReader
from pipelines.readers.suffixes import SUFFIXES, kind_of
from pipelines.readers.warc import WarcReader
from pipelines.records import Reader

__all__ = ["JsonlReader", "ParquetReader", "WarcReader", "reader_for"]


def reader_for(uri: str) -> Reader:
    """The reader of a file by the suffix of its name. InputError, naming the suffixes known, for any other."""
    kind = kind_of(uri)
    if kind == "warc":
        return WarcReader()
    if kind == "jsonl":
        return JsonlReader()
    if kind == "parquet":
        return ParquetReader()
    known = ", ".join(sorted({suffix for suffixes in SUFFIXES.values() for suffix in suffixes}))
    cure = (
        "convert it to WARC first (warcio recompress)"
        if kind == "arc"
        else f"rename it, or convert it to one of {known}"
    )
    raise InputError(f"{uri}: no reader for this kind of file; {cure} (.gz, .zst and .lz4 may follow)")
