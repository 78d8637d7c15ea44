"""Add up baskets by tree, by row or by week."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from orchard.diary import Basket


def by_tree(basket: Basket) -> str:
    return basket.tree


def by_row(basket: Basket) -> str:
    return basket.tree.split("/")[0]


def by_week(basket: Basket) -> str:
    year, week, _ = basket.day.isocalendar()
    return f"{year}-W{week:02d}"


def totals(baskets: Iterable[Basket], key: Callable[[Basket], str]) -> dict[str, float]:
    """Kilograms per key, largest first; equal weights are ordered by key."""
    sums: dict[str, float] = defaultdict(float)
    for basket in baskets:
        sums[key(basket)] += basket.kilograms
    return dict(sorted(sums.items(), key=lambda pair: (-pair[1], pair[0])))


def share_of_best(sums: dict[str, float], count: int) -> float:
    """How much of the whole harvest the `count` best entries gave, between 0 and 1."""
    whole = sum(sums.values())
    if whole == 0:
        return 0.0
    return sum(list(sums.values())[:count]) / whole
