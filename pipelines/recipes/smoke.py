"""The maker that trains a tiny model on a mixture: the mixture artifact in, `smoke.json` out.

It ties `model_smoke`, which reads plain directories and knows nothing of artifacts, to the engine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import ClassVar

from model_smoke.tiny import TinyRun, train
from pipelines import storage
from pipelines.artifact import Built
from pipelines.errors import InputError
from pipelines.passes import Passes


@dataclass(frozen=True, kw_only=True)
class SmokeTrain:
    """Train `run` on the mixture. The mixture must lie on a mounted filesystem: the loader maps its files."""

    run: TinyRun = field(default_factory=TinyRun)
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Train, then put `smoke.json`. InputError for a mixture in an object store."""
        (mixture,) = inputs
        if not storage.is_local(mixture.uri):
            raise InputError(f"{mixture.uri}: a smoke run maps its tokens; copy the root to a mounted filesystem")
        record = train(storage.path_of(mixture.uri), self.run)
        passes.put("smoke.json", (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
        passes.note("smoke", {key: record[key] for key in ("healthy", "bits_per_byte")})
