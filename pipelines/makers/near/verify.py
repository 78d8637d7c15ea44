"""Verification of near dedup: members of a cluster, best keeper first, in; who is dropped, and for whom, out.

The rule: the best member is elected keeper; members whose similarity *with it* (`similarity`) is at least `min_jaccard`
are dropped; the rest elect a keeper again, until nobody is left. A~B~C with A unlike C therefore keeps C, unless B
was elected. Members sorted by preference make this one sweep: each member, in order, is dropped for the first keeper
before it that reaches the threshold, or becomes a keeper. So there are at most as many rounds as members. Members of
an earlier release come first, are keepers all, and are not compared with each other.

Clusters of up to SMALL_CLUSTER compare each member with the keepers before it, larger ones ask an index of keepers
(`keeper_index`), and what is more than a task shall hold is swept in blocks (`blocks`): the outcome is the same.

Members with one and the same set have one verdict, that of the best of them: who is dropped for it, or with it, follows
without a comparison (`twins`). A million copies cost what one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from pipelines.kernels.hashing import mix
from pipelines.kernels.shingles import U64
from pipelines.makers.near.keeper_index import Counts32, count_slots, slot_counts, sweep
from pipelines.makers.near.similarity import F64, I64, similarity_with

SMALL_CLUSTER: Final = 48
"""Above it an index costs less than comparing with every keeper."""
_OTHER: Final = np.uint64(0x9E3779B97F4A7C15)

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Sets:
    """Sets of members, best keeper first within a cluster: member i has `values[begins[i]:ends[i]]` of its `sizes[i]` hashes.

    Hashes are 64 well-mixed bits, ascending, each once. Where there are fewer than `sizes[i]`, they are the sketch of a
    `released` member, the `sketch_size` smallest.
    """

    values: U64
    begins: I64
    ends: I64
    sizes: I64
    released: Flags
    sketch_size: int = 1 << 62

    def between(self, first: int, last: int) -> Sets:
        """Members `first` to `last`."""
        return Sets(
            values=self.values,
            begins=self.begins[first:last],
            ends=self.ends[first:last],
            sizes=self.sizes[first:last],
            released=self.released[first:last],
            sketch_size=self.sketch_size,
        )

    def arrays(self) -> tuple[U64, I64, I64, I64]:
        """What kernels take."""
        return self.values, self.begins, self.ends, self.sizes


def sets_of(values: U64, begins: I64, ends: I64) -> Sets:
    """Whole sets, none of them of an earlier release."""
    return Sets(values=values, begins=begins, ends=ends, sizes=ends - begins, released=np.zeros(begins.size, np.bool_))


@njit(cache=True, nogil=True)
def _sweep_small(
    sets: Any, released: Any, starts: Any, min_jaccard: Any, keeper: Any, similarity: Any, most: Any
) -> None:
    values, begins, ends, sizes = sets
    keepers = np.empty(most, np.int64)
    for cluster in range(starts.size - 1):
        first, last = starts[cluster], starts[cluster + 1]
        if last - first > most:
            continue
        num_keepers = 0
        for i in range(first, last):
            own = values[begins[i] : ends[i]]
            for k in range(0 if released[i] else num_keepers):
                other = keepers[k]
                found = similarity_with(own, values[begins[other] : ends[other]], sizes[other], min_jaccard)
                if found >= min_jaccard:
                    keeper[i], similarity[i] = other, found
                    break
            if keeper[i] < 0:
                keepers[num_keepers] = i
                num_keepers += 1


def elect(sets: Sets, starts: I64, min_jaccard: float) -> tuple[I64, F64]:
    """Each member's keeper, int64 [num_members], and the similarity with it, float64: -1 and NaN where it is one.

    Cluster c is the members `starts[c]` to `starts[c + 1]`. `min_jaccard` is above 0 and at most 1. Memory beyond the
    arguments: 16 bytes for each shingle in the prefix of a keeper, and 64 MB.
    """
    keeper, similarity = undecided(sets.begins.size)
    _sweep_small(sets.arrays(), sets.released, starts, min_jaccard, keeper, similarity, SMALL_CLUSTER)
    for cluster in np.flatnonzero(np.diff(starts) > SMALL_CLUSTER):
        first, last = int(starts[cluster]), int(starts[cluster + 1])
        members = sets.between(first, last)
        frequency = slot_counts(int((members.ends - members.begins).sum()))
        for begin, end in zip(members.begins.tolist(), members.ends.tolist(), strict=True):
            count_slots(frequency, members.values[begin:end])
        found, measured, _ = elect_indexed(members, min_jaccard, frequency)
        keeper[first:last] = np.where(found < 0, -1, found + first)
        similarity[first:last] = measured
    return keeper, similarity


def elect_indexed(sets: Sets, min_jaccard: float, frequency: Counts32) -> tuple[I64, F64, Any]:
    """As `elect`, of one cluster that is all of `sets`; and the index of its keepers. `frequency` orders shingles."""
    keeper, similarity = undecided(sets.begins.size)
    index = sweep(sets.arrays(), sets.released, np.int64(sets.sketch_size), min_jaccard, frequency, keeper, similarity)
    return keeper, similarity, index


def undecided(num: int) -> tuple[I64, F64]:
    """Verdicts before any: keeper -1 and similarity NaN."""
    return np.full(num, -1, np.int64), np.full(num, np.nan)


@njit(cache=True, nogil=True)
def set_digests(values: Any, offsets: Any, digests: Any) -> None:
    """128 bits of each set, order-independent: `digests` uint64 [num_sets, 2], of sets `values[offsets[i]:offsets[i+1]]`."""
    for i in range(offsets.size - 1):
        first, second = np.uint64(0), np.uint64(0)
        for value in values[offsets[i] : offsets[i + 1]]:
            first += mix(value)
            second += mix(value ^ _OTHER)
        digests[i, 0], digests[i, 1] = first, second


def twins(digests: U64, sizes: I64, starts: I64, released: Flags) -> I64:
    """For each member the first of its cluster with the same set, or -1 where it is that itself: int64 [num_members].

    Members of an earlier release have none and are none: they are compared by sketch.
    """
    found = np.full(sizes.size, -1, np.int64)
    new = np.flatnonzero(~released)
    cluster = np.repeat(np.arange(starts.size - 1), np.diff(starts))[new]
    key = digests[new, 0] + cluster.astype(np.uint64) * _OTHER
    order = np.argsort(key, kind="stable")
    new, cluster, key = new[order], cluster[order], key[order]
    same = np.zeros(new.size, np.bool_)
    # a false "differs", where two keys agree by chance and their members mix, costs a comparison and no more
    same[1:] = (cluster[1:] == cluster[:-1]) & (sizes[new[1:]] == sizes[new[:-1]])
    same[1:] &= np.all(digests[new[1:]] == digests[new[:-1]], axis=1)
    first = np.flatnonzero(~same)
    found[new[same]] = np.repeat(new[first], np.diff(np.append(first, new.size)))[same]
    return found


def follow_twins(twin: I64, keeper: I64, similarity: F64) -> None:
    """Fill in, in place, the verdicts of members that have a twin: its keeper is theirs, or it is."""
    late = np.flatnonzero(twin >= 0)
    best = twin[late]
    is_keeper = keeper[best] < 0
    keeper[late] = np.where(is_keeper, best, keeper[best])
    similarity[late] = np.where(is_keeper, 1.0, similarity[best])
