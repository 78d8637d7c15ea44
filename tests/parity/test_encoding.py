"""The encoder and HF `tokenizers` give the same ids for every text, and what it does not understand it leaves to HF."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InputError
from tests.parity.split_pattern_files import texts_of
from tests.shared import shared_path
from tests.tokenizer_files import RESERVED, TEXTS, changed, small_tokenizer, tokenizer_of
from tokenizer_training.bpe_model import read_model
from tokenizer_training.encode_loop import CACHED_BYTES
from tokenizer_training.encoding import BpeEncoder, LibraryEncoder, load_encoder, text_groups
from tokenizer_training.export import load_tokenizer
from tokenizer_training.piece_merging import SHORT
from tokenizer_training.special_tokens import PLACEHOLDERS
from tokenizer_training.split_patterns import NAMED

SAMPLE_BYTES = 8_000
PIECES = [
    *RESERVED[:16], *RESERVED[-2:], ">>", "<<", ">>KEY", "<|", "\\in", "\\infty", "\\", "\\\\", "put", " ", "  ", "\n",
    "\r\n", "\t", "\0", "The", " falcon", "falcons", "return", "    ", "x", "Z", "12", "2\u0967", "...", "({", "_", "e\u0301",
    "👩\u200d👩\u200d👧", "漢字", "がぱ", "ا\u0651", "\u00a0", "\u3000", "\x85", "\u0378", "\U0010ffff", "½", "𝟘", "aaaaaaa",
    "incomprehensibilities", "Donaudampfschifffahrtsgesellschaft",
]  # fmt: skip
ANY_TEXT = st.one_of(
    st.text(),
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.text(alphabet="abcdefghiéü漢", max_size=80),
)


def column(texts) -> pa.Array:
    return pa.array(texts, pa.large_string())


def same(ours, theirs, texts, end_id=None) -> None:
    ids, ends = ours.encode(texts, end_id=end_id)
    expected, expected_ends = theirs.encode(texts, end_id=end_id)
    assert ids.dtype == expected.dtype
    assert ends.tolist() == expected_ends.tolist()
    assert ids.tolist() == expected.tolist()


def both(content: bytes) -> tuple[BpeEncoder, LibraryEncoder]:
    ours = load_encoder(content)
    assert (ours.implementation, ours.reason) == ("eyas", "")
    return ours, LibraryEncoder(load_tokenizer(content))


@pytest.fixture(scope="module")
def encoders():
    return {name: both(small_tokenizer(name)) for name in NAMED}


@pytest.mark.parametrize("name", sorted(NAMED))
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(ANY_TEXT, max_size=5), end_id=st.sampled_from([None, 11]))
def test_ids_are_those_of_the_library(encoders, name, texts, end_id):
    same(*encoders[name], column(texts), end_id)


@pytest.mark.shared
def test_the_start_of_every_shared_file(encoders):
    num_files = 0
    for path in sorted(file for file in shared_path("").rglob("*") if file.is_file()):
        num_files += 1
        texts = column([text[: 4 * SAMPLE_BYTES] for text in texts_of(path, max_bytes=SAMPLE_BYTES)])
        same(*encoders["both"], texts)
    assert num_files > 100


@st.composite
def merge_lists(draw):
    """Merges in any order, also such that make one token in two ways, or a pair that ranks before what makes it."""
    tokens = ["a", "b", "c", "Ġ"]
    merges: dict[tuple[str, str], None] = {}
    for _ in range(draw(st.integers(0, 24))):
        left, right = draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens))
        merges[left, right] = None
        tokens.append(left + right)
    return draw(st.permutations(sorted(merges)))


@settings(max_examples=150, deadline=None)
@given(
    merges=merge_lists(),
    ignore_merges=st.booleans(),
    texts=st.lists(st.one_of(st.text("abc", max_size=24), st.text("abc ", min_size=40), st.text("aab", min_size=34)), max_size=4),
    repeats=st.sampled_from([1, 1, 7]),
)  # fmt: skip
def test_any_list_of_merges(merges, ignore_merges, texts, repeats):
    """Short, long and uncached pre-tokens: HF's order is by rank, then from the left."""
    content = tokenizer_of(merges, ignore_merges=ignore_merges)
    same(*both(content), column([text * repeats for text in texts]))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 15, 16, 17, SHORT, SHORT + 1, CACHED_BYTES, CACHED_BYTES + 1, 5000])
def test_pretokens_of_every_way_through(encoders, size):
    """Own key, hash, heap, not cached: at the edges between them, and at the end of the buffer."""
    for letters in ("a", "xyz", "ü", "The"):
        text = (letters * size).encode()[:size].decode(errors="ignore")
        same(*encoders["both"], column([text, " " + text, text]))
        same(*encoders["both"], column([text]))


def test_a_megabyte_of_one_character_and_of_letters(encoders):
    ours, theirs = encoders["both"]
    ids, ends = ours.encode(column(["a" * 1_000_000]))
    eight = load_tokenizer(small_tokenizer()).token_to_id("a" * 8)
    assert ids.tolist() == [eight] * 125_000
    assert ends.tolist() == [125_000]
    letters = np.random.default_rng(11).choice(list("thefalcondivs"), 200_000)
    same(ours, theirs, column(["".join(letters)]))


def test_a_cache_that_is_full_again_and_again(encoders):
    rng = np.random.default_rng(3)
    words = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 60))) for _ in range(3000)]
    texts = column([" ".join(words), " ".join(words[::-1])])
    forgetful = BpeEncoder(read_model(small_tokenizer()), cached_pretokens=4)
    expected = encoders["both"][1]
    same(forgetful, expected, texts)
    same(forgetful, expected, texts)
    same(*encoders["both"], texts)


def test_placeholders_are_one_id_and_control_tokens_none(encoders):
    ours = encoders["both"][0]
    text = "x>>KEY<<<|pad|>>KEY<<>>EMAIL_ADDRESS<<|endoftext|>>>UNUSED_20<<<|endoftext|>"
    ids = ours.encode(column([text]))[0].tolist()
    placeholders = [RESERVED.index(token) for token in PLACEHOLDERS]
    assert [i for i in ids if i < len(RESERVED)] == [RESERVED.index(">>KEY<<")] * 2 + [RESERVED.index(PLACEHOLDERS[0])]
    assert set(placeholders) & set(ids)


def test_slices_and_empty_columns(encoders):
    texts = column(["left out", *TEXTS, "", "left out"])
    for start, length in ((1, 6), (3, 0), (6, 1), (0, 8)):
        same(*encoders["both"], texts.slice(start, length), 11)
    groups = list(text_groups(column(["abc", "", "defgh", "i" * 50, "j"]).slice(1), 6))
    assert [group.to_pylist() for group in groups] == [["", "defgh"], ["i" * 50], ["j"]]


def test_ids_beyond_16_bits():
    """The largest id decides, not the number of entries."""
    content = small_tokenizer()
    data = json.loads(content)
    last = max(data["model"]["vocab"], key=data["model"]["vocab"].__getitem__)
    data["model"]["vocab"][last] = 65_535
    ours, theirs = both(json.dumps(data).encode())
    same(ours, theirs, column(TEXTS))
    assert (ours.vocab_size, ours.encode(column(TEXTS))[0].dtype) == (65_536, np.uint16)
    data["model"]["vocab"][last] = 65_536
    ours, theirs = both(json.dumps(data).encode())
    same(ours, theirs, column(TEXTS))
    assert (ours.vocab_size, ours.encode(column(TEXTS))[0].dtype) == (65_537, np.uint32)


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PADDED = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def placeholder(**fields):
    added = json.loads(small_tokenizer())["added_tokens"]
    return [token | fields if token["content"] == ">>KEY<<" else token for token in added]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"normalizer": {"type": "NFC"}}, "normalizer"),
        ({"pre_tokenizer": BYTE_LEVEL}, "pre_tokenizer"),
        ({"pre_tokenizer": None}, "pre_tokenizer"),
        ({"post_processor": PADDED}, "post_processor"),
        ({"model": {"dropout": 0.5}}, "dropout"),
        ({"model": {"byte_fallback": True}}, "byte_fallback"),
        ({"added_tokens": placeholder(lstrip=True)}, "lstrip"),
        ({"added_tokens": placeholder(normalized=True)}, "normalized"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_left_to_the_library(change, reason):
    content = changed(small_tokenizer(), **change)
    encoder = load_encoder(content)
    assert encoder.implementation == "tokenizers"
    assert reason in encoder.reason
    if "dropout" not in change.get("model", {}):
        texts = ["The falcon >>KEY<<  e\u0301"]
        expected = load_tokenizer(content).encode_batch_fast(texts, add_special_tokens=False)[0].ids
        assert encoder.encode(column(texts))[0].tolist() == expected


def test_another_expression_is_not_understood():
    data = json.loads(small_tokenizer())
    data["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\s+|\S+"
    assert "split pattern" in load_encoder(json.dumps(data).encode()).reason


def test_a_control_token_that_text_could_spell_is_refused():
    data = json.loads(small_tokenizer())
    data["added_tokens"][20]["content"] = "falcon"
    data["model"]["vocab"] = {
        ("falcon" if token == RESERVED[20] else token): number
        for token, number in data["model"]["vocab"].items()
        if token != "falcon"
    }
    with pytest.raises(InputError, match=r"control token 'falcon' \(id 20\) would come out of a text"):
        load_encoder(json.dumps(data).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"model": {}}', b"\xff"])
def test_a_file_that_is_no_tokenizer(content):
    with pytest.raises(InputError, match=r"not a tokenizer\.json"):
        load_encoder(content)


def test_texts_that_cannot_be_encoded(encoders):
    broken = pa.array([b"a", b"\xe2\x82"], pa.large_binary())
    broken = pa.Array.from_buffers(pa.large_string(), 2, broken.buffers())
    for encoder in encoders["both"]:
        with pytest.raises(InputError, match="not UTF-8"):
            encoder.encode(broken)
        with pytest.raises(InputError, match="1 of 2 texts are null"):
            encoder.encode(column(["a", None]))
