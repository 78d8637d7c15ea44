"""`eyas whatif` against the real thing: what it says must be what a rebuild with the changed bound gives."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.c4 import C4Quality
from filters.fineweb import FineWebQuality
from filters.gopher import GopherQuality, GopherRepetition
from pipelines.artifact import Source
from pipelines.cli.explain import explain
from pipelines.cli.sample import choose
from pipelines.cli.whatif import what_if
from pipelines.extraction import ExtractHtml
from pipelines.kernels.minhash import MinHashConfig
from pipelines.makers.near.guard import Guard
from pipelines.makers.near_dedup import dedup_near
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline
from pipelines.recipes import apply_settings
from tests.shared import shared_path
from tests.unit.cli_corpus import Stops, built, described, stages_with, with_dedup, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whatif")
    write_corpus(folder / "in", files=4, lines=150)
    return folder


def documents(located, kind: str) -> set[tuple[str, str]]:
    rows = pa.concat_tables([pq.read_table(part.uri, columns=["source", "id"]) for part in located.parts(kind)])
    return set(zip(rows["source"].to_pylist(), rows["id"].to_pylist(), strict=True))


def assert_same(answer, before, after) -> None:
    """Counts by reason, bytes, and the very documents that come back and go."""
    counts = after.manifest["counts"]
    then = answer["rejudged"]["after"]
    assert then["kept"] == counts["kept"]
    assert then["kept_bytes"] == counts["kept_bytes"]
    assert then["dropped"] == counts["dropped"]
    assert then["held"] == counts["held"]
    was, now = documents(before, "kept"), documents(after, "kept")
    back, gone = answer["rejudged"]["come_back"], answer["rejudged"]["newly_dropped"]
    assert back["documents"] == len(now - was)
    assert gone["documents"] == len(was - now)
    assert {(d["source"], d["id"]) for d in back["sample"]} <= now - was
    assert {(d["source"], d["id"]) for d in gone["sample"]} <= was - now
    assert len(back["sample"]) == min(5, len(now - was))


SETTINGS = [
    ("sizes.min_letters=25",),
    ("sizes.min_letters=0",),
    ("too_few_words=5",),
    ("sizes/too_many_letters=30", "sizes.max_letters_per_word=4.25"),
    ("sizes.min_words=1", "stop_words.min_stops[en]=3"),
    ("stop_words.min_stops[fr]=0",),
    ("stop_words.min_stops[*]=2",),
    ("stop_words.unwanted=de,fr",),
    ("stop_words.unwanted=zz",),
    ("sizes.min_letters=8",),
]


def stages_of(settings):
    """The stages a rebuild would have, written down here rather than parsed by the code under test."""
    table = {
        "sizes.min_letters=25": {"min_letters": 25},
        "sizes.min_letters=0": {"min_letters": 0},
        "too_few_words=5": {"min_words": 5},
        "sizes/too_many_letters=30": {"max_letters": 30},
        "sizes.max_letters_per_word=4.25": {"max_letters_per_word": 4.25},
        "sizes.min_words=1": {"min_words": 1},
        "stop_words.min_stops[en]=3": {"min_stops": replace(Stops().min_stops, bounds=(("en", 3), ("de", 0)))},
        "stop_words.min_stops[fr]=0": {
            "min_stops": replace(Stops().min_stops, bounds=(("en", 1), ("de", 0), ("fr", 0)))
        },
        "stop_words.min_stops[*]=2": {"min_stops": replace(Stops().min_stops, default=2)},
        "stop_words.unwanted=de,fr": {"unwanted": frozenset({"de", "fr"})},
        "stop_words.unwanted=zz": {"unwanted": frozenset({"zz"})},
        "sizes.min_letters=8": {},
    }
    fields = {}
    for setting in settings:
        fields |= table[setting]
    return stages_with(**fields)


@pytest.mark.parametrize("settings", SETTINGS, ids=" ".join)
def test_an_answer_is_what_a_rebuild_gives(corpus, settings):
    root = str(corpus / "root")
    before = built(described(corpus / "in"), root)
    after = built(described(corpus / "in", stages=stages_of(settings)), root)
    answer = what_if(before, settings)
    assert answer["exact"]
    assert answer["rejudged"]["before"]["kept"] == before.manifest["counts"]["kept"]
    assert_same(answer, before, after)


def test_settings_that_change_something_do_change_something(corpus):
    """Guards the test above: most of its cases move documents, both ways."""
    before = built(described(corpus / "in"), str(corpus / "root"))
    answers = [what_if(before, settings)["rejudged"] for settings in SETTINGS]
    assert sum(answer["come_back"]["documents"] > 0 for answer in answers) >= 4
    assert sum(answer["newly_dropped"]["documents"] > 0 for answer in answers) >= 4
    assert answers[-1]["rules"] == []
    assert answers[-1]["before"] == answers[-1]["after"]


@pytest.mark.parametrize("settings", SETTINGS, ids=" ".join)
def test_an_interval_holds_what_a_rebuild_keeps_downstream(corpus, settings):
    """Behind exact dedup a dropped document may bring its double back, and a new one may be a double."""
    root = str(corpus / "root")
    before = built(with_dedup(corpus / "in"), root)
    after = built(with_dedup(corpus / "in", stages=stages_of(settings)), root)
    answer = what_if(before, settings)
    assert not answer["exact"]
    bounds = answer["interval"]
    assert bounds["kept_now"] == before.manifest["counts"]["kept"]
    assert bounds["at_least"] <= after.manifest["counts"]["kept"] <= bounds["at_most"]
    lost = documents(before, "kept") - documents(after, "kept")
    assert bounds["lost"] <= len(lost)
    if settings == ("sizes.min_letters=8",):
        assert bounds["at_least"] == bounds["at_most"] == bounds["kept_now"]


def test_a_setting_means_what_it_means_to_build(corpus):
    """The same words through `eyas build --set` and `eyas whatif --set`."""
    root = str(corpus / "root")
    settings = ("sizes.min_letters=20", "sizes.max_letters_per_word=5.0")
    artifact = described(corpus / "in")
    before, after = built(artifact, root), built(apply_settings(artifact, settings), root)
    assert_same(what_if(before, settings), before, after)


def near(artifact):
    """Near duplicates by single words, half of them shared."""
    config = MinHashConfig(num_perm=64, num_bands=32, rows_per_band=2, shingle_size=1)
    return dedup_near(artifact, config=config, min_jaccard=0.5, guard=Guard(enabled=False), name="birds-near")


@pytest.mark.parametrize(
    "setting", ["sizes.min_letters=25", "stop_words.unwanted=zz", "too_few_words=5", "sizes.min_letters=8"]
)
def test_an_interval_behind_near_dedup_is_never_wrong(corpus, setting):
    """Short texts of few words: many near duplicates, whose keepers change with what comes in."""
    root = str(corpus / "root")
    before = built(near(described(corpus / "in")), root)
    changed = described(corpus / "in", stages=stages_of((setting,)))
    after = built(near(changed), root)
    bounds = what_if(before, (setting,))["interval"]
    assert bounds["at_least"] <= bounds["at_least_usual"] <= bounds["at_most"]
    assert bounds["at_least"] <= after.manifest["counts"]["kept"] <= bounds["at_most"]
    assert sum(before.manifest["counts"]["dropped"].values()) > 0
    if setting == "sizes.min_letters=8":
        assert bounds["at_least"] == bounds["at_most"]


@pytest.mark.shared
def test_answers_on_real_pages_are_what_rebuilds_give(tmp_path):
    """Every bound of the English heuristics halved and doubled in turn would be slow; one of each family will do."""
    source = Source(name="pages", inputs=(str(shared_path("web/wcxb-dev.warc.gz")),), extractor=ExtractHtml())
    stages = (GopherRepetition(), GopherQuality(), C4Quality(), FineWebQuality())
    artifact = process(source, through=Pipeline(name="clean", stages=stages))
    root = str(tmp_path / "root")
    before = built(artifact, root)
    assert 0 < before.manifest["counts"]["kept"] < before.manifest["counts"]["documents"]
    for settings in (("gopher_quality.min_words=200",), ("c4_quality.min_sentences=12", "gopher_quality.min_words=10")):
        after = built(apply_settings(artifact, settings), root)
        assert_same(what_if(before, settings), before, after)
        for item in choose(after, dropped=True, n=10)[0]:
            (fate,) = explain(after, item.id)["fates"]
            assert [f"{rule['stage']}/{rule['reason']}" for rule in fate["rules"] if rule["holds"]] == fate["reasons"]
            (then,) = explain(before, item.id)["fates"]
            changed = {text for text in fate["reasons"] if text not in then["reasons"]}
            assert changed <= {"gopher_quality/too_few_words", "c4_quality/too_few_sentences"}
