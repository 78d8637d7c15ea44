"""Counts of pre-tokens equal those of a dictionary, in any order of texts and shards, and stay bounded."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer_training.counting import PretokenCounter
from tokenizer_training.split_patterns import cuts, split_pattern

TEXTS = st.lists(st.text() | st.text(alphabet="ab \\1", max_size=60), max_size=12)


def counted(*groups, max_bytes=1024):
    counter = PretokenCounter(split_pattern("both"), max_bytes=max_bytes)
    for texts in groups:
        counter.add(pa.array(texts, pa.large_string()))
    return counter


def rows(counter):
    batch = counter.to_batch()
    return list(zip(batch.column("pretoken").to_pylist(), batch.column("count").to_pylist(), strict=True))


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_counts_equal_a_dictionary(texts):
    wanted = Counter(piece.encode() for text in texts for piece in cuts(text, split_pattern("both")))
    assert rows(counted(texts)) == sorted(wanted.items())


@settings(max_examples=50, deadline=None)
@given(TEXTS, TEXTS)
def test_counters_of_shards_add_up_in_any_order(left, right):
    whole = counted(left, right).to_batch()
    for first, second in ((left, right), (right, left)):
        added = counted()
        added.add_counts(counted(first).to_batch())
        added.add_counts(counted(second).to_batch())
        assert added.to_batch().equals(whole)


def test_tables_grow():
    """More distinct pre-tokens than any table starts with, short and long, some as long as the arena."""
    words = [
        f"{chr(97 + i % 26)}{'xyzw'[i % 4] * (i % 5)}{chr(0x400 + i % 900)}{chr(0x4E00 + i)}" for i in range(20_000)
    ]
    words += ["w" * n for n in range(900, 1000)]
    wanted = Counter(piece.encode() for word in words for piece in cuts(word, split_pattern("both")))
    assert rows(counted(words)) == sorted(wanted.items())


def test_slices_of_arrays_are_read_where_they_lie():
    texts = pa.array(["skip", "a b", "c", "skip"], pa.large_string()).slice(1, 2)
    counter = PretokenCounter(split_pattern("both"))
    counter.add(texts)
    assert rows(counter) == [(b" b", 1), (b"a", 1), (b"c", 1)]


def test_counts_are_64_bit():
    counter = counted()
    batch = pa.RecordBatch.from_pydict(
        {
            "pretoken": pa.array([b"ab", b"a long one"], pa.large_binary()),
            "count": pa.array([3_000_000_000] * 2, pa.int64()),
        }
    )
    counter.add_counts(batch)
    counter.add_counts(batch)
    assert [count for _, count in rows(counter)] == [6_000_000_000] * 2


@pytest.mark.parametrize("character", ["a", "é", "漢", "𝟘", " "])
def test_endless_pretokens_are_cut_between_characters(character):
    counter = counted([character * 1000], max_bytes=64)
    found = rows(counter)
    assert b"".join(piece * count for piece, count in found).decode() == character * 1000
    assert max(len(piece) for piece, _ in found) <= 64
    assert (counter.num_cuts > 0) == (character != "𝟘")
    assert counted(["short words only"], max_bytes=64).num_cuts == 0
