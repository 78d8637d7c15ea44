"""Election against its rule spelled out with Python sets: in memory, in blocks, through files, with earlier releases."""

import random
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConservationError
from pipelines.makers.near.blocks import Members, SetBatch, elect_in_blocks
from pipelines.makers.near.election import VERDICT, elect_keepers, member_schema
from pipelines.makers.near.keeper_index import count_slots, slot_counts
from pipelines.makers.near.similarity import containment, num_common_of, num_common_of_smallest, similarity_with
from pipelines.makers.near.verify import SMALL_CLUSTER, Sets, elect, set_digests, sets_of, twins
from pipelines.makers.outcome import number_buckets
from pipelines.makers.shuffle import ShuffleWriter, read_bucket
from pipelines.schema import DOCUMENT
from pipelines.shards import ShardOutput

THRESHOLDS = st.sampled_from([0.05, 0.3, 0.5, 2 / 3, 0.7, 0.8, 0.9, 1.0])
SPREAD = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Doc:
    """A set of hashes; of a released one the rule knows the `k` smallest and the size."""

    hashes: frozenset[int]
    released: bool = False


def hashed(numbers) -> frozenset[int]:
    """Numbers as a shingle's hash would spread them over 64 bits."""
    return frozenset(int(n) * SPREAD % 2**64 for n in numbers)


def alike(new: frozenset[int], keeper: Doc, min_jaccard: float, k: int) -> tuple[float, bool]:
    """Similarity by definition, and whether it is an estimate: the share of the union's k smallest that is in both."""
    if keeper.released and len(keeper.hashes) > k:
        sizes = sorted((len(new), len(keeper.hashes)))
        known = set(sorted(new)[:k]), set(sorted(keeper.hashes)[:k])
        sample = sorted(known[0] | known[1])[:k]
        estimate = sum(value in known[0] and value in known[1] for value in sample) / k
        return (estimate if sizes[0] >= min_jaccard * sizes[1] - 1e-9 else -1.0), True
    return len(new & keeper.hashes) / len(new | keeper.hashes), False


def rounds(docs: list[Doc], min_jaccard: float, k: int = 10**9) -> list[tuple[int, float, bool]]:
    """The rule itself: elect the first, drop what is similar to it, go on with the rest. Keeper, similarity, estimated."""
    verdict = [(-1, -1.0, False)] * len(docs)
    waiting = list(range(len(docs)))
    while waiting:
        best, *others = waiting
        waiting = []
        for other in others:
            found, estimated = alike(docs[other].hashes, docs[best], min_jaccard, k)
            if not docs[other].released and found >= min_jaccard:
                verdict[other] = (best, found, estimated)
            else:
                waiting.append(other)
    return verdict


def random_cluster(rng: np.random.Generator, size: int, num_released: int = 0) -> list[Doc]:
    """Edited copies of a few originals over a small or large vocabulary, some with boilerplate, some tiny, some equal."""
    vocabulary = int(rng.choice([8, 60, 5000]))
    boilerplate = set(rng.integers(0, vocabulary, int(rng.integers(0, 20))).tolist())
    originals = [
        set(rng.integers(0, vocabulary, int(rng.integers(1, 40))).tolist()) for _ in range(int(rng.integers(1, 5)))
    ]
    found = []
    for i in range(size):
        words = set(originals[int(rng.integers(len(originals)))])
        for _ in range(int(rng.integers(0, 6))):
            words ^= {int(rng.integers(0, vocabulary))}
        found.append(
            Doc(hashed(words | boilerplate if rng.random() < 0.7 else words or {0}), released=i < num_released)
        )
    return [doc if doc.hashes else Doc(hashed({1}), doc.released) for doc in found]


def flat(clusters: list[list[Doc]], k: int) -> tuple[Sets, np.ndarray]:
    docs = [doc for cluster in clusters for doc in cluster]
    stored = [sorted(doc.hashes)[: k if doc.released else None] for doc in docs]
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in stored])]).astype(np.int64)
    sets = Sets(
        values=np.array([v for s in stored for v in s], np.uint64),
        begins=offsets[:-1],
        ends=offsets[1:],
        sizes=np.array([len(doc.hashes) for doc in docs], np.int64),
        released=np.array([doc.released for doc in docs], np.bool_),
        sketch_size=k,
    )
    return sets, np.concatenate([[0], np.cumsum([len(c) for c in clusters])]).astype(np.int64)


def check(clusters: list[list[Doc]], starts, keeper, similarity, min_jaccard: float, k: int) -> None:
    for start, cluster in zip(starts, clusters, strict=False):
        for i, (expected, measured, _) in enumerate(rounds(cluster, min_jaccard, k)):
            assert keeper[start + i] == (expected + start if expected >= 0 else -1)
            assert similarity[start + i] == measured if expected >= 0 else np.isnan(similarity[start + i])


def random_clusters(rng: np.random.Generator) -> list[list[Doc]]:
    sizes = [2, int(rng.integers(2, 10)), SMALL_CLUSTER, SMALL_CLUSTER + 1, int(rng.integers(SMALL_CLUSTER + 2, 120))]
    return [random_cluster(rng, size, int(rng.choice([0, 1, size // 3]))) for size in rng.permutation(sizes)]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), THRESHOLDS, st.sampled_from([4, 16, 1000]))
def test_one_sweep_elects_as_rounds_do(seed, min_jaccard, k):
    """Small and large clusters side by side, so that both ways of finding keepers are held to the same rule."""
    clusters = random_clusters(np.random.default_rng(seed))
    sets, starts = flat(clusters, k)
    keeper, similarity = elect(sets, starts, min_jaccard)
    check(clusters, starts, keeper, similarity, min_jaccard, k)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1), THRESHOLDS, st.sampled_from([4, 16, 1000]), st.sampled_from([1, 30, 200, 1000, 10**6])
)
def test_blocks_elect_as_rounds_do(seed, min_jaccard, k, max_block_shingles):
    """The same rule where no more than a few sets are held at once and the scan has its own order and batches."""
    rng = np.random.default_rng(seed)
    clusters = random_clusters(rng)
    sets, starts = flat(clusters, k)
    lengths = sets.ends - sets.begins
    order = rng.permutation(lengths.size)  # member in each row of the scan
    cuts = np.sort(rng.integers(0, lengths.size, 5))
    scans = []

    def scan():
        scans.append(0)
        for first, last in zip([0, *cuts], [*cuts, lengths.size], strict=True):
            parts = [sets.values[sets.begins[m] : sets.ends[m]] for m in order[first:last]]
            offsets = np.concatenate([[0], np.cumsum([p.size for p in parts])]).astype(np.int64)
            yield SetBatch(first, np.concatenate([np.zeros(0, np.uint64), *parts]), offsets)

    frequency = slot_counts(int(rng.choice([0, sets.values.size])))
    count_slots(frequency, sets.values)
    keeper, similarity = elect_in_blocks(
        scan,
        Members(np.argsort(order), lengths, sets.sizes, sets.released, k),
        starts,
        min_jaccard,
        num_rows=order.size,
        frequency=frequency,
        max_block_shingles=max_block_shingles,
    )
    check(clusters, starts, keeper, similarity, min_jaccard, k)
    if max_block_shingles >= lengths.max():
        assert len(scans) <= 2 * lengths.sum() / max_block_shingles + 1
    if max_block_shingles == 10**6:
        assert len(scans) == 1


def test_a_block_that_finds_no_set_is_an_error():
    with pytest.raises(ConservationError, match="2 members of clusters have no set in the shuffle"):
        elect_in_blocks(
            lambda: iter(()),
            Members(np.arange(2), np.ones(2, np.int64), np.ones(2, np.int64), np.zeros(2, np.bool_), 8),
            np.array([0, 2]),
            0.8,
            num_rows=2,
            frequency=slot_counts(0),
            max_block_shingles=100,
        )


def test_chain_keeps_what_is_unlike_its_keeper():
    """A~B~C with A unlike C: electing A drops B and keeps C; electing B drops both."""
    a, b, c = (Doc(hashed(range(first, first + 20))) for first in (0, 2, 4))
    assert rounds([a, b, c], 0.8) == [(-1, -1.0, False), (0, 18 / 22, False), (-1, -1.0, False)]

    def keepers(*members: Doc) -> list[int]:
        sets, starts = flat([list(members)], 1000)
        return elect(sets, starts, 0.8)[0].tolist()

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
        alone = [np.array([10_000 + i], np.uint64) for i in range(num_members - 2)]
        members = [np.arange(union, dtype=np.uint64), *alone, np.arange(common, dtype=np.uint64)]
        offsets = np.concatenate([[0], np.cumsum([m.size for m in members])]).astype(np.int64)
        values = np.concatenate([np.sort(m * np.uint64(SPREAD)) for m in members])
        sets = sets_of(values, offsets[:-1], offsets[1:])
        keeper, similarity = elect(sets, np.array([0, num_members]), common / union)
        assert keeper.tolist() == [-1] * (num_members - 1) + [0]
        assert similarity[-1] == common / union


def test_a_large_cluster_of_unlike_documents_is_not_compared_pair_by_pair():
    """20,000 documents that share half their shingles: all are kept, through an index that never meets the shared half."""
    num = 20_000
    own = np.arange(1000, 1000 + 50 * num, dtype=np.uint64).reshape(num, 50)
    shared = np.tile(np.arange(50, dtype=np.uint64), (num, 1))
    values = np.sort(np.concatenate([shared, own], axis=1) * np.uint64(SPREAD), axis=1).ravel()
    begins = np.arange(num) * 100
    assert (elect(sets_of(values, begins, begins + 100), np.array([0, num]), 0.8)[0] == -1).all()


# --- similarity ---------------------------------------------------------------------------------------------------------

SMALL_SETS = st.frozensets(st.integers(0, 60), max_size=50)


@settings(max_examples=300, deadline=None)
@given(SMALL_SETS, SMALL_SETS, st.integers(0, 60), st.integers(1, 20))
def test_merges_count_as_sets_do(left, right, needed, k):
    a, b = (np.array(sorted(s), np.uint64) for s in (left, right))
    common = num_common_of(a, b, needed)
    assert common == len(left & right) if len(left & right) >= needed else common in (-1, len(left & right))
    if len(right) > k:
        union = sorted(left | right)[:k]
        assert num_common_of_smallest(a, b[:k]) == sum(v in left and v in right for v in union)


@given(SMALL_SETS.filter(len), SMALL_SETS.filter(len))
def test_containment_follows_from_similarity(left, right):
    similarity = np.array([len(left & right) / len(left | right)])
    sizes = np.array([len(left)]), np.array([len(right)])
    assert containment(similarity, *sizes, np.array([False])).tolist() == [len(left & right) / len(left)]


@pytest.mark.parametrize(("common", "only_left", "only_right"), [(800, 100, 100), (900, 0, 100), (600, 300, 300)])
def test_the_sketch_estimates_without_bias_and_with_its_stated_error(common, only_left, only_right):
    """2,000 random pairs a case: the mean is within 4 standard errors of the truth, the spread at most the stated one.

    Drawing without replacement from a union of u is a little better: by the factor sqrt((u - k) / (u - 1)).
    """
    rng = np.random.default_rng(common)
    union, k, trials = common + only_left + only_right, 128, 2000
    truth = common / union
    estimates = np.empty(trials)
    for trial in range(trials):
        values = rng.integers(0, 2**64, union, np.uint64)
        left, right = (
            np.sort(values[: common + only_left]),
            np.sort(np.delete(values, slice(common, common + only_left))),
        )
        estimates[trial] = similarity_with(left, right[:k], np.int64(right.size), 0.01)
    error = np.sqrt(truth * (1 - truth) / k)
    assert abs(estimates.mean() - truth) < 4 * error / np.sqrt(trials)
    expected = error * np.sqrt((union - k) / (union - 1))
    assert 0.93 * expected < estimates.std() < 1.07 * expected


# --- twins --------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.frozensets(st.integers(1, 6), max_size=3), st.booleans()), max_size=30))
def test_twins_are_the_first_equal_sets_of_a_cluster(rows):
    rows = sorted(rows, key=lambda r: (r[0], not r[2]))
    lists = [np.sort(np.array(sorted(hashed(s)), np.uint64)) for _, s, _ in rows]
    offsets = np.concatenate([[0], np.cumsum([v.size for v in lists])]).astype(np.int64)
    digests = np.empty((len(rows), 2), np.uint64)
    set_digests(np.concatenate([np.zeros(0, np.uint64), *lists]), offsets, digests)
    clusters = [c for c, _, _ in rows]
    starts = np.array([*[i for i in range(len(rows)) if i == 0 or clusters[i] != clusters[i - 1]], len(rows)])
    found = twins(digests, np.diff(offsets), starts, np.array([r for _, _, r in rows], np.bool_))
    for i, (cluster, members, released) in enumerate(rows):
        first = next(j for j, (c, s, r) in enumerate(rows) if (c, s, r) == (cluster, members, released))
        assert found[i] == (-1 if released or first == i else first)


# --- through files ------------------------------------------------------------------------------------------------------

PREFER = (("score", "max"),)
SCHEMA = pa.schema([*DOCUMENT, pa.field("score", pa.float64())])


def member_rows(clusters: dict[int, list[Doc]], k: int, num_parts: int) -> list[dict]:
    """Rows of the shuffle, in order of preference within a cluster: released by id, new ones by score."""
    rows = []
    for cluster, docs in clusters.items():
        for i, doc in enumerate(docs):
            rows.append(
                {
                    "cluster": cluster,
                    "cluster_size": len(docs),
                    "source": "old" if doc.released else "web",
                    "id": f"{cluster}-{i:04d}" if doc.released else f"{cluster}-{9999 - i:04d}",
                    "prefer_0": None if doc.released else float(-i),
                    "part": num_parts if doc.released else (cluster + i) % num_parts,
                    "row": len(rows),
                    "language": "en" if i % 2 else "de",
                    "length": "256 B",
                    "copies": 1,
                    "released": doc.released,
                    "set_size": len(doc.hashes),
                    "shingles": sorted(doc.hashes)[: k if doc.released else None],
                }
            )
    return rows


def run_election(folder, rows, *, num_files=1, num_groups=1, num_parts=2, min_jaccard=0.7, **options):
    """Verdicts by (part, row) and counts of all groups."""
    schema = member_schema(PREFER, SCHEMA)
    uris = []
    for i in range(num_files):
        out = ShardOutput(str(folder), f"file-{i}")
        with ShuffleWriter(out, "shingles", schema, num_buckets=num_groups, run_bytes=1 << 12) as shuffle:
            for row in rows[i::num_files]:
                batch = pa.RecordBatch.from_pylist([row], schema=schema)
                shuffle.write(batch, np.array([row["cluster"] % num_groups]))
        uris.append(str(folder / out.finish()[0].path))
    counts, verdicts = [], {}
    for bucket in number_buckets(num_groups):
        out = ShardOutput(str(folder / "verdicts"), bucket.name)
        counts.append(
            elect_keepers(
                bucket,
                out,
                uris=tuple(uris),
                prefer=PREFER,
                min_jaccard=min_jaccard,
                num_groups=num_groups,
                num_parts=num_parts,
                **{"verify": True} | options,
            )
        )
        (file,) = out.finish()
        for part in range(num_parts):
            table = read_bucket([str(folder / "verdicts" / file.path)], part, num_buckets=num_parts)
            assert table.schema.equals(VERDICT)
            for row in table.to_pylist():
                assert verdicts.setdefault((part, row["row"]), row) is row
    return verdicts, counts


@pytest.mark.parametrize("seed", range(6))
def test_verdicts_on_disk_are_the_rule_whatever_the_files_groups_and_blocks(tmp_path, seed):
    rng = np.random.default_rng(seed)
    k, min_jaccard = 8, 0.6
    clusters = {c: random_cluster(rng, n, n // 4) for c, n in enumerate([2, 5, 60, 130, 9])}
    rows = member_rows(clusters, k, 2)
    by_place = {
        (c, i): r for (c, i), r in zip([(c, i) for c in clusters for i in range(len(clusters[c]))], rows, strict=True)
    }
    expected = {}
    for cluster, docs in clusters.items():
        for i, (keeper, similarity, estimated) in enumerate(rounds(docs, min_jaccard, k)):
            row = by_place[cluster, i]
            if docs[i].released:
                continue
            best = by_place[cluster, keeper] if keeper >= 0 else None
            expected[row["part"], row["row"]] = (
                (None,) * 6
                if best is None
                else (best["source"], best["id"], similarity, best["part"], best["row"], estimated)
            )
    found = None
    for trial, (num_files, num_groups, max_block) in enumerate([(1, 1, 10**6), (3, 2, 100), (2, 7, 1), (1, 1, 400)]):
        random.Random(trial).shuffle(rows)
        verdicts, counts = run_election(
            tmp_path / str(trial), rows, num_files=num_files, num_groups=num_groups, min_jaccard=min_jaccard,
            sketch_size=k, max_block_shingles=max_block,
        )  # fmt: skip
        names = ["keeper_source", "keeper_id", "similarity", "keeper_part", "keeper_row"]
        simple = {
            at: tuple(v[n] for n in names) + ((v["by_sketch"],) if v["keeper_id"] else (None,))
            for at, v in verdicts.items()
        }
        assert simple == expected
        total = {name: sum(c[name] for c in counts) for name in ("clusters", "kept", "dropped", "dropped_by_sketch")}
        assert total["clusters"] == len(clusters)
        assert total["dropped"] == sum(v["keeper_id"] is not None for v in verdicts.values())
        assert total["kept"] + total["dropped"] == len(verdicts)
        assert total["dropped_by_sketch"] == sum(v["by_sketch"] for v in verdicts.values())
        assert found is None or (verdicts, total) == found
        found = (verdicts, total)
    assert found is not None
    assert found[1]["dropped"]
