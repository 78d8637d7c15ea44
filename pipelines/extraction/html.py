"""Raw batch -> document batch: the one extractor, which hands pages to an engine and keeps every record accounted for.

A page becomes a document, also one with no main content (its text is empty, and filters say so); or it is set aside with
one of the reasons below. Nothing depends on time: a page has limits of size, nodes and depth instead (`limits`).
"""

from __future__ import annotations

import codecs
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol, runtime_checkable

import pyarrow as pa

from pipelines.errors import ConfigError
from pipelines.extraction.limits import HTML_TOO_LARGE, TEXT_TOO_LARGE, PageLimits
from pipelines.extraction.media import HTML, kind_of
from pipelines.extraction.resiliparse_engine import Resiliparse
from pipelines.readers.charset import decode
from pipelines.records import Quarantined
from pipelines.schema import DOCUMENT

UNSUPPORTED_MEDIA_TYPE: Final = "unsupported_media_type"
NOT_TEXT: Final = "not_text"
EXTRACTION_FAILED: Final = "extraction_failed"

ENGINES: Final = ("resiliparse", "trafilatura")


@runtime_checkable
class HtmlEngine(Protocol):
    """A frozen dataclass whose fields are settings: they, `version` and `libraries` are part of the fingerprint.

    An engine that keeps tables, code or formulas differs in what it writes into the text, not in this protocol.
    """

    def extract_text(self, html: str, num_text_characters: int | None = None) -> str:
        """The text of a page within limits, "" where there is none. The same arguments give the same text, always.

        `num_text_characters` is what `measure_page` says of this page: more than its text has, menus and all. An engine
        may spare itself work by it, or pass it over.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ExtractHtml:
    """HTML by `engine` (a name of ENGINES with its defaults, or an engine), text/plain as it is.

    Quarantines, by reason: `unsupported_media_type` for what is neither by content and label, `not_text` for what no
    charset explains, the reasons of `PageLimits`, and `extraction_failed` where the engine raised. Raises ConfigError
    for an engine that there is not.
    """

    engine: HtmlEngine | str = "resiliparse"
    limits: PageLimits = field(default_factory=PageLimits)

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if isinstance(self.engine, str):
            object.__setattr__(self, "engine", engine_named(self.engine))
        if not isinstance(self.engine, HtmlEngine) or not _takes_two(self.engine.extract_text):
            raise ConfigError(
                f"ExtractHtml: engine {self.engine!r} has no extract_text(html, num_text_characters); "
                f"expected one of {ENGINES}"
            )

    def extract(self, raw: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Quarantined]]:
        """RAW -> DOCUMENT: rows in order, less those quarantined."""
        texts: list[str] = []
        kept: list[int] = []
        quarantined: list[Quarantined] = []
        contents, media_types, charsets = (raw.column(name) for name in ("content", "media_type", "charset"))
        for row in range(raw.num_rows):
            outcome = self.text_of(contents[row].as_py(), media_types[row].as_py(), charsets[row].as_py())
            if isinstance(outcome, str):
                texts.append(outcome)
                kept.append(row)
            else:
                reason, detail = outcome
                identity = {"id": raw.column("id")[row].as_py(), "locator": raw.column("locator")[row].as_py()}
                quarantined.append(Quarantined(reason=reason, detail=detail, **identity))
        rest = raw.select([name for name in DOCUMENT.names if name != "text"])
        if quarantined:
            rest = rest.take(pa.array(kept, pa.int64()))
        columns = {name: rest.column(name) for name in rest.schema.names} | {"text": pa.array(texts, pa.large_string())}
        return pa.RecordBatch.from_arrays([columns[name] for name in DOCUMENT.names], schema=DOCUMENT), quarantined

    def text_of(self, content: bytes, media_type: str | None, charset: str | None) -> str | tuple[str, str]:
        """The text of one record, or `(reason, detail)` where it cannot become a document."""
        if len(content) > self.limits.max_html_bytes:
            return HTML_TOO_LARGE, f"{len(content)} bytes > max_html_bytes = {self.limits.max_html_bytes}"
        kind = kind_of(content, media_type)
        if kind is None:
            return UNSUPPORTED_MEDIA_TYPE, f"{media_type or 'no media type'}, and its content is not HTML"
        decoded = decode(content, charset, "text/html" if kind == HTML else media_type)
        if not decoded.is_readable:
            return NOT_TEXT, f"{decoded.num_replaced} of {len(decoded.text)} characters are not {decoded.charset}"
        text = decoded.text
        if kind == HTML:
            as_fetched = decoded.charset == "utf-8" and not decoded.num_replaced and content[:3] != codecs.BOM_UTF8
            size = self.limits.measure(content if as_fetched else text.encode())
            if size.fault is not None:
                return size.fault
            try:
                text = self.engine.extract_text(text, size.num_text_characters)  # type: ignore[union-attr]
            except MemoryError:
                raise
            except Exception as error:  # whatever a page does to an engine, it does to that page alone
                return EXTRACTION_FAILED, f"{type(error).__name__}: {error}"[:300]
        most = self.limits.max_text_bytes
        if 4 * len(text) > most and len(text.encode()) > most:  # a character has at most 4 bytes
            return TEXT_TOO_LARGE, f"more than max_text_bytes = {most} of text"
        return text


def _takes_two(method: Callable[..., str]) -> bool:
    """Whether an engine can be called as it will be; else every page would be set aside with a TypeError."""
    try:
        inspect.signature(method).bind("", 0)
    except (TypeError, ValueError):
        return False
    return True


def engine_named(name: str) -> HtmlEngine:
    """The engine `name` with its default settings. Raises ConfigError naming the known ones."""
    if name == "resiliparse":
        return Resiliparse()
    if name == "trafilatura":
        # heavy, and only wanted by who asks for it
        from pipelines.extraction.trafilatura_engine import Trafilatura

        return Trafilatura()
    raise ConfigError(f"ExtractHtml: engine = {name!r}; expected one of {', '.join(ENGINES)}")
