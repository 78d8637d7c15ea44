"""The planted corpus of the benchmarks: what it promises of texts, families and truth."""

import unicodedata
from itertools import combinations

import numpy as np
import pytest

from benchmarks.planted import (
    LANGUAGES,
    MAX_DOCUMENTS,
    Planting,
    num_groups,
    pair_similarities,
    planted_pairs,
    similarities_by_position,
)
from pipelines.errors import ConfigError
from tests.dedup import true_jaccard

PLANTING = Planting(num_documents=1_500, seed=3, median_words=90, spread=0.6, max_words=600)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return PLANTING.documents(0, PLANTING.num_documents).column("text").to_pylist()


def test_a_document_depends_on_its_position_alone(texts):
    """Whatever is asked for with it, in whatever order; and another seed gives other documents."""
    positions = np.array([1_499, 7, 700, 7])
    again = PLANTING.documents_at(positions)
    assert again.column("text").to_pylist() == [texts[p] for p in positions]
    assert again.column("id").to_pylist() == ["0000001499", "0000000007", "0000000700", "0000000007"]
    other = Planting(num_documents=1_500, seed=4, median_words=90, spread=0.6, max_words=600).documents(0, 20)
    assert not set(other.column("text").to_pylist()) & set(texts)


def test_the_same_bytes_on_every_machine():
    """A digest of a small corpus: where the generator changes, figures of benchmarks are no longer comparable."""
    batch = Planting(num_documents=3, min_words=3, median_words=4, max_words=6, boilerplate=0.0).documents(0, 3)
    assert batch.column("text").to_pylist() == GOLDEN


def test_families_are_a_partition_and_pairs_are_their_members():
    positions, families = PLANTING.families(0, num_groups(PLANTING))
    assert sorted(positions.tolist()) == list(range(PLANTING.num_documents))
    members: dict[int, list[int]] = {}
    for position, family in zip(positions.tolist(), families.tolist(), strict=True):
        members.setdefault(family, []).append(position)
    expected = {frozenset(pair) for family in members.values() for pair in combinations(family, 2)}
    pairs = planted_pairs(PLANTING, 0, num_groups(PLANTING))
    assert {frozenset(pair) for pair in pairs.tolist()} == expected
    assert len(pairs) == len(expected)
    sizes = [len(family) for family in members.values()]
    assert max(sizes) > 10
    assert 0.3 < sizes.count(1) / PLANTING.num_documents < 0.7
    parts = [planted_pairs(PLANTING, group, group + 1) for group in range(num_groups(PLANTING))]
    assert np.array_equal(np.concatenate(parts), pairs)


def test_truth_is_that_of_the_oracle_and_covers_the_whole_range(texts):
    pairs = planted_pairs(PLANTING, 0, num_groups(PLANTING))
    found = similarities_by_position(PLANTING, pairs)
    for (left, right), similarity in list(zip(pairs.tolist(), found.tolist(), strict=True))[::40]:
        assert similarity == true_jaccard(texts[left], texts[right])
    counts = np.histogram(found, np.arange(0.5, 1.0, 0.05).round(2))[0]
    assert counts.min() >= 20
    equal = [texts[a] == texts[b] for a, b in pairs.tolist()]
    assert sum(equal) >= 20
    assert sum((found == 1.0) & ~np.array(equal)) >= 20, "copies in another layout"


def test_documents_of_different_families_are_unlike(texts):
    rng = np.random.default_rng(1)
    positions, families = PLANTING.families(0, num_groups(PLANTING))
    family = np.empty_like(families)
    family[positions] = families
    pairs = rng.integers(0, PLANTING.num_documents, (20_000, 2))
    pairs = pairs[family[pairs[:, 0]] != family[pairs[:, 1]]]
    batch = PLANTING.documents(0, PLANTING.num_documents)
    assert pair_similarities(batch.column("text"), pairs).max() < 0.4


def test_scripts_lengths_and_sources(texts):
    batch = PLANTING.documents(0, PLANTING.num_documents)
    languages = batch.column("language").to_pylist()
    names = {"pl": "LATIN", "en": "LATIN", "ru": "CYRILLIC", "ar": "ARABIC", "hi": "DEVANAGARI", "zh": "CJK"}
    names |= {"ko": "HANGUL", "th": "THAI"}
    assert set(languages) == set(LANGUAGES) == set(names)
    for language, text in zip(languages, texts, strict=True):
        letters = [c for c in text[:50] if unicodedata.category(c) in ("Lo", "Ll")]
        assert letters
        assert all(unicodedata.name(c).startswith(names[language]) for c in letters)
        assert unicodedata.is_normalized("NFC", text)
    lengths = [len(t.split()) for t, language in zip(texts, languages, strict=True) if language == "en"]
    assert min(lengths) < 45
    assert max(lengths) > 250
    assert len(set(batch.column("source").to_pylist())) == 3


def test_what_cannot_be_planted_is_refused():
    with pytest.raises(ConfigError, match="num_documents = 0: plant 1 to"):
        Planting(num_documents=0)
    with pytest.raises(ConfigError, match="num_documents"):
        Planting(num_documents=MAX_DOCUMENTS + 1)
    with pytest.raises(ConfigError, match="words = 10 to 5"):
        Planting(min_words=10, max_words=5)


@pytest.mark.parametrize("num_documents", [1, 2, 99, 100, 101, 250])
def test_any_number_of_documents(num_documents):
    planting = Planting(num_documents=num_documents, min_words=5, median_words=8, max_words=20)
    positions, _ = planting.families(0, num_groups(planting))
    assert sorted(positions.tolist()) == list(range(num_documents))
    assert planting.documents(0, num_documents + 10).num_rows == num_documents


GOLDEN = [
    "가 끙끙 뎅",
    "꽝 똂됊 딆긾",
    "عافوسة رة رةشة",
]
