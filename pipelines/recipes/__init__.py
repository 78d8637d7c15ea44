"""Recipes: functions that describe artifacts. A named corpus, or a user's own file with a function `recipe(source)`.

`describe` turns a command line into an artifact, `describe_again` a manifest's record of one, and both go the same way,
so that an artifact can be described again wherever its recipe is.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.artifact import Artifact, Source
from pipelines.errors import ConfigError
from pipelines.extraction import ExtractHtml
from pipelines.makers.process import Process
from pipelines.pipeline import parse_like
from pipelines.stage import stage_name

CORPORA = ("web", "multilingual", "code", "math", "synthetic")
Recipe = Callable[[Source], Artifact]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for: all that is needed to describe an artifact again. Goes into the manifest as `recipe`."""

    recipe: str
    inputs: tuple[str, ...]
    settings: tuple[str, ...] = ()
    name: str = ""
    text_field: str = ""
    id_field: str = ""

    def record(self) -> dict[str, Any]:
        """As plain JSON."""
        return dataclasses.asdict(self)


def describe(request: Request) -> Artifact:
    """The artifact that a recipe makes of the inputs, with `--set`s applied. Runs nothing; fails on the driver.

    Raises ConfigError for an unknown recipe, a file without a recipe, an unknown stage or field.
    """
    recipe, own_name = load(request.recipe)
    source = Source(
        name=request.name or own_name,
        inputs=request.inputs,
        reader_fields=_reader_fields(request),
        extractor=ExtractHtml(),
    )
    artifact = recipe(source)
    if not isinstance(artifact, Artifact):
        raise ConfigError(f"recipe {request.recipe!r} returned {type(artifact).__name__}; return an Artifact")
    return apply_settings(artifact, request.settings)


def describe_again(record: Mapping[str, Any]) -> Artifact:
    """The artifact a manifest's `recipe` describes. ConfigError where the record is of another kind of build."""
    names = {field.name for field in dataclasses.fields(Request)}
    if not record or not set(record) <= names or "recipe" not in record:
        raise ConfigError(
            "this manifest does not name a recipe that can be called again; rebuild it from its own program"
        )
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return describe(Request(**values))


def load(recipe: str) -> tuple[Recipe, str]:
    """The function behind a corpus name or the path of a Python file, and the name its source takes."""
    if recipe.endswith(".py"):
        module = load_file(Path(recipe))
        name = Path(recipe).stem.lower().replace("_", "-")
    elif recipe in CORPORA:
        module = importlib.import_module(f"pipelines.recipes.{recipe}")
        name = recipe
    else:
        near = difflib.get_close_matches(recipe, CORPORA, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"unknown recipe {recipe!r}; expected one of {', '.join(CORPORA)}, or the path of a .py file{hint}"
        )
    function = getattr(module, "recipe", None)
    if not callable(function):
        raise ConfigError(f"{recipe}: no function `recipe(source)` in it; define one that returns an Artifact")
    return function, name


def load_file(path: Path) -> ModuleType:
    """Import a user's recipe file under its own name, so that worker processes find its classes."""
    if not path.is_file():
        raise ConfigError(f"no recipe file at {path}; give the path of a Python file with a function `recipe(source)`")
    folder, name = str(path.resolve().parent), path.stem
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(path.resolve()):
        raise ConfigError(f"{path}: the module name {name!r} is taken; rename the file")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} failed while it was imported: {type(error).__name__}: {error}") from error
    return module


def apply_settings(artifact: Artifact, settings: Sequence[str]) -> Artifact:
    """`artifact` with `name.field=value` settings applied to stages and makers anywhere in its graph.

    Raises ConfigError where a setting fits nothing; it names what there is.
    """
    known: set[str] = set()
    _collect_names(artifact, known)
    for setting in settings:
        target = setting.partition("=")[0].partition(".")[0]
        if "=" not in setting or "." not in setting.partition("=")[0]:
            raise ConfigError(f"--set {setting!r}: expected stage.field=value")
        if target not in known:
            raise ConfigError(f"--set {setting!r}: nothing is called {target!r}; there are {', '.join(sorted(known))}")
    return _apply(artifact, tuple(settings), {}) if settings else artifact


def _collect_names(node: Artifact | Source, known: set[str]) -> None:
    if isinstance(node, Source):
        known.add("extract")
        return
    known.add(stage_name(node.maker))  # type: ignore[arg-type]
    if isinstance(node.maker, Process):
        known.update(stage_name(stage) for stage in node.maker.pipeline.stages)
    for parent in node.inputs:
        _collect_names(parent, known)


def _apply(node: Any, settings: tuple[str, ...], seen: dict[int, Any]) -> Any:
    if id(node) in seen:
        return seen[id(node)]
    if isinstance(node, Source):
        mine = [setting for setting in settings if setting.startswith("extract.")]
        changed: Any = dataclasses.replace(node, extractor=_set_fields(node.extractor, mine)) if mine else node
    else:
        maker = node.maker
        own = stage_name(maker)
        maker = _set_fields(maker, [setting for setting in settings if setting.startswith(f"{own}.")])
        if isinstance(maker, Process):
            stages = {stage_name(stage) for stage in maker.pipeline.stages}
            mine = [setting for setting in settings if setting.partition(".")[0] in stages]
            maker = dataclasses.replace(maker, pipeline=maker.pipeline.with_settings(mine))
        changed = dataclasses.replace(
            node, maker=maker, inputs=tuple(_apply(parent, settings, seen) for parent in node.inputs)
        )
    seen[id(node)] = changed
    return changed


def _set_fields(thing: Any, settings: Sequence[str]) -> Any:
    for setting in settings:
        target, _, text = setting.partition("=")
        path = target.split(".")[1:]
        thing = _set_path(thing, path, text, setting)
    return thing


def _set_path(thing: Any, path: list[str], text: str, setting: str) -> Any:
    names = [field.name for field in dataclasses.fields(thing)] if dataclasses.is_dataclass(thing) else []
    if path[0] not in names:
        raise ConfigError(
            f"--set {setting!r}: {type(thing).__name__} has no field {path[0]!r}; it has {', '.join(names)}"
        )
    old = getattr(thing, path[0])
    new = _set_path(old, path[1:], text, setting) if len(path) > 1 else parse_like(old, text, f"--set {setting!r}")
    return dataclasses.replace(thing, **{path[0]: new})


def _reader_fields(request: Request) -> tuple[tuple[str, str], ...]:
    fields = {"text_field": request.text_field, "id_field": request.id_field}
    return tuple((name, "" if value == "none" else value) for name, value in fields.items() if value)
