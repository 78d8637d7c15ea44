"""C4's rules (Raffel et al. 2020, arXiv 1910.10683, section 2.2): a filter of documents and a transform of lines.

`C4Quality` measures a document *before* C4's line rules have rewritten it, and looks at the lines they would keep: put
it before `C4Lines`. The two in this order drop and rewrite exactly as datatrove's C4QualityFilter does in one step
(T5's c4_utils.py differs in its bounds, and does not take an apostrophe for terminal punctuation). After `C4Lines` it
may be stricter, since a line whose citation is gone has fewer words.
Line rules, phrases and sentences are stated in `pipelines.kernels.c4_lines`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from pipelines.errors import ConfigError
from pipelines.kernels.c4_lines import (
    CUT_CITATIONS,
    MAX_WORD_CHARS,
    MIN_WORDS,
    NEEDS_TERMINAL,
    NO_JAVASCRIPT,
    NO_POLICIES,
)
from pipelines.kernels.c4_rewriting import LINE_OUTCOMES, rewrite_lines
from pipelines.rules import Rule
from pipelines.schema import set_column


@dataclass(frozen=True, kw_only=True)
class C4Quality:
    """Documents with placeholder text, with code, or with too few sentences in the lines that C4 keeps.

    The curly bracket rule drops pages with LaTeX and code on them: `allow_curly_bracket` leaves it out. Brackets and
    "lorem ipsum" count only in lines that are long enough and end in terminal punctuation, as in c4_utils.py.
    """

    version: ClassVar[int] = 1
    wants: ClassVar[tuple[str, ...]] = (
        "c4_num_lorem_ipsum_lines",
        "c4_num_curly_bracket_lines",
        "c4_num_sentences",
    )

    min_sentences: int = 5  # section 2.2 as datatrove reads it; c4_utils.py has 3, and 5 words a line
    max_lorem_ipsum_lines: int = 0  # section 2.2: any
    max_curly_bracket_lines: int = 0  # section 2.2: any
    allow_curly_bracket: bool = False

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        """The statistics in `wants`, as they are."""
        return statistics.select(list(self.wants))

    def rules(self) -> tuple[Rule, ...]:
        """Placeholder text, curly brackets unless allowed, sentences."""
        brackets = Rule(
            "curly_bracket",
            "c4_num_curly_bracket_lines",
            ">",
            self.max_curly_bracket_lines,
            field="max_curly_bracket_lines",
        )
        return (
            Rule(
                "lorem_ipsum",
                "c4_num_lorem_ipsum_lines",
                ">",
                self.max_lorem_ipsum_lines,
                field="max_lorem_ipsum_lines",
            ),
            *(() if self.allow_curly_bracket else (brackets,)),
            Rule("too_few_sentences", "c4_num_sentences", "<", self.min_sentences, field="min_sentences"),
        )


@dataclass(frozen=True, kw_only=True)
class C4Lines:
    """Keep the lines that C4 keeps, without citations, joined by LF; count the others by their first fault.

    Adds one int64 column an outcome, `c4_lines_kept` and `c4_lines_dropped_<fault>`; they sum to `num_lines` of the
    text before. A blank line is dropped as "blank". A document may end up with no text at all: a filter after this one
    decides about that, none is lost here. Raises ConfigError for a bound below 1.
    """

    version: ClassVar[int] = 1
    rewrites_text: ClassVar[bool] = True
    tallies: ClassVar[tuple[str, ...]] = tuple(
        f"c4_lines_{outcome}" if outcome == "kept" else f"c4_lines_dropped_{outcome}" for outcome in LINE_OUTCOMES
    )
    adds: ClassVar[tuple[pa.Field, ...]] = tuple(pa.field(name, pa.int64(), nullable=False) for name in tallies)

    min_words: int = MIN_WORDS  # section 2.2 as datatrove reads it: 3; c4_utils.py has 5
    max_word_chars: int = MAX_WORD_CHARS  # c4_utils.py: 1,000; not in the paper
    need_terminal_punctuation: bool = True  # section 2.2; the apostrophe is datatrove's addition
    drop_javascript: bool = True  # section 2.2
    drop_policies: bool = True  # section 2.2 and `_POLICY_SUBSTRINGS` of c4_utils.py
    cut_citations: bool = True  # section 2.2, Wikipedia's markers

    def __post_init__(self) -> None:
        for name in ("min_words", "max_word_chars"):
            if getattr(self, name) < 1:
                raise ConfigError(f"C4Lines: {name} = {getattr(self, name)}; expected at least 1")

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`text` rewritten, the columns of `adds` set."""
        checks = (
            CUT_CITATIONS * self.cut_citations
            | NEEDS_TERMINAL * self.need_terminal_punctuation
            | NO_JAVASCRIPT * self.drop_javascript
            | NO_POLICIES * self.drop_policies
        )
        text, outcomes = rewrite_lines(
            batch.column("text"), max_word_chars=self.max_word_chars, min_words=self.min_words, checks=checks
        )
        batch = set_column(batch, batch.schema.field("text"), text)
        for field, counts in zip(self.adds, outcomes, strict=True):
            batch = set_column(batch, field, pa.array(counts))
        return batch
