"""Candidates of near dedup: documents in, edges between documents that share a whole LSH band out. Two passes.

1. `sign_part`: band keys of every document of a part (`kernels.minhash`), shuffled by key;
2. `pair_bucket`: in every bucket, the documents of one key become a *star*: one edge from each to the first of them.

A star has n - 1 edges where all pairs have n (n - 1) / 2, so a boilerplate band costs no more than any other, and it
loses no recall: clusters are connected components, and a star and the complete graph over the same documents have the
same component. Which document is the centre has no influence for the same reason. What two documents of a component
are to each other is for `verify` to say. A document without a word has no key and is nobody's candidate.

Memory: a run of the shuffle in the first pass. In the second the *distinct* keys of a bucket, at most about
KEYS_PER_BUCKET of 48 bytes, and half of that again while the table doubles: 200 to 300 MB, under PAIR_BYTES with the
libraries. A key that 100 million documents share is one entry of the table; its rows stream past.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines import storage
from pipelines.kernels.minhash import MinHashConfig, band_keys, signatures_of_texts
from pipelines.makers.keepers import group_starts
from pipelines.makers.near.grouping import Groups
from pipelines.makers.near.strata import columns_of_strata, count_strata, strata_of, sum_strata
from pipelines.makers.outcome import Bucket, NumberedPart, verdicts_of
from pipelines.makers.shuffle import MAX_ROWS, ShuffleWriter, bucket_batches, bucket_of
from pipelines.shards import ShardOutput

KEYS_PER_BUCKET: Final = 1 << 22
KEYS: Final = pa.schema([pa.field("key", pa.uint64()), pa.field("document", pa.int64())])
"""`document` is the ordinal of the document in the whole input, in order of parts and rows."""
EDGES: Final = pa.schema([pa.field("document", pa.int64()), pa.field("centre", pa.int64())])
PAIR_BYTES: Final = 640 << 20
"""Of a task of the second pass at its peak, whatever the skew: 568 MB measured with a key of 60 million documents."""
SKEWED: Final = 1 << 15
"""A key of more documents than this is boilerplate rather than likeness, and listed."""
TOP_KEYS: Final = 10


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

    `exact` holds verdicts of exact dedup by part, if it ran: what it drops has no key, but counts in its strata.
    """
    ordinal, num_shingles, num_wordless, strata = part.first, 0, 0, []
    unique = unique_rows(exact, part, num_parts)
    columns = ["text", *columns_of_strata(storage.read_schema(part.uri))]
    with ShuffleWriter(out, "keys", KEYS, num_buckets=num_buckets) as shuffle:
        for batch in storage.read_batches(part.uri, columns):
            rows = np.arange(ordinal, ordinal + batch.num_rows)
            chosen = unique[rows - part.first]
            ordinal += batch.num_rows
            strata.append(count_strata(strata_of(batch)))
            batch, rows = batch.filter(pa.array(chosen)), rows[chosen]
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


def pair_bucket(
    bucket: Bucket,
    out: ShardOutput,
    *,
    uris: tuple[str, ...],
    num_buckets: int,
    batch_rows: int = MAX_ROWS,
    skewed: int = SKEWED,
) -> dict[str, Any]:
    """Second pass: `edges/`, (document, centre) with centre < document, each once in `batch_rows` rows of the bucket.

    The bucket is streamed twice, first for the least document and the number of rows of each key, then for the edges.
    Counts edges, shared keys, the documents of the largest key; keys of more than `skewed` documents, the documents of
    these, and the TOP_KEYS largest of them as [key in hex, documents, smallest document].
    """
    batches = partial(bucket_batches, uris, bucket.number, num_buckets=num_buckets, max_rows=batch_rows)
    groups, any_row = Groups(counting=True), False
    for batch in batches():
        any_row = True
        groups.add(batch.column("key").to_numpy(), batch.column("document").to_numpy())
    num_edges = 0
    out.declare("edges", EDGES)
    for batch in batches():
        documents = batch.column("document").to_numpy()
        documents, centres = distinct_edges(documents, groups.least_of(batch.column("key").to_numpy()))
        num_edges += documents.size
        out.write("edges", pa.RecordBatch.from_arrays([pa.array(documents), pa.array(centres)], schema=EDGES))
    keys, least, sizes = groups.columns(min_second=2)
    many = np.flatnonzero(sizes > skewed)
    top = many[np.lexsort((keys[many], -sizes[many]))[:TOP_KEYS]]
    return {
        "edges": num_edges,
        "shared_keys": int(keys.size),
        "largest_key": int(sizes.max(initial=int(any_row))),
        "skewed_keys": int(many.size),
        "skewed_documents": int(sizes[many].sum()),
        "top_keys": [[f"{keys[i]:016x}", int(sizes[i]), int(least[i])] for i in top.tolist()],
    }


def distinct_edges(
    documents: npt.NDArray[np.int64], centres: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The edges that join two documents, each once, ascending.

    >>> [column.tolist() for column in distinct_edges(np.array([8, 5, 5, 3]), np.array([3, 3, 3, 3]))]
    [[5, 8], [3, 3]]
    """
    differ = documents != centres
    documents, centres = documents[differ], centres[differ]
    order = np.lexsort((centres, documents))
    documents, centres = documents[order], centres[order]
    starts = group_starts(documents, centres)[:-1]
    return documents[starts], centres[starts]
