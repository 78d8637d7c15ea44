"""A pipeline is a name and a tuple of stages: plain data, checked when it is constructed.

Construction refuses, on the driver: two stages of one name, a stage that reads a column nobody provides, rules over
statistics that do not exist, two rules with one reason in a stage, and stages that cannot be fingerprinted or pickled.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import ConfigError
from pipelines.fingerprint import identity
from pipelines.kernels.definitions import STATISTICS
from pipelines.rules import columns_read, to_json, to_sentence
from pipelines.schema import DOCUMENT
from pipelines.stage import Filter, Stage, Transform, stage_name

KNOWN_STATISTICS = frozenset(STATISTICS)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """`stages` in order. `expects` names attribute columns that the input must bring beside the core ones."""

    name: str
    stages: tuple[Stage, ...]
    expects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"pipeline {self.name!r}"
        if not self.stages:
            raise ConfigError(f"{where} has no stages; give it at least one")
        columns = [*DOCUMENT.names, *self.expects]
        names: set[str] = set()
        for stage in self.stages:
            if not isinstance(stage, Filter | Transform):
                raise ConfigError(
                    f"{where}: {stage!r} is no stage: it has neither transform() nor measure() and rules()"
                )
            name = stage_name(stage)
            if name in names or "/" in name:
                raise ConfigError(f"{where}: stage name {name!r} is taken or holds a slash; set another with name=")
            names.add(name)
            missing = [column for column in getattr(stage, "reads", ("text",)) if column not in columns]
            if missing:
                raise ConfigError(
                    f"{where}: stage {name!r} reads {missing}, which no stage before it adds; there are {columns}; "
                    "put the stage that adds it first, or name it in Pipeline(expects=...)"
                )
            if isinstance(stage, Filter):
                keyed = [column for column in columns_read(stage.rules()) if column not in columns]
                if keyed:
                    raise ConfigError(
                        f"{where}: a bound of stage {name!r} is keyed by {keyed}, a column that nobody adds"
                    )
                unknown = [wanted for wanted in getattr(stage, "wants", ()) if wanted not in KNOWN_STATISTICS]
                if unknown:
                    raise ConfigError(
                        f"{where}: stage {name!r} wants {unknown}, which text_statistics does not compute"
                    )
            columns.extend(field.name for field in getattr(stage, "adds", ()))
            _check_stage(stage, where=f"{where}, stage {name!r}")

    def describe(self) -> dict[str, dict[str, str]]:
        """Every rule of every filter as a sentence with `?` for the measured value: {stage: {reason: sentence}}."""
        return {
            stage_name(stage): {rule.reason: to_sentence(rule, "?") for rule in stage.rules()}
            for stage in self.stages
            if isinstance(stage, Filter)
        }

    def rules(self) -> list[dict[str, Any]]:
        """Every rule as JSON, with its stage, in pipeline order."""
        return [
            {"stage": stage_name(stage), **to_json(rule)}
            for stage in self.stages
            if isinstance(stage, Filter)
            for rule in stage.rules()
        ]

    def with_settings(self, settings: Sequence[str]) -> Pipeline:
        """A copy with `stage.field=value` settings applied; ConfigError for an unknown stage or field, or a wrong type."""
        stages = list(self.stages)
        for setting in settings:
            target, sign, text = setting.partition("=")
            name, dot, field = target.partition(".")
            if not (sign and dot and field):
                raise ConfigError(f"--set {setting!r}: expected stage.field=value")
            known = [stage_name(stage) for stage in stages]
            if name not in known:
                raise ConfigError(
                    f"--set {setting!r}: pipeline {self.name!r} has no stage {name!r}; it has {', '.join(known)}"
                )
            position = known.index(name)
            stages[position] = _with_field(stages[position], field, text, setting)
        return replace(self, stages=tuple(stages))


def _with_field(stage: Any, field: str, text: str, setting: str) -> Stage:
    fields = getattr(stage, "__dataclass_fields__", {})
    if field not in fields:
        raise ConfigError(f"--set {setting!r}: {stage_name(stage)} has no field {field!r}; it has {', '.join(fields)}")
    changed: Stage = replace(stage, **{field: parse_like(getattr(stage, field), text, f"--set {setting!r}")})
    return changed


def parse_like(old: object, text: str, where: str) -> object:
    """`text` as a value of the type of `old`: bool, int, float, string, or a comma-separated tuple of these.

    Raises ConfigError, naming `where`, for text of another type and for fields whose type no text can give.
    """
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(old, int):
            return int(text)
        if isinstance(old, float):
            return float(text)
        if isinstance(old, str):
            return text
        if isinstance(old, tuple):
            items = [item.strip() for item in text.split(",") if item.strip()]
            return tuple(parse_like(old[0], item, where) for item in items) if old else tuple(items)
    except (ValueError, KeyError):
        raise ConfigError(f"{where}: {text!r} is not a {type(old).__name__}") from None
    raise ConfigError(f"{where}: a field like {old!r} cannot be set from the command line; write a recipe file")


def _check_stage(stage: Stage, *, where: str) -> None:
    identity(stage, where=where)
    try:
        pickle.loads(pickle.dumps(stage))  # noqa: S301 - our own bytes, made on this line
    except Exception as error:
        raise ConfigError(
            f"{where} cannot be sent to workers: {error}; define its class at the top level of a module"
        ) from error
    if isinstance(stage, Filter):
        reasons = [rule.reason for rule in stage.rules()]
        repeated = sorted({reason for reason in reasons if reasons.count(reason) > 1})
        if repeated:
            raise ConfigError(f"{where}: two rules have the reason {repeated[0]!r}; name each fault once")
