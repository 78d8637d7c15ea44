"""Both executors keep one contract: every shard answered once, three attempts, lost workers survived."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from pipelines.artifact import build
from pipelines.errors import InputError, StorageError
from pipelines.executors.local import Local
from pipelines.executors.ray import OnRay
from tests.integration.line_corpus import described, write_corpus
from tests.integration.work import Item, misbehave

EXECUTORS = [Local(workers=2), pytest.param(OnRay(workers=2), marks=pytest.mark.cluster)]


@pytest.fixture(scope="module", autouse=True)
def _ray_ends():
    yield
    ray.shutdown()


def outcomes(executor, folder: Path, behaviours: dict[str, str]):
    items = [Item(name=name, folder=str(folder), behaviour=behaviour) for name, behaviour in behaviours.items()]
    found = list(executor.map_shards(misbehave, items))
    assert sorted(outcome.shard.name for outcome in found) == sorted(behaviours)
    return {outcome.shard.name: outcome for outcome in found}


@pytest.mark.parametrize("executor", [Local(workers=1), *EXECUTORS])
def test_errors_are_tried_three_times_and_never_end_the_run(executor, tmp_path):
    found = outcomes(
        executor, tmp_path, {"a": "fine", "b": "raises", "c": "raises twice", "d": "user error", "e": "fine"}
    )
    assert {name: outcome.value for name, outcome in found.items() if outcome.error is None} == {
        n: f"done {n}" for n in "ace"
    }
    assert "the disk said no" in str(found["b"].error)
    assert isinstance(found["d"].error, InputError)
    attempts = {path.stem: len(path.read_text()) for path in tmp_path.glob("*.attempts")}
    assert attempts == {"a": 1, "b": 3, "c": 3, "d": 1, "e": 1}


@pytest.mark.parametrize("executor", EXECUTORS)
def test_killed_workers_cost_only_the_shard_that_kills_them(executor, tmp_path):
    behaviours = {"a": "fine", "b": "dies", "c": "dies once", "d": "fine", "e": "fine", "f": "fine"}
    found = outcomes(executor, tmp_path, behaviours)
    assert {name for name, outcome in found.items() if outcome.error is None} == set("acdef")
    assert found["b"].attempts == 3


class BlindMachine:
    """A cluster of two machines of which one does not mount the root."""

    def map_shards(self, work, shards, *, needs=None):
        yield from Local().map_shards(work, shards)

    def on_every_machine(self, question, about):
        return [("10.0.0.1", question(about)), ("10.0.0.2", question("/not/mounted/here"))]


def test_a_root_that_a_machine_cannot_see_is_found_out_at_the_start(tmp_path):
    with pytest.raises(StorageError, match=r"cannot be seen from 10\.0\.0\.2"):
        build(described(write_corpus(tmp_path, files=1)), root=str(tmp_path / "root"), executor=BlindMachine())
    assert not list((tmp_path / "root").rglob("*.parquet"))


@pytest.mark.cluster
def test_every_machine_of_a_cluster_is_asked():
    assert [answer for _, answer in OnRay(workers=2).on_every_machine(str.upper, "seen")] == ["SEEN"]
