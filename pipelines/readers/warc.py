"""WARC and WET files (gzip, zstd, lz4 or plain) -> raw batches: one row for each page that was fetched.

Rows are `response` records with a 2xx status, `resource` and `conversion` records, of a wanted media type. What is no
page by its kind (requests, redirects, images) is counted as skipped; what should be one and cannot be read is
quarantined with its reason, and reading goes on behind it.
"""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, ClassVar

import pyarrow as pa

from pipelines import storage
from pipelines.errors import ConfigError
from pipelines.readers.batches import RowBuffer
from pipelines.readers.http_payload import Response, decode_body, media_type_of, parse_response
from pipelines.readers.limits import MAX_RATIO, MAX_RECORD_BYTES, MAX_RECORDS_PER_SHARD
from pipelines.readers.warc_file import Bounds, Placed, cut_points, read_records
from pipelines.readers.warc_records import Fault, Record
from pipelines.readers.windows import Damaged
from pipelines.records import FileShard, Quarantined, Skipped, SourceFile
from pipelines.schema import RAW

RECORD_KINDS = (b"warcinfo", b"request", b"metadata", b"revisit")
MEDIA_KINDS = ("text", "image", "audio", "video", "font", "application", "multipart", "message", "model")
UNTOLD = frozenset({None, "application/octet-stream", "binary/octet-stream", "unknown/unknown", "application/unknown"})
"""Media types that say nothing: the content is looked at instead."""

HTML_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,512}?-->\s*)*<(?:!doctype\s+html|html|head|body)\b",
    re.I | re.S,
)
BINARY_START = re.compile(
    rb"\x89PNG\r|\xff\xd8\xff|GIF8[79]a|%PDF-|PK\x03\x04|\x1f\x8b\x08|RIFF....(?:WEBP|WAVE|AVI )|OggS|ID3|wOF[F2]|"
    rb"\x7fELF|MZ\x90|\x00\x00\x00.ftyp|BM....\x00\x00\x00\x00|Rar!\x1a|7z\xbc\xaf|II\x2a\x00|MM\x00\x2a|\x00\x00\x01\x00",
    re.DOTALL,
)
CONTROLS = bytes(byte for byte in (*range(32), 127) if byte not in b"\t\n\f\r\x1b")
DATE = re.compile(rb"(\d{4})-?(\d\d)-?(\d\d)[T ]?(\d\d):?(\d\d):?(\d\d)(?:\.\d{1,9})?Z?")
UUID = re.compile(r"<?(?:urn:uuid:)?([^<>]+)>?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class WarcReader:
    """Reads WARC 0.17 to 1.1.

    `id_field` is the WARC header that names a record; where it is "" or missing, the id is 16 hex digits of the file's
    sha256 and the record's place. A response's media type is judged by `WARC-Identified-Payload-Type` where there is
    one, since servers lie. The columns `media_type` and `charset` say what the server said.
    """

    yields: ClassVar[str] = "raw"
    version: ClassVar[int] = 1

    id_field: str = "WARC-Record-ID"
    media_types: tuple[str, ...] = ("text/html", "application/xhtml+xml", "text/plain")
    max_record_bytes: int = MAX_RECORD_BYTES
    max_ratio: int = MAX_RATIO
    max_records: int = MAX_RECORDS_PER_SHARD

    def __post_init__(self) -> None:
        for name in ("max_record_bytes", "max_ratio", "max_records"):
            if getattr(self, name) < 1:
                raise ConfigError(f"WarcReader: {name} = {getattr(self, name)} must be at least 1")

    def cut(self, file: SourceFile, shard_bytes: int) -> tuple[tuple[int | None, int | None], ...]:
        """Byte ranges of equal length where each record is a compressed member of its own; else one."""
        if file.size <= shard_bytes:
            return ((None, None),)
        with storage.open_input(file.uri) as opened:
            points = cut_points(opened, file.size, shard_bytes, self._bounds())
        return ((None, None),) if points is None else tuple(pairwise(points))

    def read(self, shard: FileShard) -> Iterator[pa.RecordBatch | Quarantined | Skipped]:
        """RAW batches in order of the file, what was quarantined as it is met, and counts of what was skipped."""
        rows = RowBuffer(RAW)
        skipped: Counter[str] = Counter()
        with storage.open_input(shard.file.uri) as file:
            placed = read_records(file, shard.file.size, shard.start, shard.stop, self._bounds())
            for number, one in enumerate(placed):
                if number >= self.max_records:
                    detail = f"more than max_records = {self.max_records}; the rest of the shard was not read"
                    yield self._quarantined(shard, one, "too_many_records", detail)
                    break
                if isinstance(one.found, Fault):
                    yield self._quarantined(shard, one, one.found.reason, one.found.detail)
                    continue
                try:
                    row = self._row(shard, one, one.found)
                except Damaged as damage:
                    yield self._quarantined(shard, one, damage.reason, damage.detail)
                    continue
                if isinstance(row, str):
                    skipped[row] += 1
                elif full := rows.add(row, len(row[2])):
                    yield full
        yield from rows.finish()
        for kind, count in sorted(skipped.items()):
            yield Skipped(kind=kind, count=count)

    def _bounds(self) -> Bounds:
        return Bounds(max_record_bytes=self.max_record_bytes, max_ratio=self.max_ratio)

    def _row(self, shard: FileShard, placed: Placed, record: Record) -> tuple[Any, ...] | str:
        """Values in the order of RAW, or the kind that the record is skipped as. Raises Damaged."""
        headers = record.headers
        kind = headers[b"warc-type"].lower()
        if kind in RECORD_KINDS:
            return kind.decode()
        if (
            kind == b"continuation"
            or headers.get(b"warc-segment-number", b"1") != b"1"
            or b"warc-segment-total-length" in headers
        ):
            raise Damaged("segmented_record", "a record in segments is not joined")
        if kind not in (b"response", b"resource", b"conversion"):
            return "unknown_record_type"
        content_type = headers.get(b"content-type", b"")
        response = None
        if kind == b"response" and (content_type[:16].lower() == b"application/http" or record.block[:5] == b"HTTP/"):
            response = parse_response(record.block)
            if not 200 <= response.status < 300:
                return f"http_status_{response.status}"
            content_type = response.headers.get(b"content-type", b"")
        media_type, charset = media_type_of(content_type)
        judged, _ = media_type_of(headers.get(b"warc-identified-payload-type"))
        judged = judged or media_type
        if judged not in self.media_types and judged not in UNTOLD:
            return _media_kind(judged)
        content = self._content(response, record)
        if not content.strip():
            return "empty_payload"
        if judged in UNTOLD and not ("text/html" in self.media_types and HTML_START.match(content, 0, 2048)):
            return "media_type_unknown"
        if BINARY_START.match(content) or _is_binary(content[:1024]):
            raise Damaged("binary_content", f"said to be {judged}, starts with {content[:16]!r}")
        url = headers.get(b"warc-target-uri", b"").strip(b"<> ").decode("utf-8", "replace")
        seconds = _seconds(headers.get(b"warc-date", b""))
        return (
            self._id(shard, placed, headers), shard.source, content, media_type, charset, url or None, seconds,
            _locator(shard, placed),
        )  # fmt: skip

    def _content(self, response: Response | None, record: Record) -> bytes:
        if response is None:
            return record.block
        return decode_body(response, cap=self.max_record_bytes, max_ratio=self.max_ratio)

    def _id(self, shard: FileShard, placed: Placed, headers: dict[bytes, bytes]) -> str:
        named = headers.get(self.id_field.lower().encode(), b"").decode("utf-8", "replace") if self.id_field else ""
        match = UUID.fullmatch(named)
        return match[1] if match else f"{shard.file.checksum[:16]}-{placed.place}"

    def _quarantined(self, shard: FileShard, placed: Placed, reason: str, detail: str) -> Quarantined:
        headers = placed.found.headers or {}
        return Quarantined(
            reason=reason, locator=_locator(shard, placed), detail=detail[:300], id=self._id(shard, placed, headers)
        )


def _locator(shard: FileShard, placed: Placed) -> str:
    return f"{shard.file.checksum}:{placed.place}:{placed.length}"


def _media_kind(media_type: str | None) -> str:
    top = (media_type or "").partition("/")[0]
    return f"media_type_{top if top in MEDIA_KINDS else 'other'}"


def _is_binary(head: bytes) -> bool:
    """Whether NUL or control characters say so. UTF-16 and UTF-32 hold them as well, but regularly.

    >>> _is_binary("<html>".encode("utf-16-le")), _is_binary(bytes(range(20)) * 5), _is_binary(b"<p>" * 99 + bytes(1))
    (False, True, False)
    """
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head[:4] == b"\0\0\xfe\xff":
        return False
    zeros = head.count(0)
    even = head[::2].count(0)
    if zeros >= len(head) // 8 and min(even, zeros - even) * 20 <= zeros:
        return False
    return zeros * 100 > len(head) or (len(head) - len(head.translate(None, CONTROLS))) * 16 > len(head)


def _seconds(date: bytes) -> int | None:
    """`WARC-Date` in seconds since 1970, in UTC; None where it is no date.

    >>> _seconds(b"1970-01-02T00:00:01Z"), _seconds(b"yesterday")
    (86401, None)
    """
    match = DATE.fullmatch(date)
    if match is None:
        return None
    try:
        return calendar.timegm(datetime(*(int(part) for part in match.groups())).timetuple())  # type: ignore[arg-type]
    except ValueError:
        return None
