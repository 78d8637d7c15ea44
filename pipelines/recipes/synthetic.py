"""Rewritten and generated text: unique, redacted, freed of generations that repeat themselves."""

from __future__ import annotations

from filters.gopher import GopherRepetition
from filters.normalize import NormalizeText
from filters.pii import EscapePlaceholders, RedactPii
from pipelines.artifact import Artifact, Source
from pipelines.recipes.steps import clean_and_unique


def recipe(source: Source) -> Artifact:
    """`source` holds one generation a document."""
    stages = (
        NormalizeText(),
        EscapePlaceholders(),
        GopherRepetition(),
        RedactPii(),
    )
    return clean_and_unique(source, stages)
