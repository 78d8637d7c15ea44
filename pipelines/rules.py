"""Rules as plain data: a reason, the signal it reads, an operator and a bound.

A rule *holds* when the document has the fault its reason names. One rule compiles to four things: a
`pyarrow.compute.Expression` to judge batches, SQL to query `signals/`, a sentence to explain, JSON to fingerprint.

>>> rule = Rule("too_few_words", "num_words", "<", 50, field="min_words")
>>> to_sentence(rule, 12)
'num_words = 12 < min_words = 50'
>>> to_sql(rule)
'"num_words" < 50'
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc

from pipelines.errors import ConfigError, SignalError

Scalar = bool | int | float | str
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, kw_only=True)
class ByAttribute:
    """A bound that depends on an attribute column, such as one threshold a language.

    `bounds` maps a value of `column` to a number; a value that is not there takes `default`, and where `default` is
    None the rule does not hold.
    """

    column: str
    bounds: tuple[tuple[str, float], ...]
    default: float | None = None

    def bound_for(self, value: str | None) -> float | None:
        """The bound for documents whose attribute is `value`; None where no rule holds for them."""
        return dict(self.bounds).get(value, self.default) if value is not None else self.default


Bound = Scalar | frozenset[Scalar] | ByAttribute


@dataclass(frozen=True)
class Rule:
    """`signal op bound` is the fault named `reason`.

    `op` is one of `< <= > >= == != in`; `bound` is a number (or string, for `==` and `!=`), a frozenset (for `in`), or
    ByAttribute. `field` names the stage's field that holds the bound, so that it can be set, asked "what if", and
    named in sentences. Raises ConfigError for an operator or bound that cannot be judged.
    """

    reason: str
    signal: str
    op: str
    bound: Bound
    field: str = ""

    def __post_init__(self) -> None:
        where = f"rule {self.reason!r} on {self.signal!r}"
        if self.op not in OPERATORS and self.op != "in":
            raise ConfigError(f"{where}: unknown operator {self.op!r}; expected one of {', '.join([*OPERATORS, 'in'])}")
        if (self.op == "in") != isinstance(self.bound, frozenset):
            raise ConfigError(
                f"{where}: operator {self.op!r} with bound {self.bound!r}; 'in' and only 'in' takes a frozenset"
            )
        numbers = [b for _, b in self.bound.bounds] if isinstance(self.bound, ByAttribute) else [self.bound]
        if any(isinstance(number, int) and not -(2**63) <= number < 2**63 for number in numbers):
            raise ConfigError(f"{where}: the bound {self.bound!r} does not fit 64 bits; give a smaller number")
        if any(isinstance(number, float) and math.isnan(number) for number in numbers):
            raise ConfigError(f"{where}: the bound is NaN, so the rule could never hold; give a number")


def columns_read(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Attribute columns that bounds of `rules` are keyed by, each once, in order."""
    return tuple(dict.fromkeys(rule.bound.column for rule in rules if isinstance(rule.bound, ByAttribute)))


def to_expression(rule: Rule) -> pc.Expression:
    """The rule over a table that has its signal and, for ByAttribute, its attribute column. Never null on either."""
    signal = pc.field(rule.signal)
    if isinstance(rule.bound, frozenset):
        # Arrow cannot compare with an empty set, in which nothing is; a judged signal is never null.
        return signal.isin(sorted(rule.bound, key=repr)) if rule.bound else signal.is_null()
    if not isinstance(rule.bound, ByAttribute):
        return OPERATORS[rule.op](signal, pc.scalar(rule.bound))
    attribute = pc.coalesce(pc.field(rule.bound.column), pc.scalar(""))
    cases = [(attribute == pc.scalar(key)) & OPERATORS[rule.op](signal, pc.scalar(b)) for key, b in rule.bound.bounds]
    if rule.bound.default is not None:
        others = ~attribute.isin(pa.array([key for key, _ in rule.bound.bounds], pa.string()))
        cases.append(others & OPERATORS[rule.op](signal, pc.scalar(rule.bound.default)))
    return reduce(operator.or_, cases, pc.scalar(False))


def to_sql(rule: Rule) -> str:
    """The rule as a boolean SQL expression over `signals/`; every name and string is quoted."""
    signal = _sql_name(rule.signal)
    if isinstance(rule.bound, frozenset):
        if not rule.bound:
            return "FALSE"
        return f"{signal} IN ({', '.join(_sql_value(v) for v in sorted(rule.bound, key=repr))})"
    sign = {"==": "=", "!=": "<>"}.get(rule.op, rule.op)
    if not isinstance(rule.bound, ByAttribute):
        return f"{signal} {sign} {_sql_value(rule.bound)}"
    default = "NULL" if rule.bound.default is None else _sql_value(rule.bound.default)
    cases = " ".join(f"WHEN {_sql_value(key)} THEN {_sql_value(bound)}" for key, bound in rule.bound.bounds)
    bound = f"CASE {_sql_name(rule.bound.column)} {cases} ELSE {default} END" if cases else default
    return f"COALESCE({signal} {sign} {bound}, FALSE)"


def to_sentence(rule: Rule, value: object, attribute: str | None = None) -> str:
    """One line that says why: the measured value against the bound, with the field's name where there is one.

    `attribute` is the document's value in the column a ByAttribute bound is keyed by.
    """
    bound: object = rule.bound
    name = rule.field
    if isinstance(rule.bound, ByAttribute):
        bound = rule.bound.bound_for(attribute)
        name = f"{name or 'bound'}[{attribute}]"
    elif isinstance(rule.bound, frozenset):
        bound = "{" + ", ".join(str(v) for v in sorted(rule.bound, key=repr)) + "}"
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{rule.signal} = {shown} {rule.op} " + (f"{name} = {bound}" if name else str(bound))


def to_json(rule: Rule) -> dict[str, object]:
    """Canonical JSON of the rule, read back by `from_json`."""
    bound: object = rule.bound
    if isinstance(rule.bound, frozenset):
        bound = {"set": sorted(rule.bound, key=repr)}
    elif isinstance(rule.bound, ByAttribute):
        bound = {"by": rule.bound.column, "bounds": dict(rule.bound.bounds), "default": rule.bound.default}
    return {"reason": rule.reason, "signal": rule.signal, "op": rule.op, "bound": bound, "field": rule.field}


def from_json(data: Mapping[str, object]) -> Rule:
    """The rule that `to_json` wrote."""
    bound = data["bound"]
    if isinstance(bound, dict) and "set" in bound:
        bound = frozenset(bound["set"])
    elif isinstance(bound, dict):
        bound = ByAttribute(column=bound["by"], bounds=tuple(bound["bounds"].items()), default=bound["default"])
    return Rule(str(data["reason"]), str(data["signal"]), str(data["op"]), bound, field=str(data.get("field", "")))  # type: ignore[arg-type]


def judge(signals: pa.RecordBatch, rules: Sequence[Rule], *, stage: str = "") -> list[pa.BooleanArray]:
    """One boolean array a rule: where it holds. `signals` has `id`, the signals, and the columns bounds are keyed by.

    Raises SignalError, naming the document and the signal, where a signal that a rule reads is null or NaN, and
    ConfigError where it is missing: no document is kept because nothing could be said about it.
    """
    for rule in rules:
        if signals.schema.get_field_index(rule.signal) < 0:
            raise ConfigError(
                f"stage {stage!r}: rule {rule.reason!r} reads the signal {rule.signal!r}, which measure() did not return; "
                f"it returned {[n for n in signals.schema.names if n != 'id']}"
            )
    for name in dict.fromkeys(rule.signal for rule in rules):
        check_measured(signals.column(name), signals.column("id"), name=name, stage=stage)
    if not rules:
        return []
    try:
        return _held(signals, rules)
    except pa.ArrowException as error:
        types = {rule.signal: str(signals.schema.field(rule.signal).type) for rule in rules}
        raise ConfigError(f"stage {stage!r}: its rules cannot be judged: {error}; its signals are {types}") from error


def _held(signals: pa.RecordBatch, rules: Sequence[Rule]) -> list[pa.BooleanArray]:
    plan = acero.Declaration.from_sequence(
        [
            acero.Declaration("table_source", acero.TableSourceNodeOptions(pa.Table.from_batches([signals]))),
            acero.Declaration(
                "project",
                acero.ProjectNodeOptions([to_expression(r) for r in rules], [str(i) for i in range(len(rules))]),
            ),
        ]
    )
    held = plan.to_table(use_threads=False).combine_chunks()
    return [held.column(i).combine_chunks() for i in range(len(rules))]


def check_measured(values: pa.Array, ids: pa.Array, *, name: str, stage: str) -> None:
    """Raise SignalError, naming the document and the signal, where one of `values` is null or NaN."""
    if not values.null_count and not pa.types.is_floating(values.type):
        return
    bad = pc.is_null(values, nan_is_null=True)
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        what = "null" if not values[row].is_valid else "NaN"
        raise SignalError(
            f"stage {stage!r} measured {name} = {what} for document {ids[row].as_py()!r}; "
            "a filter must measure every document (divide by max(count, 1), or add a flag for the empty case)"
        )


def _sql_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sql_value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
