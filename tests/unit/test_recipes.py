"""Recipes: a user's file is imported without harm, what fails in it names it, and settings reach what they should."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from filters.normalize import NormalizeText
from filters.url import UrlFilter
from pipelines.artifact import Artifact, Source
from pipelines.cli.build import _ancestors
from pipelines.errors import ConfigError
from pipelines.extraction import ExtractHtml
from pipelines.fingerprint import File
from pipelines.makers.exact_dedup import dedup_exact
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline
from pipelines.recipes import Request, apply_settings, describe, describe_again, load, load_file

GOOD = """
from filters.normalize import NormalizeText
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline

def recipe(source):
    return process(source, through=Pipeline(name="clean", stages=(NormalizeText(),)))
"""


@dataclass(frozen=True, kw_only=True)
class Picky:
    """A transform with every kind of field that settings meet."""

    limit: int | None = None
    share: float | None = None
    label: str | None = None
    words: tuple[str, ...] | None = None
    table: File | None = None
    even: int = 2
    rewrites_text: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.even % 2:
            raise ValueError("even must be even")

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch


@dataclass(frozen=True, kw_only=True)
class Extract:
    """A stage with the name that settings give to the extractor."""

    size: int = 1

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch


@pytest.fixture(autouse=True)
def _search_path():
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("rcp_"):
            del sys.modules[name]


def write(folder: Path, name: str, content: str = GOOD) -> str:
    path = folder / name
    path.write_text(content)
    return str(path)


def of(*stages, extractor=None) -> Artifact:
    source = Source(name="lines", inputs=("x.jsonl",), extractor=extractor)
    return process(source, through=Pipeline(name="clean", stages=stages))


def first_stage(artifact: Artifact):
    return artifact.maker.pipeline.stages[0]


def diamonds(depth: int) -> Artifact:
    """Each level is made of the one below twice over: 2^depth paths, `depth` nodes."""
    node = of(NormalizeText())
    for number in range(depth):
        node = replace(dedup_exact(node, name=f"level-{number}"), inputs=(node, node))
    return node


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("def recipe():\n    pass\n", r"failed: TypeError: recipe\(\) takes 0"),
        ("def recipe(source):\n    return source.no_such\n", "failed: AttributeError: .*no_such"),
        ("def recipe(source):\n    raise SystemExit(3)\n", "failed: SystemExit: 3"),
        ("def recipe(source):\n    return 1\n", "returned int"),
        ("import sys\nsys.exit(0)\n", "failed while it was imported: SystemExit: 0"),
        ("def recipe(:\n", "failed while it was imported: SyntaxError"),
    ],
)
def test_a_recipe_that_fails_is_named_with_its_error(tmp_path, content, said):
    path = write(tmp_path, "rcp_fails.py", content)
    with pytest.raises(ConfigError, match=said) as raised:
        describe(Request(recipe=path, inputs=("x.jsonl",)))
    assert path in str(raised.value)


def test_an_import_that_fails_leaves_nothing_behind(tmp_path):
    path = list(sys.path)
    with pytest.raises(ConfigError):
        load_file(Path(write(tmp_path, "rcp_gone.py", "raise SystemExit\n")))
    assert "rcp_gone" not in sys.modules
    assert sys.path == path


def test_a_recipes_own_errors_keep_their_words(tmp_path):
    content = "from pipelines.errors import InputError\ndef recipe(source):\n    raise InputError('said so')\n"
    with pytest.raises(Exception, match=r"^said so$"):
        describe(Request(recipe=write(tmp_path, "rcp_own.py", content), inputs=("x.jsonl",)))


@pytest.mark.parametrize("name", ["filters.py", "pipelines.py", "json.py", "xdrlib.py", "numpy.py", "rcp_a.b.py"])
def test_names_of_other_modules_are_refused(tmp_path, name):
    before = dict(sys.modules)
    with pytest.raises(ConfigError, match="rename the file"):
        load_file(Path(write(tmp_path, name)))
    assert {key: sys.modules.get(key) for key in before} == before


def test_an_installed_module_that_is_not_loaded_is_no_name_for_a_recipe(tmp_path, monkeypatch):
    (tmp_path / "installed").mkdir()
    (tmp_path / "mine").mkdir()
    write(tmp_path / "installed", "rcp_taken.py", "")
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    with pytest.raises(ConfigError, match=r"taken by .*installed"):
        load_file(Path(write(tmp_path / "mine", "rcp_taken.py")))


def test_a_folder_of_recipes_hides_nothing(tmp_path):
    (tmp_path / "filters").mkdir()
    write(tmp_path / "filters", "__init__.py", "raise RuntimeError('not ours')\n")
    write(tmp_path, "rcp_beside.py", "WORD = 'beside'\n")
    module = load_file(Path(write(tmp_path, "rcp_main.py", "import rcp_beside\n" + GOOD)))
    assert module.rcp_beside.WORD == "beside"
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("rcp_My Recipe.py", "rcp-my-recipe"),
        ("rcp_line_corpus.py", "rcp-line-corpus"),
        ("rcp_(copy).py", "rcp-copy"),
        ("rcp_日本.py", "rcp"),
    ],
)
def test_the_file_gives_the_source_a_name_that_a_directory_can_have(tmp_path, file, name):
    path = write(tmp_path, file)
    assert load(path)[1] == name
    assert describe(Request(recipe=path, inputs=("x.jsonl",))).inputs[0].name == name


def test_a_graph_of_diamonds_is_walked_once():
    graph = diamonds(60)
    assert [artifact.name for artifact in _ancestors(graph)] == ["lines-clean", *(f"level-{n}" for n in range(59))]
    with pytest.raises(ConfigError, match="there are exact_dedup, normalize_text, process"):
        apply_settings(graph, ("nothing.x=1",))
    changed = apply_settings(graph, ("process.dropped_text=all",))
    assert len(_ancestors(changed)) == 60
    assert _ancestors(changed)[0].maker.dropped_text == "all"


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("limit=7", "limit", 7),
        ("limit=none", "limit", None),
        ("share=0.5", "share", 0.5),
        ("label=none", "label", "none"),
        ("words=a, b", "words", ("a", "b")),
        ("even=4", "even", 4),
    ],
)
def test_a_field_that_is_none_takes_what_its_annotation_says(setting, field, value):
    found = getattr(first_stage(apply_settings(of(Picky()), (f"picky.{setting}",))), field)
    assert found == value
    assert type(found) is type(value)


def test_a_file_can_be_set_and_unset(tmp_path):
    hosts = write(tmp_path, "hosts", "bad.example\n")
    changed = apply_settings(of(UrlFilter()), (f"url_filter.hosts_file={hosts}",))
    assert first_stage(changed).hosts_file == File(hosts)
    assert first_stage(apply_settings(changed, ("url_filter.hosts_file=none",))).hosts_file is None
    with pytest.raises(ConfigError, match="no file at"):
        apply_settings(changed, (f"url_filter.hosts_file={hosts}-not",))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("picky.even=3", r"--set 'picky\.even=3': Picky refuses it: even must be even"),
        ("picky.limit=x", "'x' is not a int"),
        ("picky.limti=3", "has no field 'limti'"),
        ("process.no=1", "Process has no field 'no'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting, said):
    with pytest.raises(ConfigError, match=said):
        apply_settings(of(Picky()), (setting,))


def test_extract_is_the_extractor_unless_a_stage_has_the_name():
    page = of(Picky(), extractor=ExtractHtml())

    changed = apply_settings(page, ("extract.limits.max_depth=77", "extract.engine.links=true"))
    assert changed.inputs[0].extractor.limits.max_depth == 77
    assert changed.inputs[0].extractor.engine.links is True
    assert first_stage(apply_settings(of(Extract()), ("extract.size=3",))).size == 3
    with pytest.raises(ConfigError, match="both called 'extract'"):
        apply_settings(of(Extract(), extractor=ExtractHtml()), ("extract.size=3",))
    with pytest.raises(ConfigError, match="nothing is called 'extract'"):
        apply_settings(of(Picky()), ("extract.x=1",))


def test_a_record_holds_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "rcp_here.py")
    inputs = ("in/*.jsonl", "@list", "s3://b/*.gz", "file:///x", "/abs/a.jsonl", "~/a")
    request = Request(recipe="rcp_here.py", inputs=inputs)
    record = request.record()
    here = os.getcwd()
    assert record["recipe"] == f"{here}/rcp_here.py"
    assert list(record["inputs"]) == [
        f"{here}/in/*.jsonl",
        f"@{here}/list",
        "s3://b/*.gz",
        "file:///x",
        "/abs/a.jsonl",
        os.path.expanduser("~/a"),
    ]
    first = describe(request)
    monkeypatch.chdir("/")
    again = describe_again(record)
    assert (again.name, again.maker.pipeline.name) == (first.name, first.maker.pipeline.name)
    assert Request(recipe="web", inputs=("x",)).record()["recipe"] == "web"


def test_a_text_field_for_warc_files_alone_is_refused(tmp_path):
    path = write(tmp_path, "rcp_text.py")
    warc = write(tmp_path, "a.warc", "")
    with pytest.raises(ConfigError, match=r"--text-field 'body': every input is a WARC file.*JSONL and Parquet"):
        describe(Request(recipe=path, inputs=(warc,), text_field="body"))
    for inputs in ((warc, "b.jsonl"), (str(tmp_path),), ("s3://b/a.warc",)):
        source = describe(Request(recipe=path, inputs=inputs, text_field="body")).inputs[0]
        assert source.reader_fields == (("text_field", "body"),)
    assert describe(Request(recipe=path, inputs=(warc,), id_field="WARC-Record-ID")).inputs[0].reader_fields
