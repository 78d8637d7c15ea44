"""A WARC file, or a byte range of it -> its records with their places. Any cut gives the same records, each once.

What a file's records are is decided in order: a sound member (or record, where the file is not compressed) is passed
over whole, whatever its bytes look like inside; where there is none, the next bytes that start like a record are the
next. A reader of a range starts LOOKBACK_BYTES before it and silently follows that rule. It may start inside a record
which holds a WARC of its own, but where that record ends both readings meet, before the range begins if no record is
longer than the lookback. Records within the cap never are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from pipelines.readers.compression import MemberStream, detect
from pipelines.readers.frames import Lz4, Zstd
from pipelines.readers.gzip_members import Gzip
from pipelines.readers.limits import LOOKBACK_BYTES, MAX_HEADER_BYTES
from pipelines.readers.members import Codec
from pipelines.readers.warc_records import Fault, Record, find_record, parse_records
from pipelines.readers.windows import ByteSource, Damaged, FileBytes, Window

RECORD_START = b"WARC/"
PADDING_BYTES = 1 << 20
DETECT_BYTES = LOOKBACK_BYTES
DETECT_MEMBERS = 1000


@dataclass(frozen=True, slots=True)
class Placed:
    """A record or fault, and where: `place` is its byte offset in the file, as text, and `length` what it takes there.

    The second and later records of one compressed member lie at `<offset of the member>+<offset in its content>`; in a
    file whose compressed members are not records, all lie at `u<offset in the content of the whole file>`.
    """

    place: str
    length: int
    found: Record | Fault


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What limits the reading of one file."""

    max_record_bytes: int
    max_ratio: int
    lookback_bytes: int = LOOKBACK_BYTES


def read_records(
    opened: pa.NativeFile, size: int, start: int | None, stop: int | None, bounds: Bounds
) -> Iterator[Placed]:
    """Records that start in `[start, stop)` of the file, in order; None is the file's start or end."""
    if size == 0:
        return
    file = FileBytes(opened, size)
    try:
        codec = _detect(file, bounds)
    except Damaged as damage:
        yield Placed("0", size, Fault(0, damage.reason, damage.detail))
        return
    if codec is None:
        yield from _plain_records(file, size, start or 0, size if stop is None else stop, bounds)
    elif start is None and stop is None and members_span_records(codec, file, bounds):
        yield from _spanning_records(codec, file, size, bounds)
    else:
        yield from _member_records(codec, file, size, start or 0, size if stop is None else stop, bounds)


def cut_points(opened: pa.NativeFile, size: int, shard_bytes: int, bounds: Bounds) -> list[int] | None:
    """Byte offsets at which to cut the file, with 0 and `size`; None where it cannot be cut."""
    if size <= shard_bytes:
        return None
    file = FileBytes(opened, size)
    try:
        codec = _detect(file, bounds)
    except Damaged:
        return None
    if codec is not None and not _first_member_is_one_record(codec, file, bounds):
        return None
    count = -(-size // shard_bytes)
    return [size * i // count for i in range(count + 1)]


def _detect(file: ByteSource, bounds: Bounds) -> Codec | None:
    """The codec of the file, also where its very first bytes are damaged: then that by which most of it is sound."""
    codec = detect(file)
    if codec is not None or file.read_at(256, 0).lstrip(b"\r\n").startswith(RECORD_START):
        return codec
    start = _Start(file)
    best, most = None, _sound_plain_bytes(start, bounds)
    for candidate in (Gzip(), Zstd(), Lz4()):
        sound = _sound_bytes(candidate, start, bounds)
        if sound > most:
            best, most = candidate, sound
    return best


def _sound_bytes(codec: Codec, start: ByteSource, bounds: Bounds) -> int:
    """Bytes of the members that are sound, from the first that starts a record."""
    window = Window(start)
    position, sound = codec.find(window, 0, RECORD_START), 0
    for _ in range(DETECT_MEMBERS):
        if position < 0:
            break
        window.release(position)
        whole = codec.whole(window, position, bounds.max_record_bytes + MAX_HEADER_BYTES, bounds.max_ratio)
        stop = _end_of_member(codec, start, position, bounds) if whole is None else whole[0]
        if stop > position:
            sound += stop - position
            position = stop if codec.starts(window, stop) else codec.find(window, stop, RECORD_START)
        else:
            position = codec.find(window, position + 1, RECORD_START)
    return sound


def _sound_plain_bytes(start: ByteSource, bounds: Bounds) -> int:
    window = Window(start)
    position, sound = find_record(window, 0), 0
    if position >= 0:
        records = parse_records(window, position, max_record_bytes=bounds.max_record_bytes)
        for found in islice(records, DETECT_MEMBERS):
            sound += found.stop - found.start if isinstance(found, Record) else 0
    return sound


def _end_of_member(codec: Codec, start: ByteSource, position: int, bounds: Bounds) -> int:
    """Where the member at `position` ends; -1 if it is damaged."""
    try:
        reader = codec.open(start, position, bounds.max_ratio)
        while reader.read(1 << 20):
            pass
    except Damaged:
        return -1
    return reader.stop


def _reach_plain(start: ByteSource, bounds: Bounds) -> int:
    window = Window(start)
    position = find_record(window, 0)
    if position >= 0:
        for _, found in zip(
            range(DETECT_MEMBERS),
            parse_records(window, position, max_record_bytes=bounds.max_record_bytes),
            strict=False,
        ):
            if isinstance(found, Fault):
                break
            position = found.stop
    return position


class _Start:
    """The first DETECT_BYTES of a file."""

    def __init__(self, file: ByteSource) -> None:
        self._file = file

    def read_at(self, nbytes: int, offset: int) -> bytes:
        left = max(DETECT_BYTES - offset, 0)
        return self._file.read_at(min(nbytes, left), offset) if left else b""


def _first_member_is_one_record(codec: Codec, file: ByteSource, bounds: Bounds) -> bool:
    window = Window(file)
    found = _first_member(codec, window, bounds)
    if found is None:
        return False
    stop, content = found
    records = list(parse_records(Window(None, 0, content), 0, max_record_bytes=bounds.max_record_bytes))
    return len(records) == 1 and isinstance(records[0], Record) and codec.starts(window, stop)


def _first_member(codec: Codec, window: Window, bounds: Bounds) -> tuple[int, bytes] | None:
    """The first member that is not empty (a dictionary's frame is), if it is sound and within the cap."""
    position = 0
    while codec.starts(window, position):
        whole = codec.whole(window, position, bounds.max_record_bytes + MAX_HEADER_BYTES, bounds.max_ratio)
        if whole is None or whole[1]:
            return whole
        position = whole[0]
    return None


def members_span_records(codec: Codec, file: ByteSource, bounds: Bounds) -> bool:
    """Whether the file was compressed in blocks without regard to records, as bgzip does it: its members only make
    sense one after the other. So it is if the first record goes on in a second member that starts no record.
    """
    window = Window(file)
    found = _first_member(codec, window, bounds)
    if found is None:
        return False
    stop, content = found
    records = list(parse_records(Window(None, 0, content), 0, max_record_bytes=bounds.max_record_bytes))
    if not content.startswith(RECORD_START) or not records or isinstance(records[-1], Record):
        return False
    if not codec.starts(window, stop):
        return False
    following = codec.whole(window, stop, bounds.max_record_bytes + MAX_HEADER_BYTES, bounds.max_ratio)
    return following is not None and not following[1].lstrip(b"\r\n").startswith(RECORD_START)


# --- not compressed ---------------------------------------------------------------------------------------------------


def _plain_records(file: ByteSource, size: int, start: int, stop: int, bounds: Bounds) -> Iterator[Placed]:
    window = Window(file)
    position = 0
    if start > bounds.lookback_bytes:
        position = find_record(Window(file, start - bounds.lookback_bytes), start - bounds.lookback_bytes)
        if position < 0:
            return
        window = Window(file, position)
    for found in parse_records(window, position, max_record_bytes=bounds.max_record_bytes):
        if found.start >= stop:
            return
        if found.start >= start:
            length = found.stop - found.start if isinstance(found, Record) else 0
            yield Placed(str(found.start), length, found)


# --- a member a record ------------------------------------------------------------------------------------------------


def _member_records(
    codec: Codec, file: ByteSource, size: int, start: int, stop: int, bounds: Bounds
) -> Iterator[Placed]:
    window = Window(file)
    position = 0
    if start > bounds.lookback_bytes:
        window = Window(file, start - bounds.lookback_bytes)
        position = codec.find(window, start - bounds.lookback_bytes, RECORD_START)
    cap = bounds.max_record_bytes + MAX_HEADER_BYTES
    while 0 <= position < min(stop, size):
        window.release(position)
        if not codec.starts(window, position):
            following = codec.find(window, position + 1, RECORD_START)
            gap = (size if following < 0 else following) - position
            if position >= start and not _is_padding(file, position, gap):
                yield Placed(str(position), gap, Fault(position, "corrupt_bytes", f"{gap} bytes between members"))
            position = following
            continue
        whole = codec.whole(window, position, cap, bounds.max_ratio)
        if whole is not None:
            after, content = whole
            inner = Window(None, 0, content)
            if position >= start:
                found = parse_records(inner, 0, max_record_bytes=bounds.max_record_bytes)
                yield from _placed_in_member(found, position, after - position)
            position = after
            continue
        try:
            stream = MemberStream(codec, file, position, max_ratio=bounds.max_ratio, spanning=False)
        except Damaged as damage:
            if position >= start:
                yield Placed(str(position), 0, Fault(position, damage.reason, damage.detail))
            position = codec.find(window, position + 1, RECORD_START)
            continue
        inner = Window(stream)
        found = parse_records(inner, 0, max_record_bytes=bounds.max_record_bytes, can_rewind=stream.can_rewind)
        if position >= start:
            yield from _placed_in_member(found, position, 0)
        else:
            for _ in found:
                pass
        sound = inner.damage is None and stream.stop > position
        position = stream.stop if sound else codec.find(window, position + 1, RECORD_START)


def _placed_in_member(found: Iterator[Record | Fault], member: int, length: int) -> Iterator[Placed]:
    for number, one in enumerate(found):
        yield Placed(str(member) if number == 0 else f"{member}+{one.start}", length, one)


def _is_padding(file: ByteSource, position: int, length: int) -> bool:
    """Whether all of it is zeros or newlines, as tape blocks and careless writers leave them."""
    for start in range(position, position + length, PADDING_BYTES):
        if file.read_at(min(PADDING_BYTES, position + length - start), start).strip(b"\0\r\n"):
            return False
    return True


# --- members without regard to records --------------------------------------------------------------------------------


def _spanning_records(codec: Codec, file: ByteSource, size: int, bounds: Bounds) -> Iterator[Placed]:
    """Members joined to one stream. After damage the stream starts anew at the next sound member."""
    position, base = 0, 0
    while 0 <= position < size:
        reached = position
        try:
            stream = MemberStream(codec, file, position, max_ratio=bounds.max_ratio, spanning=True)
        except Damaged as damage:
            yield Placed(f"u{base}", 0, Fault(base, damage.reason, damage.detail))
            base += 1
        else:
            inner = Window(stream)
            try:
                first = 0 if position == 0 else find_record(inner, 0)
            except Damaged as damage:
                first = -1
                yield Placed(f"u{base}", 0, Fault(base, damage.reason, damage.detail))
            furthest = 0
            if first >= 0:
                found = parse_records(
                    inner, first, max_record_bytes=bounds.max_record_bytes,
                    can_rewind=stream.can_rewind,
                )  # fmt: skip
                for one in found:
                    furthest = one.stop if isinstance(one, Record) else one.start
                    length = one.stop - one.start if isinstance(one, Record) else 0
                    yield Placed(f"u{base + one.start}", length, one)
            if inner.damage is None:
                return
            reached = stream.member
            base += furthest + 1
        window = Window(file, reached + 1)
        position = codec.find(window, reached + 1, b"")
