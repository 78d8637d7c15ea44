r"""What tokens do to texts: integer sums a text, divided once, at the end, by `rates`.

Words are those of `pipelines.kernels` (in scripts without spaces, characters). A token is a *piece* of a word if they share a
byte; a word of two pieces or more is *continued*.

| rate | of | source |
|---|---|---|
| fertility | tokens / words | Rust et al. 2021, arXiv 2012.15613; they divide by words of a treebank |
| pieces_per_word | pieces / words: fertility without the tokens of punctuation and space | the same |
| continued | continued words / words | the same: proportion of continued words |
| bytes_per_token, characters_per_token | bytes, code points / tokens | |
| digits_single | ASCII digits that are a token of their own / ASCII digits | Falcon-H1, arXiv 2507.22448 |
| latex_single | commands of `latex_commands` in the text that are one token / such commands | the same |

Words, digits and commands are counted in texts whose tokens can be placed, which all are that come back from decoding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.kernels.bits import popcount
from pipelines.kernels.scanning import COLUMNS, CONTINUES, PADDING, num_rows, scan
from pipelines.kernels.unicode_classes import class_table
from pipelines.kernels.words import WORD_ROOM, word_bounds
from tokenizer_training.counting import buffers_of
from tokenizer_training.latex_commands import latex_commands
from tokenizer_training.spans import OpenTokenizer, Spans
from tokenizer_training.split_patterns import Array

COUNTS: Final = (
    "documents", "bytes", "characters", "words", "tokens", "failures",
    "placed_words", "pieces", "continued_words", "digits", "single_digits", "latex", "single_latex",
)  # fmt: skip
"""Columns of `measure`. `words` are those of all texts, `placed_words` those whose tokens can be placed."""
_MEASURED: Final = (
    7  # what the loop fills: characters, words, placed words, pieces, continued words, digits, single digits
)
_COMMAND = re.compile(rb"\\[A-Za-z]+")
RATES: Final[Mapping[str, tuple[str, str]]] = {
    "fertility": ("tokens", "words"),
    "pieces_per_word": ("pieces", "placed_words"),
    "continued": ("continued_words", "placed_words"),
    "bytes_per_token": ("bytes", "tokens"),
    "characters_per_token": ("characters", "tokens"),
    "digits_single": ("single_digits", "digits"),
    "latex_single": ("single_latex", "latex"),
}


def rates(counts: Mapping[str, int]) -> dict[str, float | None]:
    """Every rate of RATES, rounded to 6 digits; None where there is nothing to divide by.

    >>> rates({"tokens": 6, "words": 4, "bytes": 21})["fertility"], rates({"tokens": 6})["fertility"]
    (1.5, None)
    """
    found: dict[str, float | None] = {}
    for name, (above, below) in RATES.items():
        divisor = counts.get(below, 0)
        found[name] = round(counts.get(above, 0) / divisor, 6) if divisor else None
    return found


def measure(tokenizer: OpenTokenizer, texts: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """int64 [texts, len(COUNTS)], and the ids of all tokens. InputError where a text is no UTF-8."""
    spans = tokenizer.encode(texts)
    content, offsets = buffers_of(texts)
    content, offsets = content[offsets[0] : offsets[-1]], offsets - offsets[0]
    found = np.zeros((len(texts), len(COUNTS)), np.int64)
    loop = np.zeros((len(texts), _MEASURED), np.int64)
    lengths = np.diff(offsets)
    longest = int(lengths.max(initial=0))
    room, rows = longest // 2 + 1 + WORD_ROOM, num_rows(longest)
    _measure(
        np.concatenate([content, np.zeros(PADDING, np.uint8)]), offsets, spans.ends, spans.starts, spans.stops, spans.placed,
        class_table(), np.empty((rows, COLUMNS), np.uint64), np.empty(rows, np.int64), np.empty(room, np.int32),
        np.empty(room, np.int32), loop,
    )  # fmt: skip
    latex = _latex(content, offsets, spans)
    columns = {
        "documents": np.ones(len(texts), np.int64), "bytes": lengths, "tokens": np.diff(spans.ends, prepend=0),
        "failures": ~spans.comes_back, "latex": latex[:, 0], "single_latex": latex[:, 1],
    }  # fmt: skip
    names = ("characters", "words", "placed_words", "pieces", "continued_words", "digits", "single_digits")
    columns |= {name: loop[:, k] for k, name in enumerate(names)}
    for k, name in enumerate(COUNTS):
        found[:, k] = columns[name]
    return found, spans.ids


def _latex(content: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], spans: Spans) -> npt.NDArray[np.int64]:
    """Commands of the list in each text, and how many of them are one token."""
    commands = frozenset(command.encode() for command in latex_commands())
    found = np.zeros((spans.ends.size, 2), np.int64)
    backslashes = np.flatnonzero(content == ord("\\"))
    texts = np.unique(np.searchsorted(offsets, backslashes, side="right") - 1)
    for text in texts[spans.placed[texts]].tolist():
        start, stop = int(offsets[text]), int(offsets[text + 1])
        places = [
            match.span() for match in _COMMAND.finditer(content[start:stop].tobytes()) if match.group() in commands
        ]
        bounds = np.array(places, np.int64).reshape(-1, 2) + start
        low, high = int(spans.ends[text - 1]) if text else 0, int(spans.ends[text])
        starts, stops = spans.starts[low:high], spans.stops[low:high]
        # The last token that starts there: those before it could only be empty.
        tokens = np.searchsorted(starts, bounds[:, 0], side="right") - 1
        single = (starts[tokens] == bounds[:, 0]) & (stops[tokens] == bounds[:, 1]) if high > low else np.zeros(0, bool)
        found[text] = len(places), int(single.sum())
    return found


@njit(cache=True, nogil=True)
def _measure(
    content: Array, offsets: Array, token_ends: Array, starts: Array, stops: Array, placed: Array, table: Array,
    bits: Array, before: Array, begins: Array, ends: Array, found: Array,
) -> None:  # fmt: skip
    first = 0
    for d in range(token_ends.size):
        at, length = offsets[d], offsets[d + 1] - offsets[d]
        scan(content, at, at + length, table, bits, before)
        words = word_bounds(bits, length, begins, ends)
        continuing = np.int64(0)
        for k in range((length + 63) >> 6):
            continuing += np.int64(popcount(bits[k, CONTINUES]))
        found[d, 0], found[d, 1] = length - continuing, words
        if placed[d]:
            found[d, 2] = words
            _place_words(at, words, begins, ends, starts, stops, first, token_ends[d], found[d])
            _place_digits(content, at, at + length, starts, stops, first, token_ends[d], found[d])
        first = token_ends[d]


@njit(cache=True, nogil=True)
def _place_words(
    at: Any, words: Any, begins: Array, ends: Array, starts: Array, stops: Array, first: Any, last: Any, found: Array
) -> None:
    t = first
    for w in range(words):
        begin, end = at + begins[w], at + ends[w]
        while t < last and stops[t] <= begin:
            t += 1
        u, pieces = t, 0
        while u < last and starts[u] < end:
            pieces += stops[u] > starts[u] and stops[u] > begin
            u += 1
        found[3] += pieces
        found[4] += pieces > 1


@njit(cache=True, nogil=True)
def _place_digits(
    content: Array, at: Any, end: Any, starts: Array, stops: Array, first: Any, last: Any, found: Array
) -> None:
    t = first
    for p in range(at, end):
        if content[p] < 48 or content[p] > 57:
            continue
        while t < last and stops[t] <= p:
            t += 1
        found[5] += 1
        found[6] += t < last and starts[t] == p and stops[t] == p + 1
