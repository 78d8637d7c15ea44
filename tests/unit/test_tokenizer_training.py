"""The makers that train a tokenizer and tokenize with it: files, ids, conservation, and what hostile text cannot do."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifact import Artifact, BuildOptions, build, build_all
from pipelines.errors import ConfigError, InputError
from pipelines.executors.local import Local
from pipelines.storage import read_table
from pipelines.tokens import TokenSource
from tests.documents import documents
from tokenizer_training.export import load_tokenizer
from tokenizer_training.ladder import pick_tokenizer
from tokenizer_training.latex_commands import latex_commands
from tokenizer_training.special_tokens import MIN_RESERVED, PLACEHOLDERS, reserved_tokens
from tokenizer_training.tokenize import Tokenize
from tokenizer_training.train import TrainTokenizer

TEXTS = (
    ("The falcon dives. The falcon dives again, and again.", "    def fly(self):\n        return 42\n" * 3, ""),
    (r"Let $\alpha \in \mathbb{R}$ and $\int_0^\infty e^{-x}dx = 1$. " * 2, "Der Falke fliegt über 漢字。" * 4),
    ("Write to >>EMAIL_ADDRESS<< or <|endoftext|> or <|pad|>>>UNUSED_20<<", "naïve cafe\u0301 🙂🙂 \u0000\x1c end"),
)
SMALL = TrainTokenizer(vocab_size=1500, num_reserved=32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    corpus = documents("corpus", *TEXTS)
    tokenizer = Artifact(name="tokenizer", maker=SMALL, inputs=(corpus,))
    tokens = Artifact(name="tokens", maker=Tokenize(), inputs=(corpus, tokenizer))
    return build_all((tokenizer, tokens), BuildOptions(root=str(root)))


@pytest.fixture(scope="module")
def tokenizer(trained):
    return load_tokenizer((Path(trained[0].uri) / "tokenizer" / "tokenizer.json").read_bytes())


def test_ids_at_the_front(tokenizer):
    assert [tokenizer.id_to_token(i) for i in (0, 1, 11)] == ["<|pad|>", ">>ABSTRACT<<", "<|endoftext|>"]
    assert [tokenizer.token_to_id(t) for t in PLACEHOLDERS[:3]] == [12, 13, 14]
    assert tokenizer.id_to_token(31) == ">>UNUSED_31<<"


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from([*reserved_tokens(32), "\\in", "put", " ", "7", "é"])).map("".join))
)
def test_every_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*reserved_tokens(32), "\\in", "put", " ", "<|", "|>", "a"])).map("".join))
def test_no_text_yields_a_control_token(tokenizer, text):
    placeholders = {tokenizer.token_to_id(token) for token in PLACEHOLDERS}
    assert all(i >= 32 or i in placeholders for i in tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("before", ["", " ", "x", "3", "{", "$", "\n", "漢", "\\"])
@pytest.mark.parametrize("after", ["", " A", "3", "_0", "{x}", "\\beta", "漢", "."])
def test_every_latex_command_is_one_id_in_every_context(tokenizer, before, after):
    for command in latex_commands():
        wanted = tokenizer.token_to_id(command)
        assert wanted is not None
        assert tokenizer.encode(before + command + after, add_special_tokens=False).ids.count(wanted) == 1 + (
            command == after
        ), command


def test_prefixes_of_commands_stay_apart(tokenizer):
    encoded = tokenizer.encode(r"x\in A \int \infty \input \section \partial \unknowncommand", add_special_tokens=False)
    assert [t for t in encoded.tokens if t.startswith("\\") and len(t) > 2] == [
        "\\in", "\\int", "\\infty", "\\input", "\\section", "\\partial",
    ]  # fmt: skip


def test_digits_are_single(tokenizer):
    assert tokenizer.encode("42 1234567", add_special_tokens=False).tokens == ["4", "2", "Ġ", *"1234567"]


def test_whitespace_runs_merge(tokenizer):
    assert "ĊĠĠĠĠĠĠĠ" in tokenizer.encode("x:\n        return 42", add_special_tokens=False).tokens


def test_loads_in_transformers_which_splits_control_tokens_too(trained, tokenizer):
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(Path(trained[0].uri) / "tokenizer")
    assert (loaded.pad_token_id, loaded.eos_token_id) == (0, 11)
    for text in ["The falcon <|endoftext|> \\in >>KEY<<", " x  y\n\n"]:
        ids = loaded(text)["input_ids"]
        assert ids == tokenizer.encode(text, add_special_tokens=False).ids
        assert loaded.decode(ids) == text


def test_the_note_says_what_was_learned(trained):
    note = trained[0].manifest["notes"]["tokenizer"]
    assert note["exhausted"]
    assert (
        note["asked_vocab_size"] == 1500 > note["vocab_size"] == 32 + len(latex_commands()) + 256 + note["num_merges"]
    )
    assert note["num_documents"] == 7
    assert note["num_bytes"] == sum(len(text.encode()) for shard in TEXTS for text in shard)
    assert not note["beyond_32_bits"]
    assert note["largest_pair_count"] > 10


def test_tokens_keep_documents_order_and_bytes(trained, tokenizer):
    source = TokenSource(trained[1].uri)
    source.verify()
    texts = [text for shard in TEXTS for text in shard]
    assert source.num_documents == len(texts)
    assert source.num_bytes == sum(len(text.encode()) for text in texts)
    for ordinal, text in enumerate(texts):
        ids = source.document(ordinal).tolist()
        assert ids[-1] == 11
        assert tokenizer.decode(ids[:-1], skip_special_tokens=False) == text
        name, row = source.place(ordinal)
        side = read_table(f"{trained[1].uri}/documents/{name}.parquet").slice(row, 1).to_pylist()[0]
        assert (side["num_tokens"], side["num_bytes"]) == (len(ids), len(text.encode()))
        assert side["id"].startswith("corpus-")
    counts = trained[1].manifest["counts"]
    assert counts["documents"] == counts["kept"] == 7
    assert counts["tokens"] == source.num_tokens == counts["languages"]["en"]["tokens"]


def test_bytes_do_not_depend_on_shards_or_workers(trained, tmp_path):
    """The same documents in other shards, counted in another order, by two workers: the same tokenizer."""
    rearranged = documents("corpus", (TEXTS[2][1], *TEXTS[1]), (TEXTS[0][2], TEXTS[2][0]), (), TEXTS[0][:2])
    for workers in (1, 2):
        artifact = Artifact(name="tokenizer", maker=SMALL, inputs=(rearranged,))
        manifest = build(artifact, root=str(tmp_path / str(workers)), executor=Local(workers=workers))
        assert manifest["root_hash"] == trained[0].manifest["root_hash"]


def test_golden_tokenizer(trained):
    """Anything that changes the learned files must raise TrainTokenizer.version, and then this hash."""
    folder = Path(trained[0].uri) / "tokenizer"
    digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in sorted(p.name for p in folder.iterdir())))
    assert (TrainTokenizer.version, digest.hexdigest()[:16]) == (2, "d1dc122329fdc8c7")


LADDER = (310, 340, 1500)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    corpus = documents("corpus", *TEXTS)
    maker = TrainTokenizer(vocab_sizes=LADDER, num_reserved=32, latex=False, pad_to=64)
    trained = Artifact(name="ladder", maker=maker, inputs=(corpus,))
    picked = pick_tokenizer(trained, 340)
    tokens = Artifact(name="tokens", maker=Tokenize(), inputs=(corpus, picked))
    return build_all((trained, picked, tokens), BuildOptions(root=str(tmp_path_factory.mktemp("root"))))


def test_every_rung_is_what_a_run_of_its_size_learns(ladder, tmp_path):
    for size in LADDER:
        maker = TrainTokenizer(vocab_size=size, num_reserved=32, latex=False, pad_to=64)
        alone = Artifact(name="alone", maker=maker, inputs=(documents("corpus", *TEXTS),))
        (built,) = build_all((alone,), BuildOptions(root=str(tmp_path)))
        folders = Path(ladder[0].uri) / f"tokenizer-{size}", Path(built.uri) / "tokenizer"
        files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
        assert files[0] == files[1]
        assert len(files[0]) == 4
    assert not (Path(ladder[0].uri) / "tokenizer").exists()


def test_sizes_are_noted_and_beside_the_tokenizer(ladder):
    rungs = ladder[0].manifest["notes"]["tokenizer"]["ladder"]
    assert [rung["asked_vocab_size"] for rung in rungs] == [310, 340, 1500]
    assert [rung["vocab_size"] for rung in rungs[:2]] == [310, 340]
    assert [rung["padded_vocab_size"] for rung in rungs[:2]] == [320, 384]
    assert [rung["exhausted"] for rung in rungs] == [False, False, True]
    for rung in rungs:
        folder = Path(ladder[0].uri) / f"tokenizer-{rung['asked_vocab_size']}"
        sizes = json.loads((folder / "sizes.json").read_text())
        assert sizes == {key: rung[key] for key in sizes}
        assert load_tokenizer((folder / "tokenizer.json").read_bytes()).get_vocab_size() == sizes["vocab_size"]


def test_one_rung_can_be_picked_and_used(ladder):
    trained, picked, tokens = ladder
    for path in (Path(picked.uri) / "tokenizer").iterdir():
        assert path.read_bytes() == (Path(trained.uri) / "tokenizer-340" / path.name).read_bytes()
    assert picked.manifest["notes"]["tokenizer"]["vocab_size"] == 340
    assert TokenSource(tokens.uri).num_documents == 7


def test_a_rung_that_is_not_there(tmp_path):
    corpus = documents("corpus", *TEXTS)
    trained = Artifact(
        name="ladder", maker=TrainTokenizer(vocab_sizes=(900, 1000), num_reserved=32, latex=False), inputs=(corpus,)
    )
    with pytest.raises(InputError, match=r"ladder has no tokenizer of vocab_size = 950; it has \[900, 1000\]"):
        build(pick_tokenizer(trained, 950), root=str(tmp_path))
    with pytest.raises(InputError, match=r"corpus has no tokenizer of vocab_size = 700; it has none"):
        build(pick_tokenizer(corpus, 700), root=str(tmp_path))


def test_rare_pretokens_are_dropped_only_if_asked_and_reported(tmp_path):
    corpus = documents("corpus", *TEXTS)
    noted = {}
    for below in (1, 3):
        maker = TrainTokenizer(vocab_size=1500, num_reserved=32, drop_pretokens_below=below)
        built = build(Artifact(name="tokenizer", maker=maker, inputs=(corpus,)), root=str(tmp_path))
        noted[below] = built["notes"]["tokenizer"]
    assert noted[1]["dropped_pretokens"] == {"below": 1, "distinct": 0, "pretokens": 0}
    dropped = noted[3]["dropped_pretokens"]
    assert 0 < dropped["distinct"] <= dropped["pretokens"] <= 2 * dropped["distinct"]
    assert noted[1]["num_pretokens"] - noted[3]["num_pretokens"] == dropped["pretokens"]
    assert noted[1]["num_merges"] > noted[3]["num_merges"]


def test_one_document_without_white_space(tmp_path):
    built = build(
        Artifact(name="t", maker=SMALL, inputs=(documents("corpus", ("falconfalcon" * 50,)),)), root=str(tmp_path)
    )
    assert built["notes"]["tokenizer"]["exhausted"]
    assert built["notes"]["tokenizer"]["largest_pair_count"] == 100


def test_golden_tokens(trained):
    index = json.loads((Path(trained[1].uri) / "index.json").read_text())
    assert (Tokenize.version, index["format"], index["dtype"], index["num_tokens"]) == (1, 1, "<u2", 213)


def test_no_text_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"no text to train a tokenizer on in corpus"):
        build(Artifact(name="t", maker=SMALL, inputs=(documents("corpus", (), ("",)),)), root=str(tmp_path))


def test_one_character_a_million_times(tmp_path):
    built = build(
        Artifact(name="t", maker=SMALL, inputs=(documents("corpus", ("a" * 1_000_000,)),)), root=str(tmp_path)
    )
    assert built["notes"]["tokenizer"]["exhausted"]
    assert built["notes"]["tokenizer"]["num_cut_pretokens"] == 976
    assert built["notes"]["tokenizer"]["num_merges"] >= 10


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 300}, "vocab_size = 300"),
        ({"num_reserved": 3}, f"need {MIN_RESERVED}"),
        ({"pattern": "bpe"}, "unknown split pattern 'bpe'"),
        ({"min_pair_count": 0}, "min_pair_count = 0"),
        ({"drop_pretokens_below": 0}, "drop_pretokens_below = 0"),
        ({"vocab_sizes": (4000, 3000)}, "the smallest first"),
        ({"vocab_sizes": (4000, 4000)}, "each size once"),
        ({"vocab_sizes": (300, 4000)}, "vocab_size = 300"),
        ({"pad_to": 0}, "pad_to = 0"),
    ],
)
def test_impossible_settings_fail_at_construction(fields, message):
    with pytest.raises(ConfigError, match=message):
        TrainTokenizer(**fields)


def test_a_file_that_is_no_tokenizer():
    with pytest.raises(InputError, match=r"x\.json: not a tokenizer.json"):
        load_tokenizer(b"{}", where="x.json")


def test_tokenize_needs_a_tokenizer(tmp_path):
    corpus = documents("corpus", ("a",))
    with pytest.raises(InputError, match=r"no tokenizer/tokenizer\.json"):
        build(Artifact(name="tokens", maker=Tokenize(), inputs=(corpus, corpus)), root=str(tmp_path))


def test_uint32_above_65536_entries():
    from pipelines.tokens import token_dtype

    assert token_dtype(65_536) == np.uint16
    assert token_dtype(65_537) == np.uint32
