"""What a record is, by its content first and its media type second: servers mislabel pages in both directions.

Content that names itself wins (a `<!doctype html>` under any label, a PDF under `text/html`), as in the WHATWG MIME
Sniffing Standard; what says nothing of itself is what the server said.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

HTML: Final = "html"
TEXT: Final = "text"

SNIFFED_BYTES: Final = 4096

_HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
_TEXT_TYPES: Final = frozenset({"text/plain"})
_UNKNOWN_TYPES: Final = frozenset(
    {None, "", "unknown/unknown", "application/unknown", "application/octet-stream", "*/*"}
)

_BINARY: Final = re.compile(
    rb"%PDF-|%!PS-|\x89PNG\r\n|GIF8[79]a|\xff\xd8\xff|PK\x03\x04|\x1f\x8b\x08|BZh[1-9]1AY|\x28\xb5\x2f\xfd|7z\xbc\xaf"
    rb"|Rar!\x1a|RIFF.{4}(?:WAVE|AVI |WEBP)|OggS\x00|ID3[\x02-\x04]|fLaC\x00|\x1aE\xdf\xa3|\x00\x00\x00.ftyp|wOF[F2]\x00"
    rb"|OTTO\x00|\x00\x01\x00\x00|\x00\x00\x01\x00|\x7fELF|MZ.\x00|\xd0\xcf\x11\xe0|[CF]WS[\x01-\x40].{3}\x00|II\*\x00"
    rb"|MM\x00\*|\x00asm|BM.{4}\x00\x00\x00\x00|\xca\xfe\xba\xbe",
    re.DOTALL,
)
_SPACE_AND_COMMENTS: Final = rb"(?>\s+|<!--(?>.*?-->)|<\?xml[^>]{0,500}>)*+"
_IS_PAGE: Final = re.compile(_SPACE_AND_COMMENTS + rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_LIKE_PAGE: Final = re.compile(
    _SPACE_AND_COMMENTS
    + rb"<(?:title|meta|link|script|style|base|div|p|br|table|h[1-6]|a|b|font|iframe|center|span|ul)\b",
    re.IGNORECASE | re.DOTALL,
)
_WIDE_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def kind_of(content: bytes, media_type: str | None) -> str | None:
    """HTML, TEXT, or None for what is neither.

    >>> kind_of(b"<!DOCTYPE html><p>a", "application/pdf"), kind_of(b"%PDF-1.7", "text/html"), kind_of(b"a", "text/plain")
    ('html', None, 'text')
    """
    head = content[:SNIFFED_BYTES]
    for mark, charset in _WIDE_MARKS:
        if head.startswith(mark):
            head = head[len(mark) :].decode(charset, "replace").encode("utf-8", "replace")
            break
    head = head.removeprefix(codecs.BOM_UTF8)
    if _BINARY.match(head):
        return None
    if _IS_PAGE.match(head):
        return HTML
    if media_type in _HTML_TYPES:
        return HTML
    if media_type in _TEXT_TYPES:
        return TEXT
    if media_type in _UNKNOWN_TYPES and _LIKE_PAGE.match(head):
        return HTML
    return None
