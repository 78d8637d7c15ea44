"""Text in the 18 languages of Falcon-H1: identified, freed of what is empty or repeats itself, redacted, unique.

Word counts say little where words are not spaced, so of Gopher's rules only repetition is judged here; thresholds per
language are `ByAttribute` bounds and come with the languages' own tables.
"""

from __future__ import annotations

from filters.gopher import GopherRepetition
from filters.language import IdentifyLanguage, KeepLanguages
from filters.normalize import NormalizeText
from filters.pii import EscapePlaceholders, RedactPii
from filters.url import UrlFilter
from pipelines.artifact import Artifact, Source
from pipelines.recipes.steps import clean_and_unique

LANGUAGES = ("ar", "cs", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ro", "ru", "sv", "ur", "zh")


def recipe(source: Source) -> Artifact:
    """`source` holds text or pages in any of LANGUAGES."""
    stages = (
        NormalizeText(),
        EscapePlaceholders(),
        IdentifyLanguage(),
        UrlFilter(),
        KeepLanguages(languages=LANGUAGES),
        GopherRepetition(),
        RedactPii(),
    )
    return clean_and_unique(source, stages)
