"""A small corpus for the tests of the commands: a reader, stages and a recipe, all at module level so that they pickle.

A line of a file is `id|language|text`; `!id|why` is quarantined, `#...` skipped.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifact import Artifact, BuildOptions, Built, Source, build_all
from pipelines.cli.locate import Located, locate
from pipelines.makers.exact_dedup import dedup_exact
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline
from pipelines.records import FileShard, Quarantined, Skipped, SourceFile
from pipelines.rules import ByAttribute, Rule
from pipelines.schema import DOCUMENT, set_column

ROWS_PER_BATCH = 47
WORDS = ("owl", "falcon", "kestrel", "a", "of", "the", "nest", "wing", "Ästling", "feather", "x", "soars")


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A document a line."""

    yields: ClassVar[str] = "document"

    def cut(self, file: SourceFile, shard_bytes: int) -> tuple[tuple[int | None, int | None], ...]:
        return ((None, None),)

    def read(self, shard: FileShard) -> Iterator[pa.RecordBatch | Quarantined | Skipped]:
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(Path(shard.file.uri).read_text().splitlines()):
            place = f"{shard.file.checksum}:{number}:1"
            if line.startswith("#"):
                yield Skipped(kind="comment", count=1)
            elif line.startswith("!"):
                document, why = line[1:].split("|")
                yield Quarantined(reason="broken_line", locator=place, detail=why, id=document)
            else:
                document, language, text = line.split("|")
                row = {"id": document, "source": shard.source, "text": text, "url": f"http://x.example/{document}"}
                rows.append(row | {"fetched_at": 1_700_000_000, "locator": place, "language": language})
        schema = pa.schema([*DOCUMENT, pa.field("language", pa.string())])
        for start in range(0, len(rows), ROWS_PER_BATCH):
            yield pa.RecordBatch.from_pylist(rows[start : start + ROWS_PER_BATCH], schema=schema)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Counts letters and words. `min_letters` bounds two rules; `fold` changes what is measured."""

    min_letters: int = 8
    max_letters: int = 60
    min_words: int = 2
    max_letters_per_word: float = 6.5
    fold: bool = False
    reads: ClassVar[tuple[str, ...]] = ("text", "language")

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        texts = [t.lower() if self.fold else t for t in batch.column("text").to_pylist()]
        words = [len(t.split()) for t in texts]
        return pa.RecordBatch.from_pydict(
            {
                "num_letters": pa.array([len(t) for t in texts], pa.int64()),
                "num_words": pa.array(words, pa.int64()),
                "letters_per_word": pa.array(
                    [len(t) / max(n, 1) for t, n in zip(texts, words, strict=True)], pa.float64()
                ),
            }
        )

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("too_few_letters", "num_letters", "<", self.min_letters, field="min_letters"),
            Rule("too_many_letters", "num_letters", ">", self.max_letters, field="max_letters"),
            Rule("too_few_words", "num_words", "<", self.min_words, field="min_words"),
            Rule("words_too_long", "letters_per_word", ">", self.max_letters_per_word, field="max_letters_per_word"),
        )


STOPS = ByAttribute(column="language", bounds=(("en", 1), ("de", 0)), default=1)


@dataclass(frozen=True, kw_only=True)
class Stops:
    """A bound by language, a set of languages, and a rule whose bound is computed from a field."""

    name: str = "stop_words"
    min_stops: ByAttribute = STOPS
    unwanted: frozenset[str] = frozenset({"xx"})
    half_of_max_owls: int = 2
    reads: ClassVar[tuple[str, ...]] = ("text", "language")

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        texts = batch.column("text").to_pylist()
        return pa.RecordBatch.from_pydict(
            {
                "num_stops": pa.array([sum(w in ("a", "of", "the") for w in t.split()) for t in texts], pa.int64()),
                "num_owls": pa.array([t.split().count("owl") for t in texts], pa.int64()),
                "language_found": batch.column("language"),
            }
        )

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("too_few_stops", "num_stops", "<", self.min_stops, field="min_stops"),
            Rule("unwanted_language", "language_found", "in", self.unwanted, field="unwanted"),
            Rule("too_many_owls", "num_owls", ">", self.half_of_max_owls * 2, field="half_of_max_owls"),
        )


@dataclass(frozen=True, kw_only=True)
class Trim:
    """Strips trailing x and counts them."""

    adds: ClassVar[tuple[pa.Field, ...]] = (pa.field("num_trimmed", pa.int64()),)
    tallies: ClassVar[tuple[str, ...]] = ("num_trimmed",)

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        texts = batch.column("text")
        after = pc.utf8_rtrim(texts, characters="x ")
        batch = set_column(batch, batch.schema.field("text"), after)
        lost = pc.subtract(pc.utf8_length(texts), pc.utf8_length(after)).cast(pa.int64())
        return set_column(batch, self.adds[0], lost)


def write_corpus(folder: Path, *, files: int = 3, lines: int = 60, seed: int = 7) -> Path:
    """`files` files of `lines` documents, with a broken and a skipped line each; texts repeat across files."""
    random_ = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        rows = ["#a comment", f"!broken-{number}|not closed"]
        for i in range(lines):
            language = random_.choice(("en", "de", "fr", "xx"))
            text = " ".join(random_.choice(WORDS) for _ in range(random_.randint(0, 12)))
            rows.append(f"d{number}-{i}|{language}|{text}")
        (folder / f"{number}.txt").write_text("\n".join(rows))
    return folder


STAGES = (Trim(), Sizes(), Stops())


def described(
    folder: Path, *, stages: tuple[Any, ...] = STAGES, dropped_text: str = "sample", name: str = "birds"
) -> Artifact:
    """The corpus processed: one artifact."""
    source = Source(name=name, inputs=(f"{folder}/*.txt",), reader=Lines())
    pipeline = Pipeline(name="clean", stages=stages, expects=("language",))
    return process(source, through=pipeline, dropped_text=dropped_text)


def with_dedup(folder: Path, **options: Any) -> Artifact:
    """The corpus processed, then without exact duplicates."""
    return dedup_exact(described(folder, **options), name="birds-exact")


def recipe(source: Source) -> Artifact:
    """For a recipe file: `from tests.unit.cli_corpus import recipe`."""
    source = replace(source, reader=Lines(), extractor=None, reader_fields=())
    pipeline = Pipeline(name="clean", stages=STAGES, expects=("language",))
    return dedup_exact(process(source, through=pipeline, name="birds-clean"), name="birds-exact")


def built(artifact: Artifact, root: str, **options: Any) -> Located:
    """Build and open it."""
    done: Built = build_all((artifact,), BuildOptions(root=root, **options))[0]
    return locate(f"{root}/{done.name}/{done.fingerprint[:12]}")


def stages_with(**fields: Any) -> tuple[Any, ...]:
    """STAGES with fields of Sizes or Stops changed."""
    return tuple(
        replace(stage, **{key: value for key, value in fields.items() if key in asdict(stage)})
        if asdict(stage)
        else stage
        for stage in STAGES
    )
