"""Compressed members: what a codec can do with them, and how to find the next one after damage.

A WARC file is best written record-wise: each record is a gzip member, zstd frame or lz4 frame of its own, so that the
file can be cut and damage stays within one record.
"""

from __future__ import annotations

from typing import Protocol

from pipelines.readers.limits import RATIO_FLOOR_BYTES
from pipelines.readers.windows import ByteSource, Damaged, Window

READ_BYTES = 64 << 10
HEAD_BYTES = 64
SEARCH_BYTES = 1 << 20


class MemberReader(Protocol):
    """The decoded bytes of one member, in order. `stop` is where the member ends in the file, once all were read."""

    stop: int

    def read(self, nbytes: int) -> bytes:
        """At least one and up to `nbytes` bytes; b"" at the end. Raises Damaged."""
        ...


class Codec(Protocol):
    """One way of compressing members."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    def starts(self, window: Window, position: int) -> bool:
        """Whether the bytes at `position` look like the start of a member."""
        ...

    def whole(self, window: Window, position: int, cap: int, max_ratio: int) -> tuple[int, bytes] | None:
        """`(stop, content)` of a sound member of at most `cap` bytes; None for any other, without saying why."""
        ...

    def open(self, source: ByteSource, position: int, max_ratio: int) -> MemberReader:
        """Read the member at `position` bit by bit."""
        ...

    def find(self, window: Window, position: int, prefix: bytes) -> int:
        """Where the next member starts whose content starts with `prefix`, from `position` on; -1 if none does."""
        ...


class Searchable(Protocol):
    """What finding the next member needs of a codec."""

    @property
    def magic(self) -> bytes:
        """The bytes every member starts with."""
        ...

    def head(self, window: Window, position: int) -> bytes:
        """The first bytes of the content of the member at `position`, or b"" if there cannot be one."""
        ...


def find_member(codec: Searchable, window: Window, position: int, prefix: bytes) -> int:
    """Where, from `position` on, the magic bytes stand before content that starts with `prefix`; -1 if nowhere."""
    while True:
        window.release(position)
        found = window.find(codec.magic, position, SEARCH_BYTES)
        if found < 0:
            if not window.available(position, SEARCH_BYTES + 1) > SEARCH_BYTES:
                return -1
            position += SEARCH_BYTES - len(codec.magic)
            continue
        head = codec.head(window, found)
        if head and head.lstrip(b"\r\n").startswith(prefix):
            return found
        position = found + 1


def is_bomb(out: int, consumed: int, max_ratio: int) -> bool:
    """Whether `out` bytes are too many to have come out of `consumed`."""
    return out > RATIO_FLOOR_BYTES and out > max_ratio * max(consumed, 1)


def check_ratio(out: int, consumed: int, max_ratio: int) -> None:
    """Raise Damaged where `is_bomb`."""
    if is_bomb(out, consumed, max_ratio):
        raise Damaged("decompression_ratio_exceeded", f"{out} bytes out of {consumed}, more than {max_ratio} times")
