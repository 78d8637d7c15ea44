"""Items of a batch of documents, by kind: windows of tokens for substring dedup, lines and paragraphs for line dedup.

Both kinds are frozen dataclasses with the methods of `Kind`, so that the passes need not know what an item is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.kernels.copies import I64, repeated_intervals, units_that_stay, windows_that_stay
from pipelines.kernels.shingles import U64
from pipelines.kernels.units import find_units
from pipelines.kernels.windows import U32, Runs, WindowScan, gram_tokens, token_spans


@dataclass(frozen=True)
class Spans:
    """What is to be cut: int64 documents [n], spans in bytes [n, 2], sizes [n] in tokens or units.

    `num_left`, int64 [num_rows], says how many tokens or units are left to a document that is cut; 0 for others.
    """

    documents: I64
    spans: I64
    sizes: I64
    num_left: I64


class Kind(Protocol):
    """What the passes ask of items."""

    def runs(self, texts: pa.Array, shared: U64 | None) -> Iterator[Runs]:
        """Runs of `texts` whose keys are in `shared`, with names; of all keys, without names, where it is None."""
        ...

    def repeats(self, counts: I64) -> npt.NDArray[np.bool_]:
        """Which runs, by their number of items, may hold two equal items."""
        ...

    def bytes_per_run(self) -> float:
        """About how many bytes of text have one run: what the number of buckets is made of."""
        ...

    def stay(self, high: U64, low: U32, rank: I64, position: I64, *, evidence: bool) -> npt.NDArray[np.bool_]:
        """Which items stay; with `evidence`, which of a part of all items must be known to decide that."""
        ...

    def spans(self, texts: pa.Array, runs: I64, stays: I64) -> Spans:
        """What `runs` cover and `stays` do not, both rows `(row, start, count)`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of `min_tokens` tokens; see `kernels.windows`."""

    min_tokens: int
    compare: str
    keep_first: bool

    def runs(self, texts: pa.Array, shared: U64 | None) -> Iterator[Runs]:
        """As Kind says."""
        yield from WindowScan(texts, min_tokens=self.min_tokens, compare=self.compare, shared=shared)

    def repeats(self, counts: I64) -> npt.NDArray[np.bool_]:
        """Two windows that lie apart are `min_tokens` places apart."""
        return counts > self.min_tokens

    def bytes_per_run(self) -> float:
        """Six bytes a word of English; keys of random text change every half window of grams."""
        return 6 * (self.min_tokens - gram_tokens(self.min_tokens) + 2) / 2

    def stay(self, high: U64, low: U32, rank: I64, position: I64, *, evidence: bool) -> npt.NDArray[np.bool_]:
        """As Kind says."""
        return windows_that_stay(
            high, low, rank, position, min_tokens=self.min_tokens, keep_first=self.keep_first, evidence=evidence
        )

    def spans(self, texts: pa.Array, runs: I64, stays: I64) -> Spans:
        """Tokens that lie in a window that does not stay."""
        cuts = repeated_intervals(runs, stays, self.min_tokens)
        documents, first, stop = (np.ascontiguousarray(cuts[:, i]) for i in range(3))
        spans, num_tokens = token_spans(texts, documents, first, stop)
        lost = np.bincount(documents, stop - first, minlength=len(texts)).astype(np.int64)
        return Spans(documents, spans, stop - first, num_tokens - lost)


@dataclass(frozen=True, kw_only=True)
class Units:
    """Lines or paragraphs; see `kernels.units`."""

    unit: str
    normalize: str
    min_characters: int
    max_documents: int

    def runs(self, texts: pa.Array, shared: U64 | None) -> Iterator[Runs]:
        """As Kind says: each unit is a run, its key the high half of its name."""
        found = find_units(texts, unit=self.unit, normalize=self.normalize, min_characters=self.min_characters)
        ones = np.ones(found.high.size, np.int64)
        if shared is None:
            yield Runs(found.documents, found.positions, ones, found.high, found.high[:0], found.low[:0])
            return
        at = np.searchsorted(shared, found.high)
        here = np.flatnonzero(shared[np.minimum(at, shared.size - 1)] == found.high) if shared.size else at[:0]
        columns = (found.documents[here], found.positions[here], ones[here])
        yield Runs(*columns, found.high[here], found.high[here], found.low[here])

    def repeats(self, counts: I64) -> npt.NDArray[np.bool_]:
        """A run is one unit."""
        return np.zeros(counts.size, np.bool_)

    def bytes_per_run(self) -> float:
        """A short line."""
        return 40.0

    def stay(self, high: U64, low: U32, rank: I64, position: I64, *, evidence: bool) -> npt.NDArray[np.bool_]:
        """As Kind says; what stays of a part is all that must be known of it."""
        return units_that_stay(high, low, rank, position, max_documents=self.max_documents)

    def spans(self, texts: pa.Array, runs: I64, stays: I64) -> Spans:
        """Units that do not stay, neighbours as one."""
        cuts = repeated_intervals(runs, stays, 1)
        found = find_units(texts, unit=self.unit, normalize=self.normalize, min_characters=self.min_characters)
        row, first, stop = (np.ascontiguousarray(cuts[:, i]) for i in range(3))
        # a unit is found by (document, position): both ascend, so one key of the two does
        width = int(max(found.positions.max(initial=0), stop.max(initial=0))) + 1
        places = found.documents * width + found.positions
        left, right = np.searchsorted(places, row * width + first), np.searchsorted(places, row * width + stop - 1)
        spans = (
            np.stack([found.spans[left, 0], found.spans[right, 1]], axis=1) if row.size else np.zeros((0, 2), np.int64)
        )
        lost = np.bincount(row, stop - first, minlength=len(texts)).astype(np.int64)
        touched = np.isin(np.arange(len(texts)), row)
        return Spans(row, spans, stop - first, np.where(touched, found.num_units - lost, 0))
