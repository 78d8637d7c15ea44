"""The web recipe on real crawl pages: what must hold whatever the pages are, and that the questions asked later agree."""

from __future__ import annotations

import pytest

from pipelines.artifact import BuildOptions, build, build_all
from pipelines.cli.explain import explain
from pipelines.cli.locate import locate
from pipelines.cli.whatif import what_if
from pipelines.executors.local import Local
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline
from pipelines.recipes import Request, describe
from pipelines.storage import join, read_table
from tests.shared import shared_path

PAGES = ("web/pages-dev-002.warc.gz", "web/wcxb-dev.warc.gz")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("pages"))
    inputs = tuple(str(shared_path(page)) for page in PAGES)
    artifact = describe(Request(recipe="web", inputs=inputs)).inputs[0]
    (built,) = build_all((artifact,), BuildOptions(root=root, executor=Local(workers=2)))
    return artifact, built, root


@pytest.mark.shared
def test_a_good_part_is_kept_and_the_rest_has_reasons(clean):
    _, built, _ = clean
    counts = built.manifest["counts"]
    assert counts["records"] == counts["documents"] + sum(counts["quarantined"].values())
    assert counts["documents"] == counts["kept"] + sum(counts["dropped"].values())
    assert counts["kept"] >= 0.3 * counts["records"]
    assert len(counts["dropped"]) >= 3
    shown = f"{counts['records']} records, {counts['documents']} documents, {counts['kept']} kept"
    print(f"{shown}, {len(counts['dropped'])} distinct reasons")


@pytest.mark.shared
def test_whatif_is_what_a_rebuild_gives(clean, tmp_path):
    setting = "gopher_quality.min_words=250"
    artifact, built, root = clean
    asked = what_if(locate(join(root, built.name, built.fingerprint[:12])), [setting])
    pipeline = artifact.maker.pipeline.with_settings([setting])
    counts = build(process(artifact.inputs[0], through=pipeline, name="again"), root=str(tmp_path))["counts"]
    assert asked["rejudged"]["after"]["kept"] == counts["kept"] != built.manifest["counts"]["kept"]


@pytest.mark.shared
def test_explain_agrees_with_what_was_recorded(clean):
    _, built, root = clean
    located = locate(join(root, built.name, built.fingerprint[:12]))
    dropped = read_table(built.parts("dropped")[0].uri, ["id", "stage", "reason", "reasons"]).to_pylist()
    assert len(dropped) > 20
    for row in dropped[:: max(1, len(dropped) // 10)]:
        said = explain(located, row["id"])
        assert f"{row['stage']}/{row['reason']}" in str(said)


def test_the_recipe_can_be_constructed_anywhere():
    stages = describe(Request(recipe="web", inputs=("nowhere",))).inputs[0].maker.pipeline
    assert isinstance(stages, Pipeline)
