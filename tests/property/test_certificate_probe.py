"""The probe finds every pair that brute force finds, and the second implementation of shingles agrees with the kernels."""

import unicodedata
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.kernels.minhash import MinHashConfig, band_keys, signatures_of_texts
from pipelines.kernels.shingles import KIND_SHIFT, character_table, jaccard, shingle_hashes, shingle_sets
from pipelines.makers.certificate import oracle
from pipelines.makers.certificate.index import group_queries, make_index
from pipelines.makers.certificate.probe import true_pairs
from pipelines.makers.certificate.sampling import SEPARATOR, allocate, cell_fields, merge_cells, smallest_of_groups
from pipelines.makers.certificate.texts import CHOSEN
from tests.dedup import shingle_set

CONFIG = MinHashConfig(num_perm=4, num_bands=2, rows_per_band=2, shingle_size=2)
# few different words, so that pairs of every similarity come up
TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]), max_size=14).map(" ".join)


def index_of(texts, lowest):
    array = pa.array(texts, pa.large_string())
    values, offsets = shingle_sets(array, CONFIG.shingle_size)
    keys = band_keys(signatures_of_texts(array, CONFIG)[0], CONFIG)
    rows = np.arange(len(texts))
    table = pa.table(
        [
            pa.array(rows),
            pa.array(np.zeros(len(texts), np.int64)),
            pa.array(rows),
            pa.array(np.ones(len(texts), np.bool_)),
            pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values)),
            pa.array(list(keys), pa.list_(pa.uint64())),
        ],
        schema=CHOSEN,
    )
    return make_index(table.filter(pa.array(np.diff(offsets) > 0)), CONFIG.num_bands, lowest)


@given(st.lists(TEXTS, max_size=8), st.lists(TEXTS, max_size=12), st.sampled_from([0.1, 0.4, 0.5, 0.55, 1.0]))
def test_no_pair_is_lost_and_none_invented(queries, documents, lowest):
    index = index_of(queries, lowest)
    found = true_pairs(pa.array(documents, pa.large_string()), index, CONFIG.shingle_size, lowest)
    made = {(d, int(index.rows[q])): s for d, q, s in zip(*(x.tolist() for x in found), strict=True)}
    expected = {}
    for (d, document), (q, query) in product(enumerate(documents), enumerate(queries)):
        a, b = oracle.shingle_set(document, 2), oracle.shingle_set(query, 2)
        if a and b and len(a & b) / len(a | b) >= lowest:
            expected[d, q] = len(a & b) / len(a | b)
    assert made == expected


@given(st.text(max_size=60), st.text(max_size=60), st.integers(1, 6))
def test_the_second_implementation_is_the_rule(left, right, size):
    if not (oracle.has_unknown(left) or oracle.has_unknown(right)):
        assert oracle.shingle_set(left, size) == shingle_set(left, size)
        values, offsets = shingle_sets(pa.array([left, right], pa.large_string()), size)
        expected = jaccard(values[: offsets[1]], values[offsets[1] :])
        assert oracle.similarity(left, right, size) == expected
        assert len(oracle.words(left)) == shingle_hashes(pa.array([left]), 1)[1][-1]


def test_every_character_that_this_python_knows_is_seen_alike():
    table = character_table()
    kinds = {"L": 1, "M": 2, "A": 3, " ": 0, "": 4}
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000 or unicodedata.category(chr(code)) == "Cn":
            continue
        kind = kinds[oracle.kind_of(chr(code))]
        assert kind == table[code] >> KIND_SHIFT, hex(code)
        if kind in (1, 2, 3):
            assert ord(oracle.fold(chr(code))) == table[code] & 0xFFFFFF, hex(code)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 3)), unique=True),
    st.lists(st.integers(0, 5), min_size=4, max_size=4),
)
def test_smallest_of_groups_is_sorting(rows, limits):
    columns = [np.array([r[i] for r in rows], np.int64) for i in range(3)]
    chosen = smallest_of_groups(columns[0], columns[1].astype(np.uint64), columns[2], np.array(limits))
    expected = [r for g in range(4) for r in sorted(r for r in rows if r[0] == g)[: limits[g]]]
    assert [rows[i] for i in chosen] == expected


CELLS = st.dictionaries(
    st.tuples(*[st.sampled_from("abcdefgh")] * 3).map(SEPARATOR.join), st.integers(1, 10_000), min_size=1
)


@given(CELLS, st.integers(1, 3000))
def test_a_sample_sees_every_cell_and_is_large_enough(population, number):
    allocation = allocate(population, number)
    total = sum(population.values())
    assert sum(allocation.documents.values()) == total
    assert sum(allocation.sampled.values()) >= min(number, total)
    assert sum(allocation.sampled.values()) <= 2 * number + 16
    for cell, size in allocation.documents.items():
        assert min(4, size) <= allocation.sampled[cell] <= size
    for cell, merged in allocation.merged.items():
        fields = cell_fields(merged)
        assert all(fields[name] in ("*", value) for name, value in cell_fields(cell).items())


@given(CELLS, st.integers(2, 40))
def test_cells_are_merged_until_few_enough(population, max_cells):
    merged = merge_cells(population, max_cells)
    assert len(set(merged.values())) <= max_cells
    if len(population) <= max_cells:
        assert all(cell == to for cell, to in merged.items())


@pytest.mark.parametrize("limit", [1, 10, 10**6])
def test_groups_cover_every_query_once(limit):
    sizes = {0: 3, 2: 9, 3: 40, 7: 1}
    groups = group_queries(sizes, limit)
    assert [g.last for g in groups[:-1]] == [g.first for g in groups[1:]]
    assert (groups[0].first, groups[-1].last) == (0, 8)
    assert group_queries({}, limit)[0].last == 0
