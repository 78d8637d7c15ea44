"""Both executors keep one contract: every shard answered once, three attempts, lost workers survived."""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import ray

from pipelines.artifact import build
from pipelines.errors import InputError, StorageError
from pipelines.executors.local import Local
from pipelines.executors.ray import OnRay, modules_beside
from pipelines.recipes import load_file
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


def write_recipe(folder: Path) -> Path:
    """A recipe file that takes its work from a module in a package beside it."""
    (folder / "rcp_parts").mkdir(parents=True)
    (folder / "rcp_parts" / "__init__.py").write_text("")
    (folder / "rcp_parts" / "words.py").write_text("def louder(word):\n    return word.upper()\n")
    (folder / "rcp_numbers.py").write_text("TWO = 2\n")
    (folder / "rcp_ship.py").write_text(
        "import rcp_numbers\nfrom rcp_parts.words import louder\n"
        "def twice(word):\n    return louder(word) * rcp_numbers.TWO\n"
    )
    return folder / "rcp_ship.py"


def forget(folder: Path) -> None:
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.startswith("rcp_")]:
        del sys.modules[name]


def test_what_is_shipped_are_the_modules_beside_the_recipe(tmp_path):
    recipe = write_recipe(tmp_path / "mine")
    load_file(recipe)
    try:
        names = [module.__name__ for module in modules_beside((str(recipe),))]
        # A recipe in a folder that holds everything, as `/` or a checkout with a virtual environment does.
        assert names == ["rcp_numbers", "rcp_parts", "rcp_parts.words", "rcp_ship"]
        everything = {module.__name__.partition(".")[0] for module in modules_beside(("/recipe.py",))}
        assert not everything & {"pipelines", "filters", "ray", "pyarrow", "json", "__main__"}
    finally:
        forget(tmp_path / "mine")


@pytest.mark.cluster
def test_a_recipe_may_import_what_lies_beside_it(tmp_path):
    recipe = write_recipe(tmp_path / "mine")
    twice = load_file(recipe).twice
    (tmp_path / "mine").rename(tmp_path / "away")  # as on a machine that does not have the folder
    try:
        found = list(OnRay(workers=2, ship=(str(recipe),)).map_shards(twice, ["a", "b"]))
    finally:
        forget(tmp_path / "mine")
    assert [str(outcome.error) for outcome in found if outcome.error] == []
    assert sorted(outcome.value for outcome in found) == ["AA", "BB"]


class Unloadable:
    """Becomes an error where it arrives."""

    def __reduce__(self):
        return int, ("no number",)


@pytest.mark.cluster
def test_a_task_that_cannot_start_gives_its_own_error():
    (outcome,) = OnRay(workers=2).map_shards(repr, [Unloadable()])
    assert str(outcome.error).startswith("the task failed: ")
    assert "no number" in str(outcome.error)
    assert "\x1b" not in str(outcome.error)
    assert outcome.attempts == 3


def wait_until(holds, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    return bool(holds())


def one_ends_one_stays(folder: Path, name: str) -> str:
    """`ends` returns as soon as `stays` runs, which writes its process id and goes on for ever."""
    pid = folder / "pid"
    if name == "stays":
        (folder / "pid.new").write_text(str(os.getpid()))
        (folder / "pid.new").rename(pid)
        threading.Event().wait()
    return name if wait_until(pid.exists) else "stays never ran"


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.cluster
def test_what_nobody_waits_for_is_cancelled(tmp_path):
    answers = OnRay(workers=2).map_shards(partial(one_ends_one_stays, tmp_path), ["stays", "ends"])
    assert next(answers).value == "ends"
    pid = int((tmp_path / "pid").read_text())
    assert is_running(pid)
    answers.close()
    assert wait_until(lambda: not is_running(pid))
