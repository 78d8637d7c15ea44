"""Kill builds of every maker of dedup at random instants of each of their passes, resume, and compare. It forks.

    python -m tests.integration.crash_near FOLDER [--instants 20] [--alone 1] [--seed 1] [--only near ...] [--stretch keys ...]

An instant is the n-th Python call inside the engine or a maker, within one *stretch* of a build: a pass from its plan to
its last commit (`keys`), what the driver does from there to the next pass (`after keys`), and what comes before the first
pass (`before`) and after the manifest (`finished`). Half of the instants count calls of storage, shards and passes alone,
where files come and go, so that the others do not hide these. Three ways to kill:

- *chained*: one build dies in every pass and after every pass, resumed each time: `--instants` such builds;
- *workers*: shards run in forked processes that die at the instants chosen, `--instants` a pass, and run again, all in one
  build whose driver lives;
- *alone*: a build dies once, in one stretch, and is resumed: `--alone` builds a stretch.

What comes out must be what an uninterrupted build wrote: every byte of every file below the root but those in `log/`, the
manifest (less its environment) and the certificate among them, and no other file. Prints one JSON object: `report`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipelines import manifest as manifests
from pipelines.artifact import Artifact, Existing, build
from pipelines.executors import Attempt, Executor, Needs, Outcome, attempt
from pipelines.executors.local import Local
from pipelines.passes import Passes
from tests.integration.near_corpus import SMALL, cleaned, index_of, makers, write_documents

FILES = tuple(f"/pipelines/{name}.py" for name in ("storage", "shards", "passes", "artifact", "manifest"))
ENGINE = (*FILES, "/pipelines/content_hash.py")
ANY, FILE = 0, 1
FIRST, LAST, WORKER = "before", "finished", "worker"
Instant = tuple[str, int, int]
"""Stretch, ANY or FILE, and the number of the call of that kind within the stretch, from 1 on."""


class Instants:
    """A profile hook: counts calls by stretch and kind, and dies at `kill`. Without one it counts in every stretch."""

    def __init__(self, kill: Instant | None = None):
        self.seen: dict[str, list[int]] = {}
        self._kinds: dict[Any, int] = {}
        self._kill = kill

    def enter(self, stretch: str) -> None:
        """From here on count as of `stretch`, or run at full speed where nothing happens in it."""
        counted = self._kill is None or self._kill[0] == stretch
        self._counts = self.seen.setdefault(stretch, [0, 0])
        sys.setprofile(self if counted else None)

    def follow_passes(self) -> None:
        """Enter a stretch where a pass begins, and another where it ends. For a process that ends soon."""
        run_pass = Passes._map

        def followed(passes: Passes, name: str, *rest: Any) -> Any:
            self.enter(name)
            try:
                return run_pass(passes, name, *rest)
            finally:
                self.enter(f"after {name}")

        write_manifest = manifests.write

        def finished(*arguments: Any) -> None:
            write_manifest(*arguments)
            self.enter(LAST)

        Passes._map = followed  # type: ignore[method-assign]
        manifests.write = finished
        self.enter(FIRST)

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        kind = self._kinds.get(code)
        if kind is None:
            kind = self._kinds[code] = _kind(code.co_filename)
        if kind < 0:
            return
        self._counts[ANY] += 1
        self._counts[FILE] += kind == FILE
        if self._kill and self._counts[self._kill[1]] == self._kill[2]:
            os.kill(os.getpid(), signal.SIGKILL)


def _kind(name: str) -> int:
    if name.endswith(FILES):
        return FILE
    return ANY if name.endswith(ENGINE) or "/pipelines/makers/" in name else -1


def in_child(work: Callable[[], Any]) -> Any:
    """`work()` in a forked child: what it returned, or None where it was killed. An error in it is an error here."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read)
            with os.fdopen(write, "wb") as pipe:
                pipe.write(pickle.dumps(work()))
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    if status:
        raise RuntimeError(f"a build failed: status {status}; its traceback is above")
    return pickle.loads(answer)  # noqa: S301 (our own child wrote it)


def run(artifact: Artifact, root: Path, hook: Instants | None = None, executor: Executor | None = None) -> Any:
    """Build in a child: calls by stretch, or None where it was killed."""

    def made() -> dict[str, list[int]]:
        if hook:
            hook.follow_passes()
        build(artifact, root=str(root), executor=executor or Local())
        sys.setprofile(None)
        return hook.seen if hook else {}

    return in_child(made)


def tree(root: Path) -> dict[str, str]:
    """Path -> sha256 of all files below `root`, less logs and, in the manifest, the environment: who did what when.

    Folders that a finished build leaves are there too: `work` and empty ones.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file():
            is_log = path.parent.name == "log" and not path.name.startswith(".")
            content = path.read_bytes()
            if path.name == "manifest.json":
                # the code's revision may change while this runs
                content = json.dumps(json.loads(content) | {"environment": None}, sort_keys=True).encode()
            found[name] = "" if is_log else hashlib.sha256(content).hexdigest()
        elif path.name == "work" or not any(path.iterdir()):
            found[name] = "a folder left"
    return {name: digest for name, digest in found.items() if digest}


def differences(whole: dict[str, str], root: Path) -> list[str]:
    """Names of files that are missing, left over or different."""
    found = tree(root)
    return sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))


class DyingWorkers:
    """Each shard first in forked processes, one for each of its `instants`, at which it dies, then in this one.

    `instants`: (pass, shard) -> instants. `seen` gathers the calls of every shard, `kills` and `moot` are by pass: after
    its commit a shard is not done again.
    """

    def __init__(self, instants: dict[tuple[str, str], list[Instant]]):
        self.instants = instants
        self.kills: Counter[str] = Counter()
        self.moot: Counter[str] = Counter()
        self.seen: dict[tuple[str, str], list[int]] = {}

    def map_shards(
        self,
        work: Callable[[Any], Any],
        shards: Iterable[Any],
        *,
        needs: Needs = Needs(),  # noqa: B008
    ) -> Iterator[Outcome]:
        """Yield one Outcome a shard, in order."""
        directory = Path(work.keywords["directory"])  # type: ignore[attr-defined]
        name = directory.name if directory.parent.name == "work" else "final"
        packed = pickle.dumps(work)
        for shard in shards:
            for kill in self.instants.get((name, shard.name), ()):
                committed = (directory / "counts" / f"{shard.name}.json").exists()
                died = not committed and in_child(partial(_attempt, packed, shard, Instants(kill))) is None
                self.kills[name] += died
                self.moot[name] += committed
            answer, self.seen[name, shard.name] = _attempt(packed, shard, Instants())
            yield Outcome(shard=shard, value=answer.value, error=answer.error)


def _attempt(packed: bytes, shard: Any, hook: Instants) -> tuple[Attempt, list[int]]:
    hook.enter(WORKER)
    answer = attempt(pickle.loads(packed), shard)  # noqa: S301 (our own driver wrote it)
    sys.setprofile(None)
    return answer, hook.seen[WORKER]


def choose(rng: random.Random, stretch: str, seen: list[int], number: int) -> list[Instant]:
    """`number` instants of a stretch, half of each kind."""
    kinds = [n % 2 if seen[FILE] else ANY for n in range(number)]
    return [(stretch, kind, rng.randint(1, seen[kind])) for kind in kinds]


def kill_alone(artifact: Artifact, folder: Path, whole: dict[str, str], kills: list[Instant]) -> list[dict[str, Any]]:
    """One build for each instant; what differs then. They begin with copies of one that came to that stretch."""
    failures, snapshot, at = [], folder / "snapshot", ""
    for kill in kills:
        if at != kill[0]:
            at = kill[0]
            shutil.rmtree(snapshot, ignore_errors=True)
            snapshot.mkdir()
            if at != LAST:  # a finished build does not come there again
                run(artifact, snapshot, Instants((at, ANY, 1)))
        root = folder / "alone"
        shutil.copytree(snapshot, root)
        died = run(artifact, root, Instants(kill)) is None
        run(artifact, root)
        differ = differences(whole, root)
        if differ or not died:
            failures.append({"kill": kill, "died": died, "differ": differ[:5]})
        shutil.rmtree(root)
    return failures


def kill_chain(artifact: Artifact, folder: Path, whole: dict[str, str], kills: list[Instant]) -> list[dict[str, Any]]:
    """One build that dies at all the instants, in order."""
    root = folder / "chain"
    died = [run(artifact, root, Instants(kill)) is None for kill in kills]
    run(artifact, root)
    differ = differences(whole, root)
    shutil.rmtree(root)
    survived = [kill for kill, dead in zip(kills, died, strict=True) if not dead]
    return [{"chain": kills, "survived": survived, "differ": differ[:5]}] if differ or survived else []


def kill_workers(
    artifact: Artifact, folder: Path, whole: dict[str, str], rng: random.Random, number: int
) -> tuple[int, list[dict[str, Any]]]:
    """Kills, and what differs."""
    counted = DyingWorkers({})
    build(artifact, root=str(folder / "workers"), executor=counted)
    differ = differences(whole, folder / "workers")
    shutil.rmtree(folder / "workers")
    instants: dict[tuple[str, str], list[Instant]] = {}
    for name in dict.fromkeys(name for name, _ in counted.seen):
        shards = sorted(key for key in counted.seen if key[0] == name)
        for shard in rng.choices(shards, [counted.seen[key][ANY] for key in shards], k=number):
            instants.setdefault(shard, []).append(rng.choice(choose(rng, WORKER, counted.seen[shard], 2)))
    for shard, chosen in instants.items():
        # in order of time, or those after one that comes after the commit would find nothing to do
        chosen.sort(key=lambda kill, seen=counted.seen[shard]: kill[2] / seen[kill[1]])  # type: ignore[misc]
    dying = DyingWorkers(instants)
    build(artifact, root=str(folder / "workers"), executor=dying)
    differ += differences(whole, folder / "workers")
    shutil.rmtree(folder / "workers")
    wanted = Counter(name for (name, _), chosen in instants.items() for _ in chosen)
    survived = wanted - dying.kills - dying.moot
    failed = [{"workers": dict(wanted), "survived": dict(survived), "differ": differ[:5]}] if differ or survived else []
    return dying.kills.total(), failed


def inputs_in(folder: Path) -> dict[str, Artifact]:
    """Finished inputs below `folder`/inputs, and the makers over them."""
    write_documents(folder)
    root = folder / "inputs"
    built = {}
    for name in ("new", "old"):
        made = build(cleaned(folder, name), root=str(root))
        built[name] = Existing(uri=str(root / made["name"] / made["fingerprint"][:12]))
    made = build(index_of(built["old"]), root=str(root))
    return makers(built["new"], built["old"], Existing(uri=str(root / made["name"] / made["fingerprint"][:12])))


def report(
    folder: Path, *, instants: int, alone: int, seed: int, only: Sequence[str], stretch: Sequence[str]
) -> dict[str, Any]:
    """For each maker: its passes and calls by stretch, kills of each way, seconds, and `failures`, of which there are none."""
    for module, name, value in SMALL:
        setattr(module, name, value)
    found = {}
    for name, artifact in inputs_in(folder).items():
        if only and name not in only:
            continue
        started, rng = time.monotonic(), random.Random(f"{seed} {name}")
        # Kernels are loaded by this build, in this process, so that no child spends its time on that.
        build(artifact, root=str(folder / "whole" / name))
        whole = tree(folder / "whole" / name)
        seen = run(artifact, folder / "counted", Instants())
        failures: list[dict[str, Any]] = [{"uninterrupted": name} for name in differences(whole, folder / "counted")]
        shutil.rmtree(folder / "counted")
        # What comes before the first pass has not the same calls when a build is resumed; a finished one is not resumed.
        inner = [s for s in seen if s not in (FIRST, LAST)]
        chains = [[rng.choice(choose(rng, s, seen[s], 2)) for s in inner] for _ in range(instants)]
        for kills in chains:
            failures += kill_chain(artifact, folder, whole, kills)
        num_killed, failed = kill_workers(artifact, folder, whole, rng, instants) if instants else (0, [])
        single = [kill for s in seen if s in (stretch or seen) for kill in choose(rng, s, seen[s], alone)]
        failures += failed + kill_alone(artifact, folder, whole, single)
        found[name] = {
            "passes": [s for s in seen if f"after {s}" in seen],
            "calls": seen,
            "chained": sum(map(len, chains)),
            "workers": num_killed,
            "alone": len(single),
            "failures": failures,
            "seconds": round(time.monotonic() - started, 1),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--instants", type=int, default=20)
    parser.add_argument("--alone", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--stretch", nargs="*", default=[], help="where builds die alone; everywhere if not given")
    found = report(**vars(parser.parse_args()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
