"""Recipes: functions that describe artifacts. A named corpus, or a user's own file with a function `recipe(source)`.

`describe` turns a command line into an artifact, `describe_again` a manifest's record of one, and both go the same way,
so that an artifact can be described again wherever its recipe is.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines import storage
from pipelines.artifact import Artifact, Existing, Node, Source
from pipelines.errors import ConfigError, EyasError
from pipelines.extraction import ExtractHtml
from pipelines.fingerprint import OUR_PACKAGES, File
from pipelines.makers.process import Process
from pipelines.pipeline import parse_like
from pipelines.readers.suffixes import SUFFIXES, kind_of
from pipelines.recipes.near_dedup_flags import with_earlier
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
    dropped_text: str = ""
    earlier: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As plain JSON, with local paths made absolute, so that any working directory will do later on."""
        recipe = os.path.abspath(self.recipe) if self.recipe.endswith(".py") else self.recipe
        inputs, earlier = tuple(map(_absolute, self.inputs)), tuple(map(_absolute, self.earlier))
        return dataclasses.asdict(dataclasses.replace(self, recipe=recipe, inputs=inputs, earlier=earlier))


def _absolute(uri: str) -> str:
    at = "@" if uri.startswith("@") else ""
    path = uri.removeprefix("@")
    return uri if not path or "://" in path else at + os.path.abspath(os.path.expanduser(path))


def describe(request: Request) -> Artifact:
    """The artifact that a recipe makes of the inputs, with `--set`s applied. Runs nothing; fails on the driver.

    Raises ConfigError for an unknown recipe, a file without a recipe, a recipe that fails, an unknown stage or field.
    """
    recipe, own_name = load(request.recipe)
    _check_text_field(request)
    source = Source(
        name=request.name or own_name,
        inputs=request.inputs,
        reader_fields=_reader_fields(request),
        extractor=ExtractHtml(),
    )
    try:
        artifact = recipe(source)
    except EyasError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"recipe {request.recipe!r} failed: {type(error).__name__}: {error}; it is called as recipe(source)"
        ) from error
    if not isinstance(artifact, Artifact):
        raise ConfigError(f"recipe {request.recipe!r} returned {type(artifact).__name__}; return an Artifact")
    if request.dropped_text:
        artifact = _with_dropped_text(artifact, request.dropped_text, {})
    if request.earlier:
        artifact = with_earlier(artifact, request.earlier)
    return apply_settings(artifact, request.settings)


def _with_dropped_text(node: Any, mode: str, seen: dict[int, Any]) -> Any:
    """The graph with `dropped_text` set on every maker that stores dropped documents."""
    if not isinstance(node, Artifact):
        return node
    if id(node) not in seen:
        stores = "dropped_text" in getattr(node.maker, "__dataclass_fields__", {})
        maker = dataclasses.replace(node.maker, dropped_text=mode) if stores else node.maker  # type: ignore[type-var]
        inputs = tuple(_with_dropped_text(parent, mode, seen) for parent in node.inputs)
        seen[id(node)] = dataclasses.replace(node, maker=maker, inputs=inputs)
    return seen[id(node)]


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
        name = re.sub(r"[^a-z0-9.-]+", "-", Path(recipe).stem.lower()).strip(".-")[:100] or "source"
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
    """Import a user's recipe file under its own name, so that worker processes find its classes.

    Its folder goes to the end of the search path: modules beside it are found, and hide none of ours or Python's.
    Raises ConfigError for no such file, a name that another module has, and a file that cannot be imported.
    """
    if not path.is_file():
        raise ConfigError(f"no recipe file at {path}; give the path of a Python file with a function `recipe(source)`")
    place, name = os.path.abspath(path), path.stem
    _check_module_name(path, name)
    folder = os.path.dirname(place)
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    before = sys.modules.get(name)
    try:
        _check_found(path, name)
        spec = importlib.util.spec_from_file_location(name, place)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{path} cannot be imported as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
        if added and folder in sys.path:
            sys.path.remove(folder)
        if isinstance(error, EyasError) or not isinstance(error, Exception | SystemExit):
            raise
        raise ConfigError(f"{path} failed while it was imported: {type(error).__name__}: {error}") from error
    return module


def _check_module_name(path: Path, name: str) -> None:
    if "." in name:
        raise ConfigError(f"{path}: a module name holds no dot; rename the file, {name.replace('.', '_')}.py for one")
    loaded = getattr(sys.modules.get(name), "__file__", None)
    taken = name in sys.modules and os.path.realpath(loaded or "") != os.path.realpath(path)
    if taken or name in OUR_PACKAGES or name in sys.stdlib_module_names:
        raise ConfigError(f"{path}: the module name {name!r} is taken; rename the file")


def _check_found(path: Path, name: str) -> None:
    """A worker imports by name, and must find this file and no installed package."""
    if name in sys.modules:
        return
    importlib.invalidate_caches()
    found = importlib.util.find_spec(name)
    if found is not None and os.path.realpath(found.origin or "") != os.path.realpath(path):
        raise ConfigError(f"{path}: the module name {name!r} is taken by {found.origin or 'a folder'}; rename the file")


def apply_settings(artifact: Artifact, settings: Sequence[str]) -> Artifact:
    """`artifact` with `name.field=value` settings applied to stages and makers anywhere in its graph.

    Raises ConfigError where a setting fits nothing; it names what there is.
    """
    if not settings:
        return artifact
    sources, names = _nodes(artifact)
    for setting in settings:
        target = setting.partition("=")[0].partition(".")[0]
        if "=" not in setting or "." not in setting.partition("=")[0]:
            raise ConfigError(f"--set {setting!r}: expected stage.field=value")
        if target not in names | sources:
            there = ", ".join(sorted(names | sources))
            raise ConfigError(f"--set {setting!r}: nothing is called {target!r}; there are {there}")
        if target in names & sources:
            raise ConfigError(
                f"--set {setting!r}: a stage and the extractor of a source are both called {target!r}; rename the stage"
            )
    changed: Artifact = _apply(artifact, tuple(settings), {})
    return changed


def _nodes(artifact: Artifact) -> tuple[frozenset[str], frozenset[str]]:
    """What settings can name in the graph: `extract` where a source has an extractor, and stages and makers."""
    sources: set[str] = set()
    names: set[str] = set()
    waiting: list[Node] = [artifact]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Source):
            if node.extractor is not None:
                sources.add("extract")
            continue
        if isinstance(node, Existing):
            continue
        names.add(stage_name(node.maker))  # type: ignore[arg-type]
        if isinstance(node.maker, Process):
            names.update(stage_name(stage) for stage in node.maker.pipeline.stages)
        waiting.extend(node.inputs)
    return frozenset(sources), frozenset(names)


def _apply(node: Any, settings: tuple[str, ...], seen: dict[int, Any]) -> Any:
    if id(node) in seen:
        return seen[id(node)]
    if isinstance(node, Source):
        mine = _settings_of("extract", settings) if node.extractor is not None else []
        changed: Any = dataclasses.replace(node, extractor=_set_fields(node.extractor, mine)) if mine else node
    elif isinstance(node, Existing):
        changed = node
    else:
        maker: Any = node.maker
        maker = _set_fields(maker, _settings_of(stage_name(maker), settings))
        if isinstance(maker, Process):
            stages = tuple(
                _set_fields(stage, _settings_of(stage_name(stage), settings)) for stage in maker.pipeline.stages
            )
            if any(new is not old for new, old in zip(stages, maker.pipeline.stages, strict=True)):
                maker = dataclasses.replace(maker, pipeline=dataclasses.replace(maker.pipeline, stages=stages))
        changed = dataclasses.replace(
            node, maker=maker, inputs=tuple(_apply(parent, settings, seen) for parent in node.inputs)
        )
    seen[id(node)] = changed
    return changed


def _settings_of(name: str, settings: Sequence[str]) -> list[str]:
    return [setting for setting in settings if setting.partition("=")[0].partition(".")[0] == name]


def _set_fields(thing: Any, settings: Sequence[str]) -> Any:
    split = [(setting.partition("=")[0].split(".")[1:], setting.partition("=")[2], setting) for setting in settings]
    return _set_paths(thing, split) if split else thing


def _set_paths(thing: Any, settings: Sequence[tuple[list[str], str, str]]) -> Any:
    """`thing` with all (path, text, setting) applied at once: fields that bound each other may pass through no wrong state."""
    names = [field.name for field in dataclasses.fields(thing)] if dataclasses.is_dataclass(thing) else []
    new: dict[str, Any] = {}
    deeper: dict[str, list[tuple[list[str], str, str]]] = {}
    for path, text, setting in settings:
        if path[0] not in names:
            raise ConfigError(
                f"--set {setting!r}: {type(thing).__name__} has no field {path[0]!r}; it has {', '.join(names)}"
            )
        if len(path) > 1:
            deeper.setdefault(path[0], []).append((path[1:], text, setting))
        else:
            new[path[0]] = _parse(thing, path[0], getattr(thing, path[0]), text, f"--set {setting!r}")
    for name, below in deeper.items():
        new[name] = _set_paths(new.get(name, getattr(thing, name)), below)
    where = " ".join(f"--set {setting!r}" for _, _, setting in settings)
    try:
        return dataclasses.replace(thing, **new)
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith("--set") else f"{where}: {error}") from error
    except EyasError:
        raise
    except Exception as error:  # whatever a user's own __post_init__ raises
        raise ConfigError(f"{where}: {type(thing).__name__} refuses it: {error}") from error


def _parse(thing: Any, field: str, old: object, text: str, where: str) -> object:
    """`text` as a value of the field; where the old one is None or a File, by what the annotation names."""
    if isinstance(old, File):
        return None if text == "none" and type(None) in _annotated(thing, field) else File(text)
    if old is not None:
        return parse_like(old, text, where)
    kinds = _annotated(thing, field)
    if File in kinds:
        return None if text == "none" else File(text)
    for kind in (bool, int, float, str):
        if kind in kinds:
            return None if text == "none" and str not in kinds else parse_like(kind(), text, where)
    for kind in kinds:
        if typing.get_origin(kind) is tuple and typing.get_args(kind)[:1] in ((int,), (float,), (str,)):
            return parse_like((typing.get_args(kind)[0](),), text, where)
    return parse_like(old, text, where)


def _annotated(thing: Any, field: str) -> tuple[Any, ...]:
    """`int | None` -> `(int, NoneType)`; () where the annotation names what is not there."""
    try:
        hint = typing.get_type_hints(type(thing)).get(field)
    except (NameError, TypeError, AttributeError):
        return ()
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if union else (hint,)


def _check_text_field(request: Request) -> None:
    """A text field where no input has one would be left out in silence. Only what surely is a WARC file is refused."""
    if request.text_field and request.inputs and all(_is_warc_file(uri) for uri in request.inputs):
        raise ConfigError(
            f"--text-field {request.text_field!r}: every input is a WARC file, whose text comes from its records; "
            "leave the flag out, it is for JSONL and Parquet files"
        )


def _is_warc_file(uri: str) -> bool:
    return storage.is_local(uri) and kind_of(uri) == "warc" and Path(storage.path_of(uri)).is_file()


def _reader_fields(request: Request) -> tuple[tuple[str, str], ...]:
    """`id` sets the field of every reader, `jsonl:id` that of one kind of file; `none` numbers records by place."""
    fields = []
    for name, value in (("text_field", request.text_field), ("id_field", request.id_field)):
        kind, colon, field = value.partition(":")
        if not (colon and kind in SUFFIXES):
            kind, field = "", value
        if field:
            fields.append((f"{kind}.{name}" if kind else name, "" if field == "none" else field))
    return tuple(fields)
