"""What evaluation says of tokenizers, against figures worked out by hand, by Python's own `str`, and by the library."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from functools import cache

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from pipelines.artifact import Artifact, BuildOptions, build_all
from pipelines.errors import ConfigError, InputError
from pipelines.executors.local import Local
from pipelines.fingerprint import File
from pipelines.kernels.words import words_of
from pipelines.recipes.tokenizer_page import tokenizer_page
from tests.documents import Written, documents
from tests.shared import shared_path
from tests.tokenizer_files import RESERVED, TEXTS, changed, small_tokenizer, tokenizer_of
from tokenizer_training.evaluate import BUNDLE_BYTES, EvaluateTokenizers, TokenizerFile
from tokenizer_training.export import load_tokenizer
from tokenizer_training.fertility import COUNTS, measure, rates
from tokenizer_training.latex_commands import latex_commands
from tokenizer_training.parity import Parallel, compare_languages, gini, read_parallel
from tokenizer_training.spans import OpenTokenizer
from tokenizer_training.train import TrainTokenizer
from tokenizer_training.vocabulary import CONTEXTS, exactness, inspect_vocabulary


def counts_of(tokenizer: OpenTokenizer, *texts: str) -> list[dict[str, int]]:
    rows, _ = measure(tokenizer, pa.array(texts, pa.large_string()))
    return [dict(zip(COUNTS, row, strict=True)) for row in rows.tolist()]


def foreign(*, normalizer: bool = False) -> bytes:
    """A tokenizer that is not byte-level: words of a list, anything else unknown; blanks are dropped."""
    vocab = {"[UNK]": 0, "falcon": 1, "the": 2, "12": 3, ",": 4}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if normalizer:
        tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer.to_str().encode()


# --- figures of texts


def test_textbook_counts():
    """With bytes and the one merge "lo": "low 12é" is lo w, blank, 1, 2, and é in two bytes: 7 tokens.

    Words are "low" and "12é": both are continued; "low" has 2 pieces, "12é" 4.
    """
    tokenizer = OpenTokenizer(tokenizer_of([("l", "o")], ignore_merges=False))
    (found,) = counts_of(tokenizer, "low 12é")
    assert found == {
        "documents": 1, "bytes": 8, "characters": 7, "words": 2, "tokens": 7, "failures": 0, "placed_words": 2,
        "pieces": 6, "continued_words": 2, "digits": 2, "single_digits": 2, "latex": 0, "single_latex": 0,
    }  # fmt: skip
    assert rates(found)["fertility"] == 3.5
    assert rates(found)["bytes_per_token"] == round(8 / 7, 6)
    assert rates(found)["latex_single"] is None


def test_a_space_before_a_word_is_part_of_its_token_and_no_piece_of_another():
    tokenizer = OpenTokenizer(tokenizer_of([("a", "b"), ("Ġ", "ab")], ignore_merges=False))
    (found,) = counts_of(tokenizer, "ab ab")
    assert (found["tokens"], found["words"], found["pieces"], found["continued_words"]) == (2, 2, 2, 0)


def test_joined_digits_are_not_single():
    tokenizer = OpenTokenizer(tokenizer_of([("1", "2"), ("Ġ", "7")], ignore_merges=False))
    (found,) = counts_of(tokenizer, "12 7 1 7")
    # 12 is one token, " 7" twice one token with its space; the 1 alone is single
    assert (found["digits"], found["single_digits"]) == (5, 1)


def test_latex_commands_in_text():
    whole, split = OpenTokenizer(small_tokenizer()), OpenTokenizer(tokenizer_of([], ignore_merges=False))
    text = r"a \frac{1}{\alpha} \\in \notacommand \in"
    (ours,), (bytes_only,) = counts_of(whole, text), counts_of(split, text)
    assert (ours["latex"], ours["single_latex"]) == (4, 4)
    assert (bytes_only["latex"], bytes_only["single_latex"]) == (4, 0)


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


@cache
def content_of(name: str) -> bytes:
    """Of ours by two patterns, and one that the library must run, since it has a post processor."""
    content = small_tokenizer("none" if name == "plain" else "both")
    return changed(content, post_processor=BYTE_LEVEL) if name == "library" else content


@cache
def tokenizer_named(name: str) -> OpenTokenizer:
    return OpenTokenizer(content_of(name))


def slow_counts(name: str, text: str) -> dict[str, int]:
    """The same figures from the library's ids and Python's `str`."""
    tokenizer = tokenizer_named(name)
    ids = load_tokenizer(content_of(name)).encode(text, add_special_tokens=False).ids
    raw, at, spans = text.encode(), 0, []
    for number in ids:
        length = len(tokenizer.token_bytes[number])
        spans.append((at, at + length))
        at += length
    assert at == len(raw)
    places, begin = [], 0
    for word in words_of(text):
        begin = raw.index(word.encode(), begin)
        places.append((begin, begin + len(word.encode())))
        begin = places[-1][1]
    pieces = [sum(a < end and b > start for a, b in spans) for start, end in places]
    commands = set(latex_commands())
    found = [match.span() for match in re.finditer(rb"\\[A-Za-z]+", raw) if match.group().decode() in commands]
    digits = [p for p, byte in enumerate(raw) if 48 <= byte <= 57]
    return {
        "documents": 1, "bytes": len(raw), "characters": len(text), "words": len(places), "tokens": len(ids), "failures": 0,
        "placed_words": len(places), "pieces": sum(pieces), "continued_words": sum(p > 1 for p in pieces), "digits": len(digits),
        "single_digits": sum((p, p + 1) in spans for p in digits), "latex": len(found),
        "single_latex": sum(span in spans for span in found),
    }  # fmt: skip


ATOMS = st.sampled_from(
    [*"ab 1\n\\(é漢🙂", "the ", "falcon", r"\in", r"\frac{", ">>KEY<<", "<|pad|>", "۳", "e\u0301", " " * 70]
)


@given(texts=st.lists(st.lists(ATOMS | st.characters(exclude_categories=["Cs"]), max_size=40).map("".join), max_size=4))
@pytest.mark.parametrize("name", ["own", "plain", "library"])
def test_counts_are_those_of_a_slow_oracle(name, texts):
    tokenizer = tokenizer_named(name)
    assert tokenizer.encoder.implementation == ("tokenizers" if name == "library" else "eyas")
    assert counts_of(tokenizer, *texts) == [slow_counts(name, text) for text in texts]


def test_slices_are_measured_as_what_they_hold():
    texts = pa.array(["x" * 99, *TEXTS, "漢" * 9], pa.large_string())
    cut, _ = measure(tokenizer_named("own"), texts.slice(1, len(TEXTS)))
    whole, _ = measure(tokenizer_named("own"), pa.array(TEXTS, pa.large_string()))
    assert (cut == whole).all()


# --- tokenizers of others


def test_a_tokenizer_that_loses_text_fails_its_round_trip():
    tokenizer = OpenTokenizer(foreign())
    assert tokenizer.token_bytes is None
    found = counts_of(tokenizer, "the falcon", "the", "the 12 eagles, é falcon")
    assert [row["failures"] for row in found] == [0, 0, 1]
    assert (found[2]["tokens"], found[2]["words"], found[2]["pieces"], found[2]["continued_words"]) == (6, 5, 5, 0)
    assert (found[2]["digits"], found[2]["single_digits"]) == (2, 0)


def test_a_normalizer_that_changes_bytes_is_a_failure_and_its_words_are_not_counted():
    data = json.loads(small_tokenizer())
    data["normalizer"] = {"type": "Lowercase"}
    tokenizer = OpenTokenizer(json.dumps(data).encode())
    assert "normalizer" in tokenizer.encoder.reason
    kept, lost = counts_of(tokenizer, "the falcon", "The falcon")
    assert (kept["failures"], kept["placed_words"]) == (0, 2)
    assert (lost["failures"], lost["placed_words"], lost["words"]) == (1, 0, 2)


def test_control_tokens_of_others_are_not_found_in_text():
    tokenizer = Tokenizer(models.BPE({chr(c): c for c in range(33, 127)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>"])
    opened = OpenTokenizer(tokenizer.to_str().encode())
    assert opened.ids_of("<s>") == [60, 115, 62]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"version": "1.0"}'])
def test_what_is_no_tokenizer_is_refused(content):
    with pytest.raises(InputError, match=r"here\.json"):
        OpenTokenizer(content, where="here.json")


# --- vocabularies


def test_vocabulary_of_ours():
    about = inspect_vocabulary(tokenizer_named("own"))
    assert about["vocab_size"] == len(json.loads(content_of("own"))["model"]["vocab"])
    assert about["control"] == len(RESERVED) - 5
    assert about["parts_of_characters"] >= 128
    assert about["digits"] == {"tried": 10, "exact": 10, "not_exact": [], "joined_tokens": 0, "examples": []}
    assert about["latex"] == {"tried": len(latex_commands()), "exact": len(latex_commands()), "not_exact": []}
    assert about["unreachable"] == {"tokens": 0, "examples": []}


def test_a_token_that_other_merges_hide_is_unreachable():
    """abc is a + bc, but ab comes first: abc is always ab, c."""
    merges = [("a", "b"), ("b", "c"), ("a", "bc")]
    about = inspect_vocabulary(OpenTokenizer(tokenizer_of(merges, ignore_merges=False)))
    assert about["unreachable"] == {"tokens": 1, "examples": ["abc"]}
    looked_up = inspect_vocabulary(OpenTokenizer(tokenizer_of(merges, ignore_merges=True)))
    assert looked_up["unreachable"]["tokens"] == 0


def test_joined_digits_are_named():
    about = inspect_vocabulary(OpenTokenizer(tokenizer_of([("1", "2"), ("Ġ", "7")], ignore_merges=False)))
    assert about["digits"]["not_exact"] == ["1", "2", "7"]
    assert about["digits"]["exact"] == 7
    assert about["digits"]["joined_tokens"] == 2
    assert sorted(about["digits"]["examples"]) == [" 7", "12"]


def test_a_command_must_be_one_token_in_every_context():
    tokenizer = OpenTokenizer(tokenizer_of([("\\", "i"), ("\\i", "n")], ignore_merges=False))
    assert exactness(tokenizer, [r"\in", r"\on"]) == {"tried": 2, "exact": 1, "not_exact": [r"\on"]}
    assert ("x", " A") in CONTEXTS


def test_a_command_that_joins_what_follows_in_one_context_is_not_exact():
    """The pattern "none" takes no digit into a command, but a tokenizer without LaTeX in its pattern does."""
    data = json.loads(tokenizer_of([("\\", "i"), ("\\i", "n"), ("\\in", "7")], ignore_merges=False))
    data["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    joins = OpenTokenizer(json.dumps(data).encode())
    assert joins.encoder.implementation == "tokenizers"
    assert exactness(joins, [r"\in"]) == {"tried": 1, "exact": 0, "not_exact": [r"\in"]}


# --- parallel text


def test_gini_by_its_definition():
    def defined(costs):
        total = sum(costs)
        return float(Fraction(sum(abs(a - b) for a in costs for b in costs), 2 * len(costs) * total))

    for costs in ([1, 2, 3, 4], [7], [0, 0, 5], [3, 3, 9, 1, 100]):
        assert gini(costs) == pytest.approx(defined(costs), abs=1e-6)
    assert gini([]) is None
    assert gini([0, 0]) is None


def test_premium_is_of_sums_and_parity_of_sentences():
    parallel = Parallel(pivot="en", texts={"en": ["ab", "abcd", "a"], "sv": ["abcd", "abcd", None]})
    found = compare_languages(parallel, lambda texts: [len(text) for text in texts])
    assert found["languages"]["sv"] == {
        "sentences": 2,
        "tokens": 8,
        "bytes": 8,
        "premium": round(8 / 6, 6),
        "parity": 1.5,
    }
    assert found["languages"]["en"]["premium"] == 1
    assert found["common_sentences"] == 2
    assert found["gini"] == gini([6, 8])


def test_parallel_files(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"id": 1, "sentences": {"en": ["a", "b"], "sv": ["c", "d"]}}\n'
        '{"en": ["e", "f"], "sv": ["g"]}\n'
        '{"en": "h"}\n'
        '{"sv": "left out, the pivot has none"}\n'
    )
    found = read_parallel(str(path))
    assert found.texts == {"en": ["a", "b", "e\nf", "h"], "sv": ["c", "d", "g", None]}
    with pytest.raises(InputError, match="pivot 'de'"):
        read_parallel(str(path), pivot="de")


@pytest.mark.parametrize("line", ['{"en": 3}', "[1]", "{}", "x", '{"en": ["a", 1]}', "{" * 9, '{"sentences": []}'])
def test_bad_parallel_text_is_refused_with_its_place(tmp_path, line):
    path = tmp_path / "p.jsonl"
    path.write_text('{"en": "a"}\n' + line + "\n")
    with pytest.raises(InputError, match="byte 12"):
        read_parallel(str(path))


# --- the maker

MATH = r"\frac{1}{2} \alpha \in \beta, " * 6


def line(tmp_path, **fields):
    corpus = Artifact(
        name="corpus",
        maker=Written(source="web", shards=((("en", TEXTS[0]), ("de", TEXTS[3])), ((None, MATH), ("en", "")))),
        inputs=(),
    )
    trained = Artifact(
        name="ours", maker=TrainTokenizer(vocab_sizes=(1100, 1150), num_reserved=32, min_pair_count=1), inputs=(corpus,)
    )
    path = tmp_path / "other.json"
    path.write_bytes(foreign())
    files = (TokenizerFile(label="<b>other</b>", file=File(str(path))),)
    maker = EvaluateTokenizers(num_tokenizers=1, files=files, **fields)
    return Artifact(name="evaluation", maker=maker, inputs=(trained, corpus))


def built(artifact, root, workers=1):
    (found,) = build_all((artifact,), BuildOptions(root=str(root), executor=Local(workers=workers)))
    return found, json.loads((root / "evaluation" / found.fingerprint[:12] / "evaluation.json").read_text())


def test_groups_add_up_and_no_order_of_work_shows(tmp_path, monkeypatch):
    parallel = tmp_path / "p.jsonl"
    parallel.write_text('{"en": "the falcon", "de": "der Falke der Falken"}\n')
    artifact = line(tmp_path, parallel=File(str(parallel)))
    first, record = built(artifact, tmp_path / "one")
    assert [entry["label"] for entry in record["tokenizers"]] == ["ours-1100", "ours-1150", "<b>other</b>"]
    for entry in record["tokenizers"]:
        for column in ("language", "source", "content"):
            groups = entry["groups"][column]
            for name in COUNTS:
                assert sum(group[name] for group in groups.values()) == entry["all"][name], (column, name)
        assert entry["parallel"]["languages"]["de"]["premium"] > 0
        assert entry["uses"]["tokens"] == entry["all"]["tokens"]
    ours, larger, other = record["tokenizers"]
    assert sorted(ours["groups"]["language"]) == ["de", "en", "none"]
    assert ours["groups"]["content"]["latex"]["documents"] == 1
    assert ours["groups"]["language"]["none"]["single_latex"] == 24
    assert ours["all"]["failures"] == 0
    assert other["all"]["failures"] == 3
    assert ours["all"]["tokens"] >= larger["all"]["tokens"]
    assert ours["uses"]["entries"] == 1100 - 27
    assert 0 < ours["uses"]["never"] <= ours["uses"]["rare"]
    monkeypatch.setattr("tokenizer_training.evaluate.BUNDLE_BYTES", 1)
    second, again = built(artifact, tmp_path / "two", workers=2)
    assert again == record
    assert second.manifest["root_hash"] == first.manifest["root_hash"]
    assert BUNDLE_BYTES > 1


def test_the_page_escapes_what_is_hostile_and_needs_nothing(tmp_path):
    _, record = built(line(tmp_path), tmp_path / "root")
    record["tokenizers"][0]["groups"]["language"]["<script>"] = record["tokenizers"][0]["groups"]["language"]["en"]
    page = tokenizer_page(record)
    assert "<script" not in page
    assert "<b>other" not in page
    assert "&lt;b&gt;other" in page
    assert not re.search(r"https?:|src=|href=|url\(|@import", page)
    assert page.count("<section") == page.count("</section>") >= 4
    assert tokenizer_page(record) == page


def test_what_cannot_be_evaluated_is_said(tmp_path):
    with pytest.raises(ConfigError, match="at least one"):
        EvaluateTokenizers(num_tokenizers=0)
    with pytest.raises(ConfigError, match="min_uses"):
        EvaluateTokenizers(min_uses=0)
    corpus = documents("corpus", ("a text",))
    nothing = documents("nothing", ())
    trained = Artifact(name="t", maker=TrainTokenizer(vocab_size=300, num_reserved=32, latex=False), inputs=(corpus,))
    options = BuildOptions(root=str(tmp_path / "root"))
    with pytest.raises(InputError, match="no document in nothing"):
        build_all((Artifact(name="e", maker=EvaluateTokenizers(), inputs=(trained, nothing)),), options)
    with pytest.raises(InputError, match=r"corpus: no tokenizer/tokenizer\.json"):
        build_all((Artifact(name="e", maker=EvaluateTokenizers(), inputs=(corpus, corpus)),), options)


@pytest.mark.shared
def test_parallel_text_of_18_languages():
    parallel = read_parallel(str(shared_path("multilingual/parallel_ntrex.jsonl.zst")))
    assert len(parallel.texts) == 18
    assert {len(texts) for texts in parallel.texts.values()} == {len(parallel.texts["en"])}
    found = compare_languages(parallel, lambda texts: [len(text.encode()) for text in texts])
    # by bytes, what a tokenizer of single bytes pays: Cyrillic about twice, Devanagari about 2.6 times
    assert found["languages"]["sv"]["premium"] == pytest.approx(1.1, abs=0.15)
    assert found["languages"]["ru"]["premium"] > 1.8
    assert found["languages"]["hi"]["premium"] > 2.2
    assert found["gini"] > 0.1
