"""What the corpora share: from a cleaned artifact to a unique one."""

from __future__ import annotations

from pipelines.artifact import Artifact, Source
from pipelines.makers.near_dedup import dedup_near
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline


def clean_and_unique(source: Source, stages: tuple[object, ...]) -> Artifact:
    """`<source>-clean`, then `<source>-unique`: processed, then without exact and near duplicates."""
    clean = process(source, through=Pipeline(name="clean", stages=stages))  # type: ignore[arg-type]
    return dedup_near(clean, name=f"{source.name}-unique")
