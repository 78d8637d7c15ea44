"""Gopher's quality and repetition rules (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1 and table A1).

`GopherQuality` asks whether a document reads like text, `GopherRepetition` whether it says the same again and again.
Words, lines and n-grams are defined in `pipelines.kernels.definitions`. The thresholds are for English and its kin:
"words_too_short" and "too_few_stop_words" hold for nearly every Chinese or Hindi document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from pipelines.rules import Rule


@dataclass(frozen=True, kw_only=True)
class GopherQuality:
    """The nine rules of A.1.1, with its thresholds. Bounds are inclusive: a document at a bound is kept.

    Counts: num_words, num_english_stop_words (different ones). Ratios are of words or of lines, 0 to 1.
    """

    version: ClassVar[int] = 1
    wants: ClassVar[tuple[str, ...]] = (
        "num_words",
        "mean_word_chars",
        "hashes_per_word",
        "ellipses_per_word",
        "bullet_line_fraction",
        "ellipsis_line_fraction",
        "alphabetic_word_fraction",
        "num_english_stop_words",
    )

    min_words: int = 50  # A.1.1: 50 to 100,000 words
    max_words: int = 100_000
    min_mean_word_chars: float = 3.0  # A.1.1: mean word length 3 to 10 characters
    max_mean_word_chars: float = 10.0
    max_hashes_per_word: float = 0.1  # A.1.1: symbol-to-word ratio at most 0.1, for each of the two
    max_ellipses_per_word: float = 0.1
    max_bullet_line_fraction: float = 0.9  # A.1.1: at most 90% of lines start with a bullet point
    max_ellipsis_line_fraction: float = 0.3  # A.1.1: at most 30% of lines end with an ellipsis
    min_alphabetic_word_fraction: float = 0.8  # A.1.1: 80% of words contain a letter
    min_stop_words: int = 2  # A.1.1: at least two of the eight

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        """The statistics in `wants`, as they are."""
        return statistics.select(list(self.wants))

    def rules(self) -> tuple[Rule, ...]:
        """In the order of A.1.1 (and of datatrove)."""
        return (
            Rule("too_few_words", "num_words", "<", self.min_words, field="min_words"),
            Rule("too_many_words", "num_words", ">", self.max_words, field="max_words"),
            Rule("words_too_short", "mean_word_chars", "<", self.min_mean_word_chars, field="min_mean_word_chars"),
            Rule("words_too_long", "mean_word_chars", ">", self.max_mean_word_chars, field="max_mean_word_chars"),
            Rule("too_many_hashes", "hashes_per_word", ">", self.max_hashes_per_word, field="max_hashes_per_word"),
            Rule(
                "too_many_ellipses",
                "ellipses_per_word",
                ">",
                self.max_ellipses_per_word,
                field="max_ellipses_per_word",
            ),
            Rule(
                "mostly_bullet_lines",
                "bullet_line_fraction",
                ">",
                self.max_bullet_line_fraction,
                field="max_bullet_line_fraction",
            ),
            Rule(
                "too_many_ellipsis_lines",
                "ellipsis_line_fraction",
                ">",
                self.max_ellipsis_line_fraction,
                field="max_ellipsis_line_fraction",
            ),
            Rule(
                "too_few_alphabetic_words",
                "alphabetic_word_fraction",
                "<",
                self.min_alphabetic_word_fraction,
                field="min_alphabetic_word_fraction",
            ),
            Rule("too_few_stop_words", "num_english_stop_words", "<", self.min_stop_words, field="min_stop_words"),
        )


@dataclass(frozen=True, kw_only=True)
class GopherRepetition:
    """Table A1, threshold by threshold: the share of lines, paragraphs or characters that are repeated, 0 to 1.

    `max_top_{n}_gram_chars` bounds the share of characters in the most frequent n-gram, `max_duplicate_{n}_gram_chars`
    that in n-grams seen before. An empty document is a fault too: of it nothing can be said.
    """

    version: ClassVar[int] = 1
    wants: ClassVar[tuple[str, ...]] = (
        "num_chars",
        "duplicate_paragraph_fraction",
        "duplicate_paragraph_char_fraction",
        "gopher_duplicate_line_fraction",
        "gopher_duplicate_line_char_fraction",
        *(f"top_{n}_gram_char_fraction" for n in (2, 3, 4)),
        *(f"duplicate_{n}_gram_char_fraction" for n in range(5, 11)),
    )

    min_chars: int = 1  # not in the paper: shares of nothing
    max_duplicate_paragraph_fraction: float = 0.30  # table A1, all that follow
    max_duplicate_paragraph_char_fraction: float = 0.20
    max_duplicate_line_fraction: float = 0.30
    max_duplicate_line_char_fraction: float = 0.20
    max_top_2_gram_char_fraction: float = 0.20
    max_top_3_gram_char_fraction: float = 0.18
    max_top_4_gram_char_fraction: float = 0.16
    max_duplicate_5_gram_char_fraction: float = 0.15
    max_duplicate_6_gram_char_fraction: float = 0.14
    max_duplicate_7_gram_char_fraction: float = 0.13
    max_duplicate_8_gram_char_fraction: float = 0.12
    max_duplicate_9_gram_char_fraction: float = 0.11
    max_duplicate_10_gram_char_fraction: float = 0.10

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        """The statistics in `wants`, as they are."""
        return statistics.select(list(self.wants))

    def rules(self) -> tuple[Rule, ...]:
        """Paragraphs, lines, top n-grams, duplicate n-grams: datatrove's order."""
        above = (
            ("duplicate_paragraphs", "duplicate_paragraph_fraction", "max_duplicate_paragraph_fraction"),
            (
                "duplicate_paragraph_characters",
                "duplicate_paragraph_char_fraction",
                "max_duplicate_paragraph_char_fraction",
            ),
            ("duplicate_lines", "gopher_duplicate_line_fraction", "max_duplicate_line_fraction"),
            ("duplicate_line_characters", "gopher_duplicate_line_char_fraction", "max_duplicate_line_char_fraction"),
            *(
                (f"top_{n}_gram_repeated", f"top_{n}_gram_char_fraction", f"max_top_{n}_gram_char_fraction")
                for n in (2, 3, 4)
            ),
            *(
                (
                    f"duplicated_{n}_grams",
                    f"duplicate_{n}_gram_char_fraction",
                    f"max_duplicate_{n}_gram_char_fraction",
                )
                for n in range(5, 11)
            ),
        )
        return (
            Rule("empty", "num_chars", "<", self.min_chars, field="min_chars"),
            *(Rule(reason, signal, ">", getattr(self, field), field=field) for reason, signal, field in above),
        )
