"""A tokenizer as data: a TOML file into `TrainTokenizer`, every key checked.

```toml
format = 1
vocab_sizes = [32_768, 65_536]    # any field of TrainTokenizer; several sizes are a ladder of one run
pattern = "both"
temperature = 1.5

[weights]                         # factors on sources
wiki = 2.0
```
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.errors import ConfigError
from tokenizer_training.train import TrainTokenizer

FORMAT: Final = 1
RECIPES: Final = Path(__file__).resolve().parent / "recipes"


def named_recipes() -> tuple[str, ...]:
    """The recipes that come with eyas."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.toml")))


def load_recipe(recipe: str) -> TrainTokenizer:
    """The recipe of that name, or in that TOML file. ConfigError, naming the place, for what is not one."""
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    if not path.is_file() or (not recipe.endswith(".toml") and recipe not in named_recipes()):
        raise ConfigError(f"no tokenizer recipe {recipe!r}; name a .toml file or one of {', '.join(named_recipes())}")
    try:
        return parse_recipe(path.read_text("utf-8"), where=str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error.reason})") from error


def parse_recipe(text: str, *, where: str) -> TrainTokenizer:
    """A recipe from TOML. ConfigError for an unknown key, a value of another type, and what TrainTokenizer refuses."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{where}: {error}") from error
    if data.pop("format", None) != FORMAT:
        raise ConfigError(f"{where}: expected `format = {FORMAT}`")
    return with_fields(TrainTokenizer(), data, where=where)


def with_fields(maker: TrainTokenizer, values: Mapping[str, Any], *, where: str) -> TrainTokenizer:
    """`maker` with these fields. ConfigError as `parse_recipe`. `vocab_size` and `vocab_sizes` replace one another."""
    known = {field.name: getattr(maker, field.name) for field in dataclasses.fields(maker)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{where}: unknown key {name!r}; expected one of {', '.join(known)}")
        checked[name] = _checked(known[name], value, f"{where}: {name}")
    if {"vocab_size", "vocab_sizes"} <= checked.keys():
        raise ConfigError(f"{where}: vocab_size and vocab_sizes are both there; give one of them")
    if "vocab_size" in checked:
        checked["vocab_sizes"] = ()
    return dataclasses.replace(maker, **checked)


def _checked(old: object, value: object, where: str) -> object:
    if isinstance(old, tuple):
        return _sizes(value, where) if where.endswith("sizes") else _weights(value, where)
    if isinstance(old, float) and type(value) is int:
        return float(value)
    if type(value) is not type(old):
        raise ConfigError(f"{where} = {value!r}: expected {type(old).__name__}")
    return value


def _sizes(value: object, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or any(type(size) is not int for size in value):
        raise ConfigError(f"{where} = {value!r}: expected a list of whole numbers")
    return tuple(value)


def _weights(value: object, where: str) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, dict) or any(type(weight) not in (int, float) for weight in value.values()):
        raise ConfigError(f"{where} = {value!r}: expected a table of a number for each source")
    return tuple(sorted((name, float(weight)) for name, weight in value.items()))
