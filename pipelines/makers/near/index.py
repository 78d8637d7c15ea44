"""The index of a release for later near dedup: signature and bottom-k sketch of every document, and no text.

`index/<part>.parquet`, rows in the order of the released part:

| column | holds |
|---|---|
| `source`, `id` | of the document |
| `signature` | `num_perm` MinHash values, uint32, little endian, in one binary value |
| `set_size` | shingles in its full set |
| `sketch` | the `sketch_size` smallest 64-bit shingle hashes, ascending; the full set where it has no more |

The sketch is bottom-k (Broder 1997; Cohen and Kaplan 2007, *Summarizing data using bottom-k sketches*): where
`set_size` is at most k it is the set, and similarity with it is exact; else similarity s is estimated from k hashes,
without bias, with standard error `sketch_error(s, k)`. A document without a word has no row: it is nobody's duplicate.

Three passes, none of which reads a text of an earlier release:

1. `index_part` makes the index, while the release is at hand;
2. `sign_index_part` adds the band keys of an index to those of a new crawl;
3. `gather_index_members` adds the sketches of those released documents that are in a cluster with a new one.

Memory: the shingles of PIECE_BYTES of text or of one larger document, 16 bytes each, in the first; in the others a
batch and a run of the shuffle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.artifact import Built
from pipelines.counting import add_counts, count_outcome
from pipelines.errors import ConfigError, ConservationError, InputError
from pipelines.fingerprint import identity
from pipelines.kernels.minhash import U32, MinHashConfig, band_keys, signatures_of_hashes
from pipelines.kernels.shingles import U64, shingle_sets
from pipelines.makers.near.candidates import KEYS
from pipelines.makers.near.election import spread
from pipelines.makers.near.strata import UNKNOWN
from pipelines.makers.outcome import NumberedPart, verdicts_of
from pipelines.makers.shuffle import ShuffleWriter, bucket_of
from pipelines.shards import ShardOutput

KIND: Final = "NearIndex"
FORMAT: Final = 1
INDEX: Final = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("id", pa.string()),
        pa.field("signature", pa.binary()),
        pa.field("set_size", pa.int64()),
        pa.field("sketch", pa.list_(pa.uint64())),
    ]
)
PIECE_BYTES: Final = 16 << 20
MAX_SKETCH_SIZE: Final = 1 << 16


def sketch_error(similarity: float, sketch_size: int) -> float:
    """Standard error of a similarity that was estimated from a bottom-k sketch: `sqrt(s (1 - s) / k)`.

    >>> round(sketch_error(0.8, 128), 4)
    0.0354
    """
    return float(np.sqrt(similarity * (1.0 - similarity) / sketch_size))


# --- making an index ----------------------------------------------------------------------------------------------------


def index_part(part: NumberedPart, out: ShardOutput, *, config: MinHashConfig, sketch_size: int) -> dict[str, Any]:
    """`index/`: one part of a release. Every document is counted: `documents = indexed + documents_without_words`."""
    present = storage.read_schema(part.uri).names
    columns = ["text", *(name for name in ("source", "id", "language") if name in present)]
    counts: dict[str, Any] = {
        "documents": 0,
        "kept": 0,
        "dropped": {},
        "indexed": 0,
        "documents_without_words": 0,
        "shingles": 0,
    }
    out.declare("index", INDEX)
    for batch in storage.read_batches(part.uri, columns):
        for piece in pieces_of(batch, PIECE_BYTES):
            values, offsets = shingle_sets(piece.column("text"), config.shingle_size)
            rows = index_rows(piece, values, offsets, config, sketch_size)
            out.write("index", rows)
            found = {"indexed": rows.num_rows, "documents_without_words": piece.num_rows - rows.num_rows}
            counts = add_counts(counts, found | {"shingles": int(values.size)} | _kept(piece))
    if counts["documents"] != part.rows:
        raise ConservationError(
            f"{part.uri}: its manifest says {part.rows} rows, it has {counts['documents']}; build the release again"
        )
    return counts


def index_rows(
    documents: pa.RecordBatch, values: U64, offsets: npt.NDArray[np.int64], config: MinHashConfig, sketch_size: int
) -> pa.RecordBatch:
    """Rows of INDEX for the documents that have a word. Their shingle sets are `values` and `offsets` of `shingle_sets`."""
    sizes = np.diff(offsets)
    # the scheme signs the high half of a shingle's hash, and a repeated shingle changes no minimum
    signatures = signatures_of_hashes((values >> np.uint64(32)).astype(np.uint32), offsets, config)
    sketch, lengths = first_values(values, offsets, sketch_size)
    rows = pa.RecordBatch.from_arrays(
        [
            documents.column("source").cast(pa.string()),
            documents.column("id").cast(pa.string()),
            _as_binary(signatures),
            pa.array(sizes),
            pa.ListArray.from_arrays(pa.array(_offsets(lengths), pa.int32()), pa.array(sketch)),
        ],
        schema=INDEX,
    )
    return rows.filter(pa.array(sizes > 0))


def first_values(values: U64, offsets: npt.NDArray[np.int64], most: int) -> tuple[U64, npt.NDArray[np.int64]]:
    """The first `most` values of every list, and how many these are: uint64 [num_values], int64 [num_lists].

    >>> [found.tolist() for found in first_values(np.array([3, 5, 9, 4], np.uint64), np.array([0, 3, 3, 4]), 2)]
    [[3, 5, 4], [2, 0, 1]]
    """
    lengths = np.minimum(np.diff(offsets), most)
    starts = _offsets(lengths)
    at = np.arange(starts[-1]) + np.repeat(offsets[:-1] - starts[:-1], lengths)
    return values[at], lengths


def pieces_of(batch: pa.RecordBatch, piece_bytes: int) -> Iterator[pa.RecordBatch]:
    """`batch` in runs of rows whose texts have at most `piece_bytes` bytes, or that are one larger document."""
    ends = np.cumsum(pc.fill_null(pc.binary_length(batch.column("text")), 0).to_numpy(zero_copy_only=False))
    start = 0
    while start < batch.num_rows:
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + piece_bytes, side="right")))
        yield batch.slice(start, stop - start)
        start = stop


def _kept(documents: pa.RecordBatch) -> dict[str, Any]:
    """Counts of a batch of which nothing is dropped: bytes, sources, languages."""
    nothing = pa.array([[]] * documents.num_rows, pa.list_(pa.string()))
    num_bytes = pc.fill_null(pc.binary_length(documents.column("text")), 0)
    return count_outcome(documents, nothing, num_bytes=num_bytes)


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _as_binary(signatures: U32) -> pa.Array:
    """One binary value a row of a uint32 matrix."""
    num_rows, width = signatures.shape[0], 4 * signatures.shape[1]
    data = pa.py_buffer(np.ascontiguousarray(signatures, "<u4"))
    offsets = pa.py_buffer(np.arange(num_rows + 1, dtype=np.int32) * np.int32(width))
    return pa.Array.from_buffers(pa.binary(), num_rows, [None, offsets, data])


# --- reading indexes ----------------------------------------------------------------------------------------------------


def number_index(
    indexes: Sequence[Built], *, config: MinHashConfig, first_number: int, first_ordinal: int
) -> tuple[NumberedPart, ...]:
    """The files of `indexes` as parts after those of the new documents: numbers and ordinals go on from the two given.

    Raises ConfigError for an artifact that is no index of this format, one given twice, and one whose MinHashConfig is
    not `config`, naming both: their signatures do not compare. Sketches may differ in size, see `smallest_sketch`.
    """
    parts: list[NumberedPart] = []
    indexes = sorted(indexes, key=lambda built: built.fingerprint)
    for position, built in enumerate(indexes):
        _check_index(built, config)
        if any(other.fingerprint == built.fingerprint for other in indexes[:position]):
            raise ConfigError(
                f"{built.name}/{built.fingerprint[:12]} is given twice as an earlier release; once will do"
            )
        rows_of = {str(entry["path"]): int(entry["rows"]) for entry in built.manifest["files"]}
        for part in built.parts("index"):
            rows = rows_of[f"index/{storage.basename(part.uri)}"]
            number = first_number + len(parts)
            name = f"index-{position:03d}-{part.name}"
            parts.append(NumberedPart(name=name, uri=part.uri, number=number, first=first_ordinal, rows=rows))
            first_ordinal += rows
    return tuple(parts)


def smallest_sketch(indexes: Sequence[Built]) -> int | None:
    """The smallest `sketch_size` of the indexes, to which all sketches are cut when they are read; None without any."""
    return min((int(_fields(built)["sketch_size"]) for built in indexes), default=None)


def sign_index_part(part: NumberedPart, out: ShardOutput, *, config: MinHashConfig, num_buckets: int) -> dict[str, Any]:
    """`keys/`: band keys of the released documents of one index file, as `candidates.sign_part` writes those of new ones."""
    row = 0
    with ShuffleWriter(out, "keys", KEYS, num_buckets=num_buckets) as shuffle:
        for batch in storage.read_batches(part.uri, ["signature"]):
            signatures = signatures_of_index(batch.column("signature"), config.num_perm, where=part.uri)
            keys = band_keys(signatures, config).ravel()
            documents = np.repeat(np.arange(row, row + batch.num_rows) + part.first, config.num_bands)
            columns = [pa.array(keys), pa.array(documents)]
            shuffle.write(pa.RecordBatch.from_arrays(columns, schema=KEYS), bucket_of(keys, num_buckets))
            row += batch.num_rows
    _check_rows(part, row)
    return {"rows": row, "released": row}


def signatures_of_index(values: pa.Array, num_perm: int, *, where: str) -> U32:
    """The column `signature` as a matrix, uint32 [num_rows, num_perm]. InputError for values of another length."""
    _, offsets_buffer, data = values.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[values.offset : values.offset + len(values) + 1]
    if values.null_count or np.any(np.diff(offsets) != 4 * num_perm):
        raise InputError(f"{where}: a signature has not {num_perm} values; the file is damaged, build the index again")
    flat = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if len(values) else np.zeros(0, np.uint8)
    return np.ascontiguousarray(flat).view("<u4").astype(np.uint32, copy=False).reshape(len(values), num_perm)


def gather_index_members(
    part: NumberedPart,
    out: ShardOutput,
    *,
    uris: tuple[str, ...],
    schema: pa.Schema,
    sketch_size: int,
    num_documents: int,
    verify: bool,
    num_groups: int,
    num_parts: int,
) -> dict[str, Any]:
    """`shingles/`: of each released document that shares a cluster with a new one its sketch, in the `schema` of members.

    `uris` are clusters by part, `sketch_size` the hashes of a sketch to hand on, `num_documents` the new documents: a
    cluster whose smallest ordinal is not below has released documents alone, and nobody asks about these. Columns of
    `schema` that a released document has not (`prefer_<i>`) are null. Without `verify` sketches are empty.
    """
    members = verdicts_of(uris, part, num_parts)
    clusters = members.column("cluster").to_numpy()
    members = members.filter(pa.array(clusters < num_documents))
    clusters, rows = members.column("cluster").to_numpy(), members.column("row").to_numpy()
    row, num_shingles = 0, 0
    with ShuffleWriter(out, "shingles", schema, num_buckets=num_groups) as shuffle:
        for batch in storage.read_batches(part.uri, ["source", "id", "set_size", "sketch"]) if rows.size else ():
            low, high = np.searchsorted(rows, [row, row + batch.num_rows])
            if low < high:
                chosen = batch.take(pa.array(rows[low:high] - row))
                sketch = chosen.column("sketch")
                starts = sketch.offsets.to_numpy().astype(np.int64)
                hashes, lengths = first_values(sketch.values.to_numpy(), starts, sketch_size if verify else 0)
                num_shingles += hashes.size
                found = {
                    "cluster": pa.array(clusters[low:high]),
                    "cluster_size": members.column("cluster_size").slice(low, high - low).combine_chunks(),
                    "source": chosen.column("source"),
                    "id": chosen.column("id"),
                    "part": pa.array(np.full(high - low, part.number, np.int64)),
                    "row": pa.array(rows[low:high]),
                    "language": pa.array([UNKNOWN] * int(high - low), pa.string()),
                    "length": pa.array([UNKNOWN] * int(high - low), pa.string()),
                    "copies": pa.array(np.ones(high - low, np.int64)),
                    "released": pa.array(np.ones(high - low, np.bool_)),
                    "set_size": chosen.column("set_size"),
                    "shingles": pa.LargeListArray.from_arrays(pa.array(_offsets(lengths)), pa.array(hashes)),
                }
                shuffle.write(
                    _in_schema(found, schema, int(high - low)), bucket_of(spread(clusters[low:high]), num_groups)
                )
            row += batch.num_rows
    if rows.size:
        _check_rows(part, row)
    return {"members": int(rows.size), "released": int(rows.size), "shingles": num_shingles}


def _in_schema(columns: Mapping[str, pa.Array], schema: pa.Schema, num_rows: int) -> pa.RecordBatch:
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _check_rows(part: NumberedPart, rows: int) -> None:
    if rows != part.rows:
        raise ConservationError(f"{part.uri}: its manifest says {part.rows} rows, it has {rows}; build the index again")


def _check_index(built: Built, config: MinHashConfig) -> None:
    maker = built.manifest.get("payload", {}).get("maker", {})
    label = f"{built.name}/{built.fingerprint[:12]}"
    if not isinstance(maker, Mapping) or maker.get("kind") != KIND:
        kind = maker.get("kind", "something else") if isinstance(maker, Mapping) else "something else"
        raise ConfigError(f"{label} was made by {kind} and is no index; make one of the release with index_near")
    if maker.get("version") != FORMAT:
        raise ConfigError(
            f"{label} is an index of format {maker.get('version')}, this eyas reads format {FORMAT}; "
            "index the release again"
        )
    made, now = identity(_fields(built)["config"]), identity(config)
    if made != now:
        raise ConfigError(
            f"{label} was made with {_spell(made)}, this dedup has {_spell(now)}: their signatures do not compare; "
            "give this dedup the config of the index, or index the release again"
        )


def _fields(built: Built) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = built.manifest["payload"]["maker"]["fields"]
    return fields


def _spell(config: Mapping[str, Any]) -> str:
    """`MinHashConfig(num_perm=112, ...)` of its identity."""
    fields = ", ".join(f"{name}={value!r}" for name, value in config["fields"].items())
    version = "" if config.get("version", 1) == 1 else f", version {config['version']}"
    return f"{config['kind']}({fields}{version})"
