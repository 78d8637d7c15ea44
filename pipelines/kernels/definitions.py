"""The one table of text statistics: global name, type, definition, source. `text_statistics` computes them.

Counts are int64, sums of whole things. Ratios are float64: two counts, one division at the end, and 0.0 where the
denominator is 0 (a document without words, lines or characters), so that no statistic is ever null or NaN.
"Word" is what `unicode_classes` says; "character" is a code point; "white space" is what `str.isspace` says.
Four notions of a line live side by side because their papers differ, and their names say which:

| name | where it breaks | empty ones |
|---|---|---|
| line (`num_lines`) | `str.splitlines`: ten characters and CR LF | counted |
| Gopher repetition line | runs of LF, of the text as it is | only a first or last one |
| paragraph | runs of two or more LF, of the stripped text | only for an empty text |
| FineWeb line | every LF | left out if blank |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

GOPHER_QUALITY: Final = "Rae et al. 2021, arXiv 2112.11446, A.1.1 quality filtering"
GOPHER_REPETITION: Final = "Rae et al. 2021, arXiv 2112.11446, table A1"
C4: Final = "Raffel et al. 2020, arXiv 1910.10683, section 2.2, and its c4_utils.py"
FINEWEB: Final = "Penedo et al. 2024, arXiv 2406.17557, section 3.6"
EYAS: Final = "eyas"

ENGLISH_STOP_WORDS: Final = ("the", "be", "to", "of", "and", "that", "have", "with")
"""The eight of Gopher's A.1.1; compared as they stand, so "The" is none of them."""


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One column of `text_statistics`. A ratio names the two counts it divides; a count names none."""

    name: str
    definition: str
    source: str
    numerator: str = ""
    denominator: str = ""

    @property
    def type(self) -> pa.DataType:
        """float64 for a ratio, int64 for a count."""
        return pa.float64() if self.denominator else pa.int64()


def _count(name: str, source: str, definition: str) -> Statistic:
    return Statistic(name=name, source=source, definition=definition)


def _ratio(name: str, source: str, numerator: str, denominator: str) -> Statistic:
    definition = f"{numerator} / {denominator}; 0.0 where that is 0"
    return Statistic(name=name, source=source, definition=definition, numerator=numerator, denominator=denominator)


COUNTS: Final = (
    _count("num_chars", EYAS, "characters of the text"),
    _count("num_newlines", FINEWEB, "LF characters"),
    _count("num_words", GOPHER_QUALITY, "words"),
    _count("num_word_chars", GOPHER_QUALITY, "characters in words"),
    _count("num_distinct_words", EYAS, "different words, case kept"),
    _count("num_alphabetic_words", GOPHER_QUALITY, "words with at least one letter"),
    _count("num_english_stop_words", GOPHER_QUALITY, "how many of ENGLISH_STOP_WORDS occur as words"),
    _count("num_hashes", GOPHER_QUALITY, "'#' characters"),
    _count("num_ellipses", GOPHER_QUALITY, "non-overlapping '...' from the left, and U+2026"),
    _count("num_lines", GOPHER_QUALITY, "lines"),
    _count("num_bullet_lines", GOPHER_QUALITY, "lines whose first character but white space is '-' or U+2022"),
    _count("num_ellipsis_lines", GOPHER_QUALITY, "lines that end, but for white space, in '...' or U+2026"),
    _count("gopher_num_lines", GOPHER_REPETITION, "Gopher repetition lines"),
    _count("gopher_num_duplicate_lines", GOPHER_REPETITION, "of these, equal to one before"),
    _count("gopher_num_duplicate_line_chars", GOPHER_REPETITION, "characters of those"),
    _count("num_paragraphs", GOPHER_REPETITION, "paragraphs"),
    _count("num_duplicate_paragraphs", GOPHER_REPETITION, "of these, equal to one before"),
    _count("num_duplicate_paragraph_chars", GOPHER_REPETITION, "characters of those"),
    *(
        _count(
            f"num_top_{n}_gram_chars",
            GOPHER_REPETITION,
            f"occurrences of the most frequent {n} words in a row (the earliest on a tie) "
            f"times its characters joined by single spaces; 0 for fewer than {n} words",
        )
        for n in (2, 3, 4)
    ),
    *(
        _count(
            f"num_duplicate_{n}_gram_chars",
            GOPHER_REPETITION,
            f"word characters of {n} words in a row equal to {n} in a row before; "
            "from the left, a duplicate is jumped over whole",
        )
        for n in range(5, 11)
    ),
    _count(
        "c4_num_kept_lines",
        C4,
        "lines that keep their place under C4's line rules (C4Lines with its defaults), "
        "'lorem ipsum' and curly brackets aside",
    ),
    _count("c4_num_sentences", C4, "sentences in those: pieces with a word, see pipelines.kernels.lines"),
    _count(
        "c4_num_lorem_ipsum_lines",
        C4,
        "lines with 'lorem ipsum' in any case, among those that are long enough and end in terminal punctuation",
    ),
    _count("c4_num_curly_bracket_lines", C4, "of the same and without 'javascript', lines with '{'"),
    _count("fineweb_num_lines", FINEWEB, "FineWeb lines"),
    _count("fineweb_num_punctuated_lines", FINEWEB, "of these, whose very last character ends a sentence"),
    _count("fineweb_num_short_lines", FINEWEB, "of these, of at most 30 characters"),
    _count("fineweb_num_duplicate_line_chars", FINEWEB, "characters of those equal to one before"),
    _count("num_chars_without_newlines", FINEWEB, "num_chars - num_newlines"),
)
"""In the order of the rows that the kernel fills."""

RATIOS: Final = (
    _ratio("mean_word_chars", GOPHER_QUALITY, "num_word_chars", "num_words"),
    _ratio("alphabetic_word_fraction", GOPHER_QUALITY, "num_alphabetic_words", "num_words"),
    _ratio("hashes_per_word", GOPHER_QUALITY, "num_hashes", "num_words"),
    _ratio("ellipses_per_word", GOPHER_QUALITY, "num_ellipses", "num_words"),
    _ratio("bullet_line_fraction", GOPHER_QUALITY, "num_bullet_lines", "num_lines"),
    _ratio("ellipsis_line_fraction", GOPHER_QUALITY, "num_ellipsis_lines", "num_lines"),
    _ratio("gopher_duplicate_line_fraction", GOPHER_REPETITION, "gopher_num_duplicate_lines", "gopher_num_lines"),
    _ratio("gopher_duplicate_line_char_fraction", GOPHER_REPETITION, "gopher_num_duplicate_line_chars", "num_chars"),
    _ratio("duplicate_paragraph_fraction", GOPHER_REPETITION, "num_duplicate_paragraphs", "num_paragraphs"),
    _ratio("duplicate_paragraph_char_fraction", GOPHER_REPETITION, "num_duplicate_paragraph_chars", "num_chars"),
    *(
        _ratio(f"top_{n}_gram_char_fraction", GOPHER_REPETITION, f"num_top_{n}_gram_chars", "num_chars")
        for n in (2, 3, 4)
    ),
    *(
        _ratio(f"duplicate_{n}_gram_char_fraction", GOPHER_REPETITION, f"num_duplicate_{n}_gram_chars", "num_chars")
        for n in range(5, 11)
    ),
    _ratio("fineweb_punctuated_line_fraction", FINEWEB, "fineweb_num_punctuated_lines", "fineweb_num_lines"),
    _ratio("fineweb_short_line_fraction", FINEWEB, "fineweb_num_short_lines", "fineweb_num_lines"),
    _ratio(
        "fineweb_duplicate_line_char_fraction",
        FINEWEB,
        "fineweb_num_duplicate_line_chars",
        "num_chars_without_newlines",
    ),
    _ratio("newlines_per_word", FINEWEB, "num_newlines", "num_words"),
)

STATISTICS: Final = {statistic.name: statistic for statistic in (*COUNTS, *RATIOS)}
ROWS: Final = {statistic.name: row for row, statistic in enumerate(COUNTS)}
"""Row of each count in the kernel's int64 [len(COUNTS), num_documents]."""
