"""`OnRay`: shards as Ray tasks on a cluster. The only module that imports Ray.

Tasks ask for what `Needs` says, a bounded number is in flight, lost workers and exceptions are both tried again, and the
work travels once, by `ray.put`. Inside `ray job submit` the cluster is already there; elsewhere `address` names one
("auto", "ray://...") or None starts a local one.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.errors import ConfigError
from pipelines.executors import MAX_ATTEMPTS, Attempt, Needs, Outcome, WorkFailed, attempt, worker_environment
from pipelines.fingerprint import OUR_PACKAGES

CONNECT_SECONDS = 5.0
CLIENT_PORT = 10001
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, kw_only=True)
class OnRay:
    """`workers` caps the tasks in flight (default: twice the cluster's cores).

    `ship` names Python files whose classes travel by value, with those of the modules they imported from beside them,
    since they may lie on the driver's machine only.
    """

    workers: int | None = None
    address: str | None = None
    ship: tuple[str, ...] = ()

    def map_shards(
        self,
        work: Callable[[Any], Any],
        shards: Iterable[Any],
        *,
        needs: Needs = Needs(),  # noqa: B008
    ) -> Iterator[Outcome]:
        """See `pipelines.executors`. A worker lost to the cluster counts as an attempt."""
        connect(self.address, workers=self.workers)
        in_flight = self.workers or max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "max_retries": 0}
        if needs.memory_bytes is not None:
            options["memory"] = needs.memory_bytes
        _check_feasible(needs)
        call = _attempt_on_worker.options(**options)
        for module in modules_beside(self.ship):
            ray.cloudpickle.register_pickle_by_value(module)
        shipped = ray.put(work)
        waiting = iter(shards)
        again: list[tuple[Any, int]] = []
        flying: dict[Any, tuple[Any, int]] = {}
        try:
            while True:
                while len(flying) < in_flight:
                    following = again.pop() if again else next(((shard, 1) for shard in waiting), None)
                    if following is None:
                        break
                    flying[call.remote(shipped, following[0])] = following
                if not flying:
                    return
                done, _ = ray.wait(list(flying), num_returns=1)
                for reference in done:
                    shard, number = flying.pop(reference)
                    result = _result(reference)
                    if result.error is None or result.final or number >= MAX_ATTEMPTS:
                        yield Outcome(shard=shard, value=result.value, error=result.error, attempts=number)
                    else:
                        again.append((shard, number + 1))
        finally:
            # Left early, by an error or by a caller that had enough: nobody waits for what is still running.
            for reference in flying:
                with contextlib.suppress(Exception):
                    ray.cancel(reference, force=True)

    def on_every_machine(self, question: Callable[[Any], Any], about: Any) -> list[tuple[str, Any]]:
        """`question(about)`, asked once on every machine that can run tasks: (machine, answer) each."""
        connect(self.address, workers=self.workers)
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
        asked = []
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            asked.append(_ask.options(num_cpus=0, scheduling_strategy=there).remote(question, about))
        return [(str(node["NodeManagerAddress"]), ray.get(answer)) for node, answer in zip(nodes, asked, strict=True)]


def connect(address: str | None, *, workers: int | None = None) -> None:
    """Join the cluster once a process. Raises ConfigError, with the cure, where there is none or it refuses."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    target = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"runtime_env": {"env_vars": worker_environment()}, "log_to_driver": False}
    if target is None:
        options |= {"num_cpus": workers or os.cpu_count(), "include_dashboard": False}
    else:
        _check_reachable(target)
        options |= {"address": target}
    try:
        ray.init(configure_logging=False, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"cannot join the Ray cluster at {target or 'this machine'}: {str(error)[:400]}; check RAY_ADDRESS, and that "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN are the head's"
        ) from error


def _check_reachable(target: str) -> None:
    """Ray itself tries a machine that does not answer for minutes, or for ever."""
    cure = (
        "check --address and RAY_ADDRESS (host:port of the head, usually port 6379, or ray://host:10001), that the head runs, "
        "and that no firewall is between"
    )
    if target.startswith(("http://", "https://")):
        raise ConfigError(f"{target} is a dashboard, where jobs are submitted (`ray job submit`), and no head; {cure}")
    bare = target.removeprefix("ray://").partition("/")[0].partition("?")[0]
    host, colon, port = bare.rpartition(":")
    if not colon and target.startswith("ray://"):
        host, port = bare, str(CLIENT_PORT)
    if not host or not port.isascii() or not port.isdigit():
        return  # "auto", "local" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(f"no Ray cluster answers at {target} ({error}); {cure}") from error


def modules_beside(paths: Iterable[str]) -> list[ModuleType]:
    """The loaded modules that lie in the folders of `paths` or below: those files, and what they imported from there.

    Not the standard library, not what is installed and not our packages, which every machine has.
    """
    folders = {os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(path))), "") for path in paths}
    everywhere = {*OUR_PACKAGES, *sys.stdlib_module_names, "__main__", "__mp_main__"}
    found = []
    for name, module in sorted(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if not isinstance(module, ModuleType) or not isinstance(place, str) or module.__name__ != name:
            continue
        if name.partition(".")[0] in everywhere:
            continue
        place = os.path.realpath(place)
        if place.startswith(tuple(folders)) and not {"site-packages", "dist-packages"} & set(Path(place).parts):
            found.append(module)
    return found


def _check_feasible(needs: Needs) -> None:
    """Ray waits for ever for a machine that does not exist; say so instead."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": float(needs.memory_bytes or 0)}
    if not any(all(node.get(name, 0.0) >= amount for name, amount in asked.items()) for node in nodes):
        largest = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in asked}
        raise ConfigError(
            f"no machine of the Ray cluster has what a task needs: {asked}; the most one machine has is {largest}; "
            "add a larger machine, or make the shards smaller"
        )


@ray.remote
def _ask(question: Callable[[Any], Any], about: Any) -> Any:
    return question(about)


@ray.remote
def _attempt_on_worker(work: Callable[[Any], Any], shard: Any) -> Attempt:
    return attempt(work, shard)


def _result(reference: Any) -> Attempt:
    try:
        result: Attempt = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return Attempt(error=WorkFailed(f"the task failed: {_lines(error)[-1][:1000]}"))
    except ray.exceptions.RayError as error:
        return Attempt(error=WorkFailed(f"the Ray worker was lost: {_lines(error)[0][:300]}"))
    return result


def _lines(error: BaseException) -> list[str]:
    """The lines of an error's text, without colours; at least one."""
    lines = [line.strip() for line in ANSI.sub("", str(error)).splitlines() if line.strip()]
    return lines or [type(error).__name__]
