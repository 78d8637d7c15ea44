"""Judging the stored signals of an artifact by two sets of rules, and what changes between them.

`signals/` holds every document, kept and dropped, with what each rule reads: no text is read and no code of a stage runs.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.cli.bounds import Judge, describe_rule
from pipelines.cli.locate import Located
from pipelines.errors import BuildError, InputError
from pipelines.makers.process import id_hash
from pipelines.rules import columns_read, judge

SHOWN_IDS = 5


@dataclass(kw_only=True)
class Change:
    """Documents that would come back, or go: how many, their bytes, by reason, their hashes, and a few ids."""

    documents: int = 0
    num_bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    hashes: list[int] = field(default_factory=list)
    sample: list[tuple[int, str, str, str]] = field(default_factory=list)

    def add(self, rows: pa.RecordBatch, reasons: Sequence[str]) -> None:
        """Count the rows, each with the reason that drops it, before or after."""
        self.documents += rows.num_rows
        self.num_bytes += int(pc.sum(rows.column("num_bytes")).as_py() or 0)
        self.reasons.update(reasons)
        pairs = zip(rows.column("source").to_pylist(), rows.column("id").to_pylist(), reasons, strict=True)
        for source, document, reason in pairs:
            value = id_hash(source, document)
            self.hashes.append(value)
            self.sample.append((value, source, document, reason))
        self.sample = heapq.nsmallest(SHOWN_IDS, self.sample)

    def report(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "documents": self.documents,
            "bytes": self.num_bytes,
            "reasons": dict(sorted(self.reasons.items())),
            "sample": [{"source": s, "id": document, "reason": reason} for _, s, document, reason in self.sample],
        }


@dataclass(kw_only=True)
class Tally:
    """What one set of rules makes of all documents; bytes are those of texts as they go out."""

    kept: int = 0
    kept_bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)

    def report(self) -> dict[str, Any]:
        """As plain JSON, keyed as the manifest's counts are."""
        return {
            "kept": self.kept, "kept_bytes": self.kept_bytes, "dropped": dict(sorted(self.dropped.items())),
            "held": dict(sorted(self.held.items())),
        }  # fmt: skip


@dataclass(kw_only=True)
class Outcome:
    """Both tallies and the two changes between them."""

    documents: int = 0
    before: Tally = field(default_factory=Tally)
    after: Tally = field(default_factory=Tally)
    back: Change = field(default_factory=Change)
    gone: Change = field(default_factory=Change)

    def report(self, judged: Located, before: Sequence[Judge], after: Sequence[Judge]) -> dict[str, Any]:
        """As plain JSON."""
        changed = [
            {"reason": old.reason, "before": describe_rule(old.rule), "after": describe_rule(new.rule)}
            for old, new in zip(before, after, strict=True)
            if old != new
        ]
        return {
            "artifact": judged.label,
            "rules": changed,
            "documents": self.documents,
            "before": self.before.report(),
            "after": self.after.report(),
            "come_back": self.back.report(),
            "newly_dropped": self.gone.report(),
        }


def rejudge(located: Located, before: Sequence[Judge], after: Sequence[Judge]) -> Outcome:
    """Judge every document of the artifact by both sets of rules. Memory: a batch, and hashes of what changes.

    Raises InputError where the artifact stores no signals, BuildError where its stored reasons are not those its own
    rules give, since then no answer about other rules can be trusted.
    """
    parts = located.parts("signals")
    if not parts:
        raise InputError(f"{located.label}: no signals/ are stored, so it cannot be judged again")
    columns = dict.fromkeys(["id", "source", "num_bytes", "reasons"])
    columns |= dict.fromkeys([*columns_read([j.rule for j in after]), *(j.rule.signal for j in after)])
    outcome = Outcome()
    for part in parts:
        for batch in storage.read_batches(part.uri, list(columns), batch_rows=1 << 14):
            old, new = _held(batch, before), _held(batch, after)
            _check_stored(batch.column("reasons"), old, before, part.uri)
            _add(outcome, batch, (old, before), (new, after))
    return outcome


def _held(batch: pa.RecordBatch, judges: Sequence[Judge]) -> np.ndarray:
    """Which rule holds for which document: bool [num_documents, num_rules]."""
    masks = judge(batch, [judged.rule for judged in judges])
    stacked = [mask.to_numpy(zero_copy_only=False).astype(bool) for mask in masks]
    return np.stack(stacked, axis=1) if stacked else np.zeros((batch.num_rows, 0), bool)


def _check_stored(stored: pa.ListArray, held: np.ndarray, judges: Sequence[Judge], uri: str) -> None:
    names = pa.array([judged.reason for judged in judges], pa.string())
    expected = names.take(pa.array(np.nonzero(held)[1]))
    lengths = pc.list_value_length(stored).to_numpy(zero_copy_only=False)
    if not (np.array_equal(lengths, held.sum(axis=1)) and stored.flatten().equals(expected)):
        raise BuildError(
            f"{uri}: the reasons stored there do not follow from its signals and the manifest's rules; run `eyas verify`"
        )


def _add(
    outcome: Outcome,
    batch: pa.RecordBatch,
    old: tuple[np.ndarray, Sequence[Judge]],
    new: tuple[np.ndarray, Sequence[Judge]],
) -> None:
    outcome.documents += batch.num_rows
    num_bytes = batch.column("num_bytes").cast(pa.int64()).to_numpy()
    for tally, (held, judges) in ((outcome.before, old), (outcome.after, new)):
        kept = ~held.any(axis=1)
        tally.kept += int(kept.sum())
        tally.kept_bytes += int(num_bytes[kept].sum())
        tally.dropped.update(_first_reasons(held[~kept], judges))
        tally.held.update({judges[i].reason: int(n) for i, n in enumerate(held.sum(axis=0)) if n})
    was_kept, is_kept = ~old[0].any(axis=1), ~new[0].any(axis=1)
    for change, rows, (held, judges) in (
        (outcome.back, ~was_kept & is_kept, old),
        (outcome.gone, was_kept & ~is_kept, new),
    ):
        if rows.any():
            picked = batch.select(["source", "id", "num_bytes"]).filter(pa.array(rows))
            change.add(picked, _first_reasons(held[rows], judges))


def _first_reasons(held: np.ndarray, judges: Sequence[Judge]) -> list[str]:
    return [judges[int(i)].reason for i in held.argmax(axis=1)] if held.size else []
