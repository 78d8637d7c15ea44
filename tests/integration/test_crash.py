"""Killed at any instant, a build resumes to the same `root_hash` and leaves nothing half-written behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.artifact import build
from pipelines.executors.local import Local
from tests.integration.line_corpus import described, write_corpus

REPOSITORY = Path(__file__).resolve().parents[2]


def test_killing_the_driver_at_twenty_instants(tmp_path):
    write_corpus(tmp_path)
    command = [sys.executable, "-m", "tests.integration.crash", str(tmp_path), "11", "20"]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    result = json.loads(found.stdout)
    assert result["events"] > 500
    runs = result["runs"]
    assert len(runs) == 20
    assert all(run["killed"] for run in runs)
    assert {run["root_hash"] for run in runs} == {result["root_hash"]}
    assert not any(run["temporaries"] for run in runs)
    # The places named in crash.py were really reached: data without its commit, and a file cut short while written.
    assert any(name.endswith(".parquet") for name in runs[0]["left"])
    assert sum(name.startswith(".tmp-") for name in runs[2]["left"]) > 0


class KillsWorkers:
    """Local(2), with a worker killed after each of the first `kills` answers."""

    def __init__(self, kills: int):
        self.kills = kills
        self.killed = 0

    def map_shards(self, work, shards, *, needs=None):
        for outcome in Local(workers=2).map_shards(work, shards):
            if self.killed < self.kills:
                children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
                workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
                if workers:
                    os.kill(int(workers[self.killed % len(workers)]), signal.SIGKILL)
                    self.killed += 1
            yield outcome


@pytest.mark.parametrize("kills", [1, 3])
def test_killing_workers_changes_nothing(tmp_path, kills):
    inputs = write_corpus(tmp_path)
    whole = build(described(inputs), root=str(tmp_path / "whole"))
    executor = KillsWorkers(kills)
    assert build(described(inputs), root=str(tmp_path / "killed"), executor=executor)["root_hash"] == whole["root_hash"]
    assert executor.killed == kills
