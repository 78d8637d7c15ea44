"""Shingles and signatures against an oracle of Python's own strings, the `regex` module and plain sets."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigError
from pipelines.kernels.case_folding import folding_table
from pipelines.kernels.generate_case_folding import fold
from pipelines.kernels.minhash import (
    EMPTY,
    MinHashConfig,
    band_keys,
    candidate_probability,
    signatures_of_hashes,
    signatures_of_texts,
)
from pipelines.kernels.shingles import BLOCK, jaccard, shingle_hashes, shingle_sets
from tests.dedup import shingles, words

# Words, separators and traps of the scripts that the rules treat apart: joiners, marks, kana, no spaces, digits
PIECES = [
    "a", "B", "the", "Word", "don't", "12", "3.5", "_", " ", "  ", "\n", "\t", ".", "-", "é", "é", "É", "ß", "ẞ", "İ",
    "Σ", "ς", "Привет", "ПРИВЕТ", "漢", "漢字", "。", "ア", "ー", "ﾞ", "が", "한국어", "हिन्दी", "क्ष", "العربية", "مُحَمَّد",
    "ไทย", "เก้า", "๑๒", "ខ្មែរ", "မြန်မာ", "ລາວ", "😀", "\u200d", "\u200c", "\u00ad", "\u2060", "\ufeff", "\u3000",
    "𠀀", "𐐀", "𝔘", "\u0301", "\x00", "\ufffd", "\U0010ffff",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


def hashes_of(texts: list[str], size: int) -> list[list[int]]:
    values, offsets = shingle_hashes(pa.array(texts, pa.large_string()), size)
    return [values[a:b].tolist() for a, b in pairwise(offsets)]


@settings(max_examples=300, deadline=None)
@given(st.lists(texts, min_size=1, max_size=6), st.integers(1, 7))
def test_shingles_are_the_oracles_word_n_grams(batch, size):
    """Same number of shingles in the same order, and two hashes are equal exactly where the word tuples are."""
    seen: dict[tuple[str, ...], int] = {}
    for text, found in zip(batch, hashes_of(batch, size), strict=True):
        expected = shingles(text, size)
        assert len(found) == len(expected), (text, words(text))
        for shingle, value in zip(expected, found, strict=True):
            assert seen.setdefault(shingle, value) == value, shingle
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize("extra", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("blocks", [1, 2])
def test_documents_at_the_edge_of_a_block(blocks, extra):
    text = " ".join(f"w{i}" for i in range(blocks * BLOCK + 4 + extra))
    (found,) = hashes_of([text], 5)
    assert len(found) == len(set(found)) == blocks * BLOCK + extra
    (alone,) = hashes_of([text.split(" ", 1)[1]], 5)
    assert found[1:] == alone
    ends_in_separator, _ = signatures_of_texts(pa.array([text, text + " .", text + " \u00e9"[:1]]), MinHashConfig())
    assert (ends_in_separator == ends_in_separator[0]).all()


def test_the_stored_folding_is_pythons():
    """Every stored pair is what the running Python folds to: Unicode never changes the folding of an assigned character."""
    table = folding_table()
    folded = np.flatnonzero(table != np.arange(table.size))
    assert folded.size > 1400
    assert [int(table[c]) for c in folded] == [ord(fold(chr(c))) for c in folded]
    assert all(table[table[c]] == table[c] for c in folded), "folding twice is folding once"


def test_textbook_cases():
    def same(left: str, right: str) -> bool:
        a, b = hashes_of([left, right], 5)
        return a == b

    assert same("The quick, brown fox!", "the QUICK brown\nfox")
    assert same("co\u00adoperate", "cooperate"), "a soft hyphen is no boundary"
    assert not same("page 12", "page 13"), "digits are content"
    assert not same("one two three four", "one two three"), "a short document is compared whole"
    assert not same("a b", "b a")
    assert not same("ab c", "a bc")
    assert hashes_of(["", "  ...!? 😀", "\n"], 5) == [[], [], []]
    assert [len(h) for h in hashes_of(["短い文", "天地玄黄宇宙洪荒", "GPU集群 2024", "สวัสดี"], 5)] == [1, 4, 1, 1]
    assert [len(h) for h in hashes_of(["one two three four five", "one two three four five six"], 5)] == [1, 2]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_bytes_that_are_no_utf8_stay_inside_their_document(batch):
    """Hashes of a document depend on its own bytes alone, whatever stands before and behind it in the buffer."""
    together, offsets = shingle_hashes(pa.array(batch, pa.large_binary()), 2)
    for i, content in enumerate(batch):
        alone, _ = shingle_hashes(pa.array([content], pa.large_binary()), 2)
        assert together[offsets[i] : offsets[i + 1]].tolist() == alone.tolist()


@pytest.mark.parametrize("character", ["é", "漢", "ẞ", "𝔘", "𠀀"])
def test_a_truncated_character_at_the_end_reads_nothing_of_the_next_document(character):
    whole = character.encode()
    for cut in range(1, len(whole)):
        batch = [b"one abc" + whole[:cut], whole[cut:] + b"x"]
        values, offsets = shingle_hashes(pa.array(batch, pa.large_binary()), 2)
        expected, _ = shingle_hashes(pa.array([b"one abc", b"x"], pa.large_binary()), 2)
        assert values.tolist() == expected.tolist()
        assert offsets.tolist() == [0, 1, 2]


def test_slices_nulls_and_narrow_strings_are_read_right():
    whole = pa.array(["zero zero", None, "two words here", "three", ""])
    values, offsets = shingle_hashes(whole.slice(1, 3), 2)
    expected, expected_offsets = shingle_hashes(pa.array(["", "two words here", "three"], pa.large_string()), 2)
    assert values.tolist() == expected.tolist()
    assert offsets.tolist() == expected_offsets.tolist()
    assert shingle_hashes(pa.array([], pa.large_string()), 2)[1].tolist() == [0]


@settings(max_examples=100, deadline=None)
@given(texts, texts)
def test_sets_and_true_jaccard(left, right):
    values, offsets = shingle_sets(pa.array([left, right], pa.large_string()), 2)
    a, b = values[: offsets[1]], values[offsets[1] :]
    expected_a, expected_b = set(shingles(left, 2)), set(shingles(right, 2))
    union = len(expected_a | expected_b)
    assert (a.size, b.size) == (len(expected_a), len(expected_b))
    assert np.all(a[1:] > a[:-1])
    assert jaccard(a, b) == (len(expected_a & expected_b) / union if union else 0.0)


def test_texts_are_signed_like_the_high_half_of_their_shingle_hashes():
    batch = pa.array(["", "one", "a b c d e f g", "漢字" * 3000, "x y " * 2000], pa.large_string())
    config = MinHashConfig(num_perm=32, num_bands=4, rows_per_band=8, shingle_size=3)
    signatures, num_shingles = signatures_of_texts(batch, config)
    values, offsets = shingle_hashes(batch, 3)
    assert num_shingles.tolist() == np.diff(offsets).tolist()
    expected = signatures_of_hashes((values >> np.uint64(32)).astype(np.uint32), offsets, config)
    assert (signatures == expected).all()
    assert (signatures[0] == EMPTY).all()


def test_signature_of_a_set_ignores_order_and_repeats():
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**32, 5000, dtype=np.uint32)
    twice = rng.permutation(np.concatenate([hashes, hashes[:777]]))
    config = MinHashConfig()
    one = signatures_of_hashes(hashes, np.array([0, hashes.size]), config)
    other = signatures_of_hashes(twice, np.array([0, twice.size]), config)
    assert (one == other).all()


def test_shared_values_estimate_jaccard():
    """400 pairs at similarity 2/3: the mean share of equal values is within 4 standard errors of it."""
    rng = np.random.default_rng(5)
    config = MinHashConfig()
    hashes, offsets = [], [0]
    for _ in range(400):
        values = rng.integers(0, 2**32, 240, dtype=np.uint32)
        for part in (values[:200], values[40:]):
            hashes.append(part)
            offsets.append(offsets[-1] + part.size)
    signatures = signatures_of_hashes(np.concatenate(hashes), np.array(offsets), config)
    equal = (signatures[::2] == signatures[1::2]).mean()
    assert abs(equal - 160 / 240) < 4 * np.sqrt((2 / 3) * (1 / 3) / (400 * config.num_perm))


def test_band_keys_agree_exactly_where_bands_do():
    config = MinHashConfig(num_perm=20, num_bands=4, rows_per_band=5)
    rng = np.random.default_rng(7)
    signatures = rng.integers(0, 2, (600, 20), dtype=np.uint32)
    keys = band_keys(signatures, config)
    seen: dict[tuple[int, bytes], int] = {}
    for document in range(600):
        for band in range(4):
            values = (band, signatures[document, band * 5 : band * 5 + 5].tobytes())
            assert seen.setdefault(values, int(keys[document, band])) == keys[document, band]
    assert len(set(seen.values())) == len(seen) == 4 * 32


def test_candidates_are_found_as_often_as_the_formula_says():
    """1,000 pairs of sets at similarity 0.7: the share with a common band is within 4 standard errors of the formula."""
    rng = np.random.default_rng(11)
    config = MinHashConfig()
    hashes, offsets = [], [0]
    for _ in range(1000):
        values = rng.integers(0, 2**32, 340, dtype=np.uint32)
        for part in (values[:289], values[51:]):
            hashes.append(part)
            offsets.append(offsets[-1] + part.size)
    keys = band_keys(signatures_of_hashes(np.concatenate(hashes), np.array(offsets), config), config)
    found = (keys[::2] == keys[1::2]).any(axis=1).mean()
    expected = candidate_probability(238 / 340, config)
    assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / 1000)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_bands": 15}, "15 * 8 = 120"),
        ({"num_bands": 0}, "num_bands = 0"),
        ({"rows_per_band": -1}, "rows_per_band = -1"),
        ({"num_perm": 0}, "num_perm = 0"),
        ({"num_perm": 10**6}, "num_perm = 1000000"),
        ({"shingle_size": 0}, "shingle_size = 0"),
        ({"shingle_size": 65}, "shingle_size = 65"),
        ({"scheme": "legacy"}, "'affine32'"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_a_config_that_cannot_be_is_refused(fields, named):
    with pytest.raises(ConfigError, match=regex.escape(named)):
        MinHashConfig(**fields)
