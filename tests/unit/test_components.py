"""Clusters in rounds of passes, against a search for components, on graphs that are hard for rounds; and their resume."""

import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConservationError, EyasError
from pipelines.executors.local import Local
from pipelines.makers.near import components
from pipelines.makers.near.components import Clusters, find_clusters
from pipelines.makers.near.grouping import Groups, contract
from pipelines.makers.outcome import NumberedPart
from pipelines.makers.shuffle import read_bucket
from pipelines.passes import Passes
from tests.property.test_clusters import components as search

Graph = list[tuple[int, int]]


def number(rows: list[int]) -> tuple[NumberedPart, ...]:
    """Parts of these numbers of rows; nothing reads their files here."""
    firsts = np.cumsum([0, *rows]).tolist()
    return tuple(
        NumberedPart(name=f"part-{i}", uri=f"part-{i}", number=i, first=firsts[i], rows=r) for i, r in enumerate(rows)
    )


def write_edges(folder: Path, files: list[Graph]) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    uris = []
    for i, edges in enumerate(files):
        columns = np.array(edges, np.int64).reshape(-1, 2)
        uris.append(str(folder / f"edges-{i:03d}.parquet"))
        pq.write_table(pa.table({"document": columns[:, 0], "centre": columns[:, 1]}), uris[-1])
    return uris


def passes_in(folder: Path) -> Passes:
    return Passes(artifact="graph", directory=str(folder), executor=Local())


def members_of(clusters: Clusters, parts: tuple[NumberedPart, ...]) -> dict[int, tuple[int, int]]:
    """Ordinal -> (cluster, size) of all members; each is there once."""
    found = {}
    for part in parts:
        table = read_bucket(clusters.members, part.number, num_buckets=len(parts))
        for r in table.to_pylist():
            assert 0 <= r["row"] < part.rows
            assert part.first + r["row"] not in found
            found[part.first + r["row"]] = (r["cluster"], r["cluster_size"])
    return found


def expected(num: int, edges: Graph) -> dict[int, tuple[int, int]]:
    labels = search(num, edges)
    return {i: (label, labels.count(label)) for i, label in enumerate(labels) if labels.count(label) > 1}


def check(folder: Path, num: int, edges: Graph, *, edges_per_task: int, files: int = 3, parts: int = 3) -> Clusters:
    """The clusters of `edges` in `files` files are those of a search, and so are all the counts. Returns them."""
    shutil.rmtree(folder, ignore_errors=True)
    numbered = number([num // parts] * (parts - 1) + [num - num // parts * (parts - 1)])
    uris = write_edges(folder / "edges", [edges[i::files] for i in range(files)])
    clusters = find_clusters(uris, numbered, passes_in(folder / "out"), edges_per_task=edges_per_task)
    truth = expected(num, edges)
    assert members_of(clusters, numbered) == truth
    sizes = dict(truth.values())
    assert clusters.counts["clusters"] == len(sizes)
    assert clusters.counts["members"] == sum(sizes.values()) == len(truth)
    assert clusters.counts["largest"] == max(sizes.values(), default=0)
    histogram: dict[str, int] = {}
    for size in sorted(sizes.values()):
        power = str(1 << size.bit_length() - 1)
        histogram[power] = histogram.get(power, 0) + 1
    assert clusters.counts["sizes"] == histogram
    top = sorted(([c, s] for c, s in sizes.items()), key=lambda entry: (-entry[1], entry[0]))
    assert clusters.counts["top"] == top[:20]
    return clusters


def shuffled(seed: int, num: int, edges: Graph) -> Graph:
    """The same graph with its nodes, its edges and their ends in random order."""
    rng = random.Random(seed)
    names = rng.sample(range(num), num)
    found = [(names[a], names[b]) if rng.random() < 0.5 else (names[b], names[a]) for a, b in edges]
    rng.shuffle(found)
    return found


def path(num: int) -> Graph:
    return [(i, i + 1) for i in range(num - 1)]


def grid(side: int) -> Graph:
    across = [(r * side + c, r * side + c + 1) for r in range(side) for c in range(side - 1)]
    return across + [(b * side + a, (b + 1) * side + a) for a in range(side) for b in range(side - 1)]


SHAPES = {
    "path": (60, path(60)),
    "star": (60, [(i, 59) for i in range(59)]),
    "clique": (12, [(i, j) for i in range(12) for j in range(i)]),
    "grid": (49, grid(7)),
    "pairs": (80, [(2 * i, 2 * i + 1) for i in range(40)]),
    "triples": (90, [(3 * i + j, 3 * i + j + 1) for i in range(30) for j in range(2)]),
    "binary tree": (63, [(i, (i - 1) // 2) for i in range(1, 63)]),
    "caterpillar": (60, path(30) + [(i, i + 30) for i in range(30)]),
    "ring": (50, [*path(50), (49, 0)]),
    "loops and repeats": (20, [(i, i) for i in range(20)] + [(3, 4)] * 30 + [(4, 3)] * 30 + [(7, 19), (19, 8)]),
    "nothing": (5, []),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("edges_per_task", [5, 16, 1 << 20])
def test_shapes_in_and_out_of_order(tmp_path, shape, edges_per_task):
    num, edges = SHAPES[shape]
    check(tmp_path / "as-is", num, edges, edges_per_task=edges_per_task)
    check(tmp_path / "mixed", num, shuffled(5, num, edges), edges_per_task=edges_per_task)


@settings(max_examples=25)
@given(st.data())
def test_any_graph_is_what_a_search_finds(tmp_path_factory, data):
    num = data.draw(st.integers(3, 40))
    node = st.integers(0, num - 1)
    edges = data.draw(st.lists(st.tuples(node, node), max_size=50))
    check(
        tmp_path_factory.mktemp("graph"),
        num,
        edges,
        edges_per_task=data.draw(st.sampled_from([2, 5, 11, 1000])),
        files=data.draw(st.integers(1, 4)),
        parts=data.draw(st.integers(1, 3)),
    )


def test_order_of_edges_and_number_of_buckets_say_nothing(tmp_path):
    rng = random.Random(3)
    edges = [(rng.randrange(200), rng.randrange(200)) for _ in range(130)]
    outcomes = []
    for i, edges_per_task in enumerate((10, 23, 64, 10_000)):
        mixed = random.Random(i).sample(edges, len(edges))
        counts = check(tmp_path / str(i), 200, mixed, edges_per_task=edges_per_task, files=i + 1, parts=i + 1).counts
        outcomes.append({name: value for name, value in counts.items() if name != "rounds"})
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_rounds_grow_with_the_logarithm_of_a_path(tmp_path):
    """A path in random order is the worst case: its length is the distance that the smallest label has to go."""
    rounds = [
        check(tmp_path / str(num), num, shuffled(1, num, path(num)), edges_per_task=8).counts["rounds"]
        for num in (16, 64, 256)
    ]
    assert 1 <= rounds[0] <= rounds[1] <= rounds[2] <= 6


def test_ends_with_stars_where_one_task_cannot_hold_them(tmp_path):
    """75 stars of 4 never fit into 8 edges: all are settled, and labels go back to many tasks."""
    edges = [(4 * i + j, 4 * i) for i in range(75) for j in range(1, 4)]
    check(tmp_path, 300, shuffled(2, 300, edges), edges_per_task=8)
    work = tmp_path / "out" / "work"
    assert (work / "components-01-label" / "counts" / "bucket-000001.json").exists()
    assert len(list((work / "members" / "counts").iterdir())) > 1


def test_few_edges_take_one_task(tmp_path):
    check(tmp_path, 40, path(40), edges_per_task=39)
    assert [p.name for p in (tmp_path / "out" / "work").iterdir() if p.name != "plan"] == ["members"]


def test_rounds_stop_once_the_edges_fit(tmp_path):
    """A clique of 40 has 780 edges and a tree of 39: the first contraction leaves a union-find of one task."""
    edges = [(i, j) for i in range(40) for j in range(i)]
    assert check(tmp_path, 40, shuffled(4, 40, edges), edges_per_task=120).counts["rounds"] <= 1


def test_parts_without_rows_and_members(tmp_path):
    numbered = number([0, 2, 0, 3, 0])
    uris = write_edges(tmp_path / "edges", [[(4, 1)], []])
    clusters = find_clusters(uris, numbered, passes_in(tmp_path / "out"), num_edges=1)
    assert members_of(clusters, numbered) == {1: (1, 2), 4: (1, 2)}
    assert clusters.counts["sizes"] == {"2": 1}


def test_no_edge_files(tmp_path):
    clusters = find_clusters([], number([3]), passes_in(tmp_path))
    assert members_of(clusters, number([3])) == {}
    assert clusters.counts == {"clusters": 0, "members": 0, "largest": 0, "rounds": 0, "sizes": {}, "top": []}


@pytest.mark.parametrize("edge", [(5, 1), (1, -1)])
def test_documents_that_no_part_has_are_refused(tmp_path, edge):
    with pytest.raises(EyasError, match="of 5"):
        find_clusters(write_edges(tmp_path, [[edge]]), number([2, 3]), passes_in(tmp_path / "out"))


def test_parts_out_of_order_are_refused(tmp_path):
    with pytest.raises(ConservationError, match="part 1 from 2 on, not 0 from 0"):
        find_clusters([], number([2, 3])[::-1], passes_in(tmp_path))


def test_rounds_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(components, "MAX_ROUNDS", 1)
    with pytest.raises(ConservationError, match="not found after 1 rounds"):
        check(tmp_path, 200, shuffled(1, 200, path(200)), edges_per_task=6)


def test_resumed_after_any_pass_it_writes_the_same(tmp_path):
    """Cut off after every file in turn, commits of later passes gone: the second run ends with the same bytes."""
    numbered = number([30, 34])
    uris = write_edges(tmp_path / "edges", [shuffled(1, 64, path(64))])
    folder = tmp_path / "out"
    whole = find_clusters(uris, numbered, passes_in(folder), edges_per_task=16)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and "log" not in p.parts}
    names = sorted({p.relative_to(folder / "work").parts[0] for p in before if "plan" not in p.parts})
    assert len(names) > 3
    for name in names:
        for other in names[names.index(name) :]:
            shutil.rmtree(folder / "work" / other)
        assert find_clusters(uris, numbered, passes_in(folder), edges_per_task=16) == whole
        assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and "log" not in p.parts} == before


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 9)), max_size=200), st.booleans())
def test_groups_are_a_dictionary(rows, counting):
    groups = Groups(counting=counting)
    for start in range(0, len(rows), 7):
        part = rows[start : start + 7]
        groups.add(np.array([k for k, _ in part], np.uint64), np.array([v for _, v in part], np.int64))
    values: dict[int, list[int]] = {}
    for key, value in rows:
        values.setdefault(key, []).append(value)
    found = {key: (low, second) for key, low, second in zip(*(c.tolist() for c in groups.columns()), strict=True)}
    assert found == {k: (min(v), len(v) if counting else max(v)) for k, v in values.items()}
    asked = np.array([*values, 2**50], np.uint64)
    assert groups.least_of(asked).tolist() == [*(min(v) for v in values.values()), -1]


def test_groups_grow():
    keys = np.random.default_rng(1).permutation(50_000).astype(np.uint64)
    groups = Groups(counting=True)
    groups.add(np.concatenate([keys, keys]), np.arange(100_000))
    assert (groups.number_of(keys) == 2).all()
    assert np.array_equal(groups.least_of(keys), np.arange(50_000))


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60))
def test_contracted_edges_are_stars_of_the_same_components(edges):
    columns = np.array(edges, np.int64).reshape(-1, 2)
    documents, centres = contract(np.ascontiguousarray(columns[:, 0]), np.ascontiguousarray(columns[:, 1]))
    label = search(31, edges)
    assert dict(zip(documents.tolist(), centres.tolist(), strict=True)) == {i: c for i, c in enumerate(label) if i != c}
