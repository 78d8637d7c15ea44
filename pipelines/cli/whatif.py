"""`eyas whatif`: what an artifact would be with other bounds, without reading a text again.

Signals of all documents, kept and dropped, lie in `signals/`, and rules are data in the manifest, so judging again is
exact for the artifact whose rules change: the same documents, reasons and counts as a rebuild. For an artifact built on
it the answer is an interval (see `pipelines.cli.downstream`). A field that changes a measurement is refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from pipelines.cli import tables
from pipelines.cli.bounds import apply, concerns, judges_of
from pipelines.cli.downstream import interval
from pipelines.cli.locate import Chain, Located, add_artifact, chain_of, locate
from pipelines.cli.rejudge import Change, rejudge
from pipelines.errors import ConfigError


def add(subparsers: Any) -> None:
    """Add the parser of `whatif`."""
    parser = subparsers.add_parser(
        "whatif",
        help="what other bounds would keep, without a rebuild",
        description=(
            "Judge the stored signals again with other bounds: exact for the artifact whose rules change, an interval for one "
            "built on it. Values: stage.field=value, stage.field[en]=value, reason=value."
        ),
        epilog="Example: eyas whatif corpus/web-clean --set gopher_quality.min_words=30",
    )
    add_artifact(parser)
    parser.add_argument(
        "--set", action="append", required=True, metavar="RULE=VALUE", help="a bound to change; may be repeated"
    )
    tables.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge again and print."""
    found = what_if(locate(arguments.artifact), tuple(arguments.set))
    if arguments.json:
        tables.print_json(found)
    else:
        show(found)
    return 0


def what_if(located: Located, settings: Sequence[str]) -> dict[str, Any]:
    """The answer as plain JSON: `rejudged` is exact for the artifact it names; `interval` is about one built on it.

    Raises ConfigError for a setting that fits no rule or that signals cannot answer.
    """
    chain = chain_of(located)
    judged = _whose_rules(chain, located, settings)
    before = judges_of(judged.manifest)
    after = reduce(lambda judges, setting: apply(setting, judged.manifest, judges), settings, before)
    outcome = rejudge(judged, before, after)
    result: dict[str, Any] = {
        "artifact": located.label,
        "settings": list(settings),
        "exact": judged.built.fingerprint == located.built.fingerprint,
        "rejudged": outcome.report(judged, before, after),
    }
    if not result["exact"]:
        result["interval"] = interval(chain, judged, located, gone=_hashes(outcome.gone), back=_hashes(outcome.back))
    return result


def _hashes(change: Change) -> np.ndarray:
    return np.sort(np.array(change.hashes, np.uint64))


def _whose_rules(chain: Chain, located: Located, settings: Sequence[str]) -> Located:
    """The artifact whose rules the settings change: the one asked where it has them, else the one ancestor that has."""
    owners: dict[str, Located] = {}
    for setting in settings:
        fitting = [item for item in chain.artifacts if concerns(setting, item.manifest)]
        own = [item for item in fitting if item.built.fingerprint == located.built.fingerprint]
        if not fitting:
            stages = sorted({judge.stage for item in chain.artifacts for judge in judges_of(item.manifest)})
            raise ConfigError(
                f"--set {setting!r}: fits no rule of {located.label} nor of what it was built on; stages with bounds are "
                f"{', '.join(stages) or 'none'} (`eyas inspect` lists every rule)"
            )
        if len(fitting) > 1 and not own:
            places = "\n".join(f"  {item.directory}" for item in fitting)
            raise ConfigError(f"--set {setting!r}: several artifacts have such a rule; ask one of them:\n{places}")
        owner = (own or fitting)[0]
        owners[owner.built.fingerprint] = owner
    if len(owners) > 1:
        raise ConfigError(
            f"the settings change rules of {', '.join(owner.label for owner in owners.values())}; ask about one artifact at a time"
        )
    return next(iter(owners.values()))


def show(found: Mapping[str, Any]) -> None:
    """Print before and after."""
    rejudged = found["rejudged"]
    before, after, documents = rejudged["before"], rejudged["after"], rejudged["documents"]
    tables.print_line(f"{rejudged['artifact']}: judged again from its signals, exact")
    for rule in rejudged["rules"] or [{"reason": "no bound changes", "before": "", "after": ""}]:
        tables.print_line(
            f"  {rule['reason']}: {rule['before']}  ->  {rule['after']}" if rule["before"] else f"  {rule['reason']}"
        )
    tables.print_line()
    rows = [
        ["documents", documents, documents, ""],
        ["kept", before["kept"], after["kept"], f"{after['kept'] - before['kept']:+,}"],
        ["share kept", tables.share(before["kept"], documents), tables.share(after["kept"], documents), ""],
        [
            "bytes kept",
            tables.size(before["kept_bytes"]),
            tables.size(after["kept_bytes"]),
            f"{after['kept_bytes'] - before['kept_bytes']:+,}",
        ],
    ]
    tables.print_table(["", "now", "then", "change"], rows)
    tables.print_line()
    names = sorted({*before["dropped"], *after["dropped"], *before["held"], *after["held"]})
    changes = [
        [
            name,
            before["dropped"].get(name, 0),
            after["dropped"].get(name, 0),
            before["held"].get(name, 0),
            after["held"].get(name, 0),
        ]
        for name in sorted(names, key=lambda name: (-after["dropped"].get(name, 0), name))
    ]
    tables.print_table(["reason", "first: now", "then", "holds: now", "then"], changes)
    for title, key in (("come back", "come_back"), ("newly dropped", "newly_dropped")):
        change = rejudged[key]
        tables.print_line()
        tables.print_line(f"{change['documents']:,} documents ({tables.size(change['bytes'])}) {title}")
        for item in change["sample"]:
            tables.print_line(f"  {item['id']}  source {item['source']}  {item['reason']}")
    if "interval" in found:
        _show_interval(found)


def _show_interval(found: Mapping[str, Any]) -> None:
    bounds = found["interval"]
    tables.print_line()
    tables.print_line(f"{found['artifact']} is built on it: of {bounds['kept_now']:,} kept documents now, then between")
    tables.print_line(
        f"  {bounds['at_least']:,} and {bounds['at_most']:,}  ({bounds['lost']:,} of those kept now are lost for certain)"
    )
    if bounds["at_least_usual"] != bounds["at_least"]:
        tables.print_line(f"  at least {bounds['at_least_usual']:,} if no document displaces more than one other")
    for line in bounds["because"]:
        tables.print_line(f"  - {line}")
