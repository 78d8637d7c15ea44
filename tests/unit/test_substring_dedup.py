"""Substring dedup: textbook cases, outputs and conservation, keepers, skew, bounds, the same bytes on any worker."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.artifact import Source, build
from pipelines.counting import add_counts, check_conservation
from pipelines.errors import ConfigError, InputError
from pipelines.executors.local import Local
from pipelines.fingerprint import fingerprint
from pipelines.kernels.windows import BLOCK, WindowScan, gram_tokens
from pipelines.makers.exact_dedup import dedup_exact
from pipelines.makers.process import process
from pipelines.makers.substring.rewriting import Sizes
from pipelines.makers.substring_dedup import SubstringDedup, dedup_substrings
from pipelines.passes import Passes
from pipelines.pipeline import Pipeline
from tests.dedup import VOCABULARY, Result, row, run_maker, write_input, write_text
from tests.substrings import dedup_substrings as oracle
from tests.unit.test_near_dedup import AsIs

SCORE = pa.field("score", pa.float64())


def numbers(first: int, last: int) -> str:
    return " ".join(f"w{i}" for i in range(first, last))


def texts_of(result: Result) -> dict[str, str]:
    return {r["id"]: r["text"] for r in result.rows("kept")}


def test_the_textbook_case(tmp_path):
    """b repeats w10..w19 of a, ten tokens: at min_tokens 10 they go, with one of the white spaces; at 11 they stay.

    The stretch of c is one token shorter. Case and punctuation of d are others, which only "text" heeds.
    """
    texts = {
        "a": numbers(0, 30),
        "b": "before\n\n" + numbers(10, 20) + " after",
        "c": "here " + numbers(10, 19) + " there",
        "d": "Then, " + numbers(10, 20).upper().replace(" ", ", ") + "; now",
    }
    built = write_input(tmp_path, [[row(k, t) for k, t in texts.items()]])
    ten = run_maker(SubstringDedup(min_tokens=10), tmp_path / "ten", built)
    assert texts_of(ten) == texts | {"b": "before\n\nafter"}
    assert texts_of(run_maker(SubstringDedup(min_tokens=11), tmp_path / "eleven", built)) == texts
    words = run_maker(SubstringDedup(min_tokens=10, compare="words"), tmp_path / "words", built)
    assert texts_of(words) == texts | {"b": "before\n\nafter", "d": "Then, now"}
    masked = run_maker(SubstringDedup(min_tokens=10, action="mask", mask="<cut>"), tmp_path / "mask", built)
    assert texts_of(masked) == texts | {"b": "before\n\n<cut> after"}
    (span,) = ten.rows("spans")
    assert (span["id"], span["num_tokens"]) == ("b", 10)
    assert texts["b"].encode()[span["first_byte"] : span["stop_byte"]].decode() == numbers(10, 20)


def test_all_copies_go_if_none_is_to_be_kept(tmp_path):
    texts = {"a": "x " + numbers(0, 10) + " y", "b": numbers(0, 10) + " z", "c": numbers(5, 15)}
    built = write_input(tmp_path, [[row("a", texts["a"])], [row("b", texts["b"]), row("c", texts["c"])]])
    result = run_maker(SubstringDedup(min_tokens=10, keep_first=False), tmp_path, built)
    assert texts_of(result) == {"a": "x y", "b": "z", "c": texts["c"]}


def test_a_run_of_one_word_leaves_one_window_of_itself(tmp_path):
    """Overlapping windows do not cut each other: of 120 equal words 50 stay, of 99 all."""
    built = write_input(tmp_path, [[row("long", "aha " * 120), row("short", "oho " * 99)]])
    result = run_maker(SubstringDedup(), tmp_path, built)
    assert texts_of(result) == {"long": " ".join(["aha"] * 50), "short": "oho " * 99}


def test_prefer_decides_whose_copy_stays(tmp_path):
    rows = [
        row("a", "first " + numbers(0, 60), score=1.0),
        row("b", numbers(0, 60) + " second", score=2.0),
        row("c", "third " + numbers(0, 60), score=None),
    ]
    built = write_input(tmp_path, [rows[2:], rows[:2]], [SCORE])
    assert texts_of(run_maker(SubstringDedup(), tmp_path / "id", built)) == {
        "a": rows[0]["text"], "b": "second", "c": "third",
    }  # fmt: skip
    best = run_maker(SubstringDedup(prefer=(("score", "max"),)), tmp_path / "score", built)
    assert texts_of(best) == {"a": "first", "b": rows[1]["text"], "c": "third"}
    shortest = run_maker(SubstringDedup(prefer=(("num_bytes", "max"),)), tmp_path / "bytes", built)
    assert texts_of(shortest)["b"] == rows[1]["text"]


def corpus(seed: int) -> list[dict]:
    """Documents in seven scripts that quote each other at length."""
    rng = random.Random(seed)
    rows = []
    for number in range(60):
        language = list(VOCABULARY)[number % len(VOCABULARY)]
        pieces = [[rng.randrange(225) for _ in range(rng.choice([5, 20, 200]))] for _ in range(2)]
        if number % 9:
            quoted = random.Random(f"{seed} {language}").choices(range(225), k=180)
            pieces.insert(1, quoted[12 * rng.randrange(5) :])
        text = " ".join(write_text(language, choices) for choices in pieces)
        rows.append(row(f"{number:03d}", text, score=float(rng.randrange(3))))
    return rows


def test_every_script_is_cut_as_the_oracle_cuts_it(tmp_path):
    rows = corpus(1)
    result = run_maker(
        SubstringDedup(dropped_text="all"), tmp_path, write_input(tmp_path, [rows[:7], rows[7:]], [SCORE])
    )
    expected, left = oracle([r["text"] for r in rows], 50)
    kept = texts_of(result)
    assert kept == {r["id"]: e for r, e, n in zip(rows, expected, left, strict=True) if n or e == r["text"]}
    touched = {list(VOCABULARY)[int(span["id"]) % 7] for span in result.rows("spans")}
    assert touched == set(VOCABULARY)


def test_outputs_and_conservation(tmp_path):
    rows = [*corpus(2), row("copy", corpus(2)[20]["text"], score=0.0)]
    maker = SubstringDedup(dropped_text="all")
    result = run_maker(maker, tmp_path, write_input(tmp_path, [rows[:30], [], rows[30:]], [SCORE]))
    counts = {}
    for commit in result.passes.committed:
        counts = add_counts(counts, commit.counts)
    check_conservation(counts, where="test")
    assert counts["dropped"] == {"substring_dedup/all_repeated": 1}
    (dropped,) = result.rows("dropped")
    assert (dropped["id"], dropped["text"]) == ("copy", rows[-1]["text"])
    assert (dropped["stage"], dropped["reason"]) == ("substring_dedup", "all_repeated")
    signals = {r["id"]: r for r in result.rows("signals")}
    spans = result.rows("spans")
    assert list(signals) == [r["id"] for r in rows]
    assert {k for k, s in signals.items() if s["is_all_repeated"]} == {"copy"}
    assert all(signals[r["id"]]["num_bytes"] == len(r["text"].encode()) for r in rows)
    tallies = counts["tallies"]
    assert tallies["substring_dedup/repeated_spans"] == len(spans) > 20
    assert tallies["substring_dedup/repeated_bytes"] == sum(s["stop_byte"] - s["first_byte"] for s in spans)
    assert tallies["substring_dedup/cut_documents"] == len({s["id"] for s in spans})
    assert counts["kept_bytes"] == sum(len(r["text"].encode()) for r in result.rows("kept"))
    assert counts["document_bytes"] == sum(len(r["text"].encode()) for r in rows)
    assert result.passes.notes["substring_dedup"]["shared_keys"] > 0
    schemas = {pq.read_schema(p).remove_metadata() for p in (result.directory / "kept").iterdir()}
    assert len(schemas) == 1
    assert schemas.pop().names == pq.read_schema(tmp_path / "input/kept/part-000.parquet").names
    assert SubstringDedup().described_rules()[0]["signal"] == "is_all_repeated"


def test_how_much_must_be_left(tmp_path):
    """The copy keeps two tokens of its own."""
    rows = [
        row("a", numbers(0, 60)),
        row("b", "own " + numbers(0, 60) + " end"),
        row("c", numbers(0, 60) + " !"),
    ]
    built = write_input(tmp_path, [rows])
    for least, kept in ((0, "abc"), (1, "ab"), (2, "ab"), (3, "a")):
        result = run_maker(SubstringDedup(min_kept_tokens=least), tmp_path / str(least), built)
        assert "".join(texts_of(result)) == kept


def test_order_parts_workers_and_bounds_have_no_influence(tmp_path):
    rows = corpus(3)
    expected = None
    tiny = Sizes(keys_per_bucket=20, keys_in_memory=30, items_per_bucket=40, items_in_memory=50, heavy_items=60)
    for trial in range(4):
        rng = random.Random(trial)
        rng.shuffle(rows)
        cuts = sorted(rng.randrange(len(rows)) for _ in range(trial))
        parts = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
        folder = tmp_path / str(trial)
        built = write_input(folder, parts, [SCORE])
        passes = Passes(artifact="output", directory=str(folder / "output"), executor=Local())
        maker = SubstringDedup(min_tokens=20, prefer=(("score", "max"),))
        maker.run((built,), passes, tiny if trial % 2 else Sizes())
        result = Result(folder / "output", passes)
        spans = sorted((s["id"], s["first_byte"], s["stop_byte"]) for s in result.rows("spans"))
        found = (sorted(texts_of(result).items()), spans)
        assert expected is None or found == expected
        expected = found
    assert len(expected[1]) > 20


def test_two_workers_write_the_same_bytes(tmp_path):
    rows = corpus(4)
    built = write_input(tmp_path, [rows[:5], rows[5:30], rows[30:]], [SCORE])
    one = run_maker(SubstringDedup(), tmp_path / "one", built)
    two = run_maker(SubstringDedup(), tmp_path / "two", built, executor=Local(workers=2))
    assert one.files() == two.files()
    assert one.rows("spans")


def test_a_million_copies_send_about_one(tmp_path):
    """Equal windows of a part go to the next pass once, so that no bucket grows with the number of copies."""
    text = numbers(0, 100)
    parts = [[row(f"{p}-{i:04d}", text) for i in range(500)] for p in "ba"]
    result = run_maker(SubstringDedup(), tmp_path, write_input(tmp_path, parts))
    assert texts_of(result) == {"a-0000": text}
    notes = result.passes.notes["substring_dedup"]
    assert notes["items"] == 51 * 1000
    assert notes["items_sent"] == 51 * 2
    assert notes["items_that_stay"] == 51


def test_a_phrase_with_many_continuations_is_spread_over_buckets(tmp_path):
    """Windows that share a key and nothing else: the key is heavy, its windows lie in many buckets, none is cut."""
    rng = random.Random(5)
    phrase = numbers(0, 30)
    rows = [row(f"{i:03d}", f"{phrase} " + " ".join(f"x{rng.randrange(10**9)}" for _ in range(30))) for i in range(100)]
    built = write_input(tmp_path, [rows])
    passes = Passes(artifact="output", directory=str(tmp_path / "output"), executor=Local())
    SubstringDedup().run((built,), passes, Sizes(items_per_bucket=64, heavy_items=100))
    notes = passes.notes["substring_dedup"]
    assert notes["heavy_keys"] >= 1
    assert notes["items_of_largest_key"] > 100
    counts = [pq.read_table(p) for p in (tmp_path / "output/spans").iterdir()]
    assert sum(table.num_rows for table in counts) == 0
    assert notes["items_that_stay"] == notes["shared_items"]


def test_a_long_document_is_read_in_blocks(tmp_path):
    """Windows over several blocks are found once each, and a long document is cut against itself and against another."""
    words = [f"w{i}" for i in range(3 * BLOCK)]
    scan = WindowScan(pa.array([" ".join(words)]), min_tokens=50, compare="text").collect()
    assert scan.starts[0] == 0
    assert (scan.starts[1:] == (scan.starts + scan.counts)[:-1]).all()
    assert scan.counts.sum() == len(words) - 49
    twice = " ".join([*words, *words[100 : BLOCK + 500]])
    built = write_input(tmp_path, [[row("long", twice)], [row("short", " ".join(words[-60:]))]])
    assert texts_of(run_maker(SubstringDedup(), tmp_path, built)) == {"long": " ".join(words)}


def test_what_a_key_costs():
    """Of random text a key serves (50 - 8 + 2) / 2 windows: 4.5 keys in 100 tokens."""
    rng = random.Random(6)
    text = " ".join(str(rng.randrange(10**9)) for _ in range(100_000))
    runs = WindowScan(pa.array([text]), min_tokens=50, compare="text").collect()
    assert gram_tokens(50) == 8
    assert 0.9 < runs.keys.size / (100_000 * 2 / 44) < 1.1


def test_nothing_and_nearly_nothing(tmp_path):
    texts = ["", " ", "...", "one", "one", "\u00ad", "漢" * 49, "漢" * 49]
    built = write_input(tmp_path, [[row(str(i), t) for i, t in enumerate(texts)], []])
    assert list(texts_of(run_maker(SubstringDedup(), tmp_path, built)).values()) == texts


def test_bad_configuration_and_input_are_refused(tmp_path):
    for wrong in (0, -1, 5000):
        with pytest.raises(ConfigError, match="min_tokens"):
            SubstringDedup(min_tokens=wrong)
    for field, value in (("compare", "bytes"), ("action", "drop"), ("dropped_text", "some")):
        with pytest.raises(ConfigError, match=f"{field} = '{value}'; expected one of"):
            SubstringDedup(**{field: value})
    with pytest.raises(ConfigError, match="mask is empty"):
        SubstringDedup(action="mask", mask="")
    with pytest.raises(ConfigError, match="min_kept_tokens"):
        SubstringDedup(min_kept_tokens=-1)
    built = write_input(tmp_path, [[row("a", "x")]])
    with pytest.raises(InputError, match="prefer names the column 'quality'"):
        run_maker(SubstringDedup(prefer=(("quality", "max"),)), tmp_path, built)


def test_every_field_is_identity():
    changed = {
        "min_tokens": 40, "compare": "words", "action": "mask", "mask": "x", "keep_first": False,
        "min_kept_tokens": 2, "prefer": (("score", "max"),), "dropped_text": "all",
    }  # fmt: skip
    makers = [SubstringDedup(), *(SubstringDedup(**{name: value}) for name, value in changed.items())]
    assert len({fingerprint(maker) for maker in makers}) == len(makers)


def test_built_from_files_by_the_engine(tmp_path):
    lines = [f'{{"id": "{k}", "text": "{k} {numbers(0, 60)}"}}' for k in "ab"]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    source = Source(name="pages", inputs=(str(tmp_path / "in.jsonl"),))
    documents = process(source, through=Pipeline(name="plain", stages=(AsIs(),)))
    artifact = dedup_substrings(dedup_exact(documents), min_kept_tokens=2)
    manifest = build(artifact, root=str(tmp_path / "root"))
    assert manifest["counts"]["documents"] == 2
    assert manifest["counts"]["dropped"] == {"substring_dedup/all_repeated": 1}
    assert manifest["notes"]["substring_dedup"]["shared_keys"] > 0
    (rule,) = manifest["rules"]
    assert (rule["stage"], rule["reason"], rule["signal"]) == ("substring_dedup", "all_repeated", "is_all_repeated")
    assert build(artifact, root=str(tmp_path / "root")) == manifest
