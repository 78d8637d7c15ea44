"""Deterministic limits of one page, named with their defaults in one place, and the reasons they yield.

Nothing here depends on time or on the machine. Each default lies well above the largest of 1,422 real pages (three
extraction test suites, November 2026), given in brackets; beyond them work grows faster than the page. The worst pages
found that stay within all of them take 3 s and 500 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pipelines.errors import ConfigError
from pipelines.extraction.page_size import measure_page

HTML_TOO_LARGE: Final = "html_too_large"
TOO_MANY_NODES: Final = "too_many_nodes"
TOO_MANY_ATTRIBUTES: Final = "too_many_attributes"
TOO_DEEP: Final = "too_deep"
TEXT_TOO_LARGE: Final = "text_too_large"

MAX_HTML_BYTES: Final = 16 << 20
"""Bytes of a page as fetched, and of its UTF-8 [2,084,163]: what the WARC reader lets through."""

MAX_NODES: Final = 200_000
"""Elements and texts a parser would make of it, as `measure_page` counts them [50,177]. Main-content rules cost nodes x
depth."""

MAX_ATTRIBUTES: Final = 2_000
"""Attributes of one tag [185]. Parsers look for repeated names pair by pair: 20,000 on one tag take 1.3 s."""

MAX_DEPTH: Final = 256
"""Elements open at once [49]. 20,000 nested `<div>` (100 kB) hold the main-content rules for 15 s, and 20,000 nested
lists come out as 400 MB of indentation."""

MAX_TEXT_BYTES: Final = 16 << 20
"""UTF-8 bytes of the extracted text."""


@dataclass(frozen=True, kw_only=True)
class PageSize:
    """What one look at a page says: `(reason, detail)` of the first limit it exceeds, or None, and how much text it has.

    `num_text_characters` is that of `measure_page`, 0 where the page was too large to be measured.
    """

    fault: tuple[str, str] | None
    num_text_characters: int


@dataclass(frozen=True, kw_only=True)
class PageLimits:
    """Bounds of one page, all inclusive. Raises ConfigError for a bound below 1."""

    max_html_bytes: int = MAX_HTML_BYTES
    max_nodes: int = MAX_NODES
    max_attributes: int = MAX_ATTRIBUTES
    max_depth: int = MAX_DEPTH
    max_text_bytes: int = MAX_TEXT_BYTES

    def __post_init__(self) -> None:
        for name, bound in vars(self).items():
            if bound < 1:
                raise ConfigError(f"PageLimits: {name} = {bound}; give a number of 1 or more")

    def measure(self, html: bytes) -> PageSize:
        """The size of a page (UTF-8) within these limits. One pass; the page is not parsed."""
        if len(html) > self.max_html_bytes:
            detail = f"{len(html)} bytes > max_html_bytes = {self.max_html_bytes}"
            return PageSize(fault=(HTML_TOO_LARGE, detail), num_text_characters=0)
        nodes, depth, attributes, characters = measure_page(
            np.frombuffer(html, np.uint8), self.max_nodes, self.max_depth, self.max_attributes
        )
        return PageSize(fault=self._fault(nodes, depth, attributes), num_text_characters=characters)

    def _fault(self, nodes: int, depth: int, attributes: int) -> tuple[str, str] | None:
        if depth > self.max_depth:
            return TOO_DEEP, f"{depth} elements open at once > max_depth = {self.max_depth}"
        if attributes > self.max_attributes:
            return TOO_MANY_ATTRIBUTES, f"{attributes} attributes on one tag > max_attributes = {self.max_attributes}"
        if nodes > self.max_nodes:
            return TOO_MANY_NODES, f"{nodes} nodes > max_nodes = {self.max_nodes}"
        return None
