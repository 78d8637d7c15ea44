"""`eyas tokenizer` from the outside: what is trained and printed, what is named how, and that bad input exits 2."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

import model_smoke.training
from model_smoke.config import SIZES
from pipelines.artifact import BuildOptions, build_all
from pipelines.cli import main
from pipelines.cli import tokenizer as command
from pipelines.errors import ConfigError, InputError
from tests.documents import documents
from tests.tokenizer_files import TEXTS, small_tokenizer
from tokenizer_training.evaluate import TokenizerFile
from tokenizer_training.recipe import load_recipe, named_recipes, parse_recipe
from tokenizer_training.train import TrainTokenizer

RECIPE = """
format = 1
vocab_sizes = [1060, 1080]
num_reserved = 32
temperature = 2

[weights]
corpus = 1.5
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A root with documents in it, and the text of a recipe beside it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = tuple(f"{text} {number}" for number in range(30) for text in TEXTS)
    build_all((documents("corpus", texts),), BuildOptions(root=str(folder / "root")))
    (folder / "small.toml").write_text(RECIPE)
    (folder / "other").mkdir()
    (folder / "other" / "tokenizer.json").write_bytes(small_tokenizer("none"))
    (folder / "parallel.jsonl").write_text('{"en": "the falcon", "de": "der Falke"}\n')
    return folder


@pytest.fixture(scope="module")
def trained(line):
    words = ["tokenizer", "train", f"{line}/small.toml", "--input", f"{line}/root/corpus", "--root", f"{line}/root"]
    assert main(words) == 0
    return line


def test_train_makes_a_ladder_and_an_artifact_of_each_size(trained, capsys):
    words = [
        "tokenizer",
        "train",
        f"{trained}/small.toml",
        "--input",
        f"{trained}/root/corpus",
        "--root",
        f"{trained}/root",
    ]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "1,060" in shown
    assert "1,080" in shown
    assert "largest pair count" in shown
    for size in (1060, 1080):
        (file,) = (trained / "root").glob(f"small-{size}/*/tokenizer/tokenizer.json")
        assert len(json.loads(file.read_bytes())["model"]["vocab"]) == size
    assert main([*words, "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    fields = manifest["payload"]["maker"]["fields"]
    assert (fields["temperature"], fields["weights"]) == (2.0, [["corpus", 1.5]])


def test_flags_set_fields_of_the_maker(line, capsys):
    words = [
        "tokenizer",
        "train",
        "--input",
        f"{line}/root/corpus",
        "--root",
        f"{line}/root",
        "--name",
        "flags",
        "--json",
    ]
    flags = ["--vocab-size", "400", "--pattern", "none", "--temperature", "3", "--weight", "corpus=2"]
    assert main([*words, *flags, "--set", "num_reserved=32", "--set", "latex=false"]) == 0
    fields = json.loads(capsys.readouterr().out)["payload"]["maker"]["fields"]
    assert fields["vocab_size"] == 400
    assert fields["vocab_sizes"] == []
    assert (fields["pattern"], fields["num_reserved"], fields["latex"]) == ("none", 32, False)
    assert (fields["temperature"], fields["weights"]) == (3.0, [["corpus", 2.0]])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such"], "no tokenizer recipe 'no-such'; name a .toml file or one of falcon-h1"),
        (["missing.toml"], "no tokenizer recipe 'missing.toml'"),
        (["--set", "vocab_sise=3"], "unknown key 'vocab_sise'"),
        (["--set", "vocab_size"], "expected field=value"),
        (["--set", "latex=maybe"], "'maybe' is not a bool"),
        (["--set", "weights=a"], "use --weight"),
        (["--weight", "corpus"], "expected SOURCE=NUMBER"),
        (["--weight", "corpus=x"], "'x' is not a float"),
        (["--weight", "corpse=2", "--vocab-size", "3000"], "weights name ['corpse']"),
        (["--vocab-size", "10"], "vocab_size = 10"),
        (["--vocab-size", "3000", "2000"], "the smallest first"),
        (["--temperature", "0.5"], "temperature = 0.5"),
    ],
)
def test_bad_training_exits_2_and_says_why(line, capsys, words, said):
    where = ["--input", f"{line}/root/corpus", "--root", f"{line}/bad"]
    assert main(["tokenizer", "train", *words, *where]) == 2
    assert said in capsys.readouterr().err


def test_evaluate_prints_writes_the_page_and_json(trained, capsys):
    root = f"{trained}/root"
    words = [
        "tokenizer", "evaluate", f"{root}/small", f"{root}/small-1060", f"{trained}/other", f"named={trained}/other/tokenizer.json",
        "--input", f"{root}/corpus", "--parallel", f"{trained}/parallel.jsonl",
    ]  # fmt: skip
    assert main(words) == 0
    shown = capsys.readouterr()
    for label in ("small-1060", "small-1060 (2)", "small-1080", "other", "named"):
        assert re.search(rf"^{re.escape(label)} ", shown.out, re.MULTILINE), label
    assert "746/746" in shown.out
    page = Path(root) / "tokenizers.html"
    assert f"Page: {page}" in shown.out
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    elsewhere = trained / "page.html"
    assert main([*words, "--html", str(elsewhere), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert elsewhere.read_bytes() == page.read_bytes()
    same = {entry["label"]: entry for entry in record["tokenizers"]}
    assert same["other"]["all"] == same["named"]["all"]
    assert same["small-1060"]["all"] == same["small-1060 (2)"]["all"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{root}/corpus", "--input", "{root}/corpus"], "is no tokenizer"),
        (["{root}/nothing", "--input", "{root}/corpus"], "no artifact"),
        (["some-org/some-name", "--input", "{root}/corpus"], "nothing is downloaded"),
        (["{root}/../small.toml", "--input", "{root}/corpus"], "not a tokenizer.json"),
        (["{root}/../other", "--input", "{root}/corpus", "--parallel", "none.jsonl"], "no file at 'none.jsonl'"),
        (["{root}/../other", "--input", "{root}/corpus", "--parallel", "{root}/../small.toml"], "byte"),
        (["x={root}/small", "--input", "{root}/corpus"], "an artifact has its own name"),
    ],
)
def test_bad_evaluation_exits_2_and_says_why(trained, capsys, monkeypatch, tmp_path, words, said):
    monkeypatch.setattr(command, "try_to_load_from_cache", lambda *_: None)
    assert main(["tokenizer", "evaluate", *(word.format(root=f"{trained}/root") for word in words)]) == 2
    assert said in capsys.readouterr().err


def test_a_cached_name_is_a_tokenizer(line, monkeypatch):
    monkeypatch.setattr(command, "try_to_load_from_cache", lambda *_: str(line / "other" / "tokenizer.json"))
    found = command.open_tokenizer("some-org/some-name")
    assert isinstance(found, TokenizerFile)
    assert found.label == "some-org/some-name"


def test_ablation_compares_patterns_by_bits_per_byte(line, capsys, monkeypatch):
    small = dataclasses.replace(SIZES["tiny"], num_layers=1, hidden_size=32, num_heads=1, ssm_heads=2, mlp_size=32)
    monkeypatch.setattr(
        model_smoke.training,
        "size_config",
        lambda name, vocab_size=None: dataclasses.replace(small, vocab_size=vocab_size or 4096),
    )
    words = [
        "tokenizer",
        "ablate",
        "--input",
        f"{line}/root/corpus",
        "--root",
        f"{line}/ablation",
        "--patterns",
        "none",
        "both",
    ]
    words += ["--shares", "0.5", "1", "--vocab-size", "1100", "--train-bytes", "3000", "--seeds", "2"]
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    rows = record["rows"]
    assert {(row["pattern"], row["share"]) for row in rows} == {(p, s) for p in ("none", "both") for s in (0.5, 1.0)}
    assert [row["bits_per_byte"] for row in rows] == sorted(row["bits_per_byte"] for row in rows)
    assert len({row["judged_bytes"] for row in rows}) == 1
    for row in rows:
        assert row["lowest"] <= row["bits_per_byte"] <= row["highest"]
        assert row["vocab_size"] <= 1100
    read = {row["share"]: row["train_bytes"] for row in rows}
    assert 0 < read[0.5] < read[1.0]
    assert main(words) == 0
    assert "that neither tokenizers nor models were trained on" in capsys.readouterr().out


def test_bad_ablations_exit_2(line, capsys):
    words = ["tokenizer", "ablate", "--input", f"{line}/root/corpus", "--root", f"{line}/bad"]
    for flags, said in (
        (["--shares", "0"], "(0, 1]"),
        (["--size", "huge"], "huge"),
        (["--patterns", "both", "both"], "patterns"),
    ):
        assert main([*words, *flags]) == 2
        assert said in capsys.readouterr().err


# --- recipes


def test_the_recipes_of_falcon_h1():
    assert named_recipes() == ("falcon-h1", "falcon-h1-english")
    ladder = load_recipe("falcon-h1")
    assert ladder.vocab_sizes == (32_768, 65_536, 130_048, 261_120)
    assert (ladder.pattern, ladder.latex, ladder.num_reserved) == ("both", True, 1024)
    english = load_recipe("falcon-h1-english")
    assert (english.sizes, english.pad_to) == ((32_778,), 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vocab_size = 3000", "format = 1"),
        ("format = 1\nvocab_sise = 3", "unknown key 'vocab_sise'"),
        ("format = 1\nvocab_size = 3000.0", "expected int"),
        ("format = 1\nlatex = 1", "expected bool"),
        ("format = 1\nvocab_sizes = 3", "list of whole numbers"),
        ("format = 1\nvocab_sizes = []", "list of whole numbers"),
        ("format = 1\nvocab_sizes = [true]", "list of whole numbers"),
        ("format = 1\nweights = 3", "a number for each source"),
        ('format = 1\n[weights]\na = "x"', "a number for each source"),
        ("format = 1\nvocab_size = 3000\nvocab_sizes = [3000]", "give one of them"),
        ("format = 1\npattern = 'x'", "unknown split pattern"),
        ("format = ", "here.toml"),
    ],
)
def test_bad_recipes_are_refused_with_place_and_cure(text, said):
    with pytest.raises((ConfigError, InputError), match=re.escape(said)):
        parse_recipe(text, where="here.toml")


def test_a_recipe_sets_what_it_names_and_nothing_else():
    assert parse_recipe("format = 1", where="x") == TrainTokenizer()
    assert parse_recipe("format = 1\nvocab_size = 3000", where="x") == TrainTokenizer(vocab_size=3000)
