"""The one shape of a result: a figure, what it is held against, and whether it holds. Plain data, JSON both ways.

A *check* that does not hold fails the run. A *goal* that is missed is shown and fails nothing. A *figure* is held against nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

CHECK, GOAL, FIGURE = "check", "goal", "figure"


@dataclass(frozen=True, kw_only=True)
class Row:
    """`value` in `unit` is to be at most `bound`, or at least where `more_is_better`. NaN holds against no bound."""

    what: str
    value: float
    unit: str
    kind: str = FIGURE
    bound: float | None = None
    more_is_better: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        """None where there is nothing to hold it against."""
        if self.bound is None:
            return None
        return self.value >= self.bound if self.more_is_better else self.value <= self.bound

    def as_json(self) -> dict[str, Any]:
        """JSON knows no NaN and no infinity: they become null, beside `holds`: false."""
        return {key: _plain(value) for key, value in asdict(self).items()} | {"holds": self.holds}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        """Back from `as_json`; null is NaN."""
        known = {key: value for key, value in data.items() if key != "holds"}
        return cls(**known | {"value": math.nan if data["value"] is None else data["value"]})


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
