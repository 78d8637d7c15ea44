"""Signatures and candidates equal those of datasketch 2.0's default scheme, bit for bit, on the same shingle hashes."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.kernels.minhash import MinHashConfig, band_keys, permutations, signatures_of_hashes
from pipelines.kernels.shingles import shingle_hashes


def theirs(hashes, config: MinHashConfig) -> MinHash:
    sketch = MinHash(num_perm=config.num_perm, seed=config.seed, hashfunc=int)
    sketch.update_batch([int(h) for h in hashes])
    return sketch


@pytest.mark.parametrize("seed", [0, 1, 42, 2**32 - 1])
@pytest.mark.parametrize("num_perm", [1, 112, 128, 257])
def test_permutations(num_perm, seed):
    config = MinHashConfig(num_perm=num_perm, num_bands=1, rows_per_band=1, seed=seed)
    a, b = permutations(config)
    expected = MinHash(num_perm=num_perm, seed=seed)
    assert expected.scheme == config.scheme
    assert (a == expected.permutations[0]).all()
    assert (b == expected.permutations[1]).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=70), min_size=1, max_size=5),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
def test_signatures_of_any_sets(sets, num_perm, seed):
    config = MinHashConfig(num_perm=num_perm, num_bands=1, rows_per_band=1, seed=seed)
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in sets])]).astype(np.int64)
    ours = signatures_of_hashes(np.array([h for s in sets for h in s], np.uint32), offsets, config)
    for signature, hashes in zip(ours, sets, strict=True):
        assert signature.dtype == np.uint32
        assert (signature == theirs(hashes, config).hashvalues).all()


def test_lsh_finds_the_same_candidates():
    """120 families of texts at falling similarity: MinHashLSH with our signatures, with its own, and our keys agree."""
    config = MinHashConfig(num_perm=112, num_bands=14, rows_per_band=8)
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(120):
        words = rng.integers(0, 50_000, 150)
        for changed in (0, 2, 5, 9):
            edited = words.copy()
            edited[rng.choice(150, changed, replace=False)] = rng.integers(0, 50_000, changed)
            texts.append(" ".join(map(str, edited)))
    values, offsets = shingle_hashes(pa.array(texts, pa.large_string()), config.shingle_size)
    hashes = (values >> np.uint64(32)).astype(np.uint32)
    signatures = signatures_of_hashes(hashes, offsets, config)
    keys = band_keys(signatures, config)
    from_ours = MinHashLSH(num_perm=112, params=(14, 8))
    from_theirs = MinHashLSH(num_perm=112, params=(14, 8))
    sketches = [theirs(hashes[a:b], config) for a, b in pairwise(offsets)]
    handed = [MinHash(hashvalues=s, scheme=config.scheme, seed=config.seed) for s in signatures]
    for i in range(len(texts)):
        from_ours.insert(i, handed[i])
        from_theirs.insert(i, sketches[i])
    found = 0
    for i in range(len(texts)):
        shared = set(np.flatnonzero((keys == keys[i]).any(axis=1)).tolist())
        assert set(from_ours.query(handed[i])) == set(from_theirs.query(sketches[i])) == shared
        found += len(shared) > 1
    assert found > 200, "the corpus must give candidates for this to say anything"
