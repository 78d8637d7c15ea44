"""Pre-tokens as merging holds them: one int32 array of records, each a weight and the symbols of one pre-token.

A record is `weight & 0x7FFFFFFF, weight >> 31, symbol, ..., ~symbol`: the complement marks the last symbol, so nothing
else (no offsets, no lengths) is kept, and a visit touches one place in memory. A merge shortens a record in place and
fills what it frees with GAP; `compact` moves the records together and drops those that hold no pair any more. A record
is known by its position, which fits in 32 bits: MAX_SLOTS.

>>> words = read_words([{b"low": 5, b"a": 9}], np.arange(256, dtype=np.int32))
>>> words.slots.tolist()
[5, 0, 108, 111, -120]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.errors import InputError
from tokenizer_training.counting import COUNTS_SCHEMA, MAX_COUNT, counts_of
from tokenizer_training.split_patterns import Array, Int

GAP: Final = -(2**31)
MAX_SLOTS: Final = 2**32 - 2
"""Positions are uint32 and the largest one means "none": 17 GB of records, some 390 million pre-tokens of 9 bytes."""
_LOW31, _LOW32 = 0x7FFFFFFF, 0xFFFFFFFF

Batches = Callable[[], Iterable[pa.RecordBatch]]
"""Gives the counts (COUNTS_SCHEMA, each pre-token once) anew each time it is called."""


@dataclass(kw_only=True)
class Words:
    """`slots` int32: the records, `slots[:used]`. `num_pairs`: adjacent pairs in them, weighted, at the start."""

    slots: npt.NDArray[np.int32]
    used: int
    num_pairs: int


def read_words(batches: Batches | Iterable[Mapping[bytes, int]], byte_ids: npt.NDArray[np.int32]) -> Words:
    """The records of every pre-token of two bytes and more; `byte_ids` int32 [256] are the first symbols.

    Raises InputError for a count that is null or below 1, for more pair occurrences than 64 bits count, and for more
    records than positions.
    """
    given = batches if callable(batches) else _batches_of(batches)
    num_slots = num_pairs = 0
    for _, offsets, weights in map(counts_of, given()):
        lengths = np.diff(offsets)
        pairs = np.maximum(lengths - 1, 0)
        num_slots += int((lengths + 2)[pairs > 0].sum())
        num_pairs += weighted_sum(weights, pairs)
    if num_pairs > MAX_COUNT:
        raise InputError(
            f"the counts hold {num_pairs} pairs in all, more than 64 bits count ({MAX_COUNT}); lower the counts or the weights"
        )
    if num_slots > MAX_SLOTS:
        raise InputError(
            f"the pre-tokens take {num_slots} slots, there are {MAX_SLOTS}; drop rare ones (drop_pretokens_below) "
            "or train on less text"
        )
    slots, used = np.empty(num_slots, np.int32), 0
    for arena, offsets, weights in map(counts_of, given()):
        used = int(_append(slots, used, arena, offsets, weights, byte_ids))
    return Words(slots=slots, used=used, num_pairs=num_pairs)


def compact(words: Words) -> None:
    """Move the records that still hold a pair to the front; what is behind them goes back to the system."""
    words.used = int(_compact(words.slots, words.used))
    words.slots.resize(words.used, refcheck=False)


def weighted_sum(weights: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> int:
    """sum(weights * times) as a Python integer: exact however large. Both are >= 0, `times` below 2**31."""
    high, low = weights >> 31, weights & _LOW31
    exact = 0
    for start in range(0, weights.size, 1 << 20):  # so many products of 31 bits by numbers below 2**12 cannot overflow
        part = slice(start, start + (1 << 20))
        for scale, values in ((31, high[part]), (0, low[part])):
            if times[part].size and int(times[part].max()) >= 1 << 12:
                exact += sum(int(a) * int(b) for a, b in zip(values, times[part], strict=True)) << scale
            else:
                exact += _product(values, times[part]) << scale
    return exact


def _product(values: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> int:
    return int((values & 0xFFFF) @ times) + (int((values >> 16) @ times) << 16)


def _batches_of(given: Iterable[Mapping[bytes, int]]) -> Batches:
    kept = [pa.RecordBatch.from_pydict({"pretoken": list(m), "count": list(m.values())}, COUNTS_SCHEMA) for m in given]

    def batches() -> Iterator[pa.RecordBatch]:
        return iter(kept)

    return batches


@njit(cache=True)
def weight_at(slots: Array, i: Int) -> Int:
    """Weight of the record at position i."""
    return ((np.int64(slots[i + 1]) & _LOW32) << 31) | np.int64(slots[i])


@njit(cache=True)
def next_record(slots: Array, i: Int, used: Int) -> Int:
    """Position of the record that follows the last symbol of one, at i - 1."""
    while i < used and slots[i] == GAP:
        i += 1
    return i


@njit(cache=True)
def _append(slots: Array, at: Int, arena: Array, offsets: Array, weights: Array, byte_ids: Array) -> Int:
    for w in range(weights.size):
        start, stop = offsets[w], offsets[w + 1]
        if stop - start < 2:
            continue
        weight = weights[w]
        slots[at] = weight & _LOW31
        slots[at + 1] = np.int32(weight >> 31)
        at += 2
        for i in range(start, stop):
            slots[at] = byte_ids[arena[i]]
            at += 1
        slots[at - 1] = ~slots[at - 1]
    return at


@njit(cache=True)
def _compact(slots: Array, used: Int) -> Int:
    i = out = np.int64(0)
    while i < used:
        stop = i + 2
        while slots[stop] >= 0:
            stop += 1
        stop += 1
        if stop - i > 3:
            if out != i:
                for q in range(stop - i):
                    slots[out + q] = slots[i + q]
            out += stop - i
        i = next_record(slots, stop, used)
    return out
