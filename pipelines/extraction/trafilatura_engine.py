"""HTML -> main text by trafilatura (Barbaresi 2021, ACL demo; github.com/adbar/trafilatura), versions 1.x and 2.x.

Slower by an order of magnitude than the default engine; here to compare with, and for who wants it. The only import of
`trafilatura`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, Final

import trafilatura

from pipelines.errors import ConfigError

FOCUSES: Final = ("balanced", "precision", "recall")
_SILENT: Final = logging.NullHandler()


@dataclass(frozen=True, kw_only=True)
class Trafilatura:
    """`trafilatura.extract` with its own defaults; `focus` is balanced, precision or recall.

    Its `deduplicate` is not offered: it remembers earlier pages, so the text of one would depend on their order.
    Raises ConfigError for another focus.
    """

    focus: str = "balanced"
    include_comments: bool = True
    include_tables: bool = True

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("trafilatura", "lxml", "jusText")

    def __post_init__(self) -> None:
        if self.focus not in FOCUSES:
            raise ConfigError(f"Trafilatura: focus = {self.focus!r}; expected one of {', '.join(FOCUSES)}")

    def extract_text(self, html: str, num_text_characters: int | None = None) -> str:
        """Lines of text; "" where trafilatura finds none. The number of characters is passed over."""
        # it reports pages without content as errors, which without any handler end up on stderr
        logging.getLogger("trafilatura").addHandler(_SILENT)
        text = trafilatura.extract(
            html,
            favor_precision=self.focus == "precision",
            favor_recall=self.focus == "recall",
            include_comments=self.include_comments,
            include_tables=self.include_tables,
            deduplicate=False,
        )
        return text or ""
