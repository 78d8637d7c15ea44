"""The Gopher, C4 and FineWeb filters: each reason by a document that has just that fault, bounds, names, C4's lines."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings

from filters.c4 import C4Lines, C4Quality
from filters.fineweb import FineWebQuality
from filters.gopher import GopherQuality, GopherRepetition
from pipelines.errors import ConfigError
from pipelines.kernels.definitions import STATISTICS
from pipelines.stage import run_stages
from tests.property import oracles
from tests.property.test_text_statistics import TEXTS

FILTERS = (GopherQuality(), GopherRepetition(), C4Quality(), FineWebQuality())


def documents(texts):
    number = len(texts)
    columns = {
        "id": pa.array([str(i) for i in range(number)], pa.string()),
        "source": pa.array(["test"] * number, pa.string()),
        "text": pa.array(texts, pa.large_string()),
        "url": pa.nulls(number, pa.string()),
        "fetched_at": pa.nulls(number, pa.timestamp("s")),
        "locator": pa.array([f"0:{i}:1" for i in range(number)], pa.string()),
    }
    return pa.RecordBatch.from_pydict(columns)


def reasons_of(stage, text):
    judged, failed = run_stages([stage], documents([text]))
    assert not failed
    return [reason.split("/", 1)[1] for reason in judged.reasons[0].as_py()]


NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def prose(num_words, *, of=("the", "of")):
    """Different words, none repeated but the stop words at its head, five to a line with a full stop."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [letters[i % 26] + letters[i // 26 % 26] + letters[i // 676 % 26] + "xyz" for i in range(num_words)]
    words[: len(of)] = of
    return "".join(word + (".\n" if k % 10 == 9 else " ") for k, word in enumerate(words)).strip() + "."


GOOD = prose(120)
FAULTY = [
    (GopherQuality(), "too_few_words", prose(49)),
    (GopherQuality(max_words=100), "too_many_words", prose(101)),
    (GopherQuality(), "words_too_short", "the of " + "ab c " * 60),
    (GopherQuality(), "words_too_long", "the of " + "abcdefghijklmno " * 60),
    (GopherQuality(), "too_many_hashes", GOOD + " #" * 13),
    (GopherQuality(), "too_many_ellipses", GOOD + " …" * 7 + " ... x" * 7),
    (GopherQuality(), "mostly_bullet_lines", "\n".join("- " + line for line in GOOD.splitlines())),
    (GopherQuality(), "too_many_ellipsis_lines", GOOD.replace(".\n", "...\n", 4)),
    (GopherQuality(), "too_few_alphabetic_words", GOOD + " 1234" * 31),
    (GopherQuality(), "too_few_stop_words", prose(120, of=("the", "the"))),
    (GopherRepetition(), "empty", ""),
    (GopherRepetition(), "duplicate_paragraphs", "\n\n".join(["a", "b", "c", GOOD, "a", "b"])),
    (GopherRepetition(), "duplicate_paragraph_characters", "\n\n".join([GOOD, GOOD, "a", "b", "c", "d"])),
    (GopherRepetition(), "duplicate_lines", "\n".join(["a", "b", "c", prose(30), "a", "b", "c"])),
    (GopherRepetition(), "duplicate_line_characters", "\n".join([prose(9), prose(9), "a", "b", "c", "d"])),
    *((GopherRepetition(), f"top_{n}_gram_repeated", None) for n in (2, 3, 4)),
    *((GopherRepetition(), f"duplicated_{n}_grams", None) for n in range(5, 11)),
    (C4Quality(), "lorem_ipsum", GOOD + "\nHere is Lorem IPSUM for you."),
    (C4Quality(), "curly_bracket", GOOD + "\nHere is a {b} for you."),
    (C4Quality(), "too_few_sentences", "One two three.\nOne two three.\nOne two three.\nOne two three."),
    (FineWebQuality(), "no_lines", " \n\t\n"),
    (FineWebQuality(), "too_few_punctuated_lines", GOOD.replace(".", ",")),
    (FineWebQuality(), "mostly_short_lines", "\n".join([f"Line {n}." for n in NUMBERS]) + "\n" + prose(9)),
    (FineWebQuality(), "many_duplicate_line_characters", GOOD + "\nA second time, this.\nA second time, this."),
    (FineWebQuality(), "mostly_line_breaks", prose(120).replace(" ", " \n")),
]


def text_with(reason):
    """One n-gram repeated among different words: `duplicated_7_grams` by 7 words that come twice, and so on."""
    n = int("".join(c for c in reason if c.isdigit()))
    gram = " ".join(f"word{chr(97 + k)}" for k in range(n))
    times, others = (20, 4) if reason.startswith("top") else (4, 4)
    fillers = iter(prose(200).split())
    return " ".join(f"{gram} " + " ".join(next(fillers) for _ in range(others)) for _ in range(times))


@pytest.mark.parametrize(("stage", "reason", "text"), FAULTY, ids=[f"{type(s).__name__}-{r}" for s, r, _ in FAULTY])
def test_each_fault_is_found_in_a_document_that_has_it(stage, reason, text):
    assert reason in reasons_of(stage, text_with(reason) if text is None else text)


def test_every_reason_has_a_document_above():
    shown = {(type(stage).__name__, reason) for stage, reason, _ in FAULTY}
    assert shown == {(type(stage).__name__, rule.reason) for stage in FILTERS for rule in stage.rules()}


@pytest.mark.parametrize("stage", FILTERS, ids=lambda stage: type(stage).__name__)
def test_a_sound_document_has_no_fault(stage):
    assert reasons_of(stage, GOOD) == []


@pytest.mark.parametrize("stage", FILTERS, ids=lambda stage: type(stage).__name__)
def test_every_rule_reads_a_statistic_and_names_the_field_of_its_bound(stage):
    fields = {field.name for field in dataclasses.fields(stage)}
    for rule in stage.rules():
        assert rule.signal in stage.wants
        assert rule.field in fields
        assert getattr(stage, rule.field) == rule.bound
        assert not rule.reason.startswith(("enough", "min_", "max_", "gopher_"))
    assert set(stage.wants) <= set(STATISTICS)
    assert {rule.signal for rule in stage.rules()} == set(stage.wants)
    assert len({rule.reason for rule in stage.rules()}) == len(stage.rules())


@pytest.mark.parametrize("stage", FILTERS, ids=lambda stage: type(stage).__name__)
def test_each_field_moves_its_own_rule_and_no_other(stage):
    for rule in stage.rules():
        moved = dataclasses.replace(stage, **{rule.field: rule.bound + 1}).rules()
        assert [(a.reason, a.bound) for a, b in zip(moved, stage.rules(), strict=True) if a != b] == [
            (rule.reason, rule.bound + 1)
        ]


def test_bounds_are_inclusive():
    assert "too_few_words" not in reasons_of(GopherQuality(), prose(50))
    assert "too_few_words" in reasons_of(GopherQuality(), prose(49))
    five = "\n".join(["One two three."] * 5)
    assert reasons_of(C4Quality(), five) == []
    assert reasons_of(C4Quality(min_sentences=6), five) == ["too_few_sentences"]


def test_documents_without_words_lines_or_characters_are_judged_and_never_nan():
    for text in ("", "\n", "...", "\u3000", "#" * 100):
        for stage in FILTERS:
            reasons_of(stage, text)  # a NaN signal would raise


def test_curly_brackets_can_be_allowed():
    text = GOOD + "\nHere is a \\frac{b}{c} for you."
    assert reasons_of(C4Quality(), text) == ["curly_bracket"]
    assert reasons_of(C4Quality(allow_curly_bracket=True), text) == []


def test_c4_lines_drops_each_line_for_its_first_fault_and_counts_it():
    """Each line below has one fault, but for the last two, which are kept: the second loses its citation."""
    text = "\n".join(
        [
            "word " * 3 + "x" * 1001 + ".",
            "A line without an end",
            "Too short.",
            "Please enable Javascript to see this.",
            "Read our Privacy Policy to see this.",
            "   ",
            "An ellipsis is no end...",
            "A line that stays, for it ends.",
            "[1] A line[edit] with citations[citation needed] that stays[23].",
        ]
    )
    batch = C4Lines().transform(documents([text]))
    assert batch.column("text")[0].as_py() == "A line that stays, for it ends.\n A line with citations that stays."
    counts = {name: batch.column(name)[0].as_py() for name in C4Lines.tallies}
    assert counts == {
        "c4_lines_kept": 2,
        "c4_lines_dropped_too_long_word": 1,
        "c4_lines_dropped_no_terminal_punctuation": 2,
        "c4_lines_dropped_too_few_words": 1,
        "c4_lines_dropped_javascript": 1,
        "c4_lines_dropped_policy": 1,
        "c4_lines_dropped_blank": 1,
    }


def test_c4_lines_checks_can_be_left_out():
    text = "Two words\nuse javascript here\nSee our cookie policy[1]\n" + "x" * 30 + " is long"

    def kept(**fields):
        return C4Lines(need_terminal_punctuation=False, **fields).transform(documents([text])).column("text")[0].as_py()

    assert kept() == "x" * 30 + " is long"
    assert kept(min_words=2).splitlines() == ["Two words", "x" * 30 + " is long"]
    assert kept(drop_javascript=False).splitlines()[0] == "use javascript here"
    assert kept(drop_policies=False).splitlines()[0] == "See our cookie policy"
    assert kept(drop_policies=False, cut_citations=False).splitlines()[0] == "See our cookie policy[1]"
    assert kept(max_word_chars=29) == ""


@pytest.mark.parametrize("fields", [{"min_words": 0}, {"max_word_chars": 0}])
def test_c4_lines_refuses_bounds_that_make_no_sense(fields):
    with pytest.raises(ConfigError, match="expected at least 1"):
        C4Lines(**fields)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_c4_lines_equals_its_oracle_and_accounts_for_every_line(text):
    batch = C4Lines().transform(documents(["x", text, "y."])).slice(1, 1)
    assert batch.column("text")[0].as_py() == oracles.rewritten_by_c4(text)
    counts = {name: batch.column(name)[0].as_py() for name in C4Lines.tallies}
    lines = text.splitlines()
    faults = [oracles.c4_line(line)[1] if line.strip() else "blank" for line in lines]
    assert sum(counts.values()) == len(lines)
    assert counts["c4_lines_kept"] == faults.count("kept")
    assert counts["c4_lines_dropped_policy"] == faults.count("policy")
    assert counts["c4_lines_dropped_no_terminal_punctuation"] == faults.count("no_terminal")


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_c4_quality_counts_the_lines_that_c4_lines_keeps(text):
    batch = documents([text])
    stage = C4Quality()
    statistics = run_stages([stage], batch)[0].signals
    kept = C4Lines().transform(batch)
    sentences = sum(len(oracles.sentences(line)) for line in kept.column("text")[0].as_py().split("\n"))
    assert statistics.column("c4_num_sentences")[0].as_py() == sentences


def test_c4_lines_is_a_transform_of_slices_too():
    batch = documents(["One two three.", "no end", "", "Four five six. [1]", "Seven eight nine.[2]"])
    whole = C4Lines().transform(batch)
    for start in range(6):
        part = C4Lines().transform(batch.slice(start))
        assert part.equals(whole.slice(start))
    assert pc.sum(whole.column("c4_lines_kept")).as_py() == 2
    run_stages([C4Quality(), C4Lines(), GopherQuality()], batch)
