"""Executors run one idempotent function over shards; nothing else about the world changes with them.

`map_shards(work, shards, needs=...)` yields one `Outcome` a shard, in any order. Three attempts a shard; a deliberate
error (bad input, a NaN signal) is not tried again. A failing shard never ends the run: the caller decides.
"""

from __future__ import annotations

import hashlib
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from pipelines.errors import EyasError, StorageError
from pipelines.fingerprint import OUR_PACKAGES

MAX_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one shard's work asks of a machine. `memory_bytes` None leaves it to the executor."""

    cpus: float = 1.0
    memory_bytes: int | None = None
    gpus: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one shard: `value`, or `error` after `attempts`."""

    shard: Any
    value: Any = None
    error: BaseException | None = None
    attempts: int = 1


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of the work as it travels between processes: a value, or an error and whether to try again."""

    value: Any = None
    error: BaseException | None = None
    final: bool = False


class WorkFailed(Exception):
    """An unexpected error inside a worker, as text: its own class may not exist where the driver runs."""


class Executor(Protocol):
    """`Local` in this process or a pool of them, `OnRay` on a cluster."""

    def map_shards(self, work: Callable[[Any], Any], shards: Iterable[Any], *, needs: Needs = ...) -> Iterator[Outcome]:
        """Yield one Outcome a shard, in any order."""
        ...


def attempt(work: Callable[[Any], Any], shard: Any) -> Attempt:
    """Run `work` once; turn any error into data. Interrupts pass through."""
    try:
        return Attempt(value=work(shard))
    except EyasError as error:
        # A store that did not answer may do so next time; every other deliberate error says the same again.
        return Attempt(error=error, final=not isinstance(error, StorageError))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} (at {Path(where.filename).name}:{where.lineno})"
        return Attempt(error=WorkFailed(text[:2000]))


@cache
def code_hash() -> str:
    """12 hex digits of the source of every module of this program.

    Numba looks at the file of a cached function only, so machine code that inlined an old version of another file
    would be run. A cache for each version of the code cannot be stale.
    """
    here = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for package in OUR_PACKAGES:
        for path in sorted((here / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def worker_environment() -> dict[str, str]:
    """Environment of this program's processes: one compile cache, and one thread each, as one shard takes one core.

    `EYAS_CACHE_DIR` names the folder of the cache (default `~/.cache/eyas`), `NUMBA_CACHE_DIR` overrides it.
    """
    folder = Path(os.environ.get("EYAS_CACHE_DIR") or Path.home() / ".cache" / "eyas")
    return {
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR") or str(folder.resolve() / "numba" / code_hash()),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAYON_NUM_THREADS": "1",
    }
