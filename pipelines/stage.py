"""Stages: the row-local, pure elements of a pipeline, and the loop that runs them over one batch.

A stage is a frozen, keyword-only dataclass: it is its own config, and there is no base class. It is one of two kinds:

- a *transform* has `transform(batch) -> batch`: one row in, one row out, ids and order kept;
- a *filter* has `measure(batch, statistics) -> signals` and `rules() -> tuple[Rule, ...]`. It never drops a row: it
  measures every row and the engine judges. `signals` is a RecordBatch of one column a signal, rows as in `batch`;
  `statistics` is a RecordBatch with the columns the filter named in `wants`, from the one fused pass over the text.

What a stage may say of itself, all optional class variables:

| name | default | meaning |
|---|---|---|
| `name` | snake_case of the class | unique in a pipeline; may also be a field |
| `version` | 1 | raised whenever the output for some input changes |
| `reads` | `("text",)` | columns it needs |
| `adds` | `()` | `pyarrow.Field`s a transform adds |
| `rewrites_text` | True | of a transform: False promises that `text` is handed on untouched |
| `tallies` | `()` | added integer columns whose sums belong in the manifest (lines dropped, e-mails replaced) |
| `wants` | `()` | statistics a filter takes from `kernels.text_statistics` |
| `libraries` | `()` | distributions whose behaviour its output exports; their versions are part of the fingerprint |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import EyasError, StageError
from pipelines.kernels import text_statistics
from pipelines.rules import Rule, check_measured, columns_read, judge
from pipelines.schema import DOCUMENT, check_same_rows

RESERVED = (*DOCUMENT.names, "num_bytes", "reasons")
"""Columns of `signals/` and of documents, which no signal may be called."""


@runtime_checkable
class Transform(Protocol):
    """One row in, one row out; ids and order kept."""

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with text or attribute columns changed."""
        ...


@runtime_checkable
class Filter(Protocol):
    """Measures every row; its rules are judged by the engine."""

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        """One column a signal, one row a document; never null or NaN."""
        ...

    def rules(self) -> tuple[Rule, ...]:
        """What makes a document faulty, in the order in which reasons are named."""
        ...


Stage = Transform | Filter


def stage_name(stage: Stage) -> str:
    """The stage's own `name`, else its class name in snake_case: `GopherQuality` -> `gopher_quality`."""
    own = getattr(stage, "name", "")
    return (
        str(own)
        if own
        else re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(stage).__name__).lower()
    )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a pipeline says of one batch. Columns have one entry a row, in the order of the input, less `failed`.

    `documents` is the batch after every transform. `signals` holds `id`, `source`, every signal, the attribute columns
    that rules read and `num_bytes`. `reasons` are all faults found, in pipeline order, as `stage/reason`;
    an empty list means kept.
    """

    documents: pa.RecordBatch
    signals: pa.RecordBatch
    reasons: pa.ListArray


def run_stages(stages: Sequence[Stage], batch: pa.RecordBatch) -> tuple[Judged | None, dict[int, tuple[str, str]]]:
    """Run every stage on every row of `batch`; no rule cuts the run short.

    A document on which a stage raises is set aside alone, as `{row: (stage, error)}`: the batch is halved until the
    faulty rows stand by themselves, which pure row-local stages allow. None where no row is left. Deliberate errors
    (a NaN signal, a broken contract) go up.
    """
    try:
        return _run(stages, batch), {}
    except (EyasError, MemoryError, OSError, ImportError):
        # Contracts broken on purpose, and faults of the machine: the shard is tried again, no document is to blame.
        raise
    except Exception as error:
        if batch.num_rows == 0:
            raise
        if batch.num_rows == 1:
            stage = getattr(error, "__eyas_stage__", "pipeline")
            return None, {0: (stage, f"{type(error).__name__}: {error}"[:300])}
    half = batch.num_rows // 2
    left, failed_left = run_stages(stages, batch.slice(0, half))
    right, failed_right = run_stages(stages, batch.slice(half))
    failed = failed_left | {row + half: why for row, why in failed_right.items()}
    if left is None or right is None:
        return left or right, failed
    return _join(left, right), failed


def _join(left: Judged, right: Judged) -> Judged:
    return Judged(
        documents=pa.concat_batches([left.documents, right.documents]),
        signals=pa.concat_batches([left.signals, right.signals]),
        reasons=pa.concat_arrays([left.reasons, right.reasons]),
    )


def _run(stages: Sequence[Stage], batch: pa.RecordBatch) -> Judged:
    columns: dict[str, pa.Array] = {}
    held: list[tuple[str, pa.BooleanArray]] = []
    rules_seen: list[Rule] = []
    statistics: pa.RecordBatch | None = None
    for position, stage in enumerate(stages):
        name = stage_name(stage)
        try:
            if not isinstance(stage, Filter):
                batch = _checked(stage, batch, stage.transform(batch), name)
                statistics = None if getattr(stage, "rewrites_text", True) else statistics
                continue
            if statistics is None:
                statistics = text_statistics(batch, _wanted_until_rewrite(stages[position:]))
            signals = stage.measure(batch, statistics)
        except Exception as error:
            if not isinstance(error, EyasError):
                error.__eyas_stage__ = name  # type: ignore[attr-defined]
            raise
        _check_signals(signals, batch, name)
        for signal in signals.schema.names:
            if signal in columns and not columns[signal].equals(signals.column(signal)):
                raise StageError(
                    f"stage {name!r} measures {signal!r} differently from a stage before it: rename the signal"
                )
            columns[signal] = signals.column(signal)
        rules = stage.rules()
        rules_seen.extend(rules)
        judged = {"id": batch.column("id")}
        judged |= {column: batch.column(column) for column in columns_read(rules)}
        judged |= {column: signals.column(column) for column in signals.schema.names}
        masks = judge(pa.RecordBatch.from_pydict(judged), rules, stage=name)
        held.extend((f"{name}/{rule.reason}", mask) for rule, mask in zip(rules, masks, strict=True))
    return Judged(
        documents=batch,
        signals=_signal_batch(batch, columns, rules_seen),
        reasons=_reason_lists(held, batch.num_rows),
    )


def _signal_batch(batch: pa.RecordBatch, columns: dict[str, pa.Array], rules: Sequence[Rule]) -> pa.RecordBatch:
    rows = {"id": batch.column("id"), "source": batch.column("source")}
    rows |= {name: batch.column(name) for name in columns_read(rules)}
    rows["num_bytes"] = pc.binary_length(batch.column("text"))
    return pa.RecordBatch.from_pydict(rows | columns)


def _reason_lists(held: Sequence[tuple[str, pa.BooleanArray]], num_rows: int) -> pa.ListArray:
    """`[("a/x", [T, F]), ("b/y", [T, T])]` -> `[["a/x", "b/y"], ["b/y"]]`, as list<dictionary-free string>."""
    if not held or not num_rows:
        offsets = pa.array([0] * (num_rows + 1), pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.array([], pa.string()))
    table = pa.table([mask for _, mask in held], names=[str(i) for i in range(len(held))])
    matrix = [column.to_numpy() for column in table.columns]
    stacked = np.stack(matrix, axis=1)
    offsets = np.concatenate([[0], np.cumsum(stacked.sum(axis=1))]).astype(np.int32)
    which = np.nonzero(stacked)[1]
    names = pa.array([name for name, _ in held], pa.string())
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(which)))


def _wanted_until_rewrite(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Statistics that the filters up to the next transform that rewrites text want: what one fused pass computes."""
    wanted: dict[str, None] = {}
    for stage in stages:
        if isinstance(stage, Filter):
            wanted.update(dict.fromkeys(getattr(stage, "wants", ())))
        elif getattr(stage, "rewrites_text", True):
            break
    return tuple(wanted)


def _checked(stage: Transform, before: pa.RecordBatch, after: pa.RecordBatch, name: str) -> pa.RecordBatch:
    """The output of a transform as it promised it: same documents, same columns and what it `adds`, types cast.

    Raises StageError naming the stage for anything else: a column that comes and goes between batches is lost data.
    """
    check_same_rows(before, after, stage=name)
    adds = {field.name: field for field in getattr(stage, "adds", ())}
    wanted = [adds.get(field.name, field) for field in before.schema]
    wanted += [field for column, field in adds.items() if before.schema.get_field_index(column) < 0]
    if sorted(after.schema.names) != sorted(field.name for field in wanted):
        raise StageError(
            f"stage {name!r} returned the columns {after.schema.names}, expected {[field.name for field in wanted]}; "
            "name what it adds in `adds`, and hand on the rest"
        )
    columns = [_as_field(after.column(field.name), field, name) for field in wanted]
    batch = pa.RecordBatch.from_arrays(columns, schema=pa.schema(wanted))
    if not getattr(stage, "rewrites_text", True) and not batch.column("text").equals(before.column("text")):
        raise StageError(f"stage {name!r} says rewrites_text = False but changed the text")
    return batch


def _as_field(column: pa.Array, field: pa.Field, stage: str) -> pa.Array:
    try:
        column = column if column.type == field.type else column.cast(field.type)
    except pa.ArrowException as error:
        raise StageError(
            f"stage {stage!r} returned {field.name!r} as {column.type}, expected {field.type}: {error}"
        ) from error
    if not field.nullable and column.null_count:
        raise StageError(f"stage {stage!r} returned null in {field.name!r}, row {pc.index(pc.is_null(column), True)}")
    return column


def _check_signals(signals: pa.RecordBatch, batch: pa.RecordBatch, stage: str) -> None:
    """Refuse what `measure` must not return: other rows, reserved or repeated names, types no rule can read, NaN."""
    if not isinstance(signals, pa.RecordBatch):
        raise StageError(
            f"stage {stage!r}: measure() returned {type(signals).__name__}, expected a pyarrow.RecordBatch"
        )
    if signals.num_rows != batch.num_rows:
        raise StageError(
            f"stage {stage!r} measured {signals.num_rows} rows of {batch.num_rows}: measure every document"
        )
    names = signals.schema.names
    taken = sorted({name for name in names if name in RESERVED or names.count(name) > 1})
    if taken:
        raise StageError(f"stage {stage!r}: the signal name {taken[0]!r} is taken or stands twice; choose another")
    ids = batch.column("id")
    for field, column in zip(signals.schema, signals.columns, strict=True):
        if not _is_signal_type(field.type):
            raise StageError(
                f"stage {stage!r}: the signal {field.name!r} is {field.type}; numbers, flags and strings can be judged"
            )
        check_measured(column, ids, name=field.name, stage=stage)


def _is_signal_type(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )
