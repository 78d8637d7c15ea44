"""One recipe, one `root_hash`: on Local and on Ray, whatever the number of workers and the order of completion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import ray

from pipelines.artifact import build
from pipelines.executors.local import Local
from pipelines.executors.ray import OnRay
from tests.integration.line_corpus import described, write_corpus


@pytest.mark.cluster
def test_executors_agree(tmp_path):
    inputs = write_corpus(tmp_path)
    hashes, orders = {}, {}
    executors = {"local-1": Local(), "local-2": Local(workers=2)} | {f"ray-{n}": OnRay(workers=n) for n in (1, 2, 4)}
    try:
        for name, executor in executors.items():
            manifest = build(described(inputs), root=str(tmp_path / name), executor=executor)
            hashes[name] = manifest["root_hash"]
            log = json.loads(next(Path(tmp_path / name).rglob("log/final.json")).read_text())
            orders[name] = tuple(entry["shard"] for entry in log)
    finally:
        ray.shutdown()
    assert len(set(hashes.values())) == 1, hashes
    assert len(set(orders.values())) > 1, "every executor finished the shards in one order, so nothing was shown"
