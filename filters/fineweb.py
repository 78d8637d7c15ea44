"""FineWeb's quality rules (Penedo et al. 2024, arXiv 2406.17557, section 3.6 and appendix E.2).

Three rules of the paper and the list rule of its code: documents whose lines seldom end a sentence, are mostly short,
repeat each other, or are hardly longer than their line breaks. Sentence ends are those of all scripts (Unicode's
Sentence_Terminal), so Chinese, Arabic and Hindi lines count as punctuated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from pipelines.rules import Rule


@dataclass(frozen=True, kw_only=True)
class FineWebQuality:
    """Thresholds of section 3.6. Bounds are inclusive: a document at a bound is kept.

    Lines end at LF alone and blank ones are left out; a short line has at most 30 characters. A document with lines but
    no word has newlines_per_word 0.0, so "mostly_line_breaks" does not hold (datatrove divides by zero).
    """

    name: ClassVar[str] = "fineweb_quality"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[str, ...]] = (
        "fineweb_num_lines",
        "fineweb_punctuated_line_fraction",
        "fineweb_short_line_fraction",
        "fineweb_duplicate_line_char_fraction",
        "newlines_per_word",
    )

    min_lines: int = 1  # not in the paper: shares of nothing
    min_punctuated_line_fraction: float = 0.12  # section 3.6; its code drops < 0.12
    max_short_line_fraction: float = 0.67  # section 3.6; its code drops > 0.67
    max_duplicate_line_char_fraction: float = 0.01  # its code (datatrove); the paper prints 0.1
    max_newlines_per_word: float = 0.3  # its code; not in the paper

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        """The statistics in `wants`, as they are."""
        return statistics.select(list(self.wants))

    def rules(self) -> tuple[Rule, ...]:
        """In the order of its code."""
        return (
            Rule("no_lines", "fineweb_num_lines", "<", self.min_lines, field="min_lines"),
            Rule(
                "too_few_punctuated_lines",
                "fineweb_punctuated_line_fraction",
                "<",
                self.min_punctuated_line_fraction,
                field="min_punctuated_line_fraction",
            ),
            Rule(
                "mostly_short_lines",
                "fineweb_short_line_fraction",
                ">",
                self.max_short_line_fraction,
                field="max_short_line_fraction",
            ),
            Rule(
                "many_duplicate_line_characters",
                "fineweb_duplicate_line_char_fraction",
                ">",
                self.max_duplicate_line_char_fraction,
                field="max_duplicate_line_char_fraction",
            ),
            Rule(
                "mostly_line_breaks",
                "newlines_per_word",
                ">",
                self.max_newlines_per_word,
                field="max_newlines_per_word",
            ),
        )
