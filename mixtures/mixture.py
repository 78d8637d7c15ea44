"""A mixture as data: a TOML file into frozen dataclasses, every key checked.

```toml
format = 1
budget_tokens = 2_000_000        # trained tokens of the whole run
weight_unit = "tokens"           # what a weight counts, see below
sequence_length = 256
held_out = 0.05                  # share of documents kept back for bits per byte, chosen by hash

[[component]]
name = "web/english"             # slashes make the tree one sees
artifact = "web_tokens"          # a token artifact among the inputs
weight = 0.5
max_epochs = 4
```

A weight of 2 beside a weight of 1 means, by `weight_unit`: `tokens`, twice the trained tokens; `bytes`, twice the bytes of
text; `documents`, twice the documents; `epochs`, each document seen twice as often. `over_max_epochs` says what happens
where a component would be read more often than its `max_epochs`: `error`, or `redistribute` its excess to the others.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import ConfigError, InputError

FORMAT = 1
WEIGHT_UNITS = ("tokens", "bytes", "documents", "epochs")
OVER_MAX_EPOCHS = ("error", "redistribute")
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class MixtureComponent:
    """One token artifact and its weight. `max_epochs` None sets no bound."""

    name: str
    artifact: str
    weight: float
    max_epochs: float | None = None


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What to train on. Repetition is judged by `memorization_window_tokens`, or that of `model_parameters`, if given.

    Raises ConfigError, at construction, for anything that could not be mixed.
    """

    components: tuple[MixtureComponent, ...]
    budget_tokens: int
    weight_unit: str = "tokens"
    sequence_length: int = 2048
    seed: int | None = None
    held_out: float = 0.01
    over_max_epochs: str = "error"
    memorization_window_tokens: int | None = None
    model_parameters: int | None = None

    def __post_init__(self) -> None:
        _one_of("weight_unit", self.weight_unit, WEIGHT_UNITS)
        _one_of("over_max_epochs", self.over_max_epochs, OVER_MAX_EPOCHS)
        for name in ("budget_tokens", "sequence_length", "memorization_window_tokens", "model_parameters"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} = {value}: give at least 1")
        if self.budget_tokens < self.sequence_length:
            raise ConfigError(
                f"budget_tokens = {self.budget_tokens} is less than one sequence of {self.sequence_length} tokens"
            )
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out = {self.held_out}: give a share of documents in [0, 1)")
        if self.memorization_window_tokens is not None and self.model_parameters is not None:
            raise ConfigError("give memorization_window_tokens or model_parameters, not both")
        if not self.components:
            raise ConfigError("a mixture needs at least one [[component]]")
        for what in ("name", "artifact"):
            values = [getattr(component, what) for component in self.components]
            repeated = sorted({value for value in values if values.count(value) > 1})
            if repeated:
                raise ConfigError(f"component {what} {repeated[0]!r} stands twice; each {what} once")
        for component in self.components:
            where = f"component {component.name!r}"
            if not all(component.name.split("/")):
                raise ConfigError(f"{where}: a name is words parted by single slashes")
            if not 0 <= component.weight < math.inf:
                raise ConfigError(f"{where}: weight = {component.weight}; give a finite number of at least 0")
            if component.max_epochs is not None and not 0 < component.max_epochs < math.inf:
                raise ConfigError(
                    f"{where}: max_epochs = {component.max_epochs}; give a number above 0, or leave it out"
                )
        if not any(component.weight for component in self.components):
            raise ConfigError("every weight is 0; give at least one above")


def read_mixture(path: str | Path) -> Mixture:
    """The mixture of a TOML file. InputError where it cannot be read, ConfigError naming file, key and alternatives."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the mixture ({error})") from error
    return parse_mixture(text, where=str(path))


def parse_mixture(text: str, *, where: str) -> Mixture:
    """As `read_mixture`, of a file's content."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML ({error})") from error
    found = data.pop("format", None)
    if found != FORMAT:
        raise ConfigError(f"{where}: format = {found!r}; this version of eyas reads `format = {FORMAT}`")
    components = data.pop("component", [])
    if not isinstance(components, list) or not all(isinstance(entry, dict) for entry in components):
        raise ConfigError(f"{where}: 'component' is a table; write each as [[component]]")
    built = tuple(_build(MixtureComponent, entry, f"{where}: component {n}") for n, entry in enumerate(components, 1))
    return _build(Mixture, data, where, components=built)


def _build(kind: type[_T], data: Mapping[str, Any], where: str, **built: Any) -> _T:
    """`kind` from a table and fields `built` already. Types are as annotated; whole numbers serve for fractions."""
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in built}  # type: ignore[arg-type]
    for key, value in data.items():
        if key not in fields:
            known = [repr(name) for name in (*(("format", "component") if built else ()), *fields)]
            raise ConfigError(f"{where}: unknown key {key!r}; expected one of {', '.join(known)}")
        annotation = str(fields[key].type)
        wanted = (int, float) if "float" in annotation else int if "int" in annotation else str
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ConfigError(f"{where}: {key} = {value!r} is no {annotation.removesuffix(' | None')}")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in data:
            raise ConfigError(f"{where}: without {name!r}, which every {kind.__name__} needs")
    try:
        return kind(**data, **built)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} = {value!r}; expected one of {', '.join(map(repr, known))}")
