"""How alike two documents are: two sets of shingle hashes in, Jaccard similarity and containment out.

Of two sets at hand the similarity is exact. Of a document of an earlier release only a *sketch* is: the k smallest
hashes of its set. Where the set has no more than k, the sketch is the set and the similarity exact. Else, of the k
smallest hashes of the union, which the k smallest of both contain, it is the share that lies in both (bottom-k: Broder
1997; Cohen and Kaplan, *Summarizing data using bottom-k sketches*, 2007). That is k shingles of the union drawn without
replacement: the estimate of a similarity s has no bias, and a standard error of `sqrt(s (1 - s) / k)` or a little less:
0.035 at s = 0.8 and k = 128. A similarity that the sizes of the sets exclude is refused whatever the estimate:
s needs `min(n, m) >= s * max(n, m)`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

ROUNDING: Final = 1e-9
"""`0.7 * 10` is a little above 7 in floating point: no bound may become a shingle too strict by that."""
_STRIDE: Final = 16
"""Steps of a merge between two looks at whether the threshold is still in reach."""

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


@njit(cache=True, nogil=True)
def num_common_of(left: Any, right: Any, needed: Any) -> Any:
    """Number of values in both of two ascending sets, or -1 as soon as it cannot become `needed`."""
    i = j = common = 0
    while i < left.size and j < right.size:
        if common + min(left.size - i, right.size - j) < needed:
            return -1
        for _ in range(_STRIDE):
            if i >= left.size or j >= right.size:
                break
            a, b = left[i], right[j]
            common += a == b
            i += a <= b
            j += b <= a
    return common


@njit(cache=True, nogil=True)
def num_common_of_smallest(left: Any, sketch: Any) -> Any:
    """How many of the `sketch.size` smallest values of the union lie in both; `left` is a whole ascending set."""
    i = j = common = 0
    for _ in range(sketch.size):
        if i >= left.size or sketch[j] < left[i]:
            j += 1
        elif left[i] < sketch[j]:
            i += 1
        else:
            common, i, j = common + 1, i + 1, j + 1
    return common


@njit(cache=True, nogil=True)
def similarity_with(left: Any, right: Any, right_size: Any, min_jaccard: Any) -> Any:
    """Similarity of the set `left` with the one of which `right` is all or a sketch, or -1: it cannot be `min_jaccard`.

    `right_size` is the size of the right set; where it is more than `right.size`, `right` is a sketch.
    """
    size = left.size + right_size
    if min(left.size, right_size) < min_jaccard * max(left.size, right_size) - ROUNDING:
        return -1.0
    if right.size < right_size:
        return num_common_of_smallest(left, right) / right.size if right.size > 0 else -1.0
    common = num_common_of(left, right, np.int64(np.ceil(min_jaccard / (1.0 + min_jaccard) * size - ROUNDING)))
    if common < 0:
        return -1.0
    return common / (size - common) if size > common else 0.0


def containment(similarity: F64, size: I64, keeper_size: I64, by_sketch: npt.NDArray[np.bool_]) -> F64:
    """Share of a set's shingles that its keeper has, from their similarity and both sizes: `|A & B| / |A|`.

    `|A & B| = s / (1 + s) * (|A| + |B|)`, a whole number where the similarity is exact; estimated where it is.

    >>> containment(np.array([0.5]), np.array([4]), np.array([8]), np.array([False])).tolist()
    [1.0]
    """
    common = similarity / (1.0 + similarity) * (size + keeper_size)
    common = np.minimum(np.where(by_sketch, common, np.rint(common)), np.minimum(size, keeper_size))
    found: F64 = common / np.maximum(size, 1)
    return found
