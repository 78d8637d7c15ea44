"""Lines and paragraphs of a scanned document: bullets, ellipses, ends, duplicates.

Three notions of a line (see `definitions`), each as its paper's code has it. Duplicates are found by the 64-bit hash
of a line's bytes. Positions are offsets from the start of the document at `start` in `buffer`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pipelines.kernels.bits import compiled, inlined
from pipelines.kernels.hashing import hash_bytes, intern, slots_for
from pipelines.kernels.scanning import (
    BREAKS,
    ENDS_SENTENCE,
    IN_SPACE,
    after_last_clear,
    next_clear,
    next_set,
    num_chars,
)

SHORT_LINE_CHARS: Final = 30
"""FineWeb's "short line": at most 30 characters (Penedo et al. 2024, section 3.6)."""

_0: Final = np.uint64(0)
_1: Final = np.uint64(1)
_LF, _CR, _DASH, _DOT = 10, 13, 45, 46


@inlined
def break_bytes(buffer: Any, at: int) -> int:
    """Bytes of the line break at `at`: 1, 2 for U+0085, 3 for U+2028 and U+2029. CR LF counts as two breaks here."""
    first = buffer[at]
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3


@compiled
def ends_in_ellipsis(buffer: Any, first: int, last: int) -> Any:
    """Do the bytes [first, last) end in '...' or U+2026?"""
    if last - first < 3:
        return False
    three = (np.int64(buffer[last - 3]) << 16) | (np.int64(buffer[last - 2]) << 8) | np.int64(buffer[last - 1])
    return three == 0x2E2E2E or three == 0xE280A6


@compiled
def starts_with_bullet(buffer: Any, first: int, last: int) -> Any:
    """Do the bytes [first, last) start with '-' or U+2022?"""
    if buffer[first] == _DASH:
        return True
    return last - first >= 3 and buffer[first] == 0xE2 and buffer[first + 1] == 0x80 and buffer[first + 2] == 0xA2


@compiled
def line_end(buffer: Any, start: int, bits: Any, line: int, length: int) -> Any:
    """(end, start of the next) of the line that starts at `line`, as `str.splitlines` cuts."""
    at = next_set(bits, BREAKS, line, length)
    if at == length:
        return length, length
    if buffer[start + at] == _CR and at + 1 < length and buffer[start + at + 1] == _LF:
        return at, at + 2
    return at, at + break_bytes(buffer, start + at)


@compiled
def count_lines(buffer: Any, start: int, length: int, bits: Any) -> Any:
    """(lines, that start with a bullet, that end in an ellipsis), white space at either end aside."""
    lines, bullets, ellipses, line = 0, 0, 0, 0
    while line < length:
        end, following = line_end(buffer, start, bits, line, length)
        first = next_clear(bits, IN_SPACE, line, end)
        if first < end:
            last = after_last_clear(bits, IN_SPACE, first, end)
            bullets += starts_with_bullet(buffer, start + first, start + last)
            ellipses += ends_in_ellipsis(buffer, start + first, start + last)
        lines += 1
        line = following
    return lines, bullets, ellipses


@compiled
def ends_sentence(buffer: Any, start: int, bits: Any, last: int) -> Any:
    """Is the character before `last` one that ends a sentence?"""
    at = last - 1
    while at > 0 and buffer[start + at] & 0xC0 == 0x80:
        at -= 1
    return (bits[at >> 6, ENDS_SENTENCE] >> np.uint64(at & 63)) & _1 != _0


@compiled
def _duplicates(hashes: Any, chars: Any, count: int, table: Any, keys: Any) -> Any:
    """(elements equal to one before, their characters, those of them that count for FineWeb).

    int32 `chars` is negative, -1 - characters, for a blank line: not one of FineWeb's.
    """
    if count < 2:
        return 0, 0, 0
    slots = slots_for(count)
    table[:slots] = 0
    distinct, duplicates, size, size_written = 0, 0, 0, 0
    for j in range(count):
        if intern(table, slots, keys, distinct, hashes[j]) == distinct:
            distinct += 1
        else:
            duplicates += 1
            size += chars[j] if chars[j] >= 0 else -1 - chars[j]
            size_written += max(chars[j], 0)
    return duplicates, size, size_written


@compiled
def count_newline_lines(
    buffer: Any, start: int, length: int, bits: Any, before: Any, hashes: Any, chars: Any, table: Any, keys: Any
) -> Any:
    """Lines between LFs, for Gopher's repetition and for FineWeb.

    Returns int64 (Gopher lines, duplicates of them, characters of those, FineWeb lines, punctuated, short,
    characters of duplicates). uint64 `hashes`, `keys` and int32 `chars` need one entry a line, `table` `slots_for`.
    """
    count, line, at, written, punctuated, short = 0, 0, 0, 0, 0, 0
    while line < length:
        at = next_set(bits, BREAKS, at, length)
        if at < length and buffer[start + at] != _LF:
            at += 1
            continue
        if at > line:
            hashes[count] = hash_bytes(buffer, start + line, at - line)
            size = num_chars(bits, before, line, at)
            if next_clear(bits, IN_SPACE, line, at) < at:
                written += 1
                punctuated += ends_sentence(buffer, start, bits, at)
                short += size <= SHORT_LINE_CHARS
                chars[count] = size
            else:
                chars[count] = -1 - size
            count += 1
        at += 1
        line = at
    duplicates, size, size_written = _duplicates(hashes, chars, count, table, keys)
    # splitting at runs of LF leaves an empty line at each end that is LF, and one for the empty text
    leading = length > 0 and buffer[start] == _LF
    trailing = length == 0 or buffer[start + length - 1] == _LF
    duplicates += leading and trailing
    return count + leading + trailing, duplicates, size, written, punctuated, short, size_written


@compiled
def count_paragraphs(
    buffer: Any, start: int, length: int, bits: Any, before: Any, hashes: Any, chars: Any, table: Any, keys: Any
) -> Any:
    """(paragraphs, equal to one before, characters of those); scratch as for `count_newline_lines`."""
    first = next_clear(bits, IN_SPACE, 0, length)
    last = after_last_clear(bits, IN_SPACE, first, length)
    count, paragraph, at = 0, first, first
    while at < last:
        at = next_set(bits, BREAKS, at, last)
        if at < last and (buffer[start + at] != _LF or buffer[start + at + 1] != _LF):
            at += 1
            continue
        hashes[count] = hash_bytes(buffer, start + paragraph, at - paragraph)
        chars[count] = num_chars(bits, before, paragraph, at)
        count += 1
        while at < last and buffer[start + at] == _LF:
            at += 1
        paragraph = at
    duplicates, size, _ = _duplicates(hashes, chars, count, table, keys)
    return max(count, 1), duplicates, size
