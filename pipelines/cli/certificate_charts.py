"""What the page of `inspect` draws of a certificate: markup of charts and cards, no script, everything escaped.

Bars are those of the report (`mixtures.charts`); the S-curve and the cards of pairs are its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mixtures.charts import bars, funnel
from pipelines.cli.page import text_of
from pipelines.cli.tables import percent, printable

WIDTH: Final = 760
HEIGHT: Final = 330
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 16, 42
MAX_BARS: Final = 12
CURVE_POINTS: Final = 200

STYLE: Final = """
:root{--paper:#fff;--ink:#1b1f24;--quiet:#59636e;--line:#d9dee4;--track:#eef1f4;--card:#f8f9fb;--a:#1f7a74;--b:#c0762b;--bad:#b3261e;--badback:#fdecea}
@media(prefers-color-scheme:dark){:root{--paper:#15181c;--ink:#e6e9ec;--quiet:#9aa4af;--line:#3a424c;--track:#272d34;--card:#1b2026;--a:#5cbdb3;--b:#e0a35c;
--bad:#ff8a80;--badback:#3b1f1d}}
.certificate{border:1px solid var(--line);border-radius:12px;background:var(--card);padding:1.2rem 1.6rem 1.6rem;margin:1.6rem 0}
.certificate h2{margin:0 0 .6rem;font-size:1.2rem}.certificate h3{font-size:.95rem;margin:1.8rem 0 .5rem}
.certificate p{max-width:62rem;margin:.35rem 0}.quiet{color:var(--quiet);font-size:.88rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(12.5rem,1fr));gap:.9rem;margin:1rem 0}
.tile{border:1px solid var(--line);border-radius:10px;padding:.7rem .9rem;background:var(--paper)}
.tile b{display:block;font-weight:600;font-size:.82rem;color:var(--quiet)}
.tile strong{display:block;font-size:1.7rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tile span{display:block;font-size:.82rem;color:var(--quiet)}.tile.bad strong{color:var(--bad)}
.halves{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));gap:0 2.4rem}
.bars{display:grid;gap:.3rem}
.row{display:grid;grid-template-columns:minmax(5rem,9rem) 1fr minmax(9rem,11rem);gap:.8rem;align-items:center}
.label,.note{font-size:.86rem;overflow-wrap:anywhere}.note{color:var(--quiet);font-variant-numeric:tabular-nums}
.bar{display:block;width:100%;height:.8rem;background:var(--track);border-radius:4px}
.bar .a{fill:var(--a)}.bar .b{fill:var(--b)}.bar .rest{fill:none}
.chart{display:block;width:100%;max-width:50rem;height:auto}.chart text{font-size:12px;fill:var(--quiet)}
.chart .grid{stroke:var(--line)}.chart .theory{fill:none;stroke:var(--quiet);stroke-width:1.6;stroke-dasharray:5 4}
.chart .bound{stroke:var(--b);stroke-width:1.5}.chart .boundname{fill:var(--b)}.chart .whisker{stroke:var(--a);stroke-width:1.6}
.chart .point{fill:var(--a)}.chart .resolved{fill:var(--paper);stroke:var(--b);stroke-width:1.8}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;font-size:.85rem;color:var(--quiet);margin:.3rem 0 .5rem}
.legend svg{width:1.7rem;height:.8rem;vertical-align:middle;margin-right:.35rem;overflow:visible}
.legend .theory{stroke:var(--quiet);stroke-width:1.6;stroke-dasharray:5 4}.legend .point{fill:var(--a)}
.legend .whisker{stroke:var(--a);stroke-width:1.6}.legend .resolved{fill:var(--paper);stroke:var(--b);stroke-width:1.8}
details{border-top:1px solid var(--line);padding:.45rem 0}details:last-of-type{border-bottom:1px solid var(--line)}
summary{cursor:pointer;font-variant-numeric:tabular-nums}
summary code,.side code{font-size:.82rem;color:var(--quiet);overflow-wrap:anywhere}
.pair{margin:.6rem 0 1rem}.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:.7rem}
.side{border:1px solid var(--line);border-radius:8px;
background:var(--paper);padding:.5rem .7rem;font-size:.86rem;overflow-wrap:anywhere}
.side p{margin:.2rem 0 0}.side b{font-size:.8rem;margin-right:.5rem}
"""


def tile(name: str, figure: str, note: str, *, bad: bool = False) -> str:
    """One figure with its name above and what it rests on below."""
    kind = "tile bad" if bad else "tile"
    return f"<div class='{kind}'><b>{text_of(name)}</b><strong>{text_of(figure)}</strong><span>{text_of(note)}</span></div>"


def s_curve(points: Sequence[Mapping[str, Any]], *, min_jaccard: float, num_bands: int, rows_per_band: int) -> str:
    """Share of pairs found by bands against similarity, with 95% intervals, beside `1 - (1 - s**r)**b`.

    `points` are the bins of the certificate; one in which no pair was seen is not drawn.
    """
    low = min((float(point["from_jaccard"]) for point in points), default=0.5)

    def x(jaccard: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (jaccard - low) / ((1.0 - low) or 1.0)

    def y(share: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - min(max(share, 0.0), 1.0))

    drawn = [_grid(low, x, y)]
    curve = [low + (1.0 - low) * i / CURVE_POINTS for i in range(CURVE_POINTS + 1)]
    path = "L".join(f"{x(s):.1f} {y(1.0 - (1.0 - s**rows_per_band) ** num_bands):.1f}" for s in curve)
    drawn.append(f"<path class='theory' d='M{path}'/>")
    if low <= min_jaccard <= 1.0:
        at, name = x(min_jaccard), f"min_jaccard {min_jaccard:g}"
        drawn.append(f"<line class='bound' x1='{at:.1f}' x2='{at:.1f}' y1='{TOP}' y2='{HEIGHT - BOTTOM}'/>")
        drawn.append(
            f"<text class='boundname' x='{at - 6:.1f}' y='{HEIGHT - BOTTOM - 8}' text-anchor='end'>{name}</text>"
        )
    for point in points:
        drawn.append(_point(point, x, y))
    title = "share of pairs that share a band, by similarity, measured and in theory"
    return (
        f"<svg class='chart' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'><title>{title}</title>{''.join(drawn)}</svg>"
        f"<div class='legend'>{_LEGEND}</div>"
    )


_LEGEND: Final = (
    "<span><svg><line class='whisker' x1='13' x2='13' y1='0' y2='13'/><circle class='point' cx='13' cy='6.5' r='4'/></svg>"
    "found by the bands, with 95% interval</span>"
    "<span><svg><circle class='resolved' cx='13' cy='6.5' r='4'/></svg>resolved: not both are kept</span>"
    "<span><svg><line class='theory' x1='0' x2='26' y1='6.5' y2='6.5'/></svg>theory: 1 \u2212 (1 \u2212 s\u02b3)\u1d47</span>"
)


def _grid(low: float, x: Any, y: Any) -> str:
    shares = "".join(
        f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y(i / 4):.1f}' y2='{y(i / 4):.1f}'/>"
        f"<text x='{LEFT - 8}' y='{y(i / 4) + 4:.1f}' text-anchor='end'>{25 * i}%</text>"
        for i in range(5)
    )
    steps = [i / 10 for i in range(math.ceil(low * 10 - 1e-9), 11)]
    names = "".join(
        f"<text x='{x(s):.1f}' y='{HEIGHT - BOTTOM + 18}' text-anchor='middle'>{s:.1f}</text>" for s in steps
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    return f"{shares}{names}<text x='{middle:.0f}' y='{HEIGHT - 6}' text-anchor='middle'>Jaccard similarity of a pair</text>"


def _point(point: Mapping[str, Any], x: Any, y: Any) -> str:
    if not point.get("pairs_seen") or point.get("estimate") is None:
        return ""
    at = x((point["from_jaccard"] + point["to_jaccard"]) / 2)
    low, high, estimate = float(point["low"]), float(point["high"]), float(point["estimate"])
    said = (
        f"{point['from_jaccard']:g} to {point['to_jaccard']:g}: {percent(estimate)} found ({percent(low)} to "
        f"{percent(high)}), {point['found_seen']:,} of {point['pairs_seen']:,} pairs seen"
    )
    resolved = ""
    if point.get("resolved") is not None:
        share = float(point["resolved"])
        said += f"; {percent(share)} resolved"
        resolved = f"<circle class='resolved' cx='{at + 9:.1f}' cy='{y(share):.1f}' r='4'/>"
    caps = "".join(
        f"<line class='whisker' x1='{at - 4:.1f}' x2='{at + 4:.1f}' y1='{y(v):.1f}' y2='{y(v):.1f}'/>"
        for v in (low, high)
    )
    return (
        f"<g><title>{text_of(said)}</title><line class='whisker' x1='{at:.1f}' x2='{at:.1f}' y1='{y(low):.1f}' y2='{y(high):.1f}'/>"
        f"{caps}{resolved}<circle class='point' cx='{at:.1f}' cy='{y(estimate):.1f}' r='4.5'/></g>"
    )


def removed_bars(buckets: Sequence[tuple[str, int, int]]) -> str:
    """One bar a bucket of (name, documents, removed): the share removed, the whole width being all of it."""
    rows = []
    for name, documents, removed in buckets[:MAX_BARS]:
        share = removed / max(documents, 1)
        rows.append((printable(name), [(share, "b"), (1.0 - share, "rest")], f"{percent(share)} of {documents:,}"))
    more = len(buckets) - MAX_BARS
    return funnel(rows) + (f"<p class='quiet'>and {more:,} that lost no larger share</p>" if more > 0 else "")


def size_bars(sizes: Mapping[str, int]) -> str:
    """Clusters by size in powers of two; lengths of bars grow with the logarithm, since counts span many powers."""
    rows = []
    for low in sorted(int(size) for size in sizes):
        number = int(sizes[str(low)])
        name = f"{low:,}" if low == 1 else f"{low:,} to {2 * low - 1:,}"
        rows.append((name, math.log10(1 + number), f"{number:,} cluster{'' if number == 1 else 's'}"))
    return bars(rows)


def pair_card(pair: Mapping[str, Any]) -> str:
    """Two documents side by side, and how alike they are."""
    similarity, again = pair.get("similarity"), pair.get("recomputed")
    said = "similarity not verified" if similarity is None else f"similarity {similarity:.3f}"
    if again is not None and (similarity is None or abs(again - similarity) > 5e-4):
        said += f", {again:.3f} when compared again"
    sides = _side("dropped", pair.get("dropped")) + _side("keeper", pair.get("keeper"))
    return f"<div class='pair'><span class='quiet'>{text_of(said)}</span><div class='sides'>{sides}</div></div>"


def _side(role: str, document: Mapping[str, Any] | None) -> str:
    if not document:
        return ""
    name = f"{document.get('source') or ''}/{document.get('id') or ''}"
    excerpt = document.get("excerpt")
    text = f"<p dir='auto'>{text_of(excerpt)}</p>" if excerpt else "<p class='quiet'>its text is not at hand</p>"
    return f"<div class='side'><b>{role}</b><code>{text_of(name)}</code>{text}</div>"
