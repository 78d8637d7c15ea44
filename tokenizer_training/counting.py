"""Counting pre-tokens: (pre-token, count) of any number of texts, in 64 bits, without a Python object per pre-token.

Texts come as Arrow's own UTF-8 buffers. Pre-tokens of one byte are counted in an array (they hold no pair to merge),
those of up to seven bytes under a 64-bit key that is their bytes and length, longer ones in an arena with an
open-addressing index. `to_batch` gives the counts sorted by bytes: the same batch whatever the order of the texts.

>>> from tokenizer_training.split_patterns import split_pattern
>>> counter = PretokenCounter(split_pattern("both"))
>>> counter.add(pa.array(["a b a", " b b"], pa.large_string()))
>>> counter.to_batch().to_pylist()
[{'pretoken': b' a', 'count': 1}, {'pretoken': b' b', 'count': 3}, {'pretoken': b'a', 'count': 1}]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from pipelines.errors import InputError
from tokenizer_training.split_patterns import Array, Int, SplitPattern, next_cut, split_classes

COUNTS_SCHEMA = pa.schema([pa.field("pretoken", pa.large_binary(), False), pa.field("count", pa.int64(), False)])
# Odd constants of xxHash's and splitmix's kind: any well-mixed ones serve, the results do not depend on them.
_PRIME, _SEED = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_ONE, _EIGHT, _S29, _S31, _S32 = (np.uint64(n) for n in (1, 8, 29, 31, 32))
_LOW8, _LOW32 = np.uint64(0xFF), np.uint64(0xFFFFFFFF)
MAX_PRETOKEN_BYTES = 1024
"""3 MB of random letters took 142 s to 1,744 merges as one pre-token and 16 s in pieces of this size. Of 90 MB of
installed Python code one distinct pre-token is longer."""
COUNTER_BYTES = 128 << 20
"""Tables of one counting task: some 2.9 million distinct pre-tokens. Handing them on takes half as much again."""
MAX_COUNT = 2**63 - 1
_LOW32_INT = 0xFFFFFFFF
SHORT = 8
"""Pre-tokens below this many bytes are their own key."""


class PretokenCounter:
    """Counts the pre-tokens that `pattern` cuts. Grows as needed; about 46 bytes a distinct pre-token.

    A pre-token of more than `max_bytes` is counted in pieces of at most that many, cut between characters; `num_cuts`
    says how often. Without that, one run of letters as long as a file would be scanned anew for every merge.

    With `spill`, tables that would grow beyond `memory_bytes` are handed to it as a batch (COUNTS_SCHEMA, not sorted)
    and begun anew, in the middle of a text if need be; `to_batch` then has what came after.
    """

    def __init__(
        self,
        pattern: SplitPattern,
        *,
        max_bytes: int = MAX_PRETOKEN_BYTES,
        memory_bytes: int = COUNTER_BYTES,
        spill: Callable[[pa.RecordBatch], None] | None = None,
    ) -> None:
        self._classes, self._flags, self._max_bytes = split_classes(), pattern.flags, max_bytes
        self._memory_bytes, self._spill = memory_bytes, spill
        self.num_cuts = 0
        self._most = 0
        self._clear()

    def _clear(self) -> None:
        self._single = np.zeros(256, np.int64)
        self._short = np.zeros((1 << 12, 2), np.uint64)
        self._slots = np.zeros(1 << 12, np.uint64)
        self._arena, self._offsets = np.empty(1 << 16, np.uint8), np.zeros(4097, np.int64)
        self._counts = np.empty(4096, np.int64)
        self._num_short = self._num_long = 0

    @property
    def nbytes(self) -> int:
        """Memory of its tables."""
        tables = (self._single, self._short, self._slots, self._arena, self._offsets, self._counts)
        return sum(table.nbytes for table in tables)

    def add(self, texts: pa.Array, *, weight: int = 1) -> None:
        """Count the pre-tokens of every text, each `weight` >= 1 times: a large_string array without nulls.

        Raises InputError where a text is not UTF-8, which Arrow does not see to, or counts could pass 64 bits.
        """
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid as error:
            raise InputError(f"a text is not UTF-8 ({error}); read its source again or drop the document") from error
        content, offsets = buffers_of(texts)
        self._expect(weight * int(offsets[-1] - offsets[0]))
        self._feed(content, offsets, np.array([weight], np.int64), False)

    def add_counts(self, batch: pa.RecordBatch) -> None:
        """Add what another counter's `to_batch` gave: this is how shards are merged.

        Raises InputError for a null, a count below 1, or counts that could pass 64 bits.
        """
        content, offsets, counts = counts_of(batch)
        self._expect(exact_sum(counts))
        self._feed(content, offsets, counts, True)

    def to_batch(self, *, ordered: bool = True) -> pa.RecordBatch:
        """COUNTS_SCHEMA, one row a distinct pre-token, sorted by bytes if `ordered`."""
        content, offsets, counts = _unpack(
            self._single, self._short, self._num_short, self._arena, self._offsets, self._counts, self._num_long
        )
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
        pretokens = pa.Array.from_buffers(pa.large_binary(), counts.size, buffers)
        batch = pa.RecordBatch.from_arrays([pretokens, pa.array(counts)], schema=COUNTS_SCHEMA)
        return batch.take(pc.sort_indices(batch, sort_keys=[("pretoken", "ascending")])) if ordered else batch

    def _expect(self, at_most: int) -> None:
        """No count can be more than all that were added: while those fit, every count does."""
        self._most += at_most
        if self._most > MAX_COUNT:
            raise InputError(f"up to {self._most} pre-tokens, more than 64 bits count ({MAX_COUNT}); lower the weights")

    def flush(self) -> None:
        """Hand what is counted to `spill`, and begin anew."""
        if self._spill is not None:
            batch = self.to_batch(ordered=False)
            self._clear()
            self._spill(batch)

    def _feed(self, content: Array, offsets: Array, weights: Array, whole: bool) -> None:
        document, at, end = 0, int(offsets[0]), offsets.size - 1
        while document < end:
            document, at, self._num_short, self._num_long, self.num_cuts = _count(
                content, offsets, weights, whole, self._max_bytes, self.num_cuts, self._classes, self._flags,
                self._single, self._short, self._num_short, self._slots, self._arena, self._offsets, self._counts,
                self._num_long, document, at,
            )  # fmt: skip
            if document < end:
                size = int(offsets[document + 1]) - at
                self._make_room(size if whole else min(size, self._max_bytes))

    def _make_room(self, num_bytes: int) -> None:
        """Grow whatever is full, or spill all; `num_bytes` is the most that the next pre-token can need."""
        n = self._num_long
        wider = self._num_short * 10 > self._short.shape[0] * 6
        slots = n * 10 > self._slots.size * 7
        longer = n + 1 >= self._counts.size
        needed = int(self._offsets[n]) + num_bytes
        arena = max(self._arena.size * 3 // 2, needed) if needed > self._arena.size else self._arena.size
        growth = wider * self._short.nbytes + slots * self._slots.nbytes + longer * self._counts.nbytes
        used = self._num_short + n > 0
        if self._spill is not None and used and self.nbytes + growth + arena - self._arena.size > self._memory_bytes:
            self.flush()
            return
        if wider:
            self._short = _rehash_short(self._short, 2 * self._short.shape[0])
        if slots:
            self._slots = _rehash_long(self._arena, self._offsets, n, 2 * self._slots.size)
        if longer:
            self._counts = _grown(self._counts, n, n * 3 // 2)
            self._offsets = _grown(self._offsets, n + 1, n * 3 // 2 + 1)
        if arena > self._arena.size:
            self._arena = _grown(self._arena, int(self._offsets[n]), arena)


def counts_of(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Bytes, offsets and counts of a batch of COUNTS_SCHEMA. InputError for a null or a count below 1."""
    pretokens, counts = batch.column("pretoken"), batch.column("count")
    if pretokens.null_count or counts.null_count:
        raise InputError("counts of pre-tokens hold a null; count again")
    values = counts.to_numpy(zero_copy_only=False)
    if values.size and int(values.min()) < 1:
        raise InputError(f"a pre-token has the count {int(values.min())}; counts are at least 1, count again")
    content, offsets = buffers_of(pretokens)
    return content, offsets, values


def exact_sum(values: npt.NDArray[np.int64]) -> int:
    """The sum of numbers >= 0 as a Python integer: exact however large (for fewer than 2**32 of them)."""
    return (int((values >> 32).sum()) << 32) + int((values & _LOW32_INT).sum())


def buffers_of(values: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Content and 64-bit offsets of a large_string or large_binary array, slices included."""
    _, offsets, content = values.buffers()
    if not len(values) or offsets is None:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    first = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    return np.frombuffer(content, np.uint8) if content is not None and content.size else np.zeros(0, np.uint8), first


def _grown(array: npt.NDArray[Any], used: int, size: int) -> npt.NDArray[Any]:
    larger = np.empty(size, array.dtype)
    larger[:used] = array[:used]
    return larger


@njit(cache=True, nogil=True)
def hash_bytes(content: Array, start: Int, stop: Int) -> Any:
    """64 bits of `content[start:stop]`."""
    h = _SEED
    for i in range(start, stop):
        h = (h ^ np.uint64(content[i])) * _PRIME
        h ^= h >> _S29
    h *= _SEED
    return h ^ (h >> _S31)


@njit(cache=True, nogil=True)
def _rehash_long(arena: Array, offsets: Array, n: Int, size: Int) -> Array:
    slots = np.zeros(size, np.uint64)
    mask = np.uint64(size - 1)
    for k in range(n):
        h = hash_bytes(arena, offsets[k], offsets[k + 1])
        p = h & mask
        while slots[p] != 0:
            p = (p + _ONE) & mask
        slots[p] = (h & ~_LOW32) | np.uint64(k + 1)
    return slots


@njit(cache=True, nogil=True)
def _rehash_short(short: Array, size: Int) -> Array:
    larger = np.zeros((size, 2), np.uint64)
    mask = np.uint64(size - 1)
    for k in range(short.shape[0]):
        if short[k, 0] != 0:
            h = short[k, 0] * _PRIME
            p = (h ^ (h >> _S32)) & mask
            while larger[p, 0] != 0:
                p = (p + _ONE) & mask
            larger[p] = short[k]
    return larger


@njit(cache=True, nogil=True)
def _same_bytes(arena: Array, start: Int, content: Array, i: Int, size: Int) -> Any:
    t = 0
    while t < size and arena[start + t] == content[i + t]:
        t += 1
    return t == size


@njit(cache=True, nogil=True)
def _count(
    content: Array, offsets: Array, weights: Array, whole: bool, max_bytes: Int, num_cuts: Int, classes: Array,
    flags: Int, single: Array, short: Array, num_short: Int, slots: Array, arena: Array, ends: Array, counts: Array, num_long: Int,
    document: Int, i: Int,
) -> tuple[Int, Int, Int, Int, Int]:  # fmt: skip
    """Count texts `content[offsets[d]:offsets[d + 1]]` from (document, i) on; `whole`: each is one pre-token that
    counts `weights[d]` times. Returns early, to be called again at the same place, where a table is full.
    """
    mask, short_mask = np.uint64(slots.size - 1), np.uint64(short.shape[0] - 1)
    num_documents = offsets.size - 1
    while document < num_documents:
        stop = offsets[document + 1]
        weight = weights[document] if whole else weights[0]
        while i < stop:
            j = limit = stop
            if not whole:
                if i + max_bytes < stop:
                    limit = i + max_bytes
                    while content[limit] & 0xC0 == 0x80:
                        limit -= 1
                j = next_cut(content, classes, i, limit, flags)
            size = j - i
            if size == 1:
                single[content[i]] += weight
            elif size < SHORT:
                key = np.uint64(size)
                for t in range(i, j):
                    key = (key << _EIGHT) | np.uint64(content[t])
                h = key * _PRIME
                p = (h ^ (h >> _S32)) & short_mask
                while short[p, 0] != key and short[p, 0] != 0:
                    p = (p + _ONE) & short_mask
                if short[p, 0] == 0:
                    if num_short * 10 > short.shape[0] * 6:
                        return document, i, num_short, num_long, num_cuts
                    short[p, 0] = key
                    num_short += 1
                short[p, 1] += np.uint64(weight)
            else:
                h = hash_bytes(content, i, j)
                tag = h & ~_LOW32
                p = h & mask
                while True:
                    slot = slots[p]
                    if slot == 0:
                        o = ends[num_long]
                        full = o + size > arena.size or num_long + 1 >= counts.size
                        if full or num_long * 10 > slots.size * 7:
                            return document, i, num_short, num_long, num_cuts
                        arena[o : o + size] = content[i:j]
                        counts[num_long] = weight
                        ends[num_long + 1] = o + size
                        num_long += 1
                        slots[p] = tag | np.uint64(num_long)
                        break
                    if (slot & ~_LOW32) == tag:
                        q = np.int64(slot & _LOW32) - 1
                        if ends[q + 1] - ends[q] == size and _same_bytes(arena, ends[q], content, i, size):
                            counts[q] += weight
                            break
                    p = (p + _ONE) & mask
            num_cuts += j == limit and limit < stop
            i = j
        document += 1
        if document < num_documents:
            i = offsets[document]
    return document, i, num_short, num_long, num_cuts


@njit(cache=True, nogil=True)
def _unpack(
    single: Array, short: Array, num_short: Int, arena: Array, offsets: Array, counts: Array, num_long: Int
) -> tuple[Array, Array, Array]:
    """All distinct pre-tokens as (content, offsets, counts): the long ones, the short ones, single bytes."""
    num_single, size = 0, offsets[num_long]
    for b in range(256):
        num_single += single[b] != 0
    size += num_single
    for k in range(short.shape[0]):
        x = short[k, 0]
        while x > _LOW8:
            size += 1
            x >>= _EIGHT
    n = num_long + num_short + num_single
    content, ends, totals = np.empty(size, np.uint8), np.zeros(n + 1, np.int64), np.empty(n, np.int64)
    content[: offsets[num_long]] = arena[: offsets[num_long]]
    ends[: num_long + 1] = offsets[: num_long + 1]
    totals[:num_long] = counts[:num_long]
    at = num_long
    for k in range(short.shape[0]):
        key = short[k, 0]
        if key != 0:
            width, x = 0, key
            while x > _LOW8:
                width += 1
                x >>= _EIGHT
            for t in range(width):
                content[ends[at] + width - 1 - t] = (key >> np.uint64(8 * t)) & _LOW8
            totals[at] = short[k, 1]
            ends[at + 1] = ends[at] + width
            at += 1
    for b in range(256):
        if single[b] != 0:
            content[ends[at]] = b
            totals[at] = single[b]
            ends[at + 1] = ends[at] + 1
            at += 1
    return content, ends, totals
