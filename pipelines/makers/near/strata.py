"""Strata of a corpus: what dedup is counted by, so that losing a whole source, language or size of document shows.

Three ways to divide documents, each into buckets with a name: `source`, `language` ("none" where it is not known) and
`length`, the UTF-8 bytes of the text in powers of four ("256 B", "1 KiB": from there to the next).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

STRATA: Final = ("source", "language", "length")
UNKNOWN: Final = "none"
_FIRST_BITS: Final = 8
_STEP_BITS: Final = 2
LENGTHS: Final = ("0 B", "256 B", "1 KiB", "4 KiB", "16 KiB", "64 KiB", "256 KiB", "1 MiB", "4 MiB", "16 MiB")
"""Lower ends of the length buckets; the last has no upper end."""

Counts = dict[str, dict[str, int]]


def columns_of_strata(schema: pa.Schema) -> list[str]:
    """Columns of documents, beside `text`, that `strata_of` needs."""
    return [name for name in ("source", "language") if schema.get_field_index(name) >= 0]


def strata_of(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """The bucket of every row in each of STRATA: three string arrays. `batch` has `text` and what `columns_of_strata` names.

    >>> strata_of(pa.record_batch({"source": ["web"], "text": ["a" * 300]}))["length"].to_pylist()
    ['256 B']
    """
    found = {}
    for name in ("source", "language"):
        if batch.schema.get_field_index(name) >= 0:
            values = batch.column(name)
            found[name] = values.cast(pa.string()).fill_null(UNKNOWN)
        else:
            found[name] = pa.array([UNKNOWN] * batch.num_rows, pa.string())
    num_bytes = pc.fill_null(pc.binary_length(batch.column("text")), 0).to_numpy(zero_copy_only=False)
    edges = np.left_shift(1, _FIRST_BITS + _STEP_BITS * np.arange(len(LENGTHS) - 1))
    found["length"] = pa.array(LENGTHS).take(pa.array(np.searchsorted(edges, num_bytes, side="right")))
    return found


def count_strata(strata: Mapping[str, pa.Array], weights: npt.NDArray[np.int64] | None = None) -> Counts:
    """How many rows each bucket of `strata` has, or the sum of their `weights`; buckets without any are left out.

    >>> count_strata({"source": pa.array(["a", "b", "a"])}, np.array([2, 0, 5]))
    {'source': {'a': 7}}
    """
    counts: Counts = {}
    for name, values in strata.items():
        rows = np.ones(len(values), np.int64) if weights is None else weights
        table = (
            pa.table({"value": values, "rows": rows}).group_by("value", use_threads=False).aggregate([("rows", "sum")])
        )
        counts[name] = {row["value"]: row["rows_sum"] for row in table.to_pylist() if row["rows_sum"]}
    return counts


def sum_strata(counts: Sequence[Mapping[str, Mapping[str, int]]]) -> Counts:
    """Counts of several shards as one, buckets in order of name."""
    total: Counts = {name: {} for name in STRATA}
    for part in counts:
        for name in STRATA:
            for bucket, number in part.get(name, {}).items():
                total[name][bucket] = total[name].get(bucket, 0) + number
    return {name: dict(sorted(buckets.items())) for name, buckets in total.items()}
