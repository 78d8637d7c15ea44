"""`eyas build` with the flags of near dedup: the guard stops and goes on, and `--no-verify` is loud and recorded."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from pipelines.artifact import Artifact, build
from pipelines.cli import main
from pipelines.errors import ConfigError
from pipelines.fingerprint import fingerprint, identity
from pipelines.recipes import Request, apply_settings, describe, describe_again
from pipelines.recipes.near_dedup_flags import UNVERIFIED, check_near_dedup, has_near_dedup, with_guard
from tests.integration.line_corpus import write_corpus

RECIPE = (
    "from filters.normalize import NormalizeText\n"
    "from pipelines.makers.exact_dedup import dedup_exact\n"
    "from pipelines.makers.near_dedup import dedup_near\n"
    "from pipelines.makers.process import process\n"
    "from pipelines.pipeline import Pipeline\n"
    "def recipe(source):\n"
    "    clean = process(source, through=Pipeline(name='clean', stages=(NormalizeText(),)))\n"
    "    return dedup_exact(dedup_near(clean, name='families-unique'), name='families-exact')\n"
)


def write_families(folder: Path, *, families: int, copies: int) -> Path:
    """Documents of 60 random words, each `copies` times with its last word exchanged: similarity 0.96."""
    rng = random.Random(3)
    path = folder / "families.jsonl"
    with path.open("w") as file:
        for family in range(families):
            words = " ".join(f"word{rng.randrange(10**6)}" for _ in range(60))
            for copy in range(copies):
                file.write(json.dumps({"id": f"{family}-{copy}", "text": f"{words} end{copy}"}) + "\n")
    return path


def near_dedups(artifact: Artifact) -> list:
    inside = [found for parent in artifact.inputs if isinstance(parent, Artifact) for found in near_dedups(parent)]
    return inside + [artifact.maker] * (type(artifact.maker).__name__ == "NearDedup")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("recipe") / "families_recipe.py"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def described(recipe, tmp_path) -> Artifact:
    return describe(Request(recipe=recipe, inputs=(str(write_families(tmp_path, families=2, copies=2)),)))


def test_bounds_reach_every_near_dedup_and_change_no_fingerprint(described):
    changed = with_guard(described, {"max_removed_share": 0.9, "enabled": False})
    (maker,) = near_dedups(changed)
    assert (maker.guard.max_removed_share, maker.guard.enabled, maker.guard.max_cluster_share) == (0.9, False, 0.01)
    (before,) = near_dedups(described)
    assert identity(before) == identity(maker)
    assert fingerprint(changed.maker) == fingerprint(described.maker)
    assert with_guard(described, {}) is described
    with pytest.raises(ConfigError, match=r"max_removed_share = 1.5: a share from 0 to 1"):
        with_guard(described, {"max_removed_share": 1.5})


def test_flags_on_a_recipe_without_near_dedup_are_refused(described, tmp_path, root, capsys):
    assert has_near_dedup(described)
    check_near_dedup(described, ("--no-guard",))
    write_corpus(tmp_path)
    line = str(Path(__file__).parents[1] / "integration" / "line_corpus.py")
    words = ["build", line, "--input", str(tmp_path / "in/*.jsonl"), "--root", root]
    for flags in (["--no-verify"], ["--no-guard"], ["--max-cluster-members", "9"], ["--max-removed-share", "0.9"]):
        assert main([*words, *flags]) == 2
        assert f"{flags[0]}: the recipe of 'line-corpus-clean' has no near dedup" in capsys.readouterr().err


def test_no_verify_is_loud_recorded_and_another_artifact(recipe, tmp_path, root, capsys):
    words = ["build", recipe, "--input", str(write_families(tmp_path, families=20, copies=2)), "--root", root]
    assert main(words) == 0
    assert "WARNING" not in capsys.readouterr().err
    assert main([*words, "--no-verify"]) == 0
    assert (
        "WARNING: near dedup without verification drops all but one document of every cluster"
        in capsys.readouterr().err
    )
    manifests = [json.loads(path.read_text()) for path in Path(root).glob("families-unique/*/manifest.json")]
    assert len(manifests) == 2
    (unverified,) = [m for m in manifests if not m["notes"]["near_dedup"]["verified"]]
    assert unverified["recipe"]["settings"] == [UNVERIFIED]
    (maker,) = near_dedups(describe_again(unverified["recipe"]))
    assert maker.verify is False
    assert "near_dedup/near_duplicate_unverified" in unverified["counts"]["dropped"]
    directory = str(Path(root) / "families-unique" / unverified["fingerprint"][:12])
    assert main(["inspect", directory]) == 0
    assert "NOT VERIFIED: families-unique/" in capsys.readouterr().out


def test_the_guard_stops_a_build_that_the_flag_named_lets_go_on(recipe, tmp_path, root, capsys):
    words = ["build", recipe, "--input", str(write_families(tmp_path, families=300, copies=4)), "--root", root]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "near dedup would drop too much" in said
    assert "source families-recipe: 900 of 1,200 documents (75.0%), more than max_removed_share = 0.6" in said
    assert said.count(". similarity 0.9") == 3
    assert "add --max-removed-share 0.75 (or --no-guard)" in said
    (unfinished,) = (Path(root) / "families-unique").iterdir()
    assert not (unfinished / "manifest.json").exists()
    commits = {path: path.stat().st_mtime_ns for path in unfinished.glob("work/keys/counts/*.json")}
    assert commits, "finished passes are kept"
    assert main([*words, "--max-removed-share", "0.75"]) == 0
    manifest = json.loads((unfinished / "manifest.json").read_text())
    assert manifest["counts"]["kept"] == 300
    noted = manifest["notes"]["near_dedup"]["guard"]
    assert {(f["stratum"], f["removed"]) for f in noted} == {("source", 900), ("language", 900), ("length", 900)}
    capsys.readouterr()
    assert main(["inspect", str(unfinished)]) == 0
    assert "GUARD LOOSENED: families-unique/" in capsys.readouterr().out
    request = describe_again(manifest["recipe"])
    assert build(request, root=root)["recipe"] == manifest["recipe"], "described again without the flag, it is finished"


def test_the_guard_stops_before_verification_where_a_cluster_is_too_large(recipe, tmp_path, root, capsys):
    words = ["build", recipe, "--input", str(write_families(tmp_path, families=2, copies=120)), "--root", root]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "a cluster of 120 documents, 50.0% of the corpus: more than max_cluster_share = 0.01" in said
    assert said.count(". similarity 0.9") == 3
    (unfinished,) = (Path(root) / "families-unique").iterdir()
    assert not (unfinished / "work" / "verdicts").exists()
    assert main([*words, "--no-guard"]) == 0
    manifest = json.loads((unfinished / "manifest.json").read_text())
    assert manifest["counts"]["kept"] == 2
    assert [f["members"] for f in manifest["notes"]["near_dedup"]["guard"]] == [120, 120]


def test_settings_that_belong_together_may_come_in_any_order(described):
    """20 bands of 5 rows pass through 20 of 8 if set one by one, which 112 permutations do not hold."""
    for order in (1, -1):
        settings = ("near_dedup.config.num_bands=20", "near_dedup.config.rows_per_band=5")[::order]
        for maker in near_dedups(apply_settings(described, settings)):
            assert (maker.config.num_bands, maker.config.rows_per_band) == (20, 5)
    with pytest.raises(
        ConfigError, match=r"--set 'near_dedup.config.num_bands=20': num_bands \* rows_per_band = 20 \* 8"
    ):
        apply_settings(described, ("near_dedup.config.num_bands=20",))
