"""The report is one well-formed page that fetches nothing and runs nothing, whatever the documents say."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtures.charts import bars, escape, funnel, histogram, line, number, shares
from mixtures.report import MAX_SAMPLE_CHARACTERS, render_report
from tests.report_sections import HOSTILE, sections

ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "section", "ol", "li", "b", "strong", "span",
    "div", "svg", "rect", "line", "path", "text", "i", "wbr", "dl", "dt", "dd", "pre", "code", "article", "header", "footer",
    "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip


class Page(HTMLParser):
    """Collects tags, attributes and text; complains where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.extend(attrs)
        if tag not in {"meta", "wbr"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(page: str) -> Page:
    reader = Page()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_fetches_nothing():
    page = render_report(sections())
    reader = parsed(page)
    assert reader.tags <= ALLOWED
    names = {name for name, _ in reader.attributes}
    assert not names & {"src", "href", "srcset", "xlink:href", "action", "data", "style", "poster", "background"}
    assert not [name for name in names if name.startswith("on")]
    style = page.split("<style>")[1].split("</style>")[0]
    assert not re.search(r"url\(|@import|https?:|//", style)
    assert "default-src 'none'" in page


def test_hostile_text_is_shown_as_text():
    reader = parsed(render_report(sections()))
    shown = "".join(reader.text)
    assert "<script>alert(1)</script>" in shown
    assert "␀␛[31m\ufffdgnp.exe &amp;" in shown


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_no_text_breaks_the_page(text):
    filled = sections()
    filled["title"] = filled["subtitle"] = text
    filled["samples"] = [{"text": text, "reason": text, "explain": text, "id": text, "source": text}]
    filled["artifacts"][0] |= {"name": text}
    filled["artifacts"][0]["counts"]["dropped"] = {text: 3}
    filled["mixture"]["components"][0]["name"] = text or "x"
    filled["mixture"]["warnings"] = [text]
    page = render_report(filled)
    assert parsed(page).tags <= ALLOWED
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page)
    page.encode()


def test_a_lone_surrogate_cannot_stop_the_page():
    assert render_report({"title": "\ud800"}).encode()


def test_every_section_is_there_and_empty_ones_are_left_out():
    page = render_report(sections())
    keys = [
        "line",
        "funnel",
        "reasons",
        "languages",
        "lengths",
        "duplicates",
        "tokenizer",
        "mixture",
        "smoke",
        "samples",
        "provenance",
    ]
    assert re.findall(r'<section id="(\w+)">', page) == keys
    assert re.findall(r'<section id="(\w+)">', render_report({"title": "x"})) == []
    only = {"artifacts": [{"name": "a", "counts": {"documents": 3, "kept": 1, "dropped": {"x/y": 2}}}]}
    assert re.findall(r'<section id="(\w+)">', render_report(only)) == ["line", "funnel", "reasons", "provenance"]


def test_figures_are_those_of_the_sections():
    text = " ".join(parsed(render_report(sections())).text)
    for figure in (
        "742 kept (61%), 468 dropped, 30 unreadable",
        "171 (37%)",
        "391,576 parameters",
        "4.070",
        "2.910",
        "331.2K",
    ):
        assert figure in text
    assert "component 'web/news' repeats every 66,000 tokens" in text
    assert "From 1,240 records to 572,213 tokens" in text


def test_long_samples_are_cut_and_say_so():
    page = render_report({"samples": [{"text": "x" * (MAX_SAMPLE_CHARACTERS + 1234), "reason": "r"}]})
    assert "1,234 characters more" in page
    assert "x" * (MAX_SAMPLE_CHARACTERS + 1) not in page


def test_many_reasons_end_in_others():
    dropped = {f"s/r{i:02d}": 100 - i for i in range(30)}
    page = render_report({"artifacts": [{"name": "a", "counts": {"documents": 9000, "kept": 0, "dropped": dropped}}]})
    assert "16 others" in page
    assert "r14" not in page


def test_the_same_sections_give_the_same_page():
    reordered = sections()
    counts = reordered["artifacts"][0]["counts"]
    counts["dropped"] = dict(reversed(counts["dropped"].items()))
    counts["languages"] = dict(reversed(counts["languages"].items()))
    assert render_report(reordered) == render_report(sections())


def test_an_unhealthy_run_and_an_exhausted_tokenizer_are_marked():
    filled = sections()
    filled["smoke"] |= {"healthy": False, "losses": [8.0, float("nan"), float("inf"), 9.0]}
    filled["artifacts"][3]["notes"]["tokenizer"] |= {"exhausted": True}
    text = " ".join(parsed(render_report(filled)).text)
    assert "did not learn" in text
    assert "too small for the 4,096 entries" in text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(), max_size=30))
def test_a_curve_of_anything_is_finite_markup(values):
    drawn = line(values, x_label="step", y_label=HOSTILE)
    assert parsed(drawn).tags <= ALLOWED
    coordinates = re.findall(r'd="([^"]*)"', drawn)
    assert not any(word in d for d in coordinates for word in ("nan", "inf", "e"))


def test_bars_are_in_proportion():
    widths = re.findall(r'width="([\d.]+)"', bars([("a", 10, ""), ("b", 5, ""), ("c", 0, "")]))
    assert widths == ["100.00", "50.00", "0.00"]
    assert re.findall(r'width="([\d.]+)"', funnel([("a", [(6, "a"), (2, "b")], ""), ("b", [(4, "a")], "")])) == [
        "75.00",
        "25.00",
        "50.00",
    ]
    assert "75.0%" in shares([("a", 3), ("b", 1)])
    assert bars([]) == '<div class="bars"></div>'


def test_histogram_columns_are_in_proportion():
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" rx', histogram([0, 1, 2, 4], [4, 2, 0], x_label="n"))]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[2] == 0


@pytest.mark.parametrize(
    ("value", "text"), [(1234567, "1,234,567"), (0.12345, "0.123"), (12.0, "12"), (4321.7, "4,322"), (0, "0")]
)
def test_numbers(value, text):
    assert number(value) == text


def test_escape():
    assert escape('<b onclick="x">\'\x00\n') == "&lt;b onclick=&quot;x&quot;&gt;&#x27;␀\n"
