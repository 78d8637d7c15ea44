"""MinHash signatures and LSH band keys of documents: Arrow text in, uint32 and uint64 matrices out, in one Numba pass.

MinHash (Broder 1997): for a random permutation, the chance that two sets have the same minimum is their Jaccard
similarity. Banding (Leskovec, Rajaraman, Ullman, *Mining of Massive Datasets*, ch. 3): a signature is cut into
`num_bands` bands of `rows_per_band` values, and two documents are candidates where one whole band agrees, which for
similarity s has probability `1 - (1 - s**r)**b`.

The scheme `affine32` is that of datasketch 2.0 (default of its `MinHash`), bit for bit: the 32-bit hash of a shingle
goes through MurmurHash3's finalizer once, then permutation k is `a[k] * x + b[k]` modulo 2**32, a bijection, as `a[k]`
is odd. It is 2-universal, not provably min-wise independent: what is claimed of recall is measured, in the tests. The
32-bit hash of a shingle is the high half of its 64-bit hash from `shingles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipelines.errors import ConfigError
from pipelines.kernels.hashing import mix
from pipelines.kernels.shingles import (
    BLOCK,
    NUM_STATE,
    U64,
    character_table,
    check_shingle_size,
    next_block,
    text_buffers,
)

U32 = npt.NDArray[np.uint32]
SCHEMES: Final = ("affine32",)
MAX_NUM_PERM: Final = 4096
EMPTY: Final = np.uint32(0xFFFFFFFF)
"""Every value of the signature of a document without a shingle."""
# The permutation loop takes this many shingles at a time; the last is repeated to fill up, which leaves minima alone.
_LANES: Final = 32
_BAND_SEED: Final = np.uint64(0x9E3779B97F4A7C15)
_S32: Final = np.uint64(32)


@dataclass(frozen=True, kw_only=True)
class MinHashConfig:
    """All that a signature depends on; signatures of different configs do not compare.

    `num_bands * rows_per_band` of the `num_perm` values are banded. The similarity at which half of the pairs become
    candidates is about `(1 / num_bands) ** (1 / rows_per_band)`: 0.72 for 14 bands of 8 rows (FineWeb's), where
    a pair of similarity 0.85 is found with probability 0.988. `seed` is datasketch's seed of the permutations.
    Raises ConfigError for what cannot be.
    """

    num_perm: int = 112
    num_bands: int = 14
    rows_per_band: int = 8
    shingle_size: int = 5
    scheme: str = "affine32"
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("num_perm", "num_bands", "rows_per_band", "shingle_size", "seed"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(
                    f"{name} = {getattr(self, name)!r}: a whole number; {getattr(MinHashConfig, name)} is usual"
                )
        check_shingle_size(self.shingle_size)
        if self.scheme not in SCHEMES:
            raise ConfigError(
                f"MinHash scheme {self.scheme!r} is unknown; expected one of {', '.join(map(repr, SCHEMES))}"
            )
        if not 1 <= self.num_perm <= MAX_NUM_PERM:
            raise ConfigError(f"num_perm = {self.num_perm}: choose 1 to {MAX_NUM_PERM} permutations; 112 is usual")
        if self.num_bands < 1 or self.rows_per_band < 1:
            raise ConfigError(
                f"num_bands = {self.num_bands}, rows_per_band = {self.rows_per_band}: both are at least 1"
            )
        if self.num_bands * self.rows_per_band > self.num_perm:
            raise ConfigError(
                f"num_bands * rows_per_band = {self.num_bands} * {self.rows_per_band} = "
                f"{self.num_bands * self.rows_per_band} is more than num_perm = {self.num_perm}; "
                "raise num_perm or use fewer bands"
            )
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"MinHash seed = {self.seed}: datasketch's generator takes 0 to 2**32 - 1")


def candidate_probability(jaccard: float, config: MinHashConfig) -> float:
    """Chance that two documents of that similarity share a band: `1 - (1 - s**r)**b`.

    >>> round(candidate_probability(0.85, MinHashConfig()), 3)
    0.988
    """
    return float(1.0 - (1.0 - jaccard**config.rows_per_band) ** config.num_bands)


@cache
def permutations(config: MinHashConfig) -> tuple[U32, U32]:
    """Multipliers (odd) and increments, uint32 [num_perm] each, as datasketch 2.0 draws them from `config.seed`. Read-only."""
    generator = np.random.RandomState(config.seed)  # the frozen legacy stream, which datasketch uses
    a = generator.randint(0, 1 << 31, config.num_perm, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    b = generator.randint(0, 1 << 32, config.num_perm, dtype=np.uint32)
    a.setflags(write=False)
    b.setflags(write=False)
    return a, b


@njit(cache=True, nogil=True, inline="always")
def _mix32(h: Any) -> Any:
    """MurmurHash3's 32-bit finalizer, which datasketch applies to every hash once."""
    h = np.uint32(h ^ (h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x85EBCA6B))
    h = np.uint32(h ^ (h >> np.uint32(13)))
    h = np.uint32(h * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@njit(cache=True, nogil=True)
def _permute(x: Any, num: Any, a: Any, b: Any, signature: Any) -> Any:
    """signature[k] = min(signature[k], a[k] * x[i] + b[k] over all i < num). Overwrites x beyond `num`.

    One permutation at a time over a block of shingles: a reduction without stores, which LLVM turns into vector
    multiply, add and unsigned minimum.
    """
    padded = (num + _LANES - 1) // _LANES * _LANES
    for i in range(num, padded):
        x[i] = x[num - 1]
    for k in range(signature.size):
        multiplier, increment, least = a[k], b[k], signature[k]
        for i in range(padded):
            value = np.uint32(multiplier * x[i] + increment)  # one cast: two would keep 64-bit lanes, 8 times slower
            least = value if value < least else least
        signature[k] = least


@njit(cache=True, nogil=True)
def _sign_texts(
    data: Any, offsets: Any, table: Any, size: Any, a: Any, b: Any, signatures: Any, num_shingles: Any
) -> Any:
    block = np.empty(BLOCK, np.uint64)
    x = np.empty(BLOCK, np.uint32)
    ring = np.empty(size, np.uint64)
    state = np.empty(NUM_STATE, np.uint64)
    for document in range(offsets.size - 1):
        ring[:] = 0
        state[:] = 0
        position, found = np.int64(offsets[document]), BLOCK
        while found == BLOCK:
            position, found = next_block(data, position, offsets[document + 1], table, ring, state, block)
            if found:
                for i in range(found):
                    x[i] = _mix32(np.uint32(block[i] >> _S32))
                _permute(x, found, a, b, signatures[document])
                num_shingles[document] += found


@njit(cache=True, nogil=True)
def _sign_hashes(hashes: Any, offsets: Any, a: Any, b: Any, signatures: Any) -> Any:
    x = np.empty(BLOCK, np.uint32)
    for document in range(offsets.size - 1):
        for start in range(offsets[document], offsets[document + 1], BLOCK):
            found = min(BLOCK, offsets[document + 1] - start)
            for i in range(found):
                x[i] = _mix32(hashes[start + i])
            _permute(x, found, a, b, signatures[document])


@njit(cache=True, nogil=True)
def _band_keys(signatures: Any, num_bands: Any, rows: Any, keys: Any) -> Any:
    for document in range(signatures.shape[0]):
        for band in range(num_bands):
            key = mix(_BAND_SEED + np.uint64(band))
            for row in range(rows):
                key = mix(key ^ np.uint64(signatures[document, band * rows + row])) + _BAND_SEED
            keys[document, band] = key


def signatures_of_texts(texts: pa.Array, config: MinHashConfig) -> tuple[U32, npt.NDArray[np.int64]]:
    """Signatures uint32 [num_rows, num_perm] and shingles, repeats included, int64 [num_rows], of a string array.

    Memory beyond the result does not depend on the texts. A text without a word has 0 shingles, its signature is EMPTY.
    """
    data, offsets = text_buffers(texts)
    a, b = permutations(config)
    signatures = np.full((len(texts), config.num_perm), EMPTY, np.uint32)
    num_shingles = np.zeros(len(texts), np.int64)
    _sign_texts(data, offsets, character_table(), config.shingle_size, a, b, signatures, num_shingles)
    return signatures, num_shingles


def signatures_of_hashes(hashes: U32, offsets: npt.NDArray[np.int64], config: MinHashConfig) -> U32:
    """Signatures uint32 [num_sets, num_perm] of sets of 32-bit hashes; set i is `hashes[offsets[i]:offsets[i + 1]]`."""
    a, b = permutations(config)
    signatures = np.full((offsets.size - 1, config.num_perm), EMPTY, np.uint32)
    _sign_hashes(hashes, offsets, a, b, signatures)
    return signatures


def band_keys(signatures: U32, config: MinHashConfig) -> U64:
    """One 64-bit hash a band, of its number and values: uint64 [num_rows, num_bands]. Equal keys mean candidates."""
    keys = np.empty((signatures.shape[0], config.num_bands), np.uint64)
    _band_keys(signatures, config.num_bands, config.rows_per_band, keys)
    return keys
