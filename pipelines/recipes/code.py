"""Source code: empty and hopelessly repeated files dropped, e-mail addresses and IP addresses redacted, unique files kept.

Prose rules do not fit code (a brace is no fault there), so only extreme repetition is judged."""

from __future__ import annotations

from filters.gopher import GopherRepetition
from filters.normalize import NormalizeText
from filters.pii import EscapePlaceholders, RedactPii
from pipelines.artifact import Artifact, Source
from pipelines.recipes.steps import clean_and_unique


def recipe(source: Source) -> Artifact:
    """`source` holds one file a document."""
    stages = (
        NormalizeText(),
        EscapePlaceholders(),
        GopherRepetition(
            max_duplicate_line_fraction=0.8,
            max_duplicate_line_char_fraction=0.8,
        ),
        RedactPii(),
    )
    return clean_and_unique(source, stages)
