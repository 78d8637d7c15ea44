"""Rows -> batches of at most BATCH_BYTES of content or BATCH_ROWS rows; a larger document stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.readers.limits import BATCH_BYTES, BATCH_ROWS


class RowBuffer:
    """Gathers rows, a tuple of Python values each, until a batch of `schema` is full."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = 0

    def add(self, row: tuple[Any, ...], num_bytes: int) -> pa.RecordBatch | None:
        """Take a row of `num_bytes`; returns the batch before it, if it does not fit in there any more."""
        full = None
        if self._rows and (self._bytes + num_bytes > BATCH_BYTES or len(self._rows) >= BATCH_ROWS):
            full = self._take()
        self._rows.append(row)
        self._bytes += num_bytes
        return full

    def finish(self) -> Iterator[pa.RecordBatch]:
        """The last batch, if there is one."""
        if self._rows:
            yield self._take()

    def _take(self) -> pa.RecordBatch:
        columns = zip(*self._rows, strict=True)
        arrays = [_array(column, field.type) for column, field in zip(columns, self.schema, strict=True)]
        self._rows, self._bytes = [], 0
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _array(column: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if kind != pa.large_binary():
        return pa.array(column, kind)
    # Contents are large: joined once here, where Arrow's builder would copy them again as it grows.
    offsets = np.zeros(len(column) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, column), np.int64, len(column)), out=offsets[1:])
    return pa.LargeBinaryArray.from_buffers(
        kind, len(column), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(column))]
    )
