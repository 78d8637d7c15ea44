"""JSON lines, plain or compressed by gzip, zstd or lz4 -> document batches: one row a line.

A line that is no object, or whose text cannot be had, is quarantined with its byte offset, and reading goes on. Memory
is bounded by the longest line allowed and one batch, so a shard may be of any length.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import pyarrow as pa

from pipelines import storage
from pipelines.errors import ConfigError, InputError
from pipelines.readers.batches import RowBuffer
from pipelines.readers.columns import Column, document_schema, id_of, replace_surrogates, seconds_of
from pipelines.readers.limits import MAX_JSON_DEPTH, MAX_LINE_BYTES, MAX_RATIO
from pipelines.readers.lines import is_compressed, read_lines
from pipelines.readers.warc_records import Fault
from pipelines.records import FileShard, Quarantined, Skipped, SourceFile

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MISSING = object()


@dataclass(frozen=True, kw_only=True)
class JsonlReader:
    """Reads one JSON object a line.

    A field is a key of the object, or with dots a path into it where there is no such key: `meta.url`. Where `id_field`
    is "", the id is 16 hex digits of the file's sha256 and the line's byte offset in the decoded file. The first object
    of a shard must have `text_field` and `id_field`: else InputError says which fields there are.
    """

    yields: ClassVar[str] = "document"
    version: ClassVar[int] = 1

    text_field: str = "text"
    id_field: str = ""
    url_field: str = "url"
    fetched_at_field: str = "fetched_at"
    columns: tuple[Column, ...] = ()
    max_line_bytes: int = MAX_LINE_BYTES
    max_ratio: int = MAX_RATIO

    def __post_init__(self) -> None:
        document_schema(self.columns)
        if not self.text_field:
            raise ConfigError("JsonlReader: text_field is empty; name the field that holds the text")
        if self.max_line_bytes < 1 or self.max_ratio < 1:
            raise ConfigError("JsonlReader: max_line_bytes and max_ratio must be at least 1")

    def cut(self, file: SourceFile, shard_bytes: int) -> tuple[tuple[int | None, int | None], ...]:
        """Byte ranges of equal length for a plain file; a compressed one cannot be cut."""
        if file.size <= shard_bytes:
            return ((None, None),)
        with storage.open_input(file.uri) as opened:
            if is_compressed(opened, file.size):
                return ((None, None),)
        count = -(-file.size // shard_bytes)
        return tuple(pairwise(file.size * i // count for i in range(count + 1)))

    def read(self, shard: FileShard) -> Iterator[pa.RecordBatch | Quarantined | Skipped]:
        """DOCUMENT batches with `columns` after the core ones, and what was quarantined as it is met."""
        rows = RowBuffer(document_schema(self.columns))
        checked = False
        with storage.open_input(shard.file.uri) as file:
            lines = read_lines(
                file, shard.file.size, shard.start, shard.stop,
                max_line_bytes=self.max_line_bytes, max_ratio=self.max_ratio,
            )  # fmt: skip
            prefix = "u" if is_compressed(file, shard.file.size) else ""
            for line in lines:
                offset = line.start if isinstance(line, Fault) else line[0]
                locator = f"{shard.file.checksum}:{prefix}{offset}:{0 if isinstance(line, Fault) else len(line[1])}"
                if isinstance(line, Fault):
                    yield Quarantined(reason=line.reason, locator=locator, detail=line.detail[:300])
                    continue
                try:
                    record = parse_object(line[1] if offset else line[1].removeprefix(BYTE_ORDER_MARK))
                    if not checked:
                        self._check_fields(record, shard.file.uri)
                        checked = True
                    row = self._row(shard, record, offset, locator)
                except BadLine as bad:
                    yield Quarantined(reason=bad.reason, locator=locator, detail=bad.detail[:300])
                    continue
                if full := rows.add(row, len(row[2])):
                    yield full
        yield from rows.finish()

    def _check_fields(self, record: dict[str, Any], uri: str) -> None:
        for field, flag in ((self.text_field, "--text-field"), (self.id_field, "--id-field")):
            if field and _get(record, field) is MISSING:
                found = ", ".join(repr(name[:60]) for name in list(record)[:40])
                raise InputError(f"{uri}: no field {field!r} in its first object; it has {found}: name one with {flag}")

    def _row(self, shard: FileShard, record: dict[str, Any], offset: int, locator: str) -> tuple[Any, ...]:
        text = _get(record, self.text_field)
        if not isinstance(text, str):
            fault = "missing_text" if text is MISSING else "null_text" if text is None else "text_not_a_string"
            raise BadLine(fault, f"{self.text_field!r} is {'missing' if text is MISSING else type(text).__name__}")
        document = id_of(_get(record, self.id_field)) if self.id_field else f"{shard.file.checksum[:16]}-{offset}"
        if document is None:
            raise BadLine("missing_id", f"{self.id_field!r} is neither a string nor a whole number")
        url = _get(record, self.url_field)
        return (
            document,
            shard.source,
            replace_surrogates(text).encode(),
            replace_surrogates(url) if isinstance(url, str) else None,
            seconds_of(_get(record, self.fetched_at_field)),
            locator,
            *(self._attribute(column, record) for column in self.columns),
        )

    def _attribute(self, column: Column, record: dict[str, Any]) -> Any:
        value = _get(record, column.source_field)
        try:
            return None if value is MISSING else column.convert(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadLine("bad_column", f"{column.source_field!r}: {error}") from error


class BadLine(Exception):
    """A line that holds no document; never leaves this module's reader."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def parse_object(line: bytes) -> dict[str, Any]:
    """One line as a JSON object. Raises BadLine: invalid_utf8, bad_json, not_an_object, json_too_deep.

    NaN and Infinity are taken as numbers, as most writers of such files do.
    """
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise BadLine("invalid_utf8", f"byte {error.start} of the line: {error.reason}") from error
    except RecursionError as error:
        raise BadLine("json_too_deep", f"more than {MAX_JSON_DEPTH} levels") from error
    except ValueError as error:
        raise BadLine("bad_json", str(error)) from error
    if not isinstance(record, dict):
        raise BadLine("not_an_object", f"a JSON {type(record).__name__}")
    if line.count(b"[") + line.count(b"{") > MAX_JSON_DEPTH and _is_deeper(record, MAX_JSON_DEPTH):
        raise BadLine("json_too_deep", f"more than {MAX_JSON_DEPTH} levels")
    return record


def _is_deeper(value: Any, depth: int) -> bool:
    level: list[Any] = [value]
    while level and depth >= 0:
        level = [
            item
            for one in level
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, dict | list)
        ]
        depth -= 1
    return bool(level)


def _get(record: dict[str, Any], field: str) -> Any:
    """The value of a key, or at the end of a dotted path; MISSING where there is none."""
    if not field:
        return MISSING
    value = record.get(field, MISSING)
    if value is not MISSING or "." not in field:
        return value
    at: Any = record
    for key in field.split("."):
        at = at.get(key, MISSING) if isinstance(at, dict) else MISSING
    return at
