"""Spans cut out of texts: Arrow text and byte spans in, Arrow text out, in one Numba pass.

With `mask=None` a span goes with the white space around it, in whose place stays, of that before and that after, the one
with more line feeds (the one before where they have as many, if it is any); at either end of the text, none. Where no
white space stood on either side and two words would grow together, a space is put. With a mask the mask is put in the
span's place, and with `tidy=False` nothing is.

>>> texts = pa.array(["one\\n\\ntwo three four"], pa.large_string())
>>> cut_spans(texts, np.array([0]), np.array([[5, 14]])).to_pylist()
['one\\n\\nfour']
>>> cut_spans(texts, np.array([0]), np.array([[5, 14]]), mask="[...]").to_pylist()
['one\\n\\n[...] four']
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.kernels.shingles import ALONE, COMBINING, KIND_SHIFT, LETTER, text_buffers
from pipelines.kernels.windows import WHITE, character_at, token_table

I64 = npt.NDArray[np.int64]
_LF = 10


@njit(cache=True, nogil=True)
def _kind_before(data: Any, at: Any, low: Any, table: Any) -> Any:
    """`(kind, first byte)` of the character that ends before `at`."""
    first = at - 1
    while first > low and at - first < 4 and (data[first] & 0xC0) == 0x80:
        first -= 1
    entry, _ = character_at(data, first, at, table)
    return entry >> np.uint32(KIND_SHIFT), first


@njit(cache=True, nogil=True)
def _copy(data: Any, first: Any, last: Any, result: Any, to: Any) -> Any:
    for i in range(first, last):
        result[to + i - first] = data[i]
    return to + last - first


@njit(cache=True, nogil=True)
def _joint(data: Any, low: Any, before: Any, start: Any, stop: Any, after: Any, end: Any, table: Any) -> Any:
    """What comes between what stays, [low, before) and [after, end): bytes of `data`, or a space: `(first, last, space)`."""
    feeds = 0
    for i in range(before, start):
        feeds += data[i] == _LF
    for i in range(stop, after):
        feeds -= data[i] == _LF
    if before < start and (feeds >= 0 or stop == after):
        return before, start, False
    if stop < after:
        return stop, after, False
    left, _ = _kind_before(data, before, low, table)
    entry, _ = character_at(data, after, end, table)
    right = entry >> np.uint32(KIND_SHIFT)
    grows = left in (LETTER, COMBINING, ALONE) and right in (LETTER, COMBINING)
    return before, before, grows


@njit(cache=True, nogil=True)
def _cut(
    data: Any, offsets: Any, table: Any, documents: Any, spans: Any, mask: Any, tidy: Any, result: Any, ends: Any
) -> Any:
    to, at = 0, 0
    for document in range(offsets.size - 1):
        low, end = offsets[document], offsets[document + 1]
        position, begun = low, to
        while at < documents.size and documents[at] == document:
            start, stop = low + spans[at, 0], low + spans[at, 1]
            at += 1
            if not tidy:
                to = _copy(data, position, start, result, to)
                to = _copy(mask, 0, mask.size, result, to)
                position = stop
                continue
            before, after = start, stop
            while before > position:
                kind, first = _kind_before(data, before, position, table)
                if kind != WHITE:
                    break
                before = first
            while after < end:
                entry, step = character_at(data, after, end, table)
                if entry >> np.uint32(KIND_SHIFT) != WHITE:
                    break
                after += step
            to = _copy(data, position, before, result, to)
            position = after
            if to > begun and after < end:
                first, last, space = _joint(data, low, before, start, stop, after, end, table)
                to = _copy(data, first, last, result, to)
                if space:
                    result[to] = 0x20
                    to += 1
        to = _copy(data, position, end, result, to)
        ends[document] = to


def cut_spans(texts: pa.Array, documents: I64, spans: I64, *, mask: str | None = None, tidy: bool = True) -> pa.Array:
    """`texts` (large_string, no nulls) without the bytes `spans[i]` of document `documents[i]`, as large_string.

    `spans`, int64 [n, 2], are byte offsets in the document, on borders of characters, ascending and disjoint.
    """
    data, offsets = text_buffers(texts)
    filler = np.frombuffer((mask or "").encode(), np.uint8)
    size = int(offsets[-1] - offsets[0]) + documents.size * max(filler.size, 1)
    result, ends = np.empty(size, np.uint8), np.zeros(len(texts) + 1, np.int64)
    _cut(data, offsets, token_table("words"), documents, spans, filler, tidy and mask is None, result, ends[1:])
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(result[: ends[-1]]))
