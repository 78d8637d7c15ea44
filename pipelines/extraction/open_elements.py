"""The two lists of HTML tree construction (WHATWG HTML, section 13.2.6), by name only.

`stack`, int64 (room, 4), holds the open elements, outermost first: NAME, KIND, WITHIN (the foreign content that its
children are in, or 0) and FLOOR (how many formatting elements were active when it was opened). `formats`, int64
(room, 3), holds the active formatting elements, oldest first: NAME, SPELLING (hash of the tag as written) and ROW in
`stack`, or -1 where it was closed along with a block and is opened again by what comes next.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pipelines.extraction.html_names import (
    BARRIER,
    CAPTION,
    CELL,
    DIV,
    FORMATTING,
    LIST_ENTRY,
    OL,
    ORDINARY,
    PARAGRAPH,
    POINT,
    SELECT,
    TABLE,
    UL,
)

NAME, KIND, WITHIN, FLOOR = range(4)
SPELLING, ROW_OF = 1, 2


@njit(cache=True, nogil=True)
def open_paragraph(stack: Any, top: int) -> int:
    """Height that is left once the open paragraph in scope is closed; `top` where there is none."""
    for row in range(top - 1, -1, -1):
        if stack[row, KIND] == PARAGRAPH:
            return row
        if stack[row, KIND] in (TABLE, CELL, BARRIER, SELECT, POINT):
            break
    return top


@njit(cache=True, nogil=True)
def open_list_entry(stack: Any, top: int, kind: int) -> int:
    """Height that is left once the list entry that a new one of `kind` ends is closed; `top` where there is none."""
    for row in range(top - 1, -1, -1):
        if stack[row, KIND] == kind:
            return row
        if stack[row, KIND] not in (ORDINARY, FORMATTING, PARAGRAPH) and stack[row, NAME] != DIV:
            break
    return top


@njit(cache=True, nogil=True)
def open_table(stack: Any, top: int) -> int:
    """Row of the open table in scope, or -1."""
    for row in range(top - 1, -1, -1):
        if stack[row, KIND] == TABLE:
            return row
        if stack[row, KIND] in (BARRIER, POINT):
            break
    return -1


@njit(cache=True, nogil=True)
def table_ended(stack: Any, top: int) -> int:
    """Height that is left once a new table has ended the one it is in, outside of any cell."""
    for row in range(top - 1, -1, -1):
        if stack[row, KIND] == TABLE:
            return row
        if stack[row, KIND] in (CELL, BARRIER, POINT):
            break
    return top


@njit(cache=True, nogil=True)
def row_ended(stack: Any, top: int) -> int:
    """Height that is left after the end tag of a row or of rows: within a caption it means nothing."""
    table = open_table(stack, top)
    if table < 0 or np.any(stack[table + 1 : top, NAME] == CAPTION):
        return top
    return int(table) + 1


@njit(cache=True, nogil=True)
def open_select(stack: Any, top: int) -> int:
    """Row of the list of choices that is open, or -1."""
    for row in range(top - 1, -1, -1):
        if stack[row, KIND] == SELECT:
            return row
        if stack[row, KIND] in (TABLE, CELL, BARRIER, POINT):
            break
    return -1


@njit(cache=True, nogil=True)
def closed_foreign(stack: Any, top: int, key: int) -> int:
    """Height that is left after an end tag that names a foreign element we are directly in; else `top`."""
    for row in range(top - 1, -1, -1):
        if stack[row, WITHIN] == 0 and stack[row, KIND] != POINT:
            break
        if stack[row, NAME] == key:
            return row
    return top


@njit(cache=True, nogil=True)
def closed(stack: Any, top: int, key: int, kind: int) -> int:
    """Height that is left after an end tag of `kind`; `top` where it closes nothing."""
    for row in range(top - 1, -1, -1):
        found = stack[row, KIND]
        if stack[row, WITHIN] != 0:
            continue
        if stack[row, NAME] == key and found != POINT:
            return row
        if kind == ORDINARY:
            if found not in (ORDINARY, FORMATTING):
                break
        elif kind in (TABLE, CELL):
            if found in (BARRIER, POINT) or (kind == CELL and found in (TABLE, CELL)):
                break
        elif found in (TABLE, CELL, BARRIER, SELECT, POINT) or (kind == LIST_ENTRY and stack[row, NAME] in (UL, OL)):
            break
    return top


@njit(cache=True, nogil=True)
def push(stack: Any, top: int, name: int, kind: int, within: int, floor: int) -> int:
    """Open an element; the new height."""
    stack[top, NAME], stack[top, KIND], stack[top, WITHIN], stack[top, FLOOR] = name, kind, within, floor
    return top + 1


@njit(cache=True, nogil=True)
def pop_to(stack: Any, formats: Any, height: int, top: int, active: int) -> int:
    """Close all elements from `height` up; how many formatting elements stay active: none from within a barrier."""
    for row in range(top - 1, height - 1, -1):
        if stack[row, KIND] in (CELL, BARRIER):
            active = stack[row, FLOOR]
    for row in range(active):
        if formats[row, ROW_OF] >= height:
            formats[row, ROW_OF] = -1
    return active


@njit(cache=True, nogil=True)
def take_out(stack: Any, formats: Any, row: int, top: int, active: int) -> int:
    """Close one element alone, leaving open what it holds; the new height."""
    for k in range(active):
        if formats[k, ROW_OF] == row:
            formats[k, ROW_OF] = -1
        elif formats[k, ROW_OF] > row:
            formats[k, ROW_OF] -= 1
    _drop(stack, row, top)
    return top - 1


@njit(cache=True, nogil=True)
def reopen(stack: Any, formats: Any, top: int, active: int, floor: int, max_top: int) -> int:
    """Open lost formatting again, up to a height of `max_top`; the new height."""
    row = active
    while row > floor and formats[row - 1, ROW_OF] < 0:
        row -= 1
    while row < active and top < max_top:
        formats[row, ROW_OF] = top
        top = push(stack, top, formats[row, NAME], FORMATTING, 0, active)
        row += 1
    return top


@njit(cache=True, nogil=True)
def floor_of(stack: Any, top: int) -> int:
    """Active formatting that end tags cannot reach from here: what was active before the innermost barrier."""
    for row in range(top - 1, -1, -1):
        if stack[row, KIND] in (CELL, BARRIER):
            return int(stack[row, FLOOR])
    return 0


@njit(cache=True, nogil=True)
def close_formatting(stack: Any, formats: Any, key: int, top: int, active: int, floor: int) -> tuple[int, int, bool]:
    """`(top, active, is_misnested)` after the newest active formatting element `key` is closed, if it can be.

    What it holds is closed with it, unless a block is in there: then it is closed alone and parts of it are copied.
    """
    newest = active - 1
    while newest >= floor and formats[newest, NAME] != key:
        newest -= 1
    if newest < floor:
        return closed(stack, top, key, ORDINARY), active, False
    row = formats[newest, ROW_OF]
    is_misnested = False
    if row >= 0:
        for k in range(row + 1, top):
            if stack[k, KIND] in (TABLE, CELL, BARRIER, SELECT, POINT):
                return top, active, False
            is_misnested |= stack[k, KIND] not in (ORDINARY, FORMATTING)
        if is_misnested:
            top = take_out(stack, formats, row, top, active)
        else:
            active = pop_to(stack, formats, row, top, active)
            top = row
    _drop(formats, newest, active)
    return top, active - 1, is_misnested


@njit(cache=True, nogil=True)
def forget_equal(formats: Any, key: int, spelling: int, active: int, floor: int, max_equal: int) -> int:
    """Drop the oldest of `max_equal` equal active elements; how many stay active."""
    equal, oldest = 0, -1
    for row in range(active - 1, floor - 1, -1):
        if formats[row, NAME] == key and formats[row, SPELLING] == spelling:
            equal += 1
            oldest = row
    if equal < max_equal:
        return active
    _drop(formats, oldest, active)
    return active - 1


@njit(cache=True, nogil=True)
def _drop(table: Any, row: int, count: int) -> None:
    """Take one of the first `count` rows out; the later ones move up."""
    for k in range(row, count - 1):
        table[k] = table[k + 1]
