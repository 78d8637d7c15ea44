"""A finished artifact of another root as an input: its identity is its fingerprint, wherever it lies."""

import shutil

import pytest

from pipelines.artifact import Artifact, Existing, build, open_artifact
from pipelines.cli.locate import chain_of, locate
from pipelines.errors import BuildError
from pipelines.makers.exact_dedup import ExactDedup
from tests.unit.cli_corpus import described, write_corpus


def unique(node: Artifact | Existing) -> Artifact:
    return Artifact(name="unique", maker=ExactDedup(), inputs=(node,))


def test_an_existing_artifact_is_taken_as_it_is(tmp_path):
    artifact = described(write_corpus(tmp_path / "in"))
    built = build(artifact, root=str(tmp_path / "one"))
    whole = build(unique(artifact), root=str(tmp_path / "one"))
    (place,) = (tmp_path / "one" / artifact.name).iterdir()
    shutil.move(place, tmp_path / "elsewhere")
    again = build(unique(Existing(uri=str(tmp_path / "elsewhere"))), root=str(tmp_path / "two"))
    assert (again["fingerprint"], again["root_hash"]) == (whole["fingerprint"], whole["root_hash"])
    assert again["inputs"] == [
        {"name": artifact.name, "fingerprint": built["fingerprint"], "at": str(tmp_path / "elsewhere")}
    ]
    chain = chain_of(locate(str(tmp_path / "two" / "unique")))
    assert [item.built.name for item in chain.artifacts] == [artifact.name, "unique"]
    assert open_artifact(str(tmp_path / "elsewhere")).fingerprint == built["fingerprint"]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(BuildError, match=r"nowhere: no manifest.json, so there is no finished artifact here"):
        build(unique(Existing(uri=str(tmp_path / "nowhere"))), root=str(tmp_path / "root"))
