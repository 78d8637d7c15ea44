"""Lines or paragraphs of texts, and what they are compared by: Arrow text in, names and byte spans out, in one Numba pass.

A *line* ends at a line feed. A *paragraph* is a longest run of lines that are not blank (of white space only). A unit's
span goes from its first byte to the first byte of the next unit: its line feeds, and the blank lines after a paragraph,
belong to it; what comes before the first unit belongs to none. Two units are equal, by `normalize`,

- `"ccnet"` (Wenzek et al. 2020, section 3.2): if they have the same letters, marks and numbers, case folded and every digit taken
  for 0, and white space between the same ones; punctuation, symbols and control characters are not compared;
- `"whitespace"`: if they have the same characters, runs of white space taken for one space, and none at the ends.

A unit in which nothing is compared (a blank line; with `"ccnet"` also a rule of dashes or a lone brace) is in no list,
nor is one of fewer than `min_characters` compared characters, white space aside. Names have 96 bits.

>>> found = find_units(pa.array(["A b\\n\\na, B!"]), unit="line", normalize="ccnet", min_characters=1)
>>> found.positions.tolist(), bool(found.high[0] == found.high[1])
([0, 2], True)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.kernels.case_folding import folding_table
from pipelines.kernels.hashing import mix
from pipelines.kernels.shingles import IGNORED_CODE_POINTS, KIND_SHIFT, U64, text_buffers
from pipelines.kernels.unicode_classes import DIGIT, SPACE, WORD, class_table
from pipelines.kernels.windows import U32, character_at

I64 = npt.NDArray[np.int64]
UNITS: Final = ("line", "paragraph")
NORMALIZE: Final = ("ccnet", "whitespace")

_SKIPPED, _SPACE, _COMPARED = range(3)
_VALUE: Final = np.uint32((1 << KIND_SHIFT) - 1)
_START: Final = np.uint64(0xCBF29CE484222325)
_FIRST: Final = np.uint64(0x9E3779B97F4A7C15)
_SECOND: Final = np.uint64(0xD6E8FEB86659FD93)
_AFTER_SPACE: Final = np.uint64(1 << 32)
_S29: Final = np.uint64(29)
_S31: Final = np.uint64(31)
_LF: Final = 10


@cache
def unit_table(normalize: str) -> npt.NDArray[np.uint32]:
    """What `normalize` compares of each code point: uint32 [0x110000], `kind << 24 | character`. Read-only."""
    flags = class_table()
    kinds = np.full(flags.size, _COMPARED, np.uint32)
    values = np.arange(flags.size, dtype=np.uint32)
    if normalize == "ccnet":
        kinds[(flags & WORD) == 0] = _SKIPPED
        kinds[list(IGNORED_CODE_POINTS)] = _SKIPPED
        values = np.where((flags & DIGIT) != 0, np.uint32(ord("0")), folding_table())
    kinds[(flags & SPACE) != 0] = _SPACE
    table: npt.NDArray[np.uint32] = values | (kinds << np.uint32(KIND_SHIFT))
    table.setflags(write=False)
    return table


@njit(cache=True, nogil=True)
def _grow(array: Any) -> Any:
    larger = np.empty((array.shape[0] * 2, array.shape[1]), array.dtype)
    larger[: array.shape[0]] = array
    return larger


@njit(cache=True, nogil=True)
def _read_line(data: Any, start: Any, end: Any, table: Any, characters: Any, name: Any) -> Any:
    """Goes on naming a unit with the line from `start`: `(characters compared so far, where the line ends)`."""
    white = characters > 0
    high, low = name[0], name[1]
    i = start
    while i < end:
        byte = data[i]
        step = 1
        if byte < 0x80:
            if byte == _LF:
                break
            entry = table[byte]
        else:
            entry, step = character_at(data, i, end, table)
        kind = entry >> np.uint32(KIND_SHIFT)
        i += step
        if kind == _SPACE:
            white = True
        elif kind == _COMPARED:
            value = np.uint64(entry & _VALUE)
            if white and characters:
                value |= _AFTER_SPACE
            white = False
            high = (high ^ value) * _FIRST
            high ^= high >> _S29
            low = (low ^ value) * _SECOND
            low ^= low >> _S31
            characters += 1
    name[0], name[1] = high, low
    return characters, i


@njit(cache=True, nogil=True)
def _is_blank(data: Any, start: Any, end: Any, table: Any) -> Any:
    """Whether the line from `start` has white space only, and if it has, where it ends."""
    i = start
    while i < end and data[i] != _LF:
        entry, step = character_at(data, i, end, table)
        if entry >> np.uint32(KIND_SHIFT) != _SPACE:
            return False, i
        i += step
    return True, i


@njit(cache=True, nogil=True)
def _find(data: Any, offsets: Any, table: Any, paragraphs: Any, min_characters: Any) -> Any:
    places = np.empty((1024, 4), np.int64)  # document, position, first byte, stop
    names = np.empty((1024, 2), np.uint64)
    num_units = np.zeros(offsets.size - 1, np.int64)
    name = np.empty(2, np.uint64)
    found = 0
    for document in range(offsets.size - 1):
        start, end = offsets[document], offsets[document + 1]
        i, position = start, 0
        while i < end:
            if paragraphs:
                blank, stop = _is_blank(data, i, end, table)
                if blank:
                    i = min(stop + 1, end)
                    continue
            first = i
            name[:] = _START
            characters, stop = _read_line(data, i, end, table, 0, name)
            i = min(stop + 1, end)
            while paragraphs and i < end and not _is_blank(data, i, end, table)[0]:
                characters, stop = _read_line(data, i, end, table, characters, name)
                i = min(stop + 1, end)
            while paragraphs and i < end:  # blank lines go with the paragraph before
                blank, stop = _is_blank(data, i, end, table)
                if not blank:
                    break
                i = min(stop + 1, end)
            if characters >= min_characters and characters > 0:
                if found == places.shape[0]:
                    places, names = _grow(places), _grow(names)
                places[found, 0], places[found, 1] = document, position
                places[found, 2], places[found, 3] = first - start, i - start
                names[found, 0], names[found, 1] = mix(name[0]), mix(name[1])
                found += 1
            num_units[document] += characters > 0
            position += 1
    return places[:found], names[:found], num_units


@dataclass(frozen=True)
class Units:
    """Units of a batch that are compared, in order: int64 documents, positions and spans (bytes in the document), names.

    `spans` is [n, 2]; `num_units`, int64 [num_rows], counts the units of each document in which anything is compared,
    short ones too.
    """

    documents: I64
    positions: I64
    spans: I64
    high: U64
    low: U32
    num_units: I64


def find_units(texts: pa.Array, *, unit: str, normalize: str, min_characters: int) -> Units:
    """The units of `texts`. Holds 48 bytes a unit of the batch."""
    data, offsets = text_buffers(texts)
    places, names, num_units = _find(data, offsets, unit_table(normalize), unit == "paragraph", min_characters)
    documents, positions = (np.ascontiguousarray(places[:, i]) for i in range(2))
    high, low = np.ascontiguousarray(names[:, 0]), (names[:, 1] >> np.uint64(32)).astype(np.uint32)
    return Units(documents, positions, np.ascontiguousarray(places[:, 2:]), high, low, num_units)
