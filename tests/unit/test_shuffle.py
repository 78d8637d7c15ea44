"""Shuffle files: every row comes back in its bucket, in order, whole or in bounded tables, whatever the runs were."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.makers.outcome import Bucket
from pipelines.makers.shuffle import SUFFIX, ShuffleWriter, all_batches, bucket_batches, read_bucket
from pipelines.shards import ShardOutput, run_shard

SCHEMA = pa.schema(
    [pa.field("key", pa.int64()), pa.field("name", pa.string()), pa.field("set", pa.large_list(pa.uint64()))]
)
Rows = list[tuple[int, int]]


def write(
    folder: Path, name: str, rows: Rows, *, num_buckets: int, schema: pa.Schema = SCHEMA, batch: int = 4, run: int = 100
) -> str:
    """A shuffle of `rows` (bucket, key), whose other columns follow from the key; written `batch` rows at a time."""

    def work(bucket: Bucket, out: ShardOutput) -> dict[str, int]:
        with ShuffleWriter(out, "rows", schema, num_buckets=num_buckets, run_bytes=run) as shuffle:
            for start in range(0, len(rows), batch):
                part = rows[start : start + batch]
                values = [whole(key) for _, key in part]
                columns = [pa.array([v[f.name] for v in values]).cast(f.type) for f in SCHEMA]
                shuffle.write(pa.RecordBatch.from_arrays(columns, schema=SCHEMA), np.array([b for b, _ in part]))
        return {}

    return run_shard(Bucket(name=name, number=0), directory=str(folder), work=work).path("rows", SUFFIX)


def whole(key: int) -> dict[str, object]:
    return {"key": key, "name": f"n{key}" if key % 3 else None, "set": list(range(key % 5))}


@settings(max_examples=60)
@given(st.data())
def test_buckets_come_back(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shuffle")
    num_buckets = data.draw(st.integers(1, 9))
    one = st.lists(st.tuples(st.integers(0, num_buckets - 1), st.integers(0, 99)), max_size=40)
    files = data.draw(st.lists(one, min_size=1, max_size=3))
    run = data.draw(st.sampled_from([1, 200, 1 << 20]))
    uris = [write(folder, str(i), rows, num_buckets=num_buckets, run=run) for i, rows in enumerate(files)]
    max_rows = data.draw(st.integers(1, 7))
    for bucket in range(num_buckets):
        expected = [whole(key) for rows in files for b, key in rows if b == bucket]
        table = read_bucket(uris, bucket, num_buckets=num_buckets)
        assert table.schema.equals(SCHEMA)
        assert table.to_pylist() == expected
        parts = list(bucket_batches(uris, bucket, num_buckets=num_buckets, max_rows=max_rows))
        assert [r for part in parts for r in part.to_pylist()] == expected
        assert all(part.num_rows == max_rows for part in parts[:-1])
        assert all(0 < part.num_rows <= max_rows for part in parts)
    everything = [r for part in all_batches(uris, num_buckets=num_buckets, max_rows=max_rows) for r in part.to_pylist()]
    keys = [key for rows in files for _, key in rows]
    assert sorted(r["key"] for r in everything) == sorted(keys)
    assert all(r == whole(r["key"]) for r in everything)


def test_chosen_columns_in_the_order_asked(tmp_path):
    uri = write(tmp_path, "a", [(0, 7)], num_buckets=1)
    assert read_bucket([uri], 0, num_buckets=1, columns=["name", "key"]).to_pylist() == [{"name": "n7", "key": 7}]
    (part,) = bucket_batches([uri], 0, num_buckets=1, columns=["set"])
    assert part.to_pylist() == [{"set": [0, 1]}]


def test_an_empty_bucket_costs_eight_bytes(tmp_path):
    sizes = [Path(write(tmp_path, f"{n}", [(5, 1), (9, 2)], num_buckets=n)).stat().st_size for n in (10, 1010)]
    assert sizes[1] - sizes[0] == 8000


def test_many_columns_make_a_schema_longer_than_the_tail(tmp_path):
    schema = pa.schema([pa.field(f"a_column_with_a_name_{i}", pa.int64()) for i in range(200)])

    def work(bucket: Bucket, out: ShardOutput) -> dict[str, int]:
        with ShuffleWriter(out, "rows", schema, num_buckets=2) as shuffle:
            shuffle.write(pa.RecordBatch.from_arrays([pa.array([i]) for i in range(200)], schema=schema), np.array([1]))
        return {}

    uri = run_shard(Bucket(name="a", number=0), directory=str(tmp_path), work=work).path("rows", SUFFIX)
    assert read_bucket([uri], 0, num_buckets=2).schema.equals(schema)
    assert list(read_bucket([uri], 1, num_buckets=2).to_pylist()[0].values()) == list(range(200))


def test_numeric_columns_are_widened_and_others_refused(tmp_path):
    narrow = write(tmp_path, "a", [(0, 1)], num_buckets=1, schema=SCHEMA.set(0, pa.field("key", pa.int32())))
    wide = write(tmp_path, "b", [(0, 2)], num_buckets=1)
    words = write(tmp_path, "c", [(0, 3)], num_buckets=1, schema=SCHEMA.set(0, pa.field("key", pa.string())))
    assert read_bucket([narrow, wide], 0, num_buckets=1).column("key").to_pylist() == [1, 2]
    (part,) = bucket_batches([narrow, wide], 0, num_buckets=1)
    assert part.column("key").to_pylist() == [1, 2]
    with pytest.raises(InputError, match="disagree in the type"):
        read_bucket([wide, words], 0, num_buckets=1)
    with pytest.raises(InputError, match="disagree in the type"):
        list(bucket_batches([wide, words], 0, num_buckets=1))


def test_a_file_of_another_build_or_half_a_file_is_refused(tmp_path):
    uri = write(tmp_path, "a", [(0, 1), (1, 2)], num_buckets=2)
    with pytest.raises(InputError, match="has 2 buckets where 3 are read"):
        read_bucket([uri], 0, num_buckets=3)
    for length in (0, 10, Path(uri).stat().st_size - 1):
        half = tmp_path / "half.shuffle"
        half.write_bytes(Path(uri).read_bytes()[:length])
        with pytest.raises(InputError, match="not a whole shuffle file"):
            list(bucket_batches([str(half)], 0, num_buckets=2))


@pytest.mark.parametrize("bucket", [-1, 2])
def test_a_bucket_that_is_not_there_is_refused(tmp_path, bucket):
    with pytest.raises(ValueError, match="expected one each, 0 to 1"):
        write(tmp_path, "a", [(bucket, 1)], num_buckets=2)


def test_dictionary_columns_are_refused(tmp_path):
    schema = pa.schema([pa.field("key", pa.dictionary(pa.int32(), pa.string()))])
    with pytest.raises(ValueError, match="dictionary"):
        write(tmp_path, "a", [], num_buckets=1, schema=schema)
