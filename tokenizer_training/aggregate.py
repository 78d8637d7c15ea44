"""From document artifacts to the counts of their pre-tokens: two passes and a disk shuffle, bounded in memory.

1. `count_part`: the pre-tokens of one shard's texts, counted in tables of COUNTER_BYTES; whenever these are full, and at the
   end, they go out by hash of the pre-token (`pretokens/`, a shuffle file);
2. `add_bucket`: all counts of one hash range added up, sorted by hash, then bytes, into `pretokens/<bucket>.parquet`.

Every pre-token is in one bucket, so the files of the second pass together are the counts of everything, each
pre-token once. A bucket with more than fits is added up a part of its range at a time, in the same order. Neither the
driver nor any task holds all counts; what is in the files does not depend on shards, their order, workers or executor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from pipelines import storage
from pipelines.artifact import Built
from pipelines.counting import add_counts
from pipelines.errors import InputError
from pipelines.makers.outcome import Bucket, number_buckets
from pipelines.makers.shuffle import SUFFIX, ShuffleWriter, bucket_batches, bucket_of, buckets_for
from pipelines.passes import Passes
from pipelines.shards import Committed, PartShard, ShardOutput
from tokenizer_training.counting import COUNTER_BYTES, COUNTS_SCHEMA, PretokenCounter, buffers_of, exact_sum, hash_bytes
from tokenizer_training.sampling import SCALE, factors, group_columns, languages_of, measure_groups
from tokenizer_training.special_tokens import PLACEHOLDERS
from tokenizer_training.split_patterns import Array, SplitPattern

BYTES_PER_BUCKET: Final = 1 << 30
"""Bytes of text a bucket. A gigabyte of mixed text has about 4 million distinct pre-tokens in all; every further
gigabyte brings fewer and adds a bucket."""
WRITE_ROWS: Final = 1 << 16
READ_ROWS: Final = 1 << 18
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))


def count_inputs(
    inputs: Sequence[Built],
    passes: Passes,
    *,
    pattern: SplitPattern,
    max_pretoken_bytes: int,
    weights: tuple[tuple[str, float], ...] = (),
    temperature: float = 1.0,
    drop_below: int = 1,
    bytes_per_bucket: int = BYTES_PER_BUCKET,
) -> tuple[tuple[Committed, ...], dict[str, Any]]:
    """Commits whose `pretokens` tables are the counts of `inputs`, and what is to be noted of them.

    Counts are in units of 1 / notes["count_scale"]. Pre-tokens that count less than `drop_below` are left out, and
    the notes say how many. Raises InputError for text that is no UTF-8 and for weights that cannot be applied.
    """
    shards = [
        PartShard(name=f"{position:03d}-{part.name}", uri=part.uri)
        for position, built in enumerate(inputs)
        for part in built.parts()
    ]
    weighed = bool(weights) or temperature != 1
    found: dict[tuple[str, str], int] | None = None
    if weighed:
        groups: dict[str, Any] = {}
        for commit in passes.run("groups", measure_groups, shards):
            groups = add_counts(groups, commit.counts["groups"])
        found = factors(groups, weights=weights, temperature=temperature)
    num_buckets = buckets_for(sum(map(_bytes_of, inputs)), bytes_per_bucket)
    count = partial(count_part, pattern=pattern, max_bytes=max_pretoken_bytes, num_buckets=num_buckets, factors=found)
    counted = passes.run("count", count, shards)
    scale = SCALE if weighed else 1
    uris = tuple(commit.path("pretokens", SUFFIX) for commit in counted)
    add = partial(add_bucket, uris=uris, num_buckets=num_buckets, min_count=drop_below * scale)
    added = passes.run("add", add, number_buckets(num_buckets))
    totals: dict[str, Any] = {}
    for commit in (*counted, *added):
        totals = add_counts(totals, commit.counts)
    notes = {
        "num_documents": totals.get("documents", 0),
        "num_bytes": totals.get("bytes", 0),
        "num_documents_left_out": totals.get("left_out", 0),
        "num_pretokens": totals.get("pretokens", 0) // scale,
        "num_distinct_pretokens": totals.get("distinct", 0),
        "num_cut_pretokens": totals.get("cuts", 0),
        "dropped_pretokens": {
            "below": drop_below, "distinct": totals.get("dropped_distinct", 0),
            "pretokens": totals.get("dropped", 0) // scale,
        },
        "count_scale": scale,
    }  # fmt: skip
    if found is not None:
        named = sorted(found.items())
        notes["sampling"] = {
            "temperature": temperature,
            "factors": [{"source": s, "language": lang, "factor": units / SCALE} for (s, lang), units in named],
        }
    return added, notes


def read_counts(uris: Sequence[str], without: pa.Array | None = None) -> Iterator[pa.RecordBatch]:
    """The counts in the files, COUNTS_SCHEMA; without the pre-tokens in `without`."""
    for uri in uris:
        for batch in storage.read_batches(uri, batch_rows=WRITE_ROWS):
            yield batch if without is None else batch.filter(pc.invert(pc.is_in(batch.column("pretoken"), without)))


def count_part(
    shard: PartShard,
    out: ShardOutput,
    *,
    pattern: SplitPattern,
    max_bytes: int,
    num_buckets: int,
    factors: Mapping[tuple[str, str], int] | None = None,
    memory_bytes: int = COUNTER_BYTES,
) -> dict[str, int]:
    """First pass: the pre-tokens of one shard's texts, shuffled by hash; placeholders are no part of any."""
    totals = {"documents": 0, "bytes": 0, "left_out": 0, "cuts": 0, "runs": 0}
    with ShuffleWriter(out, "pretokens", COUNTS_SCHEMA, num_buckets=num_buckets) as shuffle:

        def spill(batch: pa.RecordBatch) -> None:
            totals["runs"] += 1
            for start in range(0, batch.num_rows, READ_ROWS):
                part = batch.slice(start, READ_ROWS)
                shuffle.write(part, bucket_of(hash_pretokens(part), num_buckets))

        counter = PretokenCounter(pattern, max_bytes=max_bytes, memory_bytes=memory_bytes, spill=spill)
        first_row = 0
        for batch in storage.read_batches(shard.uri, columns=group_columns(shard.uri) if factors else ["text"]):
            for texts, weight in _weighed(batch, factors):
                totals["documents"] += len(texts)
                num_bytes = int(pc.sum(pc.binary_length(texts)).as_py() or 0)
                totals["bytes"] += num_bytes
                if not weight:
                    totals["left_out"] += len(texts)
                    continue
                add_texts(
                    counter, texts, weight, where=f"{shard.uri}, rows {first_row} to {first_row + batch.num_rows - 1}"
                )
            first_row += batch.num_rows
        counter.flush()
    return totals | {"cuts": counter.num_cuts}


def _weighed(batch: pa.RecordBatch, factors: Mapping[tuple[str, str], int] | None) -> Iterator[tuple[pa.Array, int]]:
    if factors is None:
        yield batch.column("text"), 1
        return
    names = zip(batch.column("source").to_pylist(), languages_of(batch).to_pylist(), strict=True)
    weights = np.array([factors.get(group, 0) for group in names], np.int64)
    for weight in np.unique(weights).tolist():
        yield batch.column("text").filter(pa.array(weights == weight)), weight


def add_texts(counter: PretokenCounter, texts: pa.Array, weight: int, *, where: str) -> None:
    """Count texts, those with a placeholder piece by piece."""
    try:
        texts.validate(full=True)
        marked = pc.match_substring(texts, ">>")
        counter.add(texts.filter(pc.invert(marked)), weight=weight)
        pieces = [piece for text in texts.filter(marked).to_pylist() for piece in _PLACEHOLDER.split(text)]
        counter.add(pa.array(pieces, pa.large_string()), weight=weight)
    except (InputError, pa.ArrowInvalid) as error:
        raise InputError(f"{where}: {error}") from error


def add_bucket(
    bucket: Bucket,
    out: ShardOutput,
    *,
    uris: Sequence[str],
    num_buckets: int,
    min_count: int = 1,
    memory_bytes: int = COUNTER_BYTES,
) -> dict[str, int]:
    """Second pass: `pretokens/`, the counts of one bucket added up; those below `min_count` are dropped and counted."""
    totals = {"pretokens": 0, "distinct": 0, "pretoken_bytes": 0, "dropped": 0, "dropped_distinct": 0}
    out.declare("pretokens", COUNTS_SCHEMA)
    num_bytes = sum(table.nbytes + 32 * table.num_rows for table in _tables(uris, bucket, num_buckets))
    num_parts = buckets_for(num_bytes, memory_bytes)
    for part in range(num_parts):
        counter = PretokenCounter(SplitPattern())
        for table in _tables(uris, bucket, num_buckets):
            for batch in table.to_batches():
                if num_parts > 1:
                    batch = batch.filter(pa.array(bucket_of(_order_keys(batch), num_parts) == part))
                counter.add_counts(batch)
        counts = _ordered(counter)
        rare = pc.less(counts.column("count"), min_count)
        dropped, counts = counts.filter(rare), counts.filter(pc.invert(rare))
        totals["dropped_distinct"] += dropped.num_rows
        totals["dropped"] += exact_sum(dropped.column("count").to_numpy())
        totals["distinct"] += counts.num_rows
        totals["pretoken_bytes"] += int(pc.sum(pc.binary_length(counts.column("pretoken"))).as_py() or 0)
        totals["pretokens"] += exact_sum(counts.column("count").to_numpy())
        for start in range(0, counts.num_rows, WRITE_ROWS):
            out.write("pretokens", counts.slice(start, WRITE_ROWS))
    return totals


def _tables(uris: Sequence[str], bucket: Bucket, num_buckets: int) -> Iterator[pa.Table]:
    return bucket_batches(uris, bucket.number, num_buckets=num_buckets, max_rows=READ_ROWS)


def _order_keys(batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
    """The hashes with their halves exchanged: the high one chose the bucket, so the low one tells its rows apart."""
    hashes = hash_pretokens(batch)
    return (hashes << np.uint64(32)) | (hashes >> np.uint64(32))


def _ordered(counter: PretokenCounter) -> pa.RecordBatch:
    """The counts in order of key, then bytes: parts of a bucket one after another are as the whole would be."""
    counts = counter.to_batch(ordered=False)
    keys = _order_keys(counts)
    order = np.argsort(keys, kind="stable")
    if np.any(keys[order][1:] == keys[order][:-1]):
        keyed = counts.append_column("key", pa.array(keys))
        return counts.take(pc.sort_indices(keyed, sort_keys=[("key", "ascending"), ("pretoken", "ascending")]))
    return counts.take(pa.array(order))


def _bytes_of(built: Built) -> int:
    """Bytes of text in an input, as its manifest counts them; else what its files take, compressed to a third or so."""
    kept = built.manifest.get("counts", {}).get("kept_bytes")
    return int(kept) if kept is not None else 3 * sum(int(f["bytes"]) for f in built.manifest["files"])


def hash_pretokens(batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
    """A well-mixed 64-bit key of every pre-token: uint64 [num_rows]."""
    content, offsets = buffers_of(batch.column("pretoken"))
    hashes: npt.NDArray[np.uint64] = _hash_all(content, offsets)
    return hashes


@njit(cache=True, nogil=True)
def _hash_all(content: Array, offsets: Array) -> Array:
    hashes = np.empty(offsets.size - 1, np.uint64)
    for w in range(hashes.size):
        hashes[w] = hash_bytes(content, offsets[w], offsets[w + 1])
    return hashes
