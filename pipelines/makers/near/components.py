"""Clusters of near dedup: edges in, connected components out, in rounds of passes; no task ever needs all the edges.

The alternating algorithm of Kiveris, Lattanzi, Mirrokni, Rastogi and Vassilvitskii, "Connected Components in MapReduce
and Beyond" (SoCC 2014), with vertices pruned as by Lulli et al., "Fast Connected Components Computation in Large Graphs
by Vertex Pruning" (TPDS 2017). One round is two passes, each over edges shuffled by node, each bucket streamed twice:

- *large-star*: every u links its neighbours v > u to the smallest of u and its neighbours;
- *small-star*: every u links its neighbours v < u, and itself, to the smallest of them. Where u has no larger neighbour
  that is the only edge it has left, and u is *settled*: it points there and leaves the graph.

Every edge makes at most one, so edges never increase. What a task writes is first *contracted* by a union-find, about
MAX_CONTRACTED edges at a time: the components of these edges, each as a star around its smallest node. Once the edges
left fit into one task, one union-find ends the rounds. Then labels go back: what a round settled takes the label of
the node it points to, which no earlier round settled, last round first.

Why the result is right. Star passes and contraction replace edges by others that connect the same nodes; a settled
node hangs on its component by one edge. So components never change, and since every pointer and every star points to
a smaller node, the label is the smallest. Why it ends: let S be the sum of both ends of all edges. Large-star lowers
one end of an edge unless u is the smallest itself, small-star the larger end unless v is the smallest, and a star
around its smallest node has the least S of all trees over the same nodes. So S falls in each round until only such
stars are left, and these are settled whole. The paper proves O(log^2 n) rounds without pruning, conjectures O(log n).

Passes: `components-00-scatter`, `components-01-large`, `components-01-small`, ... , `components-join`, labels back:
..., `components-01-label`, then `members`. With few edges `members` is the only one. How many there are follows from
the counts of those before, so an interrupted build goes the same way again. Memory of a task: distinct nodes of a
bucket, about `edges_per_task` at most, of 32 to 64 bytes, edges to contract, and a run of the shuffle: under
TASK_BYTES. Disk: the first three passes 32, 16 to 32 and 16 bytes an edge less what lz4 saves, the later ones for what
is not settled; `work/` keeps them until the build ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pyarrow.parquet as pq

from pipelines import storage
from pipelines.errors import ConservationError
from pipelines.executors import Needs
from pipelines.makers.near.rounds import (
    NUM_TOP,
    EdgeFiles,
    LabelSink,
    LinkSink,
    join_at_once,
    join_left,
    join_stars,
    label_settled,
    large_star,
    scatter_edges,
    small_star,
)
from pipelines.makers.outcome import NumberedPart, number_buckets
from pipelines.makers.shuffle import SUFFIX, buckets_for
from pipelines.passes import Passes
from pipelines.shards import Committed

EDGES_PER_TASK: Final = 1 << 22
MAX_CONTRACTED: Final = 1 << 19
"""Edges after which a task contracts what it gathered, 1.5 times as many at most: 67 MB of tables."""
TASK_BYTES: Final = 768 << 20
"""Peak of a task, measured at EDGES_PER_TASK: 579 MB, and 742 MB in the one that joins what is left."""
MAX_ROUNDS: Final = 64


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Connected components of two documents or more.

    `members` are shuffle files of MEMBERS whose buckets are parts. `counts`: clusters, members, largest (documents of
    the largest cluster), rounds (0 where one task did it all), sizes (clusters by the power of two at or below their
    size, as a string), top ([cluster, size] of the largest, ties by cluster).
    """

    members: tuple[str, ...]
    counts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """What a pass left: shuffle files, the buckets in them, and how many edges they hold."""

    uris: tuple[str, ...]
    num_buckets: int
    edges: int


def find_clusters(
    edges: Sequence[str],
    parts: Sequence[NumberedPart],
    passes: Passes,
    *,
    num_edges: int | None = None,
    edges_per_task: int = EDGES_PER_TASK,
    num_new: int | None = None,
) -> Clusters:
    """Clusters of documents that the Parquet files `edges` (document, centre: ordinals) connect.

    `parts` are all parts in order, their ordinals contiguous. `num_edges` is the number of rows of `edges`, read from
    their footers here on the driver where None. Of ordinals from `num_new` on are documents of earlier releases: clusters
    of these alone are in no count. Raises ConservationError for an edge to a document that no part has,
    and after MAX_ROUNDS rounds without an end.
    """
    firsts = _firsts(parts)
    total = sum(_num_rows(uri) for uri in edges) if num_edges is None else num_edges
    finish = partial(_finish, firsts=firsts, num_new=firsts[-1] if num_new is None else num_new, passes=passes)
    if total <= edges_per_task:
        return finish(partial(join_at_once, uris=tuple(edges), num_buckets=0), 1, 0)

    step = partial(_step, passes=passes, edges_per_task=edges_per_task)
    files = _group_files(edges, buckets_for(total, edges_per_task))
    graph, _ = step("00-scatter", scatter_edges, files, left=total, both_ways=True)
    settled: list[_Graph] = []
    while graph.edges > edges_per_task:
        if len(settled) == MAX_ROUNDS:
            raise ConservationError(
                f"{passes.artifact}: clusters are not found after {MAX_ROUNDS} rounds, {graph.edges} edges are left; "
                "every graph needs fewer, so this is an error of this program: report it with the folder `work`"
            )
        prefix = f"{len(settled) + 1:02d}"
        star = partial(large_star, uris=graph.uris, num_buckets=graph.num_buckets)
        shards = number_buckets(graph.num_buckets)
        graph, _ = step(f"{prefix}-large", star, shards, left=graph.edges, both_ways=False)
        star = partial(small_star, uris=graph.uris, num_buckets=graph.num_buckets)
        shards, before = number_buckets(graph.num_buckets), graph.num_buckets
        graph, commits = step(f"{prefix}-small", star, shards, left=graph.edges, both_ways=True)
        settled.append(_Graph(uris=_paths(commits, "settled"), num_buckets=before, edges=0))
    if not settled:
        return finish(partial(join_at_once, uris=graph.uris, num_buckets=graph.num_buckets), 1, 0)
    needs = Needs(memory_bytes=TASK_BYTES)
    work = partial(join_left, uris=graph.uris, num_buckets=graph.num_buckets, next_buckets=settled[-1].num_buckets)
    labels = _paths(passes.run("components-join", work, number_buckets(1), needs=needs), "labels")
    for i, level in reversed(list(enumerate(settled))):
        following = settled[max(i - 1, 0)].num_buckets
        spread = partial(LabelSink, num_buckets=following, by_label=i == 0)
        work = partial(label_settled, settled=level.uris, labels=labels, num_buckets=level.num_buckets, sink=spread)
        labels = _paths(
            passes.run(f"components-{i + 1:02d}-label", work, number_buckets(level.num_buckets), needs=needs), "labels"
        )
    num_buckets = settled[0].num_buckets
    return finish(partial(join_stars, uris=labels, num_buckets=num_buckets), num_buckets, len(settled))


def _step(
    name: str,
    work: Callable[..., Any],
    shards: Sequence[Any],
    *,
    left: int,
    both_ways: bool,
    passes: Passes,
    edges_per_task: int,
) -> tuple[_Graph, tuple[Committed, ...]]:
    """Run a pass over a graph of `left` edges; the graph that it leaves. Two rows an edge, of two ends or with a mark."""
    num_buckets = buckets_for(2 * left, edges_per_task)
    capacity = min(MAX_CONTRACTED, edges_per_task)
    sink = partial(LinkSink, num_buckets=num_buckets, both_ways=both_ways, capacity=capacity)
    needs = Needs(memory_bytes=TASK_BYTES)
    commits = passes.run(f"components-{name}", partial(work, sink=sink), shards, needs=needs)
    edges = sum(commit.counts["edges"] for commit in commits)
    return _Graph(uris=_paths(commits, "links"), num_buckets=num_buckets, edges=edges), commits


def _finish(
    work: Callable[..., Any], num_shards: int, rounds: int, *, firsts: tuple[int, ...], num_new: int, passes: Passes
) -> Clusters:
    work = partial(work, firsts=firsts, num_new=num_new)
    commits = passes.run("members", work, number_buckets(num_shards), needs=Needs(memory_bytes=TASK_BYTES))
    found = [commit.counts for commit in commits]
    sizes: Counter[int] = Counter()
    for counts in found:
        sizes.update({int(size): number for size, number in counts["sizes"].items()})
    top = sorted((entry for counts in found for entry in counts["top"]), key=_largest_first)
    return Clusters(
        members=_paths(commits, "members"),
        counts={
            "clusters": sum(counts["clusters"] for counts in found),
            "members": sum(counts["members"] for counts in found),
            "largest": max(counts["largest"] for counts in found),
            "rounds": rounds,
            "sizes": {str(size): sizes[size] for size in sorted(sizes)},
            "top": top[:NUM_TOP],
        },
    )


def _largest_first(entry: Sequence[int]) -> tuple[int, int]:
    return -entry[1], entry[0]


def _paths(commits: Sequence[Committed], kind: str) -> tuple[str, ...]:
    return tuple(commit.path(kind, SUFFIX) for commit in commits)


def _firsts(parts: Sequence[NumberedPart]) -> tuple[int, ...]:
    """The first ordinal of every part, and at the end the number of all documents."""
    firsts = [0]
    for number, part in enumerate(parts):
        if part.number != number or part.first != firsts[-1]:
            raise ConservationError(
                f"{part.uri}: part {part.number} from {part.first} on, not {number} from {firsts[-1]}"
            )
        firsts.append(part.first + part.rows)
    return tuple(firsts)


def _num_rows(uri: str) -> int:
    with storage.open_input(uri) as file:
        return int(pq.ParquetFile(file).metadata.num_rows)


def _group_files(uris: Sequence[str], number: int) -> tuple[EdgeFiles, ...]:
    each = -(-len(uris) // min(number, len(uris)))
    groups = [tuple(uris[i : i + each]) for i in range(0, len(uris), each)]
    return tuple(EdgeFiles(name=f"edges-{i:06d}", uris=group) for i, group in enumerate(groups))
