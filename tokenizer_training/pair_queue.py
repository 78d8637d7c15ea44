"""What the merge loop looks things up in, for Numba: a table pair -> count, and a queue of (count, pair, entry).

A pair is one int64, `left id << 32 | right id`. The table is open addressing, -1 for an empty slot. The queue is a heap
of four children a node, in three arrays; largest count first, among equals the smallest pair.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tokenizer_training.split_patterns import Array, Int

_PRIME, _S32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)


@njit(cache=True)
def longer_array(array: Array, used: Int, size: Int) -> Array:
    """`array` with room for `size` entries, its first `used` kept."""
    larger = np.empty(size, array.dtype)
    larger[:used] = array[:used]
    return larger


@njit(cache=True)
def slot_of(keys: Array, key: Int) -> Int:
    """Where `key` is, or the empty slot where it belongs."""
    mask = keys.size - 1
    h = np.uint64(key) * _PRIME
    p = np.int64((h ^ (h >> _S32)) & np.uint64(mask))
    while keys[p] != -1 and keys[p] != key:
        p = (p + 1) & mask
    return p


@njit(cache=True)
def roomier(keys: Array, values: Array, room: Int) -> tuple[Array, Array, Int]:
    """The table without its zeros, large enough for `room` more."""
    live = 0
    for q in range(keys.size):
        live += keys[q] != -1 and values[q] != 0
    size = keys.size
    while (live + room) * 10 > size * 4:
        size *= 2
    new_keys, new_values = np.full(size, -1, np.int64), np.zeros(size, np.int64)
    for q in range(keys.size):
        if keys[q] != -1 and values[q] != 0:
            p = slot_of(new_keys, keys[q])
            new_keys[p], new_values[p] = keys[q], values[q]
    return new_keys, new_values, live


@njit(cache=True)
def sift_up(heap_count: Array, heap_pair: Array, heap_entry: Array, i: Int, c: Int, k: Int, e: Int) -> None:
    """Put (c, k, e) at the free place i, or above it."""
    while i > 0:
        p = (i - 1) >> 2
        if heap_count[p] > c or (heap_count[p] == c and heap_pair[p] <= k):
            break
        heap_count[i], heap_pair[i], heap_entry[i] = heap_count[p], heap_pair[p], heap_entry[p]
        i = p
    heap_count[i], heap_pair[i], heap_entry[i] = c, k, e


@njit(cache=True)
def sift_down(heap_count: Array, heap_pair: Array, heap_entry: Array, n: Int, c: Int, k: Int, e: Int) -> None:
    """Put (c, k, e) in place of the first of n."""
    i = 0
    while True:
        b = 4 * i + 1
        if b >= n:
            break
        for q in range(b + 1, min(b + 4, n)):
            if heap_count[q] > heap_count[b] or (heap_count[q] == heap_count[b] and heap_pair[q] < heap_pair[b]):
                b = q
        if heap_count[b] < c or (heap_count[b] == c and heap_pair[b] >= k):
            break
        heap_count[i], heap_pair[i], heap_entry[i] = heap_count[b], heap_pair[b], heap_entry[b]
        i = b
    heap_count[i], heap_pair[i], heap_entry[i] = c, k, e
