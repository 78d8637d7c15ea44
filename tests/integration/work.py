"""Work that misbehaves on purpose, at module level so that any process can run it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Item:
    name: str
    folder: str
    behaviour: str = "fine"


def attempts_so_far(item: Item) -> int:
    """Count this attempt in a file, since attempts may run in different processes."""
    path = Path(item.folder) / f"{item.name}.attempts"
    with path.open("a") as file:
        file.write("x")
    return len(path.read_text())


def misbehave(item: Item) -> str:
    number = attempts_so_far(item)
    if item.behaviour == "dies" or (item.behaviour == "dies once" and number == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if item.behaviour == "raises" or (item.behaviour == "raises twice" and number <= 2):
        raise OSError("the disk said no")
    if item.behaviour == "user error":
        raise InputError("a column is missing")
    return f"done {item.name}"
