"""Repeated n-grams of words, as in Rae et al. 2021 (arXiv 2112.11446), table A1: exact, and nearly free on prose.

An n-gram can repeat only where both (n-1)-grams inside it do, so level n looks only at what survived level n-1. At
levels 1 and 2 a table of small counters says cheaply what may repeat; what is left at level 2 is counted exactly, keyed
by the hashes of its two words, and from level 3 on by the ids of its two (n-1)-grams, without any hash of its own.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pipelines.kernels.bits import compiled, inlined
from pipelines.kernels.hashing import intern, mix_pair, slots_for

LONGEST: Final = 10

_U: Final = np.uint64
_1: Final = np.uint64(1)


@inlined
def counters_for(num_keys: int) -> Any:
    """Counters in use for `num_keys` keys: a power of two, at most a quarter of them taken."""
    size = 64
    while size < 4 * num_keys:
        size *= 2
    return size


@compiled
def count_hashes(hashes: Any, num_hashes: int, seen: Any) -> Any:
    """Fill uint8 `seen`: 0 where no hash falls, 1 where one does, more for several; returns the mask of its index."""
    size = counters_for(num_hashes)
    seen[:size] = 0
    mask = _U(size - 1)
    for j in range(num_hashes):
        slot = np.int64(hashes[j] & mask)
        seen[slot] = (seen[slot] << 1) | 1
    return size - 1


@compiled
def _pairs_that_may_repeat(hashes: Any, num_words: int, seen: Any, mask: int, places: Any, keys: Any) -> int:
    """Word pairs whose words both may occur twice: `places` and `keys`, less those whose own counter says once."""
    num_pairs = 0
    left = seen[np.int64(hashes[0] & _U(mask))] > 1
    for j in range(num_words - 1):
        right = seen[np.int64(hashes[j + 1] & _U(mask))] > 1
        places[num_pairs] = j
        keys[num_pairs] = mix_pair(hashes[j], hashes[j + 1])
        num_pairs += left & right
        left = right
    mask = count_hashes(keys, num_pairs, seen)
    kept = 0
    for k in range(num_pairs):
        places[kept], keys[kept] = places[k], keys[k]
        kept += seen[np.int64(keys[k] & _U(mask))] > 1
    return kept


@compiled
def _count_level(keys: Any, num: int, ids: Any, counts: Any, table: Any, interned: Any) -> int:
    """Dense ids of `keys` and how often each occurs; returns the number of ids."""
    slots = slots_for(num)
    table[:slots] = 0
    num_ids = 0
    for k in range(num):
        found = intern(table, slots, interned, num_ids, keys[k])
        if found == num_ids:
            counts[num_ids] = 0
            num_ids += 1
        counts[found] += 1
        ids[k] = found
    return num_ids


@inlined
def _top_chars(n: int, ids: Any, places: Any, num: int, counts: Any, chars: Any, num_words: int) -> Any:
    """Occurrences of the most frequent n-gram, the earliest on a tie, times its characters with single spaces."""
    if num_words < n:
        return 0
    best, where = 1, 0
    for k in range(num):
        if counts[ids[k]] > best:
            best, where = counts[ids[k]], places[k]
    return best * (chars[where + n] - chars[where] + n - 1)


@inlined
def _duplicate_chars(n: int, ids: Any, places: Any, num: int, num_ids: int, seen: Any, chars: Any) -> Any:
    """Word characters of n-grams equal to one before, from the left; a duplicate is jumped over whole."""
    seen[:num_ids] = 0
    free, duplicate = 0, 0
    for k in range(num):
        place = places[k]
        if place >= free:
            if seen[ids[k]]:
                duplicate += chars[place + n] - chars[place]
                free = place + n
            seen[ids[k]] = 1
    return duplicate


@compiled
def repeated_ngrams(
    hashes: Any,
    num_words: int,
    chars: Any,
    seen: Any,
    mask: int,
    places: Any,
    ids: Any,
    counts: Any,
    keys: Any,
    interned: Any,
    table: Any,
    result: Any,
) -> None:
    """Fill int64 `result[n]` for n in 2 .. 10: top n-gram characters up to 4, duplicate n-gram characters from 5.

    `hashes`, uint64 [num_words], and `chars`, int32 [num_words + 1], are those of `words`; `seen` and `mask` come from
    `count_hashes(hashes)`. Compaction stores first and advances by a flag: no branch to mispredict. The rest is
    scratch with room for num_words entries: int32 `places`, `ids`, `counts`,
    uint64 `keys`, `interned`; `table` int32 with `slots_for`, `seen` uint8 with `counters_for` entries.
    """
    result[:] = 0
    if num_words < 2:
        return
    num = _pairs_that_may_repeat(hashes, num_words, seen, mask, places, keys)
    for n in range(2, LONGEST + 1):
        if n > 2:
            pairs = 0
            for k in range(num - 1):
                keys[pairs] = (_U(ids[k]) << _U(32)) | _U(ids[k + 1])
                following = places[k] + 1 == places[k + 1]
                places[pairs] = places[k]
                pairs += following
            num = pairs
        num_ids = _count_level(keys, num, ids, counts, table, interned)
        if n <= 4:
            result[n] = _top_chars(n, ids, places, num, counts, chars, num_words)
        kept = 0
        for k in range(num):
            repeats = counts[ids[k]] > 1
            places[kept], ids[kept] = places[k], ids[k]
            kept += repeats
        num = kept
        if n >= 5:
            result[n] = _duplicate_chars(n, ids, places, num, num_ids, seen, chars)
        if num == 0 and n >= 4:
            return
