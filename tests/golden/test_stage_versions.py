"""A stage whose output on the golden corpus changes must raise its `version`. `python -m tests.golden.test_stage_versions`
writes what the stages give now; do that together with the raised version, never instead of it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from filters.language import IdentifyLanguage
from pipelines.content_hash import ContentHash
from pipelines.kernels import text_statistics
from pipelines.readers import JsonlReader
from pipelines.readers.listing import inventory
from pipelines.records import FileShard
from pipelines.stage import Filter, stage_name
from tests.policy.test_policies import stages_of_filters

GOLDEN = Path(__file__).with_name("stages.json")
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FILES = (
    "multilingual/part-a.jsonl",
    "multilingual/part-b.jsonl.gz",
    "math/questions.jsonl",
    "synthetic/rewrites.jsonl",
)


def corpus() -> pa.RecordBatch:
    reader = JsonlReader(id_field="id")
    batches = [
        item
        for name in FILES
        for item in reader.read(FileShard(name=name, file=inventory(str(SAMPLES / name)), source="golden"))
        if isinstance(item, pa.RecordBatch)
    ]
    return IdentifyLanguage().transform(pa.concat_batches(batches))


def output_of(stage, batch: pa.RecordBatch) -> str:
    if isinstance(stage, Filter):
        out = stage.measure(batch, text_statistics(batch, tuple(getattr(stage, "wants", ()))))
    else:
        out = stage.transform(batch)
    if "locator" in out.schema.names:
        out = out.drop_columns(["locator"])
    hasher = ContentHash(out.schema)
    hasher.update(out)
    return hasher.hexdigest()


def outputs() -> dict[str, dict[str, object]]:
    batch = corpus()
    found = {}
    for kind in stages_of_filters():
        stage = kind()
        found[stage_name(stage)] = {"version": getattr(stage, "version", 1), "output": output_of(stage, batch)}
    return dict(sorted(found.items()))


def test_the_golden_corpus_is_no_handful():
    assert corpus().num_rows > 100


@pytest.fixture(scope="module")
def now() -> dict[str, dict[str, object]]:
    return outputs()


@pytest.mark.parametrize("name", sorted(json.loads(GOLDEN.read_text()) if GOLDEN.exists() else []))
def test_a_changed_output_has_a_raised_version(name, now):
    then = json.loads(GOLDEN.read_text())[name]
    assert name in now, "a stage went: take it out of stages.json, and say so in the changelog"
    if now[name]["version"] == then["version"]:
        assert now[name]["output"] == then["output"], f"{name}: the output changed, so raise its version"
    else:
        pytest.fail(f"{name}: the version was raised: run python -m tests.golden.test_stage_versions")


def test_every_stage_has_a_golden_output(now):
    assert set(now) == set(json.loads(GOLDEN.read_text()))


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(outputs(), indent=1) + "\n")
