"""`eyas build` from the outside: what it prints, and that bad input exits 2 with value, place and cure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.recipes import Request, describe, describe_again
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
