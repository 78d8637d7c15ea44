"""Election in bounded memory: sets of any number of members, streamed, in; the verdicts of `verify.elect` out.

One cluster may be larger than what a task shall hold: a million documents that share a boilerplate band. Its members,
in order of preference, are taken in blocks of at most `max_block_shingles` (or one member). A scan of all sets compares
every later member with the keepers of the block before, and gathers those of the next block that are left; the block
then elects among itself. Each member so meets all keepers before it, in order: the outcome is that of one sweep.

Memory: the sets of two blocks, an index of the keepers of one (16 bytes for each shingle in their prefixes, and 64 MB),
a batch of the scan, and 25 bytes a member. A scan for every block, and one more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from pipelines.errors import ConservationError
from pipelines.kernels.shingles import U64
from pipelines.makers.near.keeper_index import Counts32, first_keeper
from pipelines.makers.near.similarity import F64, I64
from pipelines.makers.near.verify import Flags, Sets, elect, elect_indexed, undecided


class SetBatch(NamedTuple):
    """Some sets as they lie on disk: set i belongs to row `first + i` of the scan and is `values[offsets[i]:offsets[i+1]]`."""

    first: int
    values: U64
    offsets: I64


Scan = Callable[[], Iterator[SetBatch]]


class Members(NamedTuple):
    """Who is compared, best keeper first within a cluster; `rows` says where in a scan each one's set lies, [num_members].

    `lengths` is the number of hashes to take of the set, `sizes` that of the whole set; less where it is a sketch.
    """

    rows: I64
    lengths: I64
    sizes: I64
    released: Flags
    sketch_size: int


class _Keepers(NamedTuple):
    """Keepers of the block before: their index, their sets, their numbers, and where their cluster ends."""

    index: Any
    sets: Sets
    numbers: I64
    last: int


def elect_in_blocks(
    scan: Scan,
    members: Members,
    starts: I64,
    min_jaccard: float,
    *,
    num_rows: int,
    frequency: Counts32,
    max_block_shingles: int,
) -> tuple[I64, F64]:
    """Keeper and similarity of each member, as `elect` of all sets at once. `scan()` yields all `num_rows` sets, each time."""
    keeper, similarity = undecided(members.rows.size)
    member_of = np.full(num_rows, -1, np.int64)
    member_of[members.rows] = np.arange(members.rows.size)
    before: _Keepers | None = None
    first = 0
    while first < members.rows.size:
        last = _end_of_block(first, members.lengths, keeper, max_block_shingles)
        capacity = int(members.lengths[first:last][keeper[first:last] < 0].sum())
        values, begins = np.empty(capacity, np.uint64), np.full(last - first, -1, np.int64)
        asked = np.full(before.numbers.size if before else 0, -1, np.int64)
        num_values = 0
        for batch in scan():
            here = member_of[batch.first : batch.first + batch.offsets.size - 1]
            if before:
                _compare(batch, here, before, members, min_jaccard, frequency, asked, keeper, similarity)
            num_values = _gather(
                batch.values, batch.offsets, here, keeper, members.lengths, first, values, begins, num_values
            )
        chosen = np.flatnonzero(keeper[first:last] < 0)
        if np.any(begins[chosen] < 0):
            raise ConservationError(f"{int((begins[chosen] < 0).sum())} members of clusters have no set in the shuffle")
        numbers = first + chosen
        block = Sets(
            values=values,
            begins=begins[chosen],
            ends=begins[chosen] + members.lengths[numbers],
            sizes=members.sizes[numbers],
            released=members.released[numbers],
            sketch_size=members.sketch_size,
        )
        before = _elect_block(block, numbers, last, starts, min_jaccard, frequency, keeper, similarity)
        left = np.flatnonzero(keeper[last:] < 0)
        first = last + int(left[0]) if left.size else members.rows.size
        if before and before.last <= first:
            before = None
    return keeper, similarity


def _end_of_block(first: int, lengths: I64, keeper: I64, max_shingles: int) -> int:
    """Where the block of members without a verdict ends that begins at `first`."""
    total = np.cumsum(np.where(keeper[first:] < 0, lengths[first:], 0))
    return first + max(1, int(np.searchsorted(total, max_shingles, side="right")))


def _elect_block(
    block: Sets,
    numbers: I64,
    last: int,
    starts: I64,
    min_jaccard: float,
    frequency: Counts32,
    keeper: I64,
    similarity: F64,
) -> _Keepers | None:
    """Elect among the members `numbers` of a block that ends at `last`; the keepers of a cluster that goes on after it."""
    cluster = int(np.searchsorted(starts, last, side="right")) - 1  # the one member `last` is in
    is_cut = cluster < starts.size - 1 and starts[cluster] < last
    cut = int(np.searchsorted(numbers, starts[cluster])) if is_cut else numbers.size
    inner = np.searchsorted(numbers[:cut], starts[starts < last]).astype(np.int64)
    found, measured = elect(block.between(0, cut), np.append(inner, cut), min_jaccard)
    before = None
    if cut < numbers.size:
        others, their_measured, index = elect_indexed(block.between(cut, numbers.size), min_jaccard, frequency)
        found = np.concatenate([found, np.where(others < 0, -1, others + cut)])
        measured = np.concatenate([measured, their_measured])
        before = _Keepers(
            index=index,
            sets=block.between(cut, numbers.size),
            numbers=numbers[cut:],
            last=int(starts[cluster + 1]),
        )
    keeper[numbers] = np.where(found < 0, -1, numbers[found])
    similarity[numbers] = measured
    return before


def _compare(
    batch: SetBatch,
    here: I64,
    before: _Keepers,
    members: Members,
    min_jaccard: float,
    frequency: Counts32,
    asked: I64,
    keeper: I64,
    similarity: F64,
) -> None:
    _compare_sets(
        (batch.values, batch.offsets, here),
        (members.lengths, members.released),
        before.index,
        before.sets.arrays(),
        before.numbers,
        np.int64(before.last),
        np.int64(members.sketch_size),
        min_jaccard,
        frequency,
        asked,
        np.empty_like(asked),
        keeper,
        similarity,
    )


@njit(cache=True, nogil=True)
def _compare_sets(
    batch: Any,
    members: Any,
    index: Any,
    sets: Any,
    numbers: Any,
    last: Any,
    sketch_size: Any,
    min_jaccard: Any,
    frequency: Any,
    asked: Any,
    found: Any,
    keeper: Any,
    similarity: Any,
) -> None:
    """Compare the members `here` of a batch that come after the keepers `numbers`, in the same cluster, with them."""
    values, offsets, here = batch
    lengths, released = members
    for i in range(here.size):
        member = here[i]
        if member <= numbers[-1] or member >= last or keeper[member] >= 0 or released[member]:
            continue
        own = values[offsets[i] : offsets[i] + lengths[member]]
        other, value = first_keeper(index, own, sets, sketch_size, min_jaccard, frequency, member, asked, found)
        if other >= 0:
            keeper[member], similarity[member] = numbers[other], value


@njit(cache=True, nogil=True)
def _gather(
    values: Any, offsets: Any, here: Any, keeper: Any, lengths: Any, first: Any, into: Any, begins: Any, num: Any
) -> Any:
    """Append the sets of members `first` to `first + begins.size` without a verdict; return how many values there are."""
    for i in range(here.size):
        member = here[i]
        if member < first or member >= first + begins.size or keeper[member] >= 0:
            continue
        begins[member - first] = num
        into[num : num + lengths[member]] = values[offsets[i] : offsets[i] + lengths[member]]
        num += lengths[member]
    return num
