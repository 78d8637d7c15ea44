"""White space squeezed: Arrow text in, UTF-8 bytes with single spaces out, in one Numba pass.

Every run of white space (`unicode_classes.SPACE`: also no-break, ideographic and line separators) becomes one ASCII
space; at the start and end of a text it goes. All other bytes, case and punctuation included, stay as they are.

>>> data, offsets = squeeze_whitespace(pa.array([" a\\t\\n b\\u3000c ", "", "d"]))
>>> data[: offsets[1]].tobytes(), offsets.tolist()
(b'a b c', [0, 5, 5, 6])
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.kernels.shingles import text_buffers
from pipelines.kernels.unicode_classes import SPACE, class_table


@njit(cache=True, nogil=True)
def _squeeze(data: Any, offsets: Any, table: Any, result: Any, ends: Any) -> Any:
    to = 0
    for document in range(offsets.size - 1):
        i, end = offsets[document], offsets[document + 1]
        first = to
        after_space: Any = np.int64(1)  # what is at the start goes as well
        while i < end:
            byte = data[i]
            if byte < 0x80:
                # no branch: where a word ends is what no processor predicts
                is_space = np.int64((table[byte] & SPACE) != 0)
                result[to] = np.uint8(0x20) if is_space else byte
                to += 1 - (is_space & after_space)
                after_space = is_space
                i += 1
                continue
            step = 1
            is_wide = False
            if 0xC2 <= byte < 0xE0 and i + 1 < end:
                code = (np.int64(byte & 0x1F) << 6) | np.int64(data[i + 1] & 0x3F)
                is_wide, step = (table[code] & SPACE) != 0, 2
            elif 0xE0 <= byte < 0xF0 and i + 2 < end:  # no white space lies beyond three bytes
                code = (
                    (np.int64(byte & 0x0F) << 12) | (np.int64(data[i + 1] & 0x3F) << 6) | np.int64(data[i + 2] & 0x3F)
                )
                is_wide, step = (table[code] & SPACE) != 0, 3
            if is_wide:
                result[to] = 0x20
                to += 1 - after_space
                after_space = np.int64(1)
            else:
                for k in range(step):
                    result[to + k] = data[i + k]
                to += step
                after_space = np.int64(0)
            i += step
        if to > first:
            to -= after_space
        ends[document] = to


def squeeze_whitespace(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Squeezed texts as bytes uint8 and offsets int64 [num_rows + 1]; bytes after the last offset mean nothing."""
    data, offsets = text_buffers(texts)
    result = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    squeezed = np.zeros(len(texts) + 1, np.int64)
    _squeeze(data, offsets, class_table(), result, squeezed[1:])
    return result, squeezed
