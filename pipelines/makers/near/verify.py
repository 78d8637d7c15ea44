"""Verification of near dedup: members of a cluster, best keeper first, in; who is dropped, and for whom, out.

The rule: the best member is elected keeper; members whose true Jaccard similarity *with it* is at least `min_jaccard`
are dropped; the rest elect a keeper again, until nobody is left. A~B~C with A unlike C therefore keeps C, unless B
was elected. Members sorted by preference make this one sweep: each member, in order, is dropped for the first keeper
before it that reaches the threshold, or becomes a keeper. So there are at most as many rounds as members, and the
work stays bounded:

- clusters of up to SMALL_CLUSTER members compare each member with the keepers before it;
- larger ones, where that is quadratic (a boilerplate band joins a million documents that are unlike each other), use
  an inverted index of the keepers' *prefixes* (AllPairs, Bayardo, Ma and Srikant 2007; PPJoin, Xiao et al. 2008):
  with the shingles of every document in one order, rarest in the cluster first, two sets of similarity t or more
  share one of the first `n - ceil(t * n) + 1` of either. That is exact: no pair is lost, only comparisons that could
  not succeed.

Sizes decide first: a similarity of t needs `min(n, m) >= t * max(n, m)`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from pipelines.kernels.shingles import U64, num_common

SMALL_CLUSTER: Final = 48
"""Above it an index costs less than comparing with every keeper."""
MAX_SLOT_BITS: Final = 22
_ROUNDING: Final = 1e-9
"""`0.7 * 10` is a little above 7 in floating point: a prefix must not become a shingle too short by that."""

I64 = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def _similarity(values: Any, begins: Any, ends: Any, i: Any, j: Any, min_jaccard: Any) -> Any:
    """True Jaccard of the sets of members i and j, or -1 where sizes alone exclude `min_jaccard`."""
    left, right = values[begins[i] : ends[i]], values[begins[j] : ends[j]]
    if min(left.size, right.size) < min_jaccard * max(left.size, right.size) - _ROUNDING:
        return -1.0
    common = num_common(left, right)
    union = left.size + right.size - common
    return common / union if union > 0 else 0.0


@njit(cache=True, nogil=True)
def _sweep_small(
    values: Any, begins: Any, ends: Any, starts: Any, min_jaccard: Any, keeper: Any, similarity: Any
) -> None:
    keepers = np.empty(SMALL_CLUSTER, np.int64)
    for cluster in range(starts.size - 1):
        first, last = starts[cluster], starts[cluster + 1]
        if last - first > SMALL_CLUSTER:
            continue
        num_keepers = 0
        for i in range(first, last):
            for k in range(num_keepers):
                found = _similarity(values, begins, ends, i, keepers[k], min_jaccard)
                if found >= min_jaccard:
                    keeper[i], similarity[i] = keepers[k], found
                    break
            if keeper[i] < 0:
                keepers[num_keepers] = i
                num_keepers += 1


@njit(cache=True, nogil=True)
def _sweep_large(
    values: Any, begins: Any, ends: Any, first: Any, last: Any, min_jaccard: Any, keeper: Any, similarity: Any
) -> None:
    """One cluster, members `first` to `last`.

    Shingles are counted and indexed by slot, the top bits of their hash. Slots shared by several shingles change the
    order of "rarest" a little and add candidates that verification refuses: never the outcome.
    """
    num_values = 0
    for i in range(first, last):
        num_values += ends[i] - begins[i]
    bits = 10
    while bits < MAX_SLOT_BITS and (1 << bits) < num_values:
        bits += 1
    shift = np.uint64(64 - bits)
    frequency = np.zeros(1 << bits, np.int32)
    for i in range(first, last):
        for value in values[begins[i] : ends[i]]:
            frequency[value >> shift] += 1
    head = np.full(1 << bits, -1, np.int64)
    after, owner = np.empty(1024, np.int64), np.empty(1024, np.int64)
    num_postings = 0
    asked = np.full(last - first, -1, np.int64)
    candidates = np.empty(last - first, np.int64)
    for i in range(first, last):
        slots = (values[begins[i] : ends[i]] >> shift).astype(np.int64)
        num_prefix = slots.size - np.int64(np.ceil(min_jaccard * slots.size - _ROUNDING)) + 1
        num_prefix = min(max(num_prefix, 0), slots.size)
        # values ascend, so a stable sort breaks ties by value, the same way in every document
        prefix = slots[np.argsort(frequency[slots], kind="mergesort")[:num_prefix]]
        found = 0
        for slot in prefix:
            posting = head[slot]
            while posting >= 0:
                other = owner[posting]
                if asked[other - first] != i:
                    asked[other - first] = i
                    candidates[found] = other
                    found += 1
                posting = after[posting]
        for other in np.sort(candidates[:found]):
            value = _similarity(values, begins, ends, i, other, min_jaccard)
            if value >= min_jaccard:
                keeper[i], similarity[i] = other, value
                break
        if keeper[i] >= 0:
            continue
        if num_postings + num_prefix > owner.size:
            grown = 2 * (num_postings + num_prefix)
            after, owner = _grow(after, grown), _grow(owner, grown)
        for slot in prefix:
            if frequency[slot] > 1:
                after[num_postings], owner[num_postings] = head[slot], i
                head[slot] = num_postings
                num_postings += 1


@njit(cache=True, nogil=True)
def _grow(values: Any, size: Any) -> Any:
    grown = np.empty(size, np.int64)
    grown[: values.size] = values
    return grown


def elect(values: U64, begins: I64, ends: I64, starts: I64, min_jaccard: float) -> tuple[I64, npt.NDArray[np.float64]]:
    """Each member's keeper, int64 [num_members], and the similarity with it, float64: -1 and NaN where it is one.

    Member i's shingles are `values[begins[i]:ends[i]]`, hashes of 64 well-mixed bits, ascending, each once. Cluster c is
    the members `starts[c]` to `starts[c + 1]`, best keeper first. `min_jaccard` is above 0 and at most 1. Memory beyond
    the arguments: 16 bytes for each shingle in the prefix of a keeper, and 50 MB.
    """
    keeper = np.full(begins.size, -1, np.int64)
    similarity = np.full(begins.size, np.nan)
    _sweep_small(values, begins, ends, starts, min_jaccard, keeper, similarity)
    for cluster in np.flatnonzero(np.diff(starts) > SMALL_CLUSTER):
        first, last = starts[cluster], starts[cluster + 1]
        _sweep_large(values, begins, ends, first, last, min_jaccard, keeper, similarity)
    return keeper, similarity
