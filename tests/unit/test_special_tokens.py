"""Reserved ids and LaTeX commands: what text can yield, in `tokenizers` and in transformers, whatever stands around it."""

from __future__ import annotations

import re
import string
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from filters.pii import EscapePlaceholders, RedactPii
from pipelines.artifact import Artifact, BuildOptions, build_all
from pipelines.errors import ConfigError
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline
from pipelines.tokens import TokenSource
from tests.documents import documents
from tokenizer_training.aggregate import add_texts
from tokenizer_training.counting import PretokenCounter
from tokenizer_training.export import load_tokenizer, tokenizer_files
from tokenizer_training.latex_commands import latex_commands
from tokenizer_training.merging import byte_characters, learn_merges
from tokenizer_training.special_tokens import (
    EOS_ID,
    MIN_RESERVED,
    NUM_RESERVED,
    PLACEHOLDERS,
    is_control,
    reserved_tokens,
)  # fmt: skip
from tokenizer_training.split_patterns import NAMED
from tokenizer_training.tokenize import Tokenize
from tokenizer_training.train import TrainTokenizer

NUM = 40
RESERVED = reserved_tokens(NUM)
COMMANDS = latex_commands()
CORPUS = (
    r"Let \(x\in A\), \[\int_0^\infty \frac{1}{x^2}\,dx\] and \begin{align} \input{a} \section*{B} \end{align}. " * 9,
    r"\infinite \integral \alphabet \inn \fracs C:\users\new \\in \\frac{1}{2} print('\nin\tthe \u00e9') " * 9,
    "The falcon dives, 1234 times; der Falke fliegt über 漢字. >>KEY<< <|pad|> <|endoftext|> " * 9,
)
HOSTILE = [
    *RESERVED, "<|pad|", "|>", "<|", ">>", "<<", "> >", "KEY<<", ">>KEY", "UNUSED_", "21<<", " ", "\n", "x", "7", "é", "漢",
    "\\in", "put", "ann@example.org", "8.8.8.8", ">", "<",
]  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(HOSTILE), max_size=12).map("".join))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    corpus = documents("corpus", CORPUS)
    maker = TrainTokenizer(vocab_size=1700, num_reserved=NUM)
    (built,) = build_all(
        (Artifact(name="tokenizer", maker=maker, inputs=(corpus,)),),
        BuildOptions(root=str(tmp_path_factory.mktemp("root"))),
    )
    return Path(built.uri) / "tokenizer"


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer((folder / "tokenizer.json").read_bytes())


@pytest.fixture(scope="module")
def auto(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def ids_of(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def occurrences(text):
    """Placeholders that stand in a text, by a plain search."""
    return len(re.findall("|".join(map(re.escape, PLACEHOLDERS)), text))


@pytest.fixture(scope="module", params=sorted(NAMED))
def of_pattern(request):
    """A tokenizer of each split pattern, its merges learned from the same texts, commands included: the harder case."""
    pattern = NAMED[request.param]
    counter = PretokenCounter(pattern)
    counter.add(pa.array(CORPUS, pa.large_string()))
    merges = learn_merges(counter.to_batch(), vocab_size=1500, reserved=RESERVED + COMMANDS, min_pair_count=2)
    assert len(merges.merges) > 100
    files = tokenizer_files(merges.vocab, merges.merges, reserved=RESERVED, pattern=pattern)
    return pattern, load_tokenizer(files["tokenizer.json"])


# Reserved ids


def test_1024_ids_at_the_front_in_two_classes():
    tokens = reserved_tokens()
    assert len(tokens) == len(set(tokens)) == NUM_RESERVED == 1024
    assert (tokens[0], tokens[1], tokens[EOS_ID], EOS_ID) == ("<|pad|>", ">>ABSTRACT<<", "<|endoftext|>", 11)
    assert {"<|prefix|>", "<|suffix|>", "<|middle|>", ">>INTRODUCTION<<"} < set(tokens)
    assert [token for token in tokens if not is_control(token)] == list(PLACEHOLDERS)
    assert reserved_tokens(MIN_RESERVED) == tokens[:MIN_RESERVED]
    with pytest.raises(ConfigError, match=f"need {MIN_RESERVED}"):
        reserved_tokens(MIN_RESERVED - 1)


def test_the_vocabulary_begins_with_them(tokenizer):
    assert [tokenizer.id_to_token(number) for number in range(NUM)] == list(RESERVED)
    assert [tokenizer.token_to_id(command) for command in COMMANDS] == list(range(NUM, NUM + len(COMMANDS)))


@settings(max_examples=300)
@given(TEXTS)
def test_text_yields_placeholders_and_no_control_token(tokenizer, auto, text):
    """As many placeholders as a plain search finds, next to whatever stands there: `<|pad|>>KEY<<` has one."""
    ids = ids_of(tokenizer, text)
    reserved = [RESERVED[number] for number in ids if number < NUM]
    assert not any(map(is_control, reserved))
    assert len(reserved) == occurrences(text)
    assert auto(text)["input_ids"] == ids


@pytest.mark.parametrize("control", [token for token in RESERVED if is_control(token)])
def test_a_control_token_hides_no_placeholder(tokenizer, auto, control):
    for text in (f"{control[:-1]}>>KEY<<", f"{control}>>KEY<<{control}", f">>KEY<<{control[1:]}", f">{control}>KEY<<"):
        ids = ids_of(tokenizer, text)
        assert [RESERVED[number] for number in ids if number < NUM] == [">>KEY<<"] * occurrences(text)
        assert auto(text)["input_ids"] == ids


@settings(max_examples=100)
@given(st.lists(st.sampled_from(HOSTILE), max_size=10).map("".join))
def test_no_pattern_lets_a_reserved_spelling_through_as_a_pretoken(of_pattern, text):
    """Whole pre-tokens are looked up in a vocabulary that holds the reserved tokens too: none must be one."""
    _, tokenizer = of_pattern
    ids = ids_of(tokenizer, text)
    assert Counter(number for number in ids if number < NUM).keys() <= {RESERVED.index(p) for p in PLACEHOLDERS}
    assert sum(number < NUM for number in ids) == occurrences(text)
    assert tokenizer.decode(ids) == text


def test_the_bare_file_finds_control_tokens_in_text(folder):
    """What the docs warn of: `encode_special_tokens` is not in tokenizer.json, nor in a pickle."""
    bare = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert ids_of(bare, "a<|endoftext|>")[-1] == EOS_ID
    assert EOS_ID not in ids_of(load_tokenizer((folder / "tokenizer.json").read_bytes()), "a<|endoftext|>")


# Counting and tokenizing see the same pre-tokens


@settings(max_examples=200)
@given(text=st.one_of(TEXTS, st.lists(st.sampled_from(CORPUS[1].split(" ")), max_size=9).map(" ".join)))
def test_counting_and_tokenizing_cut_alike(of_pattern, text):
    pattern, tokenizer = of_pattern
    counter = PretokenCounter(pattern)
    add_texts(counter, pa.array([text], pa.large_string()), 1, where="here")
    counted = {row["pretoken"]: row["count"] for row in counter.to_batch().to_pylist()}
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    words: dict[int, bytes] = {}
    encoding = tokenizer.encode(text, add_special_tokens=False)
    for number, token, word in zip(encoding.ids, encoding.tokens, encoding.word_ids, strict=True):
        if number >= NUM:
            words[word] = words.get(word, b"") + bytes(byte_of[character] for character in token)
    assert Counter(words.values()) == counted


# Placeholders that documents held, and those that redaction wrote


def batch_of(text):
    return pa.RecordBatch.from_pydict({"text": pa.array([text], pa.large_string())})


def test_every_reserved_spelling_that_looks_like_a_placeholder_is_escaped():
    for token in reserved_tokens():
        if token.startswith(">>"):
            assert EscapePlaceholders().transform(batch_of(token)).column("text")[0].as_py() == "> " + token[1:]


@settings(max_examples=300)
@given(TEXTS)
def test_after_escaping_a_placeholder_means_that_something_was_redacted(tokenizer, text):
    escaped = EscapePlaceholders().transform(batch_of(text))
    assert not any(number < NUM for number in ids_of(tokenizer, escaped.column("text")[0].as_py()))
    assert escaped.column("num_placeholders_escaped")[0].as_py() >= occurrences(text)
    redacted = RedactPii().transform(escaped)
    found = Counter(number for number in ids_of(tokenizer, redacted.column("text")[0].as_py()) if number < NUM)
    columns = ("num_emails_replaced", "num_ips_replaced", "num_phones_replaced")
    written = [redacted.column(name)[0].as_py() for name in columns]
    assert [found[RESERVED.index(token)] for token in PLACEHOLDERS[:3]] == written
    assert sum(found.values()) == sum(written)


def test_escapes_and_redactions_are_counted_from_documents_to_tokens(tmp_path):
    """The manifest says how many spellings were escaped and written, and the token shards hold just the written ones."""
    raw = documents(
        "raw", (">>KEY<< and >>EMAIL_ADDRESS<<", "Write to ann@example.org", "<|pad|bob@example.org", "none")
    )
    stages = (EscapePlaceholders(), RedactPii())
    clean = process(raw, through=Pipeline(name="clean", stages=stages))
    trained = Artifact(name="trained", maker=TrainTokenizer(vocab_size=1200, num_reserved=NUM), inputs=(clean,))
    tokens = Artifact(name="tokens", maker=Tokenize(), inputs=(clean, trained))
    built, _, tokenized = build_all((clean, trained, tokens), BuildOptions(root=str(tmp_path)))
    tallies = built.manifest["counts"]["tallies"]
    assert tallies["escape_placeholders/num_placeholders_escaped"] == 2
    assert tallies["redact_pii/num_emails_replaced"] == 2
    source = TokenSource(tokenized.uri)
    ids = [number for ordinal in range(source.num_documents) for number in source.document(ordinal).tolist()]
    assert Counter(RESERVED[n] for n in ids if n < NUM) == {"<|endoftext|>": 4, ">>EMAIL_ADDRESS<<": 2}


# LaTeX commands


def test_several_hundred_commands_each_once_as_tex_spells_them():
    assert len(COMMANDS) == len(set(COMMANDS)) > 700
    assert all(re.fullmatch(r"\\[A-Za-z]+", command) for command in COMMANDS)
    hazards = "in int infty input par partial sec section bar barwedge cos cosh dot dots the theta"
    assert {"\\" + name for name in hazards.split(" ")} <= set(COMMANDS)


NOT_A_LETTER = st.one_of(
    st.just(""),
    st.tuples(st.characters(exclude_categories=["Cs"], exclude_characters=string.ascii_letters), st.text()).map("".join),
    st.sampled_from(["{x}", "_0", "^2", " A", "7", "*", "\\", "\\\\", "\\in", "é", "漢", "\u0301", "\0", "@", "\n\n",
                     ">>KEY<<", "$"]),
)  # fmt: skip
BEFORE = st.one_of(
    st.text(),
    st.sampled_from(["x", "\\", "\\\\", "\\\\\\", "\\in", "7", "漢", "{", "$", "  ", "\n", ">>KEY<<", "<|pad|>", "('",
                     "\\begin{align}"]),
)  # fmt: skip


@settings(max_examples=400)
@given(before=BEFORE, command=st.sampled_from(COMMANDS), after=NOT_A_LETTER)
def test_a_command_is_one_id_in_every_context(tokenizer, auto, before, command, after):
    text = before + command + after
    encoding = tokenizer.encode(text, add_special_tokens=False)
    place = (len(before), len(before) + len(command))
    assert encoding.offsets.count(place) == 1
    assert encoding.ids[encoding.offsets.index(place)] == tokenizer.token_to_id(command)
    loaded = auto(text, return_offsets_mapping=True)
    assert (loaded["input_ids"], loaded["offset_mapping"]) == (encoding.ids, encoding.offsets)


@settings(max_examples=100)
@given(before=BEFORE, command=st.sampled_from(COMMANDS), after=NOT_A_LETTER)
def test_a_command_is_one_id_under_every_pattern(of_pattern, before, command, after):
    _, tokenizer = of_pattern
    encoding = tokenizer.encode(before + command + after, add_special_tokens=False)
    place = (len(before), len(before) + len(command))
    assert encoding.ids[encoding.offsets.index(place)] == tokenizer.token_to_id(command)


@settings(max_examples=100)
@given(st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=30))
def test_commands_one_after_the_other(tokenizer, commands):
    assert tokenizer.encode("".join(commands), add_special_tokens=False).tokens == commands


def test_every_command_alone_and_before_a_letter_that_makes_it_another(tokenizer, auto):
    r"""`\in` + `t` is `\int`, and `\in` + `q` is no command of the list: its pre-token is whole, not `\in` with a rest."""
    for command in COMMANDS:
        assert tokenizer.encode(command, add_special_tokens=False).tokens == [command]
        assert auto.tokenize(command) == [command]
        for longer in (command + "t", command + "xqzj"):
            tokens = tokenizer.encode(longer, add_special_tokens=False).tokens
            assert tokens == [longer] if longer in COMMANDS else "".join(tokens) == longer


def test_an_environment_is_begin_braces_and_its_name(tokenizer):
    tokens = tokenizer.encode(r"\begin{align*}x\in A\end{align*}", add_special_tokens=False).tokens
    assert tokens[:2] == ["\\begin", "{"]
    assert [token for token in tokens if token.startswith("\\")] == ["\\begin", "\\in", "\\end"]
    assert "align" in tokens
