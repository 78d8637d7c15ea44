"""`eyas build` from the outside: what it prints, and that bad input exits 2 with value, place and cure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.artifact import open_artifact
from pipelines.cli import build as build_command
from pipelines.cli import main
from pipelines.executors import Outcome
from pipelines.executors.local import Local
from pipelines.recipes import Request, describe, describe_again
from pipelines.records import FileShard
from tests.integration.line_corpus import write_corpus

RECIPE = str(Path(__file__).resolve().parents[1] / "integration" / "line_corpus.py")


@pytest.fixture
def inputs(tmp_path) -> str:
    return str(write_corpus(tmp_path, files=3) / "*.jsonl")


def test_build_says_what_came_in_and_what_went(inputs, root, capsys):
    assert main(["build", RECIPE, "--name", "lines", "--input", inputs, "--root", root]) == 0
    shown = capsys.readouterr()
    assert " documents = " in shown.out
    assert "dropped: gopher_quality/too_few_words" in shown.out
    assert "lines-clean / final: 3 shards" in shown.err
    assert main(["build", RECIPE, "--name", "lines", "--input", inputs, "--root", root, "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["recipe"]["recipe"] == RECIPE
    assert describe_again(manifest["recipe"]).name == manifest["name"]


def test_settings_change_the_fingerprint(inputs, root):
    plain = describe(Request(recipe=RECIPE, inputs=(inputs,)))
    changed = describe(Request(recipe=RECIPE, inputs=(inputs,), settings=("gopher_quality.min_words=7",)))
    assert plain.maker.pipeline.stages[1].min_words == 20
    assert changed.maker.pipeline.stages[1].min_words == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build", "wep", "--input", "x"], "did you mean 'web'"),
        (["build", "no_such_file.py", "--input", "x"], "no recipe file at no_such_file.py"),
        (["build", "RECIPE", "--input", "/no/such/place/*.jsonl"], "/no/such/place"),
        (["build", "RECIPE", "--input", "INPUTS", "--set", "gopher_quality.min_wrods=3"], "has no field 'min_wrods'"),
        (["build", "RECIPE", "--input", "INPUTS", "--set", "gopher.min_words=3"], "nothing is called 'gopher'"),
        (["build", "RECIPE", "--input", "INPUTS", "--set", "gopher_quality.min_words=few"], "'few' is not a int"),
        (["build", "RECIPE", "--input", "INPUTS", "--workers", "0"], "--workers 0"),
        (["build", "RECIPE", "--input", "INPUTS", "--text-field", "body"], "--text-field"),
    ],
)
def test_bad_input_exits_2(words, said, inputs, root, capsys):
    words = [{"RECIPE": RECIPE, "INPUTS": inputs}.get(word, word) for word in words]
    assert main([*words, "--root", root]) == 2
    assert said in capsys.readouterr().err


def test_an_unknown_flag_exits_2(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["build", "web", "--inptu", "x"])
    assert ended.value.code == 2


def test_an_empty_folder_is_an_error(tmp_path, root, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["build", RECIPE, "--input", str(tmp_path / "empty"), "--root", root]) == 2
    assert str(tmp_path / "empty") in capsys.readouterr().err


def test_an_unwritable_root_is_an_error(inputs, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["build", RECIPE, "--input", inputs, "--root", str(tmp_path / "file")]) == 1
    assert "cannot write the root" in capsys.readouterr().err


def test_a_full_disk_is_an_error_that_names_the_cure(inputs, capsys):
    if not Path("/dev/full").exists():
        pytest.fail("this test needs /dev/full, which every Linux has")
    assert main(["build", RECIPE, "--input", inputs, "--root", "/dev/full"]) == 1
    assert "cannot write the root" in capsys.readouterr().err


def test_a_recipe_that_fails_on_import_names_its_file(tmp_path, root, capsys):
    path = tmp_path / "broken_recipe.py"
    path.write_text("import no_such_module_anywhere\n")
    assert main(["build", str(path), "--input", "x", "--root", root]) == 2
    assert "broken_recipe.py failed while it was imported" in capsys.readouterr().err


class LosesOne:
    """The local executor, on which every shard but the first fails."""

    def map_shards(self, work, shards, *, needs=None):
        first, *others = shards
        if not isinstance(first, FileShard):  # the inventory
            yield from Local().map_shards(work, [first, *others])
            return
        yield from Local().map_shards(work, [first])
        yield from (Outcome(shard=shard, error=OSError("the disk said no"), attempts=3) for shard in others)


def test_without_failed_shards_prints_what_is_missing_and_the_directory_of_the_manifest(
    inputs, root, capsys, monkeypatch
):
    monkeypatch.setattr(build_command, "executor_of", lambda arguments, recipe="": LosesOne())
    words = ["build", RECIPE, "--input", inputs, "--root", root]
    assert main([*words, "--without-failed-shards"]) == 0
    shown = capsys.readouterr().out
    directory = next(line for line in shown.splitlines() if line.startswith("line-corpus-clean")).split()[-1]
    manifest = json.loads((Path(directory) / "manifest.json").read_text())
    assert len(manifest["missing"]) == 2
    for shard in manifest["missing"]:
        assert f"  MISSING shard {shard}: " in shown
    assert "the disk said no" in shown
    assert f"Look closer: eyas inspect {directory}" in shown
    assert open_artifact(directory).fingerprint == manifest["fingerprint"]


def test_an_artifact_reached_twice_is_printed_once(inputs, root, tmp_path, capsys):
    path = tmp_path / "twice_recipe.py"
    path.write_text(
        "from tests.integration.line_corpus import recipe as one\n"
        "from pipelines.makers.exact_dedup import dedup_exact\n"
        "import dataclasses\n"
        "def recipe(source):\n"
        "    return dataclasses.replace(dedup_exact(one(source)), inputs=(one(source), one(source)))\n"
    )
    assert main(["build", str(path), "--input", inputs, "--root", root]) == 0
    assert capsys.readouterr().out.count("\ntwice-recipe-clean  ") == 1


@pytest.mark.parametrize("blank", ["", "  "])
def test_an_empty_root_exits_2(inputs, capsys, monkeypatch, tmp_path, blank):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main(["build", RECIPE, "--input", inputs, "--root", blank]) == 2
    assert "--root is empty" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("place", "code", "said"),
    [("file/below", 1, "cannot write the root"), ("s3://bucket/demo", 2, "name a folder of this machine")],
)
def test_a_demo_that_has_nowhere_to_write_says_so(tmp_path, capsys, place, code, said):
    (tmp_path / "file").write_text("in the way")
    root = place if "://" in place else str(tmp_path / place)
    assert main(["demo", "--root", root]) == code
    assert said in capsys.readouterr().err


def test_an_address_where_nobody_listens_exits_2(inputs, root, capsys):
    words = ["build", RECIPE, "--input", inputs, "--root", root, "--executor", "ray", "--address"]
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "ray://127.0.0.1:99999", "http://127.0.0.1:8265"):
        assert main([*words, address]) == 2
        said = capsys.readouterr().err
        assert address in said
        assert "check --address and RAY_ADDRESS" in said


def test_verify_works_from_another_folder(tmp_path, capsys, monkeypatch):
    write_corpus(tmp_path, files=2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moving_recipe.py").write_text("from tests.integration.line_corpus import recipe\n")
    assert main(["build", "moving_recipe.py", "--input", "in/*.jsonl", "--root", "root"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["verify", "../root/moving-recipe-clean", "--all"]) == 0
    shown = capsys.readouterr().out
    assert "called again, it has the same fingerprint" in shown
    assert "2 of 2, equal in every file" in shown
