"""One pass over the UTF-8 of a document: 64 bytes at a time into bitmaps, which everything else reads.

`scan` fills `bits`, uint64 [blocks, 8]: row k stands for bytes 64k .. 64k+63 of the document, bit i of a row for one
byte; the columns are named below. ASCII is classified by vector comparisons; other characters one by one from the
table of `unicode_classes`. Positions are offsets from the start of the document. Requirements on the caller: the
buffer has `PADDING` readable bytes after the last document, `bits` has `num_rows(length)` rows, the text is UTF-8
(other bytes give wrong counts, never a read or write out of bounds).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pipelines.kernels.bits import compiled, highest, inlined, lowest, mask_between, mask_equal, popcount
from pipelines.kernels.unicode_classes import ALPHA, BREAK, MARK, SINGLE, SPACE, TERMINAL, WORD

PADDING: Final = 80
"""Bytes that must be readable after the last document: one block and one 16-byte load."""

COLUMNS: Final = 8
IN_WORD, STARTS, IN_SPACE, BREAKS, ENDS_SENTENCE, ODD, CONTINUES, LETTERS = range(COLUMNS)
"""Bytes of words; first bytes of words; bytes of white space; first bytes of line breaks, of sentence-ending
characters, of what C4's rules look for (see `_odd`); UTF-8 continuation bytes; first bytes of letters."""

_U: Final = np.uint64
_0: Final = np.uint64(0)
_1: Final = np.uint64(1)
_ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_TOP: Final = np.uint64(1 << 63)
_TOP2: Final = np.uint64(3 << 62)
_KELVIN_SIGN: Final = 0x212A  # the only character beside k and K that str.lower maps to k
_ELLIPSIS: Final = 0x2026


@inlined
def num_rows(length: int) -> int:
    """Rows of `bits` that a document of `length` bytes needs: its blocks and an empty one."""
    return ((length + 63) >> 6) + 1


@inlined
def decode(buffer: Any, at: int) -> Any:
    """(code point, bytes) of the character whose first byte, not ASCII, is at `at`."""
    first = np.int64(buffer[at])
    second = np.int64(buffer[at + 1]) & 63
    if first < 0xE0:
        return ((first & 31) << 6) | second, 2
    third = np.int64(buffer[at + 2]) & 63
    if first < 0xF0:
        return ((first & 15) << 12) | (second << 6) | third, 3
    point = ((first & 7) << 18) | (second << 12) | (third << 6) | (np.int64(buffer[at + 3]) & 63)
    return min(point, 0x10FFFF), 4


@inlined
def _odd(buffer: Any, at: int) -> Any:
    """Where a citation may start, a '{' is, or a phrase of C4's may be: a few bytes of it in a row, in any case.

    ja(vascript), (coo)ki(es), (privac)y p(olicy), (terms o)f u(se), (lore)m i(psum). At the end of the block the
    bytes that follow are not seen, so what starts there is taken for odd.
    """
    blank = mask_equal(buffer, at, 0, 0x20)
    i = mask_equal(buffer, at, 0x20, 0x69)
    found = mask_equal(buffer, at, 0x20, 0x6A) & (_TOP | (mask_equal(buffer, at, 0x20, 0x61) >> _1))
    found |= mask_equal(buffer, at, 0x20, 0x6B) & (_TOP | (i >> _1))
    pairs = mask_equal(buffer, at, 0x20, 0x79) & (_TOP2 | (mask_equal(buffer, at, 0x20, 0x70) >> _U(2)))
    pairs |= mask_equal(buffer, at, 0x20, 0x66) & (_TOP2 | (mask_equal(buffer, at, 0x20, 0x75) >> _U(2)))
    pairs |= mask_equal(buffer, at, 0x20, 0x6D) & (_TOP2 | (i >> _U(2)))
    found |= pairs & (_TOP | (blank >> _1))
    return found | mask_equal(buffer, at, 0, 0x5B) | mask_equal(buffer, at, 0, 0x7B)


@compiled
def scan(buffer: Any, start: int, stop: int, table: Any, bits: Any, before: Any) -> Any:
    """Classify `buffer[start:stop]` into `bits`; `before[k]` becomes the number of continuation bytes before row k.

    Returns int64 counts (words, characters in words, alphabetic words, '#', ellipses, LF).
    """
    rows = num_rows(stop - start) - 1
    word_bit, word_spill, space_spill, cont_total = _0, _0, _0, 0
    force_spill, dots, next_dots, solo_end = _0, _0, 0, -1
    words, word_chars, alphabetic, hashes, ellipses, newlines = 0, 0, 0, 0, 0, 0
    undecided = False  # the word that runs into this block has had no letter yet
    for k in range(rows):
        at = start + (k << 6)
        valid = _ALL if stop - at >= 64 else (_1 << _U(stop - at)) - _1
        letters = mask_between(buffer, at, 0x20, 0x61, 0x7A) & valid
        in_word = letters | (mask_between(buffer, at, 0, 0x30, 0x39) & valid)
        space = (mask_between(buffer, at, 0, 9, 13) | mask_between(buffer, at, 0, 28, 32)) & valid
        breaks = (mask_between(buffer, at, 0, 10, 13) | mask_between(buffer, at, 0, 28, 30)) & valid
        dot = mask_equal(buffer, at, 0, 0x2E) & valid
        ends = dot | ((mask_equal(buffer, at, 0, 0x21) | mask_equal(buffer, at, 0, 0x3F)) & valid)
        odd = _odd(buffer, at) & valid
        hashes += popcount(mask_equal(buffer, at, 0, 0x23) & valid)
        newlines += popcount(mask_equal(buffer, at, 0, 10) & valid)
        high = mask_between(buffer, at, 0, 128, 255) & valid
        cont, solo, force = _0, _0, force_spill
        in_word, space = in_word | word_spill, space | space_spill
        word_spill, space_spill, force_spill = _0, _0, _0
        before[k] = cont_total
        if high != _0:
            cont = mask_between(buffer, at, 0, 128, 191) & valid
            cont_total += popcount(cont)
            lead = high & ~cont
            while lead != _0:
                p = lowest(lead)
                bit = lead & (~lead + _1)
                lead ^= bit
                point, width = decode(buffer, at + p)
                flags = table[point]
                ones = (_1 << _U(width)) - _1
                over = ones >> _U(64 - p) if p + width > 64 else _0
                if flags & WORD:
                    in_word |= ones << _U(p)
                    word_spill |= over
                    letters |= bit if flags & ALPHA else _0
                    if flags & SINGLE:
                        solo |= bit
                        solo_end = at + p
                    elif at + p == solo_end and flags & MARK:
                        force &= ~bit
                    if point == _KELVIN_SIGN:
                        odd |= bit
                    if flags & SINGLE or (at + p == solo_end and flags & MARK):
                        solo_end = at + p + width
                        if p + width < 64:
                            force |= bit << _U(width)
                        else:
                            force_spill |= _1 << _U(p + width - 64)
                elif flags & SPACE:
                    space |= ones << _U(p)
                    space_spill |= over
                    breaks |= bit if flags & BREAK else _0
                elif flags & TERMINAL:
                    ends |= bit
                else:
                    ellipses += point == _ELLIPSIS
        in_word &= valid
        space &= valid
        starts = in_word & (~((in_word << _1) | word_bit) | solo | force)
        words += popcount(starts)
        word_chars += popcount(in_word & ~cont)
        # words with a letter: those that start with one, and of the others those where one follows
        bounds = ~in_word | starts
        if undecided:
            run = (bounds & (~bounds + _1)) - _1  # bits below the first boundary; all for none
            alphabetic += (letters & run) != _0
            undecided = bounds == _0 and (letters & run) == _0
        alphabetic += popcount(starts & letters)
        unlettered = starts & ~letters
        while unlettered != _0:
            bit = unlettered & (~unlettered + _1)
            unlettered ^= bit
            after = bounds & ~(bit | (bit - _1))
            run = ((after & (~after + _1)) - _1) & ~(bit - _1)
            alphabetic += (letters & run) != _0
            undecided = after == _0 and (letters & run) == _0
        # a third dot in a row, not counted in the ellipsis before
        thirds = dot & ((dot << _1) | (dots >> _U(63))) & ((dot << _U(2)) | (dots >> _U(62)))
        while thirds != _0:
            p = at + lowest(thirds)
            thirds &= thirds - _1
            if p >= next_dots:
                ellipses += 1
                next_dots = p + 3
        dots = dot
        word_bit = in_word >> _U(63)
        row = bits[k]
        row[IN_WORD], row[STARTS], row[IN_SPACE], row[BREAKS] = in_word, starts, space, breaks
        row[ENDS_SENTENCE], row[ODD], row[CONTINUES], row[LETTERS] = ends, odd, cont, letters
    before[rows] = cont_total
    bits[rows, :] = _0
    return words, word_chars, alphabetic, hashes, ellipses, newlines


@inlined
def next_set(bits: Any, column: int, at: int, stop: int) -> Any:
    """First position in [at, stop) whose bit is set, else `stop`."""
    while at < stop:
        found = bits[at >> 6, column] >> _U(at & 63)
        if found != _0:
            return min(at + lowest(found), stop)
        at = ((at >> 6) + 1) << 6
    return stop


@inlined
def next_clear(bits: Any, column: int, at: int, stop: int) -> Any:
    """First position in [at, stop) whose bit is not set, else `stop`."""
    while at < stop:
        found = ~bits[at >> 6, column] >> _U(at & 63)
        if found != _0:
            return min(at + lowest(found), stop)
        at = ((at >> 6) + 1) << 6
    return stop


@inlined
def after_last_clear(bits: Any, column: int, start: int, at: int) -> Any:
    """One past the last position in [start, at) whose bit is not set, else `start`."""
    while at > start:
        found = ~bits[(at - 1) >> 6, column] << _U(63 - ((at - 1) & 63))
        if found != _0:
            return max(at - 63 + highest(found), start)
        at = ((at - 1) >> 6) << 6
    return start


@inlined
def num_chars(bits: Any, before: Any, start: int, stop: int) -> Any:
    """Characters that begin in [start, stop)."""
    low = before[start >> 6] + popcount(bits[start >> 6, CONTINUES] & ((_1 << _U(start & 63)) - _1))
    high = before[stop >> 6] + popcount(bits[stop >> 6, CONTINUES] & ((_1 << _U(stop & 63)) - _1))
    return stop - start - (high - low)
