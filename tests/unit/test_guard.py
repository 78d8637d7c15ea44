"""The guard of near dedup: when a build stops, what the message shows, and that the flags it names let the build go on."""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import ConfigError, GuardStopped, UserError
from pipelines.executors.local import Local
from pipelines.fingerprint import fingerprint
from pipelines.makers.near.guard import (
    Guard,
    buckets_beyond,
    check_clusters,
    check_removed,
    clusters_beyond,
    flags_of,
    loosened,
)
from pipelines.makers.near.guard_pairs import EXCERPT, escaped
from pipelines.makers.near.strata import count_strata, strata_of
from pipelines.makers.outcome import NumberedPart, number_buckets, number_parts
from pipelines.makers.shuffle import SUFFIX, ShuffleWriter
from pipelines.passes import Passes
from tests.dedup import row, true_jaccard, write_input

MEMBER = pa.schema([("row", pa.int64()), ("cluster", pa.int64()), ("cluster_size", pa.int64())])
VERDICT = pa.schema(
    [
        ("row", pa.int64()),
        ("keeper_source", pa.string()),
        ("keeper_id", pa.string()),
        ("similarity", pa.float64()),
        ("keeper_part", pa.int64()),
        ("keeper_row", pa.int64()),
        ("by_sketch", pa.bool_()),
    ]
)
LANGUAGE = pa.field("language", pa.string())


def write_shuffle(bucket, out, *, kind, schema, rows, num_parts):
    """Half of the (part, row) entries in each of two files, as tasks of a pass would leave them."""
    mine = [entry for i, entry in enumerate(rows) if i % 2 == bucket.number]
    with ShuffleWriter(out, kind, schema, num_buckets=num_parts) as shuffle:
        batch = pa.RecordBatch.from_pylist([values for _, values in mine], schema=schema)
        shuffle.write(batch, pa.array([part for part, _ in mine], pa.int64()).to_numpy())
    return {}


def passes_in(folder) -> Passes:
    return Passes(
        artifact="web-unique", directory=str(folder / "output"), executor=Local(), resume_command="eyas build web"
    )


def shuffled(passes, kind, schema, rows, num_parts) -> tuple[str, ...]:
    work = partial(write_shuffle, kind=kind, schema=schema, rows=rows, num_parts=num_parts)
    return tuple(commit.path(kind, SUFFIX) for commit in passes.run(kind, work, number_buckets(2)))


def text_of(number: int) -> str:
    """Ten words all texts share, then ten of its own."""
    return " ".join([*(f"shared{i}" for i in range(10)), *(f"own{number}x{i}" for i in range(10))])


# --- when ----------------------------------------------------------------------------------------------------------------


def test_bounds_may_be_reached_but_not_exceeded():
    guard = Guard()
    assert clusters_beyond(guard, [(0, 100_000)], 10_000_000) == []
    (found,) = clusters_beyond(guard, [(0, 100_001)], 100_000_000)
    assert found["bounds"] == {"max_cluster_members": 100_000}
    assert clusters_beyond(guard, [(0, 100)], 10_000) == []
    (found,) = clusters_beyond(guard, [(7, 101)], 10_000)
    assert found == {
        "what": "cluster",
        "cluster": 7,
        "members": 101,
        "share": 0.0101,
        "bounds": {"max_cluster_share": 0.01},
    }
    both = clusters_beyond(guard, [(3, 150_000), (9, 200_000)], 200_000)
    assert [f["cluster"] for f in both] == [9, 3]
    assert set(both[0]["bounds"]) == {"max_cluster_members", "max_cluster_share"}


def test_a_dozen_copies_in_a_small_corpus_are_no_alarm():
    assert clusters_beyond(Guard(), [(0, 99)], 120) == []
    assert len(clusters_beyond(Guard(), [(0, 100)], 120)) == 1
    assert len(clusters_beyond(Guard(min_cluster_members=12), [(0, 12)], 120)) == 1


def test_a_bucket_stops_above_its_share_and_only_from_its_size_on():
    totals = {"source": {"a": 1000, "b": 999}, "language": {"de": 2000}, "length": {"1 KiB": 1000}}
    removed = {"source": {"a": 600, "b": 999}, "language": {"de": 1201}, "length": {"1 KiB": 1000}}
    found = buckets_beyond(Guard(), totals, removed)
    assert [(f["stratum"], f["bucket"]) for f in found] == [("length", "1 KiB"), ("language", "de")]
    assert found[1] == {
        "what": "bucket",
        "stratum": "language",
        "bucket": "de",
        "documents": 2000,
        "removed": 1201,
        "share": 0.6005,
        "bounds": {"max_removed_share": 0.6},
    }
    assert buckets_beyond(Guard(), totals, {}) == []


@pytest.mark.parametrize("share", [0.57, 0.29, 0.07, 0.6, 1.0])
def test_a_share_that_is_exactly_the_bound_goes_on(share):
    totals, removed = {"source": {"a": 1000}}, {"source": {"a": round(1000 * share)}}
    assert buckets_beyond(Guard(max_removed_share=share), totals, removed) == []


@given(
    st.lists(st.integers(2, 10**9), min_size=1, max_size=20),
    st.integers(1, 10**9),
    st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, 1)), max_size=8),
)
def test_the_flags_named_let_the_build_go_on(sizes, num_documents, buckets):
    top = [(i, min(size, num_documents)) for i, size in enumerate(sizes) if min(size, num_documents) > 1]
    totals = {"source": {str(i): documents for i, (documents, _) in enumerate(buckets)}}
    removed = {"source": {str(i): int(documents * share) for i, (documents, share) in enumerate(buckets)}}
    found = clusters_beyond(Guard(), top, num_documents)
    assert clusters_beyond(Guard(**loosened(found)), top, num_documents) == []
    found = buckets_beyond(Guard(), totals, removed)
    assert buckets_beyond(Guard(**loosened(found)), totals, removed) == []
    assert flags_of(loosened(found)).count("--") == len(loosened(found))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_removed_share", 1.1),
        ("max_removed_share", float("nan")),
        ("max_cluster_share", -0.1),
        ("max_cluster_members", 1),
        ("max_cluster_members", 2.5),
        ("min_stratum_documents", 0),
        ("min_cluster_members", True),
    ],
)
def test_bounds_that_cannot_be_are_refused(name, value):
    with pytest.raises(ConfigError, match=rf"^{name} = .* is the default$"):
        Guard(**{name: value})


def test_the_guard_is_no_part_of_identity():
    assert fingerprint(Guard()) == fingerprint(Guard(enabled=False, max_removed_share=0.9))


# --- what it says --------------------------------------------------------------------------------------------------------


def test_the_message_on_a_cluster_shows_three_true_pairs_and_the_way_on(tmp_path):
    parts = [[row(f"d{part}-{i}", text_of(100 * part + i), source="web") for i in range(40)] for part in range(3)]
    numbered = number_parts([write_input(tmp_path, parts)])
    passes = passes_in(tmp_path)
    rows = [(p, {"row": r, "cluster": 5, "cluster_size": 105}) for p in range(3) for r in range(5, 40)]
    rows += [(2, {"row": 3, "cluster": 2, "cluster_size": 2}), (0, {"row": 2, "cluster": 2, "cluster_size": 2})]
    members = shuffled(passes, "members", MEMBER, rows, 3)
    with pytest.raises(GuardStopped) as stopped:
        check_clusters(
            Guard(),
            {"top": [[5, 105], [2, 2]]},
            120,
            parts=numbered,
            members=members,
            shingle_size=5,
            passes=passes,
        )
    said = str(stopped.value)
    assert isinstance(stopped.value, UserError)
    assert stopped.value.exit_code == 2
    assert "web-unique:" in said
    assert "a cluster of 105 documents, 87.5% of the corpus: more than max_cluster_share = 0.01" in said
    assert "add --max-cluster-share 0.88 (or --no-guard)" in said
    assert "guard=Guard(max_cluster_share=0.88)" in said
    assert said.endswith("To go on although: eyas build web --max-cluster-share 0.88")
    measured = true_jaccard(text_of(1), text_of(2))
    assert said.count(f"similarity {measured:.3f}") == 3
    shown = [line.strip().partition(":")[0] for line in said.splitlines() if line.startswith("     web/")]
    assert len(set(shown)) == 6
    assert {name.partition("-")[0] for name in shown} == {"web/d0", "web/d1", "web/d2"}
    assert not {"web/d0-2", "web/d2-3"} & set(shown), "of another cluster"


def test_a_cluster_of_one_part_of_many_is_found(tmp_path):
    parts = [[row(f"d{part}-{i}", text_of(100 * part + i)) for i in range(3)] for part in range(30)]
    numbered = number_parts([write_input(tmp_path, parts)])
    passes = passes_in(tmp_path)
    rows = [(p, {"row": 1, "cluster": 3 * 17 + 1, "cluster_size": 3}) for p in (17, 23, 28)]
    members = shuffled(passes, "members", MEMBER, rows, 30)
    guard = Guard(max_cluster_members=2)
    with pytest.raises(GuardStopped) as stopped:
        check_clusters(guard, {"top": [[52, 3]]}, 90, parts=numbered, members=members, shingle_size=5, passes=passes)
    said = str(stopped.value)
    assert all(f"s/d{p}-1:" in said for p in (17, 23, 28))
    assert said.count(". similarity") == 3
    assert "add --max-cluster-members 3 " in said


def test_members_of_an_earlier_release_are_named_without_their_text(tmp_path):
    documents = number_parts([write_input(tmp_path, [[row("new", text_of(1)), row("newer", text_of(2))]])])
    index = tmp_path / "index.parquet"
    pq.write_table(pa.table({"source": ["s"], "id": ["old"], "set_size": [9]}), index)
    parts = [*documents, NumberedPart(name="index", uri=str(index), number=1, first=2, rows=1)]
    passes = passes_in(tmp_path)
    rows = [(p, {"row": r, "cluster": 0, "cluster_size": 3}) for p, r in ((0, 0), (0, 1), (1, 0))]
    members = shuffled(passes, "members", MEMBER, rows, 2)
    with pytest.raises(GuardStopped) as stopped:
        check_clusters(
            Guard(max_cluster_members=2),
            {"top": [[0, 3]]},
            3,
            parts=parts,
            members=members,
            shingle_size=5,
            passes=passes,
        )
    said = str(stopped.value)
    assert said.count("similarity not measured") == 2
    assert said.count(". similarity 0.") == 1
    assert "s/old (its text is in an earlier release)" in said


def removed_corpus(tmp_path, *, hostile: str = ""):
    """Three parts of English and German documents; all German ones but the first of each part are to be dropped."""
    parts, verdicts = [], []
    for part in range(3):
        rows = []
        for i in range(60):
            language = "de" if i % 2 else "en"
            rows.append(row(f"{language}{part}-{i}", text_of(i) + hostile, source="web", language=language))
            if language == "de" and i > 1:
                keeper = {"keeper_source": "web", "keeper_id": f"de{part}-1", "keeper_part": part, "keeper_row": 1}
                verdicts.append((part, {"row": i, "similarity": 0.9, "by_sketch": False, **keeper}))
            else:
                verdicts.append((part, {"row": i}))
        parts.append(rows)
    built = write_input(tmp_path, parts, extra=[LANGUAGE])
    numbered = number_parts([built])
    totals, removed = {}, {"language": {"de": 87}, "source": {"web": 87}, "length": {"256 B": 0}}
    for part, rows in zip(numbered, parts, strict=True):
        batch = pa.RecordBatch.from_pylist(rows, schema=pa.schema([("source", "string"), ("text", "string"), LANGUAGE]))
        totals[part.name] = count_strata(strata_of(batch))
    passes = passes_in(tmp_path)
    return numbered, totals, removed, shuffled(passes, "verdicts", VERDICT, verdicts, 3), passes


def test_the_message_on_a_bucket_shows_documents_of_it_with_their_keepers(tmp_path):
    parts, totals, removed, verdicts, passes = removed_corpus(tmp_path)
    with pytest.raises(GuardStopped) as stopped:
        check_removed(Guard(min_stratum_documents=50), totals, removed, parts=parts, verdicts=verdicts, passes=passes)
    said = str(stopped.value)
    assert "language de: 87 of 90 documents (96.7%), more than max_removed_share = 0.6" in said
    assert "source web" not in said
    assert "add --max-removed-share 0.97 (or --no-guard)" in said
    lines = [line.strip() for line in said.splitlines() if line.startswith("     web/")]
    assert len(lines) == 6
    dropped, keepers = lines[::2], lines[1::2]
    assert all(line.startswith("web/de") and "-1:" not in line for line in dropped)
    assert {line.partition(":")[0] for line in keepers} == {"web/de0-1", "web/de1-1", "web/de2-1"}
    assert said.count("similarity 0.900") == 3


def test_a_build_within_its_bounds_goes_on_and_says_what_the_defaults_would_have_stopped(tmp_path):
    parts, totals, removed, verdicts, passes = removed_corpus(tmp_path)
    guarded = partial(check_removed, removed=removed, parts=parts, verdicts=verdicts, passes=passes)
    assert guarded(Guard(), totals) == []
    many = {
        name: {s: {b: 100 * n for b, n in of.items()} for s, of in counts.items()} for name, counts in totals.items()
    }
    lost = {"language": {"de": 8700}}
    (noted,) = check_removed(Guard(max_removed_share=0.99), many, lost, parts=parts, verdicts=verdicts, passes=passes)
    assert (noted["bucket"], noted["removed"], noted["bounds"]) == ("de", 8700, {"max_removed_share": 0.6})
    assert check_removed(Guard(enabled=False), many, lost, parts=parts, verdicts=verdicts, passes=passes) == [noted]
    with pytest.raises(GuardStopped):
        check_removed(Guard(), many, lost, parts=parts, verdicts=verdicts, passes=passes)


@pytest.mark.parametrize("place", [(None, None), (1, 0)])
def test_a_keeper_of_an_earlier_release_is_named_without_its_text(tmp_path, place):
    built = write_input(tmp_path, [[row("new", text_of(1), source="web")]])
    (part,) = number_parts([built])
    passes = passes_in(tmp_path)
    keeper = {"keeper_source": "web", "keeper_id": "old", "keeper_part": place[0], "keeper_row": place[1]}
    verdict = {"row": 0, "similarity": 0.875, "by_sketch": True, **keeper}
    verdicts = shuffled(passes, "verdicts", VERDICT, [(0, verdict)], 1)
    totals = {part.name: {"source": {"web": 1}}}
    with pytest.raises(GuardStopped) as stopped:
        check_removed(
            Guard(min_stratum_documents=1),
            totals,
            {"source": {"web": 1}},
            parts=[part],
            verdicts=verdicts,
            passes=passes,
        )
    assert "similarity 0.875, estimated from a sketch" in str(stopped.value)
    assert "web/old (its text is in an earlier release)" in str(stopped.value)


def test_hostile_text_cannot_steer_the_terminal_or_flood_it(tmp_path):
    hostile = "\x1b[2J\r\n\u202e\u2066\x9b" + "x" * 100_000
    parts, totals, removed, verdicts, passes = removed_corpus(tmp_path, hostile=hostile)
    with pytest.raises(GuardStopped) as stopped:
        check_removed(Guard(min_stratum_documents=50), totals, removed, parts=parts, verdicts=verdicts, passes=passes)
    said = str(stopped.value)
    assert not any(c in said for c in "\x1b\r\u202e\u2066\x9b")
    assert len(said) < 4000


@given(st.text(max_size=400))
def test_an_excerpt_is_short_on_one_line_and_printable(text):
    shown = escaped(text)
    assert len(shown) <= EXCERPT
    assert shown.replace("\u200c", "").replace("\u200d", "").isprintable()
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in shown)
    shown.encode()  # no half of a pair of surrogates is left
