"""Stratified samples that depend on documents alone: cells, how many of each, and which.

A *cell* is a source, a language and a length bucket together (`near.strata`). Cells get their share of the sample,
rounded up, and at least MIN_PER_CELL documents each, so that none is unseen; while there are too many cells for that,
the smallest are merged: first over lengths, then over languages, then all. Within a cell those documents are taken
whose hash of source and id, seeded, is smallest: a simple random sample without replacement, the same whatever
shards, workers and order were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import ConfigError
from pipelines.makers.near.strata import strata_of

MIN_PER_CELL: Final = 4
MERGED: Final = "*"
SEPARATOR: Final = "\x1f"
NUM_LEVELS: Final = 3

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Certify:
    """How much a certificate looks at: `num_queries` documents for recall, `num_dropped` for precision; `seed`.

    A corpus with fewer is looked at whole. Raises ConfigError for what cannot be.
    """

    num_queries: int = 2000
    num_dropped: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_queries", "num_dropped"):
            if not 1 <= getattr(self, name) <= 1_000_000:
                raise ConfigError(
                    f"{name} = {getattr(self, name)}: a sample of 1 to 1,000,000 documents; 2,000 is usual"
                )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a certificate leaves out, counted, and how much a task holds. Only tests have a reason to change them.

    A query of more than `max_query_shingles` shingles is not compared, nor a pair with a text of more than
    `max_text_bytes` (a bucket of pairs holds 64 texts). `shingles_per_group` are those of queries probed at once.
    """

    max_query_shingles: int = 1 << 20
    max_text_bytes: int = 4 << 20
    shingles_per_group: int = 1 << 24

    def skipped_query(self) -> str:
        """Why a query is left out."""
        return f"over {self.max_query_shingles} shingles"

    def skipped_text(self) -> str:
        """Why a pair is left out."""
        return f"text over {self.max_text_bytes} bytes"


def cells_of(batch: pa.RecordBatch) -> pa.Array:
    """The name of each row's cell: length, language and source, between them SEPARATOR. `batch` as for `strata_of`."""
    strata = strata_of(batch)
    return pc.binary_join_element_wise(strata["length"], strata["language"], strata["source"], SEPARATOR)


def cell_fields(cell: str) -> dict[str, str]:
    """Source, language and length of a cell or of a merged cell, where MERGED stands for several.

    >>> cell_fields("1 KiB\\x1fen\\x1fweb")
    {'source': 'web', 'language': 'en', 'length': '1 KiB'}
    """
    length, language, source = cell.split(SEPARATOR, NUM_LEVELS - 1)
    return {"source": source, "language": language, "length": length}


def merge_cells(population: Mapping[str, int], max_cells: int) -> dict[str, str]:
    """Cell -> the cell it is sampled as, at most `max_cells` (2 or more) of these; see the module."""
    merged = {cell: cell for cell in population}
    for level in range(1, NUM_LEVELS + 1):
        sizes = _sizes(population, merged)
        if len(sizes) <= max_cells:
            break
        small = set(sorted(sizes, key=lambda cell: (-sizes[cell], cell))[max_cells // 2 :])
        merged = {cell: _coarse(to, level) if to in small else to for cell, to in merged.items()}
    return merged


def _coarse(cell: str, level: int) -> str:
    return SEPARATOR.join([MERGED] * level + cell.split(SEPARATOR, NUM_LEVELS - 1)[level:])


def _sizes(population: Mapping[str, int], merged: Mapping[str, str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for cell in sorted(population):
        sizes[merged[cell]] = sizes.get(merged[cell], 0) + population[cell]
    return sizes


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """Of which cells a sample is made: `merged` as by `merge_cells`; documents and sampled documents of each of these."""

    merged: dict[str, str]
    documents: dict[str, int]
    sampled: dict[str, int]

    def names(self) -> list[str]:
        """The sampled cells, in order of name: their position is their number."""
        return sorted(self.documents)


def allocate(population: Mapping[str, int], number: int) -> Allocation:
    """A sample of at least `number` of the documents in `population` by cell, or of all where there are no more.

    >>> sampled = allocate({"a\\x1f\\x1f": 990, "b\\x1f\\x1f": 10}, 100).sampled
    >>> sorted(sampled.values())
    [4, 99]
    """
    merged = merge_cells(population, max(2, number // (2 * MIN_PER_CELL)))
    documents = _sizes(population, merged)
    total = sum(documents.values())
    sampled = {}
    for cell, size in documents.items():
        share = size if total <= number else -(-number * size // total)
        sampled[cell] = min(size, max(MIN_PER_CELL, share))
    return Allocation(merged=merged, documents=documents, sampled=sampled)


def smallest_of_groups(groups: I64, hashes: npt.NDArray[np.uint64], ties: I64, limits: I64) -> I64:
    """Positions of the `limits[g]` smallest hashes of each group g, equal ones by `ties`; by group, then hash."""
    order = np.lexsort((ties, hashes, groups))
    ordered = groups[order]
    starts = np.searchsorted(ordered, ordered)
    chosen: I64 = order[np.arange(order.size) - starts < limits[ordered]]
    return chosen
