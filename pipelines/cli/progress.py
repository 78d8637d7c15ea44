"""Progress on stderr: a live line where a person looks, one plain line a few seconds apart where a log does."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_SECONDS = 5.0


def progress_for_terminal() -> LiveProgress | PlainProgress:
    """The one that suits stderr."""
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()


class PlainProgress:
    """One line when a pass begins, then at most one every few seconds, then one when it ends."""

    def __init__(self) -> None:
        self._label = ""
        self._total = self._done = self._documents = 0
        self._began = self._said = 0.0

    def begin(self, artifact: str, name: str, *, total: int, done: int) -> None:
        """Announce a pass; `done` of its `total` shards are finished already."""
        self._label = f"{artifact} / {name}"
        self._total, self._done, self._documents = total, 0, 0
        self._began = self._said = time.monotonic()
        resumed = f", {done} of them already" if done else ""
        print(f"{self._label}: {total} shards{resumed}", file=sys.stderr)

    def advance(self, counts: Mapping[str, Any]) -> None:
        """Count one finished shard."""
        self._done += 1
        self._documents += int(counts.get("documents", 0))
        if time.monotonic() - self._said >= PLAIN_SECONDS:
            self._said = time.monotonic()
            print(f"{self._label}: {self._done}/{self._total} shards, {self._documents:,} documents", file=sys.stderr)

    def end(self) -> None:
        """Say how the pass ended."""
        seconds = time.monotonic() - self._began
        documents = f", {self._documents:,} documents" if self._documents else ""
        print(f"{self._label}: {self._done}/{self._total} shards done in {seconds:.1f} s{documents}", file=sys.stderr)


class LiveProgress:
    """A bar a pass, with documents so far and the time left."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[documents]:,} documents"),
            TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True),
        )  # fmt: skip
        self._task: TaskID | None = None
        self._documents = 0

    def begin(self, artifact: str, name: str, *, total: int, done: int) -> None:
        """Open the bar of a pass."""
        self._documents = 0
        self._progress.start()
        self._task = self._progress.add_task(f"{artifact} / {name}", total=total, documents=0)

    def advance(self, counts: Mapping[str, Any]) -> None:
        """Count one finished shard."""
        self._documents += int(counts.get("documents", 0))
        if self._task is not None:
            self._progress.update(self._task, advance=1, documents=self._documents)

    def end(self) -> None:
        """Close the bar and leave it on the screen."""
        self._progress.stop()
