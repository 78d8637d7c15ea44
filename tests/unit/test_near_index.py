"""The index of a release, and near dedup of a new crawl against it: what it promises, held to true Jaccard from the text."""

import json
import random
import shutil
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifact import Artifact, Built, Existing, Source, build, open_artifact
from pipelines.cli import main
from pipelines.errors import ConfigError, InputError, ShardsFailed
from pipelines.executors.local import Local
from pipelines.fingerprint import fingerprint, identity
from pipelines.kernels.minhash import MinHashConfig, candidate_probability, signatures_of_texts
from pipelines.kernels.shingles import shingle_sets
from pipelines.makers.near.candidates import sign_part
from pipelines.makers.near.index import (
    PIECE_BYTES,
    first_values,
    gather_index_members,
    number_index,
    pieces_of,
    sign_index_part,
    signatures_of_index,
    sketch_error,
    smallest_sketch,
)
from pipelines.makers.near_dedup import NearDedup, dedup_near
from pipelines.makers.near_index import NearIndex, index_near
from pipelines.makers.outcome import NumberedPart, number_parts
from pipelines.makers.process import process
from pipelines.makers.shuffle import SUFFIX, ShuffleWriter, read_bucket
from pipelines.passes import Passes
from pipelines.pipeline import Pipeline
from tests.dedup import VOCABULARY, row, run_maker, shingle_set, similarity, write_input, write_text

# 40 bands of 2 rows: a pair of similarity 0.5 is missed once in 100,000 times, so outcomes below are those of the rule
SURE = MinHashConfig(num_perm=80, num_bands=40, rows_per_band=2)
LANGUAGE = pa.field("language", pa.string())


@dataclass(frozen=True, kw_only=True)
class AsIs:
    """A stage that changes nothing, since a pipeline has at least one."""

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch


def numbered(choices) -> str:
    return " ".join(f"w{c}" for c in choices)


def documents_in_scripts(seed: int) -> list[dict]:
    rng = random.Random(seed)
    rows = []
    for i, language in enumerate(VOCABULARY):
        choices = [rng.randrange(225) for _ in range(40 * (i + 1))]
        rows.append(row(f"{language}-long", write_text(language, choices), language=language))
        rows.append(row(f"{language}-again", write_text(language, choices * 3), language=language))
        rows.append(row(f"{language}-short", write_text(language, choices[:2]), language=language))
        rows.append(row(f"{language}-none", "!? …" * i, language=language))
    rng.shuffle(rows)
    return rows


def built_index(folder: Path, rows, name="release", **options) -> Built:
    """An index as a build leaves it, made straight from rows."""
    maker = NearIndex(**options)
    result = run_maker(maker, folder / name, write_input(folder / name, [rows[::2], rows[1::2]], [LANGUAGE]))
    entries = [
        {"path": file.path, "shard": commit.shard, "rows": file.rows}
        for commit in result.passes.committed
        for file in commit.files
    ]
    payload = json.loads(json.dumps({"maker": identity(maker), "inputs": [name]}))
    manifest = {"files": entries, "payload": payload}
    return Built(name=f"{name}-index", fingerprint=fingerprint(payload), uri=str(result.directory), manifest=manifest)


def run_pass(folder: Path, name: str, work, shards):
    return Passes(artifact="x", directory=str(folder), executor=Local()).run(name, work, shards)


# --- the rows of an index ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sketch_size", [1, 16, 128, 4096])
def test_rows_are_signature_size_and_smallest_hashes(tmp_path, sketch_size):
    """Against the text: the size by the oracle's sets, the signature as it is made of the text, the sketch by sorting."""
    rows = documents_in_scripts(1)
    maker = NearIndex(sketch_size=sketch_size)
    result = run_maker(maker, tmp_path, write_input(tmp_path, [rows[:9], [], rows[9:]], [LANGUAGE]))
    with_words = [r for r in rows if shingle_set(r["text"])]
    found = result.rows("index")
    assert [(r["source"], r["id"]) for r in found] == [(r["source"], r["id"]) for r in with_words]
    texts = pa.array([r["text"] for r in with_words], pa.large_string())
    signatures, _ = signatures_of_texts(texts, maker.config)
    values, offsets = shingle_sets(texts, maker.config.shingle_size)
    for i, (document, indexed) in enumerate(zip(with_words, found, strict=True)):
        assert indexed["set_size"] == len(shingle_set(document["text"]))
        assert indexed["signature"] == signatures[i].astype("<u4").tobytes()
        assert indexed["sketch"] == sorted(values[offsets[i] : offsets[i + 1]].tolist())[:sketch_size]
    assert {len(r["sketch"]) for r in found} == {min(sketch_size, r["set_size"]) for r in found}


def test_counts_are_those_of_the_release(tmp_path):
    rows = documents_in_scripts(2)
    result = run_maker(NearIndex(), tmp_path, write_input(tmp_path, [rows[:5], rows[5:]], [LANGUAGE]))
    counts = [commit.counts for commit in result.passes.committed]
    wordless = sum(not shingle_set(r["text"]) for r in rows)
    assert wordless == len(VOCABULARY)
    assert sum(c["documents"] for c in counts) == sum(c["kept"] for c in counts) == len(rows)
    assert sum(c["documents_without_words"] for c in counts) == wordless
    assert sum(c["indexed"] for c in counts) == len(result.rows("index")) == len(rows) - wordless
    assert sum(c["shingles"] for c in counts) == sum(len(shingle_set(r["text"])) for r in rows)
    assert sum(c["kept_bytes"] for c in counts) == sum(len(r["text"].encode()) for r in rows)
    assert {name for c in counts for name in c["languages"]} == set(VOCABULARY)
    assert [c["dropped"] for c in counts] == [{}, {}]
    assert not (result.directory / "kept").exists()


def test_a_part_that_lost_rows_is_refused(tmp_path):
    built = write_input(tmp_path, [documents_in_scripts(3)], [LANGUAGE])
    entry = dict(built.manifest["files"][0])
    short = Built(name="x", fingerprint="", uri=built.uri, manifest={"files": [entry | {"rows": entry["rows"] + 1}]})
    with pytest.raises(ShardsFailed, match="build the release again"):
        run_maker(NearIndex(), tmp_path, short)


def test_two_workers_write_the_same_bytes(tmp_path):
    rows = documents_in_scripts(4)
    built = write_input(tmp_path, [rows[:5], rows[5:20], rows[20:]], [LANGUAGE])
    one = run_maker(NearIndex(), tmp_path / "one", built)
    two = run_maker(NearIndex(), tmp_path / "two", built, executor=Local(workers=2))
    assert one.files() == two.files()
    assert one.rows("index")


@given(st.lists(st.text(max_size=12), max_size=20), st.integers(1, 30))
def test_pieces_are_the_batch_in_bounded_runs(texts, most):
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    pieces = list(pieces_of(batch, most))
    assert [t for piece in pieces for t in piece.column("text").to_pylist()] == texts
    for piece in pieces:
        size = sum(len(t.encode()) for t in piece.column("text").to_pylist())
        assert size <= most or piece.num_rows == 1


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=9), max_size=9), st.integers(0, 10))
def test_first_values_are_slices(lists, most):
    values = np.array([v for one in lists for v in one], np.uint64)
    offsets = np.cumsum([0, *map(len, lists)])
    found, lengths = first_values(values, offsets, most)
    assert found.tolist() == [v for one in lists for v in one[:most]]
    assert lengths.tolist() == [len(one[:most]) for one in lists]


def test_a_giant_document_is_one_row(tmp_path):
    """A document above PIECE_BYTES among small ones: pieces of their own, nothing cut."""
    giant = numbered(range(PIECE_BYTES // 6))
    assert len(giant) > PIECE_BYTES
    rows = [row("a", "one two three"), row("giant", giant), row("b", numbered(range(50)))]
    result = run_maker(NearIndex(sketch_size=64), tmp_path, write_input(tmp_path, [rows]))
    assert [(r["id"], r["set_size"]) for r in result.rows("index")] == [
        ("a", 1), ("giant", PIECE_BYTES // 6 - 4), ("b", 46)
    ]  # fmt: skip


def test_the_stated_error_of_a_sketch_is_what_it_does():
    """Textbook: of the k smallest hashes of the union, those in both are a sample without replacement of share s."""
    rng = np.random.default_rng(5)
    k, size, common = 128, 900, 800
    estimates = []
    for _ in range(2000):
        hashes = rng.integers(0, 2**64, 2 * size - common, np.uint64)
        left, right = np.sort(hashes[:size]), np.sort(hashes[size - common :])
        smallest = np.sort(hashes)[:k]
        both = np.isin(smallest, left[:k]) & np.isin(smallest, right[:k])
        estimates.append(both.mean())
    true = common / (2 * size - common)
    assert abs(np.mean(estimates) - true) < 4 * sketch_error(true, k) / 2000**0.5
    # without replacement, so a little below the stated error
    assert 0.85 * sketch_error(true, k) < np.std(estimates) < 1.05 * sketch_error(true, k)


def test_every_field_is_identity_and_bad_ones_are_refused():
    makers = [NearIndex(), NearIndex(sketch_size=64), NearIndex(config=MinHashConfig(seed=2)), NearIndex(config=SURE)]
    assert len({fingerprint(maker) for maker in makers}) == len(makers)
    for wrong in (0, -1, 1 << 17):
        with pytest.raises(ConfigError, match=f"sketch_size = {wrong}: keep 1 to"):
            NearIndex(sketch_size=wrong)


# --- reading an index -------------------------------------------------------------------------------------------------


def test_keys_of_an_index_are_those_of_the_text(tmp_path):
    rows = documents_in_scripts(6)
    index = built_index(tmp_path, rows, config=SURE)
    parts = number_index((index,), config=SURE, first_number=3, first_ordinal=1000)
    assert [(p.number, p.first) for p in parts] == [(3, 1000), (4, 1000 + parts[0].rows)]
    indexed = [r for i in (0, 1) for r in pq.read_table(parts[i].uri).to_pylist()]
    signed = run_pass(tmp_path / "a", "keys", partial(sign_index_part, config=SURE, num_buckets=4), parts)
    again = number_parts((write_input(tmp_path, [rows], [LANGUAGE], name="again"),))
    texts = run_pass(tmp_path / "b", "keys", partial(sign_part, config=SURE, num_buckets=4), again)

    def keys_by_document(commits, names):
        found = {}
        for bucket in range(4):
            table = read_bucket([c.path("keys", SUFFIX) for c in commits], bucket, num_buckets=4)
            for key, document in zip(
                table.column("key").to_pylist(), table.column("document").to_pylist(), strict=True
            ):
                found.setdefault(names[document], []).append(key)
        return {name: sorted(keys) for name, keys in found.items()}

    from_index = keys_by_document(signed, {1000 + i: r["id"] for i, r in enumerate(indexed)})
    assert from_index == keys_by_document(texts, {i: r["id"] for i, r in enumerate(rows)})
    assert sum(c.counts["released"] for c in signed) == len(indexed)
    assert {len(keys) for keys in from_index.values()} == {SURE.num_bands}


def test_members_are_sketches_of_clusters_with_a_new_document(tmp_path):
    rows = documents_in_scripts(7)
    index = built_index(tmp_path, rows, config=SURE, sketch_size=64)
    num_documents, num_parts = 5, 3
    parts = number_index((index,), config=SURE, first_number=1, first_ordinal=num_documents)
    clusters = pa.schema([("row", pa.int64()), ("cluster", pa.int64()), ("cluster_size", pa.int64())])

    def write_clusters(shard, out):
        with ShuffleWriter(out, "members", clusters, num_buckets=num_parts) as shuffle:
            # of the second index file: rows 1 and 4 with new document 2, rows 3 and 5 with each other alone
            found = {"row": [5, 1, 4, 3], "cluster": [9, 2, 2, 9], "cluster_size": [2, 3, 3, 2]}
            shuffle.write(pa.RecordBatch.from_pydict(found, schema=clusters), np.full(4, 2))
        return {}

    (members,) = run_pass(tmp_path / "c", "members", write_clusters, parts[:1])
    schema = pa.schema(
        [("cluster", pa.int64()), ("cluster_size", pa.int64()), ("source", pa.string()), ("id", pa.string()),
         ("prefer_0", pa.float32()), ("part", pa.int64()), ("row", pa.int64()), ("language", pa.string()),
         ("length", pa.string()), ("released", pa.bool_()), ("set_size", pa.int64()),
         ("shingles", pa.large_list(pa.uint64()))]
    )  # fmt: skip
    work = partial(
        gather_index_members, uris=(members.path("members", SUFFIX),), schema=schema, sketch_size=32,
        num_documents=num_documents, verify=True, num_groups=2, num_parts=num_parts,
    )  # fmt: skip
    commits = run_pass(tmp_path / "c", "shingles", work, parts)
    assert [c.counts for c in commits] == [
        {"members": 0, "released": 0, "shingles": 0},
        {"members": 2, "released": 2, "shingles": commits[1].counts["shingles"]},
    ]
    uris = [c.path("shingles", SUFFIX) for c in commits]
    tables = [read_bucket(uris, bucket, num_buckets=2) for bucket in (0, 1)]
    assert sorted(t.num_rows for t in tables) == [0, 2], "a cluster is in one group"
    assert {t.schema for t in tables} == {schema}
    stored = pq.read_table(parts[1].uri).to_pylist()
    found = sorted(pa.concat_tables(tables).to_pylist(), key=lambda r: r["row"])
    for member, at in zip(found, (1, 4), strict=True):
        assert member | {"cluster": 2, "cluster_size": 3, "part": 2, "row": at, "released": True} == member
        assert (member["prefer_0"], member["language"], member["length"]) == (None, "none", "none")
        assert [member[name] for name in ("source", "id", "set_size")] == [
            stored[at][name] for name in ("source", "id", "set_size")
        ]
        assert member["shingles"] == stored[at]["sketch"][:32]
    unverified = run_pass(tmp_path / "d", "shingles", partial(work, verify=False), parts)
    tables = [read_bucket([c.path("shingles", SUFFIX) for c in unverified], b, num_buckets=2) for b in (0, 1)]
    assert [r["shingles"] for t in tables for r in t.to_pylist()] == [[], []]


def test_several_indexes_are_numbered_on_and_the_smallest_sketch_counts(tmp_path):
    one = built_index(tmp_path, documents_in_scripts(8), name="one", sketch_size=128)
    two = built_index(tmp_path, documents_in_scripts(9), name="two", sketch_size=64)
    parts = number_index((one, two), config=MinHashConfig(), first_number=0, first_ordinal=0)
    assert [p.number for p in parts] == [0, 1, 2, 3]
    assert [p.first for p in parts] == np.cumsum([0, *(p.rows for p in parts)])[:-1].tolist()
    assert len({p.name for p in parts}) == 4
    assert smallest_sketch((one, two)) == 64
    assert smallest_sketch(()) is None
    assert number_index((), config=SURE, first_number=1, first_ordinal=1) == ()


@pytest.mark.parametrize(
    "other",
    [
        MinHashConfig(seed=2),
        MinHashConfig(num_perm=128),
        MinHashConfig(shingle_size=4),
        MinHashConfig(num_bands=7, rows_per_band=16),
    ],
)
def test_another_config_is_refused_and_both_are_named(tmp_path, other):
    index = built_index(tmp_path, documents_in_scripts(10)[:3])
    number_index((index,), config=MinHashConfig(), first_number=0, first_ordinal=0)
    with pytest.raises(ConfigError, match="signatures do not compare") as refused:
        number_index((index,), config=other, first_number=0, first_ordinal=0)
    assert repr(MinHashConfig()) in str(refused.value)
    assert repr(other) in str(refused.value)


def test_what_is_no_index_is_refused(tmp_path):
    index = built_index(tmp_path, documents_in_scripts(11)[:3])
    ask = partial(number_index, config=MinHashConfig(), first_number=0, first_ordinal=0)
    with pytest.raises(ConfigError, match="given twice"):
        ask((index, index))

    def altered(**changes) -> Built:
        maker = index.manifest["payload"]["maker"] | changes
        manifest = dict(index.manifest) | {"payload": {"maker": maker, "inputs": []}}
        return Built(name="web", fingerprint="f" * 64, uri=index.uri, manifest=manifest)

    with pytest.raises(ConfigError, match="web/ffffffffffff was made by NearDedup and is no index"):
        ask((altered(kind="NearDedup"),))
    with pytest.raises(ConfigError, match="index of format 2, this eyas reads format 1"):
        ask((altered(version=2),))
    with pytest.raises(ConfigError, match="is no index"):
        ask((write_input(tmp_path, [[row("a", "x")]]),))


def test_damaged_files_are_found_out(tmp_path):
    with pytest.raises(InputError, match="a signature has not 80 values"):
        signatures_of_index(pa.array([b"x" * 320, b"x" * 319], pa.binary()), 80, where="x")
    with pytest.raises(InputError, match="a signature has not 80 values"):
        signatures_of_index(pa.array([None], pa.binary()), 80, where="x")
    both = pa.array([bytes(320), np.arange(80, dtype="<u4").tobytes()], pa.binary())
    assert signatures_of_index(both.slice(1), 80, where="x").tolist() == [list(range(80))]
    assert signatures_of_index(both.slice(2), 80, where="x").shape == (0, 80)
    index = built_index(tmp_path, documents_in_scripts(12))
    (part, _) = number_index((index,), config=MinHashConfig(), first_number=0, first_ordinal=0)
    longer = NumberedPart(name="x", uri=part.uri, number=0, first=0, rows=part.rows + 1)
    with pytest.raises(ShardsFailed, match="build the index again"):
        run_pass(tmp_path, "keys", partial(sign_index_part, config=MinHashConfig(), num_buckets=1), [longer])


# --- built by the engine ----------------------------------------------------------------------------------------------


def crawl(folder: Path, name: str, rows) -> Artifact:
    """Documents as a release has them before dedup, in two files; their source is `name`."""
    folder.mkdir(exist_ok=True)
    for half in (0, 1):
        lines = [json.dumps({"id": r["id"], "text": r["text"]}) for r in rows[half::2]]
        (folder / f"{name}-{half}.jsonl").write_text("\n".join(lines) + "\n")
    inputs = (str(folder / f"{name}-*.jsonl"),)
    source = Source(name=name, inputs=inputs, reader_fields=(("id_field", "id"),))
    return process(source, through=Pipeline(name="plain", stages=(AsIs(),)))


def texts_of(*crawls) -> dict[tuple[str, str], str]:
    return {(name, r["id"]): r["text"] for name, rows in crawls for r in rows}


class Outcome:
    """What a build of near dedup wrote."""

    def __init__(self, artifact: Artifact, root: Path) -> None:
        self.manifest = build(artifact, root=str(root))
        self.directory = root / artifact.name / self.manifest["fingerprint"][:12]

    def rows(self, kind: str) -> list[dict]:
        return [r for p in sorted((self.directory / kind).glob("*.parquet")) for r in pq.read_table(p).to_pylist()]

    def kept(self) -> set[tuple[str, str]]:
        return {(r["source"], r["id"]) for r in self.rows("kept")}

    def near(self) -> dict[tuple[str, str], dict]:
        """Dropped as near duplicates (not as exact ones), by source and id."""
        return {(r["source"], r["id"]): r for r in self.rows("dropped") if r["reason"] == "near_duplicate"}

    def keepers(self) -> dict[tuple[str, str], tuple[str, str]]:
        return {name: (r["keeper_source"], r["keeper_id"]) for name, r in self.near().items()}

    def files(self) -> dict[str, bytes]:
        return {
            p.relative_to(self.directory).as_posix(): p.read_bytes() for p in self.directory.rglob("*") if p.is_file()
        }


def existing(outcome: Outcome) -> Existing:
    return Existing(uri=str(outcome.directory))


def families(seed: int, num: int, edits=(0, 1, 2, 3, 4, 6, 8)) -> dict[str, list[dict]]:
    """Three crawls. Each family is an original and edits of it, spread over the crawls; loners stand between them."""
    rng = random.Random(seed)
    crawls: dict[str, list[dict]] = {"r1": [], "r2": [], "r3": []}
    for family in range(num):
        original = [rng.randrange(10**6) for _ in range(rng.choice((60, 150, 300)))]
        for copy, changes in enumerate(edits):
            choices = list(original)
            for at in rng.sample(range(5, len(choices) - 5, 10), min(changes, len(choices) // 10 - 1)):
                choices[at] = rng.randrange(10**6)
            crawls[rng.choice(list(crawls))].append(row(f"f{family:02d}-{copy}", numbered(choices)))
        crawls["r2"].append(row(f"loner-{family:02d}", numbered([rng.randrange(10**6) for _ in range(80)])))
    for rows in crawls.values():
        rng.shuffle(rows)
    return crawls


def test_an_index_is_an_artifact_like_any_other(tmp_path, capsys):
    """Built, made once, looked at, listed and verified by the command, although it keeps no document."""
    release = crawl(tmp_path / "in", "r1", documents_in_scripts(13))
    artifact = index_near(dedup_near(release, config=SURE), config=SURE, sketch_size=32)
    root = tmp_path / "root"
    manifest = build(artifact, root=str(root))
    assert build(artifact, root=str(root)) == manifest
    assert artifact.name == "r1-plain-near-index"
    note = manifest["notes"]["near_index"]
    assert MinHashConfig(**note["config"]) == SURE
    assert (note["sketch_size"], note["standard_error_at_0.8"]) == (32, 0.0707)
    assert note["bytes_per_document"] * manifest["counts"]["indexed"] == pytest.approx(
        sum(f["bytes"] for f in manifest["files"]), rel=0.01
    )
    assert {f["path"].split("/")[0] for f in manifest["files"]} == {"index"}
    (directory,) = (root / artifact.name).iterdir()
    for command in ("inspect", "verify"):
        assert main([command, str(directory), "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert "checks" not in shown or all(check["passed"] is not False for check in shown["checks"])
    for command in ("list", "status"):
        assert main([command, str(root)]) == 0
        assert artifact.name in capsys.readouterr().out
    built = open_artifact(str(directory))
    assert number_index((built,), config=SURE, first_number=0, first_ordinal=0)


# --- near dedup against it --------------------------------------------------------------------------------------------


def test_a_near_duplicate_of_a_release_is_dropped_for_it(tmp_path):
    """And nothing of the release is read but its index, nor changed; new documents judge each other as ever."""
    words = list(range(1000, 1200))
    released = [row("a", numbered(words)), row("z", numbered(range(5000, 5200))), row("short", "hello big world")]
    new = [
        row("a-edited", numbered([*words[:100], 7, *words[101:]])),
        row("a-same", numbered(words)),
        row("n1", numbered(range(9000, 9200))),
        row("n2", numbered([*range(9000, 9100), 7, *range(9101, 9200)])),
        row("short", "Hello, BIG world!"),
        row("empty", "?!"),
    ]
    root = tmp_path / "root"
    release = dedup_near(crawl(tmp_path / "in", "r1", released), config=SURE)
    index = Outcome(index_near(release, config=SURE, sketch_size=64), root)
    before = index.files()
    shutil.rmtree(root / release.name)
    found = Outcome(dedup_near(crawl(tmp_path / "in", "r2", new), earlier=(existing(index),), config=SURE), root)
    assert found.keepers() == {
        ("r2", "a-edited"): ("r1", "a"),
        ("r2", "a-same"): ("r1", "a"),
        ("r2", "n2"): ("r2", "n1"),
        ("r2", "short"): ("r1", "short"),
    }
    near = found.near()
    assert {name[1]: r["by_sketch"] for name, r in near.items()} == {
        "a-edited": True, "a-same": True, "n2": False, "short": False
    }  # fmt: skip
    assert near["r2", "a-same"]["similarity"] == near["r2", "short"]["similarity"] == 1.0
    assert found.kept() == {("r2", "n1"), ("r2", "empty")}
    assert index.files() == before
    assert not (root / release.name).exists()
    assert {r["source"] for kind in ("kept", "signals", "dropped") for r in found.rows(kind)} == {"r2"}


def test_what_joins_two_released_documents_drops_itself_alone(tmp_path):
    """b is like a and like c, which are unlike each other and both released: b goes, for the first of them."""
    a = list(range(100))
    b = [*range(1000, 1008), *a[8:]]
    c = [*b[:92], *range(2000, 2008)]
    root = tmp_path / "root"
    released = crawl(tmp_path / "in", "r1", [row("a", numbered(a)), row("c", numbered(c))])
    release = Outcome(dedup_near(released, config=SURE), root)
    assert release.kept() == {("r1", "a"), ("r1", "c")}
    before = release.files()
    index = Outcome(index_near(existing_artifact(released, release), config=SURE, sketch_size=4096), root)
    new = crawl(tmp_path / "in", "r2", [row("b", numbered(b)), row("d", numbered(range(5000, 5100)))])
    found = Outcome(dedup_near(new, earlier=(existing(index),), config=SURE), root)
    assert found.keepers() == {("r2", "b"): ("r1", "a")}
    assert found.kept() == {("r2", "d")}
    assert release.files() == before


def existing_artifact(documents: Artifact, outcome: Outcome) -> Artifact:
    """The description that `outcome` was built from."""
    artifact = dedup_near(documents, config=SURE)
    assert artifact.name == outcome.directory.parent.name
    return artifact


def build_three(tmp_path: Path, crawls, *, sketch_size: int, **options) -> list[Outcome]:
    """Three releases, each deduplicated against the indexes of those before."""
    indexes: list[Existing] = []
    releases = []
    for name, rows in crawls.items():
        unique = dedup_near(crawl(tmp_path / "in", name, rows), earlier=tuple(indexes), **options)
        releases.append(Outcome(unique, tmp_path / "root"))
        index = index_near(unique, config=options["config"], sketch_size=sketch_size)
        indexes.append(existing(Outcome(index, tmp_path / "root")))
    return releases


def build_whole(tmp_path: Path, crawls, **options) -> Outcome:
    """All crawls as one, from scratch; by source and id, the earlier release is preferred."""
    documents = [crawl(tmp_path / "in", name, rows) for name, rows in crawls.items()]
    return Outcome(dedup_near(*documents, name="all", **options), tmp_path / "root")


def test_three_releases_with_whole_sketches_are_a_dedup_of_everything(tmp_path):
    """Sketches that hold the sets: the same documents are kept and dropped, for the same keepers, as from scratch."""
    crawls = families(20, 24)
    releases = build_three(tmp_path, crawls, config=SURE, sketch_size=4096)
    whole = build_whole(tmp_path, crawls, config=SURE)
    assert set().union(*(r.kept() for r in releases)) == whole.kept()
    assert {k: v for r in releases for k, v in r.keepers().items()} == whole.keepers()
    across = [k for r in releases for k, v in r.keepers().items() if k[0] != v[0]]
    assert len(across) > 20, "the corpus must have such pairs for this to say anything"
    similarities = [{k: d["similarity"] for r in rs for k, d in r.near().items()} for rs in (releases, [whole])]
    assert similarities[0] == similarities[1]
    assert not any(d["by_sketch"] for r in releases for d in r.near().values())


def test_small_sketches_err_near_the_threshold_alone(tmp_path):
    """Every removal is right but for the sketch's error, and no two kept documents are alike but for it."""
    crawls = families(21, 30)
    k, threshold = 64, 0.8
    releases = build_three(tmp_path, crawls, config=SURE, sketch_size=k, min_jaccard=threshold)
    whole = build_whole(tmp_path, crawls, config=SURE, min_jaccard=threshold)
    sets = {name: shingle_set(text) for name, text in texts_of(*crawls.items()).items()}
    slack = 4 * sketch_error(threshold, k)
    assert any(d["by_sketch"] for r in releases for d in r.near().values())
    for outcome in releases:
        for name, dropped in outcome.near().items():
            keeper = (dropped["keeper_source"], dropped["keeper_id"])
            true = similarity(sets[name], sets[keeper])
            assert dropped["by_sketch"] == (keeper[0] != name[0] and len(sets[keeper]) > k)
            assert dropped["similarity"] >= threshold
            if dropped["by_sketch"]:
                assert abs(dropped["similarity"] - true) <= slack
            else:
                assert dropped["similarity"] == true
    kept = sorted(set().union(*(r.kept() for r in releases)))
    by_family = [(a, b) for a, b in combinations(kept, 2) if a[1].split("-")[0] == b[1].split("-")[0] != "loner"]
    alike = [(a, b) for a, b in by_family if similarity(sets[a], sets[b]) >= threshold]
    assert all(a[0] != b[0] for a, b in alike), "within a release similarity is exact"
    assert all(similarity(sets[a], sets[b]) <= threshold + slack for a, b in alike)
    # a document is judged otherwise than from scratch only where the sketch is unsure of a pair it is in, or a document
    # like it was judged otherwise
    unsure = {
        name
        for a, b in combinations(sorted(sets), 2)
        if a[1].split("-")[0] == b[1].split("-")[0] and abs(similarity(sets[a], sets[b]) - threshold) <= slack
        for name in (a, b)
    }
    differs = set(kept) ^ whole.kept()
    assert {name[1].split("-")[0] for name in differs} <= {name[1].split("-")[0] for name in unsure}
    assert len(differs) <= 0.1 * len(unsure)


def test_what_bands_miss_across_releases_is_what_they_miss_within_one(tmp_path):
    """Of pairs of 0.85 and above, over all three releases, no more stay than LSH may miss."""
    crawls = families(24, 120, edits=(0, 1, 1, 2))
    config = MinHashConfig()
    releases = build_three(tmp_path, crawls, config=config, sketch_size=4096)
    sets = {name: shingle_set(text) for name, text in texts_of(*crawls.items()).items()}
    groups: dict[str, list] = {}
    for name in sets:
        groups.setdefault(name[1].split("-")[0], []).append(name)
    near = [
        (a, b)
        for family, names in groups.items()
        if family != "loner"
        for a, b in combinations(names, 2)
        if similarity(sets[a], sets[b]) >= 0.85
    ]
    assert sum(a[0] != b[0] for a, b in near) >= 200, "the corpus must have such pairs for this to say anything"
    kept = set().union(*(r.kept() for r in releases))
    expected = (1 - candidate_probability(0.85, config)) * len(near)
    assert sum(a in kept and b in kept for a, b in near) <= expected + 3 * expected**0.5


def test_order_of_indexes_and_parts_has_no_influence(tmp_path):
    crawls = families(22, 8)
    root = tmp_path / "root"
    indexes = []
    for name in ("r1", "r2"):
        unique = dedup_near(crawl(tmp_path / "in", name, crawls[name]), config=SURE)
        indexes.append(existing(Outcome(index_near(unique, config=SURE), root)))
    new = crawl(tmp_path / "in", "r3", crawls["r3"])
    there = Outcome(dedup_near(new, earlier=tuple(indexes), config=SURE, name="there"), root)
    back = Outcome(dedup_near(new, earlier=tuple(indexes[::-1]), config=SURE, name="back"), root)
    assert there.kept() == back.kept()
    assert there.keepers() == back.keepers()
    assert there.keepers()


def test_another_config_or_no_index_is_refused_before_any_work(tmp_path):
    crawls = families(23, 2)
    root = tmp_path / "root"
    unique = dedup_near(crawl(tmp_path / "in", "r1", crawls["r1"]), config=SURE)
    index = Outcome(index_near(unique, config=SURE), root)
    new = crawl(tmp_path / "in", "r2", crawls["r2"])
    with pytest.raises(ConfigError, match="signatures do not compare"):
        build(dedup_near(new, earlier=(existing(index),)), root=str(root))
    with pytest.raises(ConfigError, match="was made by NearDedup and is no index"):
        build(dedup_near(new, earlier=(unique,), config=SURE), root=str(root))


def test_clusters_of_released_documents_alone_stop_nothing(tmp_path):
    """300 released documents share most of their text; none of the new ones is like them."""
    common = " ".join(f"common{i}" for i in range(60))
    old = [row(f"o{i:03d}", f"{common} own{i} " + " ".join(f"x{i}y{k}" for k in range(15))) for i in range(300)]
    new = [row(f"n{i:03d}", " ".join(f"new{i}w{k}" for k in range(60))) for i in range(200)]
    released = run_maker(NearIndex(config=SURE), tmp_path / "index", write_input(tmp_path, [old], name="old"))
    built = Built(
        name="old-index", fingerprint="f" * 64, uri=str(released.directory),
        manifest={
            "payload": {"maker": identity(NearIndex(config=SURE))},
            "files": [{"path": f"index/{commit.shard}.parquet", "rows": commit.counts["indexed"], "shard": commit.shard}
                      for commit in released.passes.committed],
        },
    )  # fmt: skip
    maker = NearDedup(config=SURE, num_earlier=1)
    result = run_maker(maker, tmp_path / "new", write_input(tmp_path, [new], name="new"), built)
    notes = result.passes.notes["near_dedup"]
    assert (notes["clusters"], notes["largest_cluster"], notes["guard"]) == (0, 0, [])
    assert len(result.kept()) == 200
