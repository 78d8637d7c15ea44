"""Sentences of a scanned text, by punctuation alone.

A text is cut after each run that starts with . ! or ? and goes on with . ! ? " ' ) ] ” ’ », where white space follows,
and after each other character that ends a sentence (`unicode_classes.TERMINAL`), such as 。 or ।. The pieces with a word
in them are its sentences. Abbreviations count as ends: counts are for thresholds, not for grammar.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from pipelines.kernels.bits import compiled
from pipelines.kernels.scanning import (
    COLUMNS,
    ENDS_SENTENCE,
    IN_SPACE,
    IN_WORD,
    PADDING,
    decode,
    next_set,
    num_rows,
    scan,
)
from pipelines.kernels.unicode_classes import class_table

_U: Final = np.uint64
_0: Final = np.uint64(0)
_1: Final = np.uint64(1)


@compiled
def _closing_bytes(buffer: Any, at: int, last: int) -> int:
    """Bytes of a character at `at` that may stand between . ! ? and the white space that follows, or 0."""
    byte = buffer[at]
    if byte == 34 or byte == 39 or byte == 41 or byte == 93 or byte == 46 or byte == 33 or byte == 63:
        return 1
    if byte == 0xC2 and at + 1 < last and buffer[at + 1] == 0xBB:
        return 2
    if byte == 0xE2 and at + 2 < last and buffer[at + 1] == 0x80 and (buffer[at + 2] == 0x9D or buffer[at + 2] == 0x99):
        return 3
    return 0


@compiled
def next_cut(buffer: Any, start: int, bits: Any, at: int, last: int) -> Any:
    """First cut after `at`, or `last`: positions within the document that starts at `start`."""
    while True:
        at = next_set(bits, ENDS_SENTENCE, at, last)
        if at == last:
            return last
        if buffer[start + at] >= 0x80:
            return min(at + decode(buffer, start + at)[1], last)
        at += 1
        while at < last:
            width = _closing_bytes(buffer, start + at, start + last)
            if width == 0:
                break
            at += width
        if at == last or (bits[at >> 6, IN_SPACE] >> _U(at & 63)) & _1 != _0:
            return at


@compiled
def count_sentences(buffer: Any, start: int, bits: Any, first: int, last: int) -> int:
    """Sentences in [first, last) of a scanned document."""
    count, piece = 0, first
    while piece < last:
        cut = next_cut(buffer, start, bits, piece, last)
        count += next_set(bits, IN_WORD, piece, cut) < cut
        piece = cut
    return count


@njit(cache=True, _nrt=False)
def _cuts_of(buffer: Any, length: int, table: Any, bits: Any, before: Any, cuts: Any) -> int:
    """Fill int32 `cuts` with the end of each piece that has a word, the last one running on to the end."""
    scan(buffer, 0, length, table, bits, before)
    count, piece = 0, 0
    while piece < length:
        cut = next_cut(buffer, 0, bits, piece, length)
        if next_set(bits, IN_WORD, piece, cut) < cut:
            cuts[count] = cut
            count += 1
        piece = cut
    return count


def sentences_of(text: str) -> list[str]:
    """The sentences of `text`, in order; what has no word goes with the sentence after it, or at the end is left out.

    >>> sentences_of('One. "Two?" He asked... 3.5 times! 漢字。二。')
    ['One.', ' "Two?"', ' He asked...', ' 3.5 times!', ' 漢字。', '二。']
    """
    raw = text.encode()
    rows = num_rows(len(raw))
    cuts = np.empty(len(raw) + 1, np.int32)
    buffer = np.frombuffer(raw + bytes(PADDING), np.uint8)
    bits, before = np.empty((rows, COLUMNS), np.uint64), np.empty(rows, np.int64)
    ends = cuts[: _cuts_of(buffer, len(raw), class_table(), bits, before, cuts)].tolist()
    return [raw[begin:end].decode() for begin, end in zip([0, *ends], ends, strict=False)]
