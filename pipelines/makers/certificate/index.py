"""The index of sampled queries: their shingle sets in, what a document's shingles are looked up in out.

A document d with Jaccard of at least t to a query q shares at least `ceil(t |q|)` of its shingles, so it has at
least one of any `|q| - ceil(t |q|) + 1` of them (prefix filter: Bayardo, Ma and Srikant, "Scaling up all pairs
similarity search", 2007; Xiao et al., "Efficient similarity joins for near duplicate detection", 2008). The prefix is
made of the shingles that fewest queries have: the order is free, so the result is exact whatever it is, and
boilerplate, which many queries have, comes last.

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

_BITS_PER_KEY: Final = 16

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
    begins: I64
    sizes: npt.NDArray[np.int32]
    postings: npt.NDArray[np.int32]


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
    owner = np.repeat(np.arange(len(sets), dtype=np.int32), np.diff(offsets))
    prefix = _prefixes(values, owner, offsets, lowest)
    chosen, owners = values[prefix], owner[prefix]
    order = np.lexsort((owners, chosen))
    shingles, begins, sizes = np.unique(chosen[order], return_index=True, return_counts=True)
    slots = 16
    while slots < 2 * shingles.size:
        slots *= 2
    table = np.zeros(slots, np.uint64), np.zeros(slots, np.int64), np.zeros(slots, np.int32)
    bitmap = np.zeros(max(1, slots * _BITS_PER_KEY // 2 // 64), np.uint64)
    _fill_table(shingles, begins, sizes, *table, bitmap)
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
        postings=owners[order],
    )


def _prefixes(values: U64, owner: npt.NDArray[np.int32], offsets: I64, lowest: float) -> I64:
    """Positions in `values` of each query's prefix: the shingles that fewest queries have, ties by hash."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.lexsort((values, counts[which], owner))
    sizes = np.diff(offsets)
    lengths = np.minimum(sizes - fewest_shared(sizes, lowest) + 1, sizes)
    rank = np.arange(values.size) - offsets[:-1][owner]
    chosen: I64 = order[rank < lengths[owner]]
    return chosen


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
    shingles: Any, begins: Any, counts: Any, slots: Any, slot_begins: Any, slot_sizes: Any, bitmap: Any
) -> None:
    mask, words = np.uint64(slots.size - 1), np.uint64(bitmap.size - 1)
    for i in range(shingles.size):
        value = shingles[i]
        at = value & mask
        while slot_sizes[at] > 0:
            at = (at + np.uint64(1)) & mask
        slots[at], slot_begins[at], slot_sizes[at] = value, begins[i], counts[i]
        bitmap[(value >> np.uint64(20)) & words] |= bloom_bits(value)
