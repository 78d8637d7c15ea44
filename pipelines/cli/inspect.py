"""`eyas inspect`: the statistics of any artifact, from its manifest and its signals.

What came in, what was kept, what went and why, with the equations that must hold: records = documents + quarantined,
documents = kept + dropped. Every maker's artifact is shown, also one that counts no documents.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipelines import storage
from pipelines.cli import tables
from pipelines.cli.bounds import describe_rule
from pipelines.cli.certificate import banner, block_of, print_warnings, read_certificate, tables_of, warnings_of
from pipelines.cli.certificate_charts import STYLE
from pipelines.cli.locate import Located, add_artifact, chain_of, locate, when
from pipelines.cli.page import Section, html_page
from pipelines.counting import check_conservation
from pipelines.errors import ConservationError
from pipelines.rules import from_json

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
MANTISSA_BITS = 8
"""Lengths are counted in buckets that share their top 8 bits: exact below 256 bytes, then within 0.8%."""
SHOWN: tuple[str, ...] = (
    "records",
    "documents",
    "kept",
    "dropped",
    "held",
    "document_bytes",
    "kept_bytes",
    "dropped_bytes",
    "tallies",
)
SHOWN += ("sources", "languages", "quarantined", "skipped")


def add(subparsers: Any) -> None:
    """Add the parser of `inspect`."""
    parser = subparsers.add_parser(
        "inspect",
        help="statistics of any artifact",
        description="What came in, what was kept, what went and why; by source and language; lengths, files, notes.",
        epilog="Example: eyas inspect corpus/web-clean --html web-clean.html",
    )
    add_artifact(parser)
    kind = parser.add_mutually_exclusive_group()
    tables.add_json(kind)
    kind.add_argument("--html", metavar="FILE", help="write one self-contained page instead")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print, or write the page."""
    found = summarize(locate(arguments.artifact))
    if arguments.json:
        tables.print_json(found)
    elif arguments.html:
        storage.write_bytes(arguments.html, page_of(found).encode())
        tables.note(f"wrote {arguments.html}")
    else:
        show(found)
    return 0


def summarize(located: Located) -> dict[str, Any]:
    """Everything `inspect` shows, as plain JSON. Reads the manifests of the chain and one column of the signals."""
    manifest = located.manifest
    counts = manifest["counts"]
    chain = chain_of(located)
    return {
        "name": located.built.name,
        "directory": located.directory,
        "fingerprint": located.built.fingerprint,
        "root_hash": manifest.get("root_hash"),
        "deterministic": manifest.get("deterministic"),
        "warnings": warnings_of(chain.artifacts),
        "certificate": read_certificate(located),
        "maker": located.maker,
        "finished": when(located.directory),
        "recipe": manifest.get("recipe", {}),
        "inputs": manifest["inputs"],
        "absent_inputs": list(chain.absent),
        "missing_shards": manifest.get("missing", {}),
        "conservation": conservation(counts, where=located.label),
        "funnel": [_funnel_row(item) for item in chain.artifacts],
        "counts": counts,
        "reasons": reasons_of(manifest),
        "lengths": lengths_of(located),
        "notes": manifest.get("notes", {}),
        "files": files_by_kind(manifest),
        "side_files": manifest.get("side_files", {}),
        "environment": manifest.get("environment", {}),
    }


def conservation(counts: Mapping[str, Any], *, where: str) -> dict[str, Any] | None:
    """The two equations with their numbers, and whether they hold; None where an artifact counts no documents."""
    if "documents" not in counts or "kept" not in counts:
        return None
    quarantined = sum(counts.get("quarantined", {}).values())
    dropped = sum(counts.get("dropped", {}).values())
    records = counts.get("records", counts["documents"] + quarantined)
    try:
        check_conservation(counts, where=where)
        holds = True
    except ConservationError:
        holds = False
    return {
        "records": records,
        "documents": counts["documents"],
        "quarantined": quarantined,
        "kept": counts["kept"],
        "dropped": dropped,
        "holds": holds,
    }


def _funnel_row(located: Located) -> dict[str, Any]:
    counts = located.manifest["counts"]
    row = {"artifact": located.label, "maker": located.maker}
    return row | {key: counts[key] for key in ("records", "documents", "kept", "kept_bytes") if key in counts}


def reasons_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry a reason: documents for which it was the first to hold, and all for which it held.

    Rules that never held are listed too, with zeros. `dropped_bytes` are those of the texts as they came in.
    """
    counts = manifest["counts"]
    sentences = {
        f"{rule['stage']}/{rule['reason']}": describe_rule(from_json(rule)) for rule in manifest.get("rules", [])
    }
    dropped, held = counts.get("dropped", {}), counts.get("held", {})
    names = sorted({*sentences, *dropped, *held}, key=lambda name: (-dropped.get(name, 0), -held.get(name, 0), name))
    return [
        {
            "reason": name,
            "rule": sentences.get(name, ""),
            "dropped": dropped.get(name, 0),
            "dropped_bytes": counts.get("dropped_bytes", {}).get(name, 0),
            "held": held.get(name, 0),
        }
        for name in names
    ]


def lengths_of(located: Located) -> dict[str, dict[str, float]]:
    """Quantiles of `num_bytes`, of all documents and of those kept: {"documents": {"p50": ...}, "kept": ...}.

    Each is the lower end of a bucket under 1% wide; memory is bounded, however many documents there are.
    """
    totals: dict[str, dict[int, int]] = {"documents": {}, "kept": {}}
    for part in located.parts("signals"):
        names = storage.read_schema(part.uri).names
        if "num_bytes" not in names or "reasons" not in names:
            return {}
        for batch in storage.read_batches(part.uri, ["num_bytes", "reasons"], batch_rows=1 << 16):
            lengths = batch.column(0).cast("int64").to_numpy()
            kept = pc.equal(pc.list_value_length(batch.column(1)), 0).to_numpy(zero_copy_only=False)
            _add_lengths(totals["documents"], lengths)
            _add_lengths(totals["kept"], lengths[kept])
    return {name: _quantiles(total) for name, total in totals.items() if total}


def _add_lengths(total: dict[int, int], lengths: np.ndarray) -> None:
    bits = np.frexp(lengths.astype(np.float64))[1]
    shift = np.maximum(bits - MANTISSA_BITS, 0)
    for value, number in zip(*np.unique((lengths >> shift) << shift, return_counts=True), strict=True):
        total[int(value)] = total.get(int(value), 0) + int(number)


def _quantiles(total: Mapping[int, int]) -> dict[str, float]:
    values = np.array(sorted(total), np.int64)
    reached = np.cumsum([total[int(value)] for value in values])
    ranks = [min(int(q * reached[-1]), int(reached[-1]) - 1) for q in QUANTILES]
    return {
        f"p{q * 100:g}": int(values[np.searchsorted(reached, rank, side="right")])
        for q, rank in zip(QUANTILES, ranks, strict=True)
    }


def files_by_kind(manifest: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """{"kept": {"files": 4, "rows": 100, "bytes": 12345}, ...}."""
    kinds: dict[str, dict[str, int]] = {}
    for entry in manifest["files"]:
        kind = kinds.setdefault(str(entry["path"]).partition("/")[0], {"files": 0, "rows": 0, "bytes": 0})
        kind["files"] += 1
        kind["rows"] += int(entry["rows"])
        kind["bytes"] += int(entry["bytes"])
    return kinds


def equations(found: Mapping[str, Any]) -> list[str]:
    """The conservation equations with their numbers."""
    sums = found["conservation"]
    if sums is None:
        return []
    share = tables.share(sums["kept"], sums["documents"])
    failed = "" if sums["holds"] else "   DOES NOT HOLD"
    return [
        f"{sums['records']:,} records = {sums['documents']:,} documents + {sums['quarantined']:,} quarantined{failed}",
        f"{sums['documents']:,} documents = {sums['kept']:,} kept ({share}) + {sums['dropped']:,} dropped{failed}",
    ]


def sections(found: Mapping[str, Any]) -> list[Section]:
    """Every table that `inspect` shows, as (title, headings, rows): one source for the terminal and for the page."""
    counts = found["counts"]
    documents = int(counts.get("documents", 0))
    about = [
        ["made by", found["maker"]],
        ["fingerprint", found["fingerprint"]],
        ["root_hash", found["root_hash"]],
        ["deterministic", found["deterministic"]],
        ["finished (UTC)", found["finished"]],
        ["built from", ", ".join(_input(item) for item in found["inputs"])],
        ["recipe", " ".join(f"{key}={value}" for key, value in sorted(found["recipe"].items()) if value)],
    ]
    steps = [
        [row["artifact"], row["maker"], row.get("documents"), row.get("kept"),
         tables.share(row.get("kept", 0), row.get("documents", 0)), tables.size(row.get("kept_bytes"))]
        for row in found["funnel"]
    ]  # fmt: skip
    reasons = [
        [row["reason"], row["dropped"], tables.share(row["dropped"], documents), tables.size(row["dropped_bytes"]), row["held"],
         tables.share(row["held"], documents), row["rule"]]
        for row in found["reasons"]
    ]  # fmt: skip
    steps_headings = ["artifact", "maker", "documents", "kept", "share", "bytes kept"]
    reasons_headings = ["reason", "documents", "share", "bytes", "held for", "share", "rule"]
    lengths = [[name, *quantiles.values()] for name, quantiles in found["lengths"].items()]
    files = [
        [kind, row["files"], row["rows"] or None, tables.size(row["bytes"])]
        for kind, row in sorted(found["files"].items())
    ]
    result: list[Section] = [
        ("Artifact", ["", ""], [row for row in about if row[1] not in (None, "")]),
        ("From the start of the chain", steps_headings, steps if len(steps) > 1 else []),
        ("Dropped, by the first reason that holds", reasons_headings, reasons),
        ("Quarantined", ["reason", "records"], _ranked(counts.get("quarantined", {}))),
        ("Skipped, no documents by their kind", ["kind", "entries"], _ranked(counts.get("skipped", {}))),
        ("Tallies", ["stage/column", "sum"], _ranked(counts.get("tallies", {}))),
        ("By source", _BY, _by(counts.get("sources", {}))),
        ("By language", _BY, _by(counts.get("languages", {}))),
        ("Bytes a document", ["", *(f"p{q * 100:g}" for q in QUANTILES)], lengths),
        ("Other counts", ["count", "value"], _flat({key: value for key, value in counts.items() if key not in SHOWN})),
        ("Notes of the maker", ["note", "value"], _flat(found["notes"])),
        ("Files", ["kind", "files", "rows", "bytes"], files),
        ("Side files", ["path", "sha256"], [list(pair) for pair in sorted(found["side_files"].items())]),
        (
            "MISSING shards: left out, having failed",
            ["shard", "error"],
            [list(p) for p in sorted(found["missing_shards"].items())],
        ),
    ]
    return [section for section in result if section[2]]


_BY = ["value", "documents", "kept", "share", "bytes", "bytes kept"]


def _ranked(counts: Mapping[str, Any]) -> list[list[Any]]:
    return [list(pair) for pair in tables.ranked(counts)]


def _by(groups: Mapping[str, Mapping[str, int]]) -> list[list[Any]]:
    rows = sorted(groups.items(), key=lambda pair: (-pair[1]["documents"], pair[0]))
    return [
        [name, row["documents"], row["kept"], tables.share(row["kept"], row["documents"]),
         tables.size(row["document_bytes"]), tables.size(row["kept_bytes"])]
        for name, row in rows
    ]  # fmt: skip


def _flat(data: Mapping[str, Any], prefix: str = "") -> list[list[Any]]:
    rows: list[list[Any]] = []
    for key, value in sorted(data.items()):
        if isinstance(value, Mapping):
            rows.extend(_flat(value, f"{prefix}{key}."))
        else:
            rows.append([f"{prefix}{key}", value])
    return rows


def _input(described: Mapping[str, Any]) -> str:
    label = f"{described['name']}/{str(described['fingerprint'])[:12]}"
    if "source" not in described:
        return label
    totals = described["source"]
    return f"source {label} ({totals.get('files', 0):,} files, {tables.size(totals.get('bytes', 0))})"


def page_of(found: Mapping[str, Any]) -> str:
    """The summary as one HTML page."""
    certificate = found["certificate"]
    figures = banner(found["warnings"]) + (block_of(certificate) if certificate else "")
    style = STYLE if certificate else ""
    return html_page(found["name"], found["directory"], equations(found), sections(found), figures=figures, style=style)


def show(found: Mapping[str, Any]) -> None:
    """Print the summary as tables."""
    tables.print_line(f"{found['name']}  {found['directory']}")
    print_warnings(found["warnings"])
    for line in equations(found):
        tables.print_line(line)
    certified = tables_of(found["certificate"]) if found["certificate"] else []
    for title, headings, rows in [*(section for section in certified if section[2]), *sections(found)]:
        tables.print_line()
        tables.print_table(headings, rows, title=title)
    for absent in found["absent_inputs"]:
        tables.note(f"note: {absent}, on which this was built, is not under the same root")
