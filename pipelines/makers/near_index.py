"""Index a release for near dedup: kept documents in, signatures and bottom-k sketches out, without text.

`dedup_near(new, earlier=(index_near(released),))` deduplicates a new crawl against earlier releases without reading
their text. One file a part, `index/<part>.parquet` (`near.index` describes it); an index has no `kept/`. Its counts are
those of the release it was made of: nothing is dropped, `indexed` documents have a row, and those without a word, which
are nobody's duplicate, have none. About 1.4 kB a document on disk, with 112 permutations and 128 hashes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, ClassVar

from pipelines.artifact import Artifact, Built
from pipelines.errors import ConfigError
from pipelines.kernels.minhash import MinHashConfig
from pipelines.makers.near.index import FORMAT, MAX_SKETCH_SIZE, index_part, sketch_error
from pipelines.makers.outcome import number_parts
from pipelines.passes import Passes

STATED_SIMILARITY = 0.8


@dataclass(frozen=True, kw_only=True)
class NearIndex:
    """Maker of `index_near`. What is deduplicated against the index must have the same `config`.

    `sketch_size` hashes a document are kept to verify pairs by: a similarity of 0.8 is estimated with a standard error
    of 0.035 from 128, and of 0.018 from 512. Raises ConfigError for what cannot be.
    """

    config: MinHashConfig = field(default_factory=MinHashConfig)
    sketch_size: int = 128
    version: ClassVar[int] = FORMAT

    def __post_init__(self) -> None:
        if not 1 <= self.sketch_size <= MAX_SKETCH_SIZE:
            raise ConfigError(f"sketch_size = {self.sketch_size}: keep 1 to {MAX_SKETCH_SIZE} hashes; 128 is usual")

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """One pass, a file a part."""
        parts = number_parts(inputs)
        commits = passes.final(partial(index_part, config=self.config, sketch_size=self.sketch_size), parts)
        indexed = sum(commit.counts["indexed"] for commit in commits)
        num_bytes = sum(file.bytes for commit in commits for file in commit.files)
        passes.note(
            "near_index",
            {
                "config": asdict(self.config),
                "sketch_size": self.sketch_size,
                "standard_error_at_0.8": round(sketch_error(STATED_SIMILARITY, self.sketch_size), 4),
                "bytes_per_document": round(num_bytes / max(indexed, 1), 1),
            },
        )


def index_near(artifact: Artifact, *, name: str = "", **options: Any) -> Artifact:
    """Describe the index of `artifact`, for later near dedup against it; `options` are the fields of NearIndex."""
    return Artifact(name=name or f"{artifact.name}-index", maker=NearIndex(**options), inputs=(artifact,))
