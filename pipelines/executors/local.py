"""`Local`: shards in this process, or in a pool of spawned ones.

A worker that is killed (by the kernel's memory guard, say) breaks a process pool. The shards it may have held run
again one at a time in a new pool, so that the one that kills its worker is found and only that one is given up.
Workers end themselves when their driver dies.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from pipelines.executors import MAX_ATTEMPTS, Attempt, Needs, Outcome, WorkFailed, attempt, worker_environment

IN_FLIGHT_PER_WORKER = 2


class KeptPool:
    """One pool that stays up between passes: starting a worker and importing what it needs takes a second or two."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def get(self, workers: int) -> ProcessPoolExecutor:
        """The pool, started where there is none."""
        if self._pool is None:
            self._pool = start_pool(workers)
        return self._pool

    def forget(self) -> None:
        """Start another one next time."""
        self._pool = None

    def __del__(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, kw_only=True)
class Local:
    """One shard after another in this process (`workers=1`), or `workers` processes started by spawn."""

    workers: int = 1
    pool: KeptPool = field(default_factory=KeptPool, repr=False, compare=False)

    def map_shards(
        self,
        work: Callable[[Any], Any],
        shards: Iterable[Any],
        *,
        needs: Needs = Needs(),  # noqa: B008
    ) -> Iterator[Outcome]:
        """See `pipelines.executors`; `needs` is not enforced on one machine."""
        if self.workers <= 1:
            for shard in shards:
                yield _in_process(work, shard)
        else:
            yield from _in_pool(work, deque((shard, 1) for shard in shards), self.workers, self.pool)


def _in_process(work: Callable[[Any], Any], shard: Any) -> Outcome:
    for number in range(1, MAX_ATTEMPTS + 1):
        result = attempt(work, shard)
        if result.error is None or result.final or number == MAX_ATTEMPTS:
            return Outcome(shard=shard, value=result.value, error=result.error, attempts=number)
    raise AssertionError("unreachable")


def _in_pool(
    work: Callable[[Any], Any], waiting: deque[tuple[Any, int]], workers: int, kept: KeptPool
) -> Iterator[Outcome]:
    suspects: deque[tuple[Any, int]] = deque()
    while waiting or suspects:
        alone = bool(suspects)
        queue = suspects if alone else waiting
        flying: dict[Future[Attempt], tuple[Any, int]] = {}
        pool = start_pool(1) if alone else kept.get(workers)
        broken = True
        try:
            while queue or flying:
                while queue and len(flying) < (1 if alone else workers * IN_FLIGHT_PER_WORKER):
                    # A pool that broke meanwhile refuses: the shard must still be queued then.
                    future = pool.submit(attempt, work, queue[0][0])
                    flying[future] = queue.popleft()
                done, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in done:
                    shard, number = flying.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        flying[future] = (shard, number)
                        raise
                    except Exception as error:
                        result = Attempt(error=WorkFailed(f"cannot be sent to a worker: {error}"), final=True)
                    if result.error is None or result.final or number >= MAX_ATTEMPTS:
                        yield Outcome(shard=shard, value=result.value, error=result.error, attempts=number)
                    else:
                        queue.append((shard, number + 1))
            broken = False
        except BrokenProcessPool:
            for shard, number in flying.values():
                if number >= MAX_ATTEMPTS:
                    died = WorkFailed(
                        f"the worker process died on every one of {number} attempts (killed, or out of memory)"
                    )
                    yield Outcome(shard=shard, error=died, attempts=number)
                else:
                    # Only a shard that ran alone is known to have killed its worker.
                    suspects.append((shard, number + 1 if alone else number))
        finally:
            # Left early, by an error or by a caller that had enough: the pool still holds work nobody waits for.
            if alone or broken:
                workers_left = list((getattr(pool, "_processes", None) or {}).values())
                pool.shutdown(wait=False, cancel_futures=True)
                for process in workers_left:
                    process.terminate()
                if not alone:
                    kept.forget()


def start_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of spawned workers that end with this process."""
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(worker_environment(),),
    )


def _start_worker(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
