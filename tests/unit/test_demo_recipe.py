"""The demo's corpora are described by requests like any other, so that its artifacts can be verified."""

from __future__ import annotations

import json

from pipelines.cli import main
from pipelines.cli.demo import SAMPLES
from pipelines.recipes import Request, describe, describe_again
from pipelines.recipes.demo import demo_line, prepare


def test_every_corpus_can_be_described_again(tmp_path):
    prepare(SAMPLES, tmp_path)
    line = demo_line(SAMPLES, tmp_path)
    for name, corpus in line.corpora.items():
        again = describe_again(line.requests[name].record())
        assert (again.name, again.maker) == (corpus.name, corpus.maker)
    assert line.request_of(line.tokenizer) is None
    assert [node.name for node in line.in_order()][-2:] == ["mixture", "smoke"]


def test_broken_source_files_are_left_to_the_reader(tmp_path):
    prepare(SAMPLES, tmp_path)
    lines = (tmp_path / "code.jsonl").read_bytes().splitlines()
    broken = 0
    for line in lines:
        try:
            assert set(json.loads(line)) == {"id", "text"}
        except (UnicodeDecodeError, ValueError):
            broken += 1
    assert len(lines) > 40
    assert 0 < broken < 5


def test_dropped_text_and_fields_of_one_kind_reach_their_places():
    request = Request(recipe="synthetic", inputs=("x.jsonl",), dropped_text="none", id_field="jsonl:key")
    unique = describe(request)
    assert {unique.maker.dropped_text, unique.inputs[0].maker.dropped_text} == {"none"}
    source = unique.inputs[0].inputs[0]
    assert source.reader_of("x.jsonl").id_field == "key"
    assert source.reader_of("x.parquet").id_field == ""


def test_the_flag_is_known(capsys, tmp_path):
    words = [
        "build",
        "synthetic",
        "--input",
        str(SAMPLES / "synthetic"),
        "--root",
        str(tmp_path),
        "--dropped-text",
        "all",
        "--json",
    ]
    assert main(words) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["recipe"]["dropped_text"] == "all"
