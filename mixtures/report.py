"""One self-contained HTML page that tells what a build did: nothing is fetched, nothing runs, everything is escaped.

In: plain JSON, mostly what manifests hold.

```
{"title": str, "subtitle": str,
 "artifacts": [{"name", "fingerprint", "counts": {...}, "notes": {...}, "seconds": float,
                "lengths": {"unit", "edges", "counts"}, "clusters": {size: number of clusters},
                "at_a_glance": bool}, ...],
 "mixture": mixture.json, "smoke": smoke.json,
 "samples": [{"text", "reason", "explain", "id", "source"}, ...]}
```

Every key may be missing: its section is then left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixtures.charts import bars, escape, funnel, histogram, line, number, shares
from mixtures.page import PAGE
from mixtures.tree import render_tree, short_count

MAX_BARS = 14
MAX_SAMPLES = 24
MAX_SAMPLE_CHARACTERS = 700
LEADS = {
    "funnel": "Each line is one step. Kept, dropped and quarantined sum to what came in: nothing goes missing.",
    "reasons": "A document counts under the first rule that held for it, written as stage/fault.",
    "duplicates": "Of each cluster of documents that are alike, one keeper stays.",
    "tokenizer": "Byte-level BPE learned from the kept documents; digits and punctuation are single, LaTeX commands whole.",
    "mixture": "What the training run reads: the share of each component, and how often its documents come round.",
    "smoke": "A check of health, not of quality: bits per byte of held-out documents must go down.",
}
"""One sentence a section, for a reader who has never seen the line."""


def render_report(sections: Mapping[str, Any]) -> str:
    """The page. Deterministic: the same sections give the same bytes."""
    artifacts = [artifact for artifact in sections.get("artifacts") or () if isinstance(artifact, Mapping)]
    body = [
        _section("line", "The line at a glance", _at_a_glance(artifacts, sections)),
        _section("funnel", "What came in, what stayed", _funnel(artifacts)),
        _section("reasons", "Why documents were dropped", _reasons(artifacts)),
        _section("languages", "Languages", _languages(artifacts)),
        _section("lengths", "Lengths of documents", _lengths(artifacts)),
        _section("duplicates", "Duplicates", _clusters(artifacts)),
        _section("tokenizer", "Tokenizer", _tokenizer(artifacts)),
        _section("mixture", "Mixture", _mixture(sections.get("mixture"))),
        _section("smoke", "A tiny model, trained", _smoke(sections.get("smoke"))),
        _section("samples", "Dropped documents, looked at", _samples(sections.get("samples") or ())),
        _section("provenance", "Where each artifact comes from", _provenance(artifacts)),
    ]
    return PAGE.format(
        title=escape(sections.get("title") or "eyas report"),
        subtitle=escape(sections.get("subtitle") or _subtitle(artifacts)),
        body="\n".join(part for part in body if part),
    )


def _section(key: str, title: str, content: str) -> str:
    if not content:
        return ""
    lead = f'<p class="quiet">{escape(LEADS[key])}</p>' if key in LEADS else ""
    return f'<section id="{key}"><h2>{escape(title)}</h2>{lead}{content}</section>'


def _counts(artifact: Mapping[str, Any]) -> Mapping[str, Any]:
    counts = artifact.get("counts")
    return counts if isinstance(counts, Mapping) else {}


def _notes(artifact: Mapping[str, Any]) -> Mapping[str, Any]:
    notes = artifact.get("notes")
    return notes if isinstance(notes, Mapping) else {}


def _subtitle(artifacts: Sequence[Mapping[str, Any]]) -> str:
    read = [_counts(a)["records"] for a in artifacts if "records" in _counts(a)]
    tokens = sum(_counts(a).get("tokens", 0) for a in artifacts)
    if not read:
        return ""
    return f"From {number(sum(read))} records" + (f" to {number(tokens)} tokens" if tokens else "")


def _at_a_glance(artifacts: Sequence[Mapping[str, Any]], sections: Mapping[str, Any]) -> str:
    cards = []
    for artifact in artifacts:
        if not artifact.get("at_a_glance", True):
            continue
        counts, notes = _counts(artifact), _notes(artifact)
        if "tokens" in counts:
            figure, unit = short_count(counts["tokens"]), f"tokens of {number(counts['documents'])} documents"
        elif "documents" in counts:
            figure, unit = number(counts.get("kept", 0)), f"kept of {number(counts['documents'])} documents"
        elif "tokenizer" in notes:
            figure, unit = number(notes["tokenizer"].get("vocab_size", 0)), "entries of vocabulary"
        else:
            continue
        cards.append((artifact.get("name", ""), figure, unit))
    mixture, smoke = sections.get("mixture"), sections.get("smoke")
    if mixture:
        cards.append(
            ("mixture", short_count(mixture["budget_tokens"]), f"tokens from {len(mixture['components'])} components")
        )
    if smoke:
        bpb = smoke["bits_per_byte"]
        cards.append(("tiny model", f"{bpb['after']:.2f}", f"bits per byte, {bpb['before']:.2f} before"))
    shown = "".join(
        f"<li><b>{escape(name)}</b><strong>{escape(figure)}</strong><span>{escape(unit)}</span></li>"
        for name, figure, unit in cards
    )
    return f'<ol class="cards">{shown}</ol>' if cards else ""


def _funnel(artifacts: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for artifact in artifacts:
        counts = _counts(artifact)
        if "documents" not in counts or "tokens" in counts:
            continue
        kept, quarantined = counts.get("kept", 0), sum(counts.get("quarantined", {}).values())
        dropped = counts["documents"] - kept
        share = 100 * kept / counts["documents"] if counts["documents"] else 0.0
        note = f"{number(kept)} kept ({share:.0f}%), {number(dropped)} dropped"
        note += f", {number(quarantined)} unreadable" if quarantined else ""
        rows.append((str(artifact.get("name", "")), [(kept, "a"), (dropped, "b"), (quarantined, "c")], note))
    if not rows:
        return ""
    legend = (
        '<div class="legend"><span><i class="a"></i>kept</span><span><i class="b"></i>dropped</span>'
        '<span><i class="c"></i>quarantined: could not be read</span></div>'
    )
    return legend + funnel(rows)


def _top(counts: Mapping[str, float], limit: int = MAX_BARS) -> list[tuple[str, float]]:
    """The largest entries, ties by name, and the rest as one."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = ordered[limit:]
    return ordered[:limit] + ([(f"{len(rest)} others", sum(v for _, v in rest))] if rest else [])


def _reasons(artifacts: Sequence[Mapping[str, Any]]) -> str:
    blocks = []
    for artifact in artifacts:
        counts = _counts(artifact)
        for key, what in (("dropped", "dropped"), ("quarantined", "quarantined")):
            found = {str(k): v for k, v in (counts.get(key) or {}).items() if v}
            if not found:
                continue
            total = sum(found.values())
            rows = [(name, value, f"{number(value)} ({100 * value / total:.0f}%)") for name, value in _top(found)]
            heading = f"{artifact.get('name', '')}: {number(total)} {what}"
            blocks.append(f"<h3>{escape(heading)}</h3>{bars(rows, tone='b' if key == 'dropped' else 'c')}")
    return "".join(blocks)


def _languages(artifacts: Sequence[Mapping[str, Any]]) -> str:
    last = [a for a in artifacts if _counts(a).get("languages")]
    merged: dict[str, dict[str, int]] = {}
    tokenized = [a for a in last if "tokens" in _counts(a)]
    for artifact in tokenized or last[-1:]:
        for language, entry in _counts(artifact)["languages"].items():
            into = merged.setdefault(str(language), {})
            for key, value in entry.items():
                into[key] = into.get(key, 0) + value
    unit, what = ("tokens", "tokens") if tokenized else ("kept", "documents")
    counts = {language: entry.get(unit, 0) for language, entry in merged.items() if entry.get(unit, 0)}
    if not counts:
        return ""
    total = sum(counts.values())
    rows = [(name, value, f"{number(value)} {what} ({100 * value / total:.1f}%)") for name, value in _top(counts, 20)]
    return bars(rows)


def _lengths(artifacts: Sequence[Mapping[str, Any]]) -> str:
    blocks = []
    for artifact in artifacts:
        lengths = artifact.get("lengths")
        if lengths and lengths.get("counts"):
            label = f"{artifact.get('name', '')}: {lengths.get('unit', 'bytes')} per document"
            blocks.append(histogram(lengths["edges"], lengths["counts"], x_label=label))
    return "".join(blocks)


def _clusters(artifacts: Sequence[Mapping[str, Any]]) -> str:
    blocks = []
    for artifact in artifacts:
        clusters = {int(size): value for size, value in (artifact.get("clusters") or {}).items()}
        if clusters:
            rows = [
                (f"{number(size)} alike", float(clusters[size]), f"{number(clusters[size])} clusters")
                for size in sorted(clusters)[:MAX_BARS]
            ]
            total = sum(size * value for size, value in clusters.items())
            heading = (
                f"{artifact.get('name', '')}: {number(total)} documents in {number(sum(clusters.values()))} clusters"
            )
            blocks.append(f"<h3>{escape(heading)}</h3>{bars(rows)}")
    return "".join(blocks)


def _tiles(pairs: Sequence[tuple[str, str]]) -> str:
    tiles = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="tiles">{tiles}</dl>'


def _tokenizer(artifacts: Sequence[Mapping[str, Any]]) -> str:
    blocks = []
    for artifact in artifacts:
        note = _notes(artifact).get("tokenizer")
        if not note:
            continue
        pairs = [
            ("vocabulary", number(note["vocab_size"])),
            ("merges", number(note["num_merges"])),
            ("LaTeX commands", number(note["num_latex_commands"])),
            ("reserved ids", number(note["num_reserved"])),
            ("split", str(note["pattern"])),
            ("trained on", f"{short_count(note['num_bytes'])} bytes"),
            ("distinct pre-tokens", number(note["num_distinct_pretokens"])),
            ("largest pair count", number(note["largest_pair_count"])),
        ]
        blocks.append(_tiles(pairs))
        if note.get("exhausted"):
            asked = number(note["asked_vocab_size"])
            blocks.append(
                f'<p class="warn">The text was too small for the {asked} entries asked for: no pair was left to merge.</p>'
            )
    per_source: dict[str, float] = {}
    for artifact in artifacts:
        counts = _counts(artifact)
        if counts.get("tokens"):
            per_source[str(artifact.get("name", ""))] = counts.get("kept_bytes", 0) / counts["tokens"]
    if per_source:
        rows = [(name, value, f"{value:.2f} bytes per token") for name, value in sorted(per_source.items())]
        blocks.append(f"<h3>Bytes per token</h3>{bars(rows)}")
    return "".join(blocks)


def _mixture(mixture: Mapping[str, Any] | None) -> str:
    if not mixture:
        return ""
    parts = [(c["name"], c["planned_tokens"]) for c in mixture["components"] if c["planned_tokens"]]
    warnings = "".join(f'<p class="warn">{escape(text)}</p>' for text in mixture.get("warnings", ()))
    return shares(parts) + f"<pre>{escape(render_tree(mixture))}</pre>" + warnings


def _smoke(smoke: Mapping[str, Any] | None) -> str:
    if not smoke:
        return ""
    bpb, model = smoke["bits_per_byte"], smoke["model"]
    verdict = "learned from this mixture" if smoke.get("healthy") else "did not learn: look at the curve"
    words = (
        f"A {model['architecture']} of {number(model['num_parameters'])} parameters, {number(smoke['steps'])} steps of "
        f"{number(smoke['batch_size'])} sequences, {verdict}. Held-out documents: {bpb['before']:.3f} bits per byte before, "
        f"{bpb['after']:.3f} after."
    )
    rows = []
    for name, part in sorted(bpb.get("components", {}).items()):
        rows.append((f"{name}, before", [(part["before"], "b")], f"{part['before']:.3f}"))
        rows.append((f"{name}, after", [(part["after"], "a")], f"{part['after']:.3f}"))
    chart = line(smoke["losses"], x_label="step", y_label="loss, nats per token")
    kind = "" if smoke.get("healthy") else ' class="warn"'
    return f"<p{kind}>{escape(words)}</p>{chart}<h3>Bits per byte of held-out documents</h3>{funnel(rows)}"


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    cards = []
    for sample in list(samples)[:MAX_SAMPLES]:
        text = str(sample.get("text") or "")
        more = len(text) - MAX_SAMPLE_CHARACTERS
        tail = f'<span class="quiet"> ... {number(more)} characters more</span>' if more > 0 else ""
        where = " · ".join(str(sample[key]) for key in ("source", "id") if sample.get(key))
        cards.append(
            f"<article><header><code>{escape(sample.get('reason') or 'kept')}</code><span>{escape(where)}</span></header>"
            f"<p>{escape(sample.get('explain') or '')}</p>"
            f'<pre dir="auto">{escape(text[:MAX_SAMPLE_CHARACTERS])}{tail}</pre></article>'
        )
    return f'<div class="samples">{"".join(cards)}</div>' if cards else ""


def _provenance(artifacts: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for artifact in artifacts:
        seconds = artifact.get("seconds")
        rows.append(
            f"<tr><td>{escape(artifact.get('name', ''))}</td>"
            f"<td><code>{escape(str(artifact.get('fingerprint', ''))[:12])}</code></td>"
            f"<td>{'' if seconds is None else f'{seconds:,.1f} s'}</td></tr>"
        )
    if not rows:
        return ""
    head = "<thead><tr><th>artifact</th><th>fingerprint</th><th>time</th></tr></thead>"
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"
