"""The payload of an HTTP response as it was fetched: headers parsed, transfer and content codings undone, within bounds.

RFC 9112 (chunked), RFC 9110 section 8.4 (Content-Encoding). Archives are full of headers that no longer fit their body,
since many crawlers store the decoded body and the original headers. So a coding is undone where the bytes have it; where
they do not have it and are plainly text, they are taken as they are; anything else is a fault.
"""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass

import zstandard
from fastwarc.stream_io import BrotliReader

from pipelines.readers.gzip_members import inflate_exactly
from pipelines.readers.limits import MAX_ENCODINGS, MAX_HEADER_BYTES, RATIO_FLOOR_BYTES, ZSTD_WINDOW_BYTES
from pipelines.readers.warc_records import parse_headers
from pipelines.readers.windows import Damaged

STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?!\d)[^\n]*(?:\n|$)")
CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
TEXT_START = re.compile(rb"[\x09\x0a\x0c\x0d\x1b\x20-\x7e\x80-\xff]+")
PARAMETER = re.compile(r";\s*charset\s*=\s*[\"']?\s*([^\s;\"']{1,40})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Response:
    """Status code, headers (names in lower case), and the body still encoded."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def parse_response(block: bytes) -> Response:
    """Split the block of a `response` record. Raises Damaged("bad_http") if it does not start as HTTP does."""
    line = STATUS_LINE.match(block)
    if line is None:
        raise Damaged("bad_http", f"no HTTP status line: {block[:24]!r}")
    crlf = line[0].endswith(b"\r\n")
    ending = b"\r\n\r\n" if crlf else b"\n\n"
    # The search starts at the end of the status line, so that a response without any header is found, too.
    start = max(line.end() - len(ending) // 2, 0)
    end = block.find(ending, start, start + MAX_HEADER_BYTES)
    if end < 0:
        if len(block) > MAX_HEADER_BYTES:
            raise Damaged("bad_http", f"the HTTP headers do not end within {MAX_HEADER_BYTES} bytes")
        end = len(block)
    headers, _ = parse_headers(block[:end])
    return Response(int(line[1]), headers, block[end + len(ending) :])


def decode_body(response: Response, *, cap: int, max_ratio: int) -> bytes:
    """The body with chunks joined and content codings undone, at most `cap` bytes.

    Raises Damaged: truncated_payload, bad_content_encoding, unsupported_content_encoding, record_too_large,
    decompression_ratio_exceeded.
    """
    body = response.body
    transfer = response.headers.get(b"transfer-encoding", b"").lower()
    if b"chunked" in transfer:
        body = join_chunks(body)
    named = response.headers.get(b"content-encoding", b"").lower()
    if named or transfer:
        codings = [c for c in (part.strip() for part in (named + b"," + transfer).split(b",")) if c and c not in PLAIN]
        if len(codings) > MAX_ENCODINGS:
            raise Damaged("unsupported_content_encoding", f"{len(codings)} codings, more than {MAX_ENCODINGS}")
        for coding in reversed(codings):
            body = undo(coding, body, cap=cap, max_ratio=max_ratio)
    if len(body) > cap:
        raise Damaged("record_too_large", f"{len(body)} bytes of body, more than {cap}")
    return body


PLAIN = frozenset(
    {b"identity", b"none", b"utf-8", b"utf8", b"binary", b"8bit", b"7bit", b"chunked", b"text/html", b"*"}
)


def join_chunks(body: bytes) -> bytes:
    """Undo `Transfer-Encoding: chunked`. A body that does not start with a chunk was stored joined: it is returned."""
    chunks: list[bytes] = []
    position = 0
    while True:
        size_line = CHUNK_SIZE.match(body, position, position + 1024)
        if size_line is None:
            if not chunks:
                return body
            raise Damaged("truncated_payload", f"no chunk size at byte {position} of the body")
        size = int(size_line[1], 16)
        start = size_line.end()
        if size == 0:
            return b"".join(chunks)
        if start + size > len(body):
            raise Damaged("truncated_payload", f"chunk of {size} bytes, but only {len(body) - start} follow")
        chunks.append(body[start : start + size])
        position = start + size
        position += 2 if body.startswith(b"\r\n", position) else 1 if body.startswith(b"\n", position) else 0


def undo(coding: bytes, body: bytes, *, cap: int, max_ratio: int) -> bytes:
    """Undo one content coding: gzip, deflate, br or zstd."""
    if not body:
        return body
    coding = coding.removeprefix(b"x-")
    if coding == b"gzip":
        if body[:2] != b"\x1f\x8b":
            return _as_stored(coding, body)
        whole = inflate_exactly(body, cap, max_ratio)
        return _inflate(body, 31, cap, max_ratio) if whole is None else whole
    if coding == b"deflate":
        zlib_wrapped = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        try:
            return _inflate(body, 15 if zlib_wrapped else -15, cap, max_ratio)
        except Damaged as damage:
            if damage.reason not in ("bad_content_encoding", "truncated_payload") or not is_text(body):
                raise
            return body
    if coding == b"br":
        try:
            content: bytes = BrotliReader(io.BytesIO(body)).read(cap + 1)
        except OSError:
            return _as_stored(coding, body)
        return _bounded(content, len(body), cap, max_ratio)
    if coding == b"zstd":
        if body[:4] != b"\x28\xb5\x2f\xfd":
            return _as_stored(coding, body)
        try:
            reader = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).stream_reader(
                io.BytesIO(body), read_across_frames=True
            )
            return _bounded(reader.read(cap + 1), len(body), cap, max_ratio)
        except zstandard.ZstdError as error:
            raise Damaged("bad_content_encoding", f"zstd: {error}") from error
    raise Damaged("unsupported_content_encoding", repr(coding[:40]))


def _inflate(body: bytes, wbits: int, cap: int, max_ratio: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    rest = body
    while rest:
        inflate = zlib.decompressobj(wbits)
        while not inflate.eof:
            try:
                piece = inflate.decompress(rest, min(cap - size, 1 << 20) + 1)
            except zlib.error as error:
                raise Damaged("bad_content_encoding", str(error)) from error
            size += len(piece)
            pieces.append(piece)
            rest = inflate.unconsumed_tail
            if size > cap or (size > RATIO_FLOOR_BYTES and size > max_ratio * len(body)):
                return _bounded(b"".join(pieces), len(body), cap, max_ratio)
            if not piece and not rest and not inflate.eof:
                raise Damaged("truncated_payload", "the encoded body ends early")
        rest = inflate.unused_data
        if rest[:2] != b"\x1f\x8b":
            break
    return _bounded(b"".join(pieces), len(body), cap, max_ratio)


def _bounded(content: bytes, encoded: int, cap: int, max_ratio: int) -> bytes:
    if len(content) > RATIO_FLOOR_BYTES and len(content) > max_ratio * encoded:
        raise Damaged("decompression_ratio_exceeded", f"{len(content)} bytes or more out of {encoded}")
    if len(content) > cap:
        raise Damaged("record_too_large", f"more than {cap} bytes once decoded")
    return content


def _as_stored(coding: bytes, body: bytes) -> bytes:
    if is_text(body):
        return body
    raise Damaged("bad_content_encoding", f"said to be {coding.decode('latin-1')[:40]}, but is not")


def is_text(body: bytes) -> bool:
    """Whether the first 512 bytes hold no control characters but white space and ESC (ISO-2022).

    An encoded body of any length holds control characters among its first bytes, and does not pass.
    """
    head = body[:512]
    return bool(TEXT_START.fullmatch(head)) and len(head) >= min(len(body), 1)


def media_type_of(value: bytes | None) -> tuple[str | None, str | None]:
    """Media type and charset of a Content-Type header, in lower case; None where they are missing or cannot be.

    >>> media_type_of(b'Text/HTML; Charset="UTF-8"')
    ('text/html', 'utf-8')
    """
    if not value:
        return None, None
    text = value.decode("latin-1")
    media_type = text.partition(";")[0].strip().lower()[:100]
    charset = PARAMETER.search(text)
    plausible = re.fullmatch(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", media_type)
    return media_type if plausible else None, charset[1].lower() if charset and charset[1].isascii() else None
