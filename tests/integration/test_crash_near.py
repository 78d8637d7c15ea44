"""Every maker of dedup, killed in each of its passes: the same bytes come out, certificate included, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from pipelines.artifact import build
from pipelines.errors import GuardStopped
from pipelines.executors.local import Local
from pipelines.makers.near.guard import Guard
from pipelines.passes import Silent
from tests.integration.crash_near import FIRST, LAST, differences, inputs_in, tree
from tests.integration.near_corpus import SMALL, near

REPOSITORY = Path(__file__).resolve().parents[2]
PASSES = {
    "near": """digests groups keys earlier_keys edges components-00-scatter components-01-large components-01-small
        components-02-large components-02-small components-join components-02-label components-01-label members shingles
        earlier_shingles verdicts copies final certificate_frame certificate_draw certificate_texts certificate_index
        certificate_probe certificate_totals certificate_pairs""",
    "index": "final",
    "substring": "keys shared items stays final",
    "lines": "keys shared items stays final",
}


def crash(folder: Path, *options: str) -> dict:
    command = [sys.executable, "-m", "tests.integration.crash_near", str(folder), *options]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    return json.loads(found.stdout)


def test_killing_every_pass_changes_nothing(tmp_path):
    found = crash(tmp_path, "--instants", "2", "--alone", "0", "--seed", "7")
    assert {name: entry["passes"] for name, entry in found.items()} == {k: v.split() for k, v in PASSES.items()}
    for name, entry in found.items():
        num_passes = len(entry["passes"])
        assert entry["failures"] == [], name
        assert entry["chained"] == 2 * 2 * num_passes, "in each pass and after it"
        # a few instants come after the commit of the only shard of a pass, which is then not done again
        assert 1.5 * num_passes <= entry["workers"] <= 2 * num_passes


@pytest.mark.parametrize("stretch", [FIRST, LAST])
def test_killed_before_the_first_pass_or_after_the_manifest(tmp_path, stretch):
    found = crash(tmp_path, "--instants", "0", "--alone", "6", "--seed", "7", "--only", "index", "--stretch", stretch)
    assert found["index"]["alone"] == 6
    assert found["index"]["failures"] == []


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The described near dedup, and the root it was built under without a stop, in many small tasks."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        artifact = inputs_in(folder)["near"]
        build(artifact, root=str(folder / "whole"))
    return artifact, folder / "whole"


@pytest.fixture
def small(monkeypatch):
    make_small(monkeypatch)


def make_small(patch: pytest.MonkeyPatch) -> None:
    for module, name, value in SMALL:
        patch.setattr(module, name, value)


class KillsWorkers(Silent):
    """Local(2) that kills a worker after the first answer of each pass in `doomed`; also the Progress that tells passes."""

    def __init__(self, doomed: tuple[str, ...]):
        self.local = Local(workers=2)
        self.doomed = set(doomed)
        self.killed: list[str] = []
        self.name = ""

    def begin(self, artifact, name, *, total, done):
        self.name = name

    def map_shards(self, work, shards, *, needs=None):
        for outcome in self.local.map_shards(work, shards):
            if self.name in self.doomed:
                self.doomed.remove(self.name)
                children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
                workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
                os.kill(int(workers[len(self.killed) % len(workers)]), signal.SIGKILL)
                self.killed.append(self.name)
            yield outcome


@pytest.mark.usefixtures("small")
def test_killing_worker_processes_changes_nothing(tmp_path, uninterrupted):
    artifact, whole = uninterrupted
    doomed = ("components-01-small", "verdicts", "final")
    executor = KillsWorkers(doomed)
    found = build(artifact, root=str(tmp_path), executor=executor, progress=executor)
    assert executor.killed == list(doomed)
    assert differences(tree(whole), tmp_path) == []
    assert found["counts"]["dropped"]["near_dedup/near_duplicate"] > 20


def logs(root: Path) -> dict[str, list]:
    return {path.stem: json.loads(path.read_text()) for path in root.rglob("log/*.json")}


@pytest.mark.parametrize(
    ("guard", "match", "last"),
    [
        (partial(Guard, min_cluster_members=30), "max_cluster_share", "members"),
        (partial(Guard, max_removed_share=0.1, min_stratum_documents=20), "max_removed_share", "copies"),
    ],
)
@pytest.mark.usefixtures("small")
def test_a_loosened_guard_resumes_where_the_build_stopped(tmp_path, uninterrupted, guard, match, last):
    artifact, whole = uninterrupted
    described = partial(near, artifact.inputs[0], artifact.inputs[1:])
    for _ in range(2):
        with pytest.raises(GuardStopped, match=match):
            build(described(guard=guard()), root=str(tmp_path))
    before = logs(tmp_path)
    assert last in before
    assert list(PASSES["near"].split()).index(last) == len(before) - 1, "the last of all that ran"
    assert not list(tmp_path.rglob("kept")) + list(tmp_path.rglob("manifest.json"))

    build(described(guard=Guard(enabled=False)), root=str(tmp_path))
    after = logs(tmp_path)
    assert {name: after[name] for name in before} == before, "no finished pass ran again"
    assert all(len({entry["shard"] for entry in entries}) == len(entries) for entries in after.values())
    assert set(after) == set(PASSES["near"].split())
    # the manifest is among the files: fingerprint, root_hash and what the guard would have stopped by default
    assert differences(tree(whole), tmp_path) == []
