"""A window that moves over bytes read at an offset, so that a file of any length can be searched in bounded memory."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

from pipelines.errors import EyasError

STEP_BYTES = 4 << 20


class Damaged(EyasError):
    """The bytes wanted cannot be decoded. `reason` is what the record is quarantined for; never leaves the readers."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ByteSource(Protocol):
    """What a window reads from: a file, or the decoded bytes of one compressed member."""

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Up to `nbytes` from `offset`; fewer only at the end. May raise Damaged, once all good bytes are given."""
        ...


class FileBytes:
    """An open file of `size` bytes as a `ByteSource`: Arrow's files raise where one reads behind their end."""

    __slots__ = ("_file", "_size")

    def __init__(self, file: pa.NativeFile, size: int) -> None:
        self._file, self._size = file, size

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Up to `nbytes` from `offset`, fewer only at the end."""
        left = self._size - offset
        return bytes(self._file.read_at(min(nbytes, left), offset)) if left > 0 else b""


class Window:
    """Bytes `[base, base + len(data))` of a source, refilled on demand.

    Bytes before the last `release` may go away; asking for them again reads the source again.
    """

    __slots__ = ("_floor", "_source", "base", "damage", "data", "ended")

    def __init__(self, source: ByteSource | None, base: int = 0, data: bytes = b"") -> None:
        self._source = source
        self._floor = base
        self.base = base
        self.data = data
        self.ended = source is None
        self.damage: Damaged | None = None

    def release(self, position: int) -> None:
        """Bytes before `position` are not needed any more."""
        self._floor = max(self._floor, position)

    def available(self, position: int, count: int) -> int:
        """How many of the `count` bytes from `position` there are. Raises Damaged where damage cuts them short."""
        if position < self.base or position > self.base + len(self.data):
            self._jump(position)
        while not self.ended and self.base + len(self.data) < position + count:
            self._refill(position + count)
        found = min(count, self.base + len(self.data) - position)
        if found < count and self.damage is not None:
            raise self.damage
        return max(found, 0)

    def bytes_at(self, position: int, count: int) -> bytes:
        """Up to `count` bytes from `position`, fewer only at the end."""
        found = self.available(position, count)
        start = position - self.base
        return self.data[start : start + found]

    def find(self, pattern: bytes, position: int, count: int) -> int:
        """Where `pattern` first starts within `count` bytes from `position`, or -1. Damage is raised if not found."""
        searched = position
        while True:
            if position < self.base:
                self._jump(position)
            begin, end = searched - self.base, position + count - self.base
            found = self.data.find(pattern, max(begin, 0), max(end, 0))
            if found >= 0:
                return self.base + found
            reached = self.base + len(self.data)
            if reached >= position + count or self.ended:
                if reached < position + count and self.damage is not None:
                    raise self.damage
                return -1
            searched = max(position, reached - len(pattern) + 1)
            self._refill(reached + 1)

    def _jump(self, position: int) -> None:
        if self._source is None:
            return
        self.base, self.data, self.ended, self.damage = position, b"", False, None
        self._floor = position

    def _refill(self, wanted: int) -> None:
        if self._source is None:
            return
        keep = max(min(self._floor - self.base, len(self.data)), 0)
        reached = self.base + len(self.data)
        step = max(STEP_BYTES, wanted - reached)
        try:
            more = self._source.read_at(step, reached)
        except Damaged as damage:
            self.damage, self.ended = damage, True
            return
        self.data = self.data[keep:] + more
        self.base += keep
        self.ended = not more
