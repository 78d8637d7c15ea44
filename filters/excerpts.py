"""Excerpts for language identification: one Numba pass cuts them from Arrow text and counts their letters by script.

An *excerpt* is one line of UTF-8 that ends in LF. White space (of ASCII) is squeezed to single spaces. A text of at most
`max_chars` characters is its own excerpt; of a longer one, `num_windows` windows of `max_chars // num_windows`
characters are taken at equal distances, since the head of a web page is often menus. Where none of them holds a
letter, the one window starts at the first letter of the text. The work per text is bounded by the text's length.

Two spellings mean something to fastText inside a line, `</s>` (the line ends) and `__label__` (the word is ignored); a
space is written for the first character of each.

The *script* is the ISO 15924 code that most letters of the excerpt belong to (the alphabetically first of equals; marks
and digits do not count; a letter of Han, Hiragana, Katakana or Hangul writes a syllable and counts threefold). Han,
Hiragana and Katakana are counted together and are "Jpan" where at least a tenth of them is kana, else "Hani": whether
Han is simplified is not decided. "Zyyy" is a text without letters of a script.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.kernels.shingles import text_buffers
from pipelines.kernels.unicode_classes import NUM_CODE_POINTS

NO_SCRIPT: Final = "Zyyy"
JAPANESE: Final = "Jpan"
SEEK_BYTES: Final = 64
"""A window that would start within a word starts after the next white space, if that is at most this far."""
DENSITY: Final = 3
"""Letters of an alphabet that one letter of a syllabic script weighs. With 1, 8.6% of 570 Chinese documents of the
benchmark, manuals full of commands, would be Latin; with 3, none."""
_LABEL: Final = np.frombuffer(b"__label__", np.uint8)
_END: Final = np.frombuffer(b"</s>", np.uint8)


class Excerpts(NamedTuple):
    """`lines` large_binary, one a text, ending in LF; `scripts` uint8, indexes into `script_names()`, 0 for no letter."""

    lines: pa.Array
    scripts: npt.NDArray[np.uint8]


@cache
def script_names() -> tuple[str, ...]:
    """ISO 15924 codes by number: "Zyyy" first, then alphabetical, "Jpan" last."""
    with np.load(Path(__file__).with_name("scripts.npz"), allow_pickle=False) as stored:
        return (*(name.decode("ascii") for name in stored["names"]), JAPANESE)


@cache
def script_table() -> npt.NDArray[np.uint8]:
    """Number of the script of each code point that is a letter, else 0: uint8 [0x110000], read-only."""
    with np.load(Path(__file__).with_name("scripts.npz"), allow_pickle=False) as stored:
        runs = stored["runs"]
    table = np.repeat((runs & 255).astype(np.uint8), np.diff(np.append(runs >> 8, NUM_CODE_POINTS)))
    table.setflags(write=False)
    return table


@njit(cache=True, nogil=True)
def _decode(data: Any, at: Any, end: Any) -> Any:
    """(code point, bytes) of the character at `at`; a byte that starts none is a character by itself."""
    first = np.int64(data[at])
    if first < 0xC2 or first > 0xF4:
        return (first if first < 0x80 else np.int64(0xFFFD)), 1
    width = 2 if first < 0xE0 else (3 if first < 0xF0 else 4)
    if at + width > end:
        return np.int64(0xFFFD), 1
    point = first & (0x7F >> width)
    for k in range(1, width):
        point = (point << 6) | np.int64(data[at + k] & 0x3F)
    return min(point, 0x10FFFF), width


@njit(cache=True, nogil=True)
def _is_space(byte: Any) -> Any:
    """What fastText splits words at."""
    return byte == 32 or 9 <= byte <= 13 or byte == 0


@njit(cache=True, nogil=True)
def _spelled(data: Any, at: Any, end: Any, spelling: Any) -> Any:
    if at + spelling.size > end:
        return False
    same = True
    for k in range(spelling.size):
        same &= data[at + k] == spelling[k]
    return same


@njit(cache=True, nogil=True)
def _copy(data: Any, start: Any, end: Any, max_chars: Any, table: Any, lines: Any, to: Any, counts: Any) -> Any:
    """Write at most `max_chars` squeezed characters of [start, end), count letters; (where it stopped, end of output)."""
    at = start
    blank = True
    chars = 0
    while at < end and chars < max_chars:
        byte = data[at]
        special = (byte == 0x3C and _spelled(data, at, end, _END)) or (byte == 0x5F and _spelled(data, at, end, _LABEL))
        if special or _is_space(byte):
            if not blank:
                lines[to] = 32
                to += 1
                chars += 1
                blank = True
            at += 1
            continue
        point, width = _decode(data, at, end)
        counts[table[point]] += 1
        for k in range(width):
            lines[to + k] = data[at + k]
        at += width
        to += width
        chars += 1
        blank = False
    while at < end and _is_space(data[at]):
        at += 1
    return at, to


@njit(cache=True, nogil=True)
def _word_start(data: Any, at: Any, end: Any) -> Any:
    """The first byte after white space in the `SEEK_BYTES` from `at` on, else `at`."""
    for k in range(at, min(at + SEEK_BYTES, end)):
        if _is_space(data[k]):
            return k + 1
    return at


@njit(cache=True, nogil=True)
def _character_start(data: Any, at: Any, end: Any) -> Any:
    while at < end and data[at] & 0xC0 == 0x80:
        at += 1
    return at


@njit(cache=True, nogil=True)
def _main_script(counts: Any, dense: Any) -> Any:
    """The script with most letters, 0 where there is none; `counts.size` stands for Japanese. Changes `counts`."""
    han, hiragana, katakana, hangul = dense
    kana = counts[hiragana] + counts[katakana]
    group = counts[han] + kana
    counts[hiragana] = counts[katakana] = 0
    counts[han] = DENSITY * group
    counts[hangul] *= DENSITY
    best, most = 0, 0
    for script in range(1, counts.size):
        if counts[script] > most:
            best, most = script, counts[script]
    return counts.size if best == han and 10 * kana >= group else best


@njit(cache=True, nogil=True)
def _cut(data: Any, offsets: Any, size: Any, windows: Any, table: Any, dense: Any, counts: Any, lines: Any, ends: Any,
         scripts: Any) -> Any:  # fmt: skip
    to = 0
    for text in range(offsets.size - 1):
        start, end = offsets[text], offsets[text + 1]
        first = to
        counts[:] = 0
        at, to = _copy(data, start, end, size, table, lines, to, counts)
        if at < end:
            to = first
            counts[:] = 0
            for window in range(windows):
                low = _character_start(data, start + (end - start) * window // windows, end)
                high = _character_start(data, start + (end - start) * (window + 1) // windows, end)
                low = low if window == 0 else _word_start(data, low, high)
                _, to = _copy(data, low, high, size // windows, table, lines, to, counts)
                lines[to] = 32
                to += 1
            if counts[1:].sum() == 0:
                at = start
                while at < end:
                    point, width = _decode(data, at, end)
                    if table[point]:
                        break
                    at += width
                to = first
                counts[:] = 0
                _, to = _copy(data, at, end, size, table, lines, to, counts)
        scripts[text] = _main_script(counts, dense)
        lines[to] = 10
        to += 1
        ends[text] = to


def cut_excerpts(texts: pa.Array, *, max_chars: int, num_windows: int) -> Excerpts:
    """Excerpts of `texts`, a string array; a null is an empty text. `max_chars` is at least `num_windows`."""
    data, offsets = text_buffers(texts)
    names = script_names()
    # a character has at most 4 bytes; every window ends in a space, the line in LF
    room = np.minimum(np.diff(offsets), 4 * max_chars) + num_windows + 2
    lines = np.empty(int(room.sum()), np.uint8)
    ends = np.zeros(len(texts) + 1, np.int64)
    scripts = np.zeros(len(texts), np.uint8)
    dense = tuple(names.index(name) for name in ("Hani", "Hira", "Kana", "Hang"))
    counts = np.zeros(len(names) - 1, np.int64)
    _cut(data, offsets, max_chars, num_windows, script_table(), dense, counts, lines, ends[1:], scripts)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(lines)]
    return Excerpts(pa.Array.from_buffers(pa.large_binary(), len(texts), buffers), scripts)
