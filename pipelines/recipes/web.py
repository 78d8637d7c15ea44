"""English web text: WARC or WET files to a clean, redacted, unique corpus.

The filters are those of FineWeb (Penedo et al. 2024, arXiv 2406.17557): URL list, language, Gopher repetition and
quality (Rae et al. 2021), C4's document rules (Raffel et al. 2020) and FineWeb's own. C4's line rules are left out, as
FineWeb leaves out the terminal-punctuation rule; its curly-bracket rule is off, since it deletes code and LaTeX. Repeated
lines go before FineWeb's rules, as they do in trafilatura's output, on which those rules were set.
"""

from __future__ import annotations

from filters.c4 import C4Quality
from filters.fineweb import FineWebQuality
from filters.gopher import GopherQuality, GopherRepetition
from filters.language import IdentifyLanguage, KeepLanguages
from filters.lines import RemoveRepeatedLines
from filters.normalize import NormalizeText
from filters.pii import EscapePlaceholders, RedactPii
from filters.url import UrlFilter
from pipelines.artifact import Artifact, Source
from pipelines.recipes.steps import clean_and_unique

PRINTED_IN_THE_PAPER = 0.1
"""Share of characters in duplicate lines: 0.1 in FineWeb's section 3.6, 0.01 in its code. Long repeated lines are removed
here before the rule asks; what it still sees are cells, options and names, at which 0.01 drops sound pages."""


def recipe(source: Source) -> Artifact:
    """`source` holds HTML pages (WARC), extracted text (WET), JSONL or Parquet."""
    stages = (
        NormalizeText(),
        EscapePlaceholders(),
        IdentifyLanguage(),
        UrlFilter(),
        KeepLanguages(languages=("en",)),
        GopherRepetition(),
        GopherQuality(),
        C4Quality(allow_curly_bracket=True),
        RemoveRepeatedLines(),
        FineWebQuality(max_duplicate_line_char_fraction=PRINTED_IN_THE_PAPER),
        RedactPii(),
    )
    return clean_and_unique(source, stages)
