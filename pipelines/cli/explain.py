"""`eyas explain`: what became of one document, from the first artifact of the chain to the one asked.

For each artifact: every rule with its sentence and whether it holds, the keeper of a duplicate, or why the record was
quarantined. The document's shard is found by the sorted hashes in `ids/`, else by reading ids.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from pipelines import storage
from pipelines.cli import tables
from pipelines.cli.locate import Chain, Located, add_artifact, chain_of, locate
from pipelines.cli.rows import attribute_of, extras_of, find_rows, keeper_line, sentences_of, shards_with
from pipelines.errors import InputError


def add(subparsers: Any) -> None:
    """Add the parser of `explain`."""
    parser = subparsers.add_parser(
        "explain",
        help="what became of one document, and why",
        description="The fate of one document in ARTIFACT and in those it was built on: every rule with what was measured.",
        epilog="Example: eyas explain corpus/web-clean '<urn:uuid:...>'",
    )
    add_artifact(parser)
    parser.add_argument("id", metavar="ID", help="the document's id, as `eyas sample` prints it")
    parser.add_argument("--source", default="", help="its source, where several sources have this id")
    tables.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search and print."""
    located = locate(arguments.artifact)
    found = explain(located, arguments.id, source=arguments.source)
    if arguments.json:
        tables.print_json(found)
    else:
        show(found)
    return 0


def explain(located: Located, document: str, *, source: str = "") -> dict[str, Any]:
    """The fate of a document as plain JSON: {"id", "source", "fates": [...], "outcome"}, ancestors first.

    Raises InputError where no artifact of the chain knows the id, or several sources have it and none is named.
    """
    chain = chain_of(located)
    fates = [fate for item in chain.artifacts for fate in fates_in(item, document, source)]
    sources = sorted({fate["source"] for fate in fates if fate["source"]})
    if not fates:
        raise InputError(_not_found(chain, document, source))
    if len(sources) > 1:
        raise InputError(f"the id {document!r} is in the sources {', '.join(sources)}; name one with --source")
    return {
        "id": document,
        "source": sources[0] if sources else "",
        "artifact": located.label,
        "fates": fates,
        "outcome": _outcome(located, fates),
        "absent_inputs": list(chain.absent),
    }


def _not_found(chain: Chain, document: str, source: str) -> str:
    labels = ", ".join(item.label for item in chain.artifacts)
    known = sorted({name for item in chain.artifacts for name in item.manifest["counts"].get("sources", {})})
    where = f" of source {source!r}" if source else ""
    hint = f"; sources are {', '.join(known)}" if source and source not in known else "; `eyas sample` prints ids"
    lost = f"; {', '.join(chain.absent)} could not be searched, being elsewhere" if chain.absent else ""
    return f"no document {document!r}{where} in {labels}{hint}{lost}"


def _outcome(located: Located, fates: list[dict[str, Any]]) -> str:
    last = fates[-1]
    if last["artifact"] == located.label or last["fate"] != "kept":
        why = f" for {last['reasons'][0]}" if last["reasons"] else ""
        return f"{last['fate']} in {last['artifact']}{why}"
    return f"kept in {last['artifact']}; {located.label} stores nothing about single documents, or never got this one"


def fates_in(located: Located, document: str, source: str) -> list[dict[str, Any]]:
    """What became of the document in one artifact: an entry for each source that has it, [] where none does."""
    sources = [source] if source else sorted(located.manifest["counts"].get("sources", {}))
    shards = shards_with(located, document, sources)
    judged = find_rows(located, "signals", document, source=source, shards=shards)
    stored = find_rows(located, "kept", document, source=source, shards=shards)
    lost = find_rows(located, "dropped", document, source=source, shards=shards)
    fates: dict[str, dict[str, Any]] = {}
    for part, row in judged:
        rules = sentences_of(located.manifest, row)
        reasons = attribute_of(row, "reasons") or []
        fate = fates.setdefault(attribute_of(row, "source"), _fate(located, attribute_of(row, "source"), part.name))
        fate |= {"fate": "dropped" if reasons else "kept", "rules": rules, "reasons": reasons}
        fate["num_bytes"] = attribute_of(row, "num_bytes")
    for kind, rows in (("kept", stored), ("dropped", lost)):
        for part, row in rows:
            fate = fates.setdefault(attribute_of(row, "source"), _fate(located, attribute_of(row, "source"), part.name))
            fate |= {"fate": kind, "locator": attribute_of(row, "locator"), "url": attribute_of(row, "url")}
            if kind == "dropped":
                fate["reasons"] = attribute_of(row, "reasons") or []
                fate["extra"] = extras_of(row.to_pylist()[0])
    return [*quarantined_in(located, document), *(fates[key] for key in sorted(fates))]


def _fate(located: Located, source: str, shard: str) -> dict[str, Any]:
    return {
        "artifact": located.label, "maker": located.maker, "shard": shard, "source": source, "fate": "", "rules": [],
        "reasons": [], "extra": {},
    }  # fmt: skip


def quarantined_in(located: Located, document: str) -> list[dict[str, Any]]:
    """Entries for records of this id that never became documents. They bear no source."""
    needle = json.dumps(document, ensure_ascii=True).encode()
    found = []
    for part in located.files("quarantine", ".jsonl"):
        for line in storage.read_bytes(part.uri).splitlines():
            if needle not in line:
                continue
            record = json.loads(line)
            if record.get("id") == document:
                fate = _fate(located, "", part.name)
                fate |= {"fate": "quarantined", "reasons": [record["reason"]], "locator": record["locator"]}
                found.append(fate | {"extra": {"detail": record.get("detail", "")}})
    return found


def show(found: dict[str, Any]) -> None:
    """Print the fates in order."""
    tables.print_line(f"{found['id']}  source {found['source'] or '(never became a document)'}")
    for fate in found["fates"]:
        tables.print_line()
        tables.print_line(f"{fate['artifact']}  {fate['maker']}, shard {fate['shard']}")
        if fate.get("url"):
            tables.print_line(f"  url      {fate['url']}")
        if fate.get("locator"):
            tables.print_line(f"  locator  {fate['locator']}")
        stage = ""
        for rule in fate["rules"]:
            if rule["stage"] != stage:
                stage = rule["stage"]
                tables.print_line(f"  {stage}")
            mark = "HOLDS" if rule["holds"] else "  no "
            tables.print_line(f"    {mark}  {rule['reason']}: {rule['sentence']}")
        if fate["extra"]:
            tables.print_line(f"  {keeper_line(fate['extra'])}")
        why = f": {fate['reasons'][0]}" if fate["reasons"] else ""
        also = f"  (also {', '.join(fate['reasons'][1:])})" if fate["reasons"][1:] else ""
        tables.print_line(f"  -> {fate['fate']}{why}{also}")
    tables.print_line()
    tables.print_line(found["outcome"])
    for absent in found["absent_inputs"]:
        tables.note(f"note: {absent} is not under the same root and was not searched")
