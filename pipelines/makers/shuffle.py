"""A disk shuffle between two passes: rows go out by bucket, a task of the next pass reads one bucket of every file.

One file a shard, whatever the number of buckets, so that S shards into B buckets leave S files and not S * B: an
Arrow IPC file (lz4) of *runs*, each of exactly `num_buckets` record batches, batch i of a run holding bucket i. A
reader seeks to its batches by the footer and reads nothing else. Writers hold one run of about `run_bytes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines import storage
from pipelines.errors import InputError
from pipelines.shards import ShardOutput

SUFFIX: Final = ".arrow"
RUN_BYTES: Final = 64 << 20


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
    """Writes `<kind>/<shard>.arrow`. A context manager: the file is complete when the block ends without an error."""

    def __init__(
        self, out: ShardOutput, kind: str, schema: pa.Schema, *, num_buckets: int, run_bytes: int = RUN_BYTES
    ) -> None:
        self.schema = schema
        self._num_buckets = num_buckets
        self._run_bytes = run_bytes
        self._waiting: list[pa.RecordBatch] = []
        self._buckets: list[npt.NDArray[np.int64]] = []
        self._bytes = 0
        sink = pa.PythonFile(out.open(kind, SUFFIX), mode="w")
        self._writer = pa.ipc.new_file(
            sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        )

    def write(self, batch: pa.RecordBatch, buckets: npt.NDArray[np.int64]) -> None:
        """Add the rows of `batch`; row i belongs to `buckets[i]`, 0 <= bucket < num_buckets."""
        if not batch.num_rows:
            return
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
        edges = np.searchsorted(buckets[order], np.arange(self._num_buckets + 1))
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            part = rows.take(pa.array(order[first:last])).combine_chunks().to_batches()
            self._writer.write_batch(part[0] if part else pa.RecordBatch.from_pylist([], schema=self.schema))

    def __enter__(self) -> ShuffleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
            self._writer.close()


def read_bucket(
    uris: Sequence[str], bucket: int, *, num_buckets: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """All rows of one bucket, files in the order given and rows as they were written.

    Columns whose numeric type differs between files are widened. Raises InputError where types cannot be joined.
    """
    tables = [_read(uri, bucket, num_buckets, columns) for uri in uris]
    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(
            f"{uris[0]} and files beside it disagree in the type of a column ({error}); cast it upstream"
        ) from error


def _read(uri: str, bucket: int, num_buckets: int, columns: Sequence[str] | None) -> pa.Table:
    with storage.open_input(uri) as file:
        reader = pa.ipc.open_file(file)
        positions = range(bucket, reader.num_record_batches, num_buckets)
        batches = [batch for batch in map(reader.get_batch, positions) if batch.num_rows]
        table = pa.Table.from_batches(batches, schema=reader.schema)
    return table if columns is None else table.select(list(columns))
