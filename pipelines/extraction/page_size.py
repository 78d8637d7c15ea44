"""UTF-8 HTML -> how many nodes, how deep and how many attributes a parser would make of it, in one pass, unparsed.

Parsers and main-content rules take time and memory beyond all proportion on pages made for it: 70 kB of unclosed
`<font>`s become 9 million nodes and 3.4 GB. So the page is tokenized as WHATWG HTML (section 13.2.5) says, and the two
lists of tree construction (13.2.6) are kept by name only: open elements, and active formatting elements, which every
new block opens again. Where a rule is simplified, the figure is meant to be too large rather than too small; implied
`html`, `head`, `body`, `tbody`, `tr` are not counted, so the true depth may be up to three per table more.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from pipelines.extraction.html_names import (
    ANNOTATION,
    BARRIER,
    BLOCK,
    BR,
    BREAKS_OUT,
    BUTTON,
    CELL,
    DEFINITION,
    FONT,
    FOREIGN,
    FORM,
    FORMATTING,
    H1,
    HEADING,
    IN_MATH,
    IN_SVG,
    INLINE,
    INTEGRATION_IN,
    INTEGRATION_KEYS,
    LIST_ENTRY,
    NAME_KEYS,
    NAME_KINDS,
    NOSCRIPT,
    OPTION,
    ORDINARY,
    PARAGRAPH,
    PLAINTEXT,
    POINT,
    RAW_TEXT,
    ROW,
    SCRIPT,
    SELECT,
    SVG,
    TABLE,
    UNNESTED,
    VOID,
    P,
)
from pipelines.extraction.html_tokens import (
    LT,
    MARKS,
    SLASH,
    find,
    is_letter,
    raw_text_end,
    read_name,
    skip_attributes,
    skip_markup,
    tag_hash,
)
from pipelines.extraction.open_elements import (
    KIND,
    NAME,
    ROW_OF,
    SPELLING,
    WITHIN,
    close_formatting,
    closed,
    closed_foreign,
    floor_of,
    forget_equal,
    open_list_entry,
    open_paragraph,
    open_select,
    open_table,
    pop_to,
    push,
    reopen,
    row_ended,
    table_ended,
    take_out,
)

_REOPENING: Final = (ORDINARY, FORMATTING, UNNESTED, VOID, BARRIER, SELECT, OPTION, FOREIGN, INLINE)
"""Start tags of these kinds open lost formatting again; so does text."""

_MAX_EQUAL_FORMATTING: Final = 3
"""The "Noah's Ark clause": at most three equal formatting elements are active at once."""

_ADOPTION_NODES: Final = 32
"""Most nodes that one misnested end tag of formatting copies: 8 rounds of at most 4."""

_FONT_ATTRIBUTES: Final = tuple(np.frombuffer(name, np.uint8) for name in (b"color", b"face", b"size"))
_HTML_TYPES: Final = tuple(np.frombuffer(name, np.uint8) for name in (b"text/html", b"application/xhtml+xml"))


@njit(cache=True, nogil=True)
def _row_of(keys: Any, key: int) -> int:
    """The first row of sorted `keys` that is not below `key`, as `np.searchsorted` finds it."""
    first, last = 0, keys.size
    while first < last:
        middle = (first + last) >> 1
        if keys[middle] < key:
            first = middle + 1
        else:
            last = middle
    return first


@njit(cache=True, nogil=True)
def _kind(key: int) -> int:
    row = _row_of(NAME_KEYS, key)
    return int(NAME_KINDS[row]) if row < NAME_KEYS.size and NAME_KEYS[row] == key else ORDINARY


@njit(cache=True, nogil=True)
def _foreign_within(tag: Any, outer: int, key: int) -> int:
    """The foreign content that the children of a foreign element are in: `outer`, or 0 where HTML's rules return."""
    row = _row_of(INTEGRATION_KEYS, key)
    if row == INTEGRATION_KEYS.size or INTEGRATION_KEYS[row] != key or INTEGRATION_IN[row] != outer:
        return outer
    if key == ANNOTATION and find(tag, 0, _HTML_TYPES[0]) == tag.size and find(tag, 0, _HTML_TYPES[1]) == tag.size:
        return outer
    return 0


@njit(cache=True, nogil=True)
def _has_font_attribute(tag: Any) -> bool:
    """Whether a `<font>` ends foreign content: it does with one of three attributes only."""
    return bool(
        find(tag, 0, _FONT_ATTRIBUTES[0]) < tag.size
        or find(tag, 0, _FONT_ATTRIBUTES[1]) < tag.size
        or find(tag, 0, _FONT_ATTRIBUTES[2]) < tag.size
    )


@njit(cache=True, nogil=True)
def _height_after_end_tag(stack: Any, top: int, key: int, kind: int) -> int:
    if kind == ROW:
        return int(row_ended(stack, top))
    return int(closed(stack, top, key, ORDINARY if kind == OPTION or key == NOSCRIPT else kind))


@njit(cache=True, nogil=True)
def _height_before_start_tag(stack: Any, top: int, key: int, kind: int) -> int:
    """Height that is left once what a start tag implicitly ends is closed."""
    if kind in (BLOCK, PARAGRAPH, TABLE):
        height = open_paragraph(stack, top)
        if key == H1 and height > 0 and stack[height - 1, NAME] == H1:
            height -= 1
        return int(table_ended(stack, height)) if kind == TABLE else int(height)
    if kind in (LIST_ENTRY, DEFINITION):
        return int(open_paragraph(stack, open_list_entry(stack, top, kind)))
    if kind in (CELL, ROW):
        row = open_table(stack, top)
        return int(row) + 1 if row >= 0 else top
    if kind == SELECT:
        row = open_select(stack, top)
        return int(row) if row >= 0 else top
    if key == BUTTON:
        return int(closed(stack, top, key, kind))
    if kind == OPTION and top > 0 and stack[top - 1, NAME] == key:
        return top - 1
    return top


@njit(cache=True, nogil=True)
def count_characters(html: Any, start: int, stop: int) -> int:
    """Characters of a stretch of UTF-8 without white space (ASCII controls too), and one for each run of that.

    A character is a byte that continues none; references such as `&amp;` count as they are written.
    """
    num, in_space = 0, False
    for k in range(start, stop):
        byte = html[k]
        is_space = byte <= 32
        num += (not is_space and (byte & 0xC0) != 0x80) or (is_space and not in_space)
        in_space = is_space
    return num


@njit(cache=True, nogil=True)
def measure_page(html: Any, max_nodes: int, max_depth: int, max_attributes: int) -> tuple[int, int, int, int]:
    """`(num_nodes, depth, num_attributes, num_text_characters)` of a page, uint8.

    Nodes; most open elements; most attributes of one tag; and `count_characters` of all that is outside of tags,
    comments, declarations, scripts and other raw text: menus and footers too, so it is more than an engine finds.
    Ends at the first figure above its maximum, so that time is bounded by bytes + max_nodes * max_depth.
    """
    size = html.size
    stack = np.zeros((max_depth + 2, 4), np.int64)
    formats = np.zeros((max_depth + 2, 3), np.int64)
    top, active, floor, has_form = 0, 0, 0, False
    nodes, depth, most_attributes, characters = 0, 0, 0, 0
    at = 0
    while at < size and nodes <= max_nodes and depth <= max_depth and active <= max_depth:
        start = at
        following = html[at + 1] if at + 1 < size else 0
        in_foreign = top > 0 and stack[top - 1, WITHIN] != 0
        closing = following == SLASH
        first = at + 1 + closing
        if html[at] != LT or first >= size or not is_letter(html[first]):
            nodes += 1
            if html[at] == LT and following in MARKS:
                at = skip_markup(html, at, in_foreign)
                continue
            reopened = reopen(stack, formats, top, active, floor, max_depth + 1)
            nodes += reopened - top
            top = reopened
            depth = max(depth, top)
            at += 1
            while at < size and html[at] != LT:
                at += 1
            characters += count_characters(html, start, at)
            continue
        end, key = read_name(html, first)
        at, num_attributes, slashed = skip_attributes(html, end)
        known = _kind(key)
        kind, breaks_out = known & ~BREAKS_OUT, (known & BREAKS_OUT) != 0
        if kind == HEADING:  # any heading's end tag closes any heading
            kind, key = BLOCK, H1
        is_formatting = kind in (FORMATTING, UNNESTED)

        if closing:
            height = closed_foreign(stack, top, key)
            while key in (P, BR) and height > 0 and stack[height - 1, WITHIN] != 0:
                height -= 1
            if height == top and is_formatting:
                height, active, is_misnested = close_formatting(stack, formats, key, top, active, floor)
                top = min(top, height) if is_misnested else top
                nodes += _ADOPTION_NODES if is_misnested else 0
            elif height == top and key == FORM:  # closes itself, not what it holds
                row = closed(stack, top, key, kind) if has_form else top
                has_form = False
                if row < top:
                    top = height = take_out(stack, formats, row, top, active)
            elif height == top:
                height = _height_after_end_tag(stack, top, key, kind)
                if key == NOSCRIPT and height == 0 and top > 1:  # if in the head, its content had ended it before
                    top = height = take_out(stack, formats, 0, top, active)
                nodes += (key == P and height == top) or key == BR
            if height < top:
                active = pop_to(stack, formats, height, top, active)
                top = height
                floor = floor_of(stack, top) if floor > 0 else 0  # an outer one is never larger
            if key == BR:  # counts as a start tag
                reopened = reopen(stack, formats, top, active, floor, max_depth + 1)
                nodes += reopened - top
                top = reopened
                depth = max(depth, top)
            continue

        nodes += 1
        most_attributes = max(most_attributes, num_attributes)
        if most_attributes > max_attributes:
            break
        if kind == PLAINTEXT and not in_foreign:
            characters += count_characters(html, at, size)
            break
        height = top
        if in_foreign and breaks_out and (key != FONT or _has_font_attribute(html[start:at])):
            while height > 0 and stack[height - 1, WITHIN] != 0:
                height -= 1
            in_foreign = False
        within = 0
        if key == FORM and not in_foreign:
            if has_form:  # there is one already: this one counts for nothing
                continue
            has_form = True
        if in_foreign:
            within = _foreign_within(html[start:at], stack[height - 1, WITHIN], key)
            kind, is_formatting = POINT if within == 0 else ORDINARY, False
            is_pushed = not slashed
        else:
            before = height
            height = _height_before_start_tag(stack, height, key, kind)
            is_pushed = not (kind in (VOID, ROW, RAW_TEXT, SCRIPT) or (kind == SELECT and height < before))
            if kind == CELL:
                is_pushed = height > 0 and stack[height - 1, KIND] == TABLE
            elif kind == FOREIGN:
                within = IN_SVG if key == SVG else IN_MATH
                is_pushed = not slashed
            elif kind in (RAW_TEXT, SCRIPT):
                nodes += 1
                at = raw_text_end(html, at, key, kind == SCRIPT)
        if height < top:
            active = pop_to(stack, formats, height, top, active)
            top = height
            floor = floor_of(stack, top) if floor > 0 else 0
        if kind == UNNESTED and not in_foreign:
            for row in range(active - 1, floor - 1, -1):
                if formats[row, NAME] == key:
                    height, active, is_misnested = close_formatting(stack, formats, key, top, active, floor)
                    nodes += _ADOPTION_NODES if is_misnested else 0
                    top = height
                    break
        if not in_foreign and kind in _REOPENING:
            reopened = reopen(stack, formats, top, active, floor, max_depth + 1)
            nodes += reopened - top
            top = reopened
        depth = max(depth, top)
        if top > max_depth:
            break
        if is_formatting:
            spelling = tag_hash(html, start, at)
            active = forget_equal(formats, key, spelling, active, floor, _MAX_EQUAL_FORMATTING)
            formats[active, NAME], formats[active, SPELLING], formats[active, ROW_OF] = key, spelling, top
            active += 1
        if is_pushed:
            if kind in (CELL, BARRIER):
                floor = active
            kind = FORMATTING if kind == UNNESTED else ORDINARY if kind in (FOREIGN, OPTION) else kind
            top = push(stack, top, key, kind, within, active)
            depth = max(depth, top)
    return nodes, max(depth, active), most_attributes, characters
