"""The certificate against brute force: every pair of small planted corpora, compared by an oracle of Python sets."""

import json
import random
from functools import partial
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from pipelines import storage
from pipelines.errors import ConfigError
from pipelines.executors.local import Local
from pipelines.kernels.minhash import MinHashConfig, band_keys, candidate_probability, signatures_of_texts
from pipelines.makers.certificate.certify import certify
from pipelines.makers.certificate.sampling import Certify, Limits
from pipelines.makers.near.election import VERDICT
from pipelines.makers.near.strata import count_strata, strata_of, sum_strata
from pipelines.makers.near_dedup import NearDedup
from pipelines.makers.outcome import number_parts
from pipelines.makers.shuffle import SUFFIX, ShuffleWriter
from pipelines.passes import Passes
from pipelines.shards import run_shard
from tests.dedup import VOCABULARY, row, run_maker, shingle_set, similarity, write_input, write_text

SURE = MinHashConfig(num_perm=80, num_bands=40, rows_per_band=2)
BLIND = MinHashConfig(num_perm=16, num_bands=1, rows_per_band=16)


def planted(seed, families=40, languages=tuple(VOCABULARY)):
    """Families of an original and edits at several similarities, and loners, in several languages."""
    rng = random.Random(seed)
    rows = []
    for family in range(families):
        language = languages[family % len(languages)]
        original = [rng.randrange(225) for _ in range(120)]
        for copy in range(rng.choice([1, 2, 2, 3, 6])):
            choices = list(original)
            for at in rng.sample(range(5, 115), rng.choice([0, 1, 2, 4, 7, 10]) if copy else 0):
                choices[at] = 225 + rng.randrange(1000)
            source = "web" if family % 3 else "wiki"
            rows.append(row(f"{family:03d}-{copy}", write_text(language, choices), source, language=language))
    rng.shuffle(rows)
    return rows


class Setup:
    """A corpus in parts, what a dedup said of it, and the brute force truth."""

    def __init__(self, folder, rows, num_parts=3):
        self.folder = folder
        size = -(-len(rows) // num_parts)
        self.parts_rows = [rows[i * size : (i + 1) * size] for i in range(num_parts)]
        self.built = write_input(folder, self.parts_rows, [pa.field("language", pa.string())])
        self.parts = number_parts((self.built,))
        self.rows = rows
        self.place = {r["id"]: (p, i) for p, part in enumerate(self.parts_rows) for i, r in enumerate(part)}
        self.source = {r["id"]: r["source"] for r in rows}
        self.sets = {r["id"]: shingle_set(r["text"]) for r in rows}
        every = combinations(sorted(self.sets), 2)
        self.pairs = {(a, b): s for a, b in every if (s := similarity(self.sets[a], self.sets[b])) >= 0.3}

    def greedy(self, min_jaccard, miss=lambda a, b: False):
        """Document -> (keeper, similarity), by the rule of near dedup but for pairs that `miss` overlooks."""
        drops = {}
        for document in sorted(self.sets):
            for keeper in sorted(self.sets):
                found = self.pairs.get((keeper, document), 0.0)
                if keeper not in drops and found >= min_jaccard and not miss(keeper, document):
                    drops[document] = (keeper, found)
                    break
        return drops

    def verdicts(self, drops, sketched=()):
        entries = []
        for document, (keeper, found) in drops.items():
            part, place = self.place[document]
            entry = {"row": place, "cluster": keeper, "cluster_size": 1 + sum(k == keeper for k, _ in drops.values())}
            entry |= {"keeper_source": self.source[keeper], "keeper_id": keeper, "similarity": found}
            entry |= {"keeper_part": self.place[keeper][0], "keeper_row": self.place[keeper][1], "by_sketch": False}
            if document in sketched:
                entry |= {"keeper_part": len(self.parts), "keeper_row": 0, "by_sketch": True}
            entries.append((part, entry))
        return self.shuffled("verdicts", VERDICT, entries)

    def exact(self, drops):
        schema = pa.schema([("row", pa.int64()), ("keeper_source", pa.string()), ("keeper_id", pa.string())])
        entries = [
            (self.place[a][0], {"row": self.place[a][1], "keeper_source": "s", "keeper_id": b})
            for a, b in drops.items()
        ]
        return self.shuffled("exact", schema, entries)

    def shuffled(self, kind, schema, entries):
        def work(shard, out):
            with ShuffleWriter(out, kind, schema, num_buckets=len(self.parts)) as shuffle:
                batch = pa.RecordBatch.from_pylist([entry for _, entry in entries], schema=schema)
                shuffle.write(batch, np.array([part for part, _ in entries], np.int64))
            return {}

        commit = run_shard(self.parts[0], directory=str(self.folder / kind), work=work)
        return (commit.path(kind, SUFFIX),)

    def certify(
        self,
        drops,
        name="certified",
        exact=(),
        min_jaccard=0.8,
        config=SURE,
        sketched=(),
        executor=None,
        limits=None,
        **options,
    ):
        passes = Passes(artifact="a", directory=str(self.folder / name), executor=executor or Local())
        batch = pa.RecordBatch.from_pylist([r for r in self.rows if r["id"] not in dict(exact)])
        lost = pa.array([r["id"] in drops for r in self.rows if r["id"] not in dict(exact)])
        found = certify(
            self.parts,
            passes,
            options=Certify(**options),
            config=config,
            min_jaccard=min_jaccard,
            verdicts=self.verdicts(drops, sketched),
            exact=self.exact(dict(exact)) if exact else (),
            strata=sum_strata([count_strata(strata_of(batch))]),
            removed=sum_strata([count_strata(strata_of(batch), lost.to_numpy(zero_copy_only=False).astype(np.int64))]),
            clusters={"sizes": {"2": 3}},
            verified=True,
            sketch_size=256 if sketched else None,
            limits=limits or Limits(),
        )
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        return found

    def recall(self, drops, at):
        true = [pair for pair, s in self.pairs.items() if s >= at]
        resolved = [pair for pair in true if pair[0] in drops or pair[1] in drops]
        return len(resolved) / len(true), len(true)


def at(certificate, min_jaccard):
    (found,) = [entry for entry in certificate["recall"]["at"] if entry["min_jaccard"] == min_jaccard]
    return found


def overlooks_half(a, b):
    return (int(a[:3]) + int(b[:3])) % 4 == 0


@pytest.mark.parametrize("min_jaccard", [0.4, 0.8])
def test_a_census_says_the_truth_exactly(tmp_path, min_jaccard):
    setup = Setup(tmp_path, planted(1))
    drops = setup.greedy(min_jaccard, overlooks_half)
    found = setup.certify(drops, min_jaccard=min_jaccard)
    assert found["recall"]["is_census"]
    assert found["recall"]["num_queries"] == len(setup.rows)
    for threshold in (min_jaccard, 0.85):
        truth, pairs = setup.recall(drops, threshold)
        entry = at(found, threshold)
        assert 0.2 < truth < 1.0
        assert pairs >= 10
        assert entry["pairs_in_corpus"] == pairs
        assert entry["pairs_seen"] == 2 * pairs
        assert entry["estimate"] == entry["low"] == entry["high"] == round(truth, 6)


def test_the_s_curve_is_that_of_all_pairs(tmp_path):
    setup = Setup(tmp_path, planted(2))
    config = MinHashConfig(num_perm=20, num_bands=5, rows_per_band=4)
    found = setup.certify({}, config=config)
    texts = pa.array([r["text"] for r in setup.rows], pa.large_string())
    keys = band_keys(signatures_of_texts(texts, config)[0], config)
    by_id = dict(zip((r["id"] for r in setup.rows), keys, strict=True))
    shares = {pair: bool((by_id[pair[0]] == by_id[pair[1]]).any()) for pair in setup.pairs}
    edges = [k / 20 for k in range(10, 20)] + [1.01]
    for entry, low, high in zip(found["recall"]["s_curve"], edges[:-1], edges[1:], strict=True):
        inside = [pair for pair, s in setup.pairs.items() if low <= s < high]
        assert entry["from_jaccard"] == low
        assert entry["pairs_in_corpus"] == len(inside)
        assert entry["found_seen"] == 2 * sum(shares[pair] for pair in inside)
        if inside:
            assert entry["estimate"] == pytest.approx(sum(shares[pair] for pair in inside) / len(inside), abs=1e-6)
        assert entry["theory"] == pytest.approx(candidate_probability(low + 0.025, config), abs=1e-6)
        assert entry["resolved"] in (0.0, None)
    assert not all(shares.values())
    assert sum(bool(e["pairs_seen"]) for e in found["recall"]["s_curve"]) >= 5


def test_intervals_of_samples_contain_the_truth(tmp_path):
    setup = Setup(tmp_path, planted(3, families=120))
    drops = setup.greedy(0.8, overlooks_half)
    truth, _ = setup.recall(drops, 0.8)
    contained, widths = 0, []
    for seed in range(10):
        found = setup.certify(drops, f"seed-{seed}", num_queries=100, num_dropped=20, seed=seed)
        assert 100 <= found["recall"]["num_queries"] < len(setup.rows)
        assert found["precision"]["num_sampled"] >= 20
        entry = at(found, 0.8)
        contained += entry["low"] <= truth <= entry["high"]
        widths.append(entry["high"] - entry["low"])
    assert contained >= 9
    assert max(widths) < 0.75
    assert len(set(widths)) > 3, "another seed is another sample"


def test_exact_duplicates_are_in_no_pair(tmp_path):
    rows = planted(4)
    copies = [row(f"{r['id']}-copy", r["text"], r["source"], language=r["language"]) for r in rows[:20]]
    setup = Setup(tmp_path, rows + copies)
    exact = {c["id"]: r["id"] for c, r in zip(copies, rows, strict=False)}
    drops = {k: v for k, v in setup.greedy(0.8).items() if k not in exact and v[0] not in exact}
    found = setup.certify(drops, exact=tuple(exact.items()))
    documents = found["documents"]
    assert documents["all"] == len(rows) + 20
    assert documents["exact_duplicates"] == 20
    assert documents["compared"] == documents["kept"] + documents["near_duplicates"] == len(rows)
    true = [p for p, s in setup.pairs.items() if s >= 0.85 and p[0] not in exact and p[1] not in exact]
    assert at(found, 0.85)["pairs_in_corpus"] == len(true)


def test_a_dedup_that_misses_much_is_seen(tmp_path):
    setup = Setup(tmp_path, planted(5))
    result = run_maker(NearDedup(config=BLIND), tmp_path / "near", setup.built)
    drops = {r["id"]: (r["keeper_id"], r["similarity"]) for r in result.rows("dropped")}
    found = setup.certify(drops, config=BLIND)
    assert at(found, 0.8)["estimate"] == round(setup.recall(drops, 0.8)[0], 6) < 0.8


def test_near_dedup_is_certified_as_good(tmp_path):
    setup = Setup(tmp_path, planted(6))
    result = run_maker(NearDedup(config=SURE), tmp_path / "near", setup.built)
    drops = {r["id"]: (r["keeper_id"], r["similarity"]) for r in result.rows("dropped")}
    found = setup.certify(drops)
    assert at(found, 0.85)["estimate"] == 1.0
    precision = found["precision"]
    assert precision["reached"] == precision["num_compared"] == len(drops) >= 20
    assert precision["estimate"] == precision["low"] == 1.0
    assert precision["largest_deviation"] == 0.0
    assert precision["num_deviating"] == 0
    removed = sum(entry["removed"] for entry in found["removed"]["source"].values())
    assert removed == found["documents"]["near_duplicates"] == len(drops)


def test_unlike_members_are_seen_as_low_precision(tmp_path):
    setup = Setup(tmp_path, planted(7))
    result = run_maker(NearDedup(config=SURE, verify=False), tmp_path / "near", setup.built)
    drops = {r["id"]: (r["keeper_id"], None) for r in result.rows("dropped")}
    precision = setup.certify(drops)["precision"]
    right = sum(similarity(setup.sets[d], setup.sets[k]) >= 0.8 for d, (k, _) in drops.items())
    assert precision["reached"] == right < 0.9 * len(drops)
    assert precision["estimate"] == round(right / len(drops), 6)
    assert precision["largest_deviation"] is None
    assert len(precision["below"]) == 5
    assert precision["below"][0]["recomputed"] <= precision["below"][1]["recomputed"] < 0.8


def test_a_tampered_similarity_is_noticed(tmp_path):
    setup = Setup(tmp_path, planted(8))
    drops = setup.greedy(0.8)
    victim = min(drops)
    drops[victim] = (drops[victim][0], drops[victim][1] - 0.01)
    precision = setup.certify(drops)["precision"]
    assert precision["num_deviating"] == 1
    assert precision["largest_deviation"] == pytest.approx(0.01)
    assert precision["deviating"][0]["dropped"]["id"] == victim
    assert precision["estimate"] == 1.0


def test_removals_by_sketch_are_counted_apart(tmp_path):
    setup = Setup(tmp_path, planted(9))
    drops = setup.greedy(0.8)
    sketched = sorted(drops)[:5]
    found = setup.certify(drops, sketched=sketched)
    assert found["by_sketch"] == {"dropped": 5, "sketch_size": 256, "standard_error": 0.025}
    assert found["documents"]["near_duplicates_by_sketch"] == 5
    assert found["documents"]["near_duplicates"] == len(drops)
    assert found["precision"]["num_sampled"] == len(drops) - 5
    assert at(found, 0.8)["estimate"] == 1.0


def test_the_largest_clusters_are_shown_with_pairs(tmp_path):
    setup = Setup(tmp_path, planted(10, families=60))
    drops = setup.greedy(0.8)
    found = setup.certify(drops)
    sizes = {}
    for keeper, _ in drops.values():
        sizes[keeper] = sizes.get(keeper, 1) + 1
    expected = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:20]
    assert [(c["cluster"], c["size"]) for c in found["largest_clusters"]] == expected
    texts = {r["id"]: r["text"] for r in setup.rows}
    for cluster in found["largest_clusters"]:
        assert len(cluster["pairs"]) == min(3, cluster["size"] - 1)
        for pair in cluster["pairs"]:
            assert pair["keeper"]["id"] == cluster["cluster"]
            assert pair["similarity"] == pair["recomputed"]
            assert pair["dropped"]["excerpt"] == texts[pair["dropped"]["id"]][:300]
    assert found["cluster_sizes"] == {"2": 3}


def test_parts_and_workers_have_no_influence(tmp_path):
    rows = planted(11)
    made = []
    for number, (num_parts, workers) in enumerate([(1, 1), (4, 1), (7, 2)]):
        setup = Setup(tmp_path / str(number), rows, num_parts)
        drops = setup.greedy(0.8, overlooks_half)
        made.append(setup.certify(drops, num_queries=40, num_dropped=15, executor=Local(workers=workers)))
    assert made[0] == made[1] == made[2]
    assert not made[0]["recall"]["is_census"]


def test_nothing_dropped_and_nothing_alike(tmp_path):
    rows = [row(str(i), text, language=None) for i, text in enumerate(["", "...", "quite alone", "and so is this"])]
    found = Setup(tmp_path, rows, 2).certify({})
    assert at(found, 0.8) == {
        "min_jaccard": 0.8,
        "estimate": None,
        "low": 0.0,
        "high": 1.0,
        "pairs_seen": 0,
        "resolved_seen": 0,
        "queries_with_pairs": 0,
        "pairs_in_corpus": 0.0,
        "effective_queries": None,
    }
    assert found["precision"]["estimate"] is None
    assert found["precision"]["num_sampled"] == 0
    assert found["largest_clusters"] == []


def test_queries_and_texts_too_large_are_left_out_and_counted(tmp_path):
    setup = Setup(tmp_path, planted(12))
    drops = setup.greedy(0.8)
    found = setup.certify(drops, limits=Limits(max_query_shingles=120, max_text_bytes=1500))
    large = sum(len(s) > 120 for s in setup.sets.values())
    assert 0 < large < len(setup.rows)
    assert found["recall"]["skipped_queries"] == {"over 120 shingles": large}
    assert found["recall"]["num_queries"] == len(setup.rows) - large
    assert not found["recall"]["is_census"]
    size = {r["id"]: len(r["text"].encode()) for r in setup.rows}
    skipped = sum(size[d] > 1500 or size[k] > 1500 for d, (k, _) in drops.items())
    assert 0 < skipped < len(drops)
    assert found["precision"]["skipped"] == {"text over 1500 bytes": skipped}
    assert found["precision"]["num_compared"] == len(drops) - skipped


def test_groups_of_queries_change_nothing(tmp_path):
    setup = Setup(tmp_path, planted(13))
    drops = setup.greedy(0.8, overlooks_half)
    whole = setup.certify(drops)
    assert setup.certify(drops, "groups", limits=Limits(shingles_per_group=1000)) == whole
    assert len(storage.list_files(str(tmp_path / "groups" / "work" / "certificate_index" / "index"))) > 3


def test_options_that_cannot_be_are_refused():
    for name in ("num_queries", "num_dropped"):
        with pytest.raises(ConfigError, match=f"{name} = 0"):
            partial(Certify, **{name: 0})()
