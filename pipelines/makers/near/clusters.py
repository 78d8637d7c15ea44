"""Clusters of near dedup: edges in, connected components out. One task, a union-find in its memory.

Union by smaller ordinal with path halving (Tarjan and van Leeuwen 1984): 8 bytes a document of the input, edges
streamed. The label of a component is its smallest document, so it does not depend on the order of edges. A later form
replaces this one task by rounds of `map_shards`; its result must be the same.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines import storage
from pipelines.makers.outcome import Bucket, NumberedPart
from pipelines.makers.shuffle import ShuffleWriter
from pipelines.shards import ShardOutput

BYTES_PER_DOCUMENT: Final = 24
"""Of the task at its peak: parents, labels and sizes, int64 each."""
MEMBERS: Final = pa.schema(
    [pa.field("row", pa.int64()), pa.field("cluster", pa.int64()), pa.field("cluster_size", pa.int64())]
)
"""A document of a cluster of two or more: its row in its part, the cluster's smallest ordinal and its size."""
EDGE_BATCH_ROWS: Final = 1 << 18
MEMBER_BATCH_ROWS: Final = 1 << 18


@njit(cache=True, nogil=True)
def _find(parents: Any, document: Any) -> Any:
    while parents[document] != document:
        parents[document] = parents[parents[document]]
        document = parents[document]
    return document


@njit(cache=True, nogil=True)
def _unite(parents: Any, left: Any, right: Any) -> None:
    for i in range(left.size):
        a, b = _find(parents, left[i]), _find(parents, right[i])
        if a < b:
            parents[b] = a
        elif b < a:
            parents[a] = b


@njit(cache=True, nogil=True)
def _flatten(parents: Any) -> None:
    for document in range(parents.size):  # a parent is never larger, so it is flat already
        parents[document] = parents[parents[document]]


def unite(parents: npt.NDArray[np.int64], left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> None:
    """Join, in place, the components of `left[i]` and `right[i]`, for every i. `parents` starts as `np.arange(n)`."""
    _unite(parents, left, right)


def labels(parents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The smallest document of each document's component: int64 [n]; flattens `parents` in place and returns it.

    >>> parents = np.arange(5)
    >>> unite(parents, np.array([4, 2]), np.array([2, 1]))
    >>> labels(parents).tolist()
    [0, 1, 1, 3, 1]
    """
    _flatten(parents)
    return parents


def connect(
    bucket: Bucket, out: ShardOutput, *, uris: tuple[str, ...], parts: tuple[NumberedPart, ...]
) -> dict[str, Any]:
    """The pass: all edges into `members/`, shuffled by part. Counts clusters, members and the largest cluster."""
    num_documents = sum(part.rows for part in parts)
    parents = np.arange(num_documents)
    for uri in uris:
        for batch in storage.read_batches(uri, batch_rows=EDGE_BATCH_ROWS):
            unite(parents, batch.column("document").to_numpy(), batch.column("centre").to_numpy())
    root = labels(parents)
    sizes = np.bincount(root, minlength=num_documents)
    with ShuffleWriter(out, "members", MEMBERS, num_buckets=len(parts)) as shuffle:
        for part in parts:
            for start in range(part.first, part.first + part.rows, MEMBER_BATCH_ROWS):
                stop = min(start + MEMBER_BATCH_ROWS, part.first + part.rows)
                members = np.flatnonzero(sizes[root[start:stop]] > 1) + start
                columns = [pa.array(members - part.first), pa.array(root[members]), pa.array(sizes[root[members]])]
                batch = pa.RecordBatch.from_arrays(columns, schema=MEMBERS)
                shuffle.write(batch, np.full(members.size, part.number, np.int64))
    clusters = sizes[sizes > 1]
    return {"clusters": int(clusters.size), "members": int(clusters.sum()), "largest": int(clusters.max(initial=0))}
