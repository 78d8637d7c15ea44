"""Where personal data might be: one pass over UTF-8 bytes that finds candidates, so that regexes see a few windows only.

`large_string[n]` -> parallel arrays `row: int32[k]`, `kind: uint8[k]`, `start: int64[k]`, `stop: int64[k]`, in order of
row and start; `start` and `stop` are byte offsets inside the document. A candidate is one of

| kind | what | condition |
|---|---|---|
| AT | one byte `@` | always |
| COLONS | a run of hexadecimal digits, `:` and `.` of at most 64 bytes | `::` and two hexadecimal digits, or six colons or more |
| DIGITS | digits joined by at most four separators (space, no-break space, `-./()`, dashes) | five digits or more |
| QUAD | as DIGITS | and it holds four groups of digits joined by single dots |

The scan decides nothing: whatever it leaves out cannot be an e-mail address, an IP address or a phone number. It is
linear: every byte is read at most a fixed number of times (the run of a COLONS candidate is looked back to by 64 bytes).
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

AT, COLONS, DIGITS, QUAD = 1, 2, 3, 4
MAX_COLON_RUN = 64
MIN_DIGITS = 5
MAX_SEPARATORS = 4

_DIGIT, _AT_SIGN, _COLON = 1, 2, 3


class Candidates(NamedTuple):
    """Parallel arrays, one entry a candidate; offsets are in bytes from the start of the candidate's document."""

    row: npt.NDArray[np.int32]
    kind: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]


def utf8_buffers(text: pa.LargeStringArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Views of the offsets (`num_rows + 1`) and bytes of `text`; no copy. The offsets index the returned bytes."""
    _, offsets, data = text.buffers()
    if len(text) == 0 or offsets is None:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    every = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
    return every, np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)


def find_candidates(text: pa.LargeStringArray) -> Candidates:
    """Candidates of every document of `text`, a large_string array; a null is an empty document."""
    offsets, data = utf8_buffers(text)
    capacity = max(1024, len(data) // 256)
    while True:
        rows, kinds = np.empty(capacity, np.int32), np.empty(capacity, np.uint8)
        starts, stops = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        count = int(_scan(offsets, data, _classes(), rows, kinds, starts, stops))
        if count <= capacity:
            return Candidates(rows[:count], kinds[:count], starts[:count], stops[:count])
        capacity = count


def _classes() -> npt.NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    table[ord("0") : ord("9") + 1] = _DIGIT
    table[ord("@")] = _AT_SIGN
    table[ord(":")] = _COLON
    return table


@numba.njit(cache=True, nogil=True)
def _is_hex(byte: int) -> bool:
    return 48 <= byte <= 57 or 97 <= byte <= 102 or 65 <= byte <= 70


@numba.njit(cache=True, nogil=True)
def _separator_bytes(data: npt.NDArray[np.uint8], at: int, stop: int) -> int:
    """Length in bytes of the separator of phone groups at `at`, or 0."""
    byte = data[at]
    if byte == 32 or byte == 45 or byte == 46 or byte == 47 or byte == 40 or byte == 41:  # space - . / ( )
        return 1
    if byte == 0xC2:  # no-break space
        return 2 if at + 1 < stop and data[at + 1] == 0xA0 else 0
    if byte == 0xE2 and at + 2 < stop and data[at + 1] == 0x80:  # U+2000-200A spaces, U+2010-2015 dashes, U+202F
        last = data[at + 2]
        return 3 if 0x80 <= last <= 0x8A or 0x90 <= last <= 0x95 or last == 0xAF else 0
    return 0


@numba.njit(cache=True, nogil=True)
def _scan(
    offsets: npt.NDArray[np.int64],
    data: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int32],
    kinds: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
) -> int:
    """Number of candidates; those that have room are stored."""
    capacity = len(rows)
    count = 0
    for row in range(len(offsets) - 1):
        begin, stop = offsets[row], offsets[row + 1]
        at = begin
        colons_done = begin  # end of the last run of hexadecimal digits and colons that was looked at
        while at < stop:
            kind = classes[data[at]]
            if kind == 0:
                at += 1
                continue
            found = 0
            first, last = at, at + 1
            after = at + 1
            if kind == _AT_SIGN:
                found = AT
            elif kind == _COLON:
                if at >= colons_done:
                    while (
                        first > colons_done
                        and at - first < MAX_COLON_RUN
                        and (_is_hex(data[first - 1]) or data[first - 1] == 46)
                    ):
                        first -= 1
                    num_colons, num_hex, double = 0, at - first, False
                    last = at
                    while last < stop and (_is_hex(data[last]) or data[last] == 58 or data[last] == 46):
                        if data[last] == 58:
                            num_colons += 1
                            double = double or (data[last - 1] == 58 and last > at)
                        else:
                            num_hex += 1
                        last += 1
                    colons_done = last
                    if last - first <= MAX_COLON_RUN and (num_colons >= 6 or (double and num_hex >= 2)):
                        found = COLONS
            else:
                while first > begin and at - first < 3 and (data[first - 1] == 40 or data[first - 1] == 43):  # ( +
                    first -= 1
                num_digits, dots, separators = 0, 0, 0
                quad = False
                step = at
                while step < stop:
                    if classes[data[step]] == _DIGIT:
                        num_digits += 1
                        separators = 0
                        step += 1
                        last = step
                        continue
                    width = _separator_bytes(data, step, stop)
                    separators += 1
                    if width == 0 or separators > MAX_SEPARATORS:
                        break
                    dots = dots + 1 if data[step] == 46 and separators == 1 else 0
                    quad = quad or (dots >= 3 and step + 1 < stop and classes[data[step + 1]] == _DIGIT)
                    step += width
                after = last
                if num_digits >= MIN_DIGITS:
                    found = DIGITS
                if quad:
                    found = QUAD
            if found:
                if count < capacity:
                    rows[count], kinds[count] = row, found
                    starts[count], stops[count] = first - begin, last - begin
                count += 1
            at = after
    return count
