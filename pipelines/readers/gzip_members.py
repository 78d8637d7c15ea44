"""gzip members (RFC 1952): the usual one fast, by FastWARC's inflate; any other by zlib, bit by bit."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

from fastwarc.stream_io import GzipReader

from pipelines.readers.members import HEAD_BYTES, READ_BYTES, MemberReader, check_ratio, find_member, is_bomb
from pipelines.readers.windows import ByteSource, Damaged, Window

SALVAGE_BYTES = 64


@dataclass(frozen=True, kw_only=True)
class Gzip:
    """gzip members."""

    name: str = "gzip"
    magic: ClassVar[bytes] = b"\x1f\x8b\x08"
    reach: ClassVar[int] = 4 << 20

    def starts(self, window: Window, position: int) -> bool:
        """Magic bytes, deflate, and none of the reserved flags."""
        head = window.bytes_at(position, 4)
        return head[:3] == self.magic and len(head) == 4 and head[3] < 0x20

    def whole(self, window: Window, position: int, cap: int, max_ratio: int) -> tuple[int, bytes] | None:
        """Guess that the member ends where the next magic bytes are, and prove it by its length and checksum.

        FastWARC's inflate is 1.6 times as fast as zlib's (603 and 362 MB/s), but cannot say where a member ended.
        A wrong guess costs one failed attempt: three given bytes turn up once in 16 MB.
        """
        stop = window.find(self.magic, position + 18, self.reach)
        if stop < 0:
            found = window.available(position, self.reach)
            if found == self.reach:
                return None
            stop = position + found
        member = window.bytes_at(position, stop - position)
        content = inflate_exactly(member, cap, max_ratio)
        return None if content is None else (stop, content)

    def open(self, source: ByteSource, position: int, max_ratio: int) -> MemberReader:
        """By zlib, which tells the end exactly."""
        return _GzipMember(source, position, max_ratio)

    def find(self, window: Window, position: int, prefix: bytes) -> int:
        """Every occurrence of the magic bytes whose first bytes inflate to `prefix`."""
        return find_member(self, window, position, prefix)

    def head(self, window: Window, position: int) -> bytes:
        """The first bytes of the member's content, or b"" if it cannot be one."""
        try:
            return zlib.decompressobj(31).decompress(window.bytes_at(position, 1024), HEAD_BYTES)
        except zlib.error:
            return b""


def inflate_exactly(member: bytes, cap: int, max_ratio: int) -> bytes | None:
    """The content of `member`, if it is one sound gzip member, nothing behind it, and neither too large nor a bomb."""
    size = int.from_bytes(member[-4:], "little")
    if size > cap or is_bomb(size, len(member), max_ratio):
        return None
    try:
        content: bytes = GzipReader(io.BytesIO(member), buffer_size=16384).read(size + 1)
    except OSError:
        return None
    return content if len(content) == size and size else None


class _GzipMember:
    def __init__(self, source: ByteSource, position: int, max_ratio: int) -> None:
        self._source = source
        self._start = self._position = position
        self._max_ratio = max_ratio
        self._inflate = zlib.decompressobj(31)
        self._pending = b""
        self._out = 0
        self._damage: Damaged | None = None
        self.stop = -1

    def read(self, nbytes: int) -> bytes:
        if self._damage is not None:
            raise self._damage
        while self.stop < 0:
            if not self._pending:
                self._pending = self._source.read_at(READ_BYTES, self._position)
                self._position += len(self._pending)
                if not self._pending:
                    raise Damaged("truncated_record", "the file ends within a gzip member")
            content = self._decode(nbytes)
            self._out += len(content)
            if self._inflate.eof:
                self.stop = self._position - len(self._inflate.unused_data)
            check_ratio(self._out, self._position - len(self._pending) - self._start, self._max_ratio)
            if content:
                return content
            if self._damage is not None:
                raise self._damage
        return b""

    def _decode(self, nbytes: int) -> bytes:
        before = self._inflate.copy()
        try:
            content = self._inflate.decompress(self._pending, nbytes)
        except zlib.error as error:
            self._damage = Damaged("corrupt_member", f"gzip: {error}")
            return _salvage(before, self._pending, nbytes)
        self._pending = self._inflate.unconsumed_tail
        return content


def _salvage(inflate: Any, pending: bytes, nbytes: int) -> bytes:
    """What zlib can give before the damage: an error costs it everything that one call would have returned."""
    good = []
    left = nbytes
    for start in range(0, len(pending), SALVAGE_BYTES):
        try:
            piece = inflate.decompress(pending[start : start + SALVAGE_BYTES], left)
        except zlib.error:
            break
        good.append(piece)
        left -= len(piece)
        if left <= 0:
            break
    return b"".join(good)
