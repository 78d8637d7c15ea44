"""Rows in batches; one entry for every distinct key, in memory that depends on the keys and not on the rows.

A key with 100 million rows costs as much as one with a single row, so a skewed key is no reason to hold, sort or split
anything. Open addressing with linear probing, doubled when it is three quarters full: 24 bytes a slot, so 32 to 64
bytes a distinct key, and half of that again while it doubles. (Not half full: buckets of about 2**22 keys would then
double to 400 MB or not by chance.)
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from pipelines.kernels.hashing import mix

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
FIRST_SLOTS: Final = 1 << 12


@njit(cache=True, nogil=True)
def _slot(keys: Any, used: Any, key: Any) -> Any:
    """Where `key` is, or the free slot where it belongs. `keys` has a power of two of slots, `used` 0 where free."""
    last = keys.size - 1
    slot = np.int64(mix(key) & np.uint64(last))
    while used[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & last
    return slot


@njit(cache=True, nogil=True)
def _add(keys: Any, least: Any, second: Any, new: Any, values: Any, start: Any, num_used: Any, counting: Any) -> Any:
    """Add rows from `start` on until three quarters of the slots are in use; the row it came to, and the slots in use."""
    for row in range(start, new.size):
        slot = _slot(keys, second, new[row])
        value = values[row]
        if second[slot] == 0:
            if 4 * num_used >= 3 * keys.size:
                return row, num_used
            num_used += 1
            keys[slot] = new[row]
            least[slot] = value
        elif value < least[slot]:
            least[slot] = value
        if counting:
            second[slot] += 1
        elif value + 1 > second[slot]:
            second[slot] = value + 1
    return new.size, num_used


@njit(cache=True, nogil=True)
def _move(keys: Any, least: Any, second: Any, to_keys: Any, to_least: Any, to_second: Any) -> None:
    for slot in range(keys.size):
        if second[slot] != 0:
            to = _slot(to_keys, to_second, keys[slot])
            to_keys[to], to_least[to], to_second[to] = keys[slot], least[slot], second[slot]


@njit(cache=True, nogil=True)
def _look_up(keys: Any, column: Any, second: Any, asked: Any, found: Any) -> None:
    for row in range(asked.size):
        slot = _slot(keys, second, asked[row])
        found[row] = column[slot] if second[slot] != 0 else -1


class Groups:
    """Of each key, uint64: the least of its values, and the number of its rows or the greatest of its values.

    Values are int64, 0 or more. With `counting` the second column is the number of rows, without it the greatest value.

    >>> groups = Groups(counting=True)
    >>> groups.add(np.array([7, 9, 7], np.uint64), np.array([5, 3, 2]))
    >>> groups.least_of(np.array([9, 7, 8], np.uint64)).tolist()
    [3, 2, -1]
    >>> sorted(zip(*(column.tolist() for column in groups.columns())))
    [(7, 2, 2), (9, 3, 1)]
    """

    def __init__(self, *, counting: bool) -> None:
        self._counting = counting
        self._used = 0
        self._keys, self._least, self._second = _empty(FIRST_SLOTS)

    def add(self, keys: U64, values: I64) -> None:
        """Rows: a key and a value each."""
        row = 0
        while row < keys.size:
            row, self._used = _add(self._keys, self._least, self._second, keys, values, row, self._used, self._counting)
            if row < keys.size:
                larger = _empty(2 * self._keys.size)
                _move(self._keys, self._least, self._second, *larger)
                self._keys, self._least, self._second = larger

    def least_of(self, keys: U64) -> I64:
        """The least value of each key, -1 for one that was never added: int64 [n]."""
        found = np.empty(keys.size, np.int64)
        _look_up(self._keys, self._least, self._second, keys, found)
        return found

    def number_of(self, keys: U64) -> I64:
        """With `counting`: the number of rows of each key, -1 for one that was never added: int64 [n]."""
        found = np.empty(keys.size, np.int64)
        _look_up(self._keys, self._second, self._second, keys, found)
        return found

    def columns(self, *, min_second: int = 0) -> tuple[U64, I64, I64]:
        """Every key once, its least value, and the second column: in an order that depends on the order of rows alone.

        Only keys whose second column is at least `min_second`.
        """
        used = self._second >= max(1, min_second if self._counting else min_second + 1)
        second = self._second[used] if self._counting else self._second[used] - 1
        return self._keys[used], self._least[used], second


def _empty(slots: int) -> tuple[U64, I64, I64]:
    return np.empty(slots, np.uint64), np.empty(slots, np.int64), np.zeros(slots, np.int64)


@njit(cache=True, nogil=True)
def _contract(left: Any, right: Any, keys: Any, parents: Any) -> Any:
    """Union-find on the slots of a table: `parents` holds slot + 1, 0 where free. The number of nodes that are no root."""
    lost = 0
    for row in range(left.size):
        roots = (np.int64(0), np.int64(0))
        for side in range(2):
            node = left[row] if side == 0 else right[row]
            slot = _slot(keys, parents, node)
            if parents[slot] == 0:
                keys[slot], parents[slot] = node, slot + 1
            while parents[slot] != slot + 1:
                parents[slot] = parents[parents[slot] - 1]
                slot = parents[slot] - 1
            roots = (slot, roots[0])
        a, b = roots
        if a != b:
            lost += 1
            if keys[a] < keys[b]:
                parents[b] = a + 1
            else:
                parents[a] = b + 1
    return lost


@njit(cache=True, nogil=True)
def _stars(keys: Any, parents: Any, documents: Any, centres: Any) -> None:
    row = 0
    for slot in range(keys.size):
        if parents[slot] != 0 and parents[slot] != slot + 1:
            root = slot
            while parents[root] != root + 1:
                parents[root] = parents[parents[root] - 1]
                root = parents[root] - 1
            documents[row], centres[row] = keys[slot], keys[root]
            row += 1


def contract(left: I64, right: I64) -> tuple[I64, I64]:
    """The components of edges `left[i]`, `right[i]` as stars: every node but the smallest of its component, and that one.

    A union-find by smaller node with path halving (Tarjan and van Leeuwen 1984). Nodes are 0 or more. Never more edges
    than came in, and none twice. Memory: 64 to 128 bytes an edge that comes in, for tables half full of two nodes each.

    >>> documents, centres = contract(np.array([4, 2, 9, 9]), np.array([2, 1, 8, 8]))
    >>> sorted(zip(documents.tolist(), centres.tolist()))
    [(2, 1), (4, 1), (9, 8)]
    """
    slots = 16
    while slots < 4 * left.size:
        slots *= 2
    keys, parents = np.empty(slots, np.uint64), np.zeros(slots, np.int64)
    num = _contract(left.view(np.uint64), right.view(np.uint64), keys, parents)
    documents, centres = np.empty(num, np.int64), np.empty(num, np.int64)
    _stars(keys, parents, documents, centres)
    return documents, centres
