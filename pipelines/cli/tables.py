"""What the commands print: tables and lines for people, or JSON, on stdout; notes and errors go to stderr.

Text of documents, ids and URLs is hostile until shown otherwise: `printable` takes the power over a terminal from it,
and JSON is pure ASCII. Rich's own markup is never interpreted.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_OF_A_FILE = 200
"""Columns where stdout is no terminal: nothing wraps in a pipe or a log."""

NUMBER = re.compile(r"[+-]?[0-9][0-9,]*(\.[0-9]+)?(%| [kMGTP]?B)?")

_HARMFUL = [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x180E, 0x200B, 0x200E, 0x200F]
_HARMFUL += [*range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC)]
_HARMFUL += [*range(0xD800, 0xE000), *range(0xE0000, 0xE0080)]


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# Control characters (terminal escapes among them), bidirectional overrides, line separators, invisible tags, surrogates.
# Joiners (U+200C, U+200D) stay: Persian, Indic scripts and emoji need them.
_ESCAPES = {code: _escape(code) for code in _HARMFUL}
_ESCAPES_BUT_LINES = {code: text for code, text in _ESCAPES.items() if code not in (0x09, 0x0A)}


def printable(text: object, *, lines: bool = False) -> str:
    r"""`text` with every character that could steer a terminal spelled out; `lines` leaves newline and tab alone.

    >>> printable("a\x1b[2Jb\u202ec")
    'a\\x1b[2Jb\\u202ec'
    """
    return str(text).translate(_ESCAPES_BUT_LINES if lines else _ESCAPES)


def add_json(parser: argparse._ActionsContainer) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def print_json(data: object) -> None:
    """Indented JSON, sorted keys, pure ASCII; infinities and NaN, which JSON lacks, become strings."""
    print(json.dumps(_finite(data), indent=1, sort_keys=True, allow_nan=False, default=str))


def _finite(data: object) -> object:
    if isinstance(data, Mapping):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data


def print_line(text: str = "") -> None:
    """One line, made harmless."""
    print(printable(text))


def note(text: str) -> None:
    """One line for the person, on stderr."""
    print(printable(text, lines=True), file=sys.stderr)


def print_alarm(text: str) -> None:
    """One line, made harmless, red where the terminal has colours."""
    console().print(Text(printable(text), style="bold red"))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table; columns whose cells are all numbers, sizes or shares are aligned right. Nothing where there is no row."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        return
    if title:
        console().print(Text(title, style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(headings))
    for position, heading in enumerate(headings):
        right = all(not row[position] or NUMBER.fullmatch(row[position]) for row in cells)
        table.add_column(Text(heading), justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def console() -> Console:
    """Rich on today's stdout."""
    wide = None if sys.stdout.isatty() else WIDTH_OF_A_FILE
    return Console(file=sys.stdout, width=wide, markup=False, highlight=False, emoji=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else printable(value)


def share(part: int, whole: int) -> str:
    """`share(1, 8)` -> `12.5%`; of nothing, an empty string."""
    return f"{part / whole:.1%}" if whole else ""


def percent(part: float) -> str:
    """A share with as many digits as it takes not to round it to nothing or to all.

    >>> [percent(s) for s in (0.5, 1.0, 0.9998, 0.99999999)]
    ['50.0%', '100%', '99.98%', '>99.9999%']
    """
    if part in (0.0, 1.0):
        return f"{part:.0%}"
    for digits in range(1, 5):
        shown = f"{part:.{digits}%}"
        if float(shown[:-1]) not in (0.0, 100.0):
            return shown
    return ">99.9999%" if part > 0.5 else "<0.0001%"


def size(num_bytes: float | None) -> str:
    """`size(1_234_567)` -> `1.2 MB`, in powers of 1,000."""
    if num_bytes is None:
        return ""
    value, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if abs(value) < 999.95:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def ranked(counts: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Counts, most first, then by name."""
    return sorted(((str(key), int(value)) for key, value in counts.items()), key=lambda pair: (-pair[1], pair[0]))
