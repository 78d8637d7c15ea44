"""Which keys of items occur more than once: two passes, before anything else of an item goes anywhere.

1. `keys`: every part writes its keys, each once with the number of its items, shuffled by key: 21 bytes before
   compression;
2. `shared`: every bucket sends the keys that may be of two equal items back to the parts that have them.

An item whose key is not shared is equal to no other: it stays, and is not looked at again. A key with more than
`heavy_items` items is marked, for the next pass to spread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipelines import storage
from pipelines.kernels.copies import I64
from pipelines.kernels.shingles import U64
from pipelines.makers.keepers import group_starts
from pipelines.makers.outcome import Bucket, NumberedPart
from pipelines.makers.shuffle import ShuffleWriter, bucket_of, read_bucket
from pipelines.makers.substring.items import Kind
from pipelines.shards import ShardOutput

KEYS = pa.schema([("key", pa.uint64()), ("items", pa.int32()), ("repeated", pa.bool_()), ("part", pa.int64())])
SHARED = pa.schema([("key", pa.uint64()), ("heavy", pa.bool_())])
MAX_ITEMS = 2**31 - 1


def write_keys(
    part: NumberedPart, out: ShardOutput, *, kind: Kind, num_buckets: int, keys_in_memory: int
) -> dict[str, Any]:
    """First pass: the keys of one part. Holds a batch and `keys_in_memory` keys, 17 bytes each."""
    counts = {"runs": 0, "items": 0, "keys": 0}
    waiting: list[tuple[U64, I64]] = []
    held = 0
    with ShuffleWriter(out, "keys", KEYS, num_buckets=num_buckets) as shuffle:
        for batch in storage.read_batches(part.uri, ["text"]):
            for runs in kind.runs(batch.column("text"), None):
                waiting.append((runs.keys, runs.counts))
                held += runs.keys.size
                counts["runs"] += runs.keys.size
                counts["items"] += int(runs.counts.sum())
                if held >= keys_in_memory:
                    counts["keys"] += _write_once(waiting, kind, part, shuffle, num_buckets)
                    waiting, held = [], 0
        counts["keys"] += _write_once(waiting, kind, part, shuffle, num_buckets)
    return counts


def _write_once(
    waiting: list[tuple[U64, I64]], kind: Kind, part: NumberedPart, shuffle: ShuffleWriter, num_buckets: int
) -> int:
    if not waiting:
        return 0
    keys, items = np.concatenate([w[0] for w in waiting]), np.concatenate([w[1] for w in waiting])
    order = np.argsort(keys)
    keys, items = keys[order], items[order]
    starts = group_starts(keys)
    sizes = np.diff(starts)
    repeated = np.add.reduceat(kind.repeats(items).astype(np.int64), starts[:-1]) > 0 if keys.size else sizes > 0
    totals = np.add.reduceat(items, starts[:-1]) if keys.size else sizes
    rows = {
        "key": pa.array(keys[starts[:-1]]),
        "items": pa.array(np.minimum(totals, MAX_ITEMS).astype(np.int32)),
        "repeated": pa.array(repeated | (sizes > 1)),
        "part": pa.array(np.full(sizes.size, part.number, np.int64)),
    }
    shuffle.write(pa.RecordBatch.from_pydict(rows), bucket_of(keys[starts[:-1]], num_buckets))
    return int(sizes.size)


def find_shared(
    bucket: Bucket, out: ShardOutput, *, uris: tuple[str, ...], num_buckets: int, num_parts: int, heavy_items: int
) -> dict[str, Any]:
    """Second pass: the shared keys of one bucket, by part, each once a part. Holds the bucket's keys, 21 bytes each."""
    rows = read_bucket(uris, bucket.number, num_buckets=num_buckets)
    keys, parts = rows.column("key").to_numpy(), rows.column("part").to_numpy()
    order = np.lexsort((parts, keys))
    keys, parts = keys[order], parts[order]
    items = rows.column("items").to_numpy()[order].astype(np.int64)
    starts = group_starts(keys)
    sizes = np.diff(starts)
    flags = rows.column("repeated").to_numpy(zero_copy_only=False)[order].astype(np.int64)
    totals = np.add.reduceat(items, starts[:-1]) if keys.size else sizes
    shared = (sizes > 1) | ((np.add.reduceat(flags, starts[:-1]) if keys.size else sizes) > 0)
    heavy = shared & (totals > heavy_items)
    first_in_part = np.ones(keys.size, np.bool_)
    first_in_part[1:] = (keys[1:] != keys[:-1]) | (parts[1:] != parts[:-1])
    chosen = np.repeat(shared, sizes) & first_in_part
    found = {"key": pa.array(keys[chosen]), "heavy": pa.array(np.repeat(heavy, sizes)[chosen])}
    with ShuffleWriter(out, "shared", SHARED, num_buckets=num_parts) as shuffle:
        shuffle.write(pa.RecordBatch.from_pydict(found), parts[chosen])
    return {
        "shared_keys": int(shared.sum()),
        "heavy_keys": int(heavy.sum()),
        "shared_items": int(totals[shared].sum()),
        "items_of_largest_key": int(totals[shared].max(initial=0)),
    }
