"""Windows of `min_tokens` tokens, as substring dedup compares them: Arrow text in, hashes and byte spans out.

A *token* is a word with what stands to it. Words are those of `shingles`: runs of letters, numbers and marks; single
letters in scripts that write no spaces. Other characters that are not white space (punctuation, symbols, emoji) belong
to the word before them, or after white space to the word after; white space ends a token once it has its word. So
`see (the "box") - now` has the tokens `see`, `(the`, `"box")`, `- now`. Characters after the last word that stand apart
from it are in no token. Two tokens are equal, by `compare`,

- `"text"`: if they have the same characters, white space aside;
- `"words"`: if they have the same word, case folded, soft hyphens and joiners aside, as `shingles` has it.

The name of a window is 96 bits, of 64 and of 32, made of two independent streams by doubling (Karp, Miller, Rosenberg 1972): the
name of 2n tokens is a hash of the names of its halves. No algebra of a polynomial, so no text of low complexity whose
windows collide. A token's own hash has 64 bits.

The *key* of a window is the least hash of its runs of `gram_tokens(min_tokens)` tokens (minimizers: Schleimer, Wilkerson,
Aiken 2003). Equal windows have equal keys, and neighbours mostly share one: of random text one key serves
`(min_tokens - gram + 2) / 2` windows on average. So a window whose key occurs once occurs once, which is found out at
a fifteenth of the cost.

>>> WindowScan(pa.array(["a b c"]), min_tokens=2, compare="text").collect().starts.tolist()
[0, 1]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.kernels.hashing import mix, mix_pair
from pipelines.kernels.shingles import (
    ALONE,
    COMBINING,
    KIND_SHIFT,
    LETTER,
    SEPARATOR,
    U64,
    character_table,
    text_buffers,
)
from pipelines.kernels.unicode_classes import SPACE, class_table

I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]
COMPARE: Final = ("text", "words")
MAX_MIN_TOKENS: Final = 1 << 12
BLOCK: Final = 1 << 13
"""Tokens hashed at a time: what the kernel holds, whatever the document's length, is a few arrays of this size."""
WHITE: Final = 5
"""A kind beside those of `shingles`: white space."""

_VALUE: Final = np.uint32((1 << KIND_SHIFT) - 1)
_START: Final = np.uint64(0xCBF29CE484222325)
_CHARACTER: Final = np.uint64(0x9E3779B97F4A7C15)
_SECOND: Final = np.uint64(0xA0761D6478BD642F)
"""Sets the second stream apart from the first."""
_S29: Final = np.uint64(29)
_NONE, _BEFORE, _SPACED, _SINGLE, _AFTER = range(5)
_PHASE, _HASH, _FIRST, _LAST = range(4)
NUM_STATE: Final = 4
_DOCUMENT, _POSITION, _HELD, _INDEX = range(4)


@cache
def token_table(compare: str) -> npt.NDArray[np.uint32]:
    """What `compare` sees of each code point: uint32 [0x110000], `kind << 24 | character`. Read-only."""
    shingled = character_table()
    kinds = shingled >> np.uint32(KIND_SHIFT)
    kinds[(class_table() & SPACE) != 0] = WHITE
    values = np.arange(0x110000, dtype=np.uint32) if compare == "text" else shingled & _VALUE
    table: npt.NDArray[np.uint32] = values | (kinds << np.uint32(KIND_SHIFT))
    table.setflags(write=False)
    return table


def gram_tokens(min_tokens: int) -> int:
    """Tokens of the runs whose least hash is a window's key: a power of two, a quarter of the window at most.

    >>> [gram_tokens(k) for k in (1, 4, 50, 100)]
    [1, 1, 8, 16]
    """
    return 1 << max(0, (min_tokens // 4).bit_length() - 1)


@njit(cache=True, nogil=True)
def character_at(data: Any, at: Any, end: Any, table: Any) -> Any:
    """`(table entry, bytes)` of the character at `at`. Bytes that are no UTF-8 are separators of one byte."""
    byte = data[at]
    if byte < 0x80:
        return table[byte], 1
    code = np.int64(0x110000)
    step = 1
    if byte >= 0xC2:
        if byte < 0xE0:
            if at + 1 < end:
                code, step = (np.int64(byte & 0x1F) << 6) | np.int64(data[at + 1] & 0x3F), 2
        elif byte < 0xF0:
            if at + 2 < end:
                code = (np.int64(byte & 0x0F) << 12) | (np.int64(data[at + 1] & 0x3F) << 6)
                code, step = code | np.int64(data[at + 2] & 0x3F), 3
        elif at + 3 < end:
            code = (np.int64(byte & 0x07) << 18) | (np.int64(data[at + 1] & 0x3F) << 12)
            code, step = code | (np.int64(data[at + 2] & 0x3F) << 6) | np.int64(data[at + 3] & 0x3F), 4
    return (table[code], step) if code < 0x110000 else (np.uint32(byte), step)


@njit(cache=True, nogil=True)
def next_tokens(
    data: Any,
    position: Any,
    end: Any,
    table: Any,
    exact: Any,
    state: Any,
    hashes: Any,
    starts: Any,
    ends: Any,
    have: Any,
) -> Any:
    """Tokens from `position` until `hashes` is full or the document ends at `end`: `(position, number held)`.

    `have` of the places are taken already. The document is done when `position > end`. `state`, int64 [NUM_STATE], is
    zero at its start. `starts` and `ends` are byte offsets in `data`, and may be of size 0 where they are not wanted.
    """
    phase, first, last = state[_PHASE], state[_FIRST], state[_LAST]
    h = np.uint64(state[_HASH])
    spans = starts.size > 0
    i = position
    while i <= end:
        step = 1
        entry = np.uint32(WHITE << KIND_SHIFT)
        if i < end:
            byte = data[i]
            if byte < 0x80:
                entry = table[byte]
            else:
                entry, step = character_at(data, i, end, table)
        kind = entry >> np.uint32(KIND_SHIFT)
        is_word = kind in (LETTER, COMBINING, ALONE)
        goes_on = kind == COMBINING or (kind == LETTER and phase == _SPACED)
        ends_token = phase >= _SPACED and (kind == WHITE or (is_word and (phase == _AFTER or not goes_on)))
        if ends_token:
            if have == hashes.size:
                break
            hashes[have] = mix(h)
            if spans:
                starts[have], ends[have] = first, last
            have += 1
            phase = _NONE
        if kind != WHITE:
            if phase == _NONE:
                first, h = i, _START
            hashed = exact
            if is_word:
                if phase != _SPACED and phase != _SINGLE:
                    phase = _SINGLE if kind == ALONE else _SPACED
                hashed = True
            elif phase == _NONE:
                phase = _BEFORE
            elif kind == SEPARATOR and phase != _BEFORE:
                phase = _AFTER
            if hashed:
                h = (h ^ np.uint64(entry & _VALUE)) * _CHARACTER
                h ^= h >> _S29
            last = i + step
        i += step
    state[_PHASE], state[_HASH], state[_FIRST], state[_LAST] = phase, np.int64(h), first, last
    return i, have


@njit(cache=True, nogil=True)
def _name(names: Any, count: Any, start: Any, length: Any) -> Any:
    """Names of runs of `start` tokens become those of `length`, in place; returns how many there are."""
    size = start
    while 2 * size <= length:
        count -= size
        for i in range(count):
            names[i] = mix_pair(names[i], names[i + size])
        size *= 2
    if size < length:
        count -= length - size
        for i in range(count):
            names[i] = mix_pair(names[i], names[i + length - size])
    return count


@njit(cache=True, nogil=True)
def _least(values: Any, count: Any, width: Any) -> Any:
    """The least of every `width` values in a row, in place."""
    size = 1
    while 2 * size <= width:
        count -= size
        for i in range(count):
            values[i] = min(values[i], values[i + size])
        size *= 2
    if size < width:
        count -= width - size
        for i in range(count):
            values[i] = min(values[i], values[i + width - size])


@njit(cache=True, nogil=True)
def _is_shared(key: Any, shared: Any) -> Any:
    low, high = 0, shared.size
    while low < high:
        middle = (low + high) >> 1
        if shared[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low < shared.size and shared[low] == key


@njit(cache=True, nogil=True)
def _next_runs(
    data: Any, offsets: Any, table: Any, exact: Any, size: Any, gram: Any, shared: Any, select: Any,
    place: Any, state: Any, hashes: Any, runs: Any, keys: Any, high: Any, low: Any,
) -> Any:  # fmt: skip
    """Runs of windows of one key, block by block of a document, until the outputs are nearly full: how many of each."""
    empty = np.empty(0, np.int64)
    first, second, least = (
        np.empty(hashes.size, np.uint64),
        np.empty(hashes.size, np.uint64),
        np.empty(hashes.size, np.uint64),
    )
    num_runs, num_windows = 0, 0
    while place[_DOCUMENT] < offsets.size - 1:
        if num_runs + hashes.size > keys.size or (select and num_windows + hashes.size > high.size):
            break
        document = place[_DOCUMENT]
        if place[_POSITION] < 0:
            place[_POSITION], place[_HELD], place[_INDEX] = offsets[document], 0, 0
            state[:] = 0
        end = offsets[document + 1]
        position, held = next_tokens(
            data, place[_POSITION], end, table, exact, state, hashes, empty, empty, place[_HELD]
        )
        windows = held - size + 1
        if windows > 0:
            first[:held] = hashes[:held]
            named = _name(first, held, 1, gram)
            least[:named] = first[:named]
            _least(least, named, size - gram + 1)
            is_named = False
            at = 0
            while at < windows:
                to = at + 1
                while to < windows and least[to] == least[at]:
                    to += 1
                key = mix(least[at])
                if not select or _is_shared(key, shared):
                    runs[num_runs, 0], runs[num_runs, 1], runs[num_runs, 2] = document, place[_INDEX] + at, to - at
                    keys[num_runs] = key
                    num_runs += 1
                    if select:
                        if not is_named:
                            _name(first, named, gram, size)
                            for i in range(held):
                                second[i] = mix(hashes[i] ^ _SECOND)
                            _name(second, held, 1, size)
                            is_named = True
                        high[num_windows : num_windows + to - at] = first[at:to]
                        for i in range(at, to):
                            low[num_windows + i - at] = second[i] >> np.uint64(32)
                        num_windows += to - at
                at = to
            hashes[: size - 1] = hashes[windows:held].copy()
            held = size - 1
            place[_INDEX] += windows
        if position > end:
            place[_DOCUMENT], place[_POSITION] = document + 1, -1
        else:
            place[_POSITION], place[_HELD] = position, held
    return num_runs, num_windows


@dataclass(frozen=True)
class Runs:
    """Windows in a row, of one document and key: int64 documents, starts (token), counts, uint64 keys, each [num_runs].

    `high` and `low`, uint64 and uint32 [sum of counts], are the windows' names, run by run; empty where none were asked for.
    """

    documents: I64
    starts: I64
    counts: I64
    keys: U64
    high: U64
    low: U32


class WindowScan:
    """Iterates over the Runs of `texts`, a bounded number at a time, documents and tokens in order.

    With `shared`, ascending keys, only runs of those keys come, with names; without, all, without names. Where a run is
    cut in two depends on the document alone.
    """

    def __init__(self, texts: pa.Array, *, min_tokens: int, compare: str, shared: U64 | None = None) -> None:
        self._texts = texts
        self._size = min_tokens
        self._compare = compare
        self._shared = shared

    def __iter__(self) -> Iterator[Runs]:
        data, offsets = text_buffers(self._texts)
        select = self._shared is not None
        shared = np.zeros(0, np.uint64) if self._shared is None else self._shared
        place = np.array([0, -1, 0, 0], np.int64)
        state = np.zeros(NUM_STATE, np.int64)
        capacity = BLOCK + self._size - 1
        hashes = np.empty(capacity, np.uint64)
        runs, keys = np.empty((capacity * 8, 3), np.int64), np.empty(capacity * 8, np.uint64)
        high = np.empty(capacity * 16 if select else 0, np.uint64)
        low = np.empty(high.size, np.uint32)
        while place[_DOCUMENT] < len(self._texts):
            num_runs, num_windows = _next_runs(
                data, offsets, token_table(self._compare), self._compare == "text", self._size,
                gram_tokens(self._size), shared, select, place, state, hashes, runs, keys, high, low,
            )  # fmt: skip
            if num_runs:
                documents, starts, counts = (runs[:num_runs, i].copy() for i in range(3))
                names = high[:num_windows].copy(), low[:num_windows].copy()
                yield Runs(documents, starts, counts, keys[:num_runs].copy(), *names)

    def collect(self) -> Runs:
        """All runs at once."""
        empty = np.zeros(0, np.int64)
        hashes = np.zeros(0, np.uint64)
        found = [Runs(empty, empty, empty, hashes, hashes, np.zeros(0, np.uint32)), *self]
        names = ("documents", "starts", "counts", "keys", "high", "low")
        return Runs(*(np.concatenate([getattr(runs, name) for runs in found]) for name in names))


@njit(cache=True, nogil=True)
def _locate(
    data: Any, offsets: Any, table: Any, documents: Any, first: Any, last: Any, spans: Any, num_tokens: Any
) -> Any:
    state = np.zeros(NUM_STATE, np.int64)
    hashes, starts, ends = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    at = 0
    while at < documents.size:
        document = documents[at]
        position, end, index = offsets[document], offsets[document + 1], np.int64(0)
        state[:] = 0
        while position <= end:
            position, held = next_tokens(data, position, end, table, False, state, hashes, starts, ends, 0)
            while at < documents.size and documents[at] == document and first[at] < index + held:
                if first[at] >= index:
                    spans[at, 0] = starts[first[at] - index] - offsets[document]
                if last[at] >= index + held:
                    break
                spans[at, 1] = ends[last[at] - index] - offsets[document]
                at += 1
            index += held
        num_tokens[document] = index


def token_spans(texts: pa.Array, documents: I64, first: I64, stop: I64) -> tuple[I64, I64]:
    """Bytes of the tokens [first[i], stop[i]) of document `documents[i]`, all in ascending order and disjoint.

    Returns spans int64 [n, 2], offsets in the document's UTF-8 text, and the number of tokens of each of the documents
    named, int64 [num_rows], 0 for others.
    """
    data, offsets = text_buffers(texts)
    spans, num_tokens = np.zeros((documents.size, 2), np.int64), np.zeros(len(texts), np.int64)
    _locate(data, offsets, token_table("words"), documents, first, stop - 1, spans, num_tokens)
    return spans, num_tokens
