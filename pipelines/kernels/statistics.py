"""`text_statistics`: every statistic of `definitions`, in one pass over the UTF-8 of a batch.

A document is scanned once into bitmaps (`scanning`); lines, words and n-grams are read off them. Nothing is allocated
for a document: scratch is made for the batch, sized by its longest document and grown to its most words. A document of
B bytes and W words takes at most 3.3 B + 80 W bytes of it, and never more than 36 B: some 170 MB for 10 MB of English,
360 MB for 10 MB of "a a a a". Time is linear in the bytes, whatever they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.errors import ConfigError, InputError
from pipelines.kernels.c4_lines import count_c4
from pipelines.kernels.definitions import COUNTS, ENGLISH_STOP_WORDS, ROWS, STATISTICS
from pipelines.kernels.hashing import hash_bytes, slots_for
from pipelines.kernels.lines import count_lines, count_newline_lines, count_paragraphs
from pipelines.kernels.ngrams import LONGEST, count_hashes, counters_for, repeated_ngrams
from pipelines.kernels.scanning import COLUMNS, PADDING, num_rows, scan
from pipelines.kernels.unicode_classes import class_table
from pipelines.kernels.words import (
    WORD_ROOM,
    chars_before_words,
    count_distinct,
    count_present,
    hash_words,
    word_bounds,
)

_LINES, _C4, _NEWLINE_LINES, _PARAGRAPHS, _STOP_WORDS, _NGRAMS, _DISTINCT = (1 << bit for bit in range(7))
_WORD_HASHES: Final = _STOP_WORDS | _NGRAMS | _DISTINCT

_PARTS: Final = (
    (_LINES, ("num_lines", "num_bullet_lines", "num_ellipsis_lines")),
    (_C4, ("c4_num_kept_lines", "c4_num_sentences", "c4_num_lorem_ipsum_lines", "c4_num_curly_bracket_lines")),
    (
        _NEWLINE_LINES,
        (
            "gopher_num_lines",
            "gopher_num_duplicate_lines",
            "gopher_num_duplicate_line_chars",
            "fineweb_num_lines",
            "fineweb_num_punctuated_lines",
            "fineweb_num_short_lines",
            "fineweb_num_duplicate_line_chars",
        ),
    ),
    (_PARAGRAPHS, ("num_paragraphs", "num_duplicate_paragraphs", "num_duplicate_paragraph_chars")),
    (_STOP_WORDS, ("num_english_stop_words",)),
    (
        _NGRAMS,
        (
            *(f"num_top_{n}_gram_chars" for n in (2, 3, 4)),
            *(f"num_duplicate_{n}_gram_chars" for n in range(5, LONGEST + 1)),
        ),
    ),
    (_DISTINCT, ("num_distinct_words",)),
)
"""Which part of the pass fills which counts. Those that are not named come with the scan itself."""

_CHARS: Final = ROWS["num_chars"]
_NEWLINES: Final = ROWS["num_newlines"]
_WORDS: Final = ROWS["num_words"]
_WORD_CHARS: Final = ROWS["num_word_chars"]
_DISTINCT_WORDS: Final = ROWS["num_distinct_words"]
_ALPHABETIC: Final = ROWS["num_alphabetic_words"]
_STOPS: Final = ROWS["num_english_stop_words"]
_HASHES: Final = ROWS["num_hashes"]
_ELLIPSES: Final = ROWS["num_ellipses"]
_LINE: Final = ROWS["num_lines"]
_GOPHER: Final = ROWS["gopher_num_lines"]
_PARAGRAPH: Final = ROWS["num_paragraphs"]
_TOP: Final = ROWS["num_top_2_gram_chars"]
_C4_KEPT: Final = ROWS["c4_num_kept_lines"]
_FINEWEB: Final = ROWS["fineweb_num_lines"]
_WITHOUT_NEWLINES: Final = ROWS["num_chars_without_newlines"]

_NO_DOCUMENT: Final = np.zeros((len(COUNTS), 0), np.int64)
_LONGEST_DOCUMENT: Final = 2**31 - 2 * PADDING


class _Scratch(NamedTuple):
    """What the pass writes beside its results. Sizes: `rows` of bitmaps, `room` words or lines, `clean` bytes."""

    bits: npt.NDArray[np.uint64]
    before: npt.NDArray[np.int64]
    begins: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]
    chars: npt.NDArray[np.int32]
    tally: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]
    keys: npt.NDArray[np.uint64]
    interned: npt.NDArray[np.uint64]
    table: npt.NDArray[np.int32]
    seen: npt.NDArray[np.uint8]
    clean: npt.NDArray[np.uint8]
    clean_bits: npt.NDArray[np.uint64]
    clean_before: npt.NDArray[np.int64]
    ngrams: npt.NDArray[np.int64]


def _scratch(longest: int, room: int) -> _Scratch:
    rows, entries = num_rows(longest), room + WORD_ROOM
    return _Scratch(
        bits=np.empty((rows, COLUMNS), np.uint64),
        before=np.empty(rows, np.int64),
        begins=np.empty(entries, np.int32),
        ends=np.empty(entries, np.int32),
        chars=np.empty(entries, np.int32),
        tally=np.empty(entries, np.int32),
        hashes=np.empty(entries, np.uint64),
        keys=np.empty(entries, np.uint64),
        interned=np.empty(entries, np.uint64),
        table=np.empty(slots_for(room), np.int32),
        seen=np.empty(counters_for(room), np.uint8),
        clean=np.empty(longest + PADDING, np.uint8),
        clean_bits=np.empty((rows, COLUMNS), np.uint64),
        clean_before=np.empty(rows, np.int64),
        ngrams=np.empty(LONGEST + 1, np.int64),
    )


@njit(nogil=True, cache=True, _nrt=False)
def _measure(
    buffer: Any, offsets: Any, document: int, parts: int, classes: Any, stop_words: Any, counts: Any, s: Any, room: int
) -> Any:
    """Fill `counts[:, d]` for documents d from `document` on; returns where it stopped and the room it lacked, or 0."""
    for d in range(document, offsets.size - 1):
        start, stop = offsets[d], offsets[d + 1]
        length = stop - start
        words, word_chars, alphabetic, hashes, ellipses, newlines = scan(buffer, start, stop, classes, s.bits, s.before)
        needed = max(words, min(newlines, length >> 1) + 1)
        if needed > room:
            return d, needed
        chars = length - s.before[(length + 63) >> 6]
        counts[_CHARS, d], counts[_NEWLINES, d], counts[_WITHOUT_NEWLINES, d] = chars, newlines, chars - newlines
        counts[_WORDS, d], counts[_WORD_CHARS, d], counts[_ALPHABETIC, d] = words, word_chars, alphabetic
        counts[_HASHES, d], counts[_ELLIPSES, d] = hashes, ellipses
        if parts & _LINES:
            counts[_LINE, d], counts[_LINE + 1, d], counts[_LINE + 2, d] = count_lines(buffer, start, length, s.bits)
        if parts & _C4:
            counts[_C4_KEPT, d], counts[_C4_KEPT + 1, d], counts[_C4_KEPT + 2, d], counts[_C4_KEPT + 3, d] = count_c4(
                buffer, start, length, s.bits, s.before, classes, s.clean, s.clean_bits, s.clean_before
            )
        if parts & _NEWLINE_LINES:
            found = count_newline_lines(buffer, start, length, s.bits, s.before, s.hashes, s.chars, s.table, s.interned)
            counts[_GOPHER, d], counts[_GOPHER + 1, d], counts[_GOPHER + 2, d] = found[0], found[1], found[2]
            counts[_FINEWEB, d], counts[_FINEWEB + 1, d] = found[3], found[4]
            counts[_FINEWEB + 2, d], counts[_FINEWEB + 3, d] = found[5], found[6]
        if parts & _PARAGRAPHS:
            counts[_PARAGRAPH, d], counts[_PARAGRAPH + 1, d], counts[_PARAGRAPH + 2, d] = count_paragraphs(
                buffer, start, length, s.bits, s.before, s.hashes, s.chars, s.table, s.interned
            )
        if parts & _WORD_HASHES and words > 0:
            word_bounds(s.bits, length, s.begins, s.ends)
            hash_words(buffer, start, s.begins, s.ends, words, s.hashes)
            if parts & _DISTINCT:
                counts[_DISTINCT_WORDS, d] = count_distinct(s.hashes, words, s.table, s.interned)
            if parts & (_STOP_WORDS | _NGRAMS):
                mask = count_hashes(s.hashes, words, s.seen)
                counts[_STOPS, d] = count_present(s.hashes, words, s.seen, mask, stop_words)
            if parts & _NGRAMS:
                chars_before_words(s.bits, s.before, s.begins, s.ends, words, s.chars)
                repeated_ngrams(
                    s.hashes, words, s.chars, s.seen, mask, s.begins, s.ends, s.tally, s.keys, s.interned, s.table,
                    s.ngrams,
                )  # fmt: skip
                for n in range(2, LONGEST + 1):
                    counts[_TOP + n - 2, d] = s.ngrams[n]
    return offsets.size - 1, 0


def _check_text(text: pa.Array) -> None:
    if text.type != pa.large_string():
        raise InputError(f"column 'text' is {text.type}, expected large_string")
    if text.null_count:
        raise InputError(f"column 'text' is null in row {text.is_null().index(True).as_py()}")


def _offsets(text: pa.Array) -> npt.NDArray[np.int64]:
    if not len(text):
        return np.zeros(1, np.int64)
    offsets = np.frombuffer(text.buffers()[1], np.int64)[text.offset : text.offset + len(text) + 1]
    longest = int(np.diff(offsets).max())
    if longest > _LONGEST_DOCUMENT:
        raise InputError(f"a document of {longest} bytes is longer than {_LONGEST_DOCUMENT}, the most that is measured")
    return offsets


def text_buffers(text: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """(uint8 bytes, int64 [len + 1] offsets) of a large_string array, with `PADDING` readable bytes after the last.

    A view of Arrow's own buffer where that has room enough, else a copy. Raises InputError for another type, a null,
    or a document too long for 32-bit positions.
    """
    _check_text(text)
    offsets, data = _offsets(text), text.buffers()[2]
    if data is not None and data.size >= offsets[-1] + PADDING:
        return np.frombuffer(data, np.uint8), offsets
    padded = np.zeros(int(offsets[-1] - offsets[0]) + PADDING, np.uint8)
    if data is not None:
        padded[:-PADDING] = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    padded.setflags(write=False)
    return padded, offsets - offsets[0]


def _pieces(text: pa.Array) -> list[pa.Array]:
    """`text` cut in two where Arrow's buffer has no more `PADDING` bytes to spare: only the last documents are copied."""
    data = text.buffers()[2]
    roomy = int(np.searchsorted(_offsets(text)[1:], (data.size if data is not None else 0) - PADDING, side="right"))
    return [piece for piece in (text.slice(0, roomy), text.slice(roomy)) if len(piece)]


def text_statistics(batch: pa.RecordBatch, wanted: Sequence[str]) -> pa.RecordBatch:
    """`id` and one column for each name in `wanted`: int64 counts and float64 ratios, rows as in `batch`.

    Reads the columns `id` and `text` (large_string without nulls; slices are fine). No value is null or NaN. Raises
    ConfigError for a name that is not in `definitions.STATISTICS`, InputError for a text column that cannot be read.
    """
    unknown = [name for name in wanted if name not in STATISTICS]
    if unknown:
        raise ConfigError(f"no text statistic is called {unknown[0]!r}; expected some of {', '.join(STATISTICS)}")
    columns = {"id": batch.column("id")}
    if wanted:
        text = batch.column("text")
        _check_text(text)
        counts = np.concatenate([_NO_DOCUMENT, *(_count(piece, wanted) for piece in _pieces(text))], axis=1)
        columns |= {name: _column(counts, name) for name in wanted}
    return pa.RecordBatch.from_pydict(columns)


def _column(counts: npt.NDArray[np.int64], name: str) -> pa.Array:
    statistic = STATISTICS[name]
    if not statistic.denominator:
        return pa.array(counts[ROWS[name]])
    above, below = counts[ROWS[statistic.numerator]], counts[ROWS[statistic.denominator]]
    return pa.array(np.divide(above, below, out=np.zeros(len(above)), where=below > 0))


def _count(text: pa.Array, wanted: Sequence[str]) -> npt.NDArray[np.int64]:
    """int64 [len(COUNTS), num_documents]; rows that nothing in `wanted` needs may be 0."""
    needed = {part for name in wanted for part in (name, STATISTICS[name].numerator, STATISTICS[name].denominator)}
    parts = sum(part for part, names in _PARTS if needed.intersection(names))
    buffer, offsets = text_buffers(text)
    counts = np.zeros((len(COUNTS), len(text)), np.int64)
    longest = int(np.diff(offsets).max(initial=0))
    room = min(longest // 4, 1 << 16)
    scratch = _scratch(longest, room)
    document = 0
    while document < len(text):
        document, lacking = _measure(
            buffer, offsets, document, parts, class_table(), _stop_word_hashes(), counts, scratch, room
        )
        if lacking:
            room = min(lacking + lacking // 4, longest // 2 + 1)
            scratch = _scratch(longest, room)
    return counts


def _stop_word_hashes() -> npt.NDArray[np.uint64]:
    words = [np.frombuffer(word.encode(), np.uint8) for word in ENGLISH_STOP_WORDS]
    return np.array([hash_bytes(word, 0, word.size) for word in words], np.uint64)
