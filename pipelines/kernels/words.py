"""Words of a scanned document: where they lie, their hashes, how many characters come before each.

Words are those of `unicode_classes`. All arrays are the caller's, with `WORD_ROOM` entries more than there are words;
positions are offsets from the start of the document. `words_of` is the same for one Python string, for whoever needs
the words themselves.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from pipelines.kernels.bits import compiled, inlined, lowest, popcount
from pipelines.kernels.hashing import hash_bytes, intern, slots_for
from pipelines.kernels.scanning import COLUMNS, CONTINUES, IN_WORD, PADDING, STARTS, num_chars, num_rows, scan
from pipelines.kernels.unicode_classes import class_table

WORD_ROOM: Final = 72
"""Entries written beyond the last word: up to one block's positions are stored before they are counted."""

_U: Final = np.uint64
_0: Final = np.uint64(0)
_1: Final = np.uint64(1)


@inlined
def _store_positions(mask: Any, base: int, into: Any, count: int) -> int:
    """Append base + k for each set bit k; eight at a time, so that the loop ends at a rarely surprising place."""
    total = popcount(mask)
    done = 0
    while True:
        for k in range(8):
            into[count + done + k] = base + lowest(mask)
            mask &= mask - _1
        done += 8
        if done >= total:
            return int(count + total)


@compiled
def word_bounds(bits: Any, length: int, begins: Any, ends: Any) -> int:
    """Fill int32 `begins` and `ends` with the bounds of every word of a scanned document; returns how many."""
    rows = num_rows(length) - 1
    num_begins, num_ends, carry = 0, 0, _0
    for k in range(rows):
        in_word, starts = bits[k, IN_WORD], bits[k, STARTS]
        closed = ((in_word << _1) | carry) & (~in_word | starts)
        carry = in_word >> _U(63)
        num_begins = _store_positions(starts, k << 6, begins, num_begins)
        num_ends = _store_positions(closed, k << 6, ends, num_ends)
    if carry != _0:
        ends[num_ends] = rows << 6
    return num_begins


@compiled
def hash_words(buffer: Any, start: int, begins: Any, ends: Any, num_words: int, hashes: Any) -> None:
    """uint64 `hash_bytes` of each word of the document that starts at `start`."""
    for j in range(num_words):
        hashes[j] = hash_bytes(buffer, start + begins[j], ends[j] - begins[j])


@compiled
def chars_before_words(bits: Any, before: Any, begins: Any, ends: Any, num_words: int, chars: Any) -> None:
    """int32 `chars[j]`: characters in the first j words, for j from 0 to num_words."""
    total = 0
    chars[0] = 0
    ascii_only = num_words == 0 or before[(ends[num_words - 1] + 63) >> 6] == 0
    for j in range(num_words):
        if ascii_only:
            total += ends[j] - begins[j]
        else:
            row, first = begins[j] >> 6, begins[j] & 63
            length = ends[j] - begins[j]
            if first + length <= 64:
                inside = (bits[row, CONTINUES] >> _U(first)) << _U(64 - length)
                total += length - popcount(inside)
            else:
                total += num_chars(bits, before, begins[j], ends[j])
        chars[j + 1] = total


@compiled
def count_distinct(hashes: Any, num_words: int, table: Any, keys: Any) -> int:
    """Different hashes among the first `num_words`."""
    slots = slots_for(num_words)
    table[:slots] = 0
    distinct = 0
    for j in range(num_words):
        distinct += intern(table, slots, keys, distinct, hashes[j]) == distinct
    return distinct


@compiled
def count_present(hashes: Any, num_words: int, seen: Any, mask: int, wanted: Any) -> int:
    """How many of the hashes `wanted` occur among the words; `seen` is what `ngrams.count_hashes` left."""
    present = 0
    for k in range(wanted.size):
        if seen[np.int64(wanted[k] & _U(mask))]:
            for j in range(num_words):
                if hashes[j] == wanted[k]:
                    present += 1
                    break
    return present


@njit(cache=True, _nrt=False)
def _bounds_of(buffer: Any, length: int, table: Any, bits: Any, before: Any, begins: Any, ends: Any) -> int:
    scan(buffer, 0, length, table, bits, before)
    return int(word_bounds(bits, length, begins, ends))


def words_of(text: str) -> list[str]:
    """The words of `text`, in order.

    >>> words_of("It's 3 o'clock: 漢字が")
    ['It', 's', '3', 'o', 'clock', '漢', '字', 'が']
    """
    raw = text.encode()
    rows, room = num_rows(len(raw)), len(raw) // 2 + 1 + WORD_ROOM
    buffer = np.frombuffer(raw + bytes(PADDING), np.uint8)
    begins, ends = np.empty(room, np.int32), np.empty(room, np.int32)
    count = _bounds_of(
        buffer, len(raw), class_table(), np.empty((rows, COLUMNS), np.uint64), np.empty(rows, np.int64), begins, ends
    )
    bounds = zip(begins[:count].tolist(), ends[:count].tolist(), strict=True)
    return [raw[begin:end].decode() for begin, end in bounds]
