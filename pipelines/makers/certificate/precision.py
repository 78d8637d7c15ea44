"""Precision: texts of pairs in, their similarity recomputed by `oracle` out. One pass over buckets of pairs."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from pipelines import storage
from pipelines.errors import ConservationError
from pipelines.makers.certificate.oracle import has_unknown, similarity
from pipelines.makers.certificate.sampling import Limits
from pipelines.makers.outcome import Bucket
from pipelines.makers.shuffle import read_bucket
from pipelines.shards import ShardOutput

MAX_EXCERPT: Final = 300
"""Characters of a text that the certificate shows."""
UNKNOWN_CHARACTERS: Final = "characters newer than this Python's Unicode"
SIDE: Final = pa.struct([("source", pa.string()), ("id", pa.string()), ("excerpt", pa.string())])
COMPARED: Final = pa.schema(
    [
        pa.field("number", pa.int64()),
        pa.field("frame", pa.int8()),
        pa.field("cell", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("recomputed", pa.float64()),
        pa.field("skipped", pa.string()),
        pa.field("dropped", SIDE),
        pa.field("keeper", SIDE),
    ]
)
"""A pair: `similarity` as dedup recorded it, `recomputed` (null where `skipped` says why it is not)."""


def compare_texts(
    bucket: Bucket,
    out: ShardOutput,
    *,
    pairs: str,
    uris: tuple[str, ...],
    num_buckets: int,
    shingle_size: int,
    limits: Limits,
) -> dict[str, Any]:
    """`compared/`: the pairs of one bucket. ConservationError where a side of a pair did not arrive."""
    texts = read_bucket(uris, bucket.number, num_buckets=num_buckets)
    sides: dict[tuple[int, bool], dict[str, Any]] = {(t["number"], t["is_keeper"]): t for t in texts.to_pylist()}
    numbers = {number for number, _ in sides}
    rows = []
    for pair in storage.read_table(pairs).to_pylist():
        if pair["number"] not in numbers:
            continue
        try:
            dropped, keeper = sides[pair["number"], False], sides[pair["number"], True]
        except KeyError as missing:
            raise ConservationError(f"certificate: pair {pair['number']} of {pairs} lacks a side: {missing}") from None
        rows.append(pair | _compare(pair["similarity"], dropped, keeper, shingle_size, limits))
    out.declare("compared", COMPARED)
    out.write("compared", pa.RecordBatch.from_pylist(rows, schema=COMPARED))
    return {"pairs": len(rows)}


def _compare(
    recorded: float | None, dropped: dict[str, Any], keeper: dict[str, Any], shingle_size: int, limits: Limits
) -> dict[str, Any]:
    shown = {"dropped": _side(dropped), "keeper": _side(keeper)}
    if dropped["text"] is None or keeper["text"] is None:
        return shown | {"recomputed": None, "skipped": limits.skipped_text()}
    found = similarity(dropped["text"], keeper["text"], shingle_size)
    if recorded is not None and found != recorded and (has_unknown(dropped["text"]) or has_unknown(keeper["text"])):
        return shown | {"recomputed": None, "skipped": UNKNOWN_CHARACTERS}
    return shown | {"recomputed": found, "skipped": None}


def _side(text: dict[str, Any]) -> dict[str, str]:
    return {"source": text["source"], "id": text["id"], "excerpt": (text["text"] or "")[:MAX_EXCERPT]}
