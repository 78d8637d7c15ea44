"""Exact duplicates follow their keeper: where near dedup drops it for another, they are dropped for that one too.

So what `dropped/` names is kept. One pass between `verdicts` and the final one, `follow_copies` over parts: copies of
the documents of a part, shuffled to it by exact dedup, meet that part's verdicts and go on to the parts they lie in.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

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

    `copies` are shuffle files of `exact_dedup.COPY` by the keeper's part. Holds the verdicts of one part.
    """
    near = verdicts_of(verdicts, part, num_parts)
    rows = near.column("row").to_numpy()
    num_followed = 0
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
            num_followed += int(found.size)
    return {"followed": num_followed}
