"""Election of near dedup, two passes: clusters in, a verdict on each of their members out.

1. `gather_members`: shingle sets, recomputed from the text, of the members of clusters and of no other document, with
   what elects keepers, shuffled by cluster. Members of an earlier release come from its index, with a sketch;
2. `elect_keepers`: in every group of clusters, members by preference, verified with their keeper (`verify`).

Members of an earlier release come first in preference, by source and id, and are keepers all.
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
from pipelines.makers.near.groups import load_group, verify_group
from pipelines.makers.near.similarity import F64, I64, containment
from pipelines.makers.near.strata import STRATA, columns_of_strata, count_strata, strata_of
from pipelines.makers.near.verify import Flags
from pipelines.makers.outcome import Bucket, NumberedPart, verdicts_of
from pipelines.makers.shuffle import ShuffleWriter, bucket_of
from pipelines.shards import ShardOutput

MAX_BLOCK_SHINGLES: Final = 1 << 24
"""Shingles of the sets that a task of the second pass holds at once: 128 MB, and twice where a group has more."""
WRITE_ROWS: Final = 1 << 16
VERDICT: Final = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("cluster", pa.string()),
        pa.field("cluster_size", pa.int64()),
        pa.field("duplicate_count", pa.int64()),
        pa.field("keeper_source", pa.string()),
        pa.field("keeper_id", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("containment", pa.float64()),
        pa.field("keeper_part", pa.int64()),
        pa.field("keeper_row", pa.int64()),
        pa.field("by_sketch", pa.bool_()),
    ]
)
"""One row a new member of a cluster. From `keeper_source` to `keeper_row` null for a document that is kept, `similarity`
and `containment` (the share of its shingles that its keeper has) also where nothing was verified. `by_sketch`: both are
estimated, from the sketch of a keeper of an earlier release. Such a keeper's part is numbered after the new ones."""


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
    exact: tuple[str, ...] = (),
    num_exact_parts: int = 1,
) -> dict[str, Any]:
    """`shingles/`: of each member of a cluster that lies in `part` its shingle set and what elects keepers, by cluster.

    Holds the text of one batch and a run of the shuffle. Without `verify` the sets are empty. `exact` are verdicts of
    exact dedup by part: how many documents a member stands for already.
    """
    members = verdicts_of(uris, part, num_parts)
    rows = members.column("row").to_numpy()
    schema = storage.read_schema(part.uri)
    columns = list(dict.fromkeys(["text", *columns_to_read(prefer, schema), *columns_of_strata(schema)]))
    copies = _copies_of(rows, exact, part, num_exact_parts)
    num_shingles = 0
    with ShuffleWriter(out, "shingles", member_schema(prefer, schema), num_buckets=num_groups) as shuffle:
        first_row = 0
        for batch in storage.read_batches(part.uri, columns) if rows.size else ():
            low, high = np.searchsorted(rows, [first_row, first_row + batch.num_rows])
            chosen = batch.take(pa.array(rows[low:high] - first_row))
            first_row += batch.num_rows
            if not chosen.num_rows:
                continue
            if verify:
                values, offsets = shingle_sets(chosen.column("text"), config.shingle_size)
            else:
                values, offsets = np.zeros(0, np.uint64), np.zeros(chosen.num_rows + 1, np.int64)
            clusters = members.column("cluster").slice(low, high - low).to_numpy()
            strata = strata_of(chosen)
            found = {
                "cluster": pa.array(clusters),
                "cluster_size": members.column("cluster_size").slice(low, high - low).combine_chunks(),
                **keeper_columns(prefer, chosen),
                "part": pa.array(np.full(chosen.num_rows, part.number, np.int64)),
                "row": pa.array(rows[low:high]),
                "language": strata["language"],
                "length": strata["length"],
                "copies": pa.array(copies[low:high]),
                "released": pa.array(np.zeros(chosen.num_rows, np.bool_)),
                "set_size": pa.array(np.diff(offsets)),
                "shingles": pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values)),
            }
            shuffle.write(pa.RecordBatch.from_pydict(found), bucket_of(spread(clusters), num_groups))
            num_shingles += values.size
    return {"members": int(rows.size), "shingles": num_shingles}


def _copies_of(rows: I64, exact: tuple[str, ...], part: NumberedPart, num_parts: int) -> I64:
    """Documents of the text of each of `rows` of `part`, itself included."""
    copies = np.ones(rows.size, np.int64)
    if exact and rows.size:
        verdicts = verdicts_of(exact, part, num_parts)
        known = verdicts.column("row").to_numpy()
        at = np.searchsorted(known, rows)
        found = np.flatnonzero(at < known.size)
        found = found[known[at[found]] == rows[found]]
        copies[found] = verdicts.column("duplicate_count").to_numpy()[at[found]]
    return copies


def member_schema(prefer: Prefer, schema: pa.Schema) -> pa.Schema:
    """Columns of the shuffle `shingles`: a member of a cluster a row. `schema` is that of the new documents.

    `released` members are of an earlier release: their `prefer_<i>` are null, `shingles` is the sketch of a set of
    `set_size`. `shingles` are ascending hashes, each once.
    """
    columns = list(dict.fromkeys(["text", *columns_to_read(prefer, schema)]))
    empty = pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(name) for name in columns]))
    choice = [(name, values.type) for name, values in keeper_columns(prefer, empty).items()]
    place = [("part", pa.int64()), ("row", pa.int64()), ("language", pa.string()), ("length", pa.string())]
    place.append(("copies", pa.int64()))
    sets = [("released", pa.bool_()), ("set_size", pa.int64()), ("shingles", pa.large_list(pa.uint64()))]
    return pa.schema([("cluster", pa.int64()), ("cluster_size", pa.int64()), *choice, *place, *sets])


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
    sketch_size: int | None = None,
    max_block_shingles: int = MAX_BLOCK_SHINGLES,
) -> dict[str, Any]:
    """`verdicts/`: of every new member in a group of clusters that it is kept, or its keeper and similarity, by part.

    `num_parts` is the number of new parts. Counts: `clusters`, and of new documents `kept`, `dropped`,
    `dropped_by_sketch`, `removed` by stratum, with their exact duplicates but for sources; `rounds`, the most keepers
    that one cluster elected; `sizes`, clusters by size, in powers of two.
    """
    members, group = load_group(uris, bucket.number, num_groups=num_groups, max_shingles=max_block_shingles)
    is_new = ~members.column("released").to_numpy().astype(np.bool_)
    ranked = members.append_column("is_new", pa.array(is_new.astype(np.int8)))
    order = order_by_preference(ranked, ("cluster", "is_new"), prefer)
    members, is_new = members.take(pa.array(order)), is_new[order]
    del ranked
    starts = group_starts(members.column("cluster").to_numpy())
    sizes = members.column("set_size").to_numpy()
    if verify:
        keeper, similarity, by_sketch = verify_group(
            group,
            order,
            starts,
            sizes,
            ~is_new,
            min_jaccard,
            sketch_size=sketch_size,
            max_block_shingles=max_block_shingles,
        )
    else:
        keeper, similarity = np.repeat(starts[:-1], np.diff(starts)), np.full(order.size, np.nan)
        keeper[~is_new], keeper[starts[:-1]] = -1, -1
        by_sketch = np.zeros(order.size, np.bool_)
    kept = keeper < 0
    _write_verdicts(members, starts, keeper, similarity, sizes, by_sketch, is_new, out, num_parts)
    elected = np.add.reduceat((kept & is_new).astype(np.int64), starts[:-1]) if order.size else np.zeros(1, np.int64)
    strata = {name: members.column(name).combine_chunks() for name in STRATA}
    # copies have the text of the member, so its length and as good as always its language; of sources `copies` knows
    lost, copies = (~kept).astype(np.int64), members.column("copies").to_numpy()
    removed = count_strata(strata, lost * copies) | count_strata({"source": strata["source"]}, lost)
    widths, clusters = np.unique(np.frexp(np.diff(starts))[1] - 1, return_counts=True)
    return {
        "clusters": int(starts.size - 1),
        "kept": int((kept & is_new).sum()),
        "dropped": int((~kept).sum()),
        "dropped_by_sketch": int(by_sketch.sum()),
        "rounds": int(elected.max()),
        "removed": removed,
        "sizes": {str(1 << int(width)): int(number) for width, number in zip(widths, clusters, strict=True)},
    }


def _write_verdicts(
    members: pa.Table,
    starts: I64,
    keeper: I64,
    similarity: F64,
    sizes: I64,
    by_sketch: Flags,
    is_new: Flags,
    out: ShardOutput,
    num_parts: int,
) -> None:
    """Rows of VERDICT, a bounded number at a time."""
    everyone = np.arange(keeper.size)
    stands_with = np.where(keeper < 0, everyone, keeper)
    # sums below 2**53 are exact in float64
    copies = members.column("copies").to_numpy()
    stands_for = np.bincount(stands_with, weights=copies, minlength=keeper.size).astype(np.int64)
    names = _cluster_names(members, starts)
    part, row = members.column("part").to_numpy(), members.column("row").to_numpy()
    source, document = (members.column(name).combine_chunks() for name in ("source", "id"))
    cluster_sizes = members.column("cluster_size").to_numpy()
    cluster = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    new = np.flatnonzero(is_new)
    with ShuffleWriter(out, "verdicts", VERDICT, num_buckets=num_parts) as shuffle:
        for start in range(0, new.size, WRITE_ROWS):
            some = new[start : start + WRITE_ROWS]
            of = keeper[some]
            at = pa.array(of, mask=of < 0)
            measured = similarity[some]
            unknown = np.isnan(measured)
            shares = containment(measured, sizes[some], sizes[of], by_sketch[some])
            verdicts = {
                "row": pa.array(row[some]),
                "cluster": names.take(pa.array(cluster[some])),
                "cluster_size": pa.array(cluster_sizes[some]),
                "duplicate_count": pa.array(stands_for[stands_with[some]]),
                "keeper_source": source.take(at),
                "keeper_id": document.take(at),
                "similarity": pa.array(measured, mask=unknown),
                "containment": pa.array(shares, mask=unknown),
                "keeper_part": pa.array(part[of], mask=of < 0),
                "keeper_row": pa.array(row[of], mask=of < 0),
                "by_sketch": pa.array(by_sketch[some]),
            }
            shuffle.write(pa.RecordBatch.from_pydict(verdicts), part[some])


def spread(clusters: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Well-mixed keys, so that clusters fall into groups evenly: Fibonacci hashing (Knuth)."""
    return clusters.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _cluster_names(members: pa.Table, starts: I64) -> pa.Array:
    """16 hex digits of the best keeper's source and id, for each cluster: the same whatever the shards were."""
    first = pa.array(starts[:-1])
    best = zip(*(members.column(name).take(first).to_pylist() for name in ("source", "id")), strict=True)
    return pa.array([xxhash.xxh3_64_hexdigest(f"{s}\0{d}".encode()) for s, d in best], pa.string())
