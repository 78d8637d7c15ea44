"""The exported files: what is in them, that both libraries load them alike, and that every text comes back."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pipelines.errors import ConfigError, InputError
from tests.parity.split_pattern_files import texts_of
from tests.shared import shared_path
from tokenizer_training.counting import PretokenCounter
from tokenizer_training.export import load_tokenizer, tokenizer_files
from tokenizer_training.latex_commands import latex_commands
from tokenizer_training.merging import byte_characters, learn_merges
from tokenizer_training.special_tokens import EOS_ID, PLACEHOLDERS, reserved_tokens
from tokenizer_training.split_patterns import split_pattern

RESERVED = reserved_tokens()
NUM = len(RESERVED)
TEXTS = (
    "The falcon dives.  The falcon dives again,\n\n    and again: 1,234.5 times. " * 5,
    "Der Falke fliegt über die Städte. 漢字とかな。 Привет, мир! مرحبا بالعالم 🙂🙂 " * 5,
    r"\begin{align} x\in A & \frac{1}{2} \\ \end{align} >>KEY<< <|endoftext|> " * 5,
)
CONTROLS = "".join(
    map(chr, [*range(32), *range(0x7F, 0xA0), 0xAD, 0x200B, 0x200E, 0x2028, 0x2029, 0x202E, 0xFEFF, 0xFFFD, 0xFFFF])
)
UTF8 = st.one_of(
    st.text(),
    st.text(alphabet=CONTROLS + " a1.\\"),
    st.binary().map(lambda content: content.decode(errors="replace")),
    st.lists(st.sampled_from([*RESERVED[:20], *latex_commands()[:20], " ", "  ", " n't", " .", "\r\n", "é", "7"])).map("".join),
)  # fmt: skip


@pytest.fixture(scope="module")
def files():
    pattern = split_pattern("both")
    counter = PretokenCounter(pattern)
    counter.add(pa.array(TEXTS, pa.large_string()))
    merges = learn_merges(counter.to_batch(), vocab_size=2600, reserved=RESERVED + latex_commands(), min_pair_count=2)
    return tokenizer_files(merges.vocab, merges.merges, reserved=RESERVED, pattern=pattern, padded_vocab_size=2608)


@pytest.fixture(scope="module")
def tokenizer(files):
    return load_tokenizer(files["tokenizer.json"])


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def auto(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


# The files


def test_the_three_files(files):
    assert set(files) == {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    config = json.loads(files["tokenizer_config.json"])
    assert config["split_special_tokens"] is True
    assert config["clean_up_tokenization_spaces"] is False
    assert config["padded_vocab_size"] == 2608
    special = {"eos_token": "<|endoftext|>", "pad_token": "<|pad|>"}
    assert json.loads(files["special_tokens_map.json"]) == special
    assert config.items() >= special.items()
    written = json.loads(files["tokenizer.json"])
    assert [token["id"] for token in written["added_tokens"]] == list(range(NUM))
    assert [token["content"] for token in written["added_tokens"] if not token["special"]] == list(PLACEHOLDERS)
    assert sorted(written["model"]["vocab"].values()) == list(range(len(written["model"]["vocab"])))
    assert written["post_processor"] is None


def small_files(**options):
    vocab = [*RESERVED, *sorted(byte_characters())]
    return tokenizer_files(vocab, [], reserved=RESERVED, pattern=split_pattern("both"), **options)


def test_padding_changes_one_field():
    plain, padded = small_files(), small_files(padded_vocab_size=1296)
    assert plain["tokenizer.json"] == padded["tokenizer.json"]
    config = json.loads(plain["tokenizer_config.json"])
    assert config["padded_vocab_size"] == 1280
    assert json.loads(padded["tokenizer_config.json"]) == config | {"padded_vocab_size": 1296}
    with pytest.raises(ConfigError, match=r"padded_vocab_size = 1279: the vocabulary has 1280 entries"):
        small_files(padded_vocab_size=1279)


def test_a_file_that_is_no_tokenizer_or_of_another_design():
    with pytest.raises(InputError, match=r"x\.json: not a tokenizer.json"):
        load_tokenizer(b"{}", where="x.json")
    with pytest.raises(InputError, match=r"not a tokenizer.json"):
        load_tokenizer(b"\xff")
    other = small_files()["tokenizer.json"].replace(b"<|endoftext|>", b"<|theend|>")
    with pytest.raises(InputError, match=r"<\|endoftext\|> has id None, eyas ends documents with id 11"):
        load_tokenizer(other)


# Both libraries


@settings(max_examples=400)
@given(UTF8)
def test_every_text_comes_back_from_both_libraries_with_the_same_ids(tokenizer, auto, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text).ids == ids
    for skip in (False, True):
        assert tokenizer.decode(ids, skip_special_tokens=skip) == text
        assert auto.decode(ids, skip_special_tokens=skip) == text
    assert auto(text)["input_ids"] == auto.encode(text) == ids


def test_every_byte_and_every_kind_of_character_comes_back(tokenizer):
    """All code points below U+3000, then every 97th: each byte that UTF-8 can hold is among theirs."""
    points = [*range(0x3000), *range(0x3000, 0x110000, 97), 0x10FFFF]
    text = "".join(chr(c) for c in points if not 0xD800 <= c < 0xE000)
    assert len(set(text.encode())) == 256 - 13
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_a_batch_is_its_texts_one_by_one(tokenizer, auto):
    texts = [*TEXTS, "", "<|pad|>>KEY<<", "\0"]
    one_by_one = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert auto(texts)["input_ids"] == one_by_one
    assert [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)] == one_by_one
    padded = auto(texts, padding=True, return_tensors="np")
    assert (padded["input_ids"][padded["attention_mask"] == 0] == 0).all()
    assert padded["input_ids"].shape == (len(texts), max(map(len, one_by_one)))


def test_what_transformers_knows_of_it(auto, tokenizer):
    assert (auto.pad_token_id, auto.eos_token_id, auto.bos_token_id, auto.unk_token_id) == (0, EOS_ID, None, None)
    assert len(auto) == auto.vocab_size == tokenizer.get_vocab_size()
    assert auto.init_kwargs["padded_vocab_size"] == 2608
    assert auto.convert_ids_to_tokens(list(range(NUM))) == list(RESERVED)


def test_saving_by_transformers_keeps_the_tokenizer(auto, tokenizer, tmp_path):
    from transformers import AutoTokenizer

    auto.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*TEXTS, "a<|endoftext|><|pad|>>KEY<<"):
        assert again(text)["input_ids"] == tokenizer.encode(text, add_special_tokens=False).ids
    assert again.init_kwargs["padded_vocab_size"] == 2608


def test_a_pickled_tokenizer_forgets_what_the_file_cannot_say(tokenizer):
    """So workers load it themselves: after a pickle, a hostile page's `<|endoftext|>` would end its document."""
    copied: Tokenizer = pickle.loads(pickle.dumps(tokenizer))  # noqa: S301 - our own bytes
    assert copied.encode("<|endoftext|>").ids == [EOS_ID]
    assert EOS_ID not in tokenizer.encode("<|endoftext|>").ids


def test_the_chat_template_is_plain_text_that_no_message_breaks_out_of(auto):
    turns = [{"role": "user", "content": "<|endoftext|> {{ 1 }} >>KEY<<"}, {"role": "assistant", "content": "\\in"}]
    text = auto.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "user: <|endoftext|> {{ 1 }} >>KEY<<\nassistant: \\in\nassistant:"
    ids = auto.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert ids == auto(text)["input_ids"]
    assert [number for number in ids if number < NUM] == [RESERVED.index(">>KEY<<")]


@pytest.mark.shared
def test_real_documents_come_back(tokenizer, auto):
    num_files = 0
    for path in sorted(file for file in shared_path("").rglob("*") if file.is_file()):
        for text in texts_of(path, max_bytes=20_000):
            text = text[:40_000]
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            assert tokenizer.decode(ids, skip_special_tokens=False) == text, path.name
            assert auto(text)["input_ids"] == ids, path.name
            reserved = np.array([number for number in ids if number < NUM])
            assert np.isin(reserved, [RESERVED.index(token) for token in PLACEHOLDERS]).all(), path.name
        num_files += 1
    assert num_files > 100
