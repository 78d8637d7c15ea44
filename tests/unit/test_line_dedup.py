"""Line and paragraph dedup: textbook cases, what is never cut, keepers, conservation, the same bytes on any worker."""

import random

import pyarrow as pa
import pytest

from pipelines.counting import add_counts, check_conservation
from pipelines.errors import ConfigError
from pipelines.executors.local import Local
from pipelines.fingerprint import fingerprint
from pipelines.makers.line_dedup import LineDedup
from pipelines.makers.substring.rewriting import Sizes
from pipelines.passes import Passes
from tests.dedup import VOCABULARY, Result, row, run_maker, write_input, write_text
from tests.substrings import dedup_lines as oracle

SCORE = pa.field("score", pa.float64())


def texts_of(result: Result) -> dict[str, str]:
    return {r["id"]: r["text"] for r in result.rows("kept")}


def test_the_textbook_case(tmp_path):
    """The cookie notice of 2023 and of 2024 is one line: case, punctuation and digits are not compared."""
    texts = {
        "a": "We use cookies (2023).\nFirst text.\n",
        "b": "WE USE COOKIES - 2024!\nSecond text.\n\nFirst text",
        "c": "Third\nwe use cookies 20\n---\n",
    }
    built = write_input(tmp_path, [[row("a", texts["a"])], [row(k, texts[k]) for k in "bc"]])
    result = run_maker(LineDedup(), tmp_path / "ccnet", built)
    assert texts_of(result) == {"a": texts["a"], "b": "Second text.\n\n", "c": texts["c"]}
    assert [(s["id"], s["num_units"]) for s in result.rows("spans")] == [("b", 1), ("b", 1)]
    exact = run_maker(LineDedup(normalize="whitespace"), tmp_path / "whitespace", built)
    assert texts_of(exact) == texts


def test_paragraphs_go_with_the_blank_lines_after_them(tmp_path):
    texts = {"a": "one\ntwo\n\nthree\n", "b": "zero\n\n One\nTwo\n \n\nfour", "c": "one\n\ntwo"}
    built = write_input(tmp_path, [[row(k, t) for k, t in texts.items()]])
    result = run_maker(LineDedup(unit="paragraph"), tmp_path, built)
    assert texts_of(result) == texts | {"b": "zero\n\nfour"}


def test_so_many_documents_may_have_a_line(tmp_path):
    """The refrain goes within a document; the line goes from the third document on."""
    built = write_input(tmp_path, [[row(k, f"shared\nof {k}\nshared") for k in "dabc"]])
    result = run_maker(LineDedup(max_documents=2), tmp_path, built)
    assert texts_of(result) == {"a": "shared\nof a\n", "b": "shared\nof b\n", "c": "of c\n", "d": "of d\n"}


def test_short_and_blank_lines_and_punctuation_stay(tmp_path):
    text = "}\n\n---\n  \nok\nlong enough\n"
    built = write_input(tmp_path, [[row("a", text), row("b", text)]])
    result = run_maker(LineDedup(min_characters=5), tmp_path, built)
    assert texts_of(result) == {"a": text, "b": "}\n\n---\n  \nok\n"}


def test_a_document_that_loses_all_is_dropped(tmp_path):
    built = write_input(
        tmp_path, [[row("a", "one\ntwo"), row("b", "two\n\n***\none\n"), row("c", "***"), row("d", "")]]
    )
    result = run_maker(LineDedup(dropped_text="all"), tmp_path, built)
    assert texts_of(result) == {"a": "one\ntwo", "c": "***", "d": ""}
    (dropped,) = result.rows("dropped")
    assert (dropped["id"], dropped["text"], dropped["reasons"]) == (
        "b", "two\n\n***\none\n", ["line_dedup/all_repeated"],
    )  # fmt: skip


def corpus(seed: int) -> list[dict]:
    rng = random.Random(seed)
    lines = [write_text(rng.choice(list(VOCABULARY)), [rng.randrange(225) for _ in range(8)]) for _ in range(60)]
    return [
        row(f"{i:03d}", "\n".join(rng.choice(lines) for _ in range(rng.randrange(12))), score=float(rng.randrange(3)))
        for i in range(80)
    ]


def test_every_script_is_cut_as_the_oracle_cuts_it(tmp_path):
    rows = corpus(1)
    result = run_maker(LineDedup(max_documents=2), tmp_path, write_input(tmp_path, [rows[:9], rows[9:]], [SCORE]))
    expected, left = oracle([r["text"] for r in rows], "line", "ccnet", 2)
    whole = {r["id"]: e for r, e, n in zip(rows, expected, left, strict=True) if n or e == r["text"]}
    assert texts_of(result) == whole
    assert 10 < len(whole) < len(rows)
    counts = {}
    for commit in result.passes.committed:
        counts = add_counts(counts, commit.counts)
    check_conservation(counts, where="test")
    assert counts["dropped"] == {"line_dedup/all_repeated": len(rows) - len(whole)}
    assert counts["tallies"]["line_dedup/repeated_bytes"] == sum(r["repeated_bytes"] for r in result.rows("signals"))


def test_order_parts_workers_and_bounds_have_no_influence(tmp_path):
    rows = corpus(2)
    expected = None
    tiny = Sizes(keys_per_bucket=20, keys_in_memory=30, items_per_bucket=40, items_in_memory=50, heavy_items=3)
    for trial in range(4):
        rng = random.Random(trial)
        rng.shuffle(rows)
        cuts = sorted(rng.randrange(len(rows)) for _ in range(trial))
        parts = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
        folder = tmp_path / str(trial)
        built = write_input(folder, parts, [SCORE])
        passes = Passes(artifact="output", directory=str(folder / "output"), executor=Local(workers=1 + trial % 2))
        LineDedup(prefer=(("score", "max"),)).run((built,), passes, tiny if trial > 1 else Sizes())
        found = sorted(texts_of(Result(folder / "output", passes)).items())
        assert expected is None or found == expected
        expected = found


def test_two_workers_write_the_same_bytes(tmp_path):
    rows = corpus(3)
    built = write_input(tmp_path, [rows[:5], rows[5:]], [SCORE])
    one = run_maker(LineDedup(), tmp_path / "one", built)
    two = run_maker(LineDedup(), tmp_path / "two", built, executor=Local(workers=2))
    assert one.files() == two.files()
    assert one.rows("spans")


def test_bad_configuration_is_refused():
    for field, value in (("unit", "word"), ("normalize", "none"), ("dropped_text", "some")):
        with pytest.raises(ConfigError, match=f"{field} = '{value}'; expected one of"):
            LineDedup(**{field: value})
    for field in ("max_documents", "min_characters"):
        with pytest.raises(ConfigError, match=f"{field} = 0; give 1 or more"):
            LineDedup(**{field: 0})


def test_every_field_is_identity():
    changed = {
        "unit": "paragraph", "normalize": "whitespace", "max_documents": 2, "min_characters": 2,
        "prefer": (("score", "max"),), "dropped_text": "all",
    }  # fmt: skip
    makers = [LineDedup(), *(LineDedup(**{name: value}) for name, value in changed.items())]
    assert len({fingerprint(maker) for maker in makers}) == len(makers)
