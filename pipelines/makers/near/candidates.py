"""Candidates of near dedup: documents in, edges between documents that share a whole LSH band out. Two passes.

1. `sign_part`: band keys of every document of a part (`kernels.minhash`), shuffled by key;
2. `pair_bucket`: in every bucket, the documents of one key become a *star*: one edge from each to the first of them.

A star has n - 1 edges where all pairs have n (n - 1) / 2, so a boilerplate band costs no more than any other, and it
loses no recall: clusters are connected components, and a star and the complete graph over the same documents have the
same component. Which document is the centre has no influence for the same reason. What two documents of a component
are to each other is for `verify` to say. A document without a word has no key and is nobody's candidate.

Memory: a run of the shuffle in the first pass; in the second the keys of a bucket (about KEYS_PER_BUCKET of 16 bytes,
four times over while they are sorted) unless one key alone has more.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines import storage
from pipelines.kernels.minhash import MinHashConfig, band_keys, signatures_of_texts
from pipelines.makers.keepers import group_starts
from pipelines.makers.near.strata import columns_of_strata, count_strata, strata_of, sum_strata
from pipelines.makers.outcome import Bucket, NumberedPart, verdicts_of
from pipelines.makers.shuffle import ShuffleWriter, bucket_of, read_bucket
from pipelines.shards import ShardOutput

KEYS_PER_BUCKET: Final = 1 << 22
KEYS: Final = pa.schema([pa.field("key", pa.uint64()), pa.field("document", pa.int64())])
"""`document` is the ordinal of the document in the whole input, in order of parts and rows."""
EDGES: Final = pa.schema([pa.field("document", pa.int64()), pa.field("centre", pa.int64())])
EDGE_BATCH_ROWS: Final = 1 << 18


def sign_part(
    part: NumberedPart,
    out: ShardOutput,
    *,
    config: MinHashConfig,
    num_buckets: int,
    exact: tuple[str, ...] = (),
    num_parts: int = 1,
) -> dict[str, Any]:
    """First pass: `keys/`, the band keys of one part, each with its document. Counts documents, shingles and strata.

    `exact` holds verdicts of exact dedup by part, if it ran: what it drops has no key and is in no stratum.
    """
    ordinal, num_shingles, num_wordless, strata = part.first, 0, 0, []
    unique = unique_rows(exact, part, num_parts)
    columns = ["text", *columns_of_strata(storage.read_schema(part.uri))]
    with ShuffleWriter(out, "keys", KEYS, num_buckets=num_buckets) as shuffle:
        for batch in storage.read_batches(part.uri, columns):
            rows = np.arange(ordinal, ordinal + batch.num_rows)
            chosen = unique[rows - part.first]
            ordinal += batch.num_rows
            batch, rows = batch.filter(pa.array(chosen)), rows[chosen]
            strata.append(count_strata(strata_of(batch)))
            signatures, shingles = signatures_of_texts(batch.column("text"), config)
            comparable = shingles > 0
            keys = band_keys(signatures[comparable], config).ravel()
            documents = np.repeat(rows[comparable], config.num_bands)
            shuffle.write(
                pa.RecordBatch.from_arrays([pa.array(keys), pa.array(documents)], schema=KEYS),
                bucket_of(keys, num_buckets),
            )
            num_shingles += int(shingles.sum())
            num_wordless += int((~comparable).sum())
    return {
        "rows": ordinal - part.first,
        "unique": int(unique.sum()),
        "shingles": num_shingles,
        "documents_without_words": num_wordless,
        "strata": sum_strata(strata),
    }


def unique_rows(exact: tuple[str, ...], part: NumberedPart, num_parts: int) -> npt.NDArray[np.bool_]:
    """Which rows of `part` the verdicts `exact` of exact dedup keep: bool [part.rows], all without verdicts."""
    unique = np.ones(part.rows, np.bool_)
    if exact:
        verdicts = verdicts_of(exact, part, num_parts)
        lost = verdicts.column("keeper_id").is_valid().combine_chunks()
        unique[verdicts.column("row").filter(lost).to_numpy()] = False
    return unique


def pair_bucket(bucket: Bucket, out: ShardOutput, *, uris: tuple[str, ...], num_buckets: int) -> dict[str, Any]:
    """Second pass: `edges/`, each once, ascending. Counts them, the shared keys and the largest key's documents."""
    rows = read_bucket(uris, bucket.number, num_buckets=num_buckets)
    keys, documents = rows.column("key").to_numpy(), rows.column("document").to_numpy()
    edges, sizes = star_edges(keys, documents)
    out.declare("edges", EDGES)
    for start in range(0, len(edges), EDGE_BATCH_ROWS):
        part = edges[start : start + EDGE_BATCH_ROWS]
        columns = [pa.array(np.ascontiguousarray(part[:, i])) for i in range(2)]
        out.write("edges", pa.RecordBatch.from_arrays(columns, schema=EDGES))
    return {
        "edges": len(edges),
        "shared_keys": int((sizes > 1).sum()),
        "largest_key": int(sizes.max(initial=0)),
    }


def star_edges(
    keys: npt.NDArray[np.uint64], documents: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Edges int64 [num_edges, 2] (document, centre), each once, ascending; and the documents of every key, int64.

    >>> star_edges(np.array([9, 9, 9, 4, 4], np.uint64), np.array([5, 3, 8, 3, 5]))[0].tolist()
    [[5, 3], [8, 3]]
    """
    order = np.lexsort((documents, keys))
    keys, documents = keys[order], documents[order]
    starts = group_starts(keys)
    sizes = np.diff(starts)
    centres = np.repeat(documents[starts[:-1]], sizes)
    differ = documents != centres
    pairs = np.stack([documents[differ], centres[differ]], axis=1)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    first = np.ones(len(pairs), np.bool_)
    first[1:] = np.any(pairs[1:] != pairs[:-1], axis=1)
    return pairs[first], sizes
