"""Read the picking diary: one basket a line, `date tree kilograms`."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class DiaryError(ValueError):
    """A line of the diary that cannot be understood."""


@dataclass(frozen=True)
class Basket:
    day: datetime.date
    tree: str
    kilograms: float


def parse_line(line: str, number: int) -> Basket:
    """Return the basket written on one line, or raise DiaryError naming the line."""
    fields = line.split()
    if len(fields) != 3:
        raise DiaryError(f"line {number}: expected date, tree and kilograms, found {len(fields)} fields")
    day, tree, weight = fields
    try:
        return Basket(datetime.date.fromisoformat(day), tree, float(weight))
    except ValueError as error:
        raise DiaryError(f"line {number}: {error}") from error


def read_diary(path: Path) -> Iterator[Basket]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.partition("#")[0].strip()
            if text:
                yield parse_line(text, number)
