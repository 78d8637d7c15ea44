"""One recipe, one `root_hash`: on Local and on Ray, whatever the number of workers and the order of completion.

What a scheduler happens to do is not evidence that order does not matter, so some of the executors are handed the
shards of each pass in another order than the plan's.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from pipelines.artifact import build
from pipelines.executors import Executor, Needs, Outcome
from pipelines.executors.local import Local
from pipelines.executors.ray import OnRay
from tests.integration.line_corpus import described, write_corpus


@dataclass(frozen=True)
class InAnotherOrder:
    """Hands the shards of a pass to `executor` shuffled by `seed`."""

    executor: Executor
    seed: int

    def map_shards(
        self,
        work: Callable[[Any], Any],
        shards: Iterable[Any],
        *,
        needs: Needs = Needs(),  # noqa: B008
    ) -> Iterator[Outcome]:
        order = list(shards)
        random.Random(self.seed).shuffle(order)
        yield from self.executor.map_shards(work, order, needs=needs)


@pytest.mark.cluster
def test_executors_agree(tmp_path):
    inputs = write_corpus(tmp_path)
    hashes, orders = {}, {}
    executors = {"local-1": Local(), "local-2": Local(workers=2)}
    executors |= {f"local-1-shuffled-{seed}": InAnotherOrder(Local(), seed) for seed in (1, 2)}
    executors |= {f"ray-{n}": OnRay(workers=n) for n in (1, 2, 4)}
    executors |= {"ray-4-shuffled": InAnotherOrder(OnRay(workers=4), 3)}
    try:
        for name, executor in executors.items():
            manifest = build(described(inputs), root=str(tmp_path / name), executor=executor)
            hashes[name] = manifest["root_hash"]
            log = json.loads(next(Path(tmp_path / name).rglob("log/final.json")).read_text())
            orders[name] = tuple(entry["shard"] for entry in log)
    finally:
        ray.shutdown()
    assert len(set(hashes.values())) == 1, hashes
    in_one_process = {orders[name] for name in orders if name.startswith("local-1")}
    assert len(in_one_process) == 3, "the shards were to finish in three orders"
