"""Exact duplicates follow their keeper: where near dedup drops it for another, they are dropped for that one too.

So what `dropped/` names is kept. One pass between `verdicts` and the final one, `follow_copies` over parts: copies of
the documents of a part, shuffled to it by exact dedup, meet that part's verdicts and go on to the parts they lie in.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.makers.outcome import NumberedPart, verdicts_of
from pipelines.makers.shuffle import ShuffleWriter, bucket_batches
from pipelines.shards import ShardOutput

FOLLOWED: Final = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("keeper_source", pa.string()),
        pa.field("keeper_id", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("containment", pa.float64()),
        pa.field("by_sketch", pa.bool_()),
        pa.field("duplicate_count", pa.int64()),
    ]
)
"""One row a copy of a document in a cluster: what its keeper's verdict says. `keeper_id` is null where that is kept."""


def follow_copies(
    part: NumberedPart, out: ShardOutput, *, copies: tuple[str, ...], verdicts: tuple[str, ...], num_parts: int
) -> dict[str, Any]:
    """`followed/`: of each copy of a document of `part` that is in a cluster what near dedup says of that document.

    `copies` are shuffle files of `exact_dedup.COPY` by the keeper's part. Counts those that are dropped, by source.
    Holds the verdicts of one part.
    """
    near = verdicts_of(verdicts, part, num_parts)
    rows = near.column("row").to_numpy()
    sources: Counter[str] = Counter()
    with ShuffleWriter(out, "followed", FOLLOWED, num_buckets=num_parts) as shuffle:
        for batch in bucket_batches(copies, part.number, num_buckets=num_parts):
            of = batch.column("row").to_numpy()
            at = np.searchsorted(rows, of)
            found = np.flatnonzero(at < rows.size)
            found = found[rows[at[found]] == of[found]]
            verdict = near.take(pa.array(at[found]))
            columns = [verdict.column(name).combine_chunks() for name in FOLLOWED.names[1:]]
            columns = [pa.array(batch.column("copy_row").to_numpy()[found]), *columns]
            places = batch.column("copy_part").to_numpy()[found]
            shuffle.write(pa.RecordBatch.from_arrays(columns, schema=FOLLOWED), places)
            lost = verdict.column("keeper_id").is_valid().combine_chunks()
            of_source = batch.column("source").take(pa.array(found)).filter(lost)
            sources.update({item["values"]: item["counts"] for item in pc.value_counts(of_source).to_pylist()})
    return {"followed": sources.total(), "removed": {"source": dict(sorted(sources.items()))}}
