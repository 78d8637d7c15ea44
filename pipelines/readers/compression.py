"""A compressed file as one stream of decoded bytes. Its codec is told by its first bytes, never by its name.

A zstd WARC may have a dictionary: a skippable frame at its start (IIPC, "Zstandard Compression for WARC files 1.0").
"""

from __future__ import annotations

import io

import zstandard

from pipelines.readers.frames import Lz4, Zstd, is_skippable
from pipelines.readers.gzip_members import Gzip
from pipelines.readers.limits import MAX_REWINDS, ZSTD_DICTIONARY_BYTES
from pipelines.readers.members import READ_BYTES, Codec
from pipelines.readers.windows import ByteSource, Damaged, Window

DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"


def detect(source: ByteSource) -> Codec | None:
    """The codec of a file by its first bytes; None where it is not compressed."""
    head = source.read_at(8, 0)
    if head[:3] == Gzip.magic:
        return Gzip()
    if head[:4] == DICTIONARY_MAGIC:
        return Zstd(dictionary=_read_dictionary(source))
    if head[:4] == Zstd.magic or is_skippable(head):
        return Zstd()
    return Lz4() if head[:4] == Lz4.magic else None


def _read_dictionary(source: ByteSource) -> bytes:
    size = int.from_bytes(source.read_at(8, 0)[4:8], "little")
    if size > ZSTD_DICTIONARY_BYTES:
        raise Damaged("corrupt_member", f"zstd dictionary of {size} bytes")
    dictionary = source.read_at(size, 8)
    if dictionary[:4] != Zstd.magic:
        return dictionary
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(dictionary)) as reader:
        return bytes(reader.read(ZSTD_DICTIONARY_BYTES))


class MemberStream:
    """The decoded bytes of the member at `position`, or with `spanning` of it and all behind it, as a `ByteSource`.

    Going back decodes again from the start, at most MAX_REWINDS times: ask `can_rewind()` first.
    """

    def __init__(self, codec: Codec, file: ByteSource, position: int, *, max_ratio: int, spanning: bool) -> None:
        self._codec, self._file, self._start = codec, file, position
        self._max_ratio, self._spanning = max_ratio, spanning
        self._rewinds = 0
        self._damage: Damaged | None = None
        self._open(position)

    def _open(self, position: int) -> None:
        self._reader = self._codec.open(self._file, position, self._max_ratio)
        self._member = position
        self._position = 0

    def can_rewind(self) -> bool:
        """Whether an offset before the current one may still be read."""
        return self._rewinds < MAX_REWINDS

    @property
    def stop(self) -> int:
        """Where the last member read ends in the file; -1 while it was not read to its end."""
        return self._reader.stop

    @property
    def member(self) -> int:
        """Where the member that was read last starts in the file."""
        return self._member

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Up to `nbytes` decoded bytes from `offset`. Raises Damaged once all bytes before the damage were given."""
        if offset < self._position:
            self._rewinds += 1
            self._damage = None
            self._open(self._start)
        while self._position < offset:
            if not self._next(min(READ_BYTES * 16, offset - self._position)):
                return b""
        pieces: list[bytes] = []
        while nbytes > 0:
            try:
                piece = self._next(nbytes)
            except Damaged as damage:
                if not pieces:
                    raise
                self._damage = damage
                break
            if not piece:
                break
            pieces.append(piece)
            nbytes -= len(piece)
        return b"".join(pieces)

    def _next(self, nbytes: int) -> bytes:
        if self._damage is not None:
            raise self._damage
        while True:
            content = self._reader.read(nbytes)
            if content or not self._spanning:
                self._position += len(content)
                return content
            stop = self._reader.stop
            if not self._codec.starts(Window(self._file, stop), stop):
                if self._file.read_at(1, stop):
                    raise Damaged("corrupt_bytes", f"no {self._codec.name} member at {stop}")
                return b""
            self._member = stop
            self._reader = self._codec.open(self._file, stop, self._max_ratio)
