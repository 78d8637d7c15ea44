"""Finding the rows of one document in an artifact, and saying in sentences what its rules make of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.cli.locate import Located
from pipelines.makers.process import id_hash
from pipelines.rules import ByAttribute, from_json, judge, to_sentence
from pipelines.shards import PartShard

Row = tuple[PartShard, pa.RecordBatch]
"""The file a row was found in, and the row as a batch of one."""
OF_DROPPED = frozenset({"id", "source", "stage", "reason", "reasons", "locator", "url", "text"})


def find_rows(
    located: Located, kind: str, document: str, *, source: str = "", shards: Collection[str] | None = None
) -> list[Row]:
    """Every row of `kind` whose id is `document`, of one source or of all, without its text.

    Reads ids and sources of all shards (or of those named), and other columns only where the document is.
    """
    found: list[Row] = []
    for part in located.parts(kind):
        if shards is not None and part.name not in shards:
            continue
        names = storage.read_schema(part.uri).names
        if "id" not in names or "source" not in names:
            return []
        if not any(
            np.any(_matches(batch, document, source)) for batch in storage.read_batches(part.uri, ["id", "source"])
        ):
            continue
        for batch in storage.read_batches(part.uri, [name for name in names if name != "text"]):
            rows = np.flatnonzero(_matches(batch, document, source))
            found.extend((part, batch.slice(int(row), 1)) for row in rows)
    return found


def _matches(batch: pa.RecordBatch, document: str, source: str) -> np.ndarray:
    mask = pc.equal(batch.column("id"), document)
    if source:
        mask = pc.and_(mask, pc.equal(batch.column("source"), source))
    matched: np.ndarray = mask.to_numpy(zero_copy_only=False).astype(bool)
    return matched


def shards_with(located: Located, document: str, sources: Sequence[str]) -> frozenset[str] | None:
    """Shards whose `ids/` hold the document in one of `sources`; None where the artifact has no such index."""
    indexes = located.files("ids", ".u64")
    if not indexes:
        return None
    wanted = np.array([id_hash(source, document) for source in sources], np.uint64)
    return frozenset(index.name for index in indexes if _holds(index.uri, wanted))


def _holds(uri: str, wanted: np.ndarray) -> bool:
    hashes = np.frombuffer(storage.read_bytes(uri), "<u8")
    places = np.searchsorted(hashes, wanted)
    inside = places < hashes.size
    return bool(np.any(hashes[places[inside]] == wanted[inside]))


def attribute_of(row: pa.RecordBatch, column: str) -> Any:
    """The value of `column` in a batch of one row, or None where there is no such column."""
    position = row.schema.get_field_index(column)
    return row.column(position)[0].as_py() if position >= 0 else None


def sentences_of(manifest: Mapping[str, Any], row: pa.RecordBatch) -> list[dict[str, Any]]:
    """What every rule of the manifest says of one row of signals: stage, reason, sentence, whether it holds.

    Rules whose signal is not in the row are left out.
    """
    rules = [(str(data["stage"]), from_json(data)) for data in manifest.get("rules", [])]
    rules = [(stage, rule) for stage, rule in rules if row.schema.get_field_index(rule.signal) >= 0]
    held = judge(row, [rule for _, rule in rules])
    return [
        {
            "stage": stage,
            "reason": rule.reason,
            "holds": bool(mask[0].as_py()),
            "sentence": to_sentence(
                rule,
                attribute_of(row, rule.signal),
                attribute_of(row, rule.bound.column) if isinstance(rule.bound, ByAttribute) else None,
            ),
        }
        for (stage, rule), mask in zip(rules, held, strict=True)
    ]


def extras_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a maker stored of a dropped document beside the usual columns: its keeper, a similarity, ..."""
    return {key: value for key, value in row.items() if key not in OF_DROPPED and value is not None}


def keeper_line(row: Mapping[str, Any]) -> str:
    """`keeper_id = d7, similarity = 0.91`, or an empty string."""
    return ", ".join(
        f"{key} = {f'{value:.6g}' if isinstance(value, float) else value}" for key, value in extras_of(row).items()
    )
