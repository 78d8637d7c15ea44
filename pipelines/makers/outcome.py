"""What set-level makers share: numbered input files, and the final pass that writes kept, dropped and signals.

A document is known between passes by its *place*: `part`, the number of its input file in order of input and shard
name, and `row` in that file. Verdicts reach the final pass as shuffle files whose buckets are parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.artifact import Built
from pipelines.counting import TextSample, add_counts, count_outcome, dropped_batch
from pipelines.errors import ConservationError, InputError
from pipelines.makers.process import id_hashes
from pipelines.makers.shuffle import read_bucket
from pipelines.rules import Rule, to_json
from pipelines.shards import ShardOutput

DROPPED_TEXT: Final = ("all", "sample", "none")
BATCH_TEXT_ROWS: Final = 8192
"""A batch is no larger than a row group, 32 MB as parts are written. Short documents cost half of what they do by 1,024."""


@dataclass(frozen=True, kw_only=True)
class NumberedPart:
    """One Parquet file of documents: its number, and the ordinal in the whole input of its first row."""

    name: str
    uri: str
    number: int
    first: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """One bucket of a shuffle as a shard of the next pass."""

    name: str
    number: int


def number_parts(inputs: Sequence[Built]) -> tuple[NumberedPart, ...]:
    """Every kept file of the inputs, in order; named after its input as well where there are several inputs."""
    parts: list[NumberedPart] = []
    first = 0
    for position, built in enumerate(inputs):
        rows_of = {f["path"]: int(f["rows"]) for f in built.manifest["files"]}
        for part in built.parts():
            rows = rows_of[f"kept/{storage.basename(part.uri)}"]
            name = part.name if len(inputs) == 1 else f"{position:03d}-{part.name}"
            parts.append(NumberedPart(name=name, uri=part.uri, number=len(parts), first=first, rows=rows))
            first += rows
    if not parts:
        raise InputError(f"{', '.join(built.name for built in inputs)}: no kept documents to deduplicate")
    return tuple(parts)


def duplicate_rule(reason: str) -> dict[str, Any]:
    """The rule of a dedup as the manifest lists it: the document is dropped where the signal `is_<reason>` holds.

    `reason` is `stage/reason`; there is no bound to ask "what if".
    """
    stage, name = reason.split("/")
    return {"stage": stage, **to_json(Rule(name, f"is_{name}", "==", True))}


def number_buckets(number: int) -> tuple[Bucket, ...]:
    """Shards for the buckets 0 to number - 1."""
    return tuple(Bucket(name=f"bucket-{i:06d}", number=i) for i in range(number))


def verdicts_of(uris: Sequence[str], part: NumberedPart, num_parts: int) -> pa.Table:
    """What the pass before says of the documents of `part`, by row. ConservationError for two verdicts on one."""
    table = read_bucket(uris, part.number, num_buckets=num_parts).sort_by("row")
    rows = table.column("row").to_numpy()
    if rows.size and (rows[0] < 0 or rows[-1] >= part.rows or np.any(rows[1:] == rows[:-1])):
        raise ConservationError(f"{part.uri}: verdicts do not match its {part.rows} rows")
    return table


def verdicts_on_batch(verdicts: pa.Table, first_row: int, num_rows: int) -> dict[str, pa.Array]:
    """The columns of `verdicts_of` for a batch that begins at `first_row`, row by row: null where there is none."""
    rows = verdicts.column("row").to_numpy()
    low, high = np.searchsorted(rows, [first_row, first_row + num_rows])
    where = np.full(num_rows, -1, np.int64)
    where[rows[low:high] - first_row] = np.arange(high - low)
    at = pa.array(where, mask=where < 0)
    near = verdicts.slice(low, high - low)
    return {name: near.column(name).combine_chunks().take(at) for name in near.column_names}


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The final pass on one batch, rows as in the batch: why each is dropped (`stage/reason`, null where it is kept),
    what `dropped/` says of it beside that, and what was measured.
    """

    reasons: pa.Array
    extra: Mapping[str, pa.Array]
    signals: Mapping[str, pa.Array]


def write_outcome(
    part: NumberedPart,
    out: ShardOutput,
    judge: Callable[[pa.RecordBatch, int], Judgement],
    *,
    dropped_text: str,
) -> dict[str, Any]:
    """Stream `part` into `kept/` (input schema), `dropped/`, `signals/` and `ids/`; return its counts.

    `judge(batch, first_row)` judges the rows from `first_row` on. Memory: a few row groups, and 8 bytes a document.
    """
    sample = TextSample(dropped_text)
    counts: dict[str, Any] = {}
    hashes = [np.zeros(0, np.uint64)]
    first_row = 0
    schema = storage.read_schema(part.uri)
    empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
    for batch in storage.read_batches(part.uri, batch_rows=BATCH_TEXT_ROWS):
        counts = add_counts(counts, _write(batch, judge(batch, first_row), out, sample))
        hashes.append(id_hashes(batch))
        first_row += batch.num_rows
    if not counts:
        counts = _write(empty, judge(empty, 0), out, sample)
    if first_row != part.rows:
        raise ConservationError(
            f"{part.uri}: its manifest says {part.rows} rows, it has {first_row}; build the input again"
        )
    out.open("ids", ".u64").write(np.sort(np.concatenate(hashes)).astype("<u8").tobytes())
    counts["records"] = counts["documents"]
    return counts


def _write(batch: pa.RecordBatch, judgement: Judgement, out: ShardOutput, sample: TextSample) -> dict[str, Any]:
    lost = judgement.reasons.is_valid()
    ends = np.concatenate([np.zeros(1, np.int32), np.cumsum(lost.to_numpy(zero_copy_only=False), dtype=np.int32)])
    reasons = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), judgement.reasons.drop_null())
    num_bytes = pc.binary_length(batch.column("text")).cast(pa.int64())
    out.write("kept", batch.filter(pc.invert(lost)))
    extra = {name: values.filter(lost) for name, values in judgement.extra.items()}
    out.write("dropped", dropped_batch(batch.filter(lost), reasons.filter(lost), sample, extra))
    signals = {"id": batch.column("id"), "source": batch.column("source"), "num_bytes": num_bytes, **judgement.signals}
    out.write("signals", pa.RecordBatch.from_pydict(signals | {"reasons": reasons}))
    return count_outcome(batch, reasons, num_bytes=num_bytes)
