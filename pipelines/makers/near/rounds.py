"""The passes of `components`: edges of one bucket in, edges of the next pass, settled nodes, labels or members out.

`components` says what each is for and why the result is right. Every bucket is streamed, also one in which a node has 100
million neighbours; what a task holds grows with the distinct nodes in its bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines import storage
from pipelines.errors import ConservationError
from pipelines.kernels.hashing import mix
from pipelines.makers.near.grouping import Groups, contract
from pipelines.makers.outcome import Bucket
from pipelines.makers.shuffle import MAX_ROWS, ShuffleWriter, all_batches, bucket_batches
from pipelines.shards import ShardOutput

RUN_BYTES: Final = 32 << 20
NUM_TOP: Final = 20
LINKS: Final = pa.schema([pa.field("node", pa.int64()), pa.field("neighbour", pa.int64())])
"""An edge in the bucket of `node`: (for large-star) once for each end, or of its larger end, with HAS_LARGER marks."""
HAS_LARGER: Final = 1 << 62
"""In place of a neighbour: the node has larger neighbours, whose buckets have these edges."""
MEMBERS: Final = pa.schema(
    [pa.field("row", pa.int64()), pa.field("cluster", pa.int64()), pa.field("cluster_size", pa.int64())]
)
"""A document of a cluster of two or more: its row in its part, the cluster's smallest ordinal and its size."""

I64 = npt.NDArray[np.int64]
Edges = Iterator[tuple[I64, I64]]


@dataclass(frozen=True, kw_only=True)
class EdgeFiles:
    """Parquet files of edges that one task of the first pass reads."""

    name: str
    uris: tuple[str, ...]


# --- writing edges ----------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _buckets(nodes: Any, num_buckets: Any, found: Any) -> None:
    for i in range(nodes.size):
        high = mix(np.uint64(nodes[i])) >> np.uint64(32)
        found[i] = (high * np.uint64(num_buckets)) >> np.uint64(32)


def buckets_of_nodes(nodes: I64, num_buckets: int) -> I64:
    """The bucket of each node, int64 [n]: by a hash, since neighbours in the input are often neighbours in number."""
    found = np.empty(nodes.size, np.int64)
    _buckets(nodes, num_buckets, found)
    return found


def _write_pairs(shuffle: ShuffleWriter, nodes: I64, neighbours: I64, *, by: I64, num_buckets: int) -> None:
    for start in range(0, nodes.size, MAX_ROWS):
        part = slice(start, start + MAX_ROWS)
        batch = pa.RecordBatch.from_arrays([pa.array(nodes[part]), pa.array(neighbours[part])], schema=LINKS)
        shuffle.write(batch, buckets_of_nodes(by[part], num_buckets))


class LinkSink:
    """Writes `links/`, contracted: `both_ways`, or by the larger end with a mark for the smaller. A context manager."""

    def __init__(self, out: ShardOutput, *, num_buckets: int, both_ways: bool, capacity: int) -> None:
        self.edges = 0
        self._both_ways = both_ways
        self._num_buckets = num_buckets
        self._capacity = capacity
        self._waiting: list[tuple[I64, I64]] = []
        self._num_waiting = 0
        self._shuffle = ShuffleWriter(out, "links", LINKS, num_buckets=num_buckets, run_bytes=RUN_BYTES)

    def add(self, documents: I64, centres: I64) -> None:
        """Edges: larger and smaller ends, or the other way round. One from a document to itself says nothing."""
        for start in range(0, documents.size, self._capacity):
            part = slice(start, start + self._capacity)
            self._waiting.append((documents[part], centres[part]))
            self._num_waiting += self._waiting[-1][0].size
            if self._num_waiting >= self._capacity:
                self._contract()
                if 2 * self._num_waiting > self._capacity:
                    self._flush()

    def _contract(self) -> None:
        columns = (np.concatenate([pair[side] for pair in self._waiting]) for side in range(2))
        self._waiting = [contract(*columns)]
        self._num_waiting = self._waiting[0][0].size

    def _flush(self) -> None:
        for documents, centres in self._waiting:
            if self._both_ways:
                nodes, neighbours = np.concatenate([documents, centres]), np.concatenate([centres, documents])
            else:
                marked = np.unique(centres)
                nodes = np.concatenate([documents, marked])
                neighbours = np.concatenate([centres, np.full(marked.size, HAS_LARGER)])
            _write_pairs(self._shuffle, nodes, neighbours, by=nodes, num_buckets=self._num_buckets)
            self.edges += documents.size
        self._waiting, self._num_waiting = [], 0

    def __enter__(self) -> LinkSink:
        self._shuffle.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._waiting:
            self._contract()
            self._flush()
        self._shuffle.__exit__(kind, error, trace)


class LabelSink:
    """Writes `labels/`, (node, label) by node or `by_label`. A context manager."""

    def __init__(self, out: ShardOutput, *, num_buckets: int, by_label: bool) -> None:
        self._by_label = by_label
        self._num_buckets = num_buckets
        self._shuffle = ShuffleWriter(out, "labels", LINKS, num_buckets=num_buckets, run_bytes=RUN_BYTES)

    def add(self, nodes: I64, labels: I64) -> None:
        """Nodes and the smallest node of their components."""
        by = labels if self._by_label else nodes
        _write_pairs(self._shuffle, nodes, labels, by=by, num_buckets=self._num_buckets)

    def __enter__(self) -> LabelSink:
        self._shuffle.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shuffle.__exit__(kind, error, trace)


# --- passes -----------------------------------------------------------------------------------------------------------


def scatter_edges(files: EdgeFiles, out: ShardOutput, *, sink: Callable[[ShardOutput], LinkSink]) -> dict[str, Any]:
    """`components-00-scatter`: edges of Parquet files, contracted, to the buckets of both their ends."""
    with sink(out) as links:
        for documents, centres in _parquet_edges(files.uris):
            links.add(documents, centres)
    return {"edges": links.edges}


def large_star(
    bucket: Bucket,
    out: ShardOutput,
    *,
    uris: tuple[str, ...],
    num_buckets: int,
    sink: Callable[[ShardOutput], LinkSink],
) -> dict[str, Any]:
    """`components-NN-large`: for every node of the bucket, its larger neighbours to the smallest of itself and all."""
    groups = Groups(counting=False)
    for nodes, neighbours in _bucket_edges(uris, bucket, num_buckets):
        groups.add(nodes.view(np.uint64), neighbours)
    with sink(out) as links:
        for nodes, neighbours in _bucket_edges(uris, bucket, num_buckets):
            larger = neighbours > nodes
            nodes, neighbours = nodes[larger], neighbours[larger]
            links.add(neighbours, np.minimum(groups.least_of(nodes.view(np.uint64)), nodes))
    return {"edges": links.edges}


def small_star(
    bucket: Bucket,
    out: ShardOutput,
    *,
    uris: tuple[str, ...],
    num_buckets: int,
    sink: Callable[[ShardOutput], LinkSink],
) -> dict[str, Any]:
    """`components-NN-small`: for every node of the bucket, its smaller neighbours and itself to the smallest of these.

    Also `settled/`: nodes without larger neighbours, each with its smallest, by the latter.
    """
    groups = Groups(counting=False)
    for nodes, neighbours in _bucket_edges(uris, bucket, num_buckets):
        groups.add(nodes.view(np.uint64), neighbours)
    settled = ShuffleWriter(out, "settled", LINKS, num_buckets=num_buckets, run_bytes=RUN_BYTES)
    with sink(out) as links, settled:
        for nodes, neighbours in _bucket_edges(uris, bucket, num_buckets):
            least = groups.least_of(nodes.view(np.uint64))
            others = (neighbours != least) & (neighbours != HAS_LARGER)
            links.add(neighbours[others], least[others])
        keys, least, greatest = groups.columns()
        nodes = keys.view(np.int64)
        stays = (greatest == HAS_LARGER) & (least != HAS_LARGER)
        links.add(nodes[stays], least[stays])
        leaves = greatest != HAS_LARGER
        nodes, least = nodes[leaves], least[leaves]
        _write_pairs(settled, nodes, least, by=least, num_buckets=num_buckets)
    return {"edges": links.edges, "settled": int(nodes.size)}


def join_left(
    bucket: Bucket, out: ShardOutput, *, uris: tuple[str, ...], num_buckets: int, next_buckets: int
) -> dict[str, Any]:
    """`components-join`: the labels of nodes that no round settled, by a union-find over the edges that are left."""
    nodes, labels = _contract_all(_all_edges(uris, num_buckets))
    with LabelSink(out, num_buckets=next_buckets, by_label=False) as spread:
        spread.add(nodes, labels)
    return {"labels": int(nodes.size)}


def label_settled(
    bucket: Bucket,
    out: ShardOutput,
    *,
    settled: tuple[str, ...],
    labels: tuple[str, ...],
    num_buckets: int,
    sink: Callable[[ShardOutput], LabelSink],
) -> dict[str, Any]:
    """`components-NN-label`: labels of the nodes that the round settled, and those that came in, passed on.

    A node that was not settled later and has no label is the smallest of its component.
    """
    groups, num_labels = Groups(counting=False), 0
    with sink(out) as spread:
        for nodes, found in _bucket_edges(labels, bucket, num_buckets):
            groups.add(nodes.view(np.uint64), found)
            spread.add(nodes, found)
            num_labels += nodes.size
        for nodes, pointed in _bucket_edges(settled, bucket, num_buckets):
            found = groups.least_of(pointed.view(np.uint64))
            spread.add(nodes, np.where(found < 0, pointed, found))
            num_labels += nodes.size
    return {"labels": num_labels}


def join_stars(
    bucket: Bucket, out: ShardOutput, *, uris: tuple[str, ...], num_buckets: int, firsts: tuple[int, ...], num_new: int
) -> dict[str, Any]:
    """`members` after rounds: clusters whose label is in the bucket."""
    return _write_members(partial(_bucket_edges, uris, bucket, num_buckets), out, firsts, num_new)


def join_at_once(
    bucket: Bucket, out: ShardOutput, *, uris: tuple[str, ...], num_buckets: int, firsts: tuple[int, ...], num_new: int
) -> dict[str, Any]:
    """`members` in one task: all edges that are left, of shuffle files (`num_buckets`) or of Parquet files (0)."""
    documents, centres = _contract_all(_all_edges(uris, num_buckets) if num_buckets else _parquet_edges(uris))
    return _write_members(partial(_slices, documents, centres), out, firsts, num_new)


def _contract_all(edges: Edges) -> tuple[I64, I64]:
    pairs = [contract(documents, centres) for documents, centres in edges]
    columns = [np.concatenate([np.zeros(0, np.int64), *(pair[side] for pair in pairs)]) for side in range(2)]
    pairs.clear()
    return contract(*columns)


def _write_members(
    stars: Callable[[], Edges], out: ShardOutput, firsts: tuple[int, ...], num_new: int
) -> dict[str, Any]:
    """`members/` of stars (document, centre), read twice: to count, to write. Counts clusters with a label below `num_new`."""
    groups = Groups(counting=True)
    for documents, centres in stars():
        groups.add(centres.view(np.uint64), documents)
    starts, num_documents = np.array(firsts[:-1], np.int64), firsts[-1]
    roots, _, sizes = groups.columns()
    clusters, sizes = roots.view(np.int64), sizes + 1
    with ShuffleWriter(out, "members", MEMBERS, num_buckets=max(1, starts.size)) as shuffle:
        for documents, centres in _chain(stars(), _slices(clusters, clusters)):
            if documents.min() < 0 or documents.max() >= num_documents:
                raise ConservationError(
                    f"edges name the documents {documents.min()} to {documents.max()} of {num_documents}: they were made "
                    "from another input"
                )
            # of parts that begin at one ordinal all but the last are empty
            parts = np.searchsorted(starts, documents, side="right") - 1
            columns = [documents - starts[parts], centres, groups.number_of(centres.view(np.uint64)) + 1]
            shuffle.write(pa.RecordBatch.from_arrays([pa.array(c) for c in columns], schema=MEMBERS), parts)
    counted = clusters < num_new
    clusters, sizes = clusters[counted], sizes[counted]
    powers, numbers = np.unique(np.left_shift(np.int64(1), np.frexp(sizes)[1].astype(np.int64) - 1), return_counts=True)
    top = np.lexsort((clusters, -sizes))[:NUM_TOP]
    return {
        "clusters": int(clusters.size),
        "members": int(sizes.sum()),
        "largest": int(sizes.max(initial=0)),
        "sizes": {str(power): number for power, number in zip(powers.tolist(), numbers.tolist(), strict=True)},
        "top": [[int(clusters[i]), int(sizes[i])] for i in top],
    }


# --- reading edges ----------------------------------------------------------------------------------------------------


def _parquet_edges(uris: Sequence[str]) -> Edges:
    for uri in uris:
        for batch in storage.read_batches(uri, ["document", "centre"], batch_rows=MAX_ROWS):
            yield batch.column("document").to_numpy(), batch.column("centre").to_numpy()


def _bucket_edges(uris: Sequence[str], bucket: Bucket, num_buckets: int) -> Edges:
    for table in bucket_batches(uris, bucket.number, num_buckets=num_buckets):
        yield table.column("node").to_numpy(), table.column("neighbour").to_numpy()


def _all_edges(uris: Sequence[str], num_buckets: int) -> Edges:
    """Each edge once, also where files hold it for both ends."""
    for table in all_batches(uris, num_buckets=num_buckets):
        nodes, neighbours = table.column("node").to_numpy(), table.column("neighbour").to_numpy()
        down = neighbours < nodes
        yield nodes[down], neighbours[down]


def _slices(documents: I64, centres: I64) -> Edges:
    for start in range(0, documents.size, MAX_ROWS):
        yield documents[start : start + MAX_ROWS], centres[start : start + MAX_ROWS]


def _chain(*sources: Edges) -> Edges:
    for source in sources:
        yield from source
