"""Repeated lines: the first stays, short ones and order are left alone, and the count is right."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.lines import RemoveRepeatedLines, without_repeated_lines
from pipelines.errors import ConfigError

LINES = st.lists(
    st.sampled_from(
        ["", " ", "a", "bb", "a caption that stands twice", " a caption that stands twice", "другая строка"]
    )
)


@given(LINES, st.integers(1, 30))
def test_what_is_removed_stood_before_and_nothing_else_goes(lines, min_chars):
    text = "\n".join(lines)
    shorter, removed = without_repeated_lines(text, min_chars=min_chars)
    left = [line.strip() for line in shorter.split("\n") if line.strip()]
    before = [line.strip() for line in lines if line.strip()]
    assert len(before) - len(left) == removed
    assert list(dict.fromkeys(left)) == list(dict.fromkeys(before))
    long = [line for line in left if len(line) >= min_chars]
    assert len(set(long)) == len(long)
    assert without_repeated_lines(shorter, min_chars=min_chars) == (shorter, 0)


def test_texts_without_repetition_are_untouched():
    text = "One line of the page.\n\n\nAnother line of it.\nyes\nno\nyes\n"
    assert without_repeated_lines(text, min_chars=15) == (text, 0)


def test_the_column_counts_and_the_manifest_sums():
    texts = ["a caption that stands twice\nmiddle\na caption that stands twice", "once", ""]
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    after = RemoveRepeatedLines().transform(batch)
    assert after.column("num_repeated_lines_removed").to_pylist() == [1, 0, 0]
    assert after.column("text").to_pylist() == ["a caption that stands twice\nmiddle", "once", ""]
    assert set(RemoveRepeatedLines.tallies) == {field.name for field in RemoveRepeatedLines.adds}


def test_min_chars_below_one_is_refused():
    with pytest.raises(ConfigError, match="min_chars = 0"):
        RemoveRepeatedLines(min_chars=0)
