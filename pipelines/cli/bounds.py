"""Settings of `eyas whatif` against the rules of a manifest: which bounds they change, and which they cannot.

A setting is `stage.field=value`, `stage.field[en]=value` for a bound that depends on an attribute (`[*]` is its default),
or `reason=value` where only one rule has that reason. Values are read as a build reads them (`parse_like`), so what is
accepted here is accepted by `eyas build --set`, for every bound that a command line can set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import ConfigError
from pipelines.pipeline import parse_like
from pipelines.rules import Bound, ByAttribute, Rule, Scalar, from_json, to_sentence

TARGET = re.compile(r"(?P<name>[^=\[\]]+?)(?:\[(?P<key>[^=\[\]]+)\])?=(?P<value>.*)", re.DOTALL)
DEFAULT_KEY = "*"


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A rule and the stage it belongs to."""

    stage: str
    rule: Rule

    @property
    def reason(self) -> str:
        """`stage/reason`, as documents bear it."""
        return f"{self.stage}/{self.rule.reason}"


def judges_of(manifest: Mapping[str, Any]) -> tuple[Judge, ...]:
    """The rules of a manifest, in pipeline order."""
    return tuple(Judge(stage=str(data["stage"]), rule=from_json(data)) for data in manifest.get("rules", []))


def split_setting(setting: str) -> tuple[str, str | None, str]:
    """`a.b[en]=3` -> `("a.b", "en", "3")`. ConfigError for anything else."""
    match = TARGET.fullmatch(setting)
    if match is None:
        raise ConfigError(f"--set {setting!r}: expected stage.field=value, stage.field[language]=value or reason=value")
    return match["name"].strip(), match["key"], match["value"].strip()


def concerns(setting: str, manifest: Mapping[str, Any]) -> bool:
    """Whether the stage or reason that `setting` names is in this manifest."""
    name, _, _ = split_setting(setting)
    judges = judges_of(manifest)
    if any(name in (judge.rule.reason, judge.reason) for judge in judges):
        return True
    stage = name.partition(".")[0]
    return "." in name and (any(judge.stage == stage for judge in judges) or stage in stages_of(manifest))


def apply(setting: str, manifest: Mapping[str, Any], judges: Sequence[Judge]) -> tuple[Judge, ...]:
    """`judges` with the bounds changed that `setting` names.

    Raises ConfigError, saying what there is, for an unknown stage, field or reason, a value of another type, and a field
    that changes what is measured or how a bound is computed: only a rebuild can answer those.
    """
    name, key, text = split_setting(setting)
    where = f"--set {setting!r}"
    chosen = [i for i, judge in enumerate(judges) if name in (judge.rule.reason, judge.reason)]
    if not chosen:
        chosen = _by_field(name, manifest, judges, where)
    elif len(chosen) > 1:
        names = ", ".join(judges[i].reason for i in chosen)
        raise ConfigError(f"{where}: several rules have the reason {name!r}: {names}; write stage/reason=value")
    elif field := judges[chosen[0]].rule.field:
        # One field may bound several rules; a rebuild would change them all.
        stage, old = judges[chosen[0]].stage, judges[chosen[0]].rule.bound
        chosen = [
            i
            for i, judge in enumerate(judges)
            if (judge.stage, judge.rule.field) == (stage, field) and judge.rule.bound == old
        ]
    return tuple(
        replace(judge, rule=replace(judge.rule, bound=_new_bound(judge.rule.bound, key, text, where)))
        if i in chosen
        else judge
        for i, judge in enumerate(judges)
    )


def _by_field(name: str, manifest: Mapping[str, Any], judges: Sequence[Judge], where: str) -> list[int]:
    stage, dot, field = name.partition(".")
    stages = stages_of(manifest)
    there = {judge.stage for judge in judges}
    if not dot:
        raise ConfigError(f"{where}: no rule has the reason {name!r}; there are {_listing(judges)}")
    if stage not in there and stage not in stages:
        raise ConfigError(f"{where}: no stage {stage!r}; stages with bounds are {', '.join(sorted(there)) or 'none'}")
    chosen = [i for i, judge in enumerate(judges) if (judge.stage, judge.rule.field) == (stage, field)]
    fields = stages.get(stage) or _dig(manifest, "payload", "maker", "fields") or {}
    bounds = sorted({judge.rule.field for judge in judges if judge.stage == stage and judge.rule.field})
    there_are = f"bounds of {stage!r} are {', '.join(bounds)}" if bounds else f"{stage!r} has no bounds"
    if not chosen and field.partition(".")[0] in fields:
        raise ConfigError(
            f"{where}: {field!r} is no bound of a rule: it changes what {stage!r} measures or writes, and only a rebuild can tell "
            f"(eyas build ... --set {name}=...); {there_are}"
        )
    if not chosen:
        raise ConfigError(f"{where}: stage {stage!r} has no field {field!r}; {there_are}")
    for i in chosen:
        if field in fields and not _is_bound(fields[field], judges[i].rule.bound):
            raise ConfigError(
                f"{where}: the bound of {judges[i].reason} is computed from {field!r}, so only a rebuild can tell; "
                f"to move the bound itself: --set {judges[i].reason}=value"
            )
    return chosen


def describe_rule(rule: Rule) -> str:
    """The rule without a measured value: `num_words < min_words = 50`, or a bound for each language."""
    if not isinstance(rule.bound, ByAttribute):
        return to_sentence(rule, "?").replace(f"{rule.signal} = ? ", f"{rule.signal} ", 1)
    table = ", ".join(f"{key}: {value}" for key, value in rule.bound.bounds)
    rest = "never" if rule.bound.default is None else rule.bound.default
    return f"{rule.signal} {rule.op} {rule.field or 'bound'} by {rule.bound.column} {{{table}}}, else {rest}"


def _listing(judges: Sequence[Judge]) -> str:
    return "; ".join(f"{judge.reason} ({describe_rule(judge.rule)})" for judge in judges) or "none"


def _is_bound(field: Any, bound: Bound) -> bool:
    """Whether the field of the stage, as the fingerprint's payload has it, is the bound and not something it is made of."""
    if isinstance(bound, ByAttribute):
        return True
    if isinstance(bound, frozenset):
        return (
            isinstance(field, list) and all(not isinstance(v, list | dict) for v in field) and frozenset(field) == bound
        )
    return bool(field == bound)


def _new_bound(old: Bound, key: str | None, text: str, where: str) -> Bound:
    if isinstance(old, ByAttribute):
        return _new_by_attribute(old, key, text, where)
    if key is not None:
        raise ConfigError(f"{where}: this bound does not depend on an attribute; leave [{key}] out")
    if isinstance(old, frozenset):
        items = [item.strip() for item in text.split(",") if item.strip()]
        if not items:
            raise ConfigError(
                f"{where}: name at least one value, separated by commas; one that never occurs turns the rule off"
            )
        like = min(old, key=repr) if old else ""
        return frozenset(_number_or_text(like, item, where) for item in items)
    return _number_or_text(old, text, where)


def _new_by_attribute(old: ByAttribute, key: str | None, text: str, where: str) -> ByAttribute:
    keys = [name for name, _ in old.bounds]
    if key is None:
        raise ConfigError(
            f"{where}: this bound depends on {old.column}; name a value, as in [{keys[0] if keys else 'en'}], or [*] for "
            f"the default; there are {', '.join(keys) or 'none'}"
        )
    given = [bound for _, bound in old.bounds] + ([] if old.default is None else [old.default])
    value: Any = _number_or_text(
        next((bound for bound in given if isinstance(bound, float)), given[0] if given else 0.0), text, where
    )
    if key == DEFAULT_KEY:
        return replace(old, default=value)
    bounds = [(name, value if name == key else bound) for name, bound in old.bounds]
    return replace(old, bounds=tuple(bounds if key in keys else [*bounds, (key, value)]))


def _number_or_text(like: Any, text: str, where: str) -> Scalar:
    value: Any = parse_like(like, text, where)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: a bound is a finite number")
    return value  # type: ignore[no-any-return]


def stages_of(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{stage name: its fields} of the pipeline that made the artifact, as far as the manifest's payload tells.

    A stage whose name is not among its fields is matched to the rules by the fields that those name.
    """
    described = _dig(manifest, "payload", "maker", "fields", "pipeline", "fields", "stages")
    stages = [stage for stage in described if isinstance(stage, Mapping) and isinstance(stage.get("fields"), Mapping)] \
        if isinstance(described, list) else []  # fmt: skip
    named = {_name_of(stage): dict(stage["fields"]) for stage in stages}
    wanted: dict[str, set[str]] = {}
    for judge in judges_of(manifest):
        wanted.setdefault(judge.stage, set()).update({judge.rule.field} - {""})
    free = [name for name in named if name not in wanted]
    for stage in [name for name in wanted if name not in named]:
        fitting = [name for name in free if wanted[stage] and wanted[stage] <= set(named[name])]
        if len(fitting) == 1:
            named[stage] = named.pop(fitting[0])
            free.remove(fitting[0])
    return named


def _name_of(stage: Mapping[str, Any]) -> str:
    own = stage["fields"].get("name")
    kind = str(stage.get("kind", ""))
    return str(own) if own else re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind).lower()


def _dig(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data
