"""Which of several documents that say the same is kept: by `prefer`, then by source and id, never "first seen".

`prefer` is a tuple of `(column, "max" | "min")`, the first the most important, such as
`(("quality", "max"), ("fetched_at", "min"))`. A column is one of the documents', or `num_bytes`, the UTF-8 size of the
text, where there is no such column. A null or NaN loses to any value. What is still equal is decided by source, then
id, in order of their UTF-8 bytes, so the choice does not depend on shards, workers or the order of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import ConfigError, InputError

Prefer = tuple[tuple[str, str], ...]
DIRECTIONS = {"max": "descending", "min": "ascending"}
NUM_BYTES = "num_bytes"


def check_prefer(prefer: Prefer) -> None:
    """Refuse, with ConfigError, anything but pairs of a column and "max" or "min"."""
    for entry in prefer:
        whole = isinstance(entry, tuple | list) and len(entry) == 2 and all(isinstance(word, str) for word in entry)
        if not whole or entry[1] not in DIRECTIONS:
            raise ConfigError(f'prefer entry {entry!r}: expected (column, "max") or (column, "min")')


def check_prefer_columns(prefer: Prefer, schema: pa.Schema, *, where: str) -> None:
    """Refuse, with InputError, a preferred column that documents do not have or that has no order."""
    for column, _ in prefer:
        if schema.get_field_index(column) < 0:
            if column == NUM_BYTES:
                continue
            raise InputError(
                f"{where}: prefer names the column {column!r}, which is not in {[*schema.names, NUM_BYTES]}"
            )
        kind = schema.field(column).type
        plain = not pa.types.is_dictionary(kind) or pa.types.is_string(kind.value_type)
        if pa.types.is_nested(kind) or pa.types.is_float16(kind) or not plain:
            raise InputError(
                f"{where}: prefer names the column {column!r}, and values of type {kind} have no order here"
            )


def columns_to_read(prefer: Prefer, schema: pa.Schema) -> list[str]:
    """Columns of the documents that a choice needs, each once, beside `text`."""
    return list(dict.fromkeys(["source", "id", *(c for c, _ in prefer if schema.get_field_index(c) >= 0)]))


def keeper_columns(prefer: Prefer, batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """`source`, `id` and `prefer_<i>` of each row: what `order_by_preference` needs of a document."""
    columns = {"source": batch.column("source"), "id": batch.column("id")}
    for i, (name, _) in enumerate(prefer):
        if batch.schema.get_field_index(name) >= 0:
            values = batch.column(name)
            columns[f"prefer_{i}"] = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        else:
            columns[f"prefer_{i}"] = pc.binary_length(batch.column("text")).cast(pa.int64())
    return columns


def order_by_preference(rows: pa.Table, groups: Sequence[str], prefer: Prefer) -> npt.NDArray[np.int64]:
    """Positions of `rows` sorted by the columns `groups`, and within a group best keeper first: int64 [num_rows].

    `rows` has `keeper_columns`, and `part` and `row` of each document, which decide only where `(source, id)` repeats.
    """
    directions = [(name, "ascending") for name in groups]
    directions += [(f"prefer_{i}", DIRECTIONS[direction]) for i, (_, direction) in enumerate(prefer)]
    directions += [(name, "ascending") for name in ("source", "id", "part", "row")]
    keys = [(name, direction, "at_end") for name, direction in directions]
    order: npt.NDArray[np.int64] = pc.sort_indices(rows, sort_keys=keys).to_numpy().astype(np.int64)
    return order


def group_starts(*keys: npt.NDArray[np.uint64] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where a run of equal keys begins in sorted rows, and their number at the end: int64 [num_groups + 1].

    >>> group_starts(np.array([7, 7, 9])).tolist()
    [0, 2, 3]
    """
    num_rows = keys[0].size
    changed = np.zeros(num_rows, np.bool_)
    changed[:1] = True
    for key in keys:
        changed[1:] |= key[1:] != key[:-1]
    return np.append(np.flatnonzero(changed), num_rows).astype(np.int64)
