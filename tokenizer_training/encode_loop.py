"""The loop of the encoder: UTF-8 in, ids out, every pre-token looked up in one table of those met before.

The table is the vocabulary, for whole pre-tokens (`ignore_merges`), and a cache of what was merged, in the same slots of
32 bytes: two words of key, two of value. A pre-token below 16 bytes is its own key; a longer one is found by hash and
compared byte by byte with the copy in `arena`. A value is up to three ids, or where more of them lie in `spilled`.
What the cache holds never changes an id, so it may be bounded and begun anew at any time.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from pipelines.kernels.bits import compiled, inlined, load64, lowest
from pipelines.kernels.hashing import hash_bytes, mix_pair
from tokenizer_training.piece_merging import SHORT, merge_long, merge_short
from tokenizer_training.split_patterns import BLANK, LETTER, Array, Int, next_cut, run_end

OWN_KEY: Final = 15
"""Pre-tokens of up to so many bytes are their own key."""
CACHED_BYTES: Final = 256
"""Longer pre-tokens are merged each time, unless a token of the vocabulary is as long."""
ROOM: Final = 4
"""`out` has so many entries more than there are bytes and documents: three ids are always written, one or two in vain."""
_U = np.uint64
_ZERO, _32, _56 = _U(0), _U(32), _U(56)
_LOW32, _LOW56, _LONG = _U(0xFFFFFFFF), _U((1 << 56) - 1), _U(0xFF << 56)
_HIGH_BITS, _FOLD = _U(0x8080808080808080), _U(0x2020202020202020)
_LOW_BITS, _FROM_A, _PAST_Z = _U(0x7F7F7F7F7F7F7F7F), _U(0x1F1F1F1F1F1F1F1F), _U(0x0505050505050505)
_KEEP = np.array([(1 << (8 * min(k, 8))) - 1 for k in range(17)], np.uint64)
_KEEP_HIGH = np.array([(1 << (8 * max(k - 8, 0))) - 1 for k in range(17)], np.uint64)

ENTRIES, ARENA_USED, SPILLED_USED = 0, 1, 2
"""What `used` int64 [3] counts."""


@inlined
def _letters(content: Array, i: Int) -> Int:
    """How many of the 8 bytes from i on are ASCII letters before the first that is none."""
    word = load64(content, i)
    folded = (word | _FOLD) & _LOW_BITS
    # bit 7 of a byte: at least `a`, and not beyond `z`, and ASCII
    found = (folded + _FROM_A) & ~(folded + _PAST_Z) & ~word & _HIGH_BITS
    return lowest(found ^ _HIGH_BITS) >> 3


@inlined
def _next(content: Array, classes: Array, i: Int, stop: Int, flags: Int) -> Int:
    """`next_cut`, with a short way for ASCII letters and the space before them."""
    p = i
    if content[i] == BLANK:
        p += 1
    if p + 8 <= stop:
        n = _letters(content, p)
        if n > 0:
            p += n
            while n == 8 and p + 8 <= stop:
                n = _letters(content, p)
                p += n
            if n < 8 and content[p] < 128:
                return p
            return run_end(content, classes, p, stop, LETTER, False)
    return next_cut(content, classes, i, stop, flags)


@inlined
def _own_key(content: Array, i: Int, size: Int) -> tuple[Any, Any]:
    """Key of up to OWN_KEY bytes: never 0 in its second word, which has the length."""
    if i + 16 <= content.size:
        low, high = load64(content, i) & _KEEP[size], load64(content, i + 8) & _KEEP_HIGH[size]
    else:
        low = high = _ZERO
        for t in range(size):
            byte = _U(content[i + t]) << _U(8 * (t & 7))
            if t < 8:
                low |= byte
            else:
                high |= byte
    return low, high | (_U(size) << _56)


@compiled
def _same(arena: Array, at: Int, content: Array, i: Int, size: Int) -> Any:
    """Whether the copy at `at`, a length of 4 bytes before it, is `content[i:i + size]`."""
    length = np.int64(0)
    for t in range(4):
        length |= np.int64(arena[at + t]) << (8 * t)
    if length != size:
        return False
    t = 0
    while t < size and arena[at + 4 + t] == content[i + t]:
        t += 1
    return t == size


@inlined
def _find(table: Array, arena: Array, content: Array, i: Int, size: Int, low: Any, high: Any) -> Int:
    """The slot of a pre-token, or the free one where it would go, times 4."""
    mask = (table.size >> 2) - 1
    p = np.int64((low if high == _LONG else mix_pair(low, high)) & _U(mask))
    while True:
        second = table[4 * p + 1]
        if second == _ZERO:
            return 4 * p
        if table[4 * p] == low:
            if high != _LONG:
                if second == high:
                    return 4 * p
            elif (second & _LONG) == _LONG and _same(arena, np.int64(second & _LOW56), content, i, size):
                return 4 * p
        p = (p + 1) & mask


@njit(cache=True, nogil=True)
def move_entries(table: Array, larger: Array) -> None:
    """Put the entries of one table into an empty, larger one."""
    mask = (larger.size >> 2) - 1
    for s in range(0, table.size, 4):
        low, high = table[s], table[s + 1]
        if high == _ZERO:
            continue
        p = np.int64((low if (high & _LONG) == _LONG else mix_pair(low, high)) & _U(mask))
        while larger[4 * p + 1] != _ZERO:
            p = (p + 1) & mask
        larger[4 * p : 4 * p + 4] = table[s : s + 4]


@compiled
def _enter(
    table: Array, arena: Array, spilled: Array, used: Array, slot: Int, content: Array, i: Int, size: Int, low: Any,
    high: Any, ids: Array, first: Int, count: Int,
) -> None:  # fmt: skip
    """Put `ids[first:first + count]` at a free slot; the caller has seen that there is room."""
    if high == _LONG:
        at = used[ARENA_USED]
        for t in range(4):
            arena[at + t] = (size >> (8 * t)) & 255
        for t in range(size):
            arena[at + 4 + t] = content[i + t]
        used[ARENA_USED] += size + 4
        high = high | _U(at)
    a = b = c = _ZERO
    if count <= 3:
        a = _U(ids[first])
        b = _U(ids[first + 1]) if count > 1 else _ZERO
        c = _U(ids[first + 2]) if count > 2 else _ZERO
        a |= b << _32
    else:
        at = used[SPILLED_USED]
        for t in range(count):
            spilled[at + t] = ids[first + t]
        used[SPILLED_USED] += count
        a = _U(at)
    table[slot], table[slot + 1], table[slot + 2], table[slot + 3] = low, high, a, c | (_U(count) << _32)
    used[ENTRIES] += 1


@njit(cache=True, nogil=True)
def enter_vocabulary(content: Array, offsets: Array, ids: Array, table: Array, arena: Array, used: Array) -> None:
    """Put tokens `content[offsets[k]:offsets[k + 1]]` with `ids[k]` into a table and an arena that have room."""
    for k in range(ids.size):
        i, size = offsets[k], offsets[k + 1] - offsets[k]
        low, high = _own_key(content, i, size) if size <= OWN_KEY else (hash_bytes(content, i, size), _LONG)
        slot = _find(table, arena, content, i, size, low, high)
        if table[slot + 1] == _ZERO:
            _enter(table, arena, ids, used, slot, content, i, size, low, high, ids, k, 1)


@compiled
def _next_mark(content: Array, i: Int, stop: Int, firsts: Array, marks: Array, mark_offsets: Array) -> tuple[Int, Int]:
    """Where the next placeholder begins, and which: the first in `marks` that is there; (stop, -1) where none is."""
    while i < stop:
        if firsts[content[i]]:
            for m in range(mark_offsets.size - 1):
                start, size = mark_offsets[m], mark_offsets[m + 1] - mark_offsets[m]
                if i + size <= stop:
                    t = 0
                    while t < size and content[i + t] == marks[start + t]:
                        t += 1
                    if t == size:
                        return i, m
        i += 1
    return stop, -1


@njit(cache=True, nogil=True)
def encode_texts(
    content: Array, offsets: Array, out: Array, ends: Array, end_id: Int, classes: Array, flags: Int,
    firsts: Array, marks: Array, mark_offsets: Array, mark_ids: Array, byte_ids: Array, byte_ranks: Array, pairs: Array,
    lefts: Array, rights: Array, results: Array, widths: Array, max_lookup: Int, table: Array, arena: Array,
    spilled: Array, used: Array, document: Int, i: Int, n: Int,
) -> tuple[Int, Int, Int]:  # fmt: skip
    """Encode texts `content[offsets[d]:offsets[d + 1]]` from (document, i) on into `out[n:]`; `ends[d]` is where each ends.

    A negative `end_id` closes no document. Returns (document, i, n) early, to be called again with them, where the
    table, `arena` or `spilled` may not have room for another pre-token.
    """
    ids, found = np.empty(SHORT, np.int32), np.empty(SHORT, np.int64)
    num_documents = offsets.size - 1
    most_entries = table.size >> 3
    while document < num_documents:
        stop = offsets[document + 1]
        while i < stop:
            until, mark = _next_mark(content, i, stop, firsts, marks, mark_offsets)
            while i < until:
                j = _next(content, classes, i, until, flags)
                size = j - i
                if size == 1:
                    out[n] = byte_ids[content[i]]
                    n += 1
                elif size > max_lookup:
                    n = merge_long(
                        content, i, size, byte_ids, byte_ranks, pairs, lefts, rights, results, widths, out, n
                    )  # fmt: skip
                else:
                    low, high = _own_key(content, i, size) if size <= OWN_KEY else (hash_bytes(content, i, size), _LONG)
                    slot = _find(table, arena, content, i, size, low, high)
                    if table[slot + 1] == _ZERO:
                        if (
                            used[ENTRIES] >= most_entries
                            or used[ARENA_USED] + size + 4 > arena.size
                            or used[SPILLED_USED] + size > spilled.size
                        ):
                            return document, i, n
                        if size <= SHORT:
                            count = merge_short(content, i, size, byte_ids, byte_ranks, pairs, results, ids, found)
                            _enter(table, arena, spilled, used, slot, content, i, size, low, high, ids, 0, count)
                        else:
                            stored = merge_long(
                                content, i, size, byte_ids, byte_ranks, pairs, lefts, rights, results, widths, spilled,
                                used[SPILLED_USED],
                            )  # fmt: skip
                            first = used[SPILLED_USED]
                            _enter(
                                table, arena, spilled, used, slot, content, i, size, low, high, spilled, first,
                                stored - first,
                            )  # fmt: skip
                    a, c = table[slot + 2], table[slot + 3]
                    count = np.int64(c >> _32)
                    if count <= 3:
                        out[n] = a & _LOW32
                        out[n + 1] = a >> _32
                        out[n + 2] = c & _LOW32
                    else:
                        at = np.int64(a)
                        for t in range(count):
                            out[n + t] = spilled[at + t]
                    n += count
                i = j
            if mark >= 0:
                out[n] = mark_ids[mark]
                n += 1
                i = until + mark_offsets[mark + 1] - mark_offsets[mark]
        if end_id >= 0:
            out[n] = end_id
            n += 1
        ends[document] = n
        document += 1
        if document < num_documents:
            i = offsets[document]
    return document, i, n


def empty_table(num_slots: int) -> npt.NDArray[np.uint64]:
    """A table of `num_slots`, a power of two; half of them may be taken.

    From `np.empty`, for which NumPy asks for huge pages: a table is read at random, and those of 4 KB cost as much again.
    """
    table = np.empty(4 * num_slots, np.uint64)
    table.fill(0)
    return table


def slots_for(num_entries: int) -> int:
    """Slots of a table that has room for `num_entries` and one more."""
    return 1 << max(4, (2 * num_entries).bit_length())
