"""Charts of the report as inline SVG: strings of markup, coloured by the classes of the page, no script.

Every label passes through `escape`: text of documents and hosts is hostile. Widths are shares of 100 so that bars
stretch with the page; only the line chart and the histogram have a fixed drawing of 720 by 240.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

DRAWN = 1e9
"""Values beyond this are not drawn: they would flatten the rest, and floats break down near their ends."""
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 240, 52, 30, 14
_CONTROLS = {c: 0x2400 + c for c in range(32) if c not in (9, 10)} | {0x7F: 0x2421}
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


def escape(text: object) -> str:
    """`text` for HTML, quotes included; control characters become visible, direction overrides are replaced.

    >>> escape('<b onclick="x">\\x00')
    '&lt;b onclick=&quot;x&quot;&gt;␀'
    """
    shown = str(text).encode("utf-8", "replace").decode().translate(_CONTROLS | _BIDI)
    return html.escape(shown, quote=True)


def number(value: float) -> str:
    """`1234567 -> "1,234,567"`; fractions with up to three significant digits."""
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def bars(rows: Sequence[tuple[str, float, str]], *, tone: str = "a") -> str:
    """One line a row: label, bar in proportion to the largest value, note."""
    largest = max((value for _, value, _ in rows), default=0) or 1
    lines = [
        f'<div class="row"><span class="label">{_label(label)}</span>{_bar([(value / largest, tone)])}'
        f'<span class="note">{escape(note)}</span></div>'
        for label, value, note in rows
    ]
    return f'<div class="bars">{"".join(lines)}</div>'


def funnel(rows: Sequence[tuple[str, Sequence[tuple[float, str]], str]]) -> str:
    """One line a row: label, parts as (value, tone) side by side on one common scale, note."""
    largest = max((sum(value for value, _ in parts) for _, parts, _ in rows), default=0) or 1
    lines = [
        f'<div class="row"><span class="label">{escape(label)}</span>'
        f"{_bar([(value / largest, tone) for value, tone in parts])}"
        f'<span class="note">{escape(note)}</span></div>'
        for label, parts, note in rows
    ]
    return f'<div class="bars wide">{"".join(lines)}</div>'


def shares(parts: Sequence[tuple[str, float]]) -> str:
    """One bar of the whole width, divided in proportion, with a legend."""
    total = sum(value for _, value in parts) or 1
    tones = [f"s{position % 6}" for position in range(len(parts))]
    legend = "".join(
        f'<span><i class="{tone}"></i>{escape(label)} {100 * value / total:.1f}%</span>'
        for (label, value), tone in zip(parts, tones, strict=True)
    )
    bar = _bar([(value / total, tone) for (_, value), tone in zip(parts, tones, strict=True)])
    return f'<div class="shares">{bar}<div class="legend">{legend}</div></div>'


def _label(text: str) -> str:
    """Escaped, and free to break after a slash or underscore."""
    return escape(text).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _bar(parts: Sequence[tuple[float, str]]) -> str:
    at, drawn = 0.0, []
    for share, tone in parts:
        width = max(0.0, min(100.0 * share, 100.0 - at))
        drawn.append(f'<rect class="{tone}" x="{at:.2f}" y="0" width="{width:.2f}" height="10"/>')
        at += width
    inside = "".join(drawn)
    return f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{inside}</svg>'


def line(values: Sequence[float], *, x_label: str, y_label: str) -> str:
    """A curve over steps 1 to n and its moving mean of five. A value that is not finite, or absurd, leaves a gap."""
    values = [value if abs(value) <= DRAWN else math.nan for value in values]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return '<p class="quiet">nothing to draw</p>'
    ticks = _ticks(min(finite), max(finite))
    low, high = ticks[0], ticks[-1]

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - 12) * step / max(len(values) - 1, 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / ((high - low) or 1)

    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 12}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y(t) + 4:.1f}" text-anchor="end">{number(round(t, 6))}</text>'
        for t in ticks
    )
    steps = sorted({0, len(values) // 4, len(values) // 2, 3 * len(values) // 4, len(values) - 1})
    axis = "".join(f'<text x="{x(s):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{s + 1}</text>' for s in steps)
    windows = [[v for v in values[max(0, i - 2) : i + 3] if math.isfinite(v)] for i in range(len(values))]
    mean = [sum(window) / len(window) if window else math.nan for window in windows]
    title = f"{y_label} from {number(finite[0])} to {number(finite[-1])} over {len(values)} {x_label}s"
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>{grid}{axis}'
        f'<path class="thin" d="{_path(values, x, y)}"/><path class="curve" d="{_path(mean, x, y)}"/>'
        f'<text x="{LEFT - 8}" y="{HEIGHT - 10}" text-anchor="end">{escape(x_label)}</text>'
        f'<text x="{LEFT + 6}" y="{TOP + 10}">{escape(y_label)}</text></svg>'
    )


def histogram(edges: Sequence[float], counts: Sequence[int], *, x_label: str) -> str:
    """Columns of `counts[i]` between `edges[i]` and `edges[i + 1]`, drawn equally wide."""
    largest = max(counts, default=0) or 1
    step = (WIDTH - LEFT - 12) / max(len(counts), 1)
    tall = HEIGHT - TOP - BOTTOM - 12
    columns, labels = [], []
    for position, count in enumerate(counts):
        height = tall * count / largest
        left = LEFT + position * step
        columns.append(
            f'<rect class="a" x="{left + 1:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" width="{max(step - 2, 1):.1f}" '
            f'height="{height:.1f}" rx="2"><title>{number(edges[position])} to {number(edges[position + 1])}: '
            f"{number(count)}</title></rect>"
        )
        if len(counts) <= 12 or position % math.ceil(len(counts) / 12) == 0:
            labels.append(
                f'<text x="{left:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{number(edges[position])}</text>'
            )
    base = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 12}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
    name = f'<text x="{WIDTH - 12}" y="{TOP + 6}" text-anchor="end">{escape(x_label)}</text>'
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(x_label)}</title>'
        f"{base}{''.join(columns)}{''.join(labels)}{name}</svg>"
    )


def _path(values: Sequence[float], x: object, y: object) -> str:
    parts, pen = [], "M"
    for step, value in enumerate(values):
        if not math.isfinite(value):
            pen = "M"
            continue
        parts.append(f"{pen}{x(step):.1f} {y(value):.1f}")  # type: ignore[operator]
        pen = "L"
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Four to seven round values that enclose [low, high]."""
    spread = max(high - low, abs(high) / 1000, 1e-6)
    power = 10 ** math.floor(math.log10(spread / 4))
    size = next(m * power for m in (1, 2, 5, 10) if spread / (m * power) <= 5)
    first = math.floor(low / size)
    last = max(math.ceil(high / size), first + 1)
    return [k * size for k in range(first, last + 1)]
