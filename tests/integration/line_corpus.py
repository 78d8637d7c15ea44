"""A corpus of JSONL files of unequal size, and a recipe of cheap stages over it, for tests of the engine as a whole."""

from __future__ import annotations

import json
import random
from pathlib import Path

from filters.gopher import GopherQuality
from filters.normalize import NormalizeText
from pipelines.artifact import Artifact, Source
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline

WORDS = (
    "the",
    "of",
    "and",
    "to",
    "a",
    "falcon",
    "flies",
    "over",
    "quiet",
    "water",
    "while",
    "morning",
    "light",
    "turns",
)


def write_corpus(folder: Path, *, files: int = 6, seed: int = 1) -> Path:
    """`files` JSONL files below `folder`/in, the last ones many times as long as the first; some lines are broken."""
    target = folder / "in"
    target.mkdir(parents=True)
    chooser = random.Random(seed)
    for number in range(files):
        with (target / f"{number}.jsonl").open("w") as file:
            for row in range(5 + 40 * number * number):
                text = " ".join(chooser.choices(WORDS, k=chooser.randint(3, 120)))
                file.write(json.dumps({"id": f"{number}-{row}", "text": text}) + "\n")
                if row % 50 == 7:
                    file.write('{"id": "broken", "te\n')
    return target


def described(inputs: Path) -> Artifact:
    """Normalized and judged by Gopher's quality rules."""
    stages = (NormalizeText(), GopherQuality(min_words=20))
    source = Source(name="lines", inputs=(str(inputs / "*.jsonl"),))
    return process(source, through=Pipeline(name="clean", stages=stages))


def recipe(source: Source) -> Artifact:
    """The same, for `eyas build`."""
    return process(source, through=Pipeline(name="clean", stages=(NormalizeText(), GopherQuality(min_words=20))))
