"""Clusters against breadth-first search, verification against rounds of election spelled out, makers against shuffling."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.makers.keepers import group_starts
from pipelines.makers.near.candidates import star_edges
from pipelines.makers.near.clusters import labels, unite
from pipelines.makers.near.verify import SMALL_CLUSTER, elect
from pipelines.makers.shuffle import bucket_of


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


def joined(num: int, edges) -> list[int]:
    parents = np.arange(num)
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    unite(parents, pairs[:, 0], pairs[:, 1])
    return labels(parents).tolist()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_union_find_is_a_search_for_components(data):
    num = data.draw(st.integers(1, 40))
    node = st.integers(0, num - 1)
    edges = data.draw(st.lists(st.tuples(node, node), max_size=60))
    assert joined(num, edges) == components(num, edges) == joined(num, edges[::-1])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 15)), max_size=60))
def test_stars_join_what_all_pairs_would(rows):
    """Every two documents of one key end in one component and no others do, with at most one edge a row."""
    keys, documents = np.array([k for k, _ in rows], np.uint64), np.array([d for _, d in rows], np.int64)
    edges, sizes = star_edges(keys, documents)
    every = [(a, b) for k, a in rows for other, b in rows if k == other]
    assert joined(16, edges) == components(16, every)
    assert len(edges) < max(len(rows), 1)
    assert len({tuple(e) for e in edges.tolist()}) == len(edges)
    assert sizes.sum() == len(rows)


def rounds(sets: list[set[int]], min_jaccard: float) -> list[tuple[int, float]]:
    """The rule itself: elect the first, drop what is similar to it, go on with the rest."""
    verdict: list[tuple[int, float]] = [(-1, -1.0)] * len(sets)
    waiting = list(range(len(sets)))
    while waiting:
        best, *others = waiting
        waiting = []
        for other in others:
            union = len(sets[best] | sets[other])
            similarity = len(sets[best] & sets[other]) / union if union else 0.0
            if similarity >= min_jaccard:
                verdict[other] = (best, similarity)
            else:
                waiting.append(other)
    return verdict


def hashed(numbers: np.ndarray) -> np.ndarray:
    """Numbers as a shingle's hash would spread them over 64 bits."""
    return numbers * np.uint64(0x9E3779B97F4A7C15)


def random_cluster(rng: np.random.Generator, size: int) -> list[set[int]]:
    """Edited copies of a few originals over a small or large vocabulary, some with shared boilerplate, some tiny."""
    vocabulary = int(rng.choice([8, 60, 5000]))
    boilerplate = set(rng.integers(0, vocabulary, int(rng.integers(0, 20))).tolist())
    originals = [
        set(rng.integers(0, vocabulary, int(rng.integers(1, 40))).tolist()) for _ in range(int(rng.integers(1, 5)))
    ]
    found = []
    for _ in range(size):
        words = set(originals[int(rng.integers(len(originals)))])
        for _ in range(int(rng.integers(0, 6))):
            words ^= {int(rng.integers(0, vocabulary))}
        found.append(words | boilerplate if rng.random() < 0.7 else words)
    return found


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.3, 0.5, 2 / 3, 0.7, 0.8, 0.9, 1.0]))
def test_one_sweep_elects_as_rounds_do(seed, min_jaccard):
    """Small and large clusters side by side, so that both ways of finding keepers are held to the same rule."""
    rng = np.random.default_rng(seed)
    sizes = [2, int(rng.integers(2, 10)), SMALL_CLUSTER, SMALL_CLUSTER + 1, int(rng.integers(SMALL_CLUSTER + 2, 150))]
    clusters = [random_cluster(rng, size) for size in rng.permutation(sizes)]
    sets = [sorted(s) for cluster in clusters for s in cluster]
    starts = np.concatenate([[0], np.cumsum([len(c) for c in clusters])]).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in sets])]).astype(np.int64)
    values = hashed(np.array([v for s in sets for v in s], np.uint64))
    for i, s in enumerate(sets):
        values[offsets[i] : offsets[i] + len(s)].sort()
    keeper, similarity = elect(values, offsets[:-1], offsets[1:], starts, min_jaccard)
    for start, cluster in zip(starts, clusters, strict=False):
        for i, (expected, measured) in enumerate(rounds(cluster, min_jaccard)):
            assert keeper[start + i] == (expected + start if expected >= 0 else -1)
            assert similarity[start + i] == measured if expected >= 0 else np.isnan(similarity[start + i])


def test_chain_keeps_what_is_unlike_its_keeper():
    """A~B~C with A unlike C: electing A drops B and keeps C; electing B drops both."""
    a, b, c = set(range(0, 20)), set(range(2, 22)), set(range(4, 24))
    assert rounds([a, b, c], 0.8) == [(-1, -1.0), (0, 18 / 22), (-1, -1.0)]

    def keepers(*members: set[int]) -> list[int]:
        values = np.concatenate([np.sort(hashed(np.array(sorted(m), np.uint64))) for m in members])
        return elect(values, np.arange(3) * 20, np.arange(1, 4) * 20, np.array([0, 3]), 0.8)[0].tolist()

    assert keepers(a, b, c) == [-1, 0, -1]
    assert keepers(b, a, c) == [-1, 0, 0]


@pytest.mark.parametrize("num_members", [3, SMALL_CLUSTER + 5])
def test_a_similarity_that_equals_the_threshold_is_enough(num_members):
    """4 of 5 at 0.8, and fractions whose product with their denominator is rounded up or down: none may be lost."""
    fractions = [(common, union) for union in range(3, 120) for common in range(1, union)]
    rounded = [(c, u) for c, u in fractions if c / u * u != c]
    assert any(c / u * u > c for c, u in rounded)
    assert any(c / u * u < c for c, u in rounded)
    for common, union in [(4, 5), (7, 10), (2, 3), (9, 10), *rounded]:
        first, second = np.arange(union, dtype=np.uint64), np.arange(common, dtype=np.uint64)
        alone = [np.array([10_000 + i], np.uint64) for i in range(num_members - 2)]
        members = [first, *alone, second]
        offsets = np.concatenate([[0], np.cumsum([m.size for m in members])]).astype(np.int64)
        values = np.concatenate([np.sort(hashed(m)) for m in members])
        clusters = np.array([0, num_members])
        keeper, similarity = elect(values, offsets[:-1], offsets[1:], clusters, common / union)
        assert keeper.tolist() == [-1] * (num_members - 1) + [0]
        assert similarity[-1] == common / union


def test_a_large_cluster_of_unlike_documents_is_not_compared_pair_by_pair():
    """20,000 documents that share half their shingles: all are kept, through an index that never meets the shared half."""
    num = 20_000
    shared = np.arange(50, dtype=np.uint64)
    members = [np.concatenate([shared, np.arange(1000 + 50 * i, 1050 + 50 * i, dtype=np.uint64)]) for i in range(num)]
    begins = np.arange(num) * 100
    keeper, _ = elect(
        np.concatenate([np.sort(hashed(m)) for m in members]), begins, begins + 100, np.array([0, num]), 0.8
    )
    assert (keeper == -1).all()


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


def test_edges_of_nothing():
    edges, sizes = star_edges(pa.array([], pa.uint64()).to_numpy(), np.zeros(0, np.int64))
    assert (edges.shape, sizes.size) == ((0, 2), 0)
