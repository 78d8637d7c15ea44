"""Redaction over generated text: idempotent, its spans sound, its candidate scan complete, its batches row-local."""

from __future__ import annotations

import re
from itertools import pairwise

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.pii import PLACEHOLDERS, EscapePlaceholders, RedactPii, find_spans, redact
from pipelines.kernels.redaction import AT, COLONS, DIGITS, QUAD, find_candidates

PIECES = st.sampled_from(
    [
        "ann@example.org", "a@b.c", "@", ".", "..", "8.8.8.8", "10.0.0.1", "1.2.3.4", "::", "2600::1", ":", "fe80::1", "Tel. ",
        "phone ", "call", "fax:", "\n", " ", ", ", "-", "/", "+", "+49 ", "(030) ", "1234567", "12", "0", "555-123-4567", "é",
        "电话", "例子.广告", ">>EMAIL_ADDRESS<<", ">>PHONE_NUMBER<<", ">>IP_ADDRESS<<", ">>", "<<", "<", ">", '"', "{", "}", "$",
        "version ", "Message-ID: ", "://", "x", "order ", "\u00a0", "\u2013", "😀", "#", "=", "%20", "git@", "'",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=30).map("".join)


@given(TEXTS)
@settings(max_examples=600, deadline=None)
def test_redacting_twice_is_redacting_once(text):
    once = redact(text)
    assert redact(once) == once


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_spans_are_in_order_disjoint_and_all_that_changes(text):
    spans = find_spans(text)
    assert all(left.end <= right.start for left, right in pairwise(spans))
    parts, at = [], 0
    for span in spans:
        assert at <= span.start < span.end <= len(text)
        parts += [text[at : span.start], PLACEHOLDERS[span.kind]]
        at = span.end
    assert "".join([*parts, text[at:]]) == redact(text)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_no_placeholder_is_lost(text):
    after = redact(text)
    for placeholder in PLACEHOLDERS.values():
        assert after.count(placeholder) >= text.count(placeholder)


@given(st.lists(TEXTS, min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_batch_is_its_documents(texts):
    batch = pa.RecordBatch.from_pydict(
        {"id": [str(i) for i in range(len(texts))], "text": pa.array(texts, pa.large_string())}
    )
    after = RedactPii().transform(batch)
    assert after.column("text").to_pylist() == [redact(text) for text in texts]
    counted = sum(sum(after.column(name).to_pylist()) for name in RedactPii.tallies)
    assert counted == sum(len(find_spans(text)) for text in texts)


_SEPARATORS = r"[ \-./()\u00a0\u2000-\u200a\u2010-\u2015\u202f]{0,4}"


def slow_candidates(text: str) -> list[tuple[int, int, int]]:
    """The scan's table of candidates, from regular expressions over `str`."""
    found = [(match.start(), AT, match.end()) for match in re.finditer("@", text)]
    for match in re.finditer(rf"[(+]{{0,3}}[0-9](?:{_SEPARATORS}[0-9])*", text):
        digits = sum("0" <= char <= "9" for char in match.group())
        quad = re.search(r"[0-9]\.[0-9]+\.[0-9]+\.[0-9]", match.group()) is not None
        if quad or digits >= 5:
            found.append((match.start(), QUAD if quad else DIGITS, match.end()))
    for match in re.finditer(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", text):
        run = match.group()
        hexadecimal = sum(char not in ":" for char in run)
        if len(run) <= 64 and (run.count(":") >= 6 or ("::" in run and hexadecimal >= 2)):
            found.append((match.start(), COLONS, match.end()))
    return sorted(found)


@given(
    st.lists(PIECES | st.text(alphabet="0123456789abcf:.@-/() +\u00a0\u2010é", max_size=12), max_size=20).map("".join)
)
@settings(max_examples=600, deadline=None)
def test_the_scan_equals_regular_expressions(text):
    column = pa.array(["12345 left, not ours: @", text, "::ab"], pa.large_string()).slice(1, 1)
    found = find_candidates(column)
    data = text.encode()
    characters = [
        (len(data[:start].decode()), kind, len(data[:stop].decode()))
        for start, kind, stop in zip(found.start.tolist(), found.kind.tolist(), found.stop.tolist(), strict=True)
    ]
    assert sorted(characters) == slow_candidates(text)
    assert set(found.row.tolist()) <= {0}


@given(
    st.lists(st.sampled_from([">", " ", ">>", "KEY<<", "EMAIL_ADDRESS<<", "UNUSED_7<<", "x"]), max_size=20).map("".join)
)
@settings(max_examples=300, deadline=None)
def test_escaping_can_be_undone_and_leaves_no_spelling(text):
    batch = pa.RecordBatch.from_pydict({"id": ["0"], "text": pa.array([text], pa.large_string())})
    escaped = EscapePlaceholders().transform(batch).column("text")[0].as_py()
    assert re.search(r">>(KEY|EMAIL_ADDRESS|UNUSED_\d+)<<", escaped) is None
    assert EscapePlaceholders().unescape(escaped) == text
