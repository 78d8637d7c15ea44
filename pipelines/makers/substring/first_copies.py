"""Which of equal items stay: two passes over the items of shared keys alone.

1. `items`: every part writes its runs of shared keys in `runs/`, and sends the 96-bit names of their items, with what orders
   documents, shuffled by key. Of items that are equal within `items_in_memory` of a part only those go that
   can stay (and what proves the others repeated), so a million copies of one page send about one;
2. `stays`: every bucket says of its items which stay, as intervals, shuffled by part.

An item of `runs/` that is in no interval of `stays/` is repeated. Items of a *heavy* key are shuffled by name, so that a
phrase that billions of windows share does not lie in one bucket.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines import storage
from pipelines.kernels.copies import I64
from pipelines.kernels.shingles import U64
from pipelines.kernels.windows import Runs
from pipelines.makers.keepers import Prefer, columns_to_read, keeper_columns, order_by_preference
from pipelines.makers.outcome import Bucket, NumberedPart
from pipelines.makers.shuffle import ShuffleWriter, bucket_of, read_bucket
from pipelines.makers.substring.items import Kind
from pipelines.shards import ShardOutput

INTERVALS = pa.schema([("row", pa.int64()), ("start", pa.int64()), ("count", pa.int64())])


def write_items(
    part: NumberedPart,
    out: ShardOutput,
    *,
    uris: tuple[str, ...],
    kind: Kind,
    prefer: Prefer,
    num_buckets: int,
    num_parts: int,
    items_in_memory: int,
) -> dict[str, Any]:
    """First pass, one part. Holds a batch, the part's shared keys, and `items_in_memory` items, about 80 bytes each."""
    shared = read_bucket(uris, part.number, num_buckets=num_parts).sort_by("key")
    keys, heavy = shared.column("key").to_numpy(), shared.column("heavy").to_numpy(zero_copy_only=False)
    schema = storage.read_schema(part.uri)
    columns = ["text", *columns_to_read(prefer, schema)]
    out.declare("runs", INTERVALS)
    waiting = _Waiting()
    counts = {"items": 0, "sent": 0}
    with ShuffleWriter(out, "items", _item_schema(prefer, schema, columns), num_buckets=num_buckets) as shuffle:
        first_row = 0
        for batch in storage.read_batches(part.uri, columns) if keys.size else ():
            choice = pa.RecordBatch.from_pydict(keeper_columns(prefer, batch))
            for runs in kind.runs(batch.column("text"), keys):
                rows = runs.documents + first_row
                intervals = [pa.array(column) for column in (rows, runs.starts, runs.counts)]
                out.write("runs", pa.RecordBatch.from_arrays(intervals, schema=INTERVALS))
                counts["items"] += int(runs.counts.sum())
                waiting.add(runs, rows, choice)
                if waiting.items >= items_in_memory:
                    counts["sent"] += _send(waiting, keys, heavy, kind, prefer, part, shuffle, num_buckets)
                    waiting = _Waiting()
            first_row += batch.num_rows
        counts["sent"] += _send(waiting, keys, heavy, kind, prefer, part, shuffle, num_buckets)
    return counts


class _Waiting:
    """Items not sent yet, and what orders each of their documents, which are numbered as they come."""

    def __init__(self) -> None:
        self.items = 0
        self.num_documents = 0
        self.last_row = -1
        self.choices: list[pa.RecordBatch] = []
        self.rows: list[I64] = []
        self.runs: list[Runs] = []

    def add(self, runs: Runs, rows: I64, choice: pa.RecordBatch) -> None:
        """`choice` has a row a document of the batch; `rows` are the documents' rows in the part."""
        if not rows.size:
            return
        fresh, first, number = np.unique(rows, return_index=True, return_inverse=True)
        seen = int(fresh[0] == self.last_row)  # runs come in order: a document may have been begun before
        documents = number + self.num_documents - seen
        self.choices.append(choice.take(pa.array(runs.documents[first[seen:]])))
        self.rows.append(fresh[seen:])
        self.num_documents += fresh.size - seen
        self.last_row = int(fresh[-1])
        self.runs.append(Runs(documents, runs.starts, runs.counts, runs.keys, runs.high, runs.low))
        self.items += int(runs.counts.sum())


def _send(
    waiting: _Waiting,
    keys: U64,
    heavy: npt.NDArray[np.bool_],
    kind: Kind,
    prefer: Prefer,
    part: NumberedPart,
    shuffle: ShuffleWriter,
    num_buckets: int,
) -> int:
    """Write the items of `waiting` that the next pass must know, those in a row as one; returns their number."""
    if not waiting.items:
        return 0
    rows = np.concatenate(waiting.rows)
    place = {"part": pa.array(np.full(rows.size, part.number, np.int64)), "row": pa.array(rows)}
    documents = pa.Table.from_batches(waiting.choices).combine_chunks()
    for name, values in place.items():
        documents = documents.append_column(name, values)
    rank = _ranks(documents, prefer)

    counts = np.concatenate([runs.counts for runs in waiting.runs])
    document = np.repeat(np.concatenate([runs.documents for runs in waiting.runs]), counts)
    position = spread(np.concatenate([runs.starts for runs in waiting.runs]), counts)
    key = np.repeat(np.concatenate([runs.keys for runs in waiting.runs]), counts)
    high, low = (np.concatenate([getattr(runs, name) for runs in waiting.runs]) for name in ("high", "low"))
    chosen = np.flatnonzero(kind.stay(high, low, rank[document], position, evidence=True))
    document, position, key, high, low = (c[chosen] for c in (document, position, key, high, low))

    alone = heavy[np.searchsorted(keys, key)]
    begins = np.ones(key.size, np.bool_)
    begins[1:] = (document[1:] != document[:-1]) | (position[1:] != position[:-1] + 1) | (key[1:] != key[:-1])
    first = np.flatnonzero(begins | alone)
    offsets = pa.array(np.append(first, key.size))
    found = {
        name: documents.column(name).combine_chunks().take(pa.array(document[first])) for name in documents.column_names
    }
    found["start"] = pa.array(position[first])
    found |= {
        name: pa.LargeListArray.from_arrays(offsets, pa.array(values))
        for name, values in (("high", high), ("low", low))
    }
    buckets = bucket_of(np.where(alone[first], high[first], key[first]), num_buckets)
    rows_to_send = pa.RecordBatch.from_pydict(found)
    shuffle.write(rows_to_send, buckets)
    return int(key.size)


def find_stays(
    bucket: Bucket,
    out: ShardOutput,
    *,
    uris: tuple[str, ...],
    kind: Kind,
    prefer: Prefer,
    num_buckets: int,
    num_parts: int,
) -> dict[str, Any]:
    """Second pass: of the items of one bucket those that stay, by part. Holds the bucket, about 100 bytes an item."""
    runs = read_bucket(uris, bucket.number, num_buckets=num_buckets)
    lists = {name: runs.column(name).combine_chunks() for name in ("high", "low")}
    runs = runs.drop_columns(["high", "low"])
    parts, rows = runs.column("part").to_numpy(), runs.column("row").to_numpy()
    order = np.lexsort((rows, parts))
    new = np.ones(order.size, np.bool_)
    new[1:] = (parts[order][1:] != parts[order][:-1]) | (rows[order][1:] != rows[order][:-1])
    document_of_run = np.empty(order.size, np.int64)
    document_of_run[order] = np.cumsum(new) - 1
    rank = _ranks(runs.take(pa.array(order[new])), prefer)

    counts = np.diff(lists["high"].offsets.to_numpy())
    high, low = (lists[name].flatten().to_numpy() for name in ("high", "low"))
    run = np.repeat(np.arange(counts.size), counts)
    position = spread(runs.column("start").to_numpy(), counts)
    ranks = rank[document_of_run][run]
    chosen = np.flatnonzero(kind.stay(high, low, ranks, position, evidence=False))
    run, position = run[chosen], position[chosen]
    begins = np.ones(run.size, np.bool_)
    begins[1:] = (run[1:] != run[:-1]) | (position[1:] != position[:-1] + 1)
    first = np.flatnonzero(begins)
    columns = (rows[run[first]], position[first], np.diff(np.append(first, run.size)))
    with ShuffleWriter(out, "stays", INTERVALS, num_buckets=num_parts) as shuffle:
        intervals = pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=INTERVALS)
        shuffle.write(intervals, parts[run[first]])
    return {"items": int(counts.sum()), "stay": int(chosen.size)}


def stays_of(uris: tuple[str, ...], part: NumberedPart, num_parts: int) -> I64:
    """What stays of `part`: rows `(row, start, count)`, int64 [n, 3], ascending."""
    table = read_bucket(uris, part.number, num_buckets=num_parts)
    columns = np.stack([table.column(name).to_numpy() for name in INTERVALS.names], axis=1)
    return np.ascontiguousarray(columns[np.lexsort((columns[:, 1], columns[:, 0]))])


def spread(starts: I64, counts: I64) -> I64:
    """Every place of the runs that begin at `starts`: int64 [sum of counts].

    >>> spread(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if ends.size else 0
    places: I64 = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return places


def _ranks(documents: pa.Table, prefer: Prefer) -> I64:
    rank = np.empty(documents.num_rows, np.int64)
    rank[order_by_preference(documents, (), prefer)] = np.arange(documents.num_rows)
    return rank


def _item_schema(prefer: Prefer, schema: pa.Schema, columns: list[str]) -> pa.Schema:
    empty = pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(name) for name in columns]))
    choice = [(name, values.type) for name, values in keeper_columns(prefer, empty).items()]
    place = [("part", pa.int64()), ("row", pa.int64()), ("start", pa.int64())]
    return pa.schema([*choice, *place, ("high", pa.large_list(pa.uint64())), ("low", pa.large_list(pa.uint32()))])
