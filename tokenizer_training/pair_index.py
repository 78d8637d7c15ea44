"""An index of the frequent pairs of adjacent symbols: pair -> count, and the records that hold it.

Merging takes pairs by falling count, and a count never rises once its pair exists, so a pair below `threshold` is not
needed until every pair above it is merged: it gets no entry, and when the last entry is used up the index is made anew
from the records with a lower threshold. What is indexed changes how much memory and time a run takes, never what it
learns.

Where the symbols are many, distinct pairs are too many to count exactly. A first scan adds every pair's weight to one
of a few million sums; a pair whose sum is below the threshold is itself below it. A second scan counts the others
exactly, a third lists their records. If the lists or the pairs would take more than allowed, the threshold rises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from tokenizer_training.pair_queue import sift_up, slot_of
from tokenizer_training.split_patterns import Array, Int
from tokenizer_training.words import Words, next_record, weight_at

NONE = 0xFFFFFFFF
"""No record: positions end below it."""
MAX_FILTER_BITS = 25
"""Sums of the first scan take 2**25 * 8 bytes = 256 MB at most."""
MIN_SLOTS, MIN_PLACES = 1 << 12, 16
MIN_PAIRS = 1 << 16
"""As many pairs as bytes make are always indexed."""
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(kw_only=True)
class PairIndex:
    """What `merge_pairs` works on. All pairs of `threshold` and above are in it, and only those.

    `keys` and `values` int64: the table. `heap_*`: the queue; an entry e lists the records
    `places[entry_start[e]:][:entry_length[e]]`, uint32. `places` is as long as it may ever be; what was never written
    takes no memory.
    """

    threshold: int
    keys: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]
    num_keys: int
    heap_count: npt.NDArray[np.int64]
    heap_pair: npt.NDArray[np.int64]
    heap_entry: npt.NDArray[np.int32]
    heap_size: int
    entry_start: npt.NDArray[np.int64]
    entry_length: npt.NDArray[np.int64]
    places: npt.NDArray[np.uint32]
    top: int
    max_pairs: int


def index_pairs(
    words: Words, *, threshold: int | None, floor: int, merged: npt.NDArray[np.int64], max_places: int, max_pairs: int
) -> PairIndex:
    """The index at `threshold`, or at a higher one where that would take more places or pairs than allowed.

    `threshold` None: the symbols are bytes still, few pairs; it becomes a thousandth of the largest count, at least
    `floor`. `merged` int64 [n, 2] are pairs that were merged before and the count each has left, which is kept.
    """
    asked, sums, counted = threshold or 1, np.zeros(0, np.int64), None
    while counted is None:
        if asked > 1 and not sums.size:
            sums = np.zeros(1 << min(MAX_FILTER_BITS, max(10, words.used.bit_length() - 3)), np.int64)
            _sum_pairs(words.slots, words.used, sums)
        counted = _count(words, asked, sums, max_pairs, len(merged))
        asked = asked if counted else 4 * asked
    del sums
    keys, counts, held = counted
    if threshold is None:
        asked = max(floor, int(counts.max(initial=0)) >> 10)
    _keep_merged(keys, counts, merged)
    asked = _affordable(counts, held, asked, max_places, max_pairs)
    return _fill(words, keys, counts, held, asked, merged, max_places, max_pairs)


def _count(
    words: Words, threshold: int, sums: npt.NDArray[np.int64], max_pairs: int, room: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint32]] | None:
    """Table of all pairs whose sum reaches `threshold`, with room for `room` more: keys, counts, records that hold it.

    None: more than `max_pairs` would be counted.
    """
    size = MIN_SLOTS
    while size * 6 < room * 10:
        size *= 2
    keys, counts = np.full(size, -1, np.int64), np.zeros(size, np.int64)
    held, last = np.zeros(size, np.uint32), np.full(size, NONE, np.uint32)
    at = num_keys = 0
    while True:
        at, num_keys = _count_pairs(
            words.slots, at, words.used, threshold, sums, keys, counts, held, last, num_keys, room
        )
        if at >= words.used:
            return keys, counts, held
        if num_keys > max(max_pairs, MIN_PAIRS):
            return None
        keys, counts, held, last = _twice(keys, counts, held, last)


def _affordable(
    counts: npt.NDArray[np.int64], held: npt.NDArray[np.uint32], threshold: int, max_places: int, max_pairs: int
) -> int:
    """The smallest of `threshold`, the powers of two above it and the largest count at which the lists fit."""
    listed = held > 0
    present = counts[listed]
    if not present.size:
        return threshold
    sizes = held[listed].astype(np.int64)
    while True:
        chosen = present >= threshold
        if int(sizes[chosen].sum()) * 10 <= max_places * 7 and int(chosen.sum()) * 10 <= max_pairs * 7:
            return threshold
        if not np.any(present >= 2 * threshold):
            return max(threshold, int(present.max()))
        threshold *= 2


def _fill(
    words: Words, keys: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], held: npt.NDArray[np.uint32],
    threshold: int, merged: npt.NDArray[np.int64], max_places: int, max_pairs: int,
) -> PairIndex:  # fmt: skip
    wanted = (counts >= threshold) & (held > 0)
    staying = wanted.copy()
    _mark_merged(keys, staying, merged)
    num_entries, num_keys = int(wanted.sum()), int(staying.sum())
    size = MIN_SLOTS
    while size * 3 < num_keys * 10:
        size *= 2
    new_keys, new_values = np.full(size, -1, np.int64), np.zeros(size, np.int64)
    capacity = max(MIN_SLOTS, num_entries * 3 // 2)
    heap_count, heap_pair = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    heap_entry = np.empty(capacity, np.int32)
    entry_start, entry_length = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
    needed = int(held[wanted].astype(np.int64).sum())
    places = np.empty(max(needed + MIN_PLACES, min(max_places, 4 * needed + (1 << 20))), np.uint32)
    entry_of = np.full(size, -1, np.int32)
    _make_entries(
        keys, counts, held, wanted, staying, new_keys, new_values, entry_of, heap_count, heap_pair, heap_entry,
        entry_start, entry_length,
    )  # fmt: skip
    _list_records(words.slots, words.used, new_keys, entry_of, entry_start, entry_length, places)
    return PairIndex(
        threshold=threshold, keys=new_keys, values=new_values, num_keys=num_keys, heap_count=heap_count,
        heap_pair=heap_pair, heap_entry=heap_entry, heap_size=num_entries, entry_start=entry_start,
        entry_length=entry_length, places=places, top=needed,
        max_pairs=max(max_pairs, MIN_PAIRS),
    )  # fmt: skip


@njit(cache=True)
def _sum_slot(key: Int, bits: Int) -> Int:
    return np.int64((np.uint64(key) * _PRIME) >> np.uint64(64 - bits))


@njit(cache=True)
def _sum_pairs(slots: Array, used: Int, sums: Array) -> None:
    """Add the weight of every pair to `sums[hash of it]`; the number of sums is a power of two."""
    bits = 0
    while 1 << bits < sums.size:
        bits += 1
    i = np.int64(0)
    while i < used:
        weight = weight_at(slots, i)
        i += 2
        x = np.int64(slots[i])
        while x >= 0:
            i += 1
            y = np.int64(slots[i])
            sums[_sum_slot((x << 32) | (y if y >= 0 else ~y), bits)] += weight
            x = y
        i = next_record(slots, i + 1, used)


@njit(cache=True)
def _count_pairs(
    slots: Array, i: Int, used: Int, threshold: Int, sums: Array, keys: Array, counts: Array, held: Array, last: Array,
    num_keys: Int, room: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """Count from the record at i on; returns early, before a record, where the table is too small for it."""
    bits = 0
    while 1 << bits < sums.size:
        bits += 1
    while i < used:
        stop = i + 2
        while slots[stop] >= 0:
            stop += 1
        if (num_keys + room + stop - i) * 10 > keys.size * 6:
            break
        weight = weight_at(slots, i)
        for q in range(i + 3, stop + 1):
            y = np.int64(slots[q])
            key = (np.int64(slots[q - 1]) << 32) | (y if y >= 0 else ~y)
            if sums.size > 0 and sums[_sum_slot(key, bits)] < threshold:
                continue
            p = slot_of(keys, key)
            if keys[p] == -1:
                keys[p] = key
                num_keys += 1
            counts[p] += weight
            if last[p] != i:
                last[p] = i
                held[p] += 1
        i = next_record(slots, stop + 1, used)
    return i, num_keys


@njit(cache=True)
def _twice(keys: Array, counts: Array, held: Array, last: Array) -> tuple[Array, Array, Array, Array]:
    size = 2 * keys.size
    new_keys, new_counts = np.full(size, -1, np.int64), np.zeros(size, np.int64)
    new_held, new_last = np.zeros(size, np.uint32), np.full(size, NONE, np.uint32)
    for q in range(keys.size):
        if keys[q] != -1:
            p = slot_of(new_keys, keys[q])
            new_keys[p], new_counts[p], new_held[p], new_last[p] = keys[q], counts[q], held[q], last[q]
    return new_keys, new_counts, new_held, new_last


@njit(cache=True)
def _keep_merged(keys: Array, counts: Array, merged: Array) -> None:
    for q in range(merged.shape[0]):
        p = slot_of(keys, merged[q, 0])
        keys[p], counts[p] = merged[q, 0], merged[q, 1]


@njit(cache=True)
def _mark_merged(keys: Array, staying: Array, merged: Array) -> None:
    for q in range(merged.shape[0]):
        staying[slot_of(keys, merged[q, 0])] = True


@njit(cache=True)
def _make_entries(
    keys: Array, counts: Array, held: Array, wanted: Array, staying: Array, new_keys: Array, new_values: Array,
    entry_of: Array, heap_count: Array, heap_pair: Array, heap_entry: Array, entry_start: Array, entry_length: Array,
) -> None:  # fmt: skip
    """Move the pairs that stay to the new table; queue those that are wanted, each with room for its list."""
    top = num_entries = np.int64(0)
    for q in range(keys.size):
        if not staying[q]:
            continue
        p = slot_of(new_keys, keys[q])
        new_keys[p], new_values[p] = keys[q], counts[q]
        if wanted[q]:
            entry_of[p] = num_entries
            entry_start[num_entries], entry_length[num_entries] = top, held[q]
            top += np.int64(held[q])
            sift_up(heap_count, heap_pair, heap_entry, num_entries, counts[q], keys[q], num_entries)
            num_entries += 1


@njit(cache=True)
def _list_records(
    slots: Array, used: Int, keys: Array, entry_of: Array, entry_start: Array, entry_length: Array, places: Array
) -> None:
    """Write the position of every record to the lists of the pairs it holds, in ascending order."""
    filled = np.zeros(entry_start.size, np.int64)
    i = np.int64(0)
    while i < used:
        first = i
        i += 2
        x = np.int64(slots[i])
        while x >= 0:
            i += 1
            y = np.int64(slots[i])
            key = (x << 32) | (y if y >= 0 else ~y)
            x = y
            p = slot_of(keys, key)
            if keys[p] != key or entry_of[p] < 0:
                continue
            e = entry_of[p]
            at = entry_start[e] + filled[e]
            if filled[e] == 0 or places[at - 1] != first:
                places[at] = first
                filled[e] += 1
        i = next_record(slots, i + 1, used)
