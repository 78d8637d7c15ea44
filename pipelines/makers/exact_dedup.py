"""Exact dedup: documents in; of those with equal text one keeper out, the others dropped as `exact_duplicate`.

Two texts are equal where their xxh3-128 (Collet) is, taken of the text as it is (`normalize="none"`) or with every
run of white space as one space and none at the ends (`"whitespace"`, the default). Case and punctuation always count.
All empty texts are equal to each other. Three passes, none of which holds the text of more than a batch:

1. `digests`: every part writes digest, source, id, preferred columns and place of its documents, by digest;
2. `groups`: every bucket of about ROWS_PER_BUCKET documents sorts its digests and elects keepers (`keepers`);
3. the final pass reads each part once more and writes `kept/`, `dropped/` (with `keeper_source`, `keeper_id`) and
   `signals/` (`duplicate_count`: documents with this text, itself included; `is_exact_duplicate`).

128 bits: a billion documents hold two different texts of one digest with a chance of 1.5e-21.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipelines import storage
from pipelines.artifact import Artifact, Built
from pipelines.errors import ConfigError
from pipelines.kernels.shingles import text_buffers
from pipelines.kernels.whitespace import squeeze_whitespace
from pipelines.makers.keepers import (
    Prefer,
    check_prefer,
    check_prefer_columns,
    columns_to_read,
    group_starts,
    keeper_columns,
    order_by_preference,
)
from pipelines.makers.outcome import (
    DROPPED_TEXT,
    Bucket,
    Judgement,
    NumberedPart,
    duplicate_rule,
    number_buckets,
    number_parts,
    verdicts_of,
    verdicts_on_batch,
    write_outcome,
)
from pipelines.makers.shuffle import SUFFIX, ShuffleWriter, bucket_of, buckets_for, read_bucket
from pipelines.passes import Passes
from pipelines.shards import Committed, ShardOutput

NORMALIZE: Final = ("none", "whitespace")
ROWS_PER_BUCKET: Final = 1 << 20
"""About 150 MB in a task of the second pass, most of it ids."""
REASON: Final = "exact_dedup/exact_duplicate"
VERDICT: Final = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("keeper_source", pa.string()),
        pa.field("keeper_id", pa.string()),
        pa.field("duplicate_count", pa.int64()),
    ]
)
"""One row a document of a group of two or more; the keeper's own has null for `keeper_source` and `keeper_id`."""
COPY: Final = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("copy_part", pa.int64()),
        pa.field("copy_row", pa.int64()),
        pa.field("source", pa.string()),
    ]
)
"""One row a document that is dropped: its own place and source, and its keeper's row. By the keeper's part."""


@dataclass(frozen=True, kw_only=True)
class ExactDedup:
    """Maker of `dedup_exact`. `prefer` elects keepers; `normalize` is "none" or "whitespace".

    `dropped_text` (all, sample or none) says whose text `dropped/` stores. Several inputs are deduplicated as one.
    Raises ConfigError at construction for what cannot be.
    """

    prefer: Prefer = ()
    normalize: str = "whitespace"
    dropped_text: str = "sample"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_prefer(self.prefer)
        if self.normalize not in NORMALIZE:
            raise ConfigError(f"normalize = {self.normalize!r}; expected one of {', '.join(map(repr, NORMALIZE))}")
        if self.dropped_text not in DROPPED_TEXT:
            raise ConfigError(f"dropped_text = {self.dropped_text!r}; expected one of {', '.join(DROPPED_TEXT)}")

    def described_rules(self) -> list[dict[str, Any]]:
        """For the manifest: a document is dropped where `is_exact_duplicate` holds."""
        return [duplicate_rule(REASON)]

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Three passes; see the module."""
        parts = number_parts(inputs)
        groups = find_groups(parts, passes, prefer=self.prefer, normalize=self.normalize)
        uris = tuple(commit.path("verdicts", SUFFIX) for commit in groups)
        work = partial(keep_and_drop, uris=uris, num_parts=len(parts), dropped_text=self.dropped_text)
        passes.final(work, parts)
        for key, value in count_groups(groups).items():
            passes.note(key, value)


def dedup_exact(artifact: Artifact, *more: Artifact, name: str = "", **options: Any) -> Artifact:
    """Describe `artifact` (and `more`, as one) without exact duplicates; `options` are the fields of ExactDedup."""
    return Artifact(name=name or f"{artifact.name}-exact", maker=ExactDedup(**options), inputs=(artifact, *more))


def find_groups(
    parts: tuple[NumberedPart, ...], passes: Passes, *, prefer: Prefer, normalize: str
) -> tuple[Committed, ...]:
    """The first two passes: commits with `verdicts` and `copies`, shuffle files whose buckets are parts (VERDICT, COPY)."""
    for part in parts:
        check_prefer_columns(prefer, storage.read_schema(part.uri), where=part.uri)
    num_buckets = buckets_for(sum(part.rows for part in parts), ROWS_PER_BUCKET)
    write = partial(write_digests, prefer=prefer, normalize=normalize, num_buckets=num_buckets)
    digests = tuple(commit.path("digests", SUFFIX) for commit in passes.run("digests", write, parts))
    elect = partial(elect_keepers, uris=digests, prefer=prefer, num_buckets=num_buckets, num_parts=len(parts))
    return passes.run("groups", elect, number_buckets(num_buckets))


def count_groups(groups: Sequence[Committed]) -> dict[str, int]:
    """For the manifest: groups of equal texts, documents beyond the first of each, and the largest group."""
    return {
        "exact_duplicate_groups": sum(commit.counts["groups"] for commit in groups),
        "exact_duplicates": sum(commit.counts["duplicates"] for commit in groups),
        "largest_exact_duplicate_group": max(commit.counts["largest_group"] for commit in groups),
    }


def digests_of(texts: pa.Array, normalize: str) -> npt.NDArray[np.uint64]:
    """xxh3-128 of every text: uint64 [num_rows, 2], high half first."""
    data, offsets = squeeze_whitespace(texts) if normalize == "whitespace" else text_buffers(texts)
    joined = b"".join(xxhash.xxh3_128_digest(data[a:b].data) for a, b in pairwise(offsets.tolist()))
    return np.frombuffer(joined, ">u8").astype(np.uint64).reshape(-1, 2)


def write_digests(
    part: NumberedPart, out: ShardOutput, *, prefer: Prefer, normalize: str, num_buckets: int
) -> dict[str, Any]:
    """First pass: the digests of one part, shuffled by digest."""
    schema = storage.read_schema(part.uri)
    columns = ["text", *columns_to_read(prefer, schema)]
    types = keeper_columns(prefer, pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(c) for c in columns])))
    fields = [("high", pa.uint64()), ("low", pa.uint64()), *((name, values.type) for name, values in types.items())]
    rows = pa.schema([*fields, ("part", pa.int64()), ("row", pa.int64())])
    first_row = 0
    with ShuffleWriter(out, "digests", rows, num_buckets=num_buckets) as shuffle:
        for batch in storage.read_batches(part.uri, columns):
            digests = digests_of(batch.column("text"), normalize)
            place = {
                "part": pa.array(np.full(batch.num_rows, part.number, np.int64)),
                "row": pa.array(np.arange(first_row, first_row + batch.num_rows)),
            }
            halves = {"high": pa.array(digests[:, 0]), "low": pa.array(digests[:, 1])}
            rows_of_batch = pa.RecordBatch.from_pydict(halves | keeper_columns(prefer, batch) | place)
            shuffle.write(rows_of_batch, bucket_of(digests[:, 0], num_buckets))
            first_row += batch.num_rows
    return {"rows": first_row}


def elect_keepers(
    bucket: Bucket, out: ShardOutput, *, uris: tuple[str, ...], prefer: Prefer, num_buckets: int, num_parts: int
) -> dict[str, Any]:
    """Second pass: of each group of equal digests in one bucket the keeper; verdicts and copies shuffled by part."""
    rows = read_bucket(uris, bucket.number, num_buckets=num_buckets)
    rows = rows.take(pa.array(_repeated(rows)))
    rows = rows.take(pa.array(order_by_preference(rows, ("high", "low"), prefer)))
    starts = group_starts(rows.column("high").to_numpy(), rows.column("low").to_numpy())
    sizes = np.diff(starts)
    keeper = np.repeat(starts[:-1], sizes)
    is_keeper = keeper == np.arange(rows.num_rows)
    nulls = pa.array(np.where(is_keeper, -1, keeper), mask=is_keeper)
    verdicts = pa.RecordBatch.from_pydict(
        {
            "row": rows.column("row").combine_chunks(),
            "keeper_source": rows.column("source").combine_chunks().take(nulls),
            "keeper_id": rows.column("id").combine_chunks().take(nulls),
            "duplicate_count": pa.array(np.repeat(sizes, sizes)),
        }
    )
    with ShuffleWriter(out, "verdicts", VERDICT, num_buckets=num_parts) as shuffle:
        shuffle.write(verdicts, rows.column("part").to_numpy())
    part, row = rows.column("part").to_numpy(), rows.column("row").to_numpy()
    lost = np.flatnonzero(~is_keeper)
    copies = [pa.array(values) for values in (row[keeper[lost]], part[lost], row[lost])]
    copies.append(rows.column("source").combine_chunks().take(pa.array(lost)).cast(pa.string()))
    with ShuffleWriter(out, "copies", COPY, num_buckets=num_parts) as shuffle:
        shuffle.write(pa.RecordBatch.from_arrays(copies, schema=COPY), part[keeper[lost]])
    return {
        "groups": int(sizes.size),
        "largest_group": int(sizes.max(initial=0)),
        "duplicates": int((~is_keeper).sum()),
    }


def keep_and_drop(
    part: NumberedPart, out: ShardOutput, *, uris: tuple[str, ...], num_parts: int, dropped_text: str
) -> dict[str, Any]:
    """Final pass: one part into kept, dropped and signals."""
    judge = partial(_judge, verdicts=verdicts_of(uris, part, num_parts))
    return write_outcome(part, out, judge, dropped_text=dropped_text)


def _judge(batch: pa.RecordBatch, first_row: int, *, verdicts: pa.Table) -> Judgement:
    found = verdicts_on_batch(verdicts, first_row, batch.num_rows)
    is_duplicate = found["keeper_id"].is_valid()
    return Judgement(
        reasons=pc.if_else(is_duplicate, pa.scalar(REASON), pa.scalar(None, pa.string())),
        extra={name: found[name] for name in ("keeper_source", "keeper_id")},
        signals={"duplicate_count": found["duplicate_count"].fill_null(1), "is_exact_duplicate": is_duplicate},
    )


def _repeated(rows: pa.Table) -> npt.NDArray[np.int64]:
    """Positions of the rows whose digest occurs more than once: only these are worth sorting by preference."""
    high, low = rows.column("high").to_numpy(), rows.column("low").to_numpy()
    order = np.lexsort((low, high))
    starts = group_starts(high[order], low[order])
    sizes = np.diff(starts)
    return np.sort(order[np.repeat(sizes > 1, sizes)])
