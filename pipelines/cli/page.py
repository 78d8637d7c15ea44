"""One self-contained HTML page of what `inspect` shows: no script, no request to anywhere, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from pipelines.cli import tables

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:86rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem;margin-bottom:0}h2{font-size:1.05rem;margin:2rem 0 .4rem}p{margin:.2rem 0}
table{border-collapse:collapse;display:block;overflow-x:auto}th,td{text-align:left;padding:.2rem .9rem .2rem 0;vertical-align:top}
th{font-weight:600;border-bottom:1px solid #b8c0ca}td{border-bottom:1px solid #e8ebef;white-space:nowrap}
td:last-child{white-space:normal;overflow-wrap:break-word}
td.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.faint{color:#59636e}
.alarm{border-left:4px solid #b3261e;background:#fdecea;color:#8c1d18;
padding:.6rem .9rem;margin:.8rem 0;font-weight:600;border-radius:4px}
@media(prefers-color-scheme:dark){body{color:#e6e9ec;background:#15181c}th,td{border-color:#3a424c}.faint{color:#9aa4af}
.alarm{background:#3b1f1d;color:#ffb4ab;border-color:#ff8a80}}
"""


Section = tuple[str, list[str], list[list[Any]]]


def html_page(
    name: str, place: str, lines: Sequence[str], sections: Sequence[Section], *, figures: str = "", style: str = ""
) -> str:
    """The page: a name and where the thing lies, lines of text, `figures`, then tables as (title, headings, rows).

    `figures` and `style` are markup and rules of our own, in which everything else is escaped already.
    """
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{text_of(name)}</title><style>{STYLE}{style}</style></head><body>",
        f"<h1>{text_of(name)}</h1><p class=faint>{text_of(place)}</p>",
        *(f"<p>{text_of(line)}</p>" for line in lines),
        figures,
        *(_table(title, headings, rows) for title, headings, rows in sections),
        "</body></html>\n",
    ]
    return "".join(parts)


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{text_of(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<h2>{text_of(title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"<td class=number>{value:,}</td>"
    return f"<td>{text_of('' if value is None else value)}</td>"


def text_of(value: object) -> str:
    """`value` for markup and attributes: harmless characters, escaped."""
    return escape(tables.printable(value), quote=True)
