"""Election of near dedup, two passes: clusters in, a verdict on each of their members out.

1. `gather_members`: shingle sets, recomputed from the text, of the members of clusters and of no other document, with
   what elects keepers, shuffled by cluster;
2. `elect_keepers`: in every group of clusters, members by preference, verified with their keeper (`verify`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipelines import storage
from pipelines.kernels.minhash import MinHashConfig
from pipelines.kernels.shingles import shingle_sets
from pipelines.makers.keepers import Prefer, columns_to_read, group_starts, keeper_columns, order_by_preference
from pipelines.makers.near.verify import elect
from pipelines.makers.outcome import Bucket, NumberedPart, verdicts_of
from pipelines.makers.shuffle import ShuffleWriter, bucket_of, read_bucket
from pipelines.shards import ShardOutput

VERDICT: Final = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("cluster", pa.string()),
        pa.field("cluster_size", pa.int64()),
        pa.field("duplicate_count", pa.int64()),
        pa.field("keeper_source", pa.string()),
        pa.field("keeper_id", pa.string()),
        pa.field("similarity", pa.float64()),
    ]
)
"""One row a member of a cluster; the last three are null for a document that is kept."""


def gather_members(
    part: NumberedPart,
    out: ShardOutput,
    *,
    uris: tuple[str, ...],
    config: MinHashConfig,
    prefer: Prefer,
    verify: bool,
    num_groups: int,
    num_parts: int,
) -> dict[str, Any]:
    """`shingles/`: of each member of a cluster that lies in `part` its shingle set and what elects keepers, by cluster.

    Holds the text of one batch and a run of the shuffle. Without `verify` the sets are empty.
    """
    members = verdicts_of(uris, part, num_parts)
    rows = members.column("row").to_numpy()
    schema = storage.read_schema(part.uri)
    columns = ["text", *columns_to_read(prefer, schema)]
    num_shingles = 0
    with ShuffleWriter(out, "shingles", _member_schema(prefer, schema, columns), num_buckets=num_groups) as shuffle:
        first_row = 0
        for batch in storage.read_batches(part.uri, columns) if rows.size else ():
            low, high = np.searchsorted(rows, [first_row, first_row + batch.num_rows])
            chosen = batch.take(pa.array(rows[low:high] - first_row))
            first_row += batch.num_rows
            if not chosen.num_rows:
                continue
            texts = chosen.column("text")
            if verify:
                values, offsets = shingle_sets(texts, config.shingle_size)
            else:
                values, offsets = np.zeros(0, np.uint64), np.zeros(len(texts) + 1, np.int64)
            clusters = members.column("cluster").slice(low, high - low).to_numpy()
            found = {
                "cluster": pa.array(clusters),
                "cluster_size": members.column("cluster_size").slice(low, high - low).combine_chunks(),
                **keeper_columns(prefer, chosen),
                "part": pa.array(np.full(chosen.num_rows, part.number, np.int64)),
                "row": pa.array(rows[low:high]),
                "shingles": pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values)),
            }
            shuffle.write(pa.RecordBatch.from_pydict(found), bucket_of(_spread(clusters), num_groups))
            num_shingles += values.size
    return {"members": int(rows.size), "shingles": num_shingles}


def elect_keepers(
    bucket: Bucket,
    out: ShardOutput,
    *,
    uris: tuple[str, ...],
    prefer: Prefer,
    min_jaccard: float,
    verify: bool,
    num_groups: int,
    num_parts: int,
) -> dict[str, Any]:
    """`verdicts/`: of every member in a group of clusters that it is kept, or its keeper and similarity, by part."""
    members = read_bucket(uris, bucket.number, num_buckets=num_groups)
    order = order_by_preference(members.drop_columns(["shingles"]), ("cluster",), prefer)
    shingles = members.column("shingles").combine_chunks()
    members = members.drop_columns(["shingles"]).take(pa.array(order))
    starts = group_starts(members.column("cluster").to_numpy())
    sizes = np.diff(starts)
    if verify:
        offsets = shingles.offsets.to_numpy()
        keeper, similarity = elect(shingles.values.to_numpy(), offsets[order], offsets[order + 1], starts, min_jaccard)
    else:
        keeper, similarity = np.repeat(starts[:-1], sizes), np.full(order.size, np.nan)
        keeper[starts[:-1]] = -1
    kept = keeper < 0
    stands_for = np.bincount(np.where(kept, np.arange(order.size), keeper), minlength=order.size)
    source, document = (members.column(name).combine_chunks() for name in ("source", "id"))
    at = pa.array(keeper, mask=kept)
    verdicts = {
        "row": members.column("row").combine_chunks(),
        "cluster": _cluster_names(source, document, starts),
        "cluster_size": members.column("cluster_size").combine_chunks(),
        "duplicate_count": pa.array(stands_for[np.where(kept, np.arange(order.size), keeper)]),
        "keeper_source": source.take(at),
        "keeper_id": document.take(at),
        "similarity": pa.array(similarity, mask=np.isnan(similarity)),
    }
    with ShuffleWriter(out, "verdicts", VERDICT, num_buckets=num_parts) as shuffle:
        shuffle.write(pa.RecordBatch.from_pydict(verdicts), members.column("part").to_numpy())
    return {"clusters": int(sizes.size), "kept": int(kept.sum()), "dropped": int((~kept).sum())}


def _member_schema(prefer: Prefer, schema: pa.Schema, columns: list[str]) -> pa.Schema:
    empty = pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(name) for name in columns]))
    choice = [(name, values.type) for name, values in keeper_columns(prefer, empty).items()]
    place = [("part", pa.int64()), ("row", pa.int64()), ("shingles", pa.large_list(pa.uint64()))]
    return pa.schema([("cluster", pa.int64()), ("cluster_size", pa.int64()), *choice, *place])


def _spread(clusters: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Well-mixed keys, so that clusters fall into groups evenly: Fibonacci hashing (Knuth)."""
    return clusters.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _cluster_names(source: pa.Array, document: pa.Array, starts: npt.NDArray[np.int64]) -> pa.Array:
    """16 hex digits of the best keeper's source and id, for each member: the same whatever the shards were."""
    first = pa.array(starts[:-1])
    best = zip(source.take(first).to_pylist(), document.take(first).to_pylist(), strict=True)
    names = pa.array([xxhash.xxh3_64_hexdigest(f"{s}\0{d}".encode()) for s, d in best], pa.string())
    return names.take(pa.array(np.repeat(np.arange(starts.size - 1), np.diff(starts))))
