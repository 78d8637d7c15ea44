"""Parquet files -> document batches: one row a row, shards cut at row groups, batches bounded in bytes.

Columns are converted whole; a batch in which a value cannot be is gone through row by row, and the rows at fault are
quarantined. A row group that cannot be decoded costs its rows, each of which is quarantined, and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.errors import ConfigError, InputError
from pipelines.readers.columns import TYPES, Column, document_schema, seconds_of
from pipelines.readers.limits import BATCH_BYTES, BATCH_ROWS, MAX_RECORD_BYTES
from pipelines.records import FileShard, Quarantined, Skipped, SourceFile

BUFFER_BYTES = 4 << 20
"""Column chunks are read through a buffer of this size rather than whole."""


@dataclass(frozen=True, kw_only=True)
class ParquetReader:
    """Reads rows of Parquet files.

    A field is a column, or with dots a path into a struct: `meta.url`. Where `id_field` is "", the id is 16 hex digits
    of the file's sha256 and the row's number in the file. A missing or mistyped column is an InputError naming those
    there are; null text, text that is not UTF-8 or above `max_record_bytes`, and a missing id are faults of their row.
    """

    yields: ClassVar[str] = "document"
    version: ClassVar[int] = 1

    text_field: str = "text"
    id_field: str = ""
    url_field: str = "url"
    fetched_at_field: str = "fetched_at"
    columns: tuple[Column, ...] = ()
    max_record_bytes: int = MAX_RECORD_BYTES

    def __post_init__(self) -> None:
        document_schema(self.columns)
        if not self.text_field:
            raise ConfigError("ParquetReader: text_field is empty; name the column that holds the text")
        if self.max_record_bytes < 1:
            raise ConfigError("ParquetReader: max_record_bytes must be at least 1")

    def cut(self, file: SourceFile, shard_bytes: int) -> tuple[tuple[int | None, int | None], ...]:
        """Ranges of row groups of about `shard_bytes` of the file each."""
        if file.size <= shard_bytes:
            return ((None, None),)
        with storage.open_input(file.uri) as opened:
            metadata = _open(opened, file.uri).metadata
        ranges: list[tuple[int | None, int | None]] = []
        start, gathered = 0, 0
        for group in range(metadata.num_row_groups):
            size = _compressed_bytes(metadata.row_group(group))
            if gathered and gathered + size > shard_bytes:
                ranges.append((start, group))
                start, gathered = group, 0
            gathered += size
        ranges.append((start, metadata.num_row_groups))
        return tuple(ranges)

    def read(self, shard: FileShard) -> Iterator[pa.RecordBatch | Quarantined | Skipped]:
        """DOCUMENT batches with `columns` after the core ones, and what was quarantined as it is met."""
        uri = shard.file.uri
        with storage.open_input(uri) as opened:
            metadata = _open(opened, uri).metadata
            schema = metadata.schema.to_arrow_schema()
            wanted = self._check_fields(schema, uri)
            first = sum(metadata.row_group(group).num_rows for group in range(shard.start or 0))
            for group in range(shard.start or 0, metadata.num_row_groups if shard.stop is None else shard.stop):
                num_rows = metadata.row_group(group).num_rows
                yield from self._read_group(shard, opened, metadata, group, first, wanted)
                first += num_rows

    def _read_group(
        self, shard: FileShard, opened: pa.NativeFile, metadata: Any, group: int, first: int, wanted: list[str]
    ) -> Iterator[pa.RecordBatch | Quarantined]:
        described = metadata.row_group(group)
        done = 0
        try:
            parquet = pq.ParquetFile(
                opened,
                metadata=metadata,
                buffer_size=BUFFER_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
                read_dictionary=_mostly_indices(described, wanted),
            )
            batches = parquet.iter_batches(_rows_per_batch(described), [group], wanted, use_threads=False)
            for batch in batches:
                for start, stop in _pieces(_field(batch, self.text_field)):
                    yield from self._documents(shard, batch.slice(start, stop - start), first + done + start)
                done += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            for row in range(first + done, first + described.num_rows):
                yield Quarantined(
                    reason="corrupt_row_group",
                    locator=f"{shard.file.checksum}:{row}:1",
                    detail=f"row group {group}: {error}"[:200],
                )

    def _check_fields(self, schema: pa.Schema, uri: str) -> list[str]:
        """Columns to read. Raises InputError for one that is missing or of a type that cannot be used."""
        needed = [
            (self.text_field, "--text-field", _is_text),
            (self.id_field, "--id-field", _is_text_or_integer),
        ]
        wanted = []
        for field, flag, usable in needed:
            if not field:
                continue
            kind = _type_of(schema, field)
            if kind is None:
                raise InputError(f"{uri}: no column {field!r}; it has {schema.names[:60]}: name one with {flag}")
            if not usable(kind):
                raise InputError(
                    f"{uri}: column {field!r} is {kind}, which {flag} cannot take; it has {schema.names[:60]}"
                )
            wanted.append(field)
        for field in (self.url_field, self.fetched_at_field):
            if field and _type_of(schema, field) is not None:
                wanted.append(field)
        for column in self.columns:
            kind = _type_of(schema, column.source_field)
            if kind is not None and not _convertible(kind, column.type):
                raise InputError(f"{uri}: column {column.source_field!r} is {kind}, not {column.type}; mend its Column")
            if kind is not None:
                wanted.append(column.source_field)
        return list(dict.fromkeys(wanted))

    def _documents(self, shard: FileShard, batch: pa.RecordBatch, first: int) -> Iterator[pa.RecordBatch | Quarantined]:
        """`batch`, whose first row is row `first` of the file, as documents."""
        faults: dict[int, tuple[str, str]] = {}
        rows = pa.array(np.arange(first, first + batch.num_rows), pa.int64()).cast(pa.string())
        text = self._text(batch, faults)
        ids = self._ids(shard, batch, rows, faults)
        nulls = pa.nulls(batch.num_rows)
        url = _field(batch, self.url_field)
        fetched_at = _field(batch, self.fetched_at_field)
        arrays = [
            ids,
            pa.repeat(pa.scalar(shard.source), batch.num_rows),
            text,
            _lenient_string(url) if url is not None and _is_text(url.type) else nulls.cast(pa.string()),
            nulls.cast(pa.timestamp("s")) if fetched_at is None else _timestamps(fetched_at),
            pc.binary_join_element_wise(shard.file.checksum, rows, "1", ":"),
        ]
        for column in self.columns:
            arrays.append(_attribute(column, _field(batch, column.source_field), batch.num_rows, faults))
        if faults:
            keep = pa.array([row for row in range(batch.num_rows) if row not in faults], pa.int64())
            for row, (reason, detail) in sorted(faults.items()):
                yield Quarantined(reason=reason, locator=f"{shard.file.checksum}:{first + row}:1", detail=detail[:300])
            arrays = [array.take(keep) for array in arrays]
        if len(arrays[0]):
            yield pa.RecordBatch.from_arrays(arrays, schema=document_schema(self.columns))

    def _text(self, batch: pa.RecordBatch, faults: dict[int, tuple[str, str]]) -> pa.Array:
        text = _flat(_field(batch, self.text_field))
        text = text.cast(pa.large_binary())
        lengths = pc.binary_length(text)
        for row in np.flatnonzero(lengths.fill_null(0).to_numpy(zero_copy_only=False) > self.max_record_bytes).tolist():
            faults[row] = ("record_too_large", f"{lengths[row]} bytes of text")
        if text.null_count:
            for row in np.flatnonzero(text.is_null().to_numpy(zero_copy_only=False)).tolist():
                faults[row] = ("null_text", f"{self.text_field!r} is null")
        try:
            return text.cast(pa.large_string())
        except pa.ArrowInvalid:
            values = text.to_pylist()
        for row, value in enumerate(values):
            try:
                (value or b"").decode()
            except UnicodeDecodeError as error:
                faults.setdefault(row, ("invalid_utf8", f"byte {error.start} of the text: {error.reason}"))
                values[row] = b""
        return pa.array(values, pa.large_string())

    def _ids(
        self, shard: FileShard, batch: pa.RecordBatch, rows: pa.Array, faults: dict[int, tuple[str, str]]
    ) -> pa.Array:
        if not self.id_field:
            return pc.binary_join_element_wise(shard.file.checksum[:16], rows, "-")
        ids = _flat(_field(batch, self.id_field))
        ids = ids.cast(pa.string()) if pa.types.is_integer(ids.type) else _lenient_string(ids)
        for row in np.flatnonzero(pc.equal(ids.fill_null(""), "").to_numpy(zero_copy_only=False)).tolist():
            faults.setdefault(row, ("missing_id", f"{self.id_field!r} is null or empty"))
        return ids


def _open(opened: pa.NativeFile, uri: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(opened)
    except (pa.ArrowException, OSError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{uri}: not a readable Parquet file ({what}); fetch it again or leave it out") from error


def _compressed_bytes(group: Any) -> int:
    return sum(group.column(index).total_compressed_size for index in range(group.num_columns))


def _rows_per_batch(group: Any) -> int:
    per_row = max(group.total_byte_size // max(group.num_rows, 1), 1)
    return int(min(max(2 * BATCH_BYTES // per_row, 16), BATCH_ROWS))


def _mostly_indices(group: Any, wanted: list[str]) -> list[str]:
    """Columns that hold little but indices into a dictionary, to be read as such: a few bytes may name gigabytes of text.

    Reading every column so would cost 8 times as much on usual text.
    """
    found = []
    for index in range(group.num_columns):
        chunk = group.column(index)
        start = chunk.dictionary_page_offset
        if chunk.path_in_schema in wanted and chunk.physical_type == "BYTE_ARRAY" and start is not None:
            pages = chunk.total_compressed_size - max(chunk.data_page_offset - start, 0)
            if pages < 8 * max(chunk.num_values, 1):
                found.append(chunk.path_in_schema)
    return found


def _pieces(text: pa.Array) -> Iterator[tuple[int, int]]:
    """Slices of at most BATCH_BYTES of text and BATCH_ROWS rows; a larger text stands alone."""
    if pa.types.is_dictionary(text.type):
        lengths = pc.binary_length(text.dictionary).take(text.indices)
    else:
        lengths = pc.binary_length(text.cast(pa.large_binary()))
    sizes = lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    totals = np.concatenate([[0], np.cumsum(sizes)])
    start = 0
    while start < len(sizes):
        stop = int(np.searchsorted(totals, totals[start] + BATCH_BYTES, side="right")) - 1
        stop = min(max(stop, start + 1), start + BATCH_ROWS, len(sizes))
        yield start, stop
        start = stop


def _type_of(schema: pa.Schema, field: str) -> pa.DataType | None:
    """Type of a column, or of what a dotted path leads to; None where there is none."""
    if field in schema.names:
        return schema.field(field).type
    kind: Any = None
    for number, part in enumerate(field.split(".")):
        fields = schema if number == 0 else kind if pa.types.is_struct(kind) else None
        if fields is None or fields.get_field_index(part) < 0:
            return None
        kind = fields.field(fields.get_field_index(part)).type
    return kind


def _field(batch: pa.RecordBatch, field: str) -> pa.Array | None:
    if field in batch.schema.names:
        return batch.column(field)
    parts = field.split(".")
    if _type_of(batch.schema, field) is None:
        return None
    return pc.struct_field(batch.column(parts[0]), parts[1:])


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    kind = _value_type(kind)
    views = (pa.string_view(), pa.binary_view())
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind) or kind in views
    )  # fmt: skip


def _is_text_or_integer(kind: pa.DataType) -> bool:
    return _is_text(kind) or bool(pa.types.is_integer(_value_type(kind)))


def _convertible(kind: pa.DataType, target: str) -> bool:
    kind = _value_type(kind)
    if pa.types.is_null(kind):
        return True
    if target == "string":
        return _is_text(kind)
    if target == "bool":
        return bool(pa.types.is_boolean(kind))
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _flat(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _lenient_string(array: pa.Array) -> pa.Array:
    """As string; bytes that are not UTF-8 become U+FFFD."""
    binary = _flat(array).cast(pa.binary())
    try:
        return binary.cast(pa.string())
    except pa.ArrowInvalid:
        values = [None if value is None else value.decode("utf-8", "replace") for value in binary.to_pylist()]
        return pa.array(values, pa.string())


def _timestamps(array: pa.Array) -> pa.Array:
    """Dates, times, ISO 8601 text or seconds as UTC seconds; null where they are none."""
    array = _flat(array)
    if pa.types.is_timestamp(array.type):
        bare = array.cast(pa.timestamp(array.type.unit))
        return bare.cast(pa.timestamp("s"), safe=False)
    if pa.types.is_date(array.type):
        return array.cast(pa.timestamp("s"), safe=False)
    if _is_text(array.type):
        array = _lenient_string(array)
    return pa.array([seconds_of(value) for value in array.to_pylist()], pa.int64()).cast(pa.timestamp("s"))


def _attribute(column: Column, array: pa.Array | None, num_rows: int, faults: dict[int, tuple[str, str]]) -> pa.Array:
    target = TYPES[column.type]
    if array is None or pa.types.is_null(array.type):
        return pa.nulls(num_rows, target)
    if column.type == "string":
        return _lenient_string(array)
    flat = _flat(array)
    if flat.type == target and not pa.types.is_floating(target):
        return flat
    values: list[Any] = [None] * num_rows
    for row, value in enumerate(flat.to_pylist()):
        try:
            values[row] = column.convert(value)
        except (TypeError, ValueError, OverflowError) as error:
            faults.setdefault(row, ("bad_column", f"{column.source_field!r}: {error}"))
    return pa.array(values, target)
