"""Exact byte-level BPE: from (pre-token, count) to merges, with 64-bit counts and the ties of HF `tokenizers`.

The most frequent pair is merged in every pre-token, again and again (Sennrich et al., arXiv 1508.07909). Ties go to the
smaller left id, then the smaller right id; ids are the reserved tokens', then the 256 bytes' in the order of their
printable characters, then one a merge. Merges and ids equal those of HF's `BpeTrainer` as long as HF's 32-bit counts
hold (2,147,483,647); beyond that HF's wrap around and these do not.

A queue holds (count, pair) and may be stale: an entry whose count no longer agrees is queued again with the present
one, which is right because counts of existing pairs only fall. Each entry lists the pre-tokens that hold its pair, so
a merge visits those alone. While a pair is merged, the changes are summed per neighbouring id in arrays as long as the
vocabulary, and one look-up of the pair table a distinct neighbour settles them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.errors import ConfigError
from tokenizer_training.counting import buffers_of, hash_bytes
from tokenizer_training.pair_queue import longer_array, roomier, sift_down, sift_up, slot_of
from tokenizer_training.split_patterns import Array, Int

NUM_BYTES = 256
_LOW = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class Merges:
    """What was learned. `vocab[i]` is token i, spelled in byte characters; `merges` are pairs of ids, best first.

    `pair_counts` int64: how often each merge's pair stood there when it was merged. `exhausted`: no pair was left
    before the vocabulary was full, so `vocab` is shorter than asked.
    """

    vocab: tuple[str, ...]
    merges: tuple[tuple[int, int], ...]
    pair_counts: npt.NDArray[np.int64]
    exhausted: bool

    @property
    def largest_pair_count(self) -> int:
        """The count of the most frequent pair; above 2,147,483,647 a 32-bit trainer would have gone wrong."""
        return int(self.pair_counts.max()) if self.pair_counts.size else 0


def byte_characters() -> tuple[str, ...]:
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2's convention)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(NUM_BYTES) if b not in plain]
    spelled = {b: chr(b) for b in plain} | {b: chr(NUM_BYTES + i) for i, b in enumerate(others)}
    return tuple(spelled[b] for b in range(NUM_BYTES))


def learn_merges(
    counts: pa.RecordBatch, *, vocab_size: int, reserved: Sequence[str] = (), min_pair_count: int = 1
) -> Merges:
    """Learn merges from `counts` (COUNTS_SCHEMA, each pre-token once) until `vocab_size` entries are there.

    `reserved` take the first ids. A pair that occurs fewer than `min_pair_count` times ends the run. A merge that
    spells a token that exists takes its id. Raises ConfigError where reserved tokens and bytes alone do not fit.
    """
    characters = byte_characters()
    ids: dict[str, int] = {}
    for token in [*reserved, *sorted(characters)]:
        ids.setdefault(token, len(ids))
    if vocab_size < len(ids):
        raise ConfigError(f"vocab_size = {vocab_size}: {len(reserved)} reserved tokens and 256 bytes need {len(ids)}")
    byte_of = {character: b for b, character in enumerate(characters)}
    spelled = [bytes(byte_of[c] for c in t) if all(c in byte_of for c in t) else b"" for t in ids]
    ends = np.zeros(vocab_size + 16, np.int64)
    ends[1 : len(spelled) + 1] = np.cumsum([len(s) for s in spelled])
    content = np.zeros(max(1 << 16, 2 * int(ends[len(spelled)])), np.uint8)
    content[: ends[len(spelled)]] = np.frombuffer(b"".join(spelled), np.uint8)
    arena, offsets = buffers_of(counts.column("pretoken"))
    arena, offsets = arena[offsets[0] : offsets[-1]], offsets - offsets[0]
    weights = counts.column("count").to_numpy(zero_copy_only=False)
    byte_ids = np.array([ids[c] for c in characters], np.int32)
    found, content, ends, size = _learn(
        arena, offsets, weights, byte_ids, content, ends, len(spelled), vocab_size, max(min_pair_count, 1)
    )
    vocab = list(ids)
    for t in range(len(spelled), size):
        vocab.append("".join(characters[b] for b in content[ends[t] : ends[t + 1]].tolist()))
    # A pair can come twice where a merge spelled a token that existed; HF's saved file keeps the last rank.
    rank = {(int(left), int(right)): position for position, (left, right, _) in enumerate(found)}
    order = sorted(rank, key=rank.__getitem__)
    return Merges(
        vocab=tuple(vocab), merges=tuple(order), pair_counts=found[[rank[pair] for pair in order], 2].copy()
        if order else np.zeros(0, np.int64), exhausted=size < vocab_size,
    )  # fmt: skip


@njit(cache=True)
def _first_pairs(arena: Array, offsets: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Pairs of bytes: counts [65536], and the pre-tokens that hold each as `words[starts[x]:starts[x + 1]]`."""
    counts, starts = np.zeros(65536, np.int64), np.zeros(65537, np.int64)
    last = np.full(65536, -1, np.int32)
    for w in range(weights.size):
        for i in range(offsets[w] + 1, offsets[w + 1]):
            x = (np.int64(arena[i - 1]) << 8) | arena[i]
            counts[x] += weights[w]
            if last[x] != w:
                last[x] = w
                starts[x + 1] += 1
    for x in range(65536):
        starts[x + 1] += starts[x]
    words = np.empty(starts[65536] + starts[65536] // 4 + 1024, np.int32)
    at = starts.copy()
    last[:] = -1
    for w in range(weights.size):
        for i in range(offsets[w] + 1, offsets[w + 1]):
            x = (np.int64(arena[i - 1]) << 8) | arena[i]
            if last[x] != w:
                last[x] = w
                words[at[x]] = w
                at[x] += 1
    return counts, starts, words


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
def _rewrite(
    words: Array, start: Int, stop: Int, symbols: Array, offsets: Array, lengths: Array, weights: Array, left: Int,
    right: Int, merged: Int, lost: Array, won: Array, held: Array, last: Array, seen: Array, touched: Array,
    num_touched: Array, event_key: Array, event_word: Array,
) -> tuple[Array, Array, Int]:  # fmt: skip
    """Merge the pair in `words[start:stop]`, summing per neighbour: side 0 is to the left, side 1 to the right.

    `lost` and `won` are counts of the neighbour's old and new pair, `held` how many pre-tokens hold the new one;
    events list them as (neighbour << 1 | side, pre-token). Neighbours met are in `touched`.
    """
    num_events = 0
    for k in range(start, stop):
        w = words[k]
        first, length, weight = offsets[w], np.int64(lengths[w]), weights[w]
        r = out = np.int64(0)
        while r < length:
            x = symbols[first + r]
            if x != left or r + 1 >= length or symbols[first + r + 1] != right:
                if out != r:
                    symbols[first + out] = x
                out += 1
                r += 1
                continue
            for side in range(2):
                if side == 0:
                    if out == 0:
                        continue
                    y = np.int64(symbols[first + out - 1])
                else:
                    symbols[first + out] = merged
                    out += 1
                    r += 2
                    if r >= length:
                        continue
                    y = np.int64(symbols[first + r])
                g = 0 if y == merged else side  # (merged, merged) has one list
                for s in (side, g):
                    if seen[s, y] == 0:
                        seen[s, y] = 1
                        touched[s, num_touched[s]] = y
                        num_touched[s] += 1
                lost[side, y] += weight
                won[g, y] += weight
                if last[g, y] != w:
                    last[g, y] = w
                    held[g, y] += 1
                    if num_events == event_key.size:
                        event_key = longer_array(event_key, num_events, 2 * num_events)
                        event_word = longer_array(event_word, num_events, 2 * num_events)
                    event_key[num_events], event_word[num_events] = (y << 1) | g, w
                    num_events += 1
        lengths[w] = out
    return event_key, event_word, num_events


@njit(cache=True)
def _learn(
    arena: Array, offsets: Array, weights: Array, byte_ids: Array, content: Array, ends: Array, size: Int,
    vocab_size: Int, min_pair_count: Int,
) -> tuple[Array, Array, Array, Int]:  # fmt: skip
    """Rows (left id, right id, pair count) of every merge; the tokens' bytes, their ends and their number."""
    num_words = weights.size
    symbols = np.empty(offsets[num_words], np.int32)
    for i in range(symbols.size):
        symbols[i] = byte_ids[arena[i]]
    lengths = (offsets[1:] - offsets[:-1]).astype(np.int32)
    first_counts, first_starts, words = _first_pairs(arena, offsets, weights)
    top = first_starts[65536]
    keys, values, num_keys = np.full(1 << 18, -1, np.int64), np.zeros(1 << 18, np.int64), np.int64(0)
    capacity = 1 << 17
    heap_count, heap_pair = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    heap_entry = np.empty(capacity, np.int32)
    entry_start, entry_length = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    heap_size = num_entries = np.int64(0)
    for x in range(65536):
        if first_counts[x] > 0:
            key = (np.int64(byte_ids[x >> 8]) << 32) | byte_ids[x & 255]
            p = slot_of(keys, key)
            keys[p], values[p] = key, first_counts[x]
            num_keys += 1
            entry_start[num_entries] = first_starts[x]
            entry_length[num_entries] = first_starts[x + 1] - first_starts[x]
            sift_up(heap_count, heap_pair, heap_entry, heap_size, first_counts[x], key, num_entries)
            heap_size += 1
            num_entries += 1
    table_size = 1 << 10
    while table_size < 4 * (vocab_size + 8):
        table_size *= 2
    tokens = np.full(table_size, -1, np.int32)
    for t in range(size):
        if ends[t + 1] > ends[t]:
            tokens[_find_token(content, ends, tokens, ends[t], ends[t + 1])] = t
    width = vocab_size + 8
    lost, won, held = np.zeros((2, width), np.int64), np.zeros((2, width), np.int64), np.zeros((2, width), np.int64)
    at, last = np.zeros((2, width), np.int64), np.full((2, width), -1, np.int32)
    seen, touched, num_touched = np.zeros((2, width), np.uint8), np.empty((2, width), np.int32), np.zeros(2, np.int64)
    event_key, event_word = np.empty(1 << 16, np.int32), np.empty(1 << 16, np.int32)
    found, num_found = np.empty((vocab_size + 1024, 3), np.int64), 0
    while size < vocab_size and heap_size > 0:
        count, key, entry = heap_count[0], heap_pair[0], heap_entry[0]
        p = slot_of(keys, key)
        present = values[p] if keys[p] == key else np.int64(0)
        if count != present and present > 0:
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
        if num_found == found.shape[0]:
            longer = np.empty((2 * num_found, 3), np.int64)
            longer[:num_found] = found
            found = longer
        found[num_found, 0], found[num_found, 1], found[num_found, 2] = left, right, count
        num_found += 1
        num_touched[:] = 0
        event_key, event_word, num_events = _rewrite(
            words, entry_start[entry], entry_start[entry] + entry_length[entry], symbols, offsets, lengths, weights,
            left, right, merged, lost, won, held, last, seen, touched, num_touched, event_key, event_word,
        )  # fmt: skip
        entry_length[entry] = 0
        room = num_touched[0] + num_touched[1]
        # -- pair counts
        if (num_keys + 2 * room) * 10 > keys.size * 6:
            keys, values, num_keys = roomier(keys, values, 2 * room)
        for side in range(2):
            for q in range(num_touched[side]):
                y = np.int64(touched[side, q])
                for z in range(2):
                    change = won[side, y] if z else -lost[side, y]
                    if change == 0:
                        continue
                    key = (y << 32) | (merged if z else left) if side == 0 else ((merged if z else right) << 32) | y
                    p = slot_of(keys, key)
                    if keys[p] == -1:
                        keys[p], values[p] = key, 0
                        num_keys += 1
                    values[p] += change
        # -- room for new entries: drop the lists of finished ones first
        if top + num_events > words.size or num_entries + room > entry_length.size:
            moved = np.empty(num_entries, np.int32)
            top = kept = np.int64(0)
            for q in range(num_entries):
                if entry_length[q] > 0:
                    source, length = entry_start[q], entry_length[q]
                    for z in range(length):
                        words[top + z] = words[source + z]
                    entry_start[kept], entry_length[kept] = top, length
                    top += length
                    moved[q] = kept
                    kept += 1
            num_entries = kept
            for q in range(heap_size):
                heap_entry[q] = moved[heap_entry[q]]
            if (top + num_events) * 5 > words.size * 4:
                words = longer_array(words, top, (top + num_events) * 3 // 2)
            if (num_entries + room) * 5 > entry_length.size * 4:
                length = (num_entries + room) * 3 // 2
                entry_start = longer_array(entry_start, num_entries, length)
                entry_length = longer_array(entry_length, num_entries, length)
        if heap_size + room > heap_count.size:
            length = (heap_size + room) * 3 // 2
            heap_count = longer_array(heap_count, heap_size, length)
            heap_pair = longer_array(heap_pair, heap_size, length)
            heap_entry = longer_array(heap_entry, heap_size, length)
        # -- queue the new pairs, each with the pre-tokens that hold it
        for side in range(2):
            for q in range(num_touched[side]):
                y = np.int64(touched[side, q])
                at[side, y] = -1
                if held[side, y] > 0:
                    key = (y << 32) | merged if side == 0 else (merged << 32) | y
                    present = values[slot_of(keys, key)]
                    if present > 0:
                        entry_start[num_entries], entry_length[num_entries] = top, held[side, y]
                        at[side, y] = top
                        top += held[side, y]
                        sift_up(heap_count, heap_pair, heap_entry, heap_size, present, key, num_entries)
                        heap_size += 1
                        num_entries += 1
        for q in range(num_events):
            side, y = event_key[q] & 1, event_key[q] >> 1
            if at[side, y] >= 0:
                words[at[side, y]] = event_word[q]
                at[side, y] += 1
        for side in range(2):
            for q in range(num_touched[side]):
                y = touched[side, q]
                lost[side, y] = won[side, y] = held[side, y] = 0
                last[side, y] = -1
                seen[side, y] = 0
    return found[:num_found], content, ends, size
