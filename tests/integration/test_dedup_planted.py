"""Near dedup of the planted corpus: recall of pairs at 0.85 and above, and precision, by an oracle of plain Python sets.

The same at 200,000 documents, where kernels recompute the truth: `python -m benchmarks.dedup_scale --planted`.
"""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.dedup_scale import Plant, quality
from benchmarks.planted import Planting, num_groups, planted_pairs
from pipelines.artifact import Artifact, build
from pipelines.executors.local import Local
from pipelines.makers.near_dedup import dedup_near
from tests.dedup import shingle_set, similarity

PLANTING = Planting(num_documents=5_000, seed=11, median_words=80, spread=0.7, max_words=700)
RECALL_FROM = 0.85


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The directory of the deduplicated corpus, its manifest, and all texts by id."""
    root = tmp_path_factory.mktemp("planted")
    corpus = Artifact(name="planted", maker=Plant(planting=PLANTING, block_documents=1_700), inputs=())
    artifact = dedup_near(corpus, name="near", dropped_text="none", certify=None)
    manifest = build(artifact, root=str(root), executor=Local())
    (directory,) = (root / "near").iterdir()
    batch = PLANTING.documents(0, PLANTING.num_documents)
    texts = dict(zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True))
    return directory, manifest, texts


def rows(directory, kind: str) -> list[dict]:
    return pa.concat_tables([pq.read_table(p) for p in sorted((directory / kind).glob("*.parquet"))]).to_pylist()


def test_precision_is_one_by_the_oracle(built):
    directory, manifest, texts = built
    kept = {row["id"]: row["text"] for row in rows(directory, "kept")}
    dropped = rows(directory, "dropped")
    assert kept == {document: texts[document] for document in kept}
    assert len(kept) + len(dropped) == PLANTING.num_documents == manifest["counts"]["documents"]
    assert len(dropped) > 800
    assert {row["reason"] for row in dropped} == {"exact_duplicate", "near_duplicate"}
    for row in dropped:
        assert row["keeper_id"] in kept
        measured = similarity(shingle_set(texts[row["id"]]), shingle_set(texts[row["keeper_id"]]))
        assert row["similarity"] == measured >= 0.8


def test_recall_of_pairs_at_85_and_above(built):
    directory, _, texts = built
    dropped = {int(row["id"]) for row in rows(directory, "dropped")}
    pairs = planted_pairs(PLANTING, 0, num_groups(PLANTING)).tolist()
    by_position = [shingle_set(text) for _, text in sorted(texts.items())]
    near = [(a, b) for a, b in pairs if similarity(by_position[a], by_position[b]) >= RECALL_FROM]
    missed = [pair for pair in near if not dropped & set(pair)]
    print(f"{len(missed)} of {len(near)} pairs at {RECALL_FROM} and above are both kept")
    assert len(near) > 1_000
    assert len(missed) <= 0.02 * len(near)
    # what LSH is built to leave alone stays: most pairs far below the threshold are both kept or dropped for others
    found = quality(PLANTING, directory)
    assert found["recall"] == pytest.approx(1 - len(missed) / len(near), abs=1e-5)
    assert found["precision"] == 1.0
    assert found["near_duplicates_whose_keeper_is_dropped"] == 0
