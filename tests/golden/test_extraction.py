"""What each engine makes of a few pages written for this test, kept by settings, version and library version.

A difference here without a new `version` would let a build with the old fingerprint hold other text. After raising the
version, `python -m tests.golden.test_extraction` writes the file again.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pipelines.extraction import ExtractHtml
from pipelines.extraction.resiliparse_engine import Resiliparse
from pipelines.extraction.trafilatura_engine import Trafilatura

GOLDEN = Path(__file__).with_name("extraction.json")
SENTENCES = (
    "Bread rises because yeast turns sugar into gas, and the dough is elastic enough to hold it. ",
    "A long, cool rest gives the flour time to take up water, so the crumb opens and the crust browns well. ",
    "Salt goes in late: it tightens the gluten and slows the yeast down. ",
)
HEAD = "<!doctype html><html lang=en><head><meta charset=utf-8><title>Bread</title><style>p{color:red}</style></head><body>"
MENU = "<nav><ul><li><a href=/>Home</a><li><a href=/recipes>Recipes</a></ul></nav>"
FOOT = "<footer><p>© The bakery. <a href=/privacy>Privacy</a></p></footer><script>track('visit')</script></body></html>"
PAGES = {
    "article": HEAD
    + MENU
    + f"<article><h1>Why bread rises</h1><p>{SENTENCES[0]}<p>{SENTENCES[1]}<h2>Salt</h2><p>{SENTENCES[2]}</article>"
    + "<aside><h3>Related</h3><a href=/rye>Rye</a> <a href=/oat>Oat</a></aside>"
    + FOOT,
    "list and table": HEAD
    + f"<main><h1>Recipe</h1><ol><li>{SENTENCES[0]}<li>{SENTENCES[1]}</ol>"
    + f"<table><tr><th>Flour<th>Water<tr><td>500 g<td>350 g</table><pre>a  b\n  c</pre><p>{SENTENCES[2]}</main>"
    + FOOT,
    "content in a block that looks like a sidebar": HEAD
    + MENU
    + f"<div class='sidebar widget'><h1>Bread</h1>{''.join(f'<p>{s}</p>' for s in SENTENCES)}</div><p>Next page"
    + FOOT,
    "forum": HEAD
    + "".join(
        f"<div class=post><span class=author>baker{n}</span><div class=message>{s}</div></div>"
        for n, s in enumerate(SENTENCES)
    )
    + FOOT,
    "scripts of the world": HEAD
    + "<main><p>面包发酵，是因为酵母把糖变成气体。<p>الخبز يرتفع لأن الخميرة تحوّل السكر إلى غاز.<p>रोटी फूलती है।</main>"
    + FOOT,
    "broken": f"<p>{SENTENCES[0]}<b>bold<p>{SENTENCES[1]}</i></table></div><td>cell<p>{SENTENCES[2]}",
    "only navigation": HEAD + MENU + FOOT,
    "nothing": "",
}
ENGINES = (
    Resiliparse(),
    Resiliparse(min_main_fraction=0, links=True, alt_texts=True, list_bullets=True),
    Trafilatura(),
)


def outputs() -> dict[str, Any]:
    """`{"engine version, library version": {page: text}}`."""
    made: dict[str, Any] = {}
    for engine in ENGINES:
        extractor = ExtractHtml(engine=engine)
        key = f"{engine!r} version {engine.version}, {engine.libraries[0]} {version(engine.libraries[0])}"
        made[key] = {name: extractor.text_of(page.encode(), "text/html", None) for name, page in PAGES.items()}
    return made


@pytest.mark.parametrize("key", list(outputs()))
def test_outputs_are_those_of_this_version(key):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert key in golden, (
        "an engine, its version or its library changed: look at the difference, then write the file again"
    )
    assert outputs()[key] == golden[key]


def test_the_default_engine_keeps_content_and_leaves_boilerplate():
    """What the golden file must say, whatever else is in it."""
    texts = {
        page: text
        for key, made in outputs().items()
        if key.startswith("Resiliparse(min_main_fraction=0.25")
        for page, text in made.items()
    }
    for page in ("article", "content in a block that looks like a sidebar", "forum", "broken"):
        assert all(sentence.strip() in texts[page] for sentence in SENTENCES)
    assert not any(word in text for text in texts.values() for word in ("Recipes", "Privacy", "track", "color"))


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(outputs(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
