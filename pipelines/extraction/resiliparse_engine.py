"""HTML -> main text by resiliparse (Bevendorff et al. 2018, ECIR; github.com/chatnoir-eu/chatnoir-resiliparse).

Its main-content rules go by names of elements, classes and ids. They are right on most pages and, on some, take the
content for boilerplate: where little is left of the page they are overruled by a plainer reading, which leaves out
nothing but what HTML and ARIA themselves call navigation, banner, footer, aside and dialog.

docs/extraction.md has the figures behind each setting and how to measure them again. The only import of
`resiliparse.extract` and `resiliparse.parse.html`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from pipelines.errors import ConfigError

_DIALOGS: Final = ("dialog", "[role=dialog]")
_NOT_CONTENT: Final = (
    *("nav", "footer", "aside", "button", "select"),
    *("[role=navigation]", "[role=banner]", "[role=contentinfo]", "[role=search]", "[aria-hidden=true]"),
    *_DIALOGS,
)


@dataclass(frozen=True, kw_only=True)
class Resiliparse:
    """Main content as resiliparse finds it, or the page without what is marked as no content.

    The latter where the former has less than `min_main_fraction` of its characters; 0 turns that off. It is not even
    read where the main content has at least that fraction of all text characters of the page, if their number is given:
    see `extract_text`. The other fields are resiliparse's own. Raises ConfigError for a fraction outside 0 to 1.
    """

    min_main_fraction: float = 0.25
    alt_texts: bool = False
    links: bool = False
    list_bullets: bool = False
    form_fields: bool = False
    noscript: bool = False
    comments: bool = True
    post_meta: bool = True
    hidden_elements: bool = True

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("resiliparse",)

    def __post_init__(self) -> None:
        if not 0 <= self.min_main_fraction <= 1:
            raise ConfigError(f"Resiliparse: min_main_fraction = {self.min_main_fraction}; give a fraction from 0 to 1")

    def extract_text(self, html: str, num_text_characters: int | None = None) -> str:
        """Lines of text, blocks apart; "" where the page has none. Raises what resiliparse raises.

        The main content stays without a second reading if it has at least `min_main_fraction * num_text_characters`
        characters. Otherwise, and with None, both readings are compared. That can only differ where the plainer reading
        is longer than the page's text characters: by line breaks, indentation, `links`, `alt_texts` and the like.
        """
        tree = HTMLTree.parse(html)
        options = {
            "preserve_formatting": True,
            "alt_texts": self.alt_texts,
            "links": self.links,
            "list_bullets": self.list_bullets,
            "form_fields": self.form_fields,
            "noscript": self.noscript,
        }
        main: str = extract_plain_text(
            tree,
            main_content=True,
            comments=self.comments,
            post_meta=self.post_meta,
            hidden_elements=self.hidden_elements,
            skip_elements=_DIALOGS,
            **options,
        )
        if not self.min_main_fraction:
            return main
        if num_text_characters is not None and len(main) >= self.min_main_fraction * num_text_characters:
            return main
        whole: str = extract_plain_text(tree, skip_elements=_NOT_CONTENT, **options)
        return whole if len(main) < self.min_main_fraction * len(whole) else main
