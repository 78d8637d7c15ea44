"""zstd (RFC 8878) and lz4 frames (LZ4 frame format 1.6): blocks tell their lengths, so a frame's end is known undecoded."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import zstandard

from pipelines.readers.limits import ZSTD_WINDOW_BYTES
from pipelines.readers.members import HEAD_BYTES, READ_BYTES, MemberReader, check_ratio, find_member, is_bomb
from pipelines.readers.windows import ByteSource, Damaged, Window

SKIPPABLE_HEAD = b"\x2a\x4d\x18"
DECODE_ERRORS = (zstandard.ZstdError, OSError, pa.ArrowException)


class Broken(Damaged):
    """A frame whose blocks break off; what lies before `reached` may still decode."""

    def __init__(self, reason: str, detail: str, reached: int) -> None:
        super().__init__(reason, detail)
        self.reached = reached


@dataclass(frozen=True, kw_only=True)
class Zstd:
    """zstd frames; `dictionary` is that of the file, if it has one."""

    name: str = "zstd"
    dictionary: bytes = b""
    magic: ClassVar[bytes] = b"\x28\xb5\x2f\xfd"

    def starts(self, window: Window, position: int) -> bool:
        """A frame, or one to be skipped."""
        head = window.bytes_at(position, 4)
        return head == self.magic or is_skippable(head)

    def whole(self, window: Window, position: int, cap: int, max_ratio: int) -> tuple[int, bytes] | None:
        """The frame's blocks are walked by their lengths, so its end is known before it is decoded."""
        return _whole_frame(self, window, position, cap, max_ratio)

    def open(self, source: ByteSource, position: int, max_ratio: int) -> MemberReader:
        """Decode the frame bit by bit."""
        return _FrameMember(self, source, position, max_ratio)

    def find(self, window: Window, position: int, prefix: bytes) -> int:
        """Every occurrence of the magic bytes whose first block decodes to `prefix`."""
        return find_member(self, window, position, prefix)

    def end(self, window: Window, position: int, *, max_blocks: int = 0, reach: int = 0) -> int:
        """Where the frame ends, or its first `max_blocks` blocks do; -1 if that is more than `reach` bytes away.

        Without `reach` the window moves along, and what it passed is released. Raises Broken where it breaks off.
        """
        head = window.bytes_at(position, 18)
        if is_skippable(head):
            return position + 8 + int.from_bytes(head[4:8], "little")
        if len(head) < 6:
            raise Broken("truncated_record", "the file ends within a zstd frame", position + len(head))
        flags = head[4]
        if flags & 0x08:
            raise Broken("corrupt_member", "zstd: reserved bit set", position)
        single = bool(flags & 0x20)
        sizes = (1 if single else 0, 2, 4, 8)
        here = position + 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3] + sizes[flags >> 6]
        blocks = 0
        while True:
            block = window.bytes_at(here, 3)
            if len(block) < 3:
                raise Broken("truncated_record", "the file ends within a zstd frame", here + len(block))
            if not _go_on(window, position, here, reach):
                return -1
            value = int.from_bytes(block, "little")
            last, kind, size = value & 1, value >> 1 & 3, value >> 3
            if kind == 3 or size > 128 << 10:
                raise Broken("corrupt_member", "zstd: impossible block", here)
            here += 3 + (1 if kind == 1 else size)
            blocks += 1
            if last:
                return here + (4 if flags & 0x04 else 0)
            if blocks == max_blocks:
                return here

    def decode(self, file: Any) -> Any:
        """A stream of the content of the one frame that `file` holds."""
        dictionary = zstandard.ZstdCompressionDict(self.dictionary) if self.dictionary else None
        decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=ZSTD_WINDOW_BYTES)
        return decompressor.stream_reader(file)

    def head(self, window: Window, position: int) -> bytes:
        """The first bytes of the frame's content, or b"" if it cannot be one."""
        return _head_of_frame(self, window, position)


@dataclass(frozen=True, kw_only=True)
class Lz4:
    """lz4 frames."""

    name: str = "lz4"
    magic: ClassVar[bytes] = b"\x04\x22\x4d\x18"

    def starts(self, window: Window, position: int) -> bool:
        """A frame, or one to be skipped."""
        head = window.bytes_at(position, 4)
        return head == self.magic or is_skippable(head)

    def whole(self, window: Window, position: int, cap: int, max_ratio: int) -> tuple[int, bytes] | None:
        """The frame's blocks are walked by their lengths, so its end is known before it is decoded."""
        return _whole_frame(self, window, position, cap, max_ratio)

    def open(self, source: ByteSource, position: int, max_ratio: int) -> MemberReader:
        """Decode the frame bit by bit."""
        return _FrameMember(self, source, position, max_ratio)

    def find(self, window: Window, position: int, prefix: bytes) -> int:
        """Every occurrence of the magic bytes whose first block decodes to `prefix`."""
        return find_member(self, window, position, prefix)

    def end(self, window: Window, position: int, *, max_blocks: int = 0, reach: int = 0) -> int:
        """Where the frame ends, or its first `max_blocks` blocks do; -1 if that is more than `reach` bytes away.

        Without `reach` the window moves along, and what it passed is released. Raises Broken where it breaks off.
        """
        head = window.bytes_at(position, 8)
        if is_skippable(head):
            return position + 8 + int.from_bytes(head[4:8], "little")
        if len(head) < 7:
            raise Broken("truncated_record", "the file ends within an lz4 frame", position + len(head))
        flags = head[4]
        if flags >> 6 != 1:
            raise Broken("corrupt_member", "lz4: unknown version", position)
        here = position + 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
        blocks = 0
        while True:
            field = window.bytes_at(here, 4)
            if len(field) < 4:
                raise Broken("truncated_record", "the file ends within an lz4 frame", here + len(field))
            if not _go_on(window, position, here, reach):
                return -1
            size = int.from_bytes(field, "little") & 0x7FFFFFFF
            if field == b"\0\0\0\0":
                return here + 4 + (4 if flags & 0x04 else 0)
            if size > 4 << 20:
                raise Broken("corrupt_member", "lz4: impossible block", here)
            here += 4 + size + (4 if flags & 0x10 else 0)
            blocks += 1
            if blocks == max_blocks:
                return here

    def decode(self, file: Any) -> Any:
        """A stream of the content of the one frame that `file` holds."""
        return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "lz4")

    def head(self, window: Window, position: int) -> bytes:
        """The first bytes of the frame's content, or b"" if it cannot be one."""
        return _head_of_frame(self, window, position)


def _go_on(window: Window, position: int, here: int, reach: int) -> bool:
    if reach:
        return here - position <= reach
    window.release(here)
    return True


def is_skippable(head: bytes) -> bool:
    """Whether `head` starts a frame without content."""
    return len(head) >= 4 and head[1:4] == SKIPPABLE_HEAD and head[0] >> 4 == 5


def _whole_frame(
    codec: Zstd | Lz4, window: Window, position: int, cap: int, max_ratio: int
) -> tuple[int, bytes] | None:
    try:
        stop = codec.end(window, position, reach=cap + (cap >> 6) + (1 << 10))
        if stop < 0:
            return None
        frame = window.bytes_at(position, stop - position)
        if len(frame) < stop - position:
            return None
        if is_skippable(frame):
            return stop, b""
        content = _read_fully(codec.decode(io.BytesIO(frame)), cap + 1)
    except (Damaged, *DECODE_ERRORS):
        return None
    if len(content) > cap or is_bomb(len(content), len(frame), max_ratio):
        return None
    return stop, content


def _read_fully(file: Any, nbytes: int) -> bytes:
    pieces = []
    while nbytes > 0 and (piece := file.read(nbytes)):
        pieces.append(piece)
        nbytes -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _head_of_frame(codec: Zstd | Lz4, window: Window, position: int) -> bytes:
    try:
        stop = codec.end(window, position, max_blocks=1, reach=8 << 20)
        return _read_fully(codec.decode(io.BytesIO(window.bytes_at(position, stop - position))), HEAD_BYTES)
    except (Damaged, *DECODE_ERRORS):
        return b""


class _Extent(io.RawIOBase):
    """`[start, stop)` of a source as a readable file."""

    def __init__(self, source: ByteSource, start: int, stop: int) -> None:
        super().__init__()
        self._source, self._position, self._stop = source, start, stop

    def readable(self) -> bool:
        return True

    def read(self, nbytes: int = -1) -> bytes:
        left = self._stop - self._position
        content = self._source.read_at(left if nbytes < 0 else min(nbytes, left), self._position)
        self._position += len(content)
        return content


class _FrameMember:
    def __init__(self, codec: Zstd | Lz4, source: ByteSource, position: int, max_ratio: int) -> None:
        self._broken: Broken | None = None
        try:
            self._stop = codec.end(Window(source, position), position)
            if not source.read_at(1, self._stop - 1):
                self._broken = Broken("truncated_record", f"the file ends within a {codec.name} frame", self._stop)
        except Broken as broken:
            self._broken, self._stop = broken, broken.reached
        self._size = self._stop - position
        self._max_ratio = max_ratio
        skipped = is_skippable(source.read_at(4, position))
        self._file = io.BytesIO() if skipped else codec.decode(_Extent(source, position, self._stop))
        self._out = 0
        self.stop = -1

    def read(self, nbytes: int) -> bytes:
        try:
            content: bytes = self._file.read(min(nbytes, READ_BYTES))
        except DECODE_ERRORS as error:
            raise self._broken or Damaged("corrupt_member", str(error)[:200]) from error
        self._out += len(content)
        check_ratio(self._out, self._size, self._max_ratio)
        if not content:
            if self._broken is not None:
                raise self._broken
            self.stop = self._stop
        return content
