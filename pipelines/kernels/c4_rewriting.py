"""C4's line rules as a rewriting of the text: which lines stay, how many go for which fault. See `c4_lines`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.kernels.bits import compiled
from pipelines.kernels.c4_lines import CUT_CITATIONS, KEPT, cut_citations, judge_line
from pipelines.kernels.lines import line_end
from pipelines.kernels.scanning import COLUMNS, IN_SPACE, PADDING, after_last_clear, decode, next_clear, num_rows, scan
from pipelines.kernels.statistics import text_buffers
from pipelines.kernels.unicode_classes import SPACE, class_table

LINE_OUTCOMES: Final = (
    "kept",
    "too_long_word",
    "no_terminal_punctuation",
    "too_few_words",
    "javascript",
    "policy",
    "blank",
)
"""What becomes of a line; each line has exactly one. The first six are the codes of `c4_lines.judge_line`."""
_BLANK: Final = 6


@compiled
def _strip(text: Any, start: int, stop: int, table: Any) -> int:
    """Strip `text[start:stop]` in place, to begin at `start`; returns its new end."""
    first = start
    while first < stop:
        point, width = (np.int64(text[first]), 1) if text[first] < 0x80 else decode(text, first)
        if not table[point] & SPACE:
            break
        first += width
    while stop > first:
        at = stop - 1
        while at > first and text[at] & 0xC0 == 0x80:
            at -= 1
        point = np.int64(text[at]) if text[at] < 0x80 else decode(text, at)[0]
        if not table[point] & SPACE:
            break
        stop = at
    if first > start:
        for k in range(stop - first):
            text[start + k] = text[first + k]
    return start + stop - first


@njit(nogil=True, cache=True, _nrt=False)
def _rewrite(
    buffer: Any,
    offsets: Any,
    table: Any,
    bits: Any,
    before: Any,
    clean: Any,
    clean_bits: Any,
    clean_before: Any,
    max_word_chars: int,
    min_words: int,
    checks: int,
    text: Any,
    ends: Any,
    outcomes: Any,
) -> None:
    """Write the kept lines of every document to `text`, their ends to `ends[d + 1]`, `outcomes[code, d]` of lines."""
    out = 0
    ends[0] = 0
    for d in range(offsets.size - 1):
        start, length, begin = offsets[d], offsets[d + 1] - offsets[d], out
        scan(buffer, start, start + length, table, bits, before)
        line = 0
        while line < length:
            end, following = line_end(buffer, start, bits, line, length)
            first = next_clear(bits, IN_SPACE, line, end)
            line = following
            if first == end:
                outcomes[_BLANK, d] += 1
                continue
            last = after_last_clear(bits, IN_SPACE, first, end)
            fault = judge_line(
                buffer, start, bits, before, first, last, table, clean, clean_bits, clean_before,
                max_word_chars, min_words, checks,
            )[0]  # fmt: skip
            outcomes[fault, d] += 1
            if fault == KEPT:
                if outcomes[KEPT, d] > 1:
                    text[out] = 10
                    out += 1
                out = cut_citations(
                    buffer, start + first, start + last, table, text, out, False, checks & CUT_CITATIONS
                )
        out = _strip(text, begin, out, table)
        ends[d + 1] = out


def rewrite_lines(
    text: pa.Array, *, max_word_chars: int, min_words: int, checks: int
) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """(the kept lines of each document joined by LF and stripped, int64 [len(LINE_OUTCOMES), num_documents] of lines).

    `text` is large_string without nulls; `checks` are flags of `c4_lines`. Raises InputError as `text_buffers` does.
    """
    buffer, offsets = text_buffers(text)
    longest = int(np.diff(offsets).max(initial=0))
    rows = num_rows(longest)
    written = np.zeros(int(offsets[-1] - offsets[0]) + PADDING, np.uint8)
    ends = np.zeros(len(offsets), np.int64)
    outcomes = np.zeros((len(LINE_OUTCOMES), len(text)), np.int64)
    _rewrite(
        buffer,
        offsets,
        class_table(),
        np.empty((rows, COLUMNS), np.uint64),
        np.empty(rows, np.int64),
        np.empty(longest + PADDING, np.uint8),
        np.empty((rows, COLUMNS), np.uint64),
        np.empty(rows, np.int64),
        max_word_chars,
        min_words,
        checks,
        written,
        ends,
        outcomes,
    )
    bytes_written = written[: ends[-1]].tobytes()
    rewritten = pa.LargeStringArray.from_buffers(len(text), pa.py_buffer(ends), pa.py_buffer(bytes_written))
    return rewritten, outcomes
