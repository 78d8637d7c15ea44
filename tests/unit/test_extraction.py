"""Raw batches to documents: what is extracted, what is set aside and why, and that nothing vanishes."""

import pickle
import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigError
from pipelines.extraction import ExtractHtml, PageLimits
from pipelines.extraction.html import HtmlEngine
from pipelines.extraction.media import kind_of
from pipelines.extraction.resiliparse_engine import Resiliparse
from pipelines.extraction.trafilatura_engine import Trafilatura
from pipelines.fingerprint import identity
from pipelines.records import Extractor
from pipelines.schema import DOCUMENT, RAW

STORY = "The lighthouse keeper counted the ships that passed before dawn and wrote their names into a long green book. "
PAGE = (
    "<!doctype html><html><head><title>Title</title><script>var x = 'never';</script></head><body>"
    "<nav><a href=/>Home</a> <a href=/more>More</a></nav>"
    f"<main><article><h1>The keeper</h1><p>{STORY}</p><p>Grüße, 你好.</p></article></main>"
    "<footer>Imprint</footer></body></html>"
)


def raw(*records: tuple[bytes, str | None, str | None]) -> pa.RecordBatch:
    rows = [
        {"id": f"id-{n}", "source": "s", "content": content, "media_type": media, "charset": charset, "url": None}
        | {"fetched_at": None, "locator": f"file:{n}:1"}
        for n, (content, media, charset) in enumerate(records)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=RAW)


def html(content: str) -> tuple[bytes, str, None]:
    return content.encode(), "text/html", None


@pytest.mark.parametrize("engine", ["resiliparse", "trafilatura"])
def test_main_text_is_extracted(engine):
    documents, quarantined = ExtractHtml(engine=engine).extract(raw(html(PAGE)))
    assert documents.schema == DOCUMENT
    assert not quarantined
    (text,) = documents.column("text").to_pylist()
    assert STORY.strip() in text
    assert "你好" in text
    for boilerplate in ("Imprint", "More", "never"):
        assert boilerplate not in text


def test_rows_stay_in_order_and_every_record_is_accounted_for():
    batch = raw(
        html(PAGE),
        (b"%PDF-1.7", "application/pdf", None),
        (b"plain\r\ntext", "text/plain", None),
        html("<div>" * 1000),
        html("<html><body></body></html>"),
    )
    documents, quarantined = ExtractHtml().extract(batch)
    assert documents.column("id").to_pylist() == ["id-0", "id-2", "id-4"]
    assert documents.column("text").to_pylist()[1:] == ["plain\r\ntext", ""]
    assert [(q.id, q.locator, q.reason) for q in quarantined] == [
        ("id-1", "file:1:1", "unsupported_media_type"),
        ("id-3", "file:3:1", "too_deep"),
    ]


def test_an_empty_batch_gives_an_empty_batch():
    documents, quarantined = ExtractHtml().extract(raw())
    assert (documents.num_rows, documents.schema, quarantined) == (0, DOCUMENT, [])


def test_a_batch_in_which_nothing_is_text_gives_no_documents():
    documents, quarantined = ExtractHtml().extract(raw((b"\x89PNG\r\n\x1a\n", "text/html", None)))
    assert (documents.num_rows, len(quarantined)) == (0, 1)


@pytest.mark.parametrize(
    ("content", "media_type", "expected"),
    [
        (b"<p>a", "text/html", "html"),
        (b"", "text/html", "html"),
        (b"a", "application/xhtml+xml", "html"),
        (b"a < b", "text/plain", "text"),
        (b"\xef\xbb\xbf\n<!-- c --><!DOCTYPE html><p>a", "text/plain", "html"),
        ("\ufeff<html>".encode("utf-16-le"), "text/plain", "html"),
        (b"<?xml version='1.0'?>\n<html xmlns='http://www.w3.org/1999/xhtml'>", "application/xml", "html"),
        (b"<?xml version='1.0'?><rss>", "application/xml", None),
        (b"<HTML>", "application/pdf", "html"),
        (b"<htmlx>", "application/pdf", None),
        (b"<p>a", None, "html"),
        (b"<p>a", "application/octet-stream", "html"),
        (b"a", None, None),
        (b"%PDF-1.4", "text/html", None),
        (b"PK\x03\x04", "text/plain", None),
        (b"{}", "application/json", None),
        (b"MZ is a name, BM too", "text/plain", "text"),
        (b"<!-- -->" * 500 + b"x", "image/png", None),
    ],
)
def test_content_speaks_before_its_label(content, media_type, expected):
    assert kind_of(content, media_type) == expected


@given(st.binary(max_size=200), st.sampled_from([None, "text/html", "text/plain", "image/png"]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_become_a_document_or_are_quarantined(content, media_type):
    documents, quarantined = ExtractHtml().extract(raw((content, media_type, "utf-8"), html(PAGE)))
    assert documents.num_rows + len(quarantined) == 2
    assert documents.column("id").to_pylist()[-1] == "id-1"
    documents.validate(full=True)


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "utf-16-le", "shift_jis", None])
def test_the_charset_is_the_contents_own(charset):
    words = "日本語のとても長い文章です。" * 20
    content = f"<html><body><p>{words}</p></body></html>".encode("shift_jis")
    assert ExtractHtml().text_of(content, "text/html", charset) == words


def test_what_no_charset_explains_is_quarantined():
    noise = bytes((n * 7919 + n // 3) % 256 for n in range(4000)).replace(b"\x1b", b"")
    reason, _ = ExtractHtml().text_of(b"<html>" + noise, "text/html", None)
    assert reason == "not_text"


@pytest.mark.parametrize(
    ("limits", "content", "reason"),
    [
        (PageLimits(max_html_bytes=10), "<p>123456789", "html_too_large"),
        (PageLimits(max_nodes=10), "<p>1<p>2<p>3<p>4<p>5<p>6", "too_many_nodes"),
        (PageLimits(max_depth=3), "<div><div><div><div>x", "too_deep"),
        (PageLimits(max_attributes=2), "<p a b c>x", "too_many_attributes"),
        (PageLimits(max_text_bytes=10), "<html><body><p>一二三四", "text_too_large"),
    ],
)
def test_each_limit_has_its_reason_and_is_inclusive(limits, content, reason):
    found, detail = ExtractHtml(limits=limits).text_of(content.encode(), "text/html", None)
    assert found == reason
    assert reason == "text_too_large" or str(max(vars(limits).values())) != detail
    (name,) = (n for n, bound in vars(limits).items() if bound != getattr(PageLimits(), n))
    looser = PageLimits(**{name: {"max_nodes": 12, "max_depth": 4, "max_attributes": 3}.get(name, 12)})
    assert isinstance(ExtractHtml(limits=looser).text_of(content.encode(), "text/html", None), str)


def test_plain_text_has_the_limits_of_text():
    extractor = ExtractHtml(limits=PageLimits(max_text_bytes=5))
    assert extractor.text_of(b"12345", "text/plain", None) == "12345"
    assert extractor.text_of(b"123456", "text/plain", None)[0] == "text_too_large"


HOSTILE = {
    "unclosed": "'<div>' * 100_000",
    "closed": "'<div>' * 100_000 + 'x' + '</div>' * 100_000",
    "formatting": "'<p>' + ''.join(f'<font size={n}>' for n in range(3000)) + '</p>' + '<p>x</p>' * 3000",
    "attribute": "'<a href=\"' + 'x' * 5_000_000 + '\">y</a>'",
    "attributes": "'<p ' + ' '.join(f'a{n}' for n in range(100_000)) + '>y'",
    "table": "'<table>' + '<tr><td>x<td>y' * 200_000",
    "lists": "'<ul><li>' * 20_000",
    "nul": "'<p>a\\0b</p>' * 50_000",
    "bytes": "b'<p>\\xff\\xfe\\x80' * 100_000",
    "surrogates": "'<p>&#xD800;&#0;&#x110000;</p>' * 1000",
    "open tag": "'<a ' * 1_000_000",
    "end tags in a script": "'<script>' + '</a' * 1_000_000",
    "comments": "'<!--' * 1_000_000",
    "entities": "'&amp;' * 1_000_000",
}
RUN_HOSTILE = """
import resource
from pipelines.extraction import ExtractHtml
from pipelines.passes import peak_memory_bytes
extractor = ExtractHtml()
extractor.text_of(b"<p>a", "text/html", None)
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
page = {page}
outcome = extractor.text_of(page if isinstance(page, bytes) else page.encode(), "text/html", None)
text = outcome if isinstance(outcome, str) else ""
text.encode()
peak = peak_memory_bytes()  # not ru_maxrss, which a child inherits from the process that started it
assert peak < 1_000_000_000, peak
print("document" if isinstance(outcome, str) else outcome[0])
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_end_within_bounds(name):
    """In a process of its own, which 30 s of CPU or a crash of the parser would end."""
    code = RUN_HOSTILE.format(page=HOSTILE[name])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    known = {"document", "too_deep", "too_many_nodes", "too_many_attributes", "not_text"}
    assert done.stdout.strip() in known


class Broken:
    def extract_text(self, html: str, num_text_characters: int | None = None) -> str:
        raise ValueError(f"cannot read {len(html)} characters")


def test_an_engine_that_raises_costs_one_page():
    documents, quarantined = ExtractHtml(engine=Broken()).extract(raw(html("<p>a"), (b"b", "text/plain", None)))
    assert documents.column("text").to_pylist() == ["b"]
    assert [(q.reason, q.detail) for q in quarantined] == [
        ("extraction_failed", "ValueError: cannot read 4 characters")
    ]


def test_little_main_content_is_overruled_and_boilerplate_stays_out():
    """resiliparse takes a block of class `sidebar` for boilerplate; here it is all there is."""
    page = (
        f"<body><nav>Home</nav><div class=sidebar><p>{STORY * 3}</p></div><p>Short.</p><footer>Imprint</footer></body>"
    )
    assert STORY not in Resiliparse(min_main_fraction=0).extract_text(page)
    overruled = Resiliparse().extract_text(page)
    assert STORY.strip() in overruled
    assert "Home" not in overruled
    assert "Imprint" not in overruled


def test_main_content_is_not_overruled_where_the_page_has_too_little_else():
    """The second reading is spared by the number of text characters, and the rule is inclusive."""
    page = f"<body><div class=sidebar><p>{STORY * 3}</p></div><p>Short.</p></body>"
    engine = Resiliparse()
    main = Resiliparse(min_main_fraction=0).extract_text(page)
    assert main == "Short."
    assert engine.extract_text(page, 4 * len(main)) == main
    assert engine.extract_text(page, 4 * len(main) + 1) == engine.extract_text(page) != main
    assert ExtractHtml().text_of(page.encode(), "text/html", None) == engine.extract_text(page)


class Measured:
    def extract_text(self, html: str, num_text_characters: int | None = None) -> str:
        return str(num_text_characters)


def test_the_engine_is_told_how_much_text_the_page_has():
    assert ExtractHtml(engine=Measured()).text_of("<p title=x>é\n 你".encode(), "text/html", None) == "3"
    latin = "<html><p>Une soirée très agréable à l'été".encode("latin-1")
    assert ExtractHtml(engine=Measured()).text_of(latin, "text/html", "latin-1") == "32"


class Outdated:
    def extract_text(self, html: str) -> str:
        return html


def test_settings_reach_the_engine():
    page = "<main><p>" + STORY + "</p><img alt='A lamp'><a href='/x'>link</a><ul><li>one</ul></main>"
    plain = Resiliparse().extract_text(page)
    assert "A lamp" not in plain
    assert "/x" not in plain
    assert "A lamp" in Resiliparse(alt_texts=True).extract_text(page)
    assert "/x" in Resiliparse(links=True).extract_text(page)
    listed = f"<main><h1>Ships</h1><ol><li>{STORY}<li>{STORY}</ol><p>{STORY}</main>"
    assert "1. The" not in Resiliparse().extract_text(listed)
    assert "1. The" in Resiliparse(list_bullets=True).extract_text(listed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExtractHtml(engine="goose"),
        lambda: ExtractHtml(engine=None),
        lambda: ExtractHtml(engine=Outdated()),
        lambda: Resiliparse(min_main_fraction=1.5),
        lambda: Trafilatura(focus="speed"),
        lambda: PageLimits(max_depth=0),
    ],
)
def test_settings_that_cannot_be_used_fail_at_construction(make):
    with pytest.raises(ConfigError):
        make()


def test_a_name_is_the_engine_with_its_defaults():
    assert ExtractHtml() == ExtractHtml(engine="resiliparse") == ExtractHtml(engine=Resiliparse())
    assert isinstance(ExtractHtml(), Extractor)
    assert isinstance(Trafilatura(), HtmlEngine)
    assert pickle.loads(pickle.dumps(ExtractHtml())) == ExtractHtml()  # noqa: S301 -- our own bytes


def test_what_changes_the_text_changes_the_identity():
    known = [
        ExtractHtml(),
        ExtractHtml(engine="trafilatura"),
        ExtractHtml(engine=Trafilatura(focus="recall")),
        ExtractHtml(engine=Resiliparse(links=True)),
        ExtractHtml(limits=PageLimits(max_depth=100)),
    ]
    assert len({str(identity(extractor)) for extractor in known}) == len(known)
    assert "resiliparse" in str(identity(ExtractHtml()))
