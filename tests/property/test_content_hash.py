"""A content hash depends on the rows alone: not on batches, slices, dictionaries or what lies under a null."""

from __future__ import annotations

import itertools

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.content_hash import ContentHash

SCHEMA = pa.schema(
    [
        ("text", pa.large_string()), ("number", pa.int32()), ("share", pa.float64()), ("flag", pa.bool_()),
        ("names", pa.list_(pa.string())), ("at", pa.timestamp("s")), ("raw", pa.binary()),
        ("pair", pa.struct([("a", pa.int8()), ("b", pa.string())])), ("nothing", pa.null()),
    ]
)  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.one_of(st.none(), st.text(max_size=5)),
            "number": st.one_of(st.none(), st.integers(-5, 5)),
            "share": st.one_of(st.none(), st.floats(allow_nan=False)),
            "flag": st.one_of(st.none(), st.booleans()),
            "names": st.one_of(st.none(), st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=3)),
            "at": st.one_of(st.none(), st.integers(0, 10**9)),
            "raw": st.one_of(st.none(), st.binary(max_size=3)),
            "pair": st.fixed_dictionaries({"a": st.integers(-3, 3), "b": st.text(max_size=2)}),
            "nothing": st.none(),
        }
    ),
    max_size=12,
)


def digest(batches: list[pa.RecordBatch]) -> str:
    hasher = ContentHash(SCHEMA)
    for batch in batches:
        hasher.update(batch)
    return hasher.hexdigest()


@given(ROWS, st.lists(st.integers(0, 12), max_size=4))
def test_cutting_changes_nothing(rows, cuts):
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    pieces = [batch.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    assert digest([batch]) == digest(pieces)


@given(ROWS, ROWS)
def test_different_rows_differ(left, right):
    a, b = (pa.RecordBatch.from_pylist(rows, schema=SCHEMA) for rows in (left, right))
    assert (digest([a]) == digest([b])) == a.equals(b)


def test_neighbouring_values_do_not_run_together():
    schema = pa.schema([("t", pa.string())])
    hashes = set()
    for rows in (["ab", "c"], ["a", "bc"], ["abc", ""], ["abc", None], ["abc"]):
        hasher = ContentHash(schema)
        hasher.update(pa.RecordBatch.from_pydict({"t": rows}, schema=schema))
        hashes.add(hasher.hexdigest())
    assert len(hashes) == 5
