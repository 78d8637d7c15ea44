"""`eyas build --earlier`: a new crawl is deduplicated against the indexes of finished releases, named by directory."""

import json

import pytest

from pipelines.artifact import Artifact
from pipelines.cli import main
from pipelines.cli.locate import locate
from pipelines.errors import ConfigError
from pipelines.makers.exact_dedup import dedup_exact
from pipelines.makers.near_dedup import NearDedup, dedup_near
from pipelines.recipes import Request, describe_again
from pipelines.recipes.near_dedup_flags import with_earlier
from tests.unit.cli_corpus import described, write_corpus

RECIPE = (
    "from filters.normalize import NormalizeText\n"
    "from pipelines.makers.near_dedup import dedup_near\n"
    "from pipelines.makers.near_index import index_near\n"
    "from pipelines.makers.process import process\n"
    "from pipelines.pipeline import Pipeline\n"
    "def recipe(source):\n"
    "    clean = process(source, through=Pipeline(name='clean', stages=(NormalizeText(),)))\n"
    "    return index_near(dedup_near(clean, name=f'{source.name}-unique'))\n"
)


def test_the_same_crawl_again_goes_whole(tmp_path, capsys):
    words = [f"word{number}" for number in range(400)]
    lines = [json.dumps({"id": f"d{i}", "text": " ".join(words[30 * i : 30 * i + 90])}) for i in range(10)]
    (tmp_path / "crawl.jsonl").write_text("\n".join(lines) + "\n")
    recipe = tmp_path / "crawl_recipe.py"
    recipe.write_text(RECIPE)
    root = str(tmp_path / "root")
    base = ["build", str(recipe), "--input", str(tmp_path / "crawl.jsonl"), "--root", root, "--id-field", "id"]
    assert main([*base, "--name", "one"]) == 0
    assert main([*base, "--name", "two", "--earlier", f"{root}/one-unique-index"]) == 0
    capsys.readouterr()
    one, two = (locate(f"{root}/{name}-unique").manifest for name in ("one", "two"))
    assert one["counts"]["kept"] == 10
    assert two["counts"]["dropped"] == {"near_dedup/near_duplicate": 10}
    assert two["recipe"]["earlier"] == [locate(f"{root}/one-unique-index").directory]
    again = describe_again(two["recipe"])
    (unique,) = again.inputs
    assert isinstance(unique, Artifact)
    assert isinstance(unique.maker, NearDedup)
    assert unique.maker.num_earlier == 1


def test_where_it_would_be_unclear_it_is_refused(tmp_path):
    artifact = described(write_corpus(tmp_path / "in"))
    with pytest.raises(ConfigError, match="no near dedup"):
        with_earlier(artifact, ("x",))
    both = (dedup_near(artifact, name="a"), dedup_near(artifact, name="b"))
    with pytest.raises(ConfigError, match="2 artifacts with a near dedup each"):
        with_earlier(dedup_exact(*both), ("x",))


def test_a_request_records_absolute_places():
    request = Request(recipe="web", inputs=("in",), earlier=("corpus/index",))
    assert all(place.startswith("/") for place in request.record()["earlier"])
