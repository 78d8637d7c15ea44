"""The index of sampled queries: their shingle sets in, what a document's shingles are looked up in out.

A document d with Jaccard of at least t to a query q shares at least `ceil(t |q|)` of its shingles, so it has at
least k of any `|q| - ceil(t |q|) + k` of them (prefix filter: Bayardo, Ma and Srikant, "Scaling up all pairs
similarity search", 2007; Xiao et al., "Efficient similarity joins for near duplicate detection", 2008; with k above 1:
Wang, Li and Feng, "Can we beat the prefix filtering?", 2012). The prefix is made of the shingles that fewest queries
have: the order is free, so the result is exact whatever it is, and boilerplate, which many queries have, comes last.
With k one sixteenth of the query, documents that share a phrase with it are none of its candidates.

`index_queries` writes a group of queries (about `Limits.shingles_per_group` shingles) as one file: an open-addressing table
from the shingles of their prefixes to queries, and before it a bitmap in which a miss, nearly every shingle of the
corpus, costs one load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines import storage
from pipelines.kernels.shingles import U64
from pipelines.makers.certificate.texts import CHOSEN
from pipelines.shards import ShardOutput

_BITS_PER_SLOT: Final = 8
_HIT_SHARE: Final = 16
_COMMON: Final = 256
"""Shingles of this many queries or more are equally common."""

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Queries `first` to `last` (not included) as a shard of `index_queries`."""

    name: str
    first: int
    last: int


def group_queries(sizes: dict[int, int], shingles_per_group: int) -> tuple[Group, ...]:
    """Shards of `index_queries`, for the number of shingles of each query by number."""
    groups: list[Group] = []
    first, held = 0, 0
    for number in range(max(sizes, default=-1) + 1):
        if held and held + sizes.get(number, 0) > shingles_per_group:
            groups.append(Group(name=f"group-{len(groups):04d}", first=first, last=number))
            first, held = number, 0
        held += sizes.get(number, 0)
    return (*groups, Group(name=f"group-{len(groups):04d}", first=first, last=max(sizes, default=-1) + 1))


@dataclass(frozen=True, kw_only=True)
class Index:
    """Queries of a group, and from each shingle of a prefix to the queries that have it there.

    `values[offsets[i]:offsets[i + 1]]` is the shingle set of query i, `keys` uint64 [queries, bands]. Slot s of the table holds
    the shingle `shingles[s]` and the queries `postings[begins[s]:begins[s] + sizes[s]]`; it is free where `sizes[s]` is 0.
    A document similar to query i has `hits[i]` shingles of its prefix at least.
    """

    numbers: I64
    parts: I64
    rows: I64
    kept: npt.NDArray[np.bool_]
    values: U64
    offsets: I64
    keys: U64
    bitmap: U64
    shingles: U64
    begins: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]
    postings: npt.NDArray[np.int32]
    hits: I64


def index_queries(
    group: Group, out: ShardOutput, *, uris: tuple[str, ...], num_bands: int, lowest: float
) -> dict[str, Any]:
    """`index/<group>.npy`: the arrays of an Index, one after the other, from what `gather_texts` wrote as `chosen`."""
    tables = [CHOSEN.empty_table()]
    for uri in uris:
        for batch in storage.read_batches(uri):
            number = batch.column("number").to_numpy()
            inside = (number >= group.first) & (number < group.last)
            if inside.any():
                tables.append(pa.Table.from_batches([batch.filter(pa.array(inside))]))
    queries = pa.concat_tables(tables).combine_chunks().sort_by("number")
    index = make_index(queries, num_bands, lowest)
    file = out.open("index", ".npy")
    for name in Index.__dataclass_fields__:
        np.lib.format.write_array(file, getattr(index, name), allow_pickle=False)
    return {"queries": queries.num_rows, "shingles": int(index.values.size), "indexed": int(index.postings.size)}


def read_index(uri: str) -> Index:
    """What `index_queries` wrote."""
    with storage.open_input(uri) as file:
        arrays = {name: np.lib.format.read_array(file, allow_pickle=False) for name in Index.__dataclass_fields__}
    return Index(**arrays)


def make_index(queries: pa.Table, num_bands: int, lowest: float) -> Index:
    """The Index of queries as in `texts.CHOSEN`, each of one shingle at least, for similarities from `lowest` on."""
    sets = queries.column("shingles").combine_chunks()
    values, offsets = sets.flatten().to_numpy(), np.zeros(len(sets) + 1, np.int64)
    offsets[1:] = np.cumsum(sets.value_lengths().to_numpy()) if len(sets) else 0
    keys = queries.column("keys").combine_chunks().flatten().to_numpy().reshape(-1, num_bands)
    prefix, lengths, hits = _prefixes(values, offsets, lowest)
    slots = 16
    while 3 * slots < 4 * prefix.size:  # the bitmap keeps nearly all that is not there away from the chains
        slots *= 2
    table = np.zeros(slots, np.uint64), np.zeros(slots, np.int32), np.zeros(slots, np.int32)
    bitmap = np.zeros(max(1, slots * _BITS_PER_SLOT // 64), np.uint64)
    postings = np.empty(prefix.size, np.int32)
    _fill_table(prefix, np.repeat(np.arange(len(sets), dtype=np.int32), lengths), *table, postings, bitmap)
    return Index(
        numbers=queries.column("number").to_numpy(),
        parts=queries.column("part").to_numpy(),
        rows=queries.column("row").to_numpy(),
        kept=queries.column("kept").to_numpy(),
        values=values,
        offsets=offsets,
        keys=keys,
        bitmap=bitmap,
        shingles=table[0],
        begins=table[1],
        sizes=table[2],
        postings=postings,
        hits=hits,
    )


def _prefixes(values: U64, offsets: I64, lowest: float) -> tuple[U64, I64, I64]:
    """The shingles of each query's prefix, their number, and how many of them a similar document has.

    They are those that fewest queries have, ties by hash. Counted in a table without chains: where two shingles meet
    in one of its slots, both are taken to be more common than they are.
    """
    sizes = np.diff(offsets)
    fewest = np.minimum(fewest_shared(sizes, lowest), sizes)
    hits = np.minimum(1 + sizes // _HIT_SHARE, fewest)
    lengths = sizes - fewest + hits
    slots = 16
    while slots < 2 * values.size:
        slots *= 2
    prefix = np.empty(int(lengths.sum()), np.uint64)
    _choose(values, offsets, lengths, np.zeros(slots, np.int32), prefix)
    return prefix, lengths, hits


@njit(cache=True, nogil=True)
def _choose(values: Any, offsets: Any, lengths: Any, queries: Any, prefix: Any) -> None:
    """`prefix`: of each query the `lengths[i]` values that fewest have, the lower hash first. `queries` starts as zeros."""
    mask = np.uint64(queries.size - 1)
    for value in values:
        queries[value & mask] += 1
    histogram = np.empty(_COMMON + 1, np.int64)
    to = 0
    for query in range(lengths.size):
        own = values[offsets[query] : offsets[query + 1]]
        histogram[:] = 0
        for value in own:
            histogram[min(queries[value & mask], _COMMON)] += 1
        last, ties = 0, lengths[query]
        while last < _COMMON and histogram[last] < ties:
            ties -= histogram[last]
            last += 1
        for value in own:
            common = min(queries[value & mask], _COMMON)
            if common < last or (common == last and ties > 0):
                ties -= common == last
                prefix[to] = value
                to += 1


def fewest_shared(sizes: I64, lowest: float) -> I64:
    """The fewest shingles that a document can have, or share, that is as similar as `lowest` to sets of these sizes."""
    # 0.55 * 20 is a little above 11 in floating point, and a prefix must not become a shingle too short by that
    fewest: I64 = np.ceil(lowest * sizes - 1e-9 * sizes).astype(np.int64)
    return np.maximum(fewest, 1)


@njit(cache=True, nogil=True, inline="always")
def bloom_bits(value: Any) -> Any:
    """The three bits of a shingle in its word of the bitmap, which bits 20 and up choose (a blocked Bloom filter)."""
    one, low = np.uint64(1), np.uint64(63)
    return (
        (one << (value >> np.uint64(58)))
        | (one << ((value >> np.uint64(52)) & low))
        | (one << ((value >> np.uint64(46)) & low))
    )


@njit(cache=True, nogil=True)
def _fill_table(
    prefix: Any, owners: Any, slots: Any, slot_begins: Any, slot_sizes: Any, postings: Any, bitmap: Any
) -> None:
    mask, words = np.uint64(slots.size - 1), np.uint64(bitmap.size - 1)
    for value in prefix:
        at = value & mask
        while slot_sizes[at] > 0 and slots[at] != value:
            at = (at + np.uint64(1)) & mask
        slots[at] = value
        slot_sizes[at] += 1
        bitmap[(value >> np.uint64(20)) & words] |= bloom_bits(value)
    end = 0
    for slot in range(slots.size):
        end += slot_sizes[slot]
        slot_begins[slot] = end
    for i in range(prefix.size - 1, -1, -1):  # from behind, so that each end becomes the beginning
        at = prefix[i] & mask
        while slots[at] != prefix[i]:
            at = (at + np.uint64(1)) & mask
        slot_begins[at] -= 1
        postings[slot_begins[at]] = owners[i]
