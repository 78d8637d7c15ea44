"""Shingles of documents: Arrow UTF-8 buffers in, 64-bit hashes of word n-grams out, in one Numba pass.

What two texts are compared by, so that case, punctuation and layout do not hide a duplicate:

- A *word* is a longest run of letters, numbers and marks (`unicode_classes`), case folded character by character
  (`case_folding`). Digits stay as they are: "page 12" and "page 13" differ. All else (spaces, punctuation, symbols,
  emoji, control characters) separates words and is not compared.
- In scripts that write no spaces each letter, with the marks that follow it, is a word of its own: Han, Hiragana,
  Katakana, and here also Thai, Lao, Khmer, Burmese, Tai, Javanese and Balinese. There a shingle is a character n-gram;
  in mixed text ("GPU集群 2024") both kinds of word stand side by side in one sequence. Korean is written with spaces.
- Soft hyphen, zero-width joiner and non-joiner, word joiner and byte order mark are ignored: they do not end a word.
- Text is taken to be NFC. Bytes that are no UTF-8 separate words; they are never read past the end of their document.
- A shingle is `shingle_size` words in a row. A document with fewer words is one shingle, all its words: it is compared
  whole. A document without any word has no shingle, and Jaccard with it is 0.

Hashes are 64 bits: a comparison of two documents of a million shingles meets two different shingles of one hash with
a chance below 1e-7. They do not depend on machine, process or version of Python, and do not resist one who seeks
collisions.

>>> values, offsets = shingle_sets(pa.array(["One, two THREE.", "one two three", "four"]), 5)
>>> offsets.tolist(), bool(values[0] == values[1])
([0, 1, 2, 3], True)
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.errors import ConfigError
from pipelines.kernels.case_folding import folding_table
from pipelines.kernels.hashing import mix
from pipelines.kernels.unicode_classes import ALPHA, MARK, SINGLE, WORD, class_table

MAX_SHINGLE_SIZE: Final = 64

SEPARATOR: Final = 0
LETTER: Final = 1
"""Goes on with the word before it, if that is spaced; else begins one."""
COMBINING: Final = 2
"""Goes on with any word before it; else begins one."""
ALONE: Final = 3
"""Begins a word that only marks may follow."""
IGNORED: Final = 4
KIND_SHIFT: Final = 24

UNSPACED_BLOCKS: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, Khmer symbols
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0xA980, 0xA9FF),  # Javanese, Myanmar Extended-B
    (0xAA60, 0xAADF),  # Myanmar Extended-A, Tai Viet
)
"""Blocks of scripts without spaces that `unicode_classes` counts as running words. Their digits stay together."""
IGNORED_CODE_POINTS: Final = (0x00AD, 0x200C, 0x200D, 0x2060, 0xFEFF)

BLOCK: Final = 2048
"""Shingles hashed at a time: 16 kB, so that a block stays in the first-level cache while signatures are taken of it."""
SMALL: Final = 32
NUM_STATE: Final = 4
_IN_WORD, _WORD_HASH, _SUM, _NUM_WORDS = range(NUM_STATE)
_SPACED, _ALONE = 1, 2

U64 = npt.NDArray[np.uint64]
_START: Final = np.uint64(0xCBF29CE484222325)
# Any odd constants serve; those whose product with all-ones has random-looking bits spread best.
_CHARACTER: Final = np.uint64(0x9E3779B97F4A7C15)
# = 3 modulo 8: then powers minus one have few factors of two, so swapped words cannot cancel (2**-60 at worst).
_WORDS: Final = np.uint64(0xD6E8FEB86659FD93)
_S29: Final = np.uint64(29)
# The folded character alone: a mark may fold to a letter (U+0345 to iota) and must then hash as one
_POINT: Final = np.uint32((1 << KIND_SHIFT) - 1)
_ZERO: Final = np.uint64(0)
_ONE: Final = np.uint64(1)


@cache
def character_table() -> npt.NDArray[np.uint32]:
    """What a shingle sees of each code point: uint32 [0x110000], `kind << 24 | folded code point`. Read-only."""
    flags = class_table()
    kinds = np.zeros(flags.size, np.uint32)
    kinds[(flags & WORD) != 0] = LETTER
    kinds[(flags & MARK) != 0] = COMBINING
    kinds[(flags & SINGLE) != 0] = ALONE
    for first, last in UNSPACED_BLOCKS:
        block = kinds[first : last + 1]
        block[((flags[first : last + 1] & ALPHA) != 0) & (block == LETTER)] = ALONE
    kinds[list(IGNORED_CODE_POINTS)] = IGNORED
    table: npt.NDArray[np.uint32] = folding_table() | (kinds << np.uint32(KIND_SHIFT))
    table.setflags(write=False)
    return table


def check_shingle_size(shingle_size: int) -> None:
    """Refuse, with ConfigError, a number of words that no shingle can have."""
    if not 1 <= shingle_size <= MAX_SHINGLE_SIZE:
        raise ConfigError(f"shingle_size = {shingle_size}: a shingle has 1 to {MAX_SHINGLE_SIZE} words; 5 is usual")


def text_buffers(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Bytes and offsets (int64 [num_rows + 1]) of a string array, without copying the text. A null is an empty one."""
    if texts.null_count:
        texts = texts.fill_null("")
    wide = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
    _, offsets_buffer, data_buffer = texts.buffers()
    if not len(texts) or offsets_buffer is None:
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    offsets = np.frombuffer(offsets_buffer, np.int64 if wide else np.int32)[
        texts.offset : texts.offset + len(texts) + 1
    ]
    data = np.zeros(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    return data, offsets.astype(np.int64, copy=False)


@njit(cache=True, nogil=True)
def next_block(data: Any, position: Any, end: Any, table: Any, ring: Any, state: Any, block: Any) -> Any:
    """Hash words from `position` until `block` is full or the document ends at `end`.

    `data` uint8; `table` from `character_table`; `ring` uint64 [shingle_size], `state` uint64 [NUM_STATE], both zero at
    the start of a document; `block` uint64. Returns `(position, num_shingles)`; the document is done when
    `num_shingles` is below `block.size`. Memory does not depend on the document.
    """
    size = ring.size
    leave = _ONE  # _WORDS ** size: the weight of the word that leaves the shingle
    for _ in range(size):
        leave *= _WORDS
    in_word, h, total, num_words = state[0], state[1], state[2], np.int64(state[3])
    slot = num_words % size
    found = 0
    i = position
    while i <= end:
        step = 1
        value = np.uint32(0)
        if i < end:
            byte = data[i]
            if byte < 0x80:
                value = table[byte]
            elif byte >= 0xC2:
                code = np.int64(0x110000)
                if byte < 0xE0:
                    if i + 1 < end:
                        code = (np.int64(byte & 0x1F) << 6) | np.int64(data[i + 1] & 0x3F)
                        step = 2
                elif byte < 0xF0:
                    if i + 2 < end:
                        code = (
                            (np.int64(byte & 0x0F) << 12)
                            | (np.int64(data[i + 1] & 0x3F) << 6)
                            | np.int64(data[i + 2] & 0x3F)
                        )
                        step = 3
                elif i + 3 < end:
                    code = (
                        (np.int64(byte & 0x07) << 18)
                        | (np.int64(data[i + 1] & 0x3F) << 12)
                        | (np.int64(data[i + 2] & 0x3F) << 6)
                        | np.int64(data[i + 3] & 0x3F)
                    )
                    step = 4
                if code < 0x110000:
                    value = table[code]
        kind = value >> np.uint32(KIND_SHIFT)
        if in_word != _ZERO:
            if (kind == LETTER and in_word == np.uint64(_SPACED)) or kind == COMBINING:
                h = (h ^ np.uint64(value & _POINT)) * _CHARACTER
                h ^= h >> _S29
                i += step
                continue
            if kind == IGNORED:
                i += step
                continue
            if found == block.size:
                break
            word = mix(h)
            total = total * _WORDS + word - leave * ring[slot]
            ring[slot] = word
            slot += 1
            if slot == size:
                slot = 0
            num_words += 1
            in_word = _ZERO
            if num_words >= size:
                block[found] = mix(total)
                found += 1
        if kind != SEPARATOR and kind != IGNORED:
            in_word = np.uint64(_ALONE) if kind == ALONE else np.uint64(_SPACED)
            h = (_START ^ np.uint64(value & _POINT)) * _CHARACTER
            h ^= h >> _S29
        i += step
    if i > end and 0 < num_words < size and found < block.size:
        block[found] = mix(total)
        found += 1
    state[0], state[1], state[2], state[3] = in_word, h, total, np.uint64(num_words)
    return i, found


@njit(cache=True, nogil=True)
def _hash_all(data: Any, offsets: Any, table: Any, size: Any, starts: Any) -> Any:
    """Every shingle of every document, in order, in an array with room to spare; where each document begins: `starts`."""
    # English has a word in six bytes, Chinese in three: the first guess serves one, and is doubled once for the other
    values = np.empty((offsets[-1] - offsets[0]) // 5 + 2 * BLOCK, np.uint64)
    ring, state = np.empty(size, np.uint64), np.empty(NUM_STATE, np.uint64)
    to = 0
    for document in range(offsets.size - 1):
        ring[:] = 0
        state[:] = 0
        position, found = np.int64(offsets[document]), BLOCK
        while found == BLOCK:
            if to + BLOCK > values.size:
                larger = np.empty(2 * values.size, np.uint64)
                larger[:to] = values[:to]
                values = larger
            position, found = next_block(
                data, position, offsets[document + 1], table, ring, state, values[to : to + BLOCK]
            )
            to += found
        starts[document + 1] = to
    return values


@njit(cache=True, nogil=True)
def _sort_unique(values: Any, starts: Any, sizes: Any) -> Any:
    """Keep each value of a document once, in place, one document after the other. Above SMALL values it is sorted already."""
    to = 0
    for document in range(starts.size - 1):
        part = values[starts[document] : starts[document + 1]]
        if part.size <= SMALL:
            part = np.sort(part)
        first = to
        for i in range(part.size):
            if i == 0 or part[i] != values[to - 1]:
                values[to] = part[i]
                to += 1
        sizes[document] = to - first
    return to


def shingle_hashes(texts: pa.Array, shingle_size: int) -> tuple[U64, npt.NDArray[np.int64]]:
    """Every shingle of every text, in order, with repeats: hashes uint64 [num_shingles], offsets int64 [num_rows + 1].

    Holds 8 bytes a word of the batch, up to three times that while it grows. Raises ConfigError for a shingle size below 1
    or above MAX_SHINGLE_SIZE.
    """
    check_shingle_size(shingle_size)
    data, offsets = text_buffers(texts)
    starts = np.zeros(len(texts) + 1, np.int64)
    values: U64 = _hash_all(data, offsets, character_table(), shingle_size, starts)
    return values[: starts[-1]], starts


def shingle_sets(texts: pa.Array, shingle_size: int) -> tuple[U64, npt.NDArray[np.int64]]:
    """The set of shingles of every text, ascending: hashes uint64 [num_values], offsets int64 [num_rows + 1]."""
    values, starts = shingle_hashes(texts, shingle_size)
    # numpy sorts by vectors, ten times faster than what Numba compiles; a call costs as much as sorting SMALL values
    for document in np.flatnonzero(np.diff(starts) > SMALL).tolist():
        values[starts[document] : starts[document + 1]].sort()
    sizes = np.zeros(len(texts), np.int64)
    kept = _sort_unique(values, starts, sizes)
    return values[:kept], np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


@njit(cache=True, nogil=True)
def num_common(left: Any, right: Any) -> Any:
    """Number of values in both of two ascending arrays without repeats."""
    i = j = common = 0
    while i < left.size and j < right.size:
        a, b = left[i], right[j]
        common += a == b
        i += a <= b
        j += b <= a
    return common


def jaccard(left: U64, right: U64) -> float:
    """|A and B| / |A or B| of two ascending sets; 0.0 where both are empty."""
    common = int(num_common(left, right))
    union = left.size + right.size - common
    return common / union if union else 0.0
