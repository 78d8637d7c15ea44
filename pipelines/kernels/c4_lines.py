"""C4's line rules and sentences (Raffel et al. 2020, arXiv 1910.10683, section 2.2; c4_utils.py of TensorFlow Datasets).

A line (of `str.splitlines`, stripped) is judged in this order, and the first fault found is the one it has:
a word of more than 1,000 characters; no terminal punctuation (. ? ! " ' but not ...) once citations are cut out; fewer
than 3 words; "javascript"; one of six phrases of policies. Words here are what `str.split` gives, before citations are
cut. Phrases are found in any case, as `str.lower` would. A citation is [digits], [], [edit] or [citation needed].

Sentences are those of `sentences`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pipelines.kernels.bits import compiled, highest, popcount
from pipelines.kernels.lines import line_end
from pipelines.kernels.scanning import IN_SPACE, ODD, after_last_clear, decode, next_clear, next_set, num_chars, scan
from pipelines.kernels.sentences import count_sentences
from pipelines.kernels.unicode_classes import DIGIT

KEPT, TOO_LONG_WORD, NO_TERMINAL, TOO_FEW_WORDS, JAVASCRIPT, POLICY = range(6)
"""What is said of a line: kept, or the fault for which it goes."""

CUT_CITATIONS, NEEDS_TERMINAL, NO_JAVASCRIPT, NO_POLICIES = 1, 2, 4, 8
"""Checks of a line that can be left out; C4 makes them all."""

MAX_WORD_CHARS: Final = 1000
"""c4_utils.py, `_MAX_WORD_LENGTH`; not in the paper."""
MIN_WORDS: Final = 3
"""datatrove's reading of section 2.2; c4_utils.py, `_MIN_WORDS_PER_LINE`, has 5."""
ALL_CHECKS: Final = CUT_CITATIONS | NEEDS_TERMINAL | NO_JAVASCRIPT | NO_POLICIES

_U: Final = np.uint64
_0: Final = np.uint64(0)
_1: Final = np.uint64(1)

_LOREM, _BRACE, _SCRIPT, _PHRASE = 1, 2, 4, 8


def _pattern(text: str) -> Any:
    return np.frombuffer(text.encode("ascii"), np.uint8)


_LOREM_IPSUM: Final = _pattern("lorem ipsum")
_JAVASCRIPT: Final = _pattern("javascript")
_TERMS: Final = _pattern("terms of use")
_PRIVACY: Final = _pattern("privacy policy")
_COOKIE_POLICY: Final = _pattern("cookie policy")
_USES: Final = _pattern("uses cookies")
_USE_OF: Final = _pattern("use of cookies")
_USE: Final = _pattern("use cookies")
_EDIT: Final = _pattern("[edit]")
_NEEDED: Final = _pattern("[citation needed]")


@compiled
def _matches(buffer: Any, at: int, first: int, last: int, pattern: Any, fold: int) -> bool:
    """Do the bytes at `at`, all within [first, last), equal the lower-case ASCII pattern? `fold` 32 ignores case."""
    if at < first or at + pattern.size > last:
        return False
    for k in range(pattern.size):
        byte = np.int64(buffer[at + k])
        if fold and 65 <= byte <= 90:
            byte |= fold
        if byte != pattern[k]:
            return False
    return True


@compiled
def citation_bytes(buffer: Any, at: int, last: int, table: Any) -> int:
    """Bytes of the citation whose '[' is at `at`, or 0; digits of any script count."""
    if _matches(buffer, at, at, last, _EDIT, 0):
        return 6
    if _matches(buffer, at, at, last, _NEEDED, 0):
        return 17
    k = at + 1
    while k < last:
        byte = buffer[k]
        if byte == 93:
            return k + 1 - at
        if byte < 0x80:
            if not 48 <= byte <= 57:
                return 0
            k += 1
        else:
            point, width = decode(buffer, k)
            if not table[point] & DIGIT:
                return 0
            k += width
    return 0


@compiled
def _phrases_at(buffer: Any, at: int, first: int, last: int) -> int:
    """Flags of the phrases whose odd bytes (see `scanning`) are at `at`."""
    byte = buffer[at] | 32
    if buffer[at] == 123:
        return _BRACE
    if byte == 106 and _matches(buffer, at, first, last, _JAVASCRIPT, 32):
        return _SCRIPT
    if byte == 109 and _matches(buffer, at - 4, first, last, _LOREM_IPSUM, 32):
        return _LOREM
    if (
        (byte == 102 and _matches(buffer, at - 7, first, last, _TERMS, 32))
        or (byte == 121 and _matches(buffer, at - 6, first, last, _PRIVACY, 32))
        or (byte == 107 and _matches(buffer, at - 3, first, last, _COOKIE_POLICY, 32))
        or (byte == 107 and _matches(buffer, at - 8, first, last, _USES, 32))
        or (byte == 107 and _matches(buffer, at - 10, first, last, _USE_OF, 32))
        or (byte == 107 and _matches(buffer, at - 7, first, last, _USE, 32))
    ):
        return _PHRASE
    return 0


@compiled
def _has_long_word(bits: Any, before: Any, first: int, last: int, most: int) -> bool:
    """Is one run without white space in [first, last) longer than `most` characters? `first` is not white space."""
    at = first
    while last - at > most:
        # no run of more than `most` bytes can lie between `at` and white space found at most `most` bytes further
        space = _last_space(bits, at, at + most + 1)
        if space > at:
            at = space
            continue
        at = next_clear(bits, IN_SPACE, at, last)
        stop = next_set(bits, IN_SPACE, at, last)
        if num_chars(bits, before, at, stop) > most:
            return True
        at = stop
    return False


@compiled
def _last_space(bits: Any, start: int, at: int) -> Any:
    """Last position in (start, at) that is white space, else `start`."""
    k = (at - 1) >> 6
    found = bits[k, IN_SPACE] & (~_0 >> _U(63 - ((at - 1) & 63)))
    while found == _0 and k > start >> 6:
        k -= 1
        found = bits[k, IN_SPACE]
    if found == _0:
        return start
    return max((k << 6) + highest(found), start)


@compiled
def _has_words(bits: Any, first: int, last: int, least: int) -> bool:
    """Are there at least `least` runs without white space in [first, last)? Both ends are not white space."""
    found, carry = 0, ~_0
    k = first >> 6
    while k <= (last - 1) >> 6 and found < least:
        space = bits[k, IN_SPACE]
        if k == first >> 6:
            space |= (_1 << _U(first & 63)) - _1
        written = ~space
        if k == (last - 1) >> 6:
            written &= ~_0 >> _U(63 - ((last - 1) & 63))
        found += popcount(written & ((space << _1) | (carry & _1)))
        carry = space >> _U(63)
        k += 1
    return bool(found >= least)


@compiled
def cut_citations(
    buffer: Any, first: int, last: int, table: Any, into: Any, at: int, fold_kelvin: bool, cut: int
) -> int:
    """Copy bytes [first, last), without citations if `cut`, to `into` from `at` on; returns where it ends.

    `fold_kelvin` turns U+212A into k, the one character beside ASCII whose lower case matters to a phrase.
    """
    while first < last:
        byte = buffer[first]
        if byte == 91 and cut:
            skipped = citation_bytes(buffer, first, last, table)
            if skipped:
                first += skipped
                continue
        if fold_kelvin and byte == 0xE2 and buffer[first + 1] == 0x84 and buffer[first + 2] == 0xAA:
            into[at] = 107
            at, first = at + 1, first + 3
            continue
        into[at] = byte
        at, first = at + 1, first + 1
    return at


@compiled
def is_terminal(buffer: Any, first: int, last: int) -> Any:
    """Do the bytes [first, last) end in . ? ! " or ' but not in '...'?"""
    if last <= first:
        return False
    byte = buffer[last - 1]
    if byte == 46:
        return not (last - first >= 3 and buffer[last - 2] == 46 and buffer[last - 3] == 46)
    return byte == 63 or byte == 33 or byte == 34 or byte == 39


@compiled
def _odd_flags(buffer: Any, start: int, bits: Any, first: int, last: int, table: Any, cut: int) -> int:
    """Phrase flags of the line [first, last), or -1 if it must be judged on a cleaned copy."""
    flags, at = 0, next_set(bits, ODD, first, last)
    while at < last:
        byte = buffer[start + at]
        if byte >= 0x80 or (cut and byte == 91 and citation_bytes(buffer, start + at, start + last, table)):
            return -1
        flags |= _phrases_at(buffer, start + at, start + first, start + last)
        at = next_set(bits, ODD, at + 1, last)
    return flags


@compiled
def judge_line(
    buffer: Any,
    start: int,
    bits: Any,
    before: Any,
    first: int,
    last: int,
    table: Any,
    clean: Any,
    clean_bits: Any,
    clean_before: Any,
    max_word_chars: int,
    min_words: int,
    checks: int,
) -> Any:
    """(fault, 'lorem ipsum' reached, '{' reached, sentences) of the stripped line [first, last) of a scanned document.

    Sentences are 0 unless the line is kept. `clean`, `clean_bits` and `clean_before` are scratch for a copy of the line
    without citations, made only where there is one.
    """
    if last - first > max_word_chars and _has_long_word(bits, before, first, last, max_word_chars):
        return TOO_LONG_WORD, 0, 0, 0
    cut, terminal = checks & CUT_CITATIONS, checks & NEEDS_TERMINAL
    if terminal and buffer[start + last - 1] != 93 and not is_terminal(buffer, start + first, start + last):
        return NO_TERMINAL, 0, 0, 0
    flags = _odd_flags(buffer, start, bits, first, last, table, cut)
    copied = flags < 0
    size = 0
    if copied:
        size = cut_citations(buffer, start + first, start + last, table, clean, 0, True, cut)
    if terminal and not (is_terminal(clean, 0, size) if copied else is_terminal(buffer, start + first, start + last)):
        return NO_TERMINAL, 0, 0, 0
    if not _has_words(bits, first, last, min_words):
        return TOO_FEW_WORDS, 0, 0, 0
    if copied:
        scan(clean, 0, size, table, clean_bits, clean_before)
        flags = _odd_flags(clean, 0, clean_bits, 0, size, table, 0)
    lorem, brace = flags & _LOREM, (flags & _BRACE) >> 1
    if checks & NO_JAVASCRIPT and flags & _SCRIPT:
        return JAVASCRIPT, lorem, 0, 0
    if checks & NO_POLICIES and flags & _PHRASE:
        return POLICY, lorem, brace, 0
    if copied:
        return KEPT, lorem, brace, count_sentences(clean, 0, clean_bits, 0, size)
    return KEPT, lorem, brace, count_sentences(buffer, start, bits, first, last)


@compiled
def count_c4(
    buffer: Any,
    start: int,
    length: int,
    bits: Any,
    before: Any,
    table: Any,
    clean: Any,
    clean_bits: Any,
    clean_before: Any,
) -> Any:
    """(kept lines, their sentences, 'lorem ipsum' lines, '{' lines) of a scanned document."""
    kept, sentences, lorem, braces, line = 0, 0, 0, 0, 0
    while line < length:
        end, following = line_end(buffer, start, bits, line, length)
        first = next_clear(bits, IN_SPACE, line, end)
        line = following
        if first == end:
            continue
        last = after_last_clear(bits, IN_SPACE, first, end)
        fault, has_lorem, has_brace, in_line = judge_line(
            buffer, start, bits, before, first, last, table, clean, clean_bits, clean_before,
            MAX_WORD_CHARS, MIN_WORDS, ALL_CHECKS,
        )  # fmt: skip
        kept += fault == KEPT
        sentences += in_line
        lorem += has_lorem
        braces += has_brace
    return kept, sentences, lorem, braces
