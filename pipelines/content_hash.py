"""sha256 of Arrow content: of the values in a table, however it is cut into batches, chunks, row groups or pages.

Each column is a few streams of bytes (validity, lengths, values), each fed to a hasher of its own, so that the digest
depends on the rows and on nothing else; Parquet's encoding, compression and writer version stay out of it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class ContentHash:
    """Feed batches of one schema in row order, then take `hexdigest()`."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._streams: dict[str, hashlib._Hash] = {}
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of `batch`, whose schema must be the one given at construction (metadata aside)."""
        if not batch.num_rows:
            return
        self._rows += batch.num_rows
        for field, column in zip(batch.schema, batch.columns, strict=True):
            self._feed(field.name, column)

    def hexdigest(self) -> str:
        """Digest over names, types, number of rows and all streams."""
        total = hashlib.sha256(f"{self._rows}\n".encode())
        for field in self._schema:
            total.update(f"{field.name}\0{field.type}\n".encode())
        for name in sorted(self._streams):
            total.update(f"{name}\0{self._streams[name].hexdigest()}\n".encode())
        return total.hexdigest()

    def _stream(self, name: str, values: Any) -> None:
        self._streams.setdefault(name, hashlib.sha256()).update(memoryview(values))

    def _feed(self, name: str, column: pa.Array) -> None:
        kind = column.type
        if pa.types.is_dictionary(kind):
            return self._feed(name, column.dictionary_decode())
        if column.null_count:
            self._stream(
                f"{name}/valid", np.ascontiguousarray(column.is_valid().to_numpy(zero_copy_only=False)).view(np.uint8)
            )
            if not pa.types.is_nested(kind) and not pa.types.is_null(kind):
                column = column.fill_null(_zero(kind))
        else:
            self._stream(f"{name}/valid", np.ones(len(column), np.uint8))
        if pa.types.is_null(kind):
            return None
        if pa.types.is_struct(kind):
            for i, field in enumerate(kind):
                self._feed(f"{name}.{field.name}", column.field(i))
            return None
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            self._stream(f"{name}/length", pc.fill_null(pc.list_value_length(column), 0).cast(pa.int64()).to_numpy())
            return self._feed(f"{name}[]", column.flatten())
        if pa.types.is_boolean(kind):
            return self._stream(name, np.ascontiguousarray(column.to_numpy(zero_copy_only=False)).view(np.uint8))
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            column = column.cast(pa.large_string() if pa.types.is_string(kind) else pa.large_binary())
            kind = column.type
        if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
            _, offsets_buffer, data = column.buffers()
            offsets = np.frombuffer(offsets_buffer, np.int64)[column.offset : column.offset + len(column) + 1]
            self._stream(f"{name}/length", np.ascontiguousarray(np.diff(offsets)))
            used = (
                memoryview(data)[int(offsets[0]) : int(offsets[-1])]
                if data is not None and len(column)
                else memoryview(b"")
            )
            return self._stream(name, used)
        if pa.types.is_temporal(kind):
            column = column.view(pa.int64() if kind.bit_width == 64 else pa.int32())
        return self._stream(name, np.ascontiguousarray(column.to_numpy(zero_copy_only=False)).view(np.uint8))


def _zero(kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_boolean(kind):
        return pa.scalar(False, kind)
    if pa.types.is_temporal(kind):
        return pa.scalar(0, pa.int64() if kind.bit_width == 64 else pa.int32()).cast(kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.scalar("", kind)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.scalar(b"", kind)
    return pa.scalar(0, kind)
