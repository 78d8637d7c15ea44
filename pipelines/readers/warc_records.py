"""Bytes -> WARC records, by the record's own Content-Length, distrusting it (WARC 1.1, ISO 28500:2017, section 4).

A record's length is believed only if another record, the end, or two newlines follow where it says. Where that is not so
the record is a fault, and reading goes on at what next looks like the start of a record: a lie hides nothing behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.readers.limits import MAX_HEADER_BYTES
from pipelines.readers.windows import Damaged, Window

VERSION_LINE = re.compile(rb"WARC/[01]\.\d{1,2}[ \t]*\r?\n")
RECORD_LINE = re.compile(rb"WARC/[01]\.\d{1,2}[ \t]*\r?\n[A-Za-z][A-Za-z0-9-]{0,60}[ \t]*:")
LENGTH = re.compile(rb"\d{1,18}")
NEWLINES = b"\r\n"
SEARCH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One record: where it starts and stops in its stream, its headers (names in lower case), and its block."""

    start: int
    stop: int
    headers: dict[bytes, bytes]
    block: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """What starts at `start` and is no record that could be read."""

    start: int
    reason: str
    detail: str
    headers: dict[bytes, bytes] | None = None


def parse_records(
    window: Window, position: int, *, max_record_bytes: int, can_rewind: Callable[[], bool] | None = None
) -> Iterator[Record | Fault]:
    """Every record from `position` to the end, in order.

    Where the bytes themselves break off, the last thing given is a fault, and `window.damage` says what happened.
    """
    while position >= 0:
        try:
            position = skip_newlines(window, position)
            window.release(position)
            if not window.available(position, 1):
                return
            found, after = _read_record(window, position, max_record_bytes, can_rewind)
        except Damaged as damage:
            yield Fault(position, damage.reason, damage.detail)
            return
        yield found
        position = after


def _read_record(
    window: Window, position: int, max_record_bytes: int, can_rewind: Callable[[], bool] | None
) -> tuple[Record | Fault, int]:
    """The record or fault at `position`, and where to go on (-1: nowhere)."""
    headers, block_start, problem = _read_headers(window, position)
    if problem:
        return Fault(position, "bad_header", problem), find_record(window, position + 1)
    length = int(headers[b"content-length"])
    stop = block_start + length
    if length > max_record_bytes:
        detail = f"Content-Length {length} is above the cap of {max_record_bytes} bytes"
        if can_rewind is None or can_rewind():
            after = _end_of_record(window, stop)
            if after >= 0:
                return Fault(position, "record_too_large", detail, headers), after
        return Fault(position, "record_too_large", detail, headers), find_record(window, block_start)
    if window.available(block_start, length) < length:
        found = window.available(block_start, length)
        detail = f"Content-Length {length}, but only {found} bytes follow"
        return Fault(position, "truncated_record", detail, headers), find_record(window, block_start)
    after = _end_of_record(window, stop)
    if after < 0:
        detail = f"no record follows where Content-Length {length} ends"
        return Fault(position, "bad_content_length", detail, headers), find_record(window, block_start)
    return Record(position, stop, headers, window.bytes_at(block_start, length)), after


def skip_newlines(window: Window, position: int) -> int:
    """The first byte from `position` on that is neither CR nor LF."""
    while True:
        some = window.bytes_at(position, 64)
        rest = some.lstrip(NEWLINES)
        position += len(some) - len(rest)
        if rest or not some:
            return position
        window.release(position)


def find_record(window: Window, position: int) -> int:
    """Where, from `position` on, something looks like the start of a record; -1 if nothing does.

    It need not start a line: behind a record cut short there is no newline.
    """
    while True:
        window.release(position)
        found = window.find(b"WARC/", position, SEARCH_BYTES)
        if found >= 0:
            if RECORD_LINE.match(window.bytes_at(found, 96)):
                return found
            position = found + 1
        elif window.available(position, SEARCH_BYTES + 1) <= SEARCH_BYTES:
            return -1
        else:
            position += SEARCH_BYTES - 4


def _end_of_record(window: Window, stop: int) -> int:
    """Where to go on, if what stops at `stop` is followed by a record, the end, or at least the two newlines that end
    each record; else -1.
    """
    tail = window.bytes_at(stop - 1, 97)[1:]
    rest = tail.lstrip(NEWLINES)
    if rest:
        if VERSION_LINE.match(rest):
            return stop + len(tail) - len(rest)
        return stop + 4 if tail.startswith(b"\r\n\r\n") else -1
    if len(tail) == 96:
        return skip_newlines(window, stop)
    if not window.available(stop - 1, 1):
        return -1
    return stop + len(tail)


def _read_headers(window: Window, position: int) -> tuple[dict[bytes, bytes], int, str]:
    """Headers, where the block starts, and what is wrong with them ("" if nothing is)."""
    first = window.bytes_at(position, 32)
    if not VERSION_LINE.match(first):
        return {}, -1, f"no WARC version line: {first[:24]!r}"
    ending = b"\r\n\r\n" if b"\r\n" in first[: first.find(b"\n") + 1] else b"\n\n"
    end = window.find(ending, position, MAX_HEADER_BYTES)
    if end < 0:
        return {}, -1, f"the headers do not end within {MAX_HEADER_BYTES} bytes"
    headers, repeated = parse_headers(window.bytes_at(position, end - position))
    length = headers.get(b"content-length", b"")
    if not LENGTH.fullmatch(length):
        return {}, -1, f"Content-Length {length[:24]!r} is not a number"
    if b"content-length" in repeated:
        return {}, -1, "two different Content-Length headers"
    if b"warc-type" not in headers:
        return {}, -1, "no WARC-Type"
    return headers, end + len(ending), ""


def parse_headers(head: bytes) -> tuple[dict[bytes, bytes], frozenset[bytes]]:
    """Headers after the first line: first value of each name in lower case; and names that came with several values.

    >>> parse_headers(b"HTTP/1.1 200 OK\\r\\nA: 1\\r\\n 2\\r\\na: 3")
    ({b'a': b'1 2'}, frozenset({b'a'}))
    """
    headers: dict[bytes, bytes] = {}
    repeated: set[bytes] = set()
    lines = head.split(b"\n")
    if b"\n " in head or b"\n\t" in head:
        lines = _unfold(lines)
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon:
            continue
        name, value = name.strip().lower(), value.strip()
        if headers.setdefault(name, value) != value:
            repeated.add(name)
    return headers, frozenset(repeated)


def _unfold(lines: list[bytes]) -> list[bytes]:
    joined = lines[:1]
    for line in lines[1:]:
        if line[:1] in b" \t" and line[:1] and len(joined) > 1:
            joined[-1] = joined[-1].rstrip() + b" " + line.strip()
        else:
            joined.append(line)
    return joined
