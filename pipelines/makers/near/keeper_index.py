"""An index of keepers: members of one cluster by preference in; for each the first keeper that is similar enough out.

Comparing every member with every keeper is quadratic where a boilerplate band joins a million documents that are
unlike each other. The index holds the keepers' *prefixes* (AllPairs: Bayardo, Ma and Srikant 2007; PPJoin: Xiao et al.
2008). With the shingles of every document in one order, rarest first, two sets of similarity t or more share one of
the first `n - ceil(t * n) + 1` of either. If the first they share is the i-th of n (from 0) on one side and the j-th of
m on the other, they share at most `min(n - i, m - j)`, and similarity t needs `t / (1 + t) * (n + m)`. So an entry says
how large a set it may serve at most, its *reach*, and boilerplate at the end of prefixes is passed by unread. Two sets
of which one is a sketch of k hashes (`similarity`) must share `ceil(t * k)` of the k smallest of each; those have entries
of their own, under another hash. All this is exact: what is not compared could not have succeeded.

The order is by how often a *slot*, the top bits of a hash, occurs, then by hash. Slots shared by several shingles, or
counted in other documents as well, change what is rarest a little: the cost, never the outcome.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from pipelines.kernels.hashing import mix
from pipelines.makers.near.similarity import ROUNDING, similarity_with

MIN_SLOT_BITS: Final = 10
MAX_SLOT_BITS: Final = 22
Counts32 = npt.NDArray[np.int32]

_MOST: Final = 2**31 - 1
_AFTER, _OWNER, _CHECK, _REACH = range(4)
_SKETCHED: Final = np.uint64(0x94D049BB133111EB)
"""Added to a hash, before it is mixed, where it is an entry of a sketch."""


def slot_counts(num_values: int) -> Counts32:
    """Zeros for `count_slots`: int32 [a power of two of about `num_values`, 4 million at most]."""
    bits = min(max(int(num_values).bit_length(), MIN_SLOT_BITS), MAX_SLOT_BITS)
    return np.zeros(1 << bits, np.int32)


@njit(cache=True, nogil=True)
def shift_of(frequency: Any) -> Any:
    """What brings a hash down to its slot in `frequency`."""
    bits = 0
    while (1 << bits) < frequency.size:
        bits += 1
    return np.uint64(64 - bits)


@njit(cache=True, nogil=True)
def count_slots(frequency: Any, values: Any) -> None:
    """Add the hashes `values` to how often each slot occurs, in place; a count stays at 2**31 - 1."""
    shift = shift_of(frequency)
    for value in values:
        if frequency[value >> shift] < _MOST:
            frequency[value >> shift] += 1


@njit(cache=True, nogil=True)
def new_index(num_slots: Any) -> Any:
    """An index without keepers: (head, reach and least size of each slot, entries, [number of entries, of sketches])."""
    return (
        np.full(num_slots, -1, np.int32),
        np.zeros(num_slots, np.int32),
        np.full(num_slots, _MOST, np.int32),
        np.empty((1024, 4), np.int32),
        np.zeros(2, np.int64),
    )


@njit(cache=True, nogil=True)
def _prefix(values: Any, num_needed: Any, frequency: Any, shift: Any) -> Any:
    """The rarest of `values`, rarest first, one of which is in every set that shares `num_needed` with them."""
    num = min(values.size - num_needed + 1, values.size)
    if num <= 0:
        return values[:0].copy()
    counts = np.empty(values.size, np.int32)
    for i in range(values.size):
        counts[i] = frequency[values[i] >> shift]
    # values ascend, so a stable sort breaks ties by value, the same way in every document
    return values[np.argsort(counts, kind="mergesort")[:num]]


@njit(cache=True, nogil=True)
def _whole(number: Any) -> Any:
    return np.int64(np.ceil(number - ROUNDING))


@njit(cache=True, nogil=True)
def _insert(index: Any, values: Any, size: Any, owner: Any, min_jaccard: Any, frequency: Any, shift: Any) -> Any:
    """The index with keeper `owner`, whose set of `size` is `values`, or whose sketch it is."""
    head, reaches, least, entries, numbers = index
    sketched = values.size < size
    needed = _whole(min_jaccard * values.size)
    prefix = _prefix(values, needed, frequency, shift)
    if numbers[0] + prefix.size > entries.shape[0]:
        grown = np.empty((2 * (numbers[0] + prefix.size), 4), np.int32)
        grown[: numbers[0]] = entries[: numbers[0]]
        entries = grown
    for j in range(prefix.size):
        value = prefix[j]
        if frequency[value >> shift] < 2:  # nobody else has it
            continue
        if sketched:
            value, reach = mix(value + _SKETCHED), size / min_jaccard
        else:
            reach = (size - j) * (1.0 + min_jaccard) / min_jaccard - size
        bound = np.int32(min(reach + ROUNDING * size + ROUNDING, _MOST))
        slot, at = value >> shift, numbers[0]
        entries[at, _AFTER], entries[at, _OWNER] = head[slot], owner
        entries[at, _CHECK], entries[at, _REACH] = np.int32(np.uint32(value & np.uint64(0xFFFFFFFF))), bound
        head[slot], numbers[0] = at, at + 1
        reaches[slot], least[slot] = max(reaches[slot], bound), min(least[slot], min(size, _MOST))
    numbers[1] += sketched
    return head, reaches, least, entries, numbers


@njit(cache=True, nogil=True)
def _gather(
    index: Any, value: Any, size: Any, largest: Any, shift: Any, stamp: Any, asked: Any, found: Any, num: Any
) -> Any:
    """Put into `found[num:]` the keepers not `asked` yet that have an entry for `value`, which may serve `size`."""
    head, reaches, least, entries, _ = index
    slot = value >> shift
    if head[slot] < 0 or size > reaches[slot] or least[slot] > largest:
        return num
    check, at = np.int32(np.uint32(value & np.uint64(0xFFFFFFFF))), head[slot]
    while at >= 0:
        if entries[at, _CHECK] == check and entries[at, _REACH] >= size:
            owner = entries[at, _OWNER]
            if asked[owner] != stamp:
                asked[owner] = stamp
                found[num] = owner
                num += 1
        at = entries[at, _AFTER]
    return num


@njit(cache=True, nogil=True)
def first_keeper(
    index: Any,
    own: Any,
    sets: Any,
    sketch_size: Any,
    min_jaccard: Any,
    frequency: Any,
    stamp: Any,
    asked: Any,
    found: Any,
) -> Any:
    """The first keeper in `index` that reaches `min_jaccard` with the set `own`, and the similarity; -1 for none.

    `sets` is (values, begins, ends, sizes) of the owners in the index; `asked`, int64 [num_owners], holds no `stamp` yet;
    `found`, int64 [num_owners], is overwritten.
    """
    values, begins, ends, sizes = sets
    shift = shift_of(frequency)
    num = 0
    size = own.size
    prefix = _prefix(own, _whole(min_jaccard * size), frequency, shift)
    if index[4][0] > 0:
        for i in range(prefix.size):
            largest = (size - i) * (1.0 + min_jaccard) / min_jaccard - size + ROUNDING * size + ROUNDING
            num = _gather(index, prefix[i], size, largest, shift, stamp, asked, found, num)
    if index[4][1] > 0:
        needed = _whole(min_jaccard * sketch_size)
        largest = size / min_jaccard + ROUNDING * size + ROUNDING
        for value in _prefix(own[:sketch_size], needed, frequency, shift):
            num = _gather(index, mix(value + _SKETCHED), size, largest, shift, stamp, asked, found, num)
    for owner in np.sort(found[:num]):
        similarity = similarity_with(own, values[begins[owner] : ends[owner]], sizes[owner], min_jaccard)
        if similarity >= min_jaccard:
            return owner, similarity
    return np.int64(-1), np.nan


@njit(cache=True, nogil=True)
def sweep(
    sets: Any,
    released: Any,
    sketch_size: Any,
    min_jaccard: Any,
    frequency: Any,
    keeper: Any,
    similarity: Any,
) -> Any:
    """One cluster, all the members of `sets`: fill in `keeper` and `similarity`; return the index of its keepers."""
    values, begins, ends, sizes = sets
    shift = shift_of(frequency)
    index = new_index(frequency.size)
    asked, found = np.full(begins.size, -1, np.int64), np.empty(begins.size, np.int64)
    for i in range(begins.size):
        own = values[begins[i] : ends[i]]
        if not released[i]:
            other, value = first_keeper(
                index, own, sets, sketch_size, min_jaccard, frequency, np.int64(i), asked, found
            )
            if other >= 0:
                keeper[i], similarity[i] = other, value
                continue
        index = _insert(index, own, sizes[i], i, min_jaccard, frequency, shift)
    return index
