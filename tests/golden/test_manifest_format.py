"""A manifest of format 1, as the first release wrote it, stays readable for ever: this file is never rewritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipelines import manifest as manifests
from pipelines.artifact import open_artifact
from pipelines.errors import InputError
from pipelines.rules import from_json, to_sentence

GOLDEN = Path(__file__).with_name("manifest-format-1.json")


def test_a_manifest_of_the_first_release_is_read(tmp_path):
    shutil.copy(GOLDEN, tmp_path / "manifest.json")
    built = open_artifact(str(tmp_path))
    assert (built.name, built.fingerprint[:4]) == ("web-clean", json.loads(GOLDEN.read_text())["fingerprint"][:4])
    assert len(built.parts()) == len(built.parts("signals")) == 3
    counts = built.manifest["counts"]
    assert counts["documents"] == counts["kept"] + sum(counts["dropped"].values())
    sentences = [to_sentence(from_json(rule), 1) for rule in built.manifest["rules"]]
    assert "num_words = 1 < min_words = 50" in sentences


def test_a_newer_format_is_refused_with_the_cure(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(InputError, match="format 2 is newer than 1, which this eyas reads; upgrade eyas"):
        manifests.read(str(tmp_path))


def test_a_torn_manifest_names_the_cure(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": 1, "na')
    with pytest.raises(InputError, match="delete it and build again"):
        manifests.read(str(tmp_path))
