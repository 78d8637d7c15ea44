"""What each HTML element does to the stack of open elements, as `page_size` needs it (WHATWG HTML, section 13.2.6).

Names are keys of 64 bits: up to 8 bytes are packed as they are, so that no made-up name can pose as a known one; longer
ones are hashed (FNV-1a) and negative.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

ORDINARY, VOID, BLOCK, PARAGRAPH, LIST_ENTRY, DEFINITION, FORMATTING, UNNESTED, TABLE, CELL, ROW, BARRIER = range(12)
RAW_TEXT, SCRIPT, PLAINTEXT, FOREIGN, OPTION, HEADING, SELECT, POINT, INLINE = range(12, 21)
"""Kinds. UNNESTED formatting (`a`, `nobr`) closes an earlier one; a BARRIER bounds what end tags within it can close;
INLINE may stand in a paragraph; FOREIGN (`svg`, `math`) has its own rules until an integration POINT returns to HTML's."""

BREAKS_OUT: Final = 64
"""Flag beside the kind: a start tag that ends foreign content."""

_NAMES: Final[dict[int, str]] = {
    VOID: "area base basefont bgsound br col embed frame hr img image input keygen link meta param source track wbr "
    "html head body frameset",
    BLOCK: "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer "
    "form header hgroup listing main menu nav ol pre search section summary ul",
    HEADING: "h1 h2 h3 h4 h5 h6",
    INLINE: "button noscript",
    PARAGRAPH: "p",
    LIST_ENTRY: "li",
    DEFINITION: "dd dt",
    FORMATTING: "b big code em font i s small strike strong tt u",
    UNNESTED: "a nobr",
    TABLE: "table",
    CELL: "td th caption",
    ROW: "tr tbody thead tfoot colgroup",
    BARRIER: "applet marquee object template",
    RAW_TEXT: "style textarea title xmp iframe noembed noframes",
    SCRIPT: "script",
    PLAINTEXT: "plaintext",
    FOREIGN: "svg math",
    SELECT: "select",
    OPTION: "option",
}

_BREAKING: Final = (
    "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta nobr "
    "ol p pre ruby s small span strong strike sub sup table tt u ul var font"
)


def name_key(name: bytes) -> int:
    """The key of a lower-case name: `b"p"` -> 112, `b"td"` -> 0x6474."""
    if len(name) <= 8:
        return int.from_bytes(name, "little")
    key = 0xCBF29CE484222325
    for byte in name:
        key = (key ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return (key | 1 << 63) - (1 << 64)


def _table() -> tuple[Any, Any]:
    kinds = {name: kind for kind, names in _NAMES.items() for name in names.split()}
    breaking = frozenset(_BREAKING.split())
    kinds |= {name: ORDINARY for name in breaking if name not in kinds}
    rows = sorted((name_key(n.encode()), kind | (BREAKS_OUT if n in breaking else 0)) for n, kind in kinds.items())
    return np.array([key for key, _ in rows], np.int64), np.array([kind for _, kind in rows], np.int64)


NAME_KEYS, NAME_KINDS = _table()
"""uint64, sorted; and the kind, or'ed with BREAKS_OUT, of each."""

IN_SVG, IN_MATH = 1, 2
_INTEGRATION: Final = sorted(
    (name_key(name.encode()), where)
    for where, names in ((IN_SVG, "foreignobject desc title"), (IN_MATH, "mi mo mn ms mtext annotation-xml"))
    for name in names.split()
)
INTEGRATION_KEYS: Final = np.array([key for key, _ in _INTEGRATION], np.int64)
INTEGRATION_IN: Final = np.array([where for _, where in _INTEGRATION], np.int64)
"""Elements whose children follow HTML's rules again, and the foreign content in which they do so."""

ANNOTATION: Final = np.int64(name_key(b"annotation-xml"))
BUTTON: Final = np.int64(name_key(b"button"))
BR: Final = np.int64(name_key(b"br"))
CAPTION: Final = np.int64(name_key(b"caption"))
DIV: Final = np.int64(name_key(b"div"))
FONT: Final = np.int64(name_key(b"font"))
FORM: Final = np.int64(name_key(b"form"))
H1: Final = np.int64(name_key(b"h1"))
NOSCRIPT: Final = np.int64(name_key(b"noscript"))
P: Final = np.int64(name_key(b"p"))
SVG: Final = np.int64(name_key(b"svg"))
OL: Final = np.int64(name_key(b"ol"))
UL: Final = np.int64(name_key(b"ul"))
