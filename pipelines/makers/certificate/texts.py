"""Texts that the draw chose: places in, shingle sets of queries and texts of pairs out. One pass over those parts alone.

Row groups without a chosen document are not read. What is larger than `sampling.Limits` is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.kernels.minhash import MinHashConfig, band_keys, signatures_of_hashes
from pipelines.kernels.shingles import shingle_sets
from pipelines.makers.certificate.frame import AS_DROPPED, AS_QUERY
from pipelines.makers.certificate.sampling import Limits
from pipelines.makers.outcome import NumberedPart, verdicts_of
from pipelines.makers.shuffle import ShuffleWriter, read_bucket
from pipelines.shards import ShardOutput

PAIRS_PER_BUCKET: Final = 32
CHOSEN: Final = pa.schema(
    [
        pa.field("number", pa.int64()),
        pa.field("part", pa.int64()),
        pa.field("row", pa.int64()),
        pa.field("kept", pa.bool_()),
        pa.field("shingles", pa.large_list(pa.uint64())),
        pa.field("keys", pa.list_(pa.uint64())),
    ]
)
"""A query: its place, whether near dedup kept it, its shingle set, ascending, and its band keys."""
TEXTS: Final = pa.schema(
    [
        pa.field("number", pa.int64()),
        pa.field("is_keeper", pa.bool_()),
        pa.field("source", pa.string()),
        pa.field("id", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("text", pa.large_string()),
    ]
)
"""One side of pair `number`; `text` is null where it is larger than `Limits.max_text_bytes`."""


def gather_texts(
    part: NumberedPart,
    out: ShardOutput,
    *,
    uri: str,
    verdicts: tuple[str, ...],
    config: MinHashConfig,
    num_parts: int,
    num_pairs: int,
    limits: Limits,
) -> dict[str, Any]:
    """`chosen/`, queries, and `texts/`, pairs by bucket, of one part. Counts the shingles of every query by number.

    `uri` is what the draw wrote as `wanted`.
    """
    wanted = read_bucket([uri], part.number, num_buckets=num_parts)
    places = wanted.column("row").to_numpy()
    order = np.argsort(places, kind="stable")
    wanted, places = wanted.take(pa.array(order)), places[order]
    roles, numbers = wanted.column("role").to_numpy(), wanted.column("number").to_numpy()
    found = verdicts_of(verdicts, part, num_parts)
    dropped = found.column("row").filter(found.column("keeper_id").is_valid()).to_numpy()
    sizes: dict[str, int] = {}
    out.declare("chosen", CHOSEN)
    with ShuffleWriter(out, "texts", TEXTS, num_buckets=num_pair_buckets(num_pairs)) as shuffle:
        for first_row, batch in _batches_with(part.uri, places):
            low, high = np.searchsorted(places, [first_row, first_row + batch.num_rows])
            here = batch.take(pa.array(places[low:high] - first_row))
            is_query = roles[low:high] == AS_QUERY
            queries = here.filter(pa.array(is_query))
            if queries.num_rows:
                rows, ids = places[low:high][is_query], numbers[low:high][is_query]
                sizes |= _write_queries(
                    out,
                    part,
                    rows,
                    ids,
                    ~np.isin(rows, dropped),
                    queries.column("text"),
                    config,
                    limits.max_query_shingles,
                )
            side = ~is_query
            _write_pairs(
                shuffle,
                numbers[low:high][side],
                roles[low:high][side] != AS_DROPPED,
                here.filter(pa.array(side)),
                limits.max_text_bytes,
            )
    return {"shingles": sizes}


def num_pair_buckets(num_pairs: int) -> int:
    """Buckets that the pairs are shuffled into: pair i goes into bucket `i // PAIRS_PER_BUCKET`."""
    return max(1, -(-num_pairs // PAIRS_PER_BUCKET))


def _batches_with(uri: str, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """First row and batch, of those row groups that have one of `rows`."""
    with storage.open_input(uri) as file:
        parquet = pq.ParquetFile(file)
        first_row = 0
        for group in range(parquet.num_row_groups):
            last_row = first_row + parquet.metadata.row_group(group).num_rows
            low, high = np.searchsorted(rows, [first_row, last_row])
            if high > low:
                columns = ["source", "id", "text"]
                for batch in parquet.iter_batches(storage.BATCH_ROWS, row_groups=[group], columns=columns):
                    yield first_row, batch.select(columns)
                    first_row += batch.num_rows
            first_row = last_row


def _write_queries(
    out: ShardOutput,
    part: NumberedPart,
    rows: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
    texts: pa.Array,
    config: MinHashConfig,
    max_shingles: int,
) -> dict[str, int]:
    values, offsets = shingle_sets(texts, config.shingle_size)
    sizes = np.diff(offsets)
    fits = sizes <= max_shingles
    sets = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
    halves = (values >> np.uint64(32)).astype(np.uint32)
    keys = band_keys(signatures_of_hashes(halves, offsets, config), config)
    ends = np.arange(rows.size + 1, dtype=np.int32) * config.num_bands
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(numbers),
            pa.array(np.full(rows.size, part.number, np.int64)),
            pa.array(rows),
            pa.array(kept),
            sets,
            pa.ListArray.from_arrays(pa.array(ends), pa.array(keys.ravel())),
        ],
        schema=CHOSEN,
    )
    comparable = fits & (sizes > 0)
    out.write("chosen", batch if comparable.all() else batch.filter(pa.array(comparable)))
    return {str(number): int(size) for number, size in zip(numbers.tolist(), sizes.tolist(), strict=True)}


def _write_pairs(
    shuffle: ShuffleWriter,
    numbers: npt.NDArray[np.int64],
    is_keeper: npt.NDArray[np.bool_],
    batch: pa.RecordBatch,
    max_bytes: int,
) -> None:
    texts = batch.column("text").cast(pa.large_string())
    num_bytes = pc.fill_null(pc.binary_length(texts), 0)
    bounded = pc.if_else(pc.less_equal(num_bytes, max_bytes), texts, pa.scalar(None, pa.large_string()))
    columns = [pa.array(numbers), pa.array(is_keeper), batch.column("source"), batch.column("id"), num_bytes, bounded]
    shuffle.write(
        pa.RecordBatch.from_arrays([c.cast(f.type) for c, f in zip(columns, TEXTS, strict=True)], schema=TEXTS),
        numbers // PAIRS_PER_BUCKET,
    )
