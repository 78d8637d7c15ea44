"""What the corpora share: from a cleaned artifact to a unique one."""

from __future__ import annotations

from pipelines.artifact import Artifact, Source
from pipelines.makers.exact_dedup import dedup_exact
from pipelines.makers.near_dedup import dedup_near
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline


def clean_and_unique(source: Source, stages: tuple[object, ...]) -> Artifact:
    """`<source>-clean`, then `<source>-exact`, then `<source>-unique`: processed, exact dedup, near dedup."""
    clean = process(source, through=Pipeline(name="clean", stages=stages))  # type: ignore[arg-type]
    exact = dedup_exact(clean, name=f"{source.name}-exact")
    return dedup_near(exact, name=f"{source.name}-unique")
