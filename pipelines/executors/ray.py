"""`OnRay`: shards as Ray tasks on a cluster. The only module that imports Ray.

Tasks ask for what `Needs` says, a bounded number is in flight, lost workers and exceptions are both tried again, and the
work travels once, by `ray.put`. Inside `ray job submit` the cluster is already there; elsewhere `address` names one
("auto", "ray://...") or None starts a local one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.errors import ConfigError
from pipelines.executors import MAX_ATTEMPTS, Attempt, Needs, Outcome, WorkFailed, attempt, worker_environment


@dataclass(frozen=True, kw_only=True)
class OnRay:
    """`workers` caps the tasks in flight (default: twice the cluster's cores).

    `ship` names Python files whose classes travel by value, since they may lie on the driver's machine only.
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
        for path in self.ship:
            module = sys.modules.get(Path(path).stem)
            if module is not None:
                ray.cloudpickle.register_pickle_by_value(module)
        shipped = ray.put(work)
        waiting = iter(shards)
        again: list[tuple[Any, int]] = []
        flying: dict[Any, tuple[Any, int]] = {}
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
        options |= {"address": target}
    try:
        ray.init(configure_logging=False, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"cannot join the Ray cluster at {target or 'this machine'}: {str(error)[:400]}; check RAY_ADDRESS, and that "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN are the head's"
        ) from error


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
    except ray.exceptions.RayError as error:
        return Attempt(error=WorkFailed(f"the Ray worker was lost: {str(error).splitlines()[0][:300]}"))
    return result
