"""What the report of a whole line shows, gathered from its artifacts: plain data for `mixtures.report`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixtures.report import render_report
from pipelines import storage
from pipelines.artifact import Built
from pipelines.rules import from_json, to_sentence

LENGTH_EDGES = tuple(int(edge) for edge in 2.0 ** np.arange(4, 21))
MAX_SAMPLES = 18
PER_REASON = 2


def report_of(line: Sequence[Built], *, title: str, seconds: Mapping[str, float]) -> str:
    """One self-contained HTML page about the artifacts of `line`, in order."""
    by_name = {built.name: built for built in line}
    sections: dict[str, Any] = {
        "title": title,
        "subtitle": _subtitle(line),
        "artifacts": [_artifact(built, seconds.get(built.name)) for built in line],
        "samples": [sample for built in line for sample in dropped_samples(built)][:MAX_SAMPLES],
    }
    for name in ("mixture", "smoke"):
        if name in by_name:
            sections[name] = json.loads(storage.read_bytes(storage.join(by_name[name].uri, f"{name}.json")))
    return render_report(sections)


def _subtitle(line: Sequence[Built]) -> str:
    """What was read from files, once, and what is left of it as tokens."""
    read = [built for built in line if any("source" in described for described in built.manifest["inputs"])]
    records = sum(built.manifest["counts"].get("records", 0) for built in read)
    tokens = sum(built.manifest["counts"].get("tokens", 0) for built in line)
    return f"From {records:,} records in {len(read)} corpora to {tokens:,} tokens"


def _artifact(built: Built, seconds: float | None) -> dict[str, Any]:
    manifest = built.manifest
    shown: dict[str, Any] = {
        "name": built.name, "fingerprint": built.fingerprint, "counts": manifest["counts"], "notes": manifest["notes"],
    }  # fmt: skip
    # The first look is at results; what led to them has its line in the sections below.
    shown["at_a_glance"] = not built.name.endswith(("-clean", "_tokens"))
    if seconds is not None:
        shown["seconds"] = seconds
    if built.parts("clusters"):
        shown["clusters"] = cluster_sizes(built)
    elif built.name.endswith("-clean"):
        shown["lengths"] = {"unit": "bytes", "edges": list(LENGTH_EDGES), "counts": length_counts(built)}
    return shown


def length_counts(built: Built) -> list[int]:
    """How many kept documents lie between each two of LENGTH_EDGES; shorter and longer ones fall into the end bins."""
    edges = np.array(LENGTH_EDGES)
    total = np.zeros(len(edges) - 1, np.int64)
    for part in built.parts("signals"):
        for batch in storage.read_batches(part.uri, ["num_bytes", "reasons"]):
            kept = batch.column("reasons").value_lengths().to_numpy(zero_copy_only=False) == 0
            sizes = batch.column("num_bytes").to_numpy(zero_copy_only=False)[kept]
            total += np.histogram(np.clip(sizes, edges[0], edges[-1]), edges)[0]
    return [int(count) for count in total]


def cluster_sizes(built: Built) -> dict[str, int]:
    """Number of near-duplicate clusters by size."""
    clusters: dict[int, int] = {}
    for part in built.parts("clusters"):
        for batch in storage.read_batches(part.uri, ["cluster", "cluster_size"]):
            clusters.update(
                zip(batch.column("cluster").to_pylist(), batch.column("cluster_size").to_pylist(), strict=True)
            )
    return {str(size): count for size, count in sorted(Counter(clusters.values()).items())}


def dropped_samples(built: Built) -> list[dict[str, Any]]:
    """A few dropped documents with stored text, at most PER_REASON a reason, each with the sentence that says why."""
    rules = {f"{rule['stage']}/{rule['reason']}": from_json(rule) for rule in built.manifest["rules"]}
    found: list[dict[str, Any]] = []
    seen: Counter[str] = Counter()
    for dropped, signals in zip(built.parts("dropped"), built.parts("signals"), strict=False):
        measured: dict[tuple[str, str], dict[str, Any]] | None = None
        for batch in storage.read_batches(dropped.uri):
            for row in batch.to_pylist():
                reason = f"{row['stage']}/{row['reason']}"
                if row["text"] is None or seen[reason] >= PER_REASON:
                    continue
                seen[reason] += 1
                if measured is None:
                    rows = storage.read_table(signals.uri).to_pylist()
                    measured = {(r["source"], r["id"]): r for r in rows}
                found.append(
                    {key: row[key] for key in ("id", "source", "text")}
                    | {"reason": reason, "explain": _explain(row, rules.get(reason), measured)}
                )
    return found


def _explain(row: Mapping[str, Any], rule: Any, measured: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    if row.get("keeper_id") is not None:
        similarity = row.get("similarity")
        return f"like {row['keeper_id']}" + (f", similarity {similarity:.2f}" if similarity is not None else "")
    signals = measured.get((row["source"], row["id"]), {})
    if rule is None or rule.signal not in signals:
        return ""
    attribute = signals.get(getattr(rule.bound, "column", ""), None)
    return to_sentence(rule, signals[rule.signal], attribute)
