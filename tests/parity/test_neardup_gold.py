"""Near dedup on real revisions and articles: recall of pairs at 0.85 and above, and precision, against measured Jaccard."""

import io
import json
from collections import defaultdict
from itertools import pairwise

import pyarrow as pa
import pytest
import zstandard

from pipelines.kernels.minhash import MinHashConfig, candidate_probability
from pipelines.kernels.shingles import jaccard, shingle_sets
from pipelines.makers.near_dedup import NearDedup
from tests.dedup import row, run_maker, shingle_set, similarity, write_input
from tests.shared import shared_path

pytestmark = pytest.mark.shared
MIN_JACCARD = 0.8
RECALL_FROM = 0.85


def load(relative: str) -> list[dict]:
    with shared_path(relative).open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file)
        return [json.loads(line) for line in io.TextIOWrapper(stream, encoding="utf-8")]


def sets_of(texts: list[str]) -> list:
    values, offsets = shingle_sets(pa.array(texts, pa.large_string()), 5)
    return [values[a:b] for a, b in pairwise(offsets)]


def check_precision(result, texts: dict[str, str]) -> int:
    """All drops, recomputed from the text by plain Python sets, reach the threshold with a keeper that is kept."""
    kept = {document for _, document in result.kept()}
    dropped = result.rows("dropped")
    for document in dropped:
        measured = similarity(shingle_set(texts[document["id"]]), shingle_set(texts[document["keeper_id"]]))
        assert document["keeper_id"] in kept
        assert document["similarity"] == measured >= MIN_JACCARD
    return len(dropped)


def test_revisions_of_one_document(tmp_path, record_property):
    """Each pair is a corpus's two documents: recall of the pairs whose true similarity is 0.85 or more.

    Every text of the file goes into one corpus, so pairs meet all other revisions as well; a pair is found when its two
    texts are in one cluster, which is what LSH is for. Equal texts are one document.
    """
    pairs = load("neardup/git_revision_pairs.jsonl.zst")
    ids: dict[str, str] = {}
    for pair in pairs:
        for side in ("text_a", "text_b"):
            ids.setdefault(pair[side], f"{len(ids):05d}")
    texts = {document: text for text, document in ids.items()}
    rows = [row(document, text) for document, text in texts.items()]
    built = write_input(tmp_path, [rows[::3], rows[1::3], rows[2::3]])
    result = run_maker(NearDedup(min_jaccard=MIN_JACCARD), tmp_path, built)
    num_dropped = check_precision(result, texts)
    clusters = {r["id"]: r["cluster"] for r in result.rows("clusters")}
    sets = dict(zip(texts, sets_of(list(texts.values())), strict=True))
    found = total = differ = 0
    for pair in pairs:
        a, b = ids[pair["text_a"]], ids[pair["text_b"]]
        ours = jaccard(sets[a], sets[b])
        differ += abs(ours - pair["jaccard_w5"]) > 0.05
        if a != b and ours >= RECALL_FROM:
            total += 1
            found += a in clusters and clusters.get(a) == clusters.get(b)
    record_property("recall", found / total)
    print(
        f"revisions: {found} of {total} pairs at {RECALL_FROM} found; {num_dropped} of {len(texts)} dropped; {differ} differ"
    )
    assert total > 200
    assert found / total >= 0.98
    assert differ < len(pairs) * 0.05, "the file's own 5-gram similarity splits words otherwise, but not by much"
    assert not any(
        clusters.get(ids[p["text_a"]], "a") == clusters.get(ids[p["text_b"]], "b")
        for p in pairs
        if p["kind"] != "revision"
    )


def test_planted_articles(tmp_path):
    """2,500 articles with 20 planted pairs at 0.96: all found, and what else is dropped is as similar as it says."""
    articles = load("neardup/minhash_articles_2500.jsonl.zst")
    texts = {article["id"]: article["text"] for article in articles}
    built = write_input(tmp_path, [[row(i, t) for i, t in texts.items()]])
    result = run_maker(NearDedup(min_jaccard=MIN_JACCARD), tmp_path, built)
    num_dropped = check_precision(result, texts)
    groups = defaultdict(set)
    for member in result.rows("clusters"):
        groups[member["cluster"]].add(member["id"])
    planted = [{article["id"], article["duplicate_of"]} for article in articles if article["duplicate_of"]]
    assert len(planted) >= 20
    dropped = set(result.keepers())
    assert all(any(pair <= group for group in groups.values()) for pair in planted)
    assert all(len(pair & dropped) == 1 for pair in planted)
    print(f"articles: {num_dropped} of {len(texts)} dropped, {len(planted)} pairs planted")
    assert candidate_probability(0.96, MinHashConfig()) > 0.999999


def test_all_pairs_of_the_articles_that_are_near(tmp_path):
    """Brute force over all pairs that share a shingle: what is kept holds no pair at 0.85 or more, but for LSH's misses."""
    articles = load("neardup/minhash_articles_2500.jsonl.zst")
    texts = {article["id"]: article["text"] for article in articles}
    sets = dict(zip(texts, sets_of(list(texts.values())), strict=True))
    holders = defaultdict(list)
    for document, values in sets.items():
        for value in values.tolist():
            holders[value].append(document)
    shared = {(a, b) for group in holders.values() for i, a in enumerate(group) for b in group[i + 1 :]}
    near = [(a, b) for a, b in shared if jaccard(sets[a], sets[b]) >= RECALL_FROM]
    result = run_maker(
        NearDedup(min_jaccard=MIN_JACCARD), tmp_path, write_input(tmp_path, [[row(i, t) for i, t in texts.items()]])
    )
    kept = {document for _, document in result.kept()}
    missed = [(a, b) for a, b in near if a in kept and b in kept]
    assert len(near) >= 20
    assert len(missed) <= 0.02 * len(near)
