"""One group of clusters, read from the shuffle `shingles`: who its members are, and their sets if they are few enough.

Out of `load_group` come the columns that elect keepers and, of each set, its length and 128 bits of digest. The sets
themselves are held only where all of them together are at most `max_shingles`; else `scan_group` streams them, as often
as `blocks` asks. Memory beyond that: about 150 bytes a member, most of them names, and a batch of the scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa

from pipelines.errors import ConservationError, InputError
from pipelines.kernels.shingles import U64
from pipelines.makers.near.blocks import Members, Scan, SetBatch, elect_in_blocks
from pipelines.makers.near.keeper_index import Counts32, count_slots, slot_counts
from pipelines.makers.near.similarity import F64, I64
from pipelines.makers.near.verify import Flags, Sets, elect, follow_twins, set_digests, twins
from pipelines.makers.shuffle import bucket_batches, read_bucket

SCAN_ROWS: Final = 512
"""Sets in a batch of a scan: documents may be large, and a batch is held whole."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Sets of members in order of the scan. `sets` is None where they are too many to hold; `frequency` then counts slots."""

    lengths: I64
    digests: U64
    sets: tuple[U64, I64] | None
    frequency: Counts32
    scan: Scan


def scan_group(uris: tuple[str, ...], bucket: int, num_groups: int) -> Iterator[SetBatch]:
    """The sets of one group, in the order of the files and of their rows."""
    first = 0
    for table in bucket_batches(uris, bucket, num_buckets=num_groups, columns=["shingles"], max_rows=SCAN_ROWS):
        values, offsets = _sets(table)
        yield SetBatch(first, values, offsets)
        first += table.num_rows


def _sets(table: pa.Table) -> tuple[U64, I64]:
    lists = table.column("shingles").combine_chunks()
    offsets = lists.offsets.to_numpy()
    return lists.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0]


def load_group(uris: tuple[str, ...], bucket: int, *, num_groups: int, max_shingles: int) -> tuple[pa.Table, Group]:
    """Read bucket `bucket` of the shuffle once: its columns but for `shingles`, and its sets.

    Raises InputError where the type of a column differs between files beyond widening.
    """
    tables: list[pa.Table] = []
    lengths, digests, held = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.uint64)], [np.zeros(0, np.uint64)]
    num_values = 0
    frequency: Counts32 | None = None
    for table in bucket_batches(uris, bucket, num_buckets=num_groups, max_rows=SCAN_ROWS):
        values, offsets = _sets(table)
        columns = table.drop_columns(["shingles"])
        tables.append(columns if frequency is None else _copied(columns))
        lengths.append(np.diff(offsets))
        digests.append(np.empty((table.num_rows, 2), np.uint64))
        set_digests(values, offsets, digests[-1])
        num_values += values.size
        if frequency is None:
            held.append(values)
            if num_values > max_shingles:
                frequency = slot_counts(1 << 62)
                for part in held:
                    count_slots(frequency, part)
                held, tables = [], [_copied(part) for part in tables]
        else:
            count_slots(frequency, values)
    ends = np.cumsum(np.concatenate(lengths))
    members = _join(tables, uris) if tables else _no_members(uris, bucket, num_groups)
    return members, Group(
        lengths=np.concatenate(lengths),
        digests=np.concatenate(digests),
        sets=(np.concatenate(held), ends) if frequency is None else None,
        frequency=slot_counts(0) if frequency is None else frequency,
        scan=partial(scan_group, uris, bucket, num_groups),
    )


def _copied(table: pa.Table) -> pa.Table:
    """Without the message that it was read from: columns that do not compress point into it, and so does every set."""
    return table.take(pa.array(np.arange(table.num_rows)))


def _no_members(uris: tuple[str, ...], bucket: int, num_groups: int) -> pa.Table:
    return read_bucket(uris, bucket, num_buckets=num_groups).drop_columns(["shingles"])


def _join(tables: list[pa.Table], uris: tuple[str, ...]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(
            f"{uris[0]} and files beside it disagree in the type of a column ({error}); cast it upstream"
        ) from error


def verify_group(
    group: Group,
    order: I64,
    starts: I64,
    sizes: I64,
    released: Flags,
    min_jaccard: float,
    *,
    sketch_size: int | None,
    max_block_shingles: int,
) -> tuple[I64, F64, Flags]:
    """Keeper and similarity of each member, in `order` (best keeper first within a cluster), and whether it is an estimate.

    `sizes` and `released` are those of the members in that order, clusters begin at `starts`. Without `sketch_size` all of
    the sets must be whole. Raises ConservationError for a set that is neither whole nor a sketch of that many hashes.
    """
    lengths = group.lengths[order]
    whole = sizes if sketch_size is None else np.minimum(sizes, sketch_size)
    wanted = np.where(released, whole, sizes)
    wrong = np.where(released, lengths < wanted, lengths != sizes)
    if np.any(wrong):
        worst = int(np.argmax(wrong))
        raise ConservationError(
            f"a set of {sizes[worst]} shingles came with {lengths[worst]} where {wanted[worst]} are needed; the index of an "
            "earlier release has a smaller sketch than it says, or files of two builds are mixed: build them again"
        )
    twin = twins(group.digests[order], sizes, starts, released)
    active = np.flatnonzero(twin < 0)
    active_starts = np.searchsorted(active, starts).astype(np.int64)
    smallest = 1 << 62 if sketch_size is None else sketch_size
    rows = order[active]
    if group.sets is not None:
        values, ends = group.sets
        begins = ends[rows] - group.lengths[rows]
        sets = Sets(
            values=values,
            begins=begins,
            ends=begins + wanted[active],
            sizes=sizes[active],
            released=released[active],
            sketch_size=smallest,
        )
        found, measured = elect(sets, active_starts, min_jaccard)
    else:
        found, measured = elect_in_blocks(
            group.scan,
            Members(rows, wanted[active], sizes[active], released[active], smallest),
            active_starts,
            min_jaccard,
            num_rows=order.size,
            frequency=group.frequency,
            max_block_shingles=max_block_shingles,
        )
    keeper, similarity = np.full(order.size, -1, np.int64), np.full(order.size, np.nan)
    keeper[active] = np.where(found < 0, -1, active[found])
    similarity[active] = measured
    follow_twins(twin, keeper, similarity)
    estimated = (keeper >= 0) & (wanted[keeper] < sizes[keeper])
    return keeper, similarity, estimated
