"""Merging the bytes of one pre-token by rank, as HF `tokenizers` does: the best pair first, the leftmost of equals.

Two ways to the same ids. Up to SHORT bytes every step looks at all pairs. Longer pre-tokens go through a heap, n log n,
in 4 bytes of memory a byte and a heap that holds local minima only: a pair that ranks behind a neighbour cannot be next,
so a million times one character needs a heap of one. Valid for any list of merges, also one where a merge makes
a pair that ranks before it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from pipelines.kernels.bits import compiled, inlined
from tokenizer_training.split_patterns import Array, Int

SHORT: Final = 128
"""Looking at all pairs is as fast as the heap up to here: 126 MB of mixed text took 9% less than at 32."""
NO_RANK: Final = 2**29
"""Ranks are below this: a heap entry is a rank and a position of up to 34 bits."""
ID_BITS, RANK_BITS = 20, 23
"""An entry of the table of pairs is one word: two ids and a rank. Falcon-H1's largest vocabulary takes 18 bits."""
_RANK_MASK = (1 << RANK_BITS) - 1
_POSITION_BITS, _POSITION_MASK = 34, (1 << 34) - 1
_MIX, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)


def pair_table(lefts: npt.NDArray[np.int32], rights: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Open-addressing table of pairs, no two equal, and their ranks: int64, -1 where free."""
    pairs = np.full(1 << max(4, (2 * lefts.size).bit_length()), -1, np.int64)
    _fill(pairs, lefts, rights)
    return pairs


def byte_pair_ranks(pairs: npt.NDArray[np.int64], byte_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Rank of every pair of bytes, first byte times 256 and the second: int32 [65536], NO_RANK where it has none."""
    ranks = np.empty(1 << 16, np.int32)
    _fill_bytes(ranks, pairs, byte_ids)
    return ranks


@njit(cache=True, nogil=True)
def _fill(pairs: Array, lefts: Array, rights: Array) -> None:
    for rank in range(lefts.size):
        key = (np.int64(lefts[rank]) << ID_BITS) | np.int64(rights[rank])
        p = _slot(key, pairs.size)
        while pairs[p] >= 0:
            p = (p + 1) & (pairs.size - 1)
        pairs[p] = (key << RANK_BITS) | rank


@njit(cache=True, nogil=True)
def _fill_bytes(ranks: Array, pairs: Array, byte_ids: Array) -> None:
    for k in range(ranks.size):
        ranks[k] = rank_of(pairs, byte_ids[k >> 8], byte_ids[k & 255])


@inlined
def _slot(key: Int, size: Int) -> Int:
    h = np.uint64(key) * _MIX
    return np.int64((h ^ (h >> _SHIFT)) & np.uint64(size - 1))


@inlined
def rank_of(pairs: Array, left: Int, right: Int) -> Int:
    """Rank of the pair, or NO_RANK."""
    key = (np.int64(left) << ID_BITS) | np.int64(right)
    p = _slot(key, pairs.size)
    while (pairs[p] >> RANK_BITS) != key:
        if pairs[p] < 0:
            return np.int64(NO_RANK)
        p = (p + 1) & (pairs.size - 1)
    return pairs[p] & _RANK_MASK


@compiled
def merge_short(
    content: Array, start: Int, size: Int, byte_ids: Array, byte_ranks: Array, pairs: Array, results: Array,
    ids: Array, found: Array,
) -> Int:  # fmt: skip
    """Ids of `content[start:start + size]` into `ids` int32 [>= size]; `found` int64 [>= size] is scratch. Their number."""
    n = size
    for t in range(n):
        ids[t] = byte_ids[content[start + t]]
    for t in range(n - 1):
        found[t] = byte_ranks[(np.int64(content[start + t]) << 8) | np.int64(content[start + t + 1])]
    while n > 1:
        best, at = found[0], 0
        for t in range(1, n - 1):
            if found[t] < best:
                best, at = found[t], t
        if best == NO_RANK:
            break
        ids[at] = results[best]
        n -= 1
        for t in range(at + 1, n):
            ids[t] = ids[t + 1]
            found[t - 1] = found[t]
        if at > 0:
            found[at - 1] = rank_of(pairs, ids[at - 1], ids[at])
        if at < n - 1:
            found[at] = rank_of(pairs, ids[at], ids[at + 1])
    return n


@njit(cache=True, nogil=True)
def _push(heap: Array, n: Int, entry: Int) -> Array:
    """The heap with `entry` added to its `n`: another array where it was full."""
    if n == heap.size:
        larger = np.empty(2 * n, np.int64)
        larger[:n] = heap
        heap = larger
    while n > 0:
        above = (n - 1) >> 1
        if heap[above] <= entry:
            break
        heap[n] = heap[above]
        n = above
    heap[n] = entry
    return heap


@compiled
def _pop(heap: Array, n: Int) -> Int:
    """The least of the heap's `n` entries, which are then one fewer."""
    least, entry = heap[0], heap[n - 1]
    n -= 1
    k = 0
    while 2 * k + 1 < n:
        below = 2 * k + 1
        if below + 1 < n and heap[below + 1] < heap[below]:
            below += 1
        if heap[below] >= entry:
            break
        heap[k] = heap[below]
        k = below
    heap[k] = entry
    return least


@njit(cache=True, nogil=True)
def merge_long(
    content: Array, start: Int, size: Int, byte_ids: Array, byte_ranks: Array, pairs: Array, lefts: Array,
    rights: Array, results: Array, widths: Array, out: Array, n: Int,
) -> Int:  # fmt: skip
    """Ids of `content[start:start + size]` into `out` from `n` on; where they end. `widths[id]`: bytes of a token.

    `symbols[p]` is the id of the token that starts at p, and so is the entry at its last byte, by which one finds what
    is before. What an entry of the heap stood for may be gone: then the ids of its pair are not there any more, since
    what stands at a position only gets longer.
    """
    symbols = np.empty(size, np.int32)
    for t in range(size):
        symbols[t] = byte_ids[content[start + t]]
    heap, num = np.empty(1024, np.int64), 0
    before = here = np.int64(NO_RANK)
    for t in range(size - 1):
        if t == 0:
            here = np.int64(byte_ranks[(np.int64(content[start]) << 8) | np.int64(content[start + 1])])
        after = np.int64(NO_RANK)
        if t + 2 < size:
            after = np.int64(byte_ranks[(np.int64(content[start + t + 1]) << 8) | np.int64(content[start + t + 2])])
        if here < before and here <= after and here < NO_RANK:
            heap = _push(heap, num, (here << _POSITION_BITS) | t)
            num += 1
        before, here = here, after
    while num > 0:
        entry = _pop(heap, num)
        num -= 1
        rank, p = entry >> _POSITION_BITS, entry & _POSITION_MASK
        left, right, made = lefts[rank], rights[rank], results[rank]
        q = p + widths[left]
        if symbols[p] != left or q >= size or symbols[q] != right:
            continue
        end = q + widths[right]
        a = old_a = z = b = old_b = c = np.int64(NO_RANK)
        o = p
        if p > 0:
            o = p - widths[symbols[p - 1]]
            old_a, a = rank_of(pairs, symbols[o], left), rank_of(pairs, symbols[o], made)
            if o > 0:
                z = rank_of(pairs, symbols[o - 1], symbols[o])
        if end < size:
            old_b, b = rank_of(pairs, right, symbols[end]), rank_of(pairs, made, symbols[end])
            beyond = end + widths[symbols[end]]
            if beyond < size:
                c = rank_of(pairs, symbols[end], symbols[beyond])
        if z < NO_RANK and z <= a and old_a < z:
            heap = _push(heap, num, (z << _POSITION_BITS) | (o - widths[symbols[o - 1]]))
            num += 1
        symbols[p] = made
        symbols[q] = -1
        symbols[end - 1] = made
        if a < NO_RANK and a < z and a <= b:
            heap = _push(heap, num, (a << _POSITION_BITS) | o)
            num += 1
        if b < NO_RANK and b < a and b <= c:
            heap = _push(heap, num, (b << _POSITION_BITS) | p)
            num += 1
        if c < NO_RANK and c < b and old_b <= c:
            heap = _push(heap, num, (c << _POSITION_BITS) | end)
            num += 1
    at: Int = np.int64(0)
    while at < size:
        out[n] = symbols[at]
        n += 1
        at += widths[symbols[at]]
    return n
