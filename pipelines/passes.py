"""How a maker does its work: passes of `map_shards` around files, each resumable, the last one into the artifact itself.

```
<root>/<name>/<fingerprint12>/ kept/ dropped/ signals/ quarantine/ counts/   the final pass
                               work/<pass>/<kind>/ work/<pass>/counts/       passes before it, removed after the manifest
                               work/plan/<pass>.json                        the shards of a pass: what `status` counts against
                               log/<pass>.json                              who did which shard, in order of completion
```
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pipelines import storage
from pipelines.errors import ConservationError, ShardsFailed, UserError
from pipelines.executors import Executor, Needs, Outcome
from pipelines.shards import Committed, Work, read_commit, run_shard

FINAL = "final"
SHOWN_FAILURES = 5


class Progress(Protocol):
    """Told what happens to passes, on the driver. Shown by the command; silent by default."""

    def begin(self, artifact: str, name: str, *, total: int, done: int) -> None:
        """Pass `name` begins; `done` of its `total` shards are finished already."""
        ...

    def advance(self, counts: Mapping[str, Any]) -> None:
        """One shard is finished, with these counts."""
        ...

    def end(self) -> None:
        """The pass ended, well or not."""
        ...


class Silent:
    """A Progress that shows nothing."""

    def begin(self, artifact: str, name: str, *, total: int, done: int) -> None:
        """Do nothing."""

    def advance(self, counts: Mapping[str, Any]) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


@dataclass(kw_only=True)
class Passes:
    """Handed to `Maker.make`: runs passes in the artifact's directory and gathers what the manifest will say."""

    artifact: str
    directory: str
    executor: Executor
    progress: Progress = field(default_factory=Silent)
    resume_command: str = "run the same build again"
    rehash: bool = False
    without_failed_shards: bool = False
    committed: tuple[Committed, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    deterministic: bool = True

    def run(
        self,
        name: str,
        work: Work,
        shards: Iterable[Any],
        *,
        needs: Needs = Needs(),  # noqa: B008
    ) -> tuple[Committed, ...]:
        """An intermediate pass under `work/<name>/`; its commits in order of shard name. A failed shard ends the build."""
        done, failed = self._map(name, storage.join(self.directory, "work", name), work, tuple(shards), needs)
        if failed:
            raise ShardsFailed(self._describe(name, failed, total=len(done) + len(failed), may_skip=False))
        return done

    def final(
        self,
        work: Work,
        shards: Iterable[Any],
        *,
        needs: Needs = Needs(),  # noqa: B008
    ) -> tuple[Committed, ...]:
        """The pass that writes the artifact's own files. Once a maker."""
        done, failed = self._map(FINAL, self.directory, work, tuple(shards), needs)
        if failed and not self.without_failed_shards:
            raise ShardsFailed(self._describe(FINAL, failed, total=len(done) + len(failed), may_skip=True))
        self.missing = {name: str(error) for name, error in failed.items()}
        self.committed = done
        return done

    def put(self, name: str, content: bytes) -> None:
        """A driver-side file of the artifact (a side table, a tokenizer); part of `root_hash`."""
        storage.write_bytes(storage.join(self.directory, *name.split("/")), content)
        self.files[name] = hashlib.sha256(content).hexdigest()

    def get(self, name: str) -> bytes | None:
        """A file that `put` wrote in this or an interrupted run, or None."""
        uri = storage.join(self.directory, *name.split("/"))
        return storage.read_bytes(uri) if storage.exists(uri) else None

    def note(self, key: str, value: Any) -> None:
        """Plain JSON for `notes` in the manifest: what a reader of it should know beyond counts."""
        self.notes[key] = value

    def _map(
        self, name: str, directory: str, work: Work, shards: Sequence[Any], needs: Needs
    ) -> tuple[tuple[Committed, ...], dict[str, BaseException]]:
        names = [shard.name for shard in shards]
        if len(set(names)) != len(names):
            raise ConservationError(f"{self.artifact}: pass {name!r} has two shards of one name")
        plan = {"artifact": self.artifact, "pass": name, "shards": names}
        storage.write_bytes(storage.join(self.directory, "work", "plan", f"{name}.json"), json.dumps(plan).encode())
        done = self._finished(directory, shards)
        self.progress.begin(self.artifact, name, total=len(shards), done=len(done))
        for commit in done.values():
            self.progress.advance(commit.counts)
        failed: dict[str, BaseException] = {}
        log: list[dict[str, Any]] = []
        todo = [shard for shard in shards if shard.name not in done]
        try:
            logged = partial(_run_logged, directory=directory, work=work, rehash=self.rehash)
            for outcome in self.executor.map_shards(logged, todo, needs=needs):
                if isinstance(outcome.error, UserError) and not (name == FINAL and self.without_failed_shards):
                    raise outcome.error
                if outcome.error is not None:
                    failed[outcome.shard.name] = outcome.error
                else:
                    commit = outcome.value[0]
                    done[commit.shard] = commit
                    self.progress.advance(commit.counts)
                log.append(_log_entry(outcome))
        finally:
            self.progress.end()
            if log:
                self._write_log(name, log)
        if lost := sorted(set(names) - done.keys() - failed.keys()):
            raise ConservationError(f"{self.artifact}: pass {name!r} has no outcome for {len(lost)} shards: {lost[:5]}")
        return tuple(done[key] for key in sorted(done)), failed

    def _finished(self, directory: str, shards: Sequence[Any]) -> dict[str, Committed]:
        present = {storage.basename(uri) for uri in storage.list_files(storage.join(directory, "counts"))}
        found = {}
        for shard in shards:
            if f"{shard.name}.json" in present:
                commit = read_commit(directory, shard.name, rehash=self.rehash)
                if commit is not None:
                    found[shard.name] = commit
        return found

    def _write_log(self, name: str, entries: list[dict[str, Any]]) -> None:
        uri = storage.join(self.directory, "log", f"{name}.json")
        earlier = json.loads(storage.read_bytes(uri)) if storage.exists(uri) else []
        storage.write_bytes(uri, json.dumps(earlier + entries, indent=0).encode())

    def _describe(self, name: str, failed: Mapping[str, BaseException], *, total: int, may_skip: bool) -> str:
        lines = [
            f"{self.artifact}: {len(failed)} of {total} shards failed in pass {name!r}; the others are finished and kept."
        ]
        lines += [f"  {shard}: {error}" for shard, error in sorted(failed.items())[:SHOWN_FAILURES]]
        if len(failed) > SHOWN_FAILURES:
            lines.append(f"  ... and {len(failed) - SHOWN_FAILURES} more")
        lines.append(f"To resume: {self.resume_command}")
        if may_skip:
            lines.append("To go on without them: add --without-failed-shards (the manifest will name what is missing)")
        return "\n".join(lines)


def _run_logged(shard: Any, *, directory: str, work: Work, rehash: bool) -> tuple[Committed, dict[str, Any]]:
    started = time.time()
    commit = run_shard(shard, directory=directory, work=work, rehash=rehash)
    entry = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": round(started, 3),
        "seconds": round(time.time() - started, 3),
        "peak_bytes": peak_memory_bytes(),
    }
    return commit, entry


def _log_entry(outcome: Outcome) -> dict[str, Any]:
    entry = {"shard": outcome.shard.name, "attempts": outcome.attempts}
    if outcome.error is not None:
        return entry | {"error": str(outcome.error)[:2000]}
    return entry | dict(outcome.value[1])


def peak_memory_bytes() -> int | None:
    """The most resident memory this process ever held (`VmHWM`), or None where the kernel does not tell."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None
