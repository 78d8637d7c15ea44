"""A disk shuffle between two passes: rows go out by bucket, a task of the next pass reads one bucket of every file.

One file a shard, whatever the number of buckets, so that S shards into B buckets leave S files and not S * B. A writer
holds one *run* of about `run_bytes`, sorts it by bucket and appends it. The file, little-endian:

| what | bytes |
|---|---|
| an Arrow IPC stream, lz4: an empty batch, then for every run and every bucket with rows, its batches | |
| index: for every run `num_buckets + 1` offsets, int64; bucket i of a run lies from offset i to offset i + 1 | 8 each |
| the schema once more, as an Arrow IPC message | |
| trailer: magic, offset of the index, number of runs, number of buckets, bytes of the schema | 40 |

An empty bucket costs 8 bytes of index. (In an Arrow IPC file it cost an empty batch, 208 bytes and 26 us for two
columns, and a reader parsed a footer of all buckets to find its own.) A reader fetches the trailer
with the schema, one entry of the index a run, and its own batches: nothing it reads grows with the number of buckets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines import storage
from pipelines.errors import InputError
from pipelines.shards import ShardOutput

SUFFIX: Final = ".shuffle"
RUN_BYTES: Final = 64 << 20
MAX_ROWS: Final = 1 << 18
"""Rows a reader hands out at once: 4 MB of two int64 columns."""
_MAGIC: Final = b"EYASSHF1"
_TRAILER: Final = struct.Struct("<8sQQQQ")
_TAIL_BYTES: Final = 4096
BLOCK_ROWS: Final = 1 << 16
"""Rows of a run that are put in order, and of a batch that is written, at most: what a reader has to hold."""
_READ_AT_ONCE: Final = 4 << 20
"""Bytes of a bucket in one run up to which they are fetched by one request; of more, batch by batch."""


def buckets_for(total: int, each: int) -> int:
    """Number of buckets so that one holds about `each` of `total` units: at least 1."""
    return max(1, -(-total // each))


def bucket_of(keys: npt.NDArray[np.uint64], num_buckets: int) -> npt.NDArray[np.int64]:
    """The bucket, int64 [n], of each well-mixed 64-bit key, by its high half: equal ranges of keys.

    >>> bucket_of(np.array([0, 2**63, 2**64 - 1], np.uint64), 4).tolist()
    [0, 2, 3]
    """
    return (((keys >> np.uint64(32)) * np.uint64(num_buckets)) >> np.uint64(32)).astype(np.int64)


class ShuffleWriter:
    """Writes `<kind>/<shard>.shuffle`. A context manager: the file is complete when the block ends without an error.

    `schema` has no dictionary columns. Memory: a run, of `run_bytes` and one batch more, and 8 bytes a bucket and run.
    """

    def __init__(
        self, out: ShardOutput, kind: str, schema: pa.Schema, *, num_buckets: int, run_bytes: int = RUN_BYTES
    ) -> None:
        if any(pa.types.is_dictionary(field.type) for field in schema):
            raise ValueError(f"a shuffle of {schema}: dictionary columns have to be decoded before")
        self.schema = schema
        self._num_buckets = num_buckets
        self._run_bytes = run_bytes
        self._waiting: list[pa.RecordBatch] = []
        self._buckets: list[npt.NDArray[np.int64]] = []
        self._bytes = 0
        self._file = out.open(kind, SUFFIX)
        self._index: list[npt.NDArray[np.int64]] = []
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._file, mode="w"), schema, options=options)
        # the stream writes its schema with the first batch, and offsets are of batches alone
        self._writer.write_batch(pa.RecordBatch.from_pylist([], schema=schema))

    def write(self, batch: pa.RecordBatch, buckets: npt.NDArray[np.int64]) -> None:
        """Add the rows of `batch`; row i belongs to `buckets[i]`. Raises ValueError for one that does not exist."""
        if not batch.num_rows:
            return
        if buckets.size != batch.num_rows or buckets.min() < 0 or buckets.max() >= self._num_buckets:
            raise ValueError(
                f"buckets {buckets} of {batch.num_rows} rows: expected one each, 0 to {self._num_buckets - 1}"
            )
        self._waiting.append(batch.cast(self.schema))
        self._buckets.append(buckets)
        self._bytes += batch.nbytes
        if self._bytes >= self._run_bytes:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        buckets = np.concatenate(self._buckets)
        rows = pa.Table.from_batches(self._waiting, schema=self.schema)
        self._waiting, self._buckets, self._bytes = [], [], 0
        order = np.argsort(buckets, kind="stable")
        buckets = buckets[order]
        sizes = np.zeros(self._num_buckets, np.int64)
        begin = self._file.tell()
        for start in range(0, order.size, BLOCK_ROWS):
            block = buckets[start : start + BLOCK_ROWS]
            taken = rows.take(pa.array(order[start : start + BLOCK_ROWS])).combine_chunks().to_batches()[0]
            filled, edges = np.unique(block, return_index=True)
            for bucket, first, last in zip(
                filled.tolist(), edges.tolist(), [*edges[1:].tolist(), block.size], strict=True
            ):
                before = self._file.tell()
                self._writer.write_batch(taken.slice(first, last - first))
                sizes[bucket] += self._file.tell() - before
        self._index.append(begin + np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]))

    def _finish(self) -> None:
        self._flush()
        self._writer.close()
        index_at = self._file.tell()
        for offsets in self._index:
            self._file.write(offsets.astype("<i8").tobytes())
        schema = self.schema.serialize()
        self._file.write(memoryview(schema))
        self._file.write(_TRAILER.pack(_MAGIC, index_at, len(self._index), self._num_buckets, schema.size))

    def __enter__(self) -> ShuffleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish()


def read_bucket(
    uris: Sequence[str], bucket: int, *, num_buckets: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """All rows of one bucket, files in the order given and rows as they were written.

    Columns whose numeric type differs between files are widened. Raises InputError where types cannot be joined, or
    where a file is no shuffle into `num_buckets`.
    """
    tables = []
    for uri in uris:
        with storage.open_input(uri) as file:
            shuffle = _Reader(file, uri, num_buckets)
            batches = list(shuffle.batches(range(bucket, bucket + 1)))
            table = pa.Table.from_batches(batches, schema=shuffle.schema)
            tables.append(table if columns is None else table.select(list(columns)))
    return _join(tables, uris).combine_chunks()


def bucket_batches(
    uris: Sequence[str],
    bucket: int,
    *,
    num_buckets: int,
    columns: Sequence[str] | None = None,
    max_rows: int = MAX_ROWS,
) -> Iterator[pa.Table]:
    """The rows of `read_bucket`, in the same order, in tables of 1 to `max_rows` rows, small batches joined.

    Memory: twice `max_rows`, BLOCK_ROWS and 4 MB; nothing grows with the bucket. An empty bucket gives no table.
    Columns are widened within a table, as the files that it came from ask.
    """
    return _gathered(uris, range(bucket, bucket + 1), num_buckets, columns, max_rows)


def all_batches(
    uris: Sequence[str], *, num_buckets: int, columns: Sequence[str] | None = None, max_rows: int = MAX_ROWS
) -> Iterator[pa.Table]:
    """Every row of the files, by file, run and bucket, in tables as `bucket_batches` gives them."""
    return _gathered(uris, range(num_buckets), num_buckets, columns, max_rows)


def _gathered(
    uris: Sequence[str], buckets: range, num_buckets: int, columns: Sequence[str] | None, max_rows: int
) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    num_waiting = 0
    for uri in uris:
        with storage.open_input(uri) as file:
            shuffle = _Reader(file, uri, num_buckets)
            for batch in shuffle.batches(buckets):
                table = pa.Table.from_batches([batch])
                table = table if columns is None else table.select(list(columns))
                while table.num_rows:
                    part = table.slice(0, max_rows - num_waiting)
                    table = table.slice(part.num_rows)
                    waiting.append(part)
                    num_waiting += part.num_rows
                    if num_waiting == max_rows:
                        yield _join(waiting, uris)
                        waiting, num_waiting = [], 0
    if waiting:
        yield _join(waiting, uris)


def _join(tables: Sequence[pa.Table], uris: Sequence[str]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(
            f"{uris[0]} and files beside it disagree in the type of a column ({error}); cast it upstream"
        ) from error


class _Reader:
    """One file of a shuffle, open."""

    def __init__(self, file: pa.NativeFile, uri: str, num_buckets: int) -> None:
        size = file.size()
        tail = file.read_at(min(size, _TAIL_BYTES), size - min(size, _TAIL_BYTES))
        if len(tail) < _TRAILER.size or tail[-_TRAILER.size :][:8] != _MAGIC:
            raise InputError(f"{uri}: not a whole shuffle file; remove it and build again")
        _, self._index_at, self._num_runs, self._num_buckets, schema_bytes = _TRAILER.unpack(tail[-_TRAILER.size :])
        if self._num_buckets != num_buckets:
            raise InputError(
                f"{uri}: has {self._num_buckets} buckets where {num_buckets} are read; it is left from a build with other "
                "limits: remove the folder `work` beside it and build again"
            )
        if schema_bytes + _TRAILER.size > len(tail):
            tail = file.read_at(schema_bytes + _TRAILER.size, size - schema_bytes - _TRAILER.size)
        self.schema = pa.ipc.read_schema(pa.py_buffer(tail[-_TRAILER.size - schema_bytes : -_TRAILER.size]))
        self._file = file

    def batches(self, buckets: range) -> Iterator[pa.RecordBatch]:
        """Batches of one bucket, or of several that follow each other, run by run."""
        first, count = buckets.start, len(buckets)
        for run in range(self._num_runs):
            at = self._index_at + 8 * (run * (self._num_buckets + 1) + first)
            offsets = np.frombuffer(self._file.read_at(8 * (count + 1), at), "<i8")
            for i in np.flatnonzero(np.diff(offsets)).tolist():
                low, high = int(offsets[i]), int(offsets[i + 1])
                if high - low <= _READ_AT_ONCE:
                    source, end = pa.BufferReader(self._file.read_at(high - low, low)), high - low
                else:
                    source, end = self._file, high
                    source.seek(low)
                while source.tell() < end:
                    yield pa.ipc.read_record_batch(pa.ipc.read_message(source), self.schema)
