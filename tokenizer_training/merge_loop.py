"""The merge loop: take the most frequent pair of the index, merge it in the records that hold it, count what changed.

A queue holds (count, pair) and may be stale: an entry whose count no longer agrees is queued again with the present
one, which is right because counts of existing pairs only fall. Each entry lists the records that hold its pair, so a
merge visits those alone. While a pair is merged, the changes are summed per neighbouring id, one cache line each, and
one look-up of the pair table a distinct neighbour settles them.

A count can rise only where a merge spells a token that stands in the records already (another way to cut the same
bytes). With every pair in the index (`threshold` 1) the new records get an entry of their own, as in HF `tokenizers`;
otherwise the loop returns and the index is made anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from tokenizer_training.counting import hash_bytes
from tokenizer_training.pair_index import PairIndex
from tokenizer_training.pair_queue import longer_array, roomier, sift_down, sift_up, slot_of
from tokenizer_training.split_patterns import Array, Int
from tokenizer_training.words import GAP, Words, weight_at

DONE, BELOW, AGAIN = 0, 1, 2
"""The vocabulary is full or no pair of `min_pair_count` is left; no pair of the threshold is left; index again."""
_LOW = 0xFFFFFFFF
LOST, WON, HELD, LAST = 0, 1, 2, 3
"""Of a neighbour on one side: count of its old pair, of its new one, records that hold that, the last of them + 1."""


@dataclass(kw_only=True)
class Run:
    """The tokens and merges so far, and what the loop needs per token: int64 [vocab_size, 8], LOST to LAST by side."""

    content: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    table: npt.NDArray[np.int32]
    occurs: npt.NDArray[np.bool_]
    size: int
    vocab_size: int
    found: npt.NDArray[np.int64]
    num_found: int
    stats: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]

    @classmethod
    def begin(cls, spelled: Sequence[bytes], vocab_size: int, byte_ids: npt.NDArray[np.int32]) -> Run:
        """No merge yet. `spelled[i]` are the bytes of token i, empty where text never spells it."""
        size = len(spelled)
        ends = np.zeros(vocab_size + 16, np.int64)
        ends[1 : size + 1] = np.cumsum([len(s) for s in spelled])
        content = np.zeros(max(1 << 16, 2 * int(ends[size])), np.uint8)
        content[: ends[size]] = np.frombuffer(b"".join(spelled), np.uint8)
        table_size = 1 << 10
        while table_size < 4 * (vocab_size + 8):
            table_size *= 2
        table = np.full(table_size, -1, np.int32)
        _enter_tokens(content, ends, table, size)
        occurs = np.zeros(vocab_size + 8, np.bool_)
        occurs[byte_ids] = True
        return cls(
            content=content, ends=ends, table=table, occurs=occurs, size=size, vocab_size=vocab_size,
            found=np.empty((vocab_size - size + 1024, 4), np.int64), num_found=0,
            stats=np.zeros((vocab_size + 8, 8), np.int64), left=np.zeros((0, 2), np.int64),
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Memory of all its arrays."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    def history(self) -> npt.NDArray[np.int64]:
        """Rows (left id, right id, pair count, size of the vocabulary after it) of every merge."""
        return self.found[: self.num_found].copy()

    def spellings(self, first: int) -> Iterator[bytes]:
        """Bytes of the tokens from id `first` on."""
        for token in range(first, self.size):
            yield self.content[self.ends[token] : self.ends[token + 1]].tobytes()

    def keep_merged(self, index: PairIndex) -> None:
        """Remember the counts that merged pairs have left, as HF does not zero them; see `merged`."""
        self.left = _left_counts(self.found, self.num_found, index.keys, index.values)

    def merged(self) -> npt.NDArray[np.int64]:
        """Pairs that were merged before and the count each has left, int64 [n, 2]."""
        return self.left


def merge_pairs(words: Words, index: PairIndex, run: Run, min_pair_count: int) -> int:
    """Merge on until DONE, BELOW or AGAIN. `words` and `run` are up to date afterwards, `index` but for its table not."""
    i = index
    status, i.keys, i.values, run.content, run.size, run.found, run.num_found = _merge(
        words.slots, i.places, i.top, i.keys, i.values, i.num_keys, i.heap_count, i.heap_pair, i.heap_entry,
        i.heap_size, i.entry_start, i.entry_length, i.threshold, min_pair_count, run.stats, run.occurs, run.table,
        run.content, run.ends, run.size, run.vocab_size, run.found, run.num_found, i.max_pairs,
    )  # fmt: skip
    return int(status)


@njit(cache=True)
def _find_token(content: Array, ends: Array, table: Array, start: Int, stop: Int) -> Int:
    """Slot of `table` where the token spelled `content[start:stop]` is, or the empty one where it belongs."""
    p = np.int64(hash_bytes(content, start, stop) & np.uint64(table.size - 1))
    while table[p] != -1:
        t = table[p]
        if ends[t + 1] - ends[t] == stop - start:
            q = 0
            while q < stop - start and content[ends[t] + q] == content[start + q]:
                q += 1
            if q == stop - start:
                break
        p = (p + 1) & (table.size - 1)
    return p


@njit(cache=True)
def _enter_tokens(content: Array, ends: Array, table: Array, size: Int) -> None:
    for t in range(size):
        if ends[t + 1] > ends[t]:
            table[_find_token(content, ends, table, ends[t], ends[t + 1])] = t


@njit(cache=True)
def _left_counts(found: Array, num_found: Int, keys: Array, values: Array) -> Array:
    rows, n = np.empty((num_found, 2), np.int64), 0
    for q in range(num_found):
        key = (found[q, 0] << 32) | found[q, 1]
        p = slot_of(keys, key)
        if keys[p] == key and values[p] > 0:
            rows[n, 0], rows[n, 1] = key, values[p]
            n += 1
    return rows[:n].copy()


@njit(cache=True)
def _rewrite(
    slots: Array, places: Array, start: Int, stop: Int, left: Int, right: Int, merged: Int, stats: Array,
    touched: Array, num_touched: Array, event_key: Array, event_place: Array,
) -> tuple[Array, Array, Int]:  # fmt: skip
    """Merge the pair in the records `places[start:stop]`, summing per neighbour: side 0 is to the left, 1 to the right.

    Events list the new pairs of each record as (neighbour << 1 | side, record). Neighbours met are in `touched`.
    """
    num_events = 0
    for k in range(start, stop):
        place = np.int64(places[k])
        weight = weight_at(slots, place)
        end = place + 2
        while slots[end] >= 0:
            end += 1
        slots[end] = ~slots[end]
        end += 1
        r = out = place + 2
        while r < end:
            x = slots[r]
            if x != left or r + 1 >= end or slots[r + 1] != right:
                if out != r:
                    slots[out] = x
                out += 1
                r += 1
                continue
            for side in range(2):
                if side == 0:
                    if out == place + 2:
                        continue
                    y = np.int64(slots[out - 1])
                else:
                    slots[out] = merged
                    out += 1
                    r += 2
                    if r >= end:
                        continue
                    y = np.int64(slots[r])
                g = 0 if y == merged else side  # (merged, merged) has one list
                if stats[y, 4 * side + LOST] == 0 and stats[y, 4 * side + WON] == 0:
                    touched[side, num_touched[side]] = y
                    num_touched[side] += 1
                stats[y, 4 * side + LOST] += weight
                if g != side and stats[y, LOST] == 0 and stats[y, WON] == 0:
                    touched[g, num_touched[g]] = y
                    num_touched[g] += 1
                stats[y, 4 * g + WON] += weight
                if stats[y, 4 * g + LAST] != place + 1:
                    stats[y, 4 * g + LAST] = place + 1
                    stats[y, 4 * g + HELD] += 1
                    if num_events == event_key.size:
                        event_key = longer_array(event_key, num_events, num_events * 3 // 2)
                        event_place = longer_array(event_place, num_events, num_events * 3 // 2)
                    event_key[num_events], event_place[num_events] = (y << 1) | g, place
                    num_events += 1
        slots[out - 1] = ~slots[out - 1]
        for q in range(out, end):
            slots[q] = GAP
    return event_key, event_place, num_events


@njit(cache=True)
def _settle(
    left: Int, right: Int, merged: Int, threshold: Int, stats: Array, touched: Array, num_touched: Array, keys: Array,
    values: Array, num_keys: Int,
) -> tuple[Int, Int, Int]:  # fmt: skip
    """Bring the table up to date. A new pair enters it if it reaches `threshold`; then stats' LOST holds its count, else 0.

    Returns the number of keys, of pairs to queue, and of places their lists need.
    """
    regained = stats[merged, LOST]  # of (merged, left), which came and went within this merge
    for side in range(2):
        for q in range(num_touched[side]):
            y = np.int64(touched[side, q])
            lost = stats[y, 4 * side + LOST]
            if lost > 0:
                key = (y << 32) | left if side == 0 else (right << 32) | y
                p = slot_of(keys, key)
                if keys[p] == key:
                    values[p] -= lost
    num_pairs = num_places = 0
    for side in range(2):
        for q in range(num_touched[side]):
            y = np.int64(touched[side, q])
            won, present = stats[y, 4 * side + WON], np.int64(0)
            if won > 0:
                key = (y << 32) | merged if side == 0 else (merged << 32) | y
                p = slot_of(keys, key)
                if keys[p] == key:
                    values[p] += won
                    present = values[p]
                else:
                    present = won - regained if side == 1 and y == left else won
                    if present >= threshold:
                        keys[p], values[p] = key, present
                        num_keys += 1
            if present < threshold:
                present = np.int64(0)
            stats[y, 4 * side + LOST] = present
            if present > 0:
                num_pairs += 1
                num_places += stats[y, 4 * side + HELD]
    return num_keys, num_pairs, num_places


@njit(cache=True)
def _drop_finished(
    places: Array, entry_start: Array, entry_length: Array, num_entries: Int, heap_entry: Array, heap_size: Int
) -> tuple[Int, Int]:
    """Move the lists that are still needed together; the number of places and of entries they take."""
    moved = np.empty(num_entries, np.int32)
    top = kept = np.int64(0)
    for q in range(num_entries):
        length = entry_length[q]
        if length > 0:
            start = entry_start[q]
            if start != top:
                for z in range(length):
                    places[top + z] = places[start + z]
            entry_start[kept], entry_length[kept] = top, length
            top += length
            moved[q] = kept
            kept += 1
    for q in range(heap_size):
        heap_entry[q] = moved[heap_entry[q]]
    return top, kept


@njit(cache=True)
def _merge(
    slots: Array, places: Array, top: Int, keys: Array, values: Array, num_keys: Int, heap_count: Array,
    heap_pair: Array, heap_entry: Array, heap_size: Int, entry_start: Array, entry_length: Array, threshold: Int,
    min_pair_count: Int, stats: Array, occurs: Array, tokens: Array, content: Array, ends: Array, size: Int,
    vocab_size: Int, found: Array, num_found: Int, max_pairs: Int,
) -> tuple[Int, Array, Array, Array, Int, Array, Int]:  # fmt: skip
    num_entries = heap_size
    limit = min(places.size, top + top // 4 + (1 << 14))
    touched, num_touched = np.empty((2, stats.shape[0]), np.int32), np.zeros(2, np.int64)
    event_key, event_place = np.empty(1 << 14, np.int32), np.empty(1 << 14, np.uint32)
    status = DONE
    while size < vocab_size:
        if heap_size == 0:
            status = BELOW
            break
        count, key, entry = heap_count[0], heap_pair[0], np.int64(heap_entry[0])
        p = slot_of(keys, key)
        present = values[p] if keys[p] == key else np.int64(0)
        if count != present and present >= threshold:
            sift_down(heap_count, heap_pair, heap_entry, heap_size, present, key, entry)
            continue
        if count == present and count < min_pair_count:
            break
        heap_size -= 1
        sift_down(
            heap_count, heap_pair, heap_entry, heap_size, heap_count[heap_size], heap_pair[heap_size],
            heap_entry[heap_size],
        )  # fmt: skip
        if count != present:
            entry_length[entry] = 0
            continue
        left, right = key >> 32, key & _LOW
        # -- the id of the new token: an existing one where it spells the same
        start = ends[size]
        left_size, right_size = ends[left + 1] - ends[left], ends[right + 1] - ends[right]
        stop = start + left_size + right_size
        if stop > content.size:
            content = longer_array(content, start, 2 * stop)
        content[start : start + left_size] = content[ends[left] : ends[left + 1]]
        content[start + left_size : stop] = content[ends[right] : ends[right + 1]]
        p = _find_token(content, ends, tokens, start, stop)
        if tokens[p] == -1:
            tokens[p] = size
            ends[size + 1] = stop
            size += 1
        merged = np.int64(tokens[p])
        stands_already = occurs[merged]
        occurs[merged] = True
        if num_found == found.shape[0]:
            longer = np.empty((2 * num_found + 1024, 4), np.int64)
            longer[:num_found] = found
            found = longer
        found[num_found, 0], found[num_found, 1], found[num_found, 2], found[num_found, 3] = left, right, count, size
        num_found += 1
        num_touched[:] = 0
        event_key, event_place, num_events = _rewrite(
            slots, places, entry_start[entry], entry_start[entry] + entry_length[entry], left, right, merged, stats,
            touched, num_touched, event_key, event_place,
        )  # fmt: skip
        entry_length[entry] = 0
        room = num_touched[0] + num_touched[1]
        if (num_keys + room) * 10 > keys.size * 6:
            keys, values, num_keys = roomier(keys, values, room)
        num_keys, num_pairs, num_places = _settle(
            left, right, merged, threshold, stats, touched, num_touched, keys, values, num_keys
        )
        # -- room for new entries: drop the lists of finished ones first
        if top + num_places > limit or num_entries + num_pairs > entry_length.size:
            top, num_entries = _drop_finished(places, entry_start, entry_length, num_entries, heap_entry, heap_size)
            if (top + num_places) * 5 > limit * 4:
                limit = min(places.size, (top + num_places) * 3 // 2)
            if (num_entries + num_pairs) * 5 > entry_length.size * 4:
                longer_size = (num_entries + num_pairs) * 3 // 2
                entry_start = longer_array(entry_start, num_entries, longer_size)
                entry_length = longer_array(entry_length, num_entries, longer_size)
        if heap_size + num_pairs > heap_count.size:
            longer_size = (heap_size + num_pairs) * 3 // 2
            heap_count = longer_array(heap_count, heap_size, longer_size)
            heap_pair = longer_array(heap_pair, heap_size, longer_size)
            heap_entry = longer_array(heap_entry, heap_size, longer_size)
        full = top + num_places > limit or num_entries + num_pairs > max_pairs
        # -- queue the new pairs, each with the records that hold it
        for side in range(2):
            for q in range(num_touched[side]):
                y = np.int64(touched[side, q])
                present = stats[y, 4 * side + LOST]
                stats[y, 4 * side + LAST] = -1
                if present > 0 and not full:
                    key = (y << 32) | merged if side == 0 else (merged << 32) | y
                    entry_start[num_entries], entry_length[num_entries] = top, stats[y, 4 * side + HELD]
                    stats[y, 4 * side + LAST] = top
                    top += stats[y, 4 * side + HELD]
                    sift_up(heap_count, heap_pair, heap_entry, heap_size, present, key, num_entries)
                    heap_size += 1
                    num_entries += 1
        for q in range(num_events):
            side, y = event_key[q] & 1, event_key[q] >> 1
            at = stats[y, 4 * side + LAST]
            if at >= 0:
                places[at] = event_place[q]
                stats[y, 4 * side + LAST] = at + 1
        for side in range(2):
            for q in range(num_touched[side]):
                for z in range(4):
                    stats[touched[side, q], 4 * side + z] = 0
        if full or (stands_already and threshold > 1):
            status = AGAIN
            break
    return status, keys, values, content, size, found, num_found
