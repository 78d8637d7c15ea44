"""Election through files: members of earlier releases, counts, what is refused, and what a group may be."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.errors import ConservationError
from pipelines.kernels.minhash import MinHashConfig
from pipelines.makers.near.election import elect_keepers, gather_members, member_schema
from pipelines.makers.near.verify import SMALL_CLUSTER
from pipelines.makers.outcome import number_buckets, number_parts
from pipelines.makers.shuffle import ShuffleWriter, read_bucket
from pipelines.schema import DOCUMENT
from pipelines.shards import ShardOutput
from tests.dedup import row, shingle_set, write_input

K = 64


def hashes(seed: int, num: int) -> set[int]:
    return set(np.random.default_rng(seed).integers(0, 2**64, num, np.uint64).tolist())


def member(document: str, found: set[int], *, cluster: int = 1, released: bool = False, **other) -> dict:
    """A row of the shuffle `shingles`; `row` is the number in the id."""
    return {
        "cluster": cluster,
        "cluster_size": 9,
        "source": "s",
        "id": document,
        "part": 1 if released else 0,
        "row": int(document.strip("abcdefghijklmnopqrstuvwxyz")),
        "language": "en",
        "length": "1 KiB",
        "copies": 1,
        "released": released,
        "set_size": len(found),
        "shingles": sorted(found)[: K if released else None],
    } | other


def elect(folder, rows, *, sketch_size: int | None = K, verify: bool = True, min_jaccard: float = 0.8, **options):
    schema = member_schema((), pa.schema(DOCUMENT))
    out = ShardOutput(str(folder), "members")
    with ShuffleWriter(out, "shingles", schema, num_buckets=2) as shuffle:
        if rows:
            shuffle.write(pa.RecordBatch.from_pylist(rows, schema=schema), np.zeros(len(rows), np.int64))
    uris = (str(folder / out.finish()[0].path),)
    verdicts, counts = {}, []
    for bucket in number_buckets(2):
        out = ShardOutput(str(folder / "verdicts"), bucket.name)
        counts.append(
            elect_keepers(
                bucket, out, uris=uris, prefer=(), min_jaccard=min_jaccard, verify=verify, num_groups=2, num_parts=1,
                sketch_size=sketch_size, **options,
            )
        )  # fmt: skip
        table = read_bucket([str(folder / "verdicts" / out.finish()[0].path)], 0, num_buckets=1)
        verdicts |= {verdict["row"]: verdict for verdict in table.to_pylist()}
    assert counts[1] == {
        "clusters": 0, "kept": 0, "dropped": 0, "dropped_by_sketch": 0, "rounds": 0, "sizes": {},
        "removed": {"source": {}, "language": {}, "length": {}},
    }, "an empty group is a group"  # fmt: skip
    return verdicts, counts[0]


@pytest.mark.parametrize("crowd", [0, SMALL_CLUSTER + 5])
@pytest.mark.parametrize("max_block_shingles", [1, 300, 1 << 24])
def test_a_release_is_never_dropped_and_comes_first(tmp_path, crowd, max_block_shingles):
    """Two released near copies both stay; a new one, though its id is less, goes for the first it is like."""
    base = hashes(1, 1000)
    other = set(sorted(base)[20:]) | hashes(2, 20)
    rows = [
        member("z7", base, released=True),
        member("z8", other, released=True),
        member("a1", base | hashes(3, 10)),
        member("b2", hashes(4, 1000)),
        *(member(f"c{100 + i}", hashes(100 + i, 30)) for i in range(crowd)),
    ]
    verdicts, counts = elect(tmp_path, rows, max_block_shingles=max_block_shingles)
    assert verdicts.keys() == {1, 2, *range(100, 100 + crowd)}, "only new members have a verdict"
    dropped = verdicts[1]
    assert (dropped["keeper_id"], dropped["keeper_part"], dropped["keeper_row"]) == ("z7", 1, 7)
    assert dropped["by_sketch"]
    assert dropped["duplicate_count"] == 2
    assert abs(dropped["similarity"] - 1000 / 1010) < 5 * np.sqrt(0.01 / K)
    s = dropped["similarity"]
    assert dropped["containment"] == pytest.approx(min(1000, s / (1 + s) * 2010) / 1010)
    assert [verdicts[2][n] for n in ("keeper_id", "similarity", "containment", "keeper_part", "by_sketch")] == [
        None, None, None, None, False,
    ]  # fmt: skip
    assert {n: counts[n] for n in ("clusters", "kept", "dropped", "dropped_by_sketch", "rounds")} == {
        "clusters": 1, "kept": 1 + crowd, "dropped": 1, "dropped_by_sketch": 1, "rounds": 1 + crowd,
    }  # fmt: skip
    assert counts["removed"] == {"source": {"s": 1}, "language": {"en": 1}, "length": {"1 KiB": 1}}


def test_a_release_that_its_sketch_holds_whole_is_compared_exactly(tmp_path):
    base = hashes(5, K)
    rows = [member("z7", base, released=True), member("a1", base | hashes(6, 4)), member("b2", base | hashes(7, 60))]
    verdicts, counts = elect(tmp_path, rows)
    assert (verdicts[1]["keeper_id"], verdicts[1]["similarity"], verdicts[1]["by_sketch"]) == ("z7", K / (K + 4), False)
    assert verdicts[1]["containment"] == K / (K + 4)
    assert verdicts[2]["keeper_id"] is None
    assert counts["dropped_by_sketch"] == 0


def test_sizes_refuse_what_a_sketch_would_not(tmp_path):
    """A small set inside a large one looks like it wherever hashes are few; its size says that it is not."""
    large = hashes(8, 1000)
    small = set(sorted(large)[:K])  # all of the sketch, a sixteenth of the set
    verdicts, _ = elect(tmp_path, [member("z7", large, released=True), member("a1", small)])
    assert verdicts[1]["keeper_id"] is None


def test_a_longer_sketch_is_cut_and_a_shorter_one_refused(tmp_path):
    base = hashes(9, 1000)
    rows = [member("z7", base, released=True), member("a1", base | hashes(10, 100))]
    expected, _ = elect(tmp_path / "equal", rows)
    rows[0]["shingles"] = sorted(base)[: 2 * K]
    assert elect(tmp_path / "longer", rows)[0] == expected
    rows[0]["shingles"] = sorted(base)[: K - 1]
    with pytest.raises(ConservationError, match="a set of 1000 shingles came with 63 where 64 are needed"):
        elect(tmp_path / "shorter", rows)
    with pytest.raises(ConservationError, match="came with 63 where 1000 are needed"):
        elect(tmp_path / "no_sketches", rows, sketch_size=None)
    rows[0]["shingles"], rows[1]["set_size"] = sorted(base)[:K], 7
    with pytest.raises(ConservationError, match="a set of 7 shingles came with 1100"):
        elect(tmp_path / "wrong", rows)


def test_without_verification_the_first_of_the_cluster_stands_for_all_new_ones(tmp_path):
    rows = [
        member("z8", hashes(1, 9), released=True),
        member("z7", hashes(2, 9), released=True),
        *(member(f"a{i}", set()) for i in (1, 2, 3)),
        *(member(f"b{i}", set(), cluster=2) for i in (4, 5)),
    ]
    verdicts, counts = elect(tmp_path, rows, verify=False)
    assert {at: v["keeper_id"] for at, v in verdicts.items()} == {1: "z7", 2: "z7", 3: "z7", 4: None, 5: "b4"}
    assert {(v["similarity"], v["containment"], v["by_sketch"]) for v in verdicts.values()} == {(None, None, False)}
    assert verdicts[1]["duplicate_count"] == 4
    assert (counts["kept"], counts["dropped"], counts["rounds"]) == (1, 4, 1)
    assert counts["sizes"] == {"2": 1, "4": 1}


@pytest.mark.parametrize("max_block_shingles", [50, 1 << 24])
def test_equal_sets_follow_the_best_of_them(tmp_path, max_block_shingles):
    """Copies of a keeper are dropped for it; copies of a dropped document for its keeper, with its similarity."""
    base = hashes(11, 100)
    near = set(sorted(base)[5:])
    rows = [member(f"d{i:03d}", (base, near)[i % 2]) for i in range(500)]
    rows += [member("e900", base, cluster=2), member("e901", base, cluster=2)]
    verdicts, counts = elect(tmp_path, rows, max_block_shingles=max_block_shingles)
    assert verdicts[0]["keeper_id"] is None
    assert {v["keeper_id"] for at, v in verdicts.items() if 0 < at < 500} == {"d000"}
    assert [verdicts[at]["similarity"] for at in (1, 2, 499)] == [0.95, 1.0, 0.95]
    assert [verdicts[at]["containment"] for at in (1, 2, 499)] == [1.0, 1.0, 1.0]
    assert verdicts[900]["keeper_id"] is None
    assert verdicts[901]["keeper_id"] == "e900"
    assert counts["rounds"] == 1
    assert counts["sizes"] == {"2": 1, "256": 1}


def test_members_are_gathered_with_their_sets_and_strata(tmp_path):
    texts = ["one two three four five six", "not a member at all", "sieben acht neun", "x y z " * 200]
    languages = ["en", "en", "de", None]
    rows = [row(f"{i}", t, language=code) for i, (t, code) in enumerate(zip(texts, languages, strict=True))]
    (part,) = number_parts([write_input(tmp_path, [rows], [pa.field("language", pa.string())])])
    out = ShardOutput(str(tmp_path), "members")
    found = {"row": [0, 2, 3], "cluster": [0, 2, 2], "cluster_size": [2, 5, 5]}
    with ShuffleWriter(out, "members", pa.schema(dict.fromkeys(found, pa.int64())), num_buckets=1) as shuffle:
        shuffle.write(pa.RecordBatch.from_pydict(found), np.zeros(3, np.int64))
    uris = (str(tmp_path / out.finish()[0].path),)
    for verify in (True, False):
        out = ShardOutput(str(tmp_path / str(verify)), "p")
        counts = gather_members(
            part, out, uris=uris, config=MinHashConfig(), prefer=(("num_bytes", "max"),), verify=verify, num_groups=1,
            num_parts=1,
        )  # fmt: skip
        table = read_bucket([str(tmp_path / str(verify) / out.finish()[0].path)], 0, num_buckets=1)
        got = table.to_pylist()
        assert [g["id"] for g in got] == ["0", "2", "3"]
        assert [g["language"] for g in got] == ["en", "de", "none"]
        assert [g["length"] for g in got] == ["0 B", "0 B", "1 KiB"]
        assert [g["prefer_0"] for g in got] == [len(texts[i]) for i in (0, 2, 3)]
        assert not any(g["released"] for g in got)
        sizes = [len(shingle_set(texts[i])) if verify else 0 for i in (0, 2, 3)]
        assert [g["set_size"] for g in got] == [len(g["shingles"]) for g in got] == sizes
        assert counts == {"members": 3, "shingles": sum(sizes)}
