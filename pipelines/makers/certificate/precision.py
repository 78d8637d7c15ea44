"""Precision: texts of pairs in, their similarity recomputed by `oracle` out. One pass over runs of buckets of pairs.

A task holds the texts of one bucket at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.errors import ConservationError
from pipelines.makers.certificate.oracle import has_unknown, similarity
from pipelines.makers.certificate.sampling import Limits
from pipelines.makers.certificate.texts import PAIRS_PER_BUCKET
from pipelines.makers.shuffle import read_bucket
from pipelines.shards import ShardOutput

BUCKETS_PER_RUN: Final = 16
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


@dataclass(frozen=True, kw_only=True)
class Run:
    """Buckets `first` to `last` (not included) as a shard of `compare_texts`."""

    name: str
    first: int
    last: int


def runs_of(num_buckets: int) -> tuple[Run, ...]:
    """Shards of `compare_texts`."""
    starts = range(0, num_buckets, BUCKETS_PER_RUN)
    return tuple(
        Run(name=f"run-{i:06d}", first=first, last=min(first + BUCKETS_PER_RUN, num_buckets))
        for i, first in enumerate(starts)
    )


def compare_texts(
    run: Run,
    out: ShardOutput,
    *,
    pairs: str,
    uris: tuple[str, ...],
    num_buckets: int,
    shingle_size: int,
    limits: Limits,
) -> dict[str, Any]:
    """`compared/`: the pairs of some buckets. ConservationError where a side of a pair did not arrive."""
    wanted = storage.read_table(pairs)
    bucket_of_pair = pc.divide(wanted.column("number"), PAIRS_PER_BUCKET)
    out.declare("compared", COMPARED)
    num_pairs = 0
    for bucket in range(run.first, run.last):
        texts = read_bucket(uris, bucket, num_buckets=num_buckets)
        sides: dict[tuple[int, bool], dict[str, Any]] = {(t["number"], t["is_keeper"]): t for t in texts.to_pylist()}
        rows = []
        for pair in wanted.filter(pc.equal(bucket_of_pair, bucket)).to_pylist():
            try:
                dropped, keeper = sides[pair["number"], False], sides[pair["number"], True]
            except KeyError as missing:
                raise ConservationError(
                    f"certificate: pair {pair['number']} of {pairs} lacks a side: {missing}"
                ) from None
            rows.append(pair | _compare(pair["similarity"], dropped, keeper, shingle_size, limits))
        out.write("compared", pa.RecordBatch.from_pylist(rows, schema=COMPARED))
        num_pairs += len(rows)
    return {"pairs": num_pairs}


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
