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
from pipelines.rules import Rule, columns_read, judge
from pipelines.schema import check_same_rows


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
    except EyasError:
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
                after = stage.transform(batch)
                _check_transform(stage, batch, after, name)
                statistics = None if getattr(stage, "rewrites_text", True) else statistics
                batch = after
                continue
            if statistics is None:
                statistics = text_statistics(batch, _wanted_until_rewrite(stages[position:]))
            signals = stage.measure(batch, statistics)
        except Exception as error:
            if not isinstance(error, EyasError):
                error.__eyas_stage__ = name  # type: ignore[attr-defined]
            raise
        if signals.num_rows != batch.num_rows:
            raise StageError(
                f"stage {name!r} measured {signals.num_rows} rows of {batch.num_rows}: measure every document"
            )
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


def _check_transform(stage: Transform, before: pa.RecordBatch, after: pa.RecordBatch, name: str) -> None:
    check_same_rows(before, after, stage=name)
    missing = [f.name for f in getattr(stage, "adds", ()) if after.schema.get_field_index(f.name) < 0]
    if missing:
        raise StageError(f"stage {name!r} promised to add {missing} and did not")
    if not getattr(stage, "rewrites_text", True) and not after.column("text").equals(before.column("text")):
        raise StageError(f"stage {name!r} says rewrites_text = False but changed the text")
