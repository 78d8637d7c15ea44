"""Exact dedup: what is equal, who is kept, what is written, and that order, shards and workers have no influence."""

import random
from itertools import pairwise

import pyarrow as pa
import pytest
import xxhash

from pipelines.counting import add_counts, check_conservation
from pipelines.errors import ConfigError, InputError
from pipelines.executors.local import Local
from pipelines.fingerprint import fingerprint
from pipelines.kernels.whitespace import squeeze_whitespace
from pipelines.makers.exact_dedup import ExactDedup, digests_of
from tests.dedup import VOCABULARY, row, run_maker, write_input, write_text

SCORE = pa.field("score", pa.float64())


def test_planted_duplicates_in_every_script(tmp_path):
    rng = random.Random(1)
    rows = []
    for language in VOCABULARY:
        text = write_text(language, [rng.randrange(200) for _ in range(60)])
        rows += [row(f"{language}-b", text), row(f"{language}-a", f"\u3000{text} \n"), row(f"{language}-c", text + "!")]
    result = run_maker(ExactDedup(), tmp_path, write_input(tmp_path, [rows[::2], rows[1::2]]))
    assert result.keepers() == {f"{language}-b": f"{language}-a" for language in VOCABULARY}
    assert {document for _, document in result.kept()} == {f"{lang}-{x}" for lang in VOCABULARY for x in "ac"}


def test_what_counts_as_equal(tmp_path):
    texts = ["a b", "a  b", " a\tb\n", "A b", "a b.", "ab", "a\u00a0b", "a\u200bb"]
    built = write_input(tmp_path, [[row(str(i), text) for i, text in enumerate(texts)]])
    squeezed = run_maker(ExactDedup(), tmp_path / "squeezed", built)
    assert squeezed.keepers() == {"1": "0", "2": "0", "6": "0"}
    as_they_are = run_maker(ExactDedup(normalize="none"), tmp_path / "none", built)
    assert as_they_are.keepers() == {}


def test_empty_texts_are_one_text(tmp_path):
    built = write_input(tmp_path, [[row("b", ""), row("c", " \n")], [row("a", "\u3000")], []])
    assert run_maker(ExactDedup(), tmp_path, built).keepers() == {"b": "a", "c": "a"}


def test_squeezing_is_split_and_join():
    spaces = [" ", "\t", "\n", "\r\n", "\x0b", "\x1c", "\x85", "\u00a0", "\u1680", "\u2003", "\u2028", "\u3000"]
    rng = random.Random(2)
    texts = [
        "".join(rng.choice([*spaces, "a", "é", "漢", "😀", "\u200b"]) for _ in range(rng.randrange(30)))
        for _ in range(300)
    ]
    data, offsets = squeeze_whitespace(pa.array(texts, pa.large_string()))
    found = [data[a:b].tobytes().decode() for a, b in pairwise(offsets)]
    assert found == [" ".join(text.split()) for text in texts]


def test_digests_are_xxh3_128():
    texts = ["", "a", "漢字" * 1000, "x" * 300]
    found = digests_of(pa.array(texts, pa.large_string()), "none")
    assert [int(high) << 64 | int(low) for high, low in found] == [xxhash.xxh3_128_intdigest(t.encode()) for t in texts]


@pytest.mark.parametrize(
    ("prefer", "keeper"),
    [
        ((), "a"),
        ((("score", "max"),), "c"),
        ((("score", "min"),), "b"),
        ((("num_bytes", "max"),), "d"),
        ((("url", "max"), ("score", "max")), "b"),
        ((("fetched_at", "max"), ("score", "min")), "b"),
    ],
)
def test_prefer_elects_then_source_then_id(tmp_path, prefer, keeper):
    """Null and NaN lose in both directions; a column that is null throughout decides nothing."""
    rows = [
        row("a", "same", score=None),
        row("b", "same", score=-1.0, url="z"),
        row("c", "same", score=2.0, url="y"),
        row("d", "same  ", score=float("nan")),
        row("e", "same", source="t", score=2.0, url="y"),
    ]
    for number, parts in enumerate(([rows], [rows[::-1]], [[r] for r in rows])):
        built = write_input(tmp_path / str(number), parts, [SCORE])
        assert run_maker(ExactDedup(prefer=prefer), tmp_path / str(number), built).kept() == {("s", keeper)}


def test_order_parts_and_workers_have_no_influence(tmp_path):
    rng = random.Random(3)
    rows = [
        row(f"{i:03d}", f"text {rng.randrange(60)}", source=rng.choice("st"), score=rng.randrange(3))
        for i in range(200)
    ]
    maker = ExactDedup(prefer=(("score", "max"),))
    expected = None
    for trial in range(5):
        rng.shuffle(rows)
        cuts = sorted(rng.randrange(200) for _ in range(trial))
        parts = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, 200], strict=True)]
        result = run_maker(maker, tmp_path / str(trial), write_input(tmp_path / str(trial), parts, [SCORE]))
        found = (result.kept(), result.keepers())
        assert expected is None or found == expected
        expected = found
    best = {}
    for r in rows:
        best[r["text"]] = min(best.get(r["text"], (9, "", "")), (-r["score"], r["source"], r["id"]))
    assert expected[0] == {(source, document) for _, source, document in best.values()}


def test_two_workers_write_the_same_bytes(tmp_path):
    built = write_input(tmp_path, [[row(f"{p}{i}", f"text {i % 4}") for i in range(9)] for p in "abc"])
    one = run_maker(ExactDedup(), tmp_path / "one", built)
    two = run_maker(ExactDedup(), tmp_path / "two", built, executor=Local(workers=2))
    assert one.files() == two.files()


def test_outputs_and_conservation(tmp_path):
    rows = [row("a", "same", score=1.0), row("b", "same", score=2.0), row("c", "other", score=3.0)]
    built = write_input(tmp_path, [rows, []], [SCORE])
    result = run_maker(ExactDedup(dropped_text="none"), tmp_path, built)
    (dropped,) = result.rows("dropped")
    assert dropped["reasons"] == ["exact_dedup/exact_duplicate"]
    assert (dropped["stage"], dropped["reason"], dropped["text"]) == ("exact_dedup", "exact_duplicate", None)
    assert (dropped["keeper_source"], dropped["keeper_id"], dropped["locator"]) == ("s", "a", "file:b:0")
    assert [(r["id"], r["score"]) for r in result.rows("kept")] == [("a", 1.0), ("c", 3.0)]
    signals = {r["id"]: (r["duplicate_count"], r["is_exact_duplicate"], r["num_bytes"]) for r in result.rows("signals")}
    assert signals == {"a": (2, False, 4), "b": (2, True, 4), "c": (1, False, 5)}
    counts = {}
    for commit in result.passes.committed:
        counts = add_counts(counts, commit.counts)
    check_conservation(counts, where="test")
    assert (counts["documents"], counts["kept"]) == (3, 2)
    assert counts["dropped"] == {"exact_dedup/exact_duplicate": 1}
    assert {c.shard for c in result.passes.committed} == {"part-000", "part-001"}
    for kind in ("kept", "dropped", "signals"):
        assert sorted(p.name for p in (result.directory / kind).iterdir()) == ["part-000.parquet", "part-001.parquet"]
    assert result.passes.notes == {
        "exact_duplicate_groups": 1,
        "exact_duplicates": 1,
        "largest_exact_duplicate_group": 2,
    }


def test_several_inputs_are_one_corpus(tmp_path):
    left = write_input(tmp_path, [[row("x", "same", source="web")]], name="left")
    right = write_input(tmp_path, [[row("x", "same", source="books")]], name="right")
    result = run_maker(ExactDedup(), tmp_path, left, right)
    assert result.kept() == {("books", "x")}
    assert {c.shard for c in result.passes.committed} == {"000-part-000", "001-part-000"}


def test_nothing_but_duplicates_of_one_text(tmp_path):
    parts = [[row(f"{p}-{i:05d}", "the very same text") for i in range(5000)] for p in "ba"]
    result = run_maker(ExactDedup(), tmp_path, write_input(tmp_path, parts))
    assert result.kept() == {("s", "a-00000")}
    assert result.passes.notes["largest_exact_duplicate_group"] == 10_000


def test_bad_configuration_and_input_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected \\(column"):
        ExactDedup(prefer=(("score", "first"),))
    with pytest.raises(ConfigError, match="'none', 'whitespace'"):
        ExactDedup(normalize="lower")
    with pytest.raises(ConfigError, match="dropped_text"):
        ExactDedup(dropped_text="some")
    built = write_input(tmp_path, [[row("a", "x")]], [pa.field("tags", pa.list_(pa.string()))])
    with pytest.raises(InputError, match="no_such_column"):
        run_maker(ExactDedup(prefer=(("no_such_column", "max"),)), tmp_path / "absent", built)
    with pytest.raises(InputError, match="have no order"):
        run_maker(ExactDedup(prefer=(("tags", "max"),)), tmp_path / "list", built)


def test_every_field_is_identity():
    makers = [
        ExactDedup(),
        ExactDedup(normalize="none"),
        ExactDedup(prefer=(("score", "max"),)),
        ExactDedup(prefer=(("score", "min"),)),
        ExactDedup(dropped_text="all"),
    ]
    assert len({fingerprint(maker) for maker in makers}) == len(makers)
