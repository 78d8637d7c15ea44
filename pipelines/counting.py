"""What a shard counts: its documents kept and dropped, by reason, source and language, and the sums that must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipelines.errors import ConservationError

KEPT_TEXT_PER_REASON = 100
KEPT_TEXT_FRACTION = 0.01


class TextSample:
    """Which dropped texts are stored: `all`, `none`, or `sample` - 1% by hash of the id, and at least 100 per reason.

    One instance serves one shard: the first 100 of a reason are the shard's first 100 in row order.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._stored: dict[str, int] = {}

    def choose(self, ids: Sequence[str], reasons: Sequence[str]) -> list[bool]:
        """One flag a dropped document."""
        if self.mode != "sample":
            return [self.mode == "all"] * len(ids)
        chosen = []
        for document, reason in zip(ids, reasons, strict=True):
            stored = self._stored.get(reason, 0)
            self._stored[reason] = stored + 1
            by_hash = xxhash.xxh3_64_intdigest(document.encode()) < KEPT_TEXT_FRACTION * 2**64
            chosen.append(stored < KEPT_TEXT_PER_REASON or by_hash)
        return chosen


def dropped_batch(
    documents: pa.RecordBatch, reasons: pa.ListArray, sample: TextSample, extra: Mapping[str, pa.Array] | None = None
) -> pa.RecordBatch:
    """Rows of `dropped/`: id, source, stage, reason (the first), reasons (all), locator, url, text or null, then `extra`.

    `reasons` holds, for each document, a non-empty list of `stage/reason`.
    """
    first = pc.list_element(reasons, 0)
    parts = pc.split_pattern(first, "/", max_splits=1)
    names = first.to_pylist()
    keep = pa.array(sample.choose(documents.column("id").to_pylist(), names), pa.bool_())
    columns = {
        "id": documents.column("id"),
        "source": documents.column("source"),
        "stage": pc.list_element(parts, 0) if len(first) else pa.array([], pa.string()),
        "reason": pc.list_element(parts, 1) if len(first) else pa.array([], pa.string()),
        "reasons": reasons.cast(pa.list_(pa.string())),
        "locator": documents.column("locator"),
        "url": documents.column("url"),
        "text": pc.if_else(keep, documents.column("text"), pa.scalar(None, pa.large_string())),
    }
    return pa.RecordBatch.from_pydict(columns | dict(extra or {}))


def count_outcome(
    documents: pa.RecordBatch, reasons: pa.ListArray, *, num_bytes: pa.Array, tallies: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Counts of one batch that was judged; add batches up with `add_counts`.

    `reasons` is an empty list for a kept document. `num_bytes` is each document's UTF-8 size as it came in;
    `kept_bytes` is that of the text as it goes out. A document counts under its first reason in `dropped`, under every
    reason in `held`.
    """
    lengths = pc.list_value_length(reasons)
    kept = pc.equal(lengths, 0)
    out_bytes = pc.binary_length(documents.column("text")).cast(pa.int64())
    first = pc.list_element(reasons.filter(pc.invert(kept)), 0) if documents.num_rows else pa.array([], pa.string())
    in_bytes = num_bytes.cast(pa.int64())
    counts: dict[str, Any] = {
        "documents": documents.num_rows,
        "kept": int(pc.sum(kept).as_py() or 0),
        "dropped": _value_counts(first),
        "held": _value_counts(reasons.flatten()),
        "document_bytes": _sum(in_bytes),
        "kept_bytes": _sum(out_bytes.filter(kept)),
        "dropped_bytes": _sums(first, in_bytes.filter(pc.invert(kept))),
        "tallies": dict(tallies or {}),
    }
    for column, name in (("source", "sources"), ("language", "languages")):
        if documents.schema.get_field_index(column) >= 0:
            counts[name] = _by_attribute(documents.column(column), kept, in_bytes, out_bytes)
    return counts


def _by_attribute(
    values: pa.Array, kept: pa.Array, in_bytes: pa.Array, out_bytes: pa.Array
) -> dict[str, dict[str, int]]:
    table = pa.table(
        {
            "value": values.cast(pa.string()).fill_null("none"),
            "kept": kept.cast(pa.int64()),
            "document_bytes": in_bytes,
            "kept_bytes": pc.if_else(kept, out_bytes, 0),
        }
    )
    grouped = table.group_by("value", use_threads=False).aggregate(
        [("kept", "sum"), ("document_bytes", "sum"), ("kept_bytes", "sum"), ("value", "count")]
    )
    return {
        row["value"]: {
            "documents": row["value_count"],
            "kept": row["kept_sum"],
            "document_bytes": row["document_bytes_sum"],
            "kept_bytes": row["kept_bytes_sum"],
        }
        for row in grouped.to_pylist()
    }


def _value_counts(values: pa.Array) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(values).to_pylist()}


def _sums(keys: pa.Array, values: pa.Array) -> dict[str, int]:
    grouped = pa.table({"key": keys, "value": values}).group_by("key", use_threads=False).aggregate([("value", "sum")])
    return {row["key"]: row["value_sum"] for row in grouped.to_pylist()}


def _sum(values: pa.Array) -> int:
    return int(pc.sum(values).as_py() or 0)


def add_counts(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Sum two nested mappings of integers, key by key: the reduction that all counts share. It commutes.

    >>> add_counts({"kept": 1, "dropped": {"a": 1}}, {"kept": 2, "dropped": {"b": 5}})
    {'dropped': {'a': 1, 'b': 5}, 'kept': 3}
    """
    total: dict[str, Any] = {}
    for key in sorted(left.keys() | right.keys()):
        a, b = left.get(key), right.get(key)
        if isinstance(a, Mapping) or isinstance(b, Mapping):
            total[key] = add_counts(a or {}, b or {})
        else:
            total[key] = (a or 0) + (b or 0)
    return total


def check_conservation(counts: Mapping[str, Any], *, where: str) -> None:
    """records = documents + quarantined, documents = kept + dropped. Raises ConservationError with both sides."""
    quarantined = sum(counts.get("quarantined", {}).values())
    dropped = sum(counts.get("dropped", {}).values())
    records = counts.get("records", counts["documents"] + quarantined)
    if records != counts["documents"] + quarantined:
        raise ConservationError(
            f"{where}: {records} records != {counts['documents']} documents + {quarantined} quarantined"
        )
    if counts["documents"] != counts["kept"] + dropped:
        raise ConservationError(
            f"{where}: {counts['documents']} documents != {counts['kept']} kept + {dropped} dropped"
        )
