"""Near dedup: who is dropped for whom, held to true Jaccard recomputed from the text by an oracle of plain Python sets."""

import json
import random
from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.artifact import Source, build
from pipelines.counting import add_counts, check_conservation
from pipelines.errors import ConfigError, GuardStopped, InputError
from pipelines.executors.local import Local
from pipelines.fingerprint import fingerprint
from pipelines.kernels.minhash import MinHashConfig, candidate_probability
from pipelines.makers.exact_dedup import dedup_exact
from pipelines.makers.near.guard import Guard
from pipelines.makers.near_dedup import NearDedup, dedup_near
from pipelines.makers.process import process
from pipelines.makers.shuffle import read_bucket
from pipelines.pipeline import Pipeline
from tests.dedup import VOCABULARY, row, run_maker, shingle_set, similarity, true_jaccard, write_input, write_text

SCORE = pa.field("score", pa.float64())
# 40 bands of 2 rows: a pair of similarity 0.5 is missed once in 100,000 times, so outcomes below are those of the rule
SURE = MinHashConfig(num_perm=80, num_bands=40, rows_per_band=2)


@dataclass(frozen=True, kw_only=True)
class AsIs:
    """A stage that changes nothing, since a pipeline has at least one."""

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch


def edited(rng: random.Random, choices: list[int], changes: int) -> list[int]:
    """The same word numbers with `changes` of them replaced, far apart so that each spoils five shingles."""
    found = list(choices)
    for at in rng.sample(range(5, len(choices) - 5, 10), changes):
        found[at] = 225 + rng.randrange(1000)
    return found


def numbered(choices: list[int]) -> str:
    return " ".join(f"w{c}" for c in choices)


def corpus(seed: int, families: int) -> list[dict]:
    """Families of one original and three edits in seven scripts, and as many loners."""
    rng = random.Random(seed)
    languages = list(VOCABULARY)
    rows = []
    for family in range(families):
        language = languages[family % len(languages)]
        original = [rng.randrange(225) for _ in range(150)]
        for copy, changes in enumerate((0, 1, 3, 8)):
            text = write_text(language, edited(rng, original, changes))
            rows.append(row(f"{language}-{family:03d}-{copy}", text, score=float(rng.randrange(3))))
        rows.append(row(f"loner-{family:03d}", write_text(language, [rng.randrange(225) for _ in range(100)])))
    rng.shuffle(rows)
    return rows


def check_drops(result, rows, min_jaccard: float) -> Counter:
    """Every drop is right: its keeper is kept, is the preferred one, and is as similar as it says, by the oracle."""
    sets = {r["id"]: shingle_set(r["text"]) for r in rows}
    kept = {document for _, document in result.kept()}
    found = Counter()
    for dropped in result.rows("dropped"):
        measured = similarity(sets[dropped["id"]], sets[dropped["keeper_id"]])
        assert dropped["keeper_id"] in kept
        assert dropped["similarity"] == measured >= min_jaccard
        assert dropped["reason"] == "near_duplicate"
        found[dropped["keeper_id"]] += 1
    assert len(kept) + found.total() == len(rows)
    return found


def test_planted_near_duplicates_in_every_script(tmp_path):
    rows = corpus(1, 70)
    built = write_input(tmp_path, [rows[:100], rows[100:101], rows[101:]], [SCORE])
    result = run_maker(NearDedup(), tmp_path, built)
    check_drops(result, rows, 0.8)
    sets = {r["id"]: shingle_set(r["text"]) for r in rows}
    kept = {document for _, document in result.kept()}
    pairs = [(a, b) for a, b in combinations(sorted(sets), 2) if similarity(sets[a], sets[b]) >= 0.85]
    missed = [(a, b) for a, b in pairs if a in kept and b in kept]
    near = len(pairs)
    assert near >= 100, "the corpus must have pairs for this to say anything"
    # what LSH may miss: at 0.85 and above it finds at least 98.8%; 3 standard errors on top
    expected = (1 - candidate_probability(0.85, MinHashConfig())) * near
    assert len(missed) <= expected + 3 * expected**0.5
    assert {d["id"].split("-")[0] for d in result.rows("dropped")} == set(VOCABULARY)
    assert not any(d["id"].startswith("loner") for d in result.rows("dropped"))


@pytest.mark.parametrize("min_jaccard", [0.5, 0.8, 0.95, 1.0])
def test_drops_are_those_of_the_rule_over_all_pairs(tmp_path, min_jaccard):
    """With an LSH that misses nothing, the outcome is the oracle's: in order of id, dropped for the first kept like it."""
    rows = corpus(2, 21)
    sets = {r["id"]: shingle_set(r["text"]) for r in rows}
    expected: dict[str, str] = {}
    for document in sorted(sets):
        for keeper in sorted(sets):
            if keeper == document:
                break
            if keeper not in expected and similarity(sets[keeper], sets[document]) >= min_jaccard:
                expected[document] = keeper
                break
    built = write_input(tmp_path, [rows[::2], rows[1::2]], [SCORE])
    result = run_maker(NearDedup(config=SURE, min_jaccard=min_jaccard), tmp_path, built)
    assert result.keepers() == expected
    check_drops(result, rows, min_jaccard)


def test_a_chain_keeps_what_is_unlike_its_keeper(tmp_path):
    """a~b~c are one cluster, a and c are unlike: electing a keeps c, electing b drops both."""
    words = list(range(100))
    a, b = words, [*range(1000, 1008), *words[8:]]
    c = [*b[:92], *range(2000, 2008)]
    texts = {"a": numbered(a), "b": numbered(b), "c": numbered(c)}
    assert true_jaccard(texts["a"], texts["b"]) >= 0.8 > true_jaccard(texts["a"], texts["c"])
    assert true_jaccard(texts["b"], texts["c"]) >= 0.8
    scores = {"a": 1.0, "b": 2.0, "c": 1.0}
    built = write_input(tmp_path, [[row(k, t, score=scores[k]) for k, t in texts.items()]], [SCORE])
    by_id = run_maker(NearDedup(config=SURE), tmp_path / "id", built)
    assert by_id.keepers() == {"b": "a"}
    by_score = run_maker(NearDedup(config=SURE, prefer=(("score", "max"),)), tmp_path / "score", built)
    assert by_score.keepers() == {"a": "b", "c": "b"}
    members = {r["id"]: r for r in by_id.rows("clusters")}
    assert {r["cluster_size"] for r in members.values()} == {3}
    assert len({r["cluster"] for r in members.values()}) == 1
    assert [members[k]["kept"] for k in "abc"] == [True, False, True]
    counts = {r["id"]: r["duplicate_count"] for r in by_id.rows("signals")}
    assert counts == {"a": 2, "b": 2, "c": 1}


def test_without_verification_the_whole_cluster_goes_and_says_so(tmp_path):
    words = list(range(100))
    b = [*range(1000, 1008), *words[8:]]
    texts = [numbered(words), numbered(b), numbered([*b[:92], *range(2000, 2008)]), "quite another text than those"]
    built = write_input(tmp_path, [[row(str(i), t) for i, t in enumerate(texts)]])
    result = run_maker(NearDedup(config=SURE, verify=False), tmp_path, built)
    assert result.keepers() == {"1": "0", "2": "0"}
    assert {(r["reason"], r["similarity"]) for r in result.rows("dropped")} == {("near_duplicate_unverified", None)}
    assert result.passes.notes["near_dedup"]["verified"] is False


def test_short_empty_and_wordless_documents(tmp_path):
    """Under five words a document is compared whole; without a word it is nobody's duplicate."""
    texts = [
        "Hello, world!",
        "hello world",
        "hello world again",
        "",
        "",
        "!!! ???",
        "...",
        "漢字",
        "漢字。",
        "漢",
        "42",
        "42.",
    ]
    built = write_input(tmp_path, [[row(f"{i:02d}", t) for i, t in enumerate(texts)]])
    result = run_maker(NearDedup(), tmp_path, built)
    assert result.keepers() == {"01": "00", "04": "03", "08": "07", "11": "10"}
    assert {d["id"]: d["reason"] for d in result.rows("dropped")}["04"] == "exact_duplicate"
    assert result.passes.notes["near_dedup"]["documents_without_words"] == 3
    alone = run_maker(NearDedup(remove_exact=False), tmp_path / "near", built)
    assert alone.keepers() == {"01": "00", "08": "07", "11": "10"}
    assert alone.passes.notes["near_dedup"]["documents_without_words"] == 4


def test_a_giant_document_and_its_near_copy(tmp_path):
    rng = random.Random(4)
    words = [rng.randrange(10**6) for _ in range(400_000)]
    changed = list(words)
    changed[::100] = range(2_000_000, 2_004_000)
    rows = [row("giant", numbered(words)), row("copy", numbered(changed)), row("small", numbered(words[:300]))]
    result = run_maker(NearDedup(), tmp_path, write_input(tmp_path, [rows]))
    assert result.keepers() == {"giant": "copy"}
    (dropped,) = result.rows("dropped")
    assert dropped["similarity"] == true_jaccard(rows[0]["text"], rows[1]["text"])


def test_identical_documents_leave_one(tmp_path):
    text = write_text("en", list(range(100)))
    parts = [[row(f"{p}-{i:04d}", text) for i in range(1000)] for p in "ba"]
    built = write_input(tmp_path, parts)
    for remove_exact, largest, reason in ((True, 0, "exact_duplicate"), (False, 2000, "near_duplicate")):
        maker = NearDedup(remove_exact=remove_exact, guard=Guard(enabled=False))
        result = run_maker(maker, tmp_path / reason, built)
        assert result.kept() == {("s", "a-0000")}
        assert {(r["similarity"], r["reason"]) for r in result.rows("dropped")} == {(1.0, reason)}
        assert result.passes.notes["near_dedup"]["largest_cluster"] == largest
        kept = [s for s in result.rows("signals") if not s[f"is_{reason}"]]
        assert [s["duplicate_count"] for s in kept] == [2000]


def test_boilerplate_joins_documents_but_drops_none(tmp_path):
    """600 pages whose first half is one text: bands join them, similarity is a third, all stay; edges stay few."""
    rng = random.Random(5)
    boilerplate = list(range(100))
    rows = [
        row(f"{i:03d}", numbered(boilerplate + [1000 + rng.randrange(10**6) for _ in range(100)])) for i in range(600)
    ]
    maker = NearDedup(config=SURE, min_jaccard=0.6)
    built = write_input(tmp_path, [rows])
    with pytest.raises(GuardStopped, match=r"a cluster of 6\d\d documents, .* more than max_cluster_share = 0.01"):
        run_maker(maker, tmp_path, built)
    result = run_maker(replace(maker, guard=Guard(enabled=False)), tmp_path, built)
    assert result.keepers() == {}
    assert result.passes.notes["near_dedup"]["guard"][0]["what"] == "cluster"
    notes = result.passes.notes["near_dedup"]
    assert notes["largest_cluster"] > 500
    assert notes["documents_of_largest_key"] > 200


def test_order_parts_and_workers_have_no_influence(tmp_path):
    rows = corpus(6, 14)
    for position, prefer in enumerate(((), (("score", "max"), ("num_bytes", "min")))):
        expected = None
        for trial in range(4):
            rng = random.Random(trial)
            rng.shuffle(rows)
            cuts = sorted(rng.randrange(len(rows)) for _ in range(trial * 2))
            parts = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
            folder = tmp_path / f"{position}-{trial}"
            result = run_maker(NearDedup(prefer=prefer), folder, write_input(folder, parts, [SCORE]))
            clusters = {r["id"]: (r["cluster"], r["cluster_size"], r["similarity"]) for r in result.rows("clusters")}
            found = (result.kept(), result.keepers(), clusters)
            assert expected is None or found == expected
            expected = found
        assert expected[1]


def test_two_workers_write_the_same_bytes(tmp_path):
    rows = corpus(7, 10)
    built = write_input(tmp_path, [rows[:5], rows[5:30], rows[30:]], [SCORE])
    one = run_maker(NearDedup(), tmp_path / "one", built)
    two = run_maker(NearDedup(), tmp_path / "two", built, executor=Local(workers=2))
    assert one.files() == two.files()
    assert one.keepers()


def test_outputs_and_conservation(tmp_path):
    rows = corpus(8, 14)
    built = write_input(tmp_path, [rows[:30], [], rows[30:]], [SCORE])
    result = run_maker(NearDedup(dropped_text="all"), tmp_path, built)
    texts = {r["id"]: r["text"] for r in rows}
    assert all(r["text"] == texts[r["id"]] for kind in ("kept", "dropped") for r in result.rows(kind))
    assert [r["id"] for r in result.rows("signals")] == [r["id"] for r in rows]
    counts = {}
    for commit in result.passes.committed:
        counts = add_counts(counts, commit.counts)
    check_conservation(counts, where="test")
    assert counts["dropped"] == {"near_dedup/near_duplicate": len(result.rows("dropped"))}
    signals = {r["id"]: r for r in result.rows("signals")}
    for dropped in result.rows("dropped"):
        signal = signals[dropped["id"]]
        assert signal["is_near_duplicate"]
        assert signal["keeper_similarity"] == dropped["similarity"]
        assert signal["duplicate_count"] == signals[dropped["keeper_id"]]["duplicate_count"] > 1
    kept_counts = [s["duplicate_count"] for s in signals.values() if not s["is_near_duplicate"]]
    assert sum(kept_counts) == len(rows), "each document is stood for exactly once"
    schemas = {pq.read_schema(p).remove_metadata() for p in (result.directory / "kept").iterdir()}
    assert len(schemas) == 1
    assert schemas.pop().names == [*pq.read_schema(tmp_path / "input/kept/part-000.parquet").names]


def test_only_candidates_are_read_again(tmp_path):
    """Shingle sets are made of members of clusters and of no other document."""
    rows = corpus(9, 14)
    built = write_input(tmp_path, [rows], [SCORE])
    result = run_maker(NearDedup(), tmp_path, built)
    members = {r["id"] for r in result.rows("clusters")}
    (path,) = (result.directory / "work" / "shingles" / "shingles").iterdir()
    table = read_bucket([str(path)], 0, num_buckets=1)
    assert set(table.column("id").to_pylist()) == members
    texts = {r["id"]: r["text"] for r in rows}
    sizes = dict(zip(table.column("id").to_pylist(), map(len, table.column("shingles").to_pylist()), strict=True))
    assert sizes == {document: len(shingle_set(texts[document])) for document in members}


def test_bad_configuration_and_input_are_refused(tmp_path):
    for wrong in (0.0, -0.1, 1.01, float("nan")):
        with pytest.raises(ConfigError, match="min_jaccard"):
            NearDedup(min_jaccard=wrong)
    with pytest.raises(ConfigError, match="dropped_text"):
        NearDedup(dropped_text="some")
    built = write_input(tmp_path, [[row("a", "x"), row("b", "y")]])
    with pytest.raises(ConfigError, match="num_earlier = 1 of 1 inputs: give new documents before them"):
        run_maker(NearDedup(num_earlier=1), tmp_path / "none", built)
    with pytest.raises(InputError, match="prefer names the column 'quality'"):
        run_maker(NearDedup(prefer=(("quality", "max"),)), tmp_path / "absent", built)


def test_every_field_is_identity():
    makers = [
        NearDedup(),
        NearDedup(min_jaccard=0.9),
        NearDedup(verify=False),
        NearDedup(prefer=(("score", "max"),)),
        NearDedup(config=MinHashConfig(seed=2)),
        NearDedup(config=MinHashConfig(shingle_size=4)),
        NearDedup(config=MinHashConfig(num_bands=7, rows_per_band=16)),
        NearDedup(remove_exact=False),
        NearDedup(certify=None),
        NearDedup(num_earlier=1),
    ]
    assert len({fingerprint(maker) for maker in makers}) == len(makers)
    assert fingerprint(NearDedup(guard=Guard(enabled=False))) == fingerprint(NearDedup())


def test_built_from_files_by_the_engine(tmp_path):
    """JSONL to `process` to `dedup_exact` to `dedup_near`: one build, conserved at every step, made once."""
    rng = random.Random(10)
    original = [rng.randrange(225) for _ in range(150)]
    texts = {
        "original": write_text("en", original),
        "copy": write_text("en", original) + "\n",
        "edited": write_text("en", edited(rng, original, 2)),
        "other": write_text("en", [rng.randrange(225) for _ in range(150)]),
    }
    lines = [json.dumps({"id": name, "text": text}) for name, text in texts.items()]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    source = Source(name="pages", inputs=(str(tmp_path / "in.jsonl"),))
    documents = process(source, through=Pipeline(name="plain", stages=(AsIs(),)))
    artifact = dedup_near(dedup_exact(documents, prefer=(("num_bytes", "min"),)), prefer=(("num_bytes", "max"),))
    manifest = build(artifact, root=str(tmp_path / "root"))
    assert manifest["counts"]["documents"] == 3
    assert manifest["counts"]["dropped"] == {"near_dedup/near_duplicate": 1}
    assert manifest["notes"]["near_dedup"]["clusters"] == 1
    assert [(rule["stage"], rule["reason"], rule["signal"]) for rule in manifest["rules"]] == [
        ("near_dedup", "exact_duplicate", "is_exact_duplicate"),
        ("near_dedup", "near_duplicate", "is_near_duplicate"),
    ]
    assert [entry["name"] for entry in manifest["inputs"]] == ["pages-plain-exact"]
    assert build(artifact, root=str(tmp_path / "root")) == manifest
    (directory,) = (tmp_path / "root" / "pages-plain-exact-near").iterdir()
    assert not (directory / "work").exists()
    kept = {r["text"].strip() for p in (directory / "kept").iterdir() for r in pq.read_table(p).to_pylist()}
    assert len(kept) == 2
    assert texts["other"] in kept


def test_copies_follow_their_keeper(tmp_path):
    """Exact duplicates of what near dedup drops are dropped for the document that is kept, and count for it."""
    words = list(range(100))
    like = [*words[:96], *range(1000, 1004)]
    rows = [
        row("a", numbered(words)),
        row("b", numbered(like)),
        row("c", numbered(like) + " "),
        row("d", numbered(like)),
    ]
    rows += [row("e", numbered(words)), row("x", "another text"), row("y", "another  text")]
    built = write_input(tmp_path, [rows[3:], rows[:3]])
    result = run_maker(NearDedup(config=SURE), tmp_path, built)
    dropped = {r["id"]: r for r in result.rows("dropped")}
    assert {name: (r["keeper_id"], r["reason"]) for name, r in dropped.items()} == {
        "b": ("a", "near_duplicate"),
        "c": ("a", "exact_duplicate"),
        "d": ("a", "exact_duplicate"),
        "e": ("a", "exact_duplicate"),
        "y": ("x", "exact_duplicate"),
    }
    near = true_jaccard(rows[0]["text"], rows[1]["text"])
    assert {name: r["similarity"] for name, r in dropped.items()} == {
        "b": near,
        "c": near,
        "d": near,
        "e": 1.0,
        "y": 1.0,
    }
    assert not any(r["by_sketch"] for r in dropped.values())
    signals = {r["id"]: r for r in result.rows("signals")}
    assert {name: s["duplicate_count"] for name, s in signals.items()} == dict.fromkeys("abcde", 5) | {"x": 2, "y": 2}
    assert result.passes.notes["near_dedup"]["exact_duplicates"] == 4


def test_no_document_at_all_is_certified_too(tmp_path):
    result = run_maker(NearDedup(), tmp_path, write_input(tmp_path, [[], []]))
    assert (result.kept(), result.rows("dropped")) == (set(), [])
    certificate = json.loads(result.passes.get("certificate.json"))
    assert certificate["recall"]["num_queries"] == certificate["precision"]["num_compared"] == 0
    assert [entry["estimate"] for entry in certificate["recall"]["at"]] == [None, None]


def test_a_source_that_vanishes_behind_its_copies_stops_the_build(tmp_path):
    """600 texts of one source, twice each, all like a document of another: the copies follow, and count."""
    rng = random.Random(8)
    rows = []
    for i in range(600):
        words = [rng.randrange(10**6) for _ in range(60)]
        rows.append(row(f"a-{i:03d}", numbered(words), source="a-big"))
        like = numbered([*words[:-1], 10**7])
        rows += [row(f"b-{i:03d}-{copy}", like + " " * copy, source="b-lost") for copy in range(2)]
    built = write_input(tmp_path, [rows[:900], rows[900:]])
    with pytest.raises(GuardStopped, match=r"b-lost.* 1,200"):
        run_maker(NearDedup(config=SURE), tmp_path / "stopped", built)
    result = run_maker(NearDedup(config=SURE, guard=Guard(enabled=False)), tmp_path / "loosened", built)
    assert {source for source, _ in result.kept()} == {"a-big"}
    (finding, *_) = result.passes.notes["near_dedup"]["guard"]
    assert finding["removed"] == 1200


def test_a_mark_that_folds_to_a_letter_is_that_letter(tmp_path):
    """U+0345 folds to iota: both spellings have the same shingles."""
    words = [f"λόγος{i}" for i in range(40)]
    texts = [" ".join([*words[:20], "τω" + end, *words[20:]]) for end in ("\u0345", "\u03b9")]
    built = write_input(tmp_path, [[row("a", texts[0]), row("b", texts[1])]])
    (dropped,) = run_maker(NearDedup(config=SURE), tmp_path, built).rows("dropped")
    assert dropped["similarity"] == true_jaccard(*texts) == 1.0
