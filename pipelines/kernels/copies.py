"""Which of equal items are first copies, and what is left to cut: arrays of items in, masks and intervals out.

An item (a window of tokens, a line) has a name of 96 bits (`high`, uint64, and `low`, uint32), the rank of its document,
lower is preferred, and its position in the document. Nothing here depends on the order of the items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from pipelines.kernels.hashing import mix_pair
from pipelines.kernels.shingles import U64
from pipelines.kernels.windows import U32

I64 = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def _group(high: Any, low: Any, groups: Any) -> Any:
    """Number the distinct names in order of occurrence; returns how many there are."""
    slots = 16
    while slots < 2 * high.size:
        slots *= 2
    table = np.full(slots, -1, np.int64)
    names = np.empty(high.size, np.int64)
    found = 0
    for i in range(high.size):
        slot = np.int64(mix_pair(high[i], np.uint64(low[i])) & np.uint64(slots - 1))
        while True:
            group = table[slot]
            if group < 0:
                table[slot], names[found], groups[i] = found, i, found
                found += 1
                break
            if high[names[group]] == high[i] and low[names[group]] == low[i]:
                groups[i] = group
                break
            slot = (slot + 1) & (slots - 1)
    return found


@njit(cache=True, nogil=True)
def _before(rank: Any, position: Any, left: Any, right: Any) -> Any:
    return rank[left] < rank[right] or (rank[left] == rank[right] and position[left] < position[right])


@njit(cache=True, nogil=True)
def _choose_windows(
    high: Any, low: Any, rank: Any, position: Any, size: Any, keep_first: Any, evidence: Any, chosen: Any
) -> Any:
    groups = np.empty(high.size, np.int64)
    found = _group(high, low, groups)
    first, last = np.full(found, -1, np.int64), np.full(found, -1, np.int64)
    for i in range(high.size):
        group = groups[i]
        if first[group] < 0 or _before(rank, position, i, first[group]):
            first[group] = i
        if last[group] < 0 or _before(rank, position, last[group], i):
            last[group] = i
    for i in range(high.size):
        a, b = first[groups[i]], last[groups[i]]
        if keep_first:
            chosen[i] = rank[i] == rank[a] and position[i] < position[a] + size
        else:
            repeated = rank[a] != rank[b] or position[b] - position[a] >= size
            chosen[i] = not repeated or (evidence and i in (a, b))


def windows_that_stay(
    high: U64, low: U32, rank: I64, position: I64, *, min_tokens: int, keep_first: bool, evidence: bool = False
) -> npt.NDArray[np.bool_]:
    """Flags [n]: no equal window comes before this one, unless it overlaps it.

    With `keep_first=False`: no two windows equal to it lie apart; `evidence` adds two that do where there are. What is
    chosen of a part of all items, with `evidence`, decides as much as that part did.
    """
    chosen = np.zeros(high.size, np.bool_)
    _choose_windows(high, low, rank, position, min_tokens, keep_first, evidence, chosen)
    return chosen


def units_that_stay(high: U64, low: U32, rank: I64, position: I64, *, max_documents: int) -> npt.NDArray[np.bool_]:
    """Flags [n]: the item is the first of its name in its document, and fewer than `max_documents` before have it."""
    order = np.lexsort((position, rank, low, high))
    new_name, new_document = np.ones(order.size, np.bool_), np.ones(order.size, np.bool_)
    same = [column[order][1:] == column[order][:-1] for column in (high, low, rank)]
    new_name[1:] = ~(same[0] & same[1])
    new_document[1:] = new_name[1:] | ~same[2]
    documents = np.cumsum(new_document)
    before: I64 = documents - np.maximum.accumulate(np.where(new_name, documents, 0))
    chosen = np.zeros(order.size, np.bool_)
    chosen[order] = new_document & (before < max_documents)
    return chosen


@njit(cache=True, nogil=True)
def _subtract(runs: Any, stays: Any, size: Any, cuts: Any) -> Any:
    found, at = 0, 0
    for run in range(runs.shape[0]):
        document, start, stop = runs[run, 0], runs[run, 1], runs[run, 1] + runs[run, 2]
        while start < stop:
            while at < stays.shape[0] and (
                stays[at, 0] < document or (stays[at, 0] == document and stays[at, 1] + stays[at, 2] <= start)
            ):
                at += 1
            to = stop
            if at < stays.shape[0] and stays[at, 0] == document and stays[at, 1] < stop:
                if stays[at, 1] <= start:
                    start = stays[at, 1] + stays[at, 2]
                    continue
                to = stays[at, 1]
            if found and cuts[found - 1, 0] == document and start <= cuts[found - 1, 2]:
                cuts[found - 1, 2] = to - 1 + size
            else:
                cuts[found, 0], cuts[found, 1], cuts[found, 2] = document, start, to - 1 + size
                found += 1
            start = to
    return found


def repeated_intervals(runs: I64, stays: I64, size: int) -> I64:
    """What `runs` cover that `stays` do not: rows `(row, first, stop)`, int64 [n, 3], ascending, disjoint, not touching.

    Both are rows `(row, start, count)` of items, ascending and disjoint; an item at i covers places i to i + size - 1.

    >>> repeated_intervals(np.array([[0, 0, 9]]), np.array([[0, 2, 3]]), 1).tolist()
    [[0, 0, 2], [0, 5, 9]]
    """
    cuts = np.empty((runs.shape[0] + stays.shape[0], 3), np.int64)
    return cuts[: _subtract(runs, stays, size, cuts)].copy()
