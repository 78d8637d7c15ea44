"""The page of a smoke run: what was decided and how sure, each domain with its interval, loss curves, health. One file.

In: `verdict.json` and the records of the runs, as plain data. Out: HTML that loads nothing and runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mixtures.charts import escape, number
from mixtures.page import PAGE

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 260, 52, 30, 14
MAX_SPIKES = 20
MAX_DOCUMENTS = 6


def smoke_page(record: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]]) -> str:
    """The page. Labels and document names are hostile: everything is escaped."""
    labels = record["mixtures"]
    verdict = record["verdict"]
    title = "Smoke run: " + " against ".join(labels[letter] for letter in sorted(labels))
    any_run = next(iter(runs.values()))
    subtitle = (
        f"{any_run['model']['architecture']} of {number(any_run['model']['num_parameters'])} parameters, "
        f"{len(any_run['losses'])} steps, {number(any_run['trained_tokens'])} tokens a run, {len(runs)} runs"
    )
    sections = [
        _section("Verdict", _verdict(verdict)),
        _section("Loss", _curves(runs)),
        _section("Health", _health(record, runs)),
        _section(
            "What this cannot tell", "".join(f"<p>{escape(text)}</p>" for text in (verdict or {}).get("limits", []))
        ),
    ]
    return PAGE.format(title=escape(title), subtitle=escape(subtitle), body="".join(sections))


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{body}</section>" if body else ""


def _verdict(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return ""
    rows = [verdict["overall"], *verdict["domains"], *verdict["languages"]]
    ends = [abs(row[key]) for row in rows for key in ("low", "high") if row[key] is not None]
    reach = max(ends, default=0.0) or 1.0
    table = "".join(_row(row, reach) for row in rows)
    headings = ("", "BPB of A", "BPB of B", "B - A", "", "outcome for A", "documents")
    head = f"<thead><tr>{''.join(f'<th>{heading}</th>' for heading in headings)}</tr></thead>"
    words = (
        f"Runs: {verdict['seeds']['a']} of A, {verdict['seeds']['b']} of B. Bars right of the line favour A. Intervals at "
        f"{1 - verdict['level']:.0%}, over runs and documents, Holm-corrected over domains and over languages"
        + (f", shared by {verdict['looks']} looks." if verdict["looks"] > 1 else ".")
    )
    return (
        f'<p><strong>{escape(verdict["sentence"])}</strong></p><p class="quiet">{escape(words)}</p>'
        f"<table>{head}<tbody>{table}</tbody></table>"
    )


def _row(row: Mapping[str, Any], reach: float) -> str:
    known = row["low"] is not None and row["high"] is not None
    half = f" ± {(row['high'] - row['low']) / 2:.4f}" if known else ""
    tone = {"better": "a", "worse": "c"}.get(row["outcome"], "b")
    bar = ""
    if known:
        left, right = (50 + 48 * row[key] / reach for key in ("low", "high"))
        middle = 50 + 48 * row["difference"] / reach
        bar = (
            '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" style="min-width:140px" aria-hidden="true">'
            f'<rect class="{tone}" x="{left:.2f}" y="3" width="{max(right - left, 0.4):.2f}" height="4"/>'
            f'<rect class="{tone}" x="{middle - 0.5:.2f}" y="0" width="1" height="10"/>'
            '<line class="grid" x1="50" x2="50" y1="0" y2="10"/></svg>'
        )
    more = f" (about {min(row['more_seeds'], 99)} more seeds)" if row["more_seeds"] else ""
    return (
        f"<tr><td>{escape(row['name'])}</td><td>{row['bits_per_byte_a']:.4f}</td><td>{row['bits_per_byte_b']:.4f}</td>"
        f"<td>{row['difference']:+.4f}{half}</td><td>{bar}</td><td>{escape(row['outcome'] + more)}</td>"
        f"<td>{number(row['documents'])}</td></tr>"
    )


def _curves(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Loss of every run in bits per byte of its own mixture's text, A and B in two colours."""
    curves = {
        name: [loss / math.log(2) / max(run["bytes_per_token"], 1e-9) for loss in run["losses"]]
        for name, run in sorted(runs.items())
    }
    finite = [value for curve in curves.values() for value in curve if math.isfinite(value)]
    if not finite:
        return '<p class="warn">no finite loss to draw</p>'
    low, high = min(finite), max(finite)
    steps = max(len(curve) for curve in curves.values())

    def point(step: int, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - 12) * step / max(steps - 1, 1)
        y = TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / ((high - low) or 1)
        return f"{x:.1f} {y:.1f}"

    paths = "".join(_path(curve, point, "a" if name.startswith("a") else "c") for name, curve in curves.items())
    marks = "".join(
        f'<text x="{LEFT - 8}" y="{TOP + (HEIGHT - TOP - BOTTOM) * part + 4:.0f}" text-anchor="end">'
        f"{number(round(high - (high - low) * part, 3))}</text>"
        for part in (0, 0.5, 1)
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>loss by step</title>{marks}{paths}'
        f'<text x="{WIDTH - 12}" y="{HEIGHT - 10}" text-anchor="end">step {steps}</text></svg>'
        '<div class="legend"><span><i class="a"></i>A</span><span><i class="c"></i>B</span>'
        "<span>training loss in bits per byte of the mixture's own text: curves of two mixtures are not comparable, "
        "held-out text is</span></div>"
    )


def _path(curve: Sequence[float], point: Any, tone: str) -> str:
    parts, pen = [], "M"
    for step, value in enumerate(curve):
        if not math.isfinite(value):
            pen = "M"
            continue
        parts.append(f"{pen}{point(step, value)}")
        pen = "L"
    return f'<path d="{"".join(parts)}" style="fill:none;stroke:var(--{tone});stroke-width:1.5;opacity:.7"/>'


def _health(record: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]]) -> str:
    rows, spikes = [], []
    for name, run in sorted(runs.items()):
        health = run["health"]
        said = "; ".join([*health["problems"], *health["remarks"]]) or "sound"
        after = run["evaluation"]["after"]["all"]
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{after:.4f}</td><td>{health['num_spikes']}</td>"
            f"<td>{health['dead_tokens']['never_seen_share']:.1%}</td><td>{health['documents']['unique_share']:.1%}</td>"
            f"<td>{escape(said)}</td></tr>"
        )
        spikes += [(name, spike) for spike in health["spikes"]]
    head = (
        "<thead><tr><th>run</th><th>held-out BPB</th><th>spikes</th><th>tokens never seen</th><th>unique documents</th>"
        "<th></th></tr></thead>"
    )
    listed = "".join(_spike(name, spike) for name, spike in spikes[:MAX_SPIKES])
    warn = (
        "" if record["healthy"] else '<p class="warn">Not every run is healthy: its verdict is not to be trusted.</p>'
    )
    return f"{warn}<table>{head}<tbody>{''.join(rows)}</tbody></table>{listed}"


def _spike(name: str, spike: Mapping[str, Any]) -> str:
    shown = [
        f"{each.get('source', '')}/{each.get('id', each['document'])}" for each in spike["documents"][:MAX_DOCUMENTS]
    ]
    more = len(spike["documents"]) - len(shown)
    tail = f" and {more} more" if more > 0 else ""
    words = f"{name}, step {spike['step']}: {spike['signal']} {spike['value']:.3g}, z {spike['z']}: {', '.join(shown)}{tail}"
    return f'<p class="quiet">{escape(words)}</p>'
