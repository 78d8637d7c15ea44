"""Lines of a text file, plain or compressed, or of a byte range of a plain one, in bounded memory.

A line belongs to the range in which it starts. Offsets are those of the decoded bytes, so an id made of one is the same
however the file is cut. Damage in a compressed file is a fault; reading goes on at the next sound member.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipelines.readers.compression import MemberStream, detect
from pipelines.readers.members import Codec
from pipelines.readers.warc_records import Fault
from pipelines.readers.windows import ByteSource, Damaged, FileBytes, Window

BLOCK_BYTES = 4 << 20
Line = tuple[int, bytes] | Fault


def read_lines(
    opened: pa.NativeFile, size: int, start: int | None, stop: int | None, *, max_line_bytes: int, max_ratio: int
) -> Iterator[Line]:
    """`(offset, line without its newline)` for each line that is not empty, or a fault, in order."""
    if size == 0:
        return
    file = FileBytes(opened, size)
    try:
        codec = detect(file)
    except Damaged as damage:
        yield Fault(0, damage.reason, damage.detail)
        return
    if codec is not None:
        yield from _compressed_lines(codec, file, size, max_line_bytes, max_ratio)
        return
    first = start or 0
    if first:
        first = _after_newline(file, first - 1, size)
    yield from _lines_of(file, first, size if stop is None else stop, max_line_bytes)


def is_compressed(opened: pa.NativeFile, size: int) -> bool:
    """Whether the file starts as a gzip, zstd or lz4 file does."""
    try:
        return detect(FileBytes(opened, size)) is not None
    except Damaged:
        return True


def _after_newline(file: ByteSource, position: int, size: int) -> int:
    """Where the first line starts after the first newline from `position` on."""
    while position < size:
        block = file.read_at(1 << 20, position)
        if not block:
            break
        found = block.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(block)
    return size


def _lines_of(
    source: ByteSource, position: int, stop: int | None, max_line_bytes: int, base: int = 0
) -> Iterator[Line]:
    """Lines that start from `position` and before `stop`; `base` is added to their offsets. Raises Damaged at damage."""
    carry: list[bytes] = []
    carried = 0
    line_start = position
    too_long = False
    while True:
        try:
            block = source.read_at(BLOCK_BYTES, position)
        except Damaged:
            if carried:
                yield Fault(base + line_start, "truncated_record", f"damage after {carried} bytes of the line")
            raise
        if not block:
            break
        position += len(block)
        lines = block.split(b"\n")
        for line in lines[:-1]:
            if stop is not None and line_start >= stop:
                return
            if too_long or carried + len(line) > max_line_bytes:
                yield _too_long(base + line_start, max_line_bytes)
                length, too_long = carried + len(line), False
            else:
                whole = b"".join((*carry, line)) if carry else line
                length = len(whole)
                if whole and not whole.isspace():
                    yield base + line_start, whole
            line_start += length + 1
            carry, carried = [], 0
        if stop is not None and line_start >= stop:
            return
        carried += len(lines[-1])
        too_long = too_long or carried > max_line_bytes
        carry = [] if too_long else [*carry, lines[-1]]
    if carried and (stop is None or line_start < stop):
        if too_long:
            yield _too_long(base + line_start, max_line_bytes)
        elif not (last := b"".join(carry)).isspace():
            yield base + line_start, last


def _too_long(offset: int, max_line_bytes: int) -> Fault:
    return Fault(offset, "record_too_large", f"a line of more than {max_line_bytes} bytes")


def _compressed_lines(codec: Codec, file: ByteSource, size: int, max_line_bytes: int, max_ratio: int) -> Iterator[Line]:
    position, base = 0, 0
    while 0 <= position < size:
        reached, furthest = position, base
        try:
            stream = MemberStream(codec, file, position, max_ratio=max_ratio, spanning=True)
            try:
                for line in _lines_of(stream, 0, None, max_line_bytes, base):
                    furthest = line.start if isinstance(line, Fault) else line[0] + len(line[1])
                    yield line
                return
            finally:
                reached = stream.member
        except Damaged as damage:
            yield Fault(furthest + 1, damage.reason, f"{damage.detail}, in the member at byte {reached} of the file")
        base = furthest + 2
        position = codec.find(Window(file, reached + 1), reached + 1, b"")
