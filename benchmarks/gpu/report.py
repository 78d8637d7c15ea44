"""The printed table: what failed first, then goals, figures, and one line for each family of checks. Under 12,000 characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.gpu.rows import CHECK, GOAL, Row

MOST_FAILURES, MOST_FIGURES = 25, 75
WIDTH = 80
SHARE = "of the time"
"""The unit of a profile's rows: small ones are in the results file only."""


def table(command: str, outcomes: Sequence[Any], seconds: float) -> str:
    """`outcomes` as `run.Outcome`."""
    rows = [(outcome.part, row) for outcome in outcomes for row in outcome.rows]
    lines = [f"{command}: {seconds:.0f} s"]
    figures = [row for _, row in rows if row.kind not in (CHECK, GOAL)]
    lines += _block("figures", [_figure(row) for row in figures if row.unit != SHARE or row.value > 0.03], MOST_FIGURES)
    lines += _block(
        "checks", [_family(outcome.part, outcome.rows) for outcome in outcomes if _checks(outcome.rows)], 40
    )
    lines += _block("goals", [_held(row) for _, row in rows if row.kind == GOAL], 40)
    wrong = [f"{each.part}: {each.status}: {each.reason}"[:200] for each in outcomes if each.status != "done"]
    lines += _block("not done", wrong, MOST_FAILURES)
    failed = [_held(row) for _, row in rows if row.kind == CHECK and row.holds is False]
    lines += _block("checks that do not hold", failed, MOST_FAILURES)
    return "\n".join(lines)


def _block(title: str, lines: list[str], most: int) -> list[str]:
    if not lines:
        return []
    left_out = [f"  and {len(lines) - most} more, in the results file"] if len(lines) > most else []
    return ["", title, *(f"  {line}" for line in lines[:most]), *left_out]


def _figure(row: Row) -> str:
    extra = "".join(
        f"  {name} {row.more[name]:.3g}" for name in ("TB/s", "floor_ns", "mfu", "peak_GB", "ours") if name in row.more
    )
    return f"{row.what[:WIDTH]:{WIDTH}} {row.value:>10.4g} {row.unit}{extra}"


def _held(row: Row) -> str:
    sign = ">=" if row.more_is_better else "<="
    said = str(row.more.get("error", row.more.get("sentence", "")))[:160]
    verdict = "holds" if row.holds else "MISSED" if row.kind == GOAL else "FAILED"
    bound = "" if row.bound is None else f" {sign} {row.bound:.3g}"
    mfu = f"  mfu {row.more['mfu']:.3f}  peak {row.more['peak_GB']:.1f} GB" if "mfu" in row.more else ""
    return f"{verdict:7}{row.what[:WIDTH]:{WIDTH}} {row.value:>10.4g}{bound} {row.unit}{mfu}{'  ' * bool(said)}{said}"


def _checks(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.kind == CHECK]


def _family(part: str, rows: Iterable[Row]) -> str:
    """How many hold, and the one nearest to its bound."""
    checks = _checks(rows)
    held = sum(row.holds is not False for row in checks)
    line = f"{part:22} {held} of {len(checks)} hold"
    close = [row for row in checks if row.holds and row.bound and not row.more_is_better]
    if not close:
        return line
    nearest = max(close, key=lambda row: row.value / (row.bound or 1.0))
    return f"{line}; nearest {nearest.value:.1e} <= {nearest.bound:.1e}, {nearest.what}"
