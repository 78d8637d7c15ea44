"""The tokens of HTML (WHATWG HTML, section 13.2.5) as far as their extent matters: uint8 arrays in, positions out."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

LT, GT, SLASH, BANG, QUESTION, EQUALS, DASH, DOUBLE, SINGLE = (ord(c) for c in "<>/!?=-\"'")
MARKS: Final = (BANG, QUESTION, SLASH)
"""What after `<` begins a comment, a declaration, an instruction or an end tag."""
_FNV_START: Final = np.uint64(0xCBF29CE484222325)
_FNV_PRIME: Final = np.uint64(0x100000001B3)
_LONG: Final = np.uint64(1 << 63)
_RAW_NAME_WINDOW: Final = 16
"""Bytes in which the end tag of raw text must have its name: the longest is `</textarea>`."""
_CDATA: Final = np.frombuffer(b"[cdata[", np.uint8)


@njit(cache=True, nogil=True, inline="always")
def _is_space(byte: int) -> bool:
    return byte == 32 or byte == 10 or byte == 9 or byte == 13 or byte == 12


@njit(cache=True, nogil=True, inline="always")
def is_letter(byte: int) -> bool:
    """ASCII only."""
    return 97 <= (byte | 32) <= 122


@njit(cache=True, nogil=True)
def find(html: Any, start: int, pattern: Any) -> int:
    """Where `pattern` (ASCII, lower case) next occurs in any case, or the length."""
    stop = html.size - pattern.size
    at = start
    while at <= stop:
        k = 0
        while k < pattern.size:
            byte = html[at + k]
            if 65 <= byte <= 90:
                byte |= 32
            if byte != pattern[k]:
                break
            k += 1
        if k == pattern.size:
            return at
        at += 1
    return int(html.size)


@njit(cache=True, nogil=True)
def read_name(html: Any, start: int) -> tuple[int, Any]:
    """End of the tag name that starts at `start`, and its key."""
    at = start
    packed = np.uint64(0)
    hashed = _FNV_START
    while at < html.size:
        byte = html[at]
        if _is_space(byte) or byte in (SLASH, GT):
            break
        lower = np.uint64(byte | 32 if 65 <= byte <= 90 else byte)
        if at - start < 8:
            packed |= lower << np.uint64(8 * (at - start))
        hashed = (hashed ^ lower) * _FNV_PRIME
        at += 1
    return at, np.int64(packed if at - start <= 8 else hashed | _LONG)


@njit(cache=True, nogil=True)
def skip_attributes(html: Any, start: int) -> tuple[int, int, bool]:
    """Skip a tag's attributes: where the tag ends (after `>`, or the length), how many there are, `/>`."""
    at, num, size = start, 0, html.size
    while at < size:
        byte = html[at]
        if byte == GT:
            return at + 1, num, False
        if byte == SLASH:
            at += 1
            if at < size and html[at] == GT:
                return at + 1, num, True
            continue
        if _is_space(byte):
            at += 1
            continue
        num += 1
        at += 1  # a first "=" belongs to the name
        while at < size and not (_is_space(html[at]) or html[at] == SLASH or html[at] == GT or html[at] == EQUALS):
            at += 1
        while at < size and _is_space(html[at]):
            at += 1
        if at >= size or html[at] != EQUALS:
            continue
        at += 1
        while at < size and _is_space(html[at]):
            at += 1
        if at < size and (html[at] == DOUBLE or html[at] == SINGLE):
            quote = html[at]
            at += 1
            while at < size and html[at] != quote:
                at += 1
            at += 1
        else:
            while at < size and not (_is_space(html[at]) or html[at] == GT):
                at += 1
    return size, num, False


@njit(cache=True, nogil=True)
def raw_text_end(html: Any, start: int, name: Any, is_script: bool) -> int:
    """Where the end tag of raw text begins, or the length. A script may hold a script inside `<!--` (13.2.5.20)."""
    at, size = start, html.size
    escaped, nested = False, False
    while at < size:
        while at < size and html[at] != LT and not (escaped and html[at] == DASH):
            at += 1
        if at + 1 >= size:
            break
        if html[at] == DASH:
            if at + 2 < size and html[at + 1] == DASH and html[at + 2] == GT:
                escaped, nested = False, False
            at += 1
            continue
        following = html[at + 1]
        if is_script and following == BANG and at + 3 < size and html[at + 2] == DASH and html[at + 3] == DASH:
            escaped = True
            at += 2  # the dashes may themselves begin "-->"
            continue
        closing = following == SLASH
        if closing or (is_script and escaped):
            window = html[at + 1 + closing : at + _RAW_NAME_WINDOW]
            end, key = read_name(window, 0)
            if key == name and end < window.size:
                if not closing:
                    nested = True
                elif nested:
                    nested = False
                else:
                    return at
        at += 1
    return int(size)


@njit(cache=True, nogil=True)
def _comment_end(html: Any, start: int) -> int:
    """After the comment whose `<!--` ends at `start`."""
    size = html.size
    if start < size and html[start] == GT:
        return start + 1
    if start + 1 < size and html[start] == DASH and html[start + 1] == GT:
        return start + 2
    at = start
    while at + 2 < size:
        if html[at] == DASH and html[at + 1] == DASH:
            if html[at + 2] == GT:
                return at + 3
            if html[at + 2] == BANG and at + 3 < size and html[at + 3] == GT:
                return at + 4
        at += 1
    return int(size)


@njit(cache=True, nogil=True)
def skip_markup(html: Any, start: int, in_foreign: bool) -> int:
    """After the comment, declaration, instruction, CDATA section or malformed end tag that begins at `start`."""
    at, size = start + 2, html.size
    if html[start + 1] == BANG and at + 1 < size and html[at] == DASH and html[at + 1] == DASH:
        return int(_comment_end(html, at + 2))
    is_data = in_foreign and html[start + 1] == BANG and find(html[at : at + 7], 0, _CDATA) == 0 and size - at >= 7
    while at < size and (html[at] != GT or (is_data and not (html[at - 1] == 93 and html[at - 2] == 93))):
        at += 1
    return int(at + 1)


@njit(cache=True, nogil=True)
def tag_hash(html: Any, start: int, stop: int) -> Any:
    """FNV-1a of a tag as it is written."""
    hashed = _FNV_START
    for k in range(start, stop):
        hashed = (hashed ^ np.uint64(html[k])) * _FNV_PRIME
    return np.int64(hashed)
