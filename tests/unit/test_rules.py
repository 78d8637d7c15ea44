"""Rules compile to four things that must agree: an expression, SQL, a sentence, JSON."""

from __future__ import annotations

import json
import operator
import sqlite3

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import ConfigError, SignalError
from pipelines.rules import ByAttribute, Rule, from_json, judge, to_json, to_sentence, to_sql

NUMBERS = st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6, allow_nan=False))
LANGUAGES = st.sampled_from(["en", "de", "zh", "o'zbek", "", None])
BY_LANGUAGE = st.builds(
    lambda bounds, default: ByAttribute(column="language", bounds=tuple(bounds.items()), default=default),
    st.dictionaries(st.sampled_from(["en", "de", "o'zbek"]), st.integers(-100, 100), max_size=3),
    st.one_of(st.none(), st.integers(-100, 100)),
)
RULES = st.one_of(
    st.builds(Rule, st.just("fault"), st.just("signal"), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS),
    st.builds(Rule, st.just("fault"), st.just("signal"), st.just("in"), st.frozensets(st.integers(-5, 5))),
    st.builds(
        Rule, st.just("fault"), st.just("signal"), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), BY_LANGUAGE
    ),
)


def held_in_python(rule: Rule, value: float, language: str | None) -> bool:
    if isinstance(rule.bound, frozenset):
        return value in rule.bound
    bound = rule.bound
    if isinstance(bound, ByAttribute):
        bound = bound.bound_for(language)
        if bound is None:
            return False
    compare = {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "==": operator.eq,
        "!=": operator.ne,
    }
    return compare[rule.op](value, bound)


@given(RULES, st.lists(st.tuples(st.integers(-200, 200), LANGUAGES), min_size=1, max_size=20))
def test_judging_is_python_and_is_sql(rule, rows):
    values, languages = zip(*rows, strict=True)
    batch = pa.RecordBatch.from_pydict(
        {
            "id": [str(i) for i in range(len(rows))],
            "signal": pa.array(values, pa.int64()),
            "language": pa.array(languages, pa.string()),
        }
    )
    expected = [held_in_python(rule, value, language) for value, language in rows]
    assert judge(batch, [rule])[0].to_pylist() == expected
    database = sqlite3.connect(":memory:")
    database.execute("create table signals (position integer, signal integer, language text)")
    database.executemany("insert into signals values (?, ?, ?)", [(i, v, x) for i, (v, x) in enumerate(rows)])
    found = database.execute(f"select {to_sql(rule)} from signals order by position").fetchall()  # noqa: S608
    assert [bool(value) for (value,) in found] == expected
    database.close()


@given(RULES)
def test_json_round_trip(rule):
    assert from_json(json.loads(json.dumps(to_json(rule)))) == rule


def test_sentences_name_field_and_language():
    assert to_sentence(Rule("r", "num_words", "<", 50, field="min_words"), 12) == "num_words = 12 < min_words = 50"
    assert to_sentence(Rule("r", "share", ">", 0.3), 0.123456789) == "share = 0.123457 > 0.3"
    by = ByAttribute(column="language", bounds=(("zh", 20.0),), default=50.0)
    assert (
        to_sentence(Rule("r", "num_words", "<", by, field="min_words"), 12, "zh")
        == "num_words = 12 < min_words[zh] = 20.0"
    )


@pytest.mark.parametrize("bad", [("=<", 1), ("in", 3), ("<", frozenset({1})), ("<", float("nan"))])
def test_rules_that_cannot_be_judged_are_refused(bad):
    with pytest.raises(ConfigError, match="rule 'r' on 's'"):
        Rule("r", "s", *bad)


@pytest.mark.parametrize(("value", "word"), [(None, "null"), (float("nan"), "NaN")])
def test_undecidable_signals_are_errors(value, word):
    batch = pa.RecordBatch.from_pydict({"id": ["a", "b"], "s": pa.array([1.0, value], pa.float64())})
    with pytest.raises(SignalError, match=f"stage 'x' measured s = {word} for document 'b'"):
        judge(batch, [Rule("r", "s", "<", 1)], stage="x")


def test_a_signal_nobody_measured_is_an_error():
    batch = pa.RecordBatch.from_pydict({"id": ["a"], "s": [1]})
    with pytest.raises(ConfigError, match="reads the signal 't', which measure"):
        judge(batch, [Rule("r", "t", "<", 1)], stage="x")
