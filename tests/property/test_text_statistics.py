"""Every text statistic equals its oracle, on every kind of text: real prose, all of Unicode, hostile shapes."""

from __future__ import annotations

import io
import json
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigError, InputError
from pipelines.kernels import text_statistics
from pipelines.kernels import unicode_classes as classes
from pipelines.kernels.definitions import COUNTS, RATIOS, STATISTICS
from tests.property import oracles
from tests.shared import shared_path

# Code points that the running Python's unicodedata knows: the class table is of a newer Unicode, see its own test
CHARACTERS = st.characters(exclude_categories=("Cn", "Cs"))
BREAKS = ("\n", "\r", "\r\n", "\n\n", "\n\n\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\u2028", "\u2029")
PIECES = (
    "the", "be", "that", "Lorem ipsum", "lorem  ipsum", "LOREM IPSUM", "javascript", "JavaScript.", "use cookies",
    "uses coo\u212aies", "use of cookies", "terms of use", "privacy policy", "cookie policy", "terms of\u00a0use",
    "[1]", "[12]", "[]", "[edit]", "[citation needed]", "[\u0661]", "[²]", "[[1]]", "[1", "]", "{", "}", "...", "..", ".",
    "….", "…", "!", "?", "?!", ".\"", ".”", "。", "。”", "।", "؟", "•", "-", "–", "#", "##", " ", "  ", "\t", "\u3000", "\xa0",
    "\u200b", "\u200d", "é", "e\u0301", "\u0301", "漢", "漢字", "か", "が", "カ\u3099", "ー", "한국어", "ไทย", "हिन्दी", "العربية",
    "𠀀", "😀", "👩‍👩‍👧", "a1", "1", "11", "١٢", "²", "ß", "İ", "\x00", "x" * 70, "word", "word word", "one two three.",
    "a b c d e f g h i j", "Dot.", "end of it.", "'", '"', "»", "’",
)  # fmt: skip
LINES = st.lists(st.sampled_from(PIECES), max_size=24).map("".join) | st.lists(
    st.sampled_from(PIECES), max_size=24
).map(" ".join)
SHAPED = st.lists(LINES | st.sampled_from(BREAKS), max_size=14).map("".join)
REPEATED = st.lists(st.sampled_from(("a", "b", "c", "the", "漢", "é", "\n")), max_size=160).map(" ".join)
TEXTS = st.text(CHARACTERS, max_size=200) | SHAPED | REPEATED


def batch_of(texts):
    ids = pa.array([str(i) for i in range(len(texts))], pa.string())
    return pa.RecordBatch.from_arrays([ids, pa.array(texts, pa.large_string())], names=["id", "text"])


def measured(texts):
    return text_statistics(batch_of(texts), list(STATISTICS)).to_pylist()


def expected(text):
    counts = oracles.statistics(text)
    ratios = {r.name: (counts[r.numerator] / counts[r.denominator] if counts[r.denominator] else 0.0) for r in RATIOS}
    return counts | ratios


def assert_equal_to_oracle(texts):
    for text, row in zip(texts, measured(texts), strict=True):
        wanted = expected(text)
        wrong = {name: (row[name], wanted[name]) for name in STATISTICS if row[name] != wanted[name]}
        assert not wrong, f"{text!r}: (kernel, oracle) {wrong}"


@settings(max_examples=400, deadline=None)
@given(st.lists(TEXTS, max_size=5))
def test_kernel_equals_oracle_on_any_text(texts):
    assert_equal_to_oracle(texts)


@settings(max_examples=60, deadline=None)
@given(st.lists(SHAPED, min_size=1, max_size=4).map("".join), st.integers(0, 70))
def test_kernel_equals_oracle_at_every_offset_within_a_block(text, shift):
    assert_equal_to_oracle(["x" * shift + text, "." * shift + text, "漢" * (shift % 23) + text])


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.data())
def test_slices_count_as_the_whole(texts, data):
    start = data.draw(st.integers(0, len(texts)))
    length = data.draw(st.integers(0, len(texts) - start))
    batch = batch_of(texts)
    whole = text_statistics(batch, list(STATISTICS)).slice(start, length)
    assert text_statistics(batch.slice(start, length), list(STATISTICS)).to_pylist() == whole.to_pylist()


def long_words():
    return [
        "a " + "x" * length + end
        for length in (998, 999, 1000, 1001, 1002)
        for end in (" b.", " b c.", ".", "\u3000b c.", " " + "é" * 600 + " c.", " " + "é" * 1001 + " c.")
    ] + [("é" * 1000 + " ") * 3 + ".", "  ".join(["x" * 900] * 5) + ".", "é" * 999 + " a b " + "漢" * 1001 + " c."]


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(long_words(), id="words around C4's 1,000 characters"),
        pytest.param(["." * n for n in range(1, 140)], id="runs of dots across blocks"),
        pytest.param(["x" * n + "....." + "y" * n for n in range(55, 70)], id="ellipses on a block's edge"),
        pytest.param(["x" * n + "lorem ipsum dolor sit." for n in range(40, 70)], id="phrases on a block's edge"),
        pytest.param(["x " * n + "lorem ipsum dolor sit." for n in range(20, 40)], id="phrases after words"),
        pytest.param(
            [
                f"One two three{end}"
                for end in ("[1].", ".[1]", ". [1]", ".[edit]", ".[\u0662]", ".[²]", ".[1]x", "..[1].", "[1")
            ]
            + ["a [1] b.", "lorem[1] ipsum a b.", "java[edit]script a b.", "a b c [[1]].", "Go[1]. On[2]. a b."],
            id="citations that matter",
        ),
        pytest.param(
            [
                f"a b{mark}{close} c d e{mark}{close}{close} f.".replace("..", ".")
                for mark in ".!?。।"
                for close in ("", '"', "'", ")", "]", "”", "’", "»", "«", ",", "!", ".")
            ],
            id="what may close a sentence",
        ),
        pytest.param(
            [
                " ".join("abcdefghijklmnopqrstuvwxyz"[:n] + end for n in range(24) for end in "xyx")
                + " "
                + "the of to " * 3
                for _ in range(2)
            ]
            + [" ".join("漢a" * n + "é" * m for n in range(3) for m in range(12))],
            id="words that share their first bytes",
        ),
        pytest.param(["a b " + "[1" * 300, "a b c [" + "1" * 5000 + "].", "[" * 3000], id="brackets that never close"),
        pytest.param(
            ["5" * n + "a" for n in range(60, 70)] + ["5" * 300], id="digits over blocks, a letter late or never"
        ),
        pytest.param(["5" * 128 + "a", "5" * 64 + " " + "a", "1" * 63 + "\u0301" * 40 + "é"], id="late letters"),
        pytest.param(
            ["漢\u0301\u0301a", "漢" * 21 + "\u3099" * 3 + "字", "x" * 61 + "漢a", "x" * 62 + "漢\u0301\u0301b"],
            id="single",
        ),
        pytest.param(["\n" * n for n in range(70)] + ["\r\n" * 40, "\n\r" * 40, " \n" * 40], id="line breaks alone"),
        pytest.param(["\x85" * 33, "a\u2028" * 30, "\u2029\n" * 30, "x" * 63 + "\u2028" + "b"], id="wide line breaks"),
        pytest.param(["", " ", "\n", "\x00", "\u3000", "\ufeff", "\U0010ffff"], id="nearly nothing"),
        pytest.param(["a " * 3000, "ab ba " * 2000, "漢字" * 3000, "a b\n" * 2000], id="one thing repeated"),
        pytest.param([" ".join(str(i * i % 97) for i in range(4000))], id="many levels of n-grams"),
    ],
)
def test_kernel_equals_oracle_on_hard_shapes(texts):
    assert_equal_to_oracle(texts)


@pytest.mark.shared
@pytest.mark.parametrize("language", ["ar", "en", "hi", "ja", "ko", "ru", "ur", "zh"])
def test_kernel_equals_oracle_on_real_documents(language):
    raw = zstandard.ZstdDecompressor().stream_reader(shared_path(f"multilingual/{language}.jsonl.zst").open("rb"))
    texts = [json.loads(line)["text"] for line in io.TextIOWrapper(raw, encoding="utf-8")]
    assert_equal_to_oracle(texts[:: max(1, len(texts) // 60)])


def test_textbook_document():
    """By hand: 3 lines, 2 paragraphs; "b c" occurs twice of 7 words, so the top 2-gram covers 2 * 3 characters."""
    row = measured(["- a b c...\n\nx b c. #9"])[0]
    assert (row["num_words"], row["num_lines"], row["num_paragraphs"], row["gopher_num_lines"]) == (7, 3, 2, 2)
    assert (row["num_bullet_lines"], row["num_ellipsis_lines"], row["num_hashes"], row["num_ellipses"]) == (1, 1, 1, 1)
    assert (row["num_top_2_gram_chars"], row["num_alphabetic_words"], row["num_word_chars"]) == (6, 6, 7)
    assert row["mean_word_chars"] == 1.0


def test_no_statistic_is_ever_null_or_nan():
    table = text_statistics(batch_of(["", "\n", "...", "漢"]), list(STATISTICS))
    for name in STATISTICS:
        values = table.column(name)
        assert values.null_count == 0
        assert values.type == STATISTICS[name].type
        assert np.isfinite(values.to_numpy()).all()


def test_only_what_is_wanted_is_returned_and_it_does_not_depend_on_the_rest():
    texts = ["The end of it. And that\n\nthe end of it. And that\n- one two three."] * 2
    everything = text_statistics(batch_of(texts), list(STATISTICS))
    for name in STATISTICS:
        alone = text_statistics(batch_of(texts), [name])
        assert alone.schema.names == ["id", name]
        assert alone.column(name).equals(everything.column(name)), name
    assert any(everything.column(c.name)[0].as_py() for c in COUNTS)


def test_nothing_wanted_keeps_the_rows():
    assert text_statistics(batch_of(["a", "b"]), ()).num_rows == 2
    assert text_statistics(batch_of([]), list(STATISTICS)).num_rows == 0


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'num_wrods'.*num_words"):
        text_statistics(batch_of(["a"]), ["num_wrods"])


def test_null_and_mistyped_text_are_refused():
    ids = pa.array(["a", "b"])
    with pytest.raises(InputError, match="null in row 1"):
        text_statistics(pa.record_batch({"id": ids, "text": pa.array(["x", None], pa.large_string())}), ["num_words"])
    with pytest.raises(InputError, match="expected large_string"):
        text_statistics(pa.record_batch({"id": ids, "text": pa.array(["x", "y"])}), ["num_words"])


def test_malformed_utf8_never_reads_out_of_bounds():
    """Arrow does not check: the counts may be wrong then, but nothing is read or written beyond the buffers."""
    raw = bytes(range(256)) * 3 + b"\xf0\x9f" + b"\xff" * 70 + b"\xe6"
    text = pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(raw)], np.int64)), pa.py_buffer(raw))
    batch = pa.RecordBatch.from_arrays([pa.array(["a"]), text], names=["id", "text"])
    assert text_statistics(batch, list(STATISTICS)).num_rows == 1


def test_class_table_says_what_python_says_of_every_code_point_python_knows():
    table = classes.class_table()
    wrong = []
    for point in range(classes.NUM_CODE_POINTS):
        character = chr(point)
        category = unicodedata.category(character)
        if category == "Cn":
            continue
        flags = int(table[point])
        said = (
            bool(flags & classes.WORD),
            bool(flags & classes.ALPHA),
            bool(flags & classes.SPACE),
            bool(flags & classes.MARK),
            bool(flags & classes.DIGIT),
        )
        known = (category[0] in "LNM", character.isalpha(), character.isspace(), category[0] == "M", category == "Nd")
        if said != known:
            wrong.append(f"U+{point:04X}")
    assert not wrong


def test_class_table_breaks_lines_where_str_splitlines_does():
    table = classes.class_table()
    breaks = {p for p in range(classes.NUM_CODE_POINTS) if len(f"a{chr(p)}b".splitlines()) == 2}
    assert set(np.flatnonzero(table & classes.BREAK).tolist()) == breaks
