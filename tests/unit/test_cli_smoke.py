"""The makers of smoke runs and `eyas smoke`: from artifacts to a verdict, a page, an exit code."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random

import pytest

import model_smoke.training
from mixtures.mix import Mix
from mixtures.mixture import Mixture, MixtureComponent
from model_smoke.config import SIZES
from model_smoke.training import TrainOptions
from pipelines import storage
from pipelines.artifact import Artifact, BuildOptions, build_all
from pipelines.cli import smoke
from pipelines.errors import ConfigError, InputError
from pipelines.recipes.smoke import SmokeTrain, SmokeVerdict
from pipelines.recipes.smoke_page import smoke_page
from tests.documents import Written
from tokenizer_training.tokenize import Tokenize
from tokenizer_training.train import TrainTokenizer

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _small_model(monkeypatch):
    """`tiny` made tinier: what is tested is the way around the model."""
    small = dataclasses.replace(SIZES["tiny"], num_layers=1, hidden_size=32, num_heads=1, ssm_heads=2, mlp_size=32)
    monkeypatch.setattr(
        model_smoke.training,
        "size_config",
        lambda name, vocab_size=None: dataclasses.replace(small, vocab_size=vocab_size or 4096),
    )


def texts(source, number):
    words = "the falcon flies over a hill and sees one small river near every old house"
    chosen = random.Random(source)
    return tuple(
        ("en" if row % 2 else "de", " ".join(chosen.choices(words.split(), k=chosen.randrange(20, 40))))
        for row in range(number)
    )


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Two mixtures of two corpora with other weights, and a corpus that neither reads, under one root."""
    root = str(tmp_path_factory.mktemp("smoke") / "root")
    corpora = [
        Artifact(name=name, maker=Written(source=name, shards=(texts(name, number),)), inputs=())
        for name, number in (("web", 120), ("books", 120), ("judge", 12))
    ]
    tokenizer = Artifact(
        name="tokenizer", maker=TrainTokenizer(vocab_size=400, num_reserved=32, latex=False), inputs=tuple(corpora[:2])
    )
    tokens = [Artifact(name=f"{c.name}_tokens", maker=Tokenize(), inputs=(c, tokenizer)) for c in corpora]
    found = []
    for name, weights in (("old", (1.0, 1.0)), ("new", (3.0, 1.0))):
        components = tuple(
            MixtureComponent(name=part.name.removesuffix("_tokens"), artifact=part.name, weight=weight)
            for part, weight in zip(tokens[:2], weights, strict=True)
        )
        wanted = Mixture(components=components, budget_tokens=2_000, sequence_length=32, held_out=0.2)
        found.append(Artifact(name=name, maker=Mix(mixture=wanted), inputs=tuple(tokens[:2])))
    built = build_all((*found, tokens[2], tokens[0]), BuildOptions(root=root))
    return root, found, built


def call(capsys, *words):
    parser = argparse.ArgumentParser()
    smoke.add(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["smoke", *words, "--device", "cpu"])
    code = arguments.run(arguments)
    return code, capsys.readouterr().out


def test_two_mixtures_get_a_verdict(line, capsys, tmp_path):
    root, _, _ = line
    words = [
        f"{root}/new",
        "--against",
        f"{root}/old",
        "--steps",
        "6",
        "--batch-size",
        "2",
        "--root",
        str(tmp_path / "r"),
    ]
    code, out = call(capsys, *words, "--json", "--html", str(tmp_path / "page.html"))
    record = json.loads(out)
    assert code == (0 if record["healthy"] else 1)
    assert record["runs"] == [f"{letter}-seed00{seed}" for letter in "ab" for seed in range(3)]
    verdict = record["verdict"]
    assert verdict["paired"]
    assert verdict["outcome"] in ("better", "worse", "not decided")
    assert [row["name"] for row in verdict["domains"]] == ["books", "web"]
    assert [row["name"] for row in verdict["languages"]] == ["de", "en"]
    page = (tmp_path / "page.html").read_text()
    assert verdict["sentence"].split(" (")[0] in page
    assert page.count("<path") == 6
    code, shown = call(capsys, *words)
    assert verdict["sentence"] in shown
    assert "DataDecide" in shown
    directory = storage.list_directories(str(tmp_path / "r" / "smoke-verdict"))[0]
    held_out = json.loads(storage.read_bytes(f"{directory}/held_out.json"))
    assert {document["language"] for document in held_out["documents"]} == {"de", "en"}
    assert all(document["name"].startswith(("web/web-", "books/books-")) for document in held_out["documents"])
    assert root not in storage.read_bytes(f"{directory}/held_out.json").decode()


def test_one_mixture_gets_health_and_no_verdict(line, capsys):
    root, _, _ = line
    code, out = call(capsys, f"{root}/old", "--steps", "12", "--json")
    record = json.loads(out)
    assert (code, record["verdict"], record["runs"]) == (0, None, ["a-seed000"])


def test_judged_by_given_documents(line, capsys):
    root, _, _ = line
    words = [f"{root}/old", "--steps", "2", "--json", "--held-out"]
    _, out = call(capsys, *words, f"{root}/judge_tokens")
    assert json.loads(out)["held_out"] == {"documents": 12, "left_out": {}, "given": True}
    with pytest.raises(InputError, match="held-out documents of 'web_tokens' are trained on in component 'web'"):
        call(capsys, *words, f"{root}/web_tokens")


def test_same_bytes_wherever_it_is_built(line, tmp_path):
    """Another root, and another place of the inputs, changes no byte of what is put."""
    _, (old, new), _ = line
    maker = SmokeVerdict(options=TrainOptions(steps=2, batch_size=1), num_mixtures=2, seeds=1, max_seeds=2)
    artifact = Artifact(name="v", maker=maker, inputs=(new, old))
    hashes = []
    for name in ("one", "other"):
        (built,) = build_all((artifact,), BuildOptions(root=str(tmp_path / name)))
        hashes.append((built.fingerprint, built.manifest["root_hash"], built.manifest["side_files"]))
    assert hashes[0] == hashes[1]
    assert {"verdict.json", "report.html", "held_out.json", "runs/b-seed001.json", "bits/a-seed000.npy"} <= set(
        hashes[0][2]
    )


def test_one_run_is_summarized(line, tmp_path):
    _, (old, _), _ = line
    artifact = Artifact(name="smoke", maker=SmokeTrain(options=TrainOptions(steps=12), eval_tokens=2000), inputs=(old,))
    (built,) = build_all((artifact,), BuildOptions(root=str(tmp_path)))
    record = json.loads(storage.read_bytes(f"{built.uri}/smoke.json"))
    assert record["healthy"]
    assert record["bits_per_byte"]["after"] < record["bits_per_byte"]["before"]
    assert set(record["bits_per_byte"]["components"]) == {"web", "books"}
    assert len(record["losses"]) == record["steps"] == 12
    assert built.manifest["notes"]["smoke"]["healthy"]


def test_seeds_are_added_by_doubling():
    assert SmokeVerdict(seeds=3, max_seeds=3).looks() == (3,)
    assert SmokeVerdict(seeds=3, max_seeds=20).looks() == (3, 6, 12, 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"seeds": 0}, "seeds = 0"), ({"seeds": 4}, "max_seeds = 3"), ({"level": 1.0}, "level"), ({"num_mixtures": 3}, "num_mix")],
)  # fmt: skip
def test_impossible_comparisons_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        SmokeVerdict(**changes)


def test_what_is_no_mixture_is_named(line, capsys):
    root, _, _ = line
    with pytest.raises(InputError, match=r"no mixture\.json in it"):
        call(capsys, f"{root}/web_tokens")
    with pytest.raises(ConfigError, match="--root"):
        call(capsys, f"{root}/old", "--root", "s3://bucket/x")


def test_the_page_escapes_and_shows_spikes():
    spike = {
        "step": 3,
        "signal": "loss",
        "value": 9.0,
        "z": 12.0,
        "documents": [{"source": HOSTILE, "id": HOSTILE, "document": 1}],
    }
    health = {
        "problems": [HOSTILE], "remarks": [], "num_spikes": 1, "spikes": [spike], "dead_tokens": {"never_seen_share": 0.5},
        "documents": {"unique_share": 1.0},
    }  # fmt: skip
    run = {
        "model": {"architecture": HOSTILE, "num_parameters": 5}, "losses": [3.0, float("nan"), 2.0], "trained_tokens": 64,
        "bytes_per_token": 3.0, "health": health, "evaluation": {"after": {"all": 1.5}},
    }  # fmt: skip
    record = {"mixtures": {"a": HOSTILE}, "healthy": False, "verdict": None}
    page = smoke_page(record, {HOSTILE: run})
    assert "<script" not in page
    assert "step 3: loss 9" in page
    assert "not to be trusted" in page
    assert "nan" not in page
