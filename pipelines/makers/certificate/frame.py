"""The frame that samples are drawn from: documents of every part in, candidates by cell out; then the draw.

1. `write_frame`: per part, the documents with the smallest hashes of every cell, as many as the whole sample may have,
   in three *frames*: queries (documents that exact dedup kept), dropped documents (with their keepers), and dropped
   documents of the part's largest clusters. 40 bytes a candidate; texts are read for their length alone.
2. `draw`: one task, streaming: of each cell as many as it is to have, over all parts; by part for `texts`.

Whatever is among the smallest of all parts is among the smallest of its own, so the draw is that of one big list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.makers.certificate.sampling import (
    Allocation,
    Certify,
    cells_of,
    smallest_of_groups,
)
from pipelines.makers.near.candidates import unique_rows
from pipelines.makers.near.strata import columns_of_strata
from pipelines.makers.outcome import Bucket, NumberedPart, verdicts_of
from pipelines.makers.process import id_hashes
from pipelines.makers.shuffle import ShuffleWriter
from pipelines.shards import ShardOutput

QUERY, DROPPED, LARGEST = range(3)
NUM_FRAMES: Final = 3
MAX_LARGEST: Final = 20
PAIRS_OF_LARGEST: Final = 3
MAX_WAITING: Final = 1 << 16
FRAME: Final = pa.schema(
    [
        pa.field("frame", pa.int8()),
        pa.field("cell", pa.string()),
        pa.field("hash", pa.uint64()),
        pa.field("row", pa.int64()),
        pa.field("keeper_part", pa.int64()),
        pa.field("keeper_row", pa.int64()),
        pa.field("similarity", pa.float64()),
    ]
)
"""The cell of frame LARGEST is the name of the cluster. The last three are null in frame QUERY."""
WANTED: Final = pa.schema([pa.field("row", pa.int64()), pa.field("role", pa.int8()), pa.field("number", pa.int64())])
"""A document whose text is wanted, by part: as query `number`, or in a pair `number` as dropped or keeper."""
AS_QUERY, AS_DROPPED, AS_KEEPER = range(3)
PAIRS: Final = pa.schema(
    [("number", pa.int64()), ("frame", pa.int8()), ("cell", pa.string()), ("similarity", pa.float64())]
)
QUERIES: Final = pa.schema([("number", pa.int64()), ("cell", pa.string())])


def write_frame(
    part: NumberedPart,
    out: ShardOutput,
    *,
    options: Certify,
    seeds: tuple[int, int],
    verdicts: tuple[str, ...],
    exact: tuple[str, ...],
    num_parts: int,
) -> dict[str, Any]:
    """`frame/` of one part. Counts documents by frame and cell, what was dropped, and the largest clusters.

    `seeds` are those of the hashes of queries and of dropped documents.
    """
    unique = unique_rows(exact, part, num_parts)
    found = verdicts_of(verdicts, part, num_parts)
    drops = found.filter(found.column("keeper_id").is_valid())
    # the keeper of an earlier release has no text here
    here = pc.fill_null(
        pc.and_(pc.less(drops.column("keeper_part"), num_parts), pc.invert(drops.column("by_sketch"))), False
    )
    local = drops.filter(here)
    largest = _largest_clusters(found)
    columns = ["id", "text", *columns_of_strata(storage.read_schema(part.uri))]
    frame = _Frame(max(options.num_queries, options.num_dropped))
    first_row = 0
    for batch in storage.read_batches(part.uri, columns):
        rows = np.arange(first_row, first_row + batch.num_rows)
        cells = cells_of(batch)
        asked = unique[rows]
        frame.add(QUERY, cells.filter(pa.array(asked)), id_hashes(batch.filter(pa.array(asked)), seeds[0]), rows[asked])
        low, high = np.searchsorted(local.column("row").to_numpy(), [first_row, first_row + batch.num_rows])
        dropped = local.slice(low, high - low)
        at = pa.array(dropped.column("row").to_numpy() - first_row)
        hashes = id_hashes(batch.take(at), seeds[1])
        frame.add(DROPPED, cells.take(at), hashes, rows[at.to_numpy()], dropped)
        clusters = dropped.column("cluster").combine_chunks()
        shown = pc.is_in(clusters, pa.array(list(largest), pa.string())).to_numpy(zero_copy_only=False)
        chosen = pa.array(shown)
        frame.add(LARGEST, clusters.filter(chosen), hashes[shown], rows[at.to_numpy()[shown]], dropped.filter(chosen))
        first_row += batch.num_rows
    out.declare("frame", FRAME)
    for batch in frame.finish().to_batches():
        out.write("frame", batch)
    return {
        "rows": first_row,
        "unique": int(unique.sum()),
        "dropped": drops.num_rows,
        "by_sketch": int(pc.sum(drops.column("by_sketch")).as_py() or 0),
        "by_release": drops.num_rows - local.num_rows,
        "population": {"queries": frame.population(QUERY), "dropped": frame.population(DROPPED)},
        "largest": largest,
    }


def _largest_clusters(verdicts: pa.Table) -> dict[str, int]:
    """Name -> size of the largest clusters with a member among `verdicts`; equal ones by name."""
    clusters = verdicts.select(["cluster", "cluster_size"]).group_by("cluster", use_threads=False)
    table = clusters.aggregate([("cluster_size", "max")])
    order = pc.sort_indices(table, sort_keys=[("cluster_size_max", "descending"), ("cluster", "ascending")])
    best = table.take(order.slice(0, MAX_LARGEST))
    return dict(zip(best["cluster"].to_pylist(), best["cluster_size_max"].to_pylist(), strict=True))


class _Frame:
    """Candidates while a part is read: of every cell of every frame those with the smallest hashes."""

    def __init__(self, limit: int) -> None:
        self._limits = (limit, limit, PAIRS_OF_LARGEST)
        self._number: dict[tuple[int, str], int] = {}
        self._counts: list[int] = []
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._kept = 0

    def add(
        self, frame: int, cells: pa.Array, hashes: np.ndarray, rows: np.ndarray, keepers: pa.Table | None = None
    ) -> None:
        if not len(cells):
            return
        coded = cells.dictionary_encode()
        known = [self._number.setdefault((frame, cell), len(self._number)) for cell in coded.dictionary.to_pylist()]
        self._counts += [0] * (len(self._number) - len(self._counts))
        groups = np.array(known, np.int64)[coded.indices.to_numpy()]
        for group, count in zip(*np.unique(groups, return_counts=True), strict=True):
            self._counts[group] += int(count)
        columns = {"group": pa.array(groups), "hash": pa.array(hashes), "row": pa.array(rows)}
        for name in ("keeper_part", "keeper_row", "similarity"):
            kind = FRAME.field(name).type
            columns[name] = pa.nulls(len(cells), kind) if keepers is None else keepers.column(name).cast(kind)
        self._waiting.append(pa.table(columns))
        self._num_waiting += len(cells)
        if self._num_waiting > 2 * self._kept + MAX_WAITING:
            self._compact()

    def population(self, frame: int) -> dict[str, int]:
        return {cell: self._counts[group] for (of, cell), group in sorted(self._number.items()) if of == frame}

    def _compact(self) -> None:
        table = pa.concat_tables(self._waiting).combine_chunks()
        limits = np.array([self._limits[frame] for frame, _ in self._number], np.int64)
        group, hashes, row = (table.column(name).to_numpy() for name in ("group", "hash", "row"))
        self._waiting = [table.take(pa.array(smallest_of_groups(group, hashes, row, limits)))]
        self._num_waiting = self._kept = self._waiting[0].num_rows

    def finish(self) -> pa.Table:
        if not self._waiting:
            return FRAME.empty_table()
        self._compact()
        table = self._waiting[0]
        group = table.column("group").combine_chunks()
        frames = pa.array([frame for frame, _ in self._number], pa.int8())
        cells = pa.array([cell for _, cell in self._number], pa.string())
        named = {"frame": frames.take(group), "cell": cells.take(group)}
        return pa.table(named | {name: table.column(name) for name in FRAME.names[2:]}, schema=FRAME)


def draw(
    bucket: Bucket,
    out: ShardOutput,
    *,
    uris: tuple[str, ...],
    queries: Allocation,
    dropped: Allocation,
    largest: tuple[str, ...],
) -> dict[str, Any]:
    """The draw: `wanted/`, by part, `queries/` and `pairs/`. Counts how many documents each part is asked for.

    `uris` are the frames in order of part number, `largest` the clusters to show. Numbers go by cell and hash.
    """
    groups = [(QUERY, cell) for cell in queries.names()] + [(DROPPED, cell) for cell in dropped.names()]
    groups += [(LARGEST, cluster) for cluster in largest]
    number = {group: i for i, group in enumerate(groups)}
    sizes = [queries.sampled, dropped.sampled, dict.fromkeys(largest, PAIRS_OF_LARGEST)]
    limits = np.array([sizes[frame][cell] for frame, cell in groups], np.int64)
    merged = [queries.merged, dropped.merged, {cluster: cluster for cluster in largest}]
    best = pa.table({"group": pa.array([], pa.int64()), "part": pa.array([], pa.int64())})
    for position, uri in enumerate(uris):
        table = storage.read_table(uri)
        known = zip(table.column("frame").to_pylist(), table.column("cell").to_pylist(), strict=True)
        group = np.array([number.get((frame, merged[frame].get(cell, "")), -1) for frame, cell in known], np.int64)
        table = table.append_column("group", pa.array(group))
        table = table.append_column("part", pa.array(np.full(group.size, position, np.int64)))
        table = table.filter(pa.array(group >= 0)).drop_columns(["frame", "cell"])
        best = pa.concat_tables([best, table], promote_options="default").combine_chunks()
        place = best.column("part").to_numpy() << 40 | best.column("row").to_numpy()
        of, hashes = (best.column(name).to_numpy() for name in ("group", "hash"))
        best = best.take(pa.array(smallest_of_groups(of, hashes, place, limits)))
    return _write_draw(best, groups, out, len(uris))


def _write_draw(best: pa.Table, groups: Sequence[tuple[int, str]], out: ShardOutput, num_parts: int) -> dict[str, Any]:
    group = best.column("group").to_numpy()
    frame = np.array([of for of, _ in groups], np.int64)[group] if group.size else np.zeros(0, np.int64)
    cell = pa.array([name for _, name in groups], pa.string()).take(pa.array(group))
    is_query = frame == QUERY
    number = np.where(is_query, np.cumsum(is_query), np.cumsum(~is_query)) - 1
    out.write(
        "queries",
        pa.RecordBatch.from_arrays([pa.array(number[is_query]), cell.filter(pa.array(is_query))], schema=QUERIES),
    )
    pairs = [pa.array(number), pa.array(frame.astype(np.int8)), cell, best.column("similarity").combine_chunks()]
    out.write("pairs", pa.RecordBatch.from_arrays(pairs, schema=PAIRS).filter(pa.array(~is_query)))
    keepers = best.filter(pa.array(~is_query))
    part = np.concatenate([best.column("part").to_numpy(), keepers.column("keeper_part").to_numpy()]).astype(np.int64)
    row = np.concatenate([best.column("row").to_numpy(), keepers.column("keeper_row").to_numpy()]).astype(np.int64)
    role = np.concatenate([np.where(is_query, AS_QUERY, AS_DROPPED), np.full(keepers.num_rows, AS_KEEPER)])
    wanted = [pa.array(row), pa.array(role.astype(np.int8)), pa.array(np.concatenate([number, number[~is_query]]))]
    with ShuffleWriter(out, "wanted", WANTED, num_buckets=num_parts) as shuffle:
        shuffle.write(pa.RecordBatch.from_arrays(wanted, schema=WANTED), part)
    parts, counts = np.unique(part, return_counts=True)
    return {
        "queries": int(is_query.sum()),
        "pairs": int((~is_query).sum()),
        "wanted": {str(p): int(n) for p, n in zip(parts.tolist(), counts.tolist(), strict=True)},
    }
