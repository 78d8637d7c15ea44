"""The two batches every reader, stage and maker speaks: raw records and documents.

Both are `pyarrow.RecordBatch`. A *raw* batch holds bytes as they were fetched; a *document* batch holds text and may
carry any further typed attribute columns (language, counts of redacted spans, ...) after the core ones.
Text is `large_string` and content `large_binary`, since 32-bit offsets overflow at 2 GiB in concat and take.
"""

from __future__ import annotations

import pyarrow as pa

from pipelines.errors import InputError, StageError

RAW = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("content", pa.large_binary(), nullable=False),
        pa.field("media_type", pa.string()),
        pa.field("charset", pa.string()),
        pa.field("url", pa.string()),
        pa.field("fetched_at", pa.timestamp("s")),
        pa.field("locator", pa.string(), nullable=False),
    ]
)
"""`media_type` and `charset` are what the server said, lower case, or null; neither is to be believed."""

DOCUMENT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("fetched_at", pa.timestamp("s")),
        pa.field("locator", pa.string(), nullable=False),
    ]
)
"""`locator` is `<sha256 of the file>:<byte offset or row>:<length>`: enough to read the original again."""


def set_column(batch: pa.RecordBatch, field: pa.Field, values: pa.Array) -> pa.RecordBatch:
    """Return `batch` with the column `field.name` replaced in place, or appended where there is none.

    `values` has one entry a row; it is cast to `field.type` where it differs.
    """
    if values.type != field.type:
        values = values.cast(field.type)
    position = batch.schema.get_field_index(field.name)
    if position < 0:
        return batch.append_column(field, values)
    return batch.set_column(position, field, values)


def check_documents(batch: pa.RecordBatch, *, where: str) -> None:
    """Refuse a batch whose core columns are missing, of another type, or null.

    Raises InputError naming `where`, the column and what was expected.
    """
    for field in DOCUMENT:
        position = batch.schema.get_field_index(field.name)
        if position < 0:
            raise InputError(
                f"{where}: no column {field.name!r} in {batch.schema.names}; map it with --text-field or --id-field"
            )
        found = batch.schema.field(position)
        if found.type != field.type:
            raise InputError(f"{where}: column {field.name!r} is {found.type}, expected {field.type}")
        if not field.nullable and batch.column(position).null_count:
            row = batch.column(position).is_null().index(True).as_py()
            raise InputError(f"{where}: column {field.name!r} is null in row {row}")


def check_same_rows(before: pa.RecordBatch, after: pa.RecordBatch, *, stage: str) -> None:
    """Refuse the output of a transform that lost, added or reordered documents.

    Raises StageError naming `stage`. Compares `source` and `id`, the identity of a document.
    """
    if after.num_rows != before.num_rows:
        raise StageError(
            f"stage {stage!r} returned {after.num_rows} documents for {before.num_rows}: a transform keeps every row"
        )
    for column in ("source", "id"):
        if after.schema.get_field_index(column) < 0 or not after.column(column).equals(before.column(column)):
            raise StageError(
                f"stage {stage!r} changed or reordered the column {column!r}: a transform keeps ids and order"
            )
