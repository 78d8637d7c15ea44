"""`measure_page` against the DOM that resiliparse really builds: equal on clean pages, never far below on tag soup."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from pipelines.extraction.page_size import measure_page

NO_LIMIT = 10**6


def measured(
    html: str, max_nodes: int = NO_LIMIT, max_depth: int = 5000, max_attributes: int = NO_LIMIT
) -> tuple[int, ...]:
    return measure_page(np.frombuffer(html.encode(), np.uint8), max_nodes, max_depth, max_attributes)


def parsed(html: str) -> tuple[int, int]:
    """Nodes, and most elements open at once, within `<body>`; void elements are never open."""
    body = HTMLTree.parse(html).body
    nodes, depth, open_nodes = -1, 0, [(body, 0)]
    while open_nodes:
        node, level = open_nodes.pop()
        nodes += 1
        if node.tag and not node.tag.startswith(("#", "!")) and node.tag not in ("br", "img"):
            depth = max(depth, level)
        child = node.first_child
        while child:
            open_nodes.append((child, level + 1))
            child = child.next
    return nodes, depth


def trees(tags: str) -> st.SearchStrategy[str]:
    """Well-formed fragments in which nothing is implied."""
    text = st.just("<br>") | st.just('<img alt="a > b">') | st.just("<!-- <p> -->")
    return st.recursive(
        text,
        lambda inner: st.tuples(st.sampled_from(tags.split()), st.lists(inner, max_size=4)).map(
            lambda made: f"<{made[0]}>{''.join(made[1])}</{made[0]}>"
        ),
        max_leaves=30,
    )


@given(trees("div span ul section b i em x-tag article blockquote"))
@settings(max_examples=200, deadline=None)
def test_well_formed_pages_are_measured_exactly(html):
    assert measured(f"<body><div>{html}</div>")[:2] == tuple(np.add(parsed(f"<body><div>{html}</div>"), (1, 0)))


@given(st.binary(max_size=300) | st.text(alphabet="<>/!-ab p=\"'?[]\0\n", max_size=300).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_measured(content):
    nodes, depth, attributes, characters = measure_page(np.frombuffer(content, np.uint8), NO_LIMIT, 256, NO_LIMIT)
    assert 0 <= depth <= len(content)
    assert 0 <= attributes <= len(content)
    assert 0 <= characters <= len(content)
    assert (nodes == 0) <= (b"<" not in content or content.strip(b"<") == b"" or b"</" in content)


TAGS = (
    "div span p b i a font table tr td th li ul dd dl h1 h3 form button option svg math path title style script textarea "
    "nobr section x-y foreignObject desc mi tbody br img"
)


def soup(generator: random.Random) -> str:
    """A few tags opened, closed and left open in some order, over and over: what hostile pages are made of."""
    tags = generator.sample(TAGS.split(), generator.randint(2, 5))
    parts = []
    for _ in range(generator.randint(2, 8)):
        tag, kind = generator.choice(tags), generator.random()
        parts.append(
            f"</{tag}>" if kind < 0.35 else f"<{tag}/>" if kind < 0.45 else f"<{tag} a=@>" if kind < 0.6 else f"<{tag}>"
        )
    return "".join("".join(parts).replace("@", str(number)) for number in range(40))


def test_soup_does_not_grow_unseen():
    generator = random.Random(20261120)
    for _ in range(3000):
        html = soup(generator)
        nodes, depth = parsed(html)
        found_nodes, found_depth, *_ = measured(html)
        assert nodes <= 3 * found_nodes + 20, html
        assert depth <= 3 * found_depth + 60, html


BOMBS = {
    "unclosed formatting, opened again in each paragraph": (
        "<p>" + "".join(f"<font size={n}>" for n in range(1000)) + "</p>" + "<p>x</p>" * 1000
    ),
    "formatting that each paragraph adds to": "".join(f"<p><font size={n}>x</p>" for n in range(1000)),
    "misnested formatting": "".join(f"<i id={n}><div>" for n in range(1000)) + "</i>" * 1000,
    "nested blocks": "<div>" * 1000,
    "blocks that a wrong end tag does not close": "<div></b>" * 1000,
    "nested tables": "<table><tr><td>" * 1000,
    "nested lists": "<ul><li>" * 1000,
    "nested formatting": "<b>" * 1000,
    "foreign content": "<svg><g>" * 1000,
    "self-closing tags that are not": "<x/>" * 1000,
    "a script that only seems to end": "<script><!--<script></script><!-- </script>" + "<div>" * 1000,
    "a comment that ends at once": "<!-->" + "<div>" * 1000,
    "an attribute that hides nothing": "<p a='>'>" + '<div b="\'>">' * 1000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_seen(name):
    _, depth, *_ = measured(BOMBS[name], 200_000, 256)
    nodes, *_ = measured(BOMBS[name], 20_000)
    assert depth > 256 or nodes > 20_000


HARMLESS = {
    "paragraphs that are never closed": "<p>x" * 1000,
    "list entries that are never closed": "<ul>" + "<li>x" * 1000,
    "cells that are never closed": "<table>" + "<tr><td><font color=red>x" * 1000,
    "the same formatting left open in each paragraph": "<p><b>x" * 1000,
    "links that are never closed": "<a href=x>y" * 1000,
    "headings closed by others": "<h2>x</h3>" * 1000,
    "tags within a script": "<script>" + "'<div>'" * 1000 + "</script>",
    "tags within a comment": "<!--" + "<div>" * 1000 + "-->",
    "self-closing foreign tags": "<svg>" + "<path/>" * 1000 + "</svg>",
    "options": "<select>" + "<option>x" * 1000 + "</select>",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_sloppy_pages_are_not_deep(name):
    nodes, depth, *_ = measured(HARMLESS[name], 200_000, 256)
    assert depth < 20
    assert nodes < 20_000


def test_attributes_of_one_tag_are_counted():
    assert measured("<p a b=1 c = '2' d=\"3\" / e=f/>g h</p i j k l m n o><br p>")[2] == 5


@pytest.mark.parametrize(
    ("html", "num_characters"),
    [
        ("", 0),
        ("<p>ab</p>", 2),
        ("<p>a \n\t b</p>\n\n<p>c", 5),
        ("<p>Grüße, 你好 😀", 11),
        ("a < b &amp; c", 13),
        ("<p title='not text'>x<!-- nor this --><?nor this?></nor this>", 1),
        ("<style>p{}</style><script>x = '<p>'</script><title>t</title><textarea>t</textarea>x", 1),
        ("<noscript>one</noscript>", 3),
        ("<p>x<plaintext>a</plaintext>", 14),
        ("<script>never ended", 0),
    ],
)
def test_text_characters_are_those_outside_of_markup_and_raw_text(html, num_characters):
    assert measured(html)[3] == num_characters


@given(
    st.lists(
        st.text(alphabet="ab \n&;é你😀\u0301", max_size=8)
        | st.sampled_from(["<p>", "</p>", "<div>", "<b>", "</b>", "<br>"]),
        max_size=30,
    )
)
@settings(max_examples=300, deadline=None)
def test_text_has_at_most_the_characters_counted(parts):
    """The promise that `Resiliparse` builds on: what it adds are line breaks between blocks."""
    html = f"<body>{''.join(parts)}</body>"
    text = extract_plain_text(HTMLTree.parse(html), preserve_formatting=False)
    assert len(text) <= measured(html)[3] + html.count("<")
