"""A small document artifact for tests of makers: what `process` would hand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.artifact import Artifact, Built
from pipelines.passes import Passes
from pipelines.schema import DOCUMENT
from pipelines.shards import PartShard, ShardOutput

SCHEMA = DOCUMENT.append(pa.field("language", pa.string()))


@dataclass(frozen=True, kw_only=True)
class Written:
    """Writes texts as kept documents: each tuple is one shard of (language, text)."""

    version: ClassVar[int] = 1
    source: str
    shards: tuple[tuple[tuple[str, str], ...], ...]

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        shards = [PartShard(name=f"shard-{number:03d}", uri=str(number)) for number in range(len(self.shards))]
        passes.final(self.write, shards)

    def write(self, shard: PartShard, out: ShardOutput) -> dict[str, Any]:
        rows = self.shards[int(shard.uri)]
        columns = {
            "id": [f"{self.source}-{shard.uri}-{row}" for row in range(len(rows))],
            "source": [self.source] * len(rows),
            "text": [text for _, text in rows],
            "url": [None] * len(rows),
            "fetched_at": [None] * len(rows),
            "locator": [f"0:{row}:1" for row in range(len(rows))],
            "language": [language for language, _ in rows],
        }
        out.declare("kept", SCHEMA)
        out.write("kept", pa.RecordBatch.from_pydict(columns, schema=SCHEMA))
        return {"documents": len(rows), "kept": len(rows), "dropped": {}}


def documents(name: str, *shards: tuple[str, ...], language: str = "en") -> Artifact:
    """An artifact `name` of the given texts, one tuple a shard."""
    rows = tuple(tuple((language, text) for text in shard) for shard in shards)
    return Artifact(name=name, maker=Written(source=name, shards=rows), inputs=())
