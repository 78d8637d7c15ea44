"""A small corpus with everything dedup meets, in several parts, and the makers of dedup over it, cut into many tasks.

Chains of near duplicates (clusters that take rounds to find), families of edits in several scripts, exact copies across
files, shared paragraphs and lines, empty and wordless texts; and an earlier release that shares documents with it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from filters.normalize import NormalizeText
from pipelines.artifact import Artifact, Existing, Source
from pipelines.kernels.minhash import MinHashConfig
from pipelines.makers import exact_dedup, line_dedup, near_dedup, substring_dedup
from pipelines.makers.certificate.certify import certify
from pipelines.makers.certificate.sampling import Certify, Limits
from pipelines.makers.line_dedup import dedup_lines
from pipelines.makers.near import components
from pipelines.makers.near.components import find_clusters
from pipelines.makers.near.guard import Guard
from pipelines.makers.near_dedup import dedup_near
from pipelines.makers.near_index import index_near
from pipelines.makers.process import process
from pipelines.makers.substring.rewriting import Sizes
from pipelines.makers.substring_dedup import dedup_substrings
from pipelines.pipeline import Pipeline
from tests.dedup import VOCABULARY, write_text

CONFIG = MinHashConfig(num_perm=64, num_bands=32, rows_per_band=2)
SIZES = partial(
    Sizes,
    keys_per_bucket=1 << 12,
    keys_in_memory=1 << 10,
    items_per_bucket=1 << 8,
    items_in_memory=1 << 8,
    heavy_items=8,
)
SMALL = (
    (exact_dedup, "ROWS_PER_BUCKET", 90),
    (near_dedup, "KEYS_PER_BUCKET", 3000),
    (near_dedup, "SHINGLES_PER_GROUP", 5000),
    (near_dedup, "find_clusters", partial(find_clusters, edges_per_task=48)),
    (components, "MAX_CONTRACTED", 2),
    (near_dedup, "certify", partial(certify, limits=Limits(shingles_per_group=4000))),
    (substring_dedup, "Sizes", SIZES),
    (line_dedup, "Sizes", SIZES),
)
"""Module, name, value: bounds of a task so small that this corpus is many tasks. None of them is identity."""


def documents(seed: int = 1) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """New documents and those of an earlier release: id and text."""
    rng = random.Random(seed)
    new: list[tuple[str, str]] = []
    old: list[tuple[str, str]] = []
    # Neighbours of the first chain are candidates and unlike, a long way to go for components; of the others they are alike.
    for chain, (length, step) in enumerate(((90, 20), (18, 8), (18, 8))):
        words = [f"c{chain}x{n}" for n in range(length * step + 100)]
        new += [(f"chain-{chain}-{n:02d}", " ".join(words[step * n : step * n + 100])) for n in range(length)]
    for family, language in enumerate(VOCABULARY):
        original = [rng.randrange(225) for _ in range(90)]
        new.append((f"{language}-0", write_text(language, original)))
        for copy in (1, 2, 3):
            edited = list(original)
            edited[copy * 20 + family] = 225 + rng.randrange(1000)
            (new if copy < 3 else old).append((f"{language}-{copy}", write_text(language, edited)))
    paragraph = write_text("en", [rng.randrange(225) for _ in range(45)])
    for n in range(24):
        own = [write_text("en", [rng.randrange(225) for _ in range(30)]) for _ in range(3)]
        new.append((f"own-{n:02d}", "\n".join([*own[: n % 3], paragraph if n % 2 else "A line.", *own[n % 3 :]])))
    new += [(f"copy-{n}", new[5 * n][1]) for n in range(12)]
    new += [("empty-0", ""), ("empty-1", ""), ("wordless", "!? ...")]
    old += [(f"earlier-{n}", new[7 * n + 1][1]) for n in range(8)]
    rng.shuffle(new)
    return _rows(new), _rows(old)


def _rows(texts: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"id": document, "text": text} for document, text in texts]


def write_documents(folder: Path, *, files: int = 4) -> None:
    """`new/` of `files` unequal JSONL files and `old/` of two, below `folder`."""
    for name, rows, number in (("new", *documents()[:1], files), ("old", *documents()[1:], 2)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        cuts = [len(rows) * n * n // (number * number) for n in range(number + 1)]
        for n, (start, stop) in enumerate(pairwise(cuts)):
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows[start:stop]]
            (folder / name / f"{n}.jsonl").write_text("".join(lines), encoding="utf-8")


def cleaned(folder: Path, name: str) -> Artifact:
    """The documents of `folder`/`name`, as parts."""
    source = Source(name=name, inputs=(str(folder / name / "*.jsonl"),))
    return process(source, through=Pipeline(name=f"{name}-clean", stages=(NormalizeText(),)))


def index_of(release: Artifact | Existing) -> Artifact:
    """The index of a release, as `near` needs it."""
    return index_near(release, name="old-index", config=CONFIG, sketch_size=64)  # type: ignore[arg-type]


def near(documents: Any, earlier: tuple[Any, ...] = (), guard: Guard = Guard(), **options: Any) -> Artifact:  # noqa: B008
    """Near dedup with everything on; the certificate looks at a sample."""
    options = {"config": CONFIG, "certify": Certify(num_queries=120, num_dropped=70)} | options
    return dedup_near(documents, earlier=earlier, name="near", guard=guard, **options)


def makers(new: Existing, old: Existing, index: Existing) -> dict[str, Artifact]:
    """Every maker of dedup, over finished inputs."""
    given: Any = new
    return {
        "near": near(given, (index,)),
        "index": index_of(old),
        "substring": dedup_substrings(given, name="substring", min_tokens=12),
        "lines": dedup_lines(given, name="lines"),
    }
