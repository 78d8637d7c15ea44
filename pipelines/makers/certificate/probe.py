"""The probe: an index of sampled queries and every document in, counts of true pairs out, exactly.

Every part meets every group of queries. Documents are hashed once, candidates are those that the index (`index`)
finds, their true Jaccard comes from merging sorted sets, and band keys are made for documents in true pairs alone.

Counts, never pairs, go out, so a query with a million true pairs costs no more than one with two. Memory: the index
(about 60 bytes a shingle of the group: 1 GB at most), one batch of documents and its shingles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines import storage
from pipelines.kernels.minhash import MinHashConfig, band_keys, signatures_of_texts
from pipelines.kernels.shingles import (
    BLOCK,
    NUM_STATE,
    character_table,
    next_block,
    shingle_sets,
    text_buffers,
)
from pipelines.makers.certificate.index import I64, Index, bloom_bits, fewest_shared, read_index
from pipelines.makers.near.candidates import unique_rows
from pipelines.makers.near.similarity import similarity_with
from pipelines.makers.outcome import Bucket, NumberedPart, verdicts_of
from pipelines.shards import ShardOutput

LOWEST: Final = 0.5
"""Similarities are measured from here up, or from `min_jaccard` where that is lower."""
BINS: Final = tuple(k / 20 for k in range(10, 20))
"""Lower ends of the bins of the S-curve; each ends where the next begins, the last includes 1."""
TRUE, RESOLVED, FOUND = range(3)
NUM_COUNTS: Final = 3
PROBED: Final = pa.schema([pa.field("number", pa.int64()), pa.field("counts", pa.list_(pa.int64()))])
"""Of a query with a true pair in this part: true, resolved and found pairs of each bin, then at each threshold."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One part against one group as a shard of `probe_part`; `index` is the file of the group."""

    name: str
    part: NumberedPart
    index: str


@njit(cache=True, nogil=True)
def _grow(values: Any) -> Any:
    grown = np.empty(2 * values.size, values.dtype)
    grown[: values.size] = values
    return grown


@njit(cache=True, nogil=True)
def _find_candidates(
    data: Any,
    offsets: Any,
    table: Any,
    size: Any,
    bitmap: Any,
    shingles: Any,
    begins: Any,
    sizes: Any,
    postings: Any,
    least: Any,
    needed: Any,
    seen: Any,
    hits: Any,
) -> Any:
    """Pairs of document and query that share enough shingles of the query's prefix, by document: two int64 [n].

    `least[q]` is the fewest shingles that a document similar enough to query q can have, `needed[q]` the fewest of
    the prefix; `seen` and `hits` int64 [queries].
    """
    documents, queries = np.empty(1024, np.int64), np.empty(1024, np.int64)
    found_pairs = 0
    block, ring, state = np.empty(BLOCK, np.uint64), np.empty(size, np.uint64), np.empty(NUM_STATE, np.uint64)
    mask, words = np.uint64(shingles.size - 1), np.uint64(bitmap.size - 1)
    seen[:] = -1
    for document in range(offsets.size - 1):
        ring[:] = 0
        state[:] = 0
        first, num_shingles = found_pairs, 0
        position, found = np.int64(offsets[document]), BLOCK
        while found == BLOCK:
            position, found = next_block(data, position, offsets[document + 1], table, ring, state, block)
            num_shingles += found
            for i in range(found):
                value = block[i]
                bits = bloom_bits(value)
                if bitmap[(value >> np.uint64(20)) & words] & bits != bits:
                    continue
                at = value & mask
                while sizes[at] > 0 and shingles[at] != value:
                    at = (at + np.uint64(1)) & mask
                for posting in range(begins[at], begins[at] + sizes[at]):
                    query = postings[posting]
                    if seen[query] == document:
                        hits[query] += 1  # a shingle counts as often as the document has it, so never too little
                    else:
                        seen[query], hits[query] = document, 1
                        if found_pairs == documents.size:
                            documents, queries = _grow(documents), _grow(queries)
                        documents[found_pairs], queries[found_pairs] = document, query
                        found_pairs += 1
        last, found_pairs = found_pairs, first
        for pair in range(first, last):  # a document of fewer shingles cannot be similar enough
            query = queries[pair]
            if num_shingles >= least[query] and hits[query] >= needed[query]:
                documents[found_pairs], queries[found_pairs] = documents[pair], queries[pair]
                found_pairs += 1
    return documents[:found_pairs], queries[:found_pairs]


@njit(cache=True, nogil=True)
def _similarities(
    values: Any, offsets: Any, documents: Any, query_values: Any, query_offsets: Any, queries: Any, lowest: Any
) -> Any:
    """True Jaccard of every pair, float64 [n]; 0 where it is below `lowest`."""
    result = np.zeros(documents.size)
    for pair in range(documents.size):
        d, q = documents[pair], queries[pair]
        left, right = values[offsets[d] : offsets[d + 1]], query_values[query_offsets[q] : query_offsets[q + 1]]
        result[pair] = max(0.0, similarity_with(left, right, right.size, lowest))
    return result


def true_pairs(
    texts: pa.Array, index: Index, shingle_size: int, lowest: float
) -> tuple[I64, I64, npt.NDArray[np.float64]]:
    """Document, query (positions) and similarity of every pair of `lowest` or more, that of a query with itself too.

    `lowest` is not below that of `make_index`.
    """
    data, offsets = text_buffers(texts)
    sizes = np.diff(index.offsets)
    least = fewest_shared(sizes, lowest)
    seen, hits = (np.empty(max(1, sizes.size), np.int64) for _ in range(2))
    documents, queries = _find_candidates(
        data, offsets, character_table(), shingle_size, index.bitmap, index.shingles, index.begins, index.sizes,
        index.postings, least, index.hits, seen, hits,
    )  # fmt: skip
    chosen, position = np.unique(documents, return_inverse=True)
    values, set_offsets = shingle_sets(texts.take(pa.array(chosen)), shingle_size)
    similarity = _similarities(values, set_offsets, position, index.values, index.offsets, queries, lowest)
    similar = similarity >= lowest
    return documents[similar], queries[similar], similarity[similar]


def probe_part(
    shard: Probe,
    out: ShardOutput,
    *,
    config: MinHashConfig,
    thresholds: tuple[float, ...],
    lowest: float,
    verdicts: tuple[str, ...],
    exact: tuple[str, ...],
    num_parts: int,
) -> dict[str, Any]:
    """`probed/`: what the documents of one part are to the queries of one group. Counts true pairs."""
    part, index = shard.part, read_index(shard.index)
    unique = unique_rows(exact, part, num_parts)
    found = verdicts_of(verdicts, part, num_parts)
    kept = np.ones(part.rows, np.bool_)
    kept[found.column("row").filter(found.column("keeper_id").is_valid()).to_numpy()] = False
    counts = np.zeros((index.numbers.size, NUM_COUNTS, len(BINS) + len(thresholds)), np.int64)
    first_row = 0
    for batch in storage.read_batches(part.uri, ["text"]):
        rows = np.flatnonzero(unique[first_row : first_row + batch.num_rows]) + first_row
        texts = (
            batch.column("text").take(pa.array(rows - first_row))
            if rows.size < batch.num_rows
            else batch.column("text")
        )
        first_row += batch.num_rows
        documents, queries, similarity = true_pairs(texts, index, config.shingle_size, lowest)
        other = (index.parts[queries] != part.number) | (index.rows[queries] != rows[documents])
        documents, queries, similarity = documents[other], queries[other], similarity[other]
        if not documents.size:
            continue
        chosen, position = np.unique(documents, return_inverse=True)
        keys = band_keys(signatures_of_texts(texts.take(pa.array(chosen)), config)[0], config)
        is_found = _share_a_key(keys, position, index.keys, queries)
        is_resolved = ~(kept[rows[documents]] & index.kept[queries])
        _add_counts(counts, queries, similarity, (np.ones_like(is_found), is_resolved, is_found), thresholds)
    some = np.flatnonzero(counts.any(axis=(1, 2)))
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(some.size + 1, dtype=np.int32) * counts[0].size if counts.size else np.zeros(1, np.int32)),
        pa.array(counts[some].ravel()),
    )
    out.declare("probed", PROBED)
    out.write("probed", pa.RecordBatch.from_arrays([pa.array(index.numbers[some]), lists], schema=PROBED))
    return {"rows": first_row, "pairs": int(counts[:, TRUE, : len(BINS)].sum())}


@njit(cache=True, nogil=True)
def _share_a_key(keys: Any, documents: Any, query_keys: Any, queries: Any) -> Any:
    result = np.zeros(documents.size, np.bool_)
    for pair in range(documents.size):
        result[pair] = (keys[documents[pair]] == query_keys[queries[pair]]).any()
    return result


def _add_counts(
    counts: I64,
    queries: I64,
    similarity: npt.NDArray[np.float64],
    kinds: tuple[npt.NDArray[np.bool_], ...],
    thresholds: tuple[float, ...],
) -> None:
    """Add pairs to `counts`, int64 [queries, NUM_COUNTS, bins and thresholds], in place."""
    bins = np.searchsorted(np.array(BINS), similarity, side="right") - 1
    columns = [(bins, bins >= 0)]
    columns += [(np.full(bins.size, len(BINS) + i), similarity >= at) for i, at in enumerate(thresholds)]
    for kind, holds in enumerate(kinds):
        for column, inside in columns:
            chosen = holds & inside
            places = (queries[chosen] * NUM_COUNTS + kind) * counts.shape[2] + column[chosen]
            counts += np.bincount(places, minlength=counts.size).reshape(counts.shape)


def sum_probes(
    bucket: Bucket, out: ShardOutput, *, uris: tuple[str, ...], num_queries: int, num_thresholds: int
) -> dict[str, Any]:
    """`totals/`: the counts of every query over all parts. One task, streaming."""
    total = np.zeros((num_queries, NUM_COUNTS * (len(BINS) + num_thresholds)), np.int64)
    for uri in uris:
        for batch in storage.read_batches(uri):
            lists = batch.column("counts").flatten().to_numpy()
            np.add.at(total, batch.column("number").to_numpy(), lists.reshape(batch.num_rows, -1))
    ends = np.arange(num_queries + 1, dtype=np.int32) * total.shape[1]
    columns = [pa.array(np.arange(num_queries)), pa.ListArray.from_arrays(pa.array(ends), pa.array(total.ravel()))]
    out.declare("totals", PROBED)
    out.write("totals", pa.RecordBatch.from_arrays(columns, schema=PROBED))
    return {"queries": num_queries}


def read_totals(uri: str, num_queries: int, num_thresholds: int) -> I64:
    """What `sum_probes` wrote: int64 [num_queries, NUM_COUNTS, bins and thresholds]."""
    lists = storage.read_table(uri).column("counts").combine_chunks().flatten().to_numpy()
    return cast(I64, lists.reshape(num_queries, NUM_COUNTS, len(BINS) + num_thresholds))
