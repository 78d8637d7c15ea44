"""Clusters against breadth-first search, verification against rounds of election spelled out, makers against shuffling."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.makers.keepers import group_starts
from pipelines.makers.near.candidates import KEYS, pair_bucket
from pipelines.makers.outcome import Bucket
from pipelines.makers.shuffle import SUFFIX, ShuffleWriter, bucket_of
from pipelines.shards import ShardOutput, run_shard


def components(num: int, edges: list[tuple[int, int]]) -> list[int]:
    """The smallest node of each node's component, by search."""
    neighbours: dict[int, set[int]] = {i: set() for i in range(num)}
    for a, b in edges:
        neighbours[a].add(b)
        neighbours[b].add(a)
    label = [-1] * num
    for start in range(num):
        stack = [start] if label[start] < 0 else []
        while stack:
            node = stack.pop()
            if label[node] < 0:
                label[node] = start
                stack.extend(neighbours[node])
    return label


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 15)), max_size=60), st.integers(1, 30), st.integers(1, 4))
def test_stars_join_what_all_pairs_would(tmp_path_factory, rows, batch_rows, skewed):
    """Every two documents of one key end in one component and no others do, in however small batches a bucket comes."""
    folder = tmp_path_factory.mktemp("keys")
    edges, counts = pair(folder, rows, batch_rows=batch_rows, skewed=skewed)
    every = [(a, b) for k, a in rows for other, b in rows if k == other]
    assert components(16, edges) == components(16, every)
    assert all(centre < document for document, centre in edges)
    sizes = Counter(k for k, _ in rows)
    many = sorted(((-size, k) for k, size in sizes.items() if size > skewed))
    assert counts == {
        "edges": len(edges),
        "shared_keys": sum(size > 1 for size in sizes.values()),
        "largest_key": max(sizes.values(), default=0),
        "skewed_keys": len(many),
        "skewed_documents": -sum(size for size, _ in many),
        "top_keys": [[f"{k:016x}", -size, min(d for other, d in rows if other == k)] for size, k in many],
    }
    if batch_rows >= len(rows):
        assert len(set(edges)) == len(edges) < max(len(rows), 1)
        assert edges == sorted(edges)


def pair(folder: Path, rows: list[tuple[int, int]], **options: int) -> tuple[list[tuple[int, int]], dict[str, Any]]:
    """Edges and counts of `pair_bucket` on keys and documents that came in two files."""
    keys = [run_shard(Bucket(name=str(i), number=i), directory=str(folder), work=Keys(rows[i::2])) for i in range(2)]
    work = partial(pair_bucket, uris=tuple(c.path("keys", SUFFIX) for c in keys), num_buckets=1, **options)
    commit = run_shard(Bucket(name="bucket", number=0), directory=str(folder), work=work)
    table = pq.read_table(commit.path("edges"))
    return list(zip(*(table.column(name).to_pylist() for name in ("document", "centre")), strict=True)), commit.counts


@dataclass(frozen=True)
class Keys:
    rows: list[tuple[int, int]]

    def __call__(self, bucket: Bucket, out: ShardOutput) -> dict[str, Any]:
        with ShuffleWriter(out, "keys", KEYS, num_buckets=1, run_bytes=100) as shuffle:
            for start in range(0, len(self.rows), 3):
                part = self.rows[start : start + 3]
                columns = [pa.array([k for k, _ in part], pa.uint64()), pa.array([d for _, d in part], pa.int64())]
                shuffle.write(pa.RecordBatch.from_arrays(columns, schema=KEYS), np.zeros(len(part), np.int64))
        return {}


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50), st.integers(1, 1000))
def test_buckets_are_equal_ranges_of_keys(keys, num_buckets):
    found = bucket_of(np.array(keys, np.uint64), num_buckets).tolist()
    assert found == [((key >> 32) * num_buckets) >> 32 for key in keys]
    assert all(0 <= bucket < num_buckets for bucket in found)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30).map(sorted))
def test_group_starts(pairs):
    starts = group_starts(*(np.array([p[i] for p in pairs], np.int64) for i in range(2))).tolist()
    assert starts[-1] == len(pairs)
    assert [pairs[s] for s in starts[:-1]] == sorted(set(pairs))
