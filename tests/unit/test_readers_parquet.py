"""Parquet: types of columns, faults of single rows, hostile files, and mistakes of the user."""

from __future__ import annotations

import datetime
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import InputError
from pipelines.readers import ParquetReader
from pipelines.readers.columns import Column
from pipelines.records import Reader
from pipelines.schema import DOCUMENT
from tests.warc_files import read_all, shard_of


def file_of(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def read(tmp_path, table, options=None, **fields):
    return read_all(ParquetReader(**fields), shard_of(tmp_path / "a.parquet", file_of(table, **(options or {}))))


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.string_view(),
    ],
)
def test_every_type_that_holds_text_is_read(tmp_path, kind):
    texts = ["Grüße", "", "🦅" * 50, "Grüße"]
    column = pa.array(texts, pa.string()).cast(
        pa.binary() if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else kind
    )
    reader = ParquetReader()
    assert isinstance(reader, Reader)
    shard = shard_of(tmp_path / "a", file_of(pa.table({"text": column.cast(kind)})))
    batches = list(reader.read(shard))
    assert all(batch.schema.equals(DOCUMENT) for batch in batches)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [row["text"] for row in rows] == texts
    assert [row["id"] for row in rows] == [f"{shard.file.checksum[:16]}-{n}" for n in range(4)]
    assert [row["locator"] for row in rows] == [f"{shard.file.checksum}:{n}:1" for n in range(4)]


def test_columns_are_mapped_and_attributes_kept(tmp_path):
    when = datetime.datetime(2024, 2, 29, 12, 0, 0, 999_000)
    table = pa.table(
        {
            "body": ["a"], "n": pa.array([7], pa.int32()), "meta": [{"url": "http://x"}],
            "at": pa.array([when], pa.timestamp("ms")),
            "score": pa.array([0.5], pa.float32()), "tag": pa.array(["t"]).dictionary_encode(), "ok": [True],
        }
    )  # fmt: skip
    columns = (Column(name="score", type="float64"), Column(name="label", field="tag"), Column(name="ok", type="bool"),
               Column(name="absent", type="int64"))  # fmt: skip
    rows, quarantined, _ = read(
        tmp_path, table, text_field="body", id_field="n", url_field="meta.url", fetched_at_field="at", columns=columns
    )
    assert not quarantined
    assert rows[0].pop("locator").endswith(":0:1")
    assert rows == [
        {"id": "7", "source": "web", "text": "a", "url": "http://x", "fetched_at": when.replace(microsecond=0), "score": 0.5,
         "label": "t", "ok": True, "absent": None}
    ]  # fmt: skip


def test_bad_rows_are_quarantined_alone(tmp_path):
    text = pa.array([b"ok", None, b"\xff\xfe", b"x" * 500, b"last"], pa.binary())
    table = pa.table({"text": text, "id": ["a", "b", "c", "d", "e"], "n": [1.0, 2.0, 3.0, 4.0, 5.5]})
    rows, quarantined, _ = read(
        tmp_path, table, id_field="id", max_record_bytes=100, columns=(Column(name="n", type="int64"),)
    )
    assert [row["id"] for row in rows] == ["a"]
    found = [(one.reason, one.locator.split(":")[1]) for one in quarantined]
    assert found == [("null_text", "1"), ("invalid_utf8", "2"), ("record_too_large", "3"), ("bad_column", "4")]


def test_invalid_utf8_in_a_string_column_is_found(tmp_path):
    """Arrow does not look into strings that a file says it holds; whoever writes one can put anything there."""
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"good", b"\xff\xfe"], pa.binary()).buffers())
    rows, quarantined, _ = read(tmp_path, pa.table({"text": bad, "url": bad}))
    assert ([row["text"] for row in rows], [one.reason for one in quarantined]) == (["good"], ["invalid_utf8"])


def test_ids_that_are_null_or_empty_are_faults(tmp_path):
    table = pa.table({"text": ["a", "b", "c"], "id": ["x", None, ""]})
    rows, quarantined, _ = read(tmp_path, table, id_field="id")
    assert ([row["id"] for row in rows], [one.reason for one in quarantined]) == (["x"], ["missing_id"] * 2)


@pytest.mark.parametrize(
    ("table", "fields", "message"),
    [
        ({"body": ["x"], "n": [1]}, {}, r"no column 'text'.*'body', 'n'.*--text-field"),
        ({"text": ["x"]}, {"id_field": "key"}, "no column 'key'.*--id-field"),
        ({"text": [1]}, {}, "column 'text' is int64"),
        (
            {"text": ["x"], "n": ["y"]},
            {"columns": (Column(name="n", type="int64"),)},
            "column 'n' is string, not int64",
        ),
    ],
)
def test_columns_that_are_missing_or_mistyped_are_the_users_mistake(tmp_path, table, fields, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, pa.table(table), **fields)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_no_parquet_is_an_error_that_names_it(tmp_path, content):
    with pytest.raises(InputError, match=r"a\.parquet.*fetch it again"):
        read_all(ParquetReader(), shard_of(tmp_path / "a.parquet", content))


def test_a_damaged_row_group_costs_its_own_rows(tmp_path):
    texts = [f"{i} " * 200 for i in range(300)]
    content = bytearray(
        file_of(pa.table({"text": texts}), row_group_size=100, use_dictionary=False, write_page_checksum=True)
    )
    chunk = pq.ParquetFile(io.BytesIO(bytes(content))).metadata.row_group(1).column(0)
    end = chunk.data_page_offset + chunk.total_compressed_size
    for at in range(end - 150, end - 10):
        content[at] ^= 0xFF
    rows, quarantined, _ = read_all(ParquetReader(), shard_of(tmp_path / "a.parquet", bytes(content)))
    assert [row["text"] for row in rows] == texts[:100] + texts[200:]
    assert [one.reason for one in quarantined] == ["corrupt_row_group"] * 100
    assert {one.locator.split(":")[1] for one in quarantined} == {str(n) for n in range(100, 200)}


def test_a_dictionary_of_few_large_texts_is_read_in_bounded_batches(tmp_path):
    """500 bytes of file that stand for 4 GB of text if every batch were decoded whole."""
    indices = pa.array([0] * 1000 + [1], pa.int32())
    table = pa.table({"text": pa.DictionaryArray.from_arrays(indices, pa.array(["x" * (4 << 20), "end"]))})
    content = file_of(table, store_schema=False, compression="zstd")
    assert len(content) < 2000
    first = next(iter(ParquetReader().read(shard_of(tmp_path / "a", content))))
    assert first.column("text").nbytes < 10 << 20


def test_batches_are_bounded(tmp_path):
    table = pa.table({"text": ["x" * 50_000] * 400 + ["y" * (9 << 20), "z"] + ["w"] * 3000})
    batches = list(ParquetReader().read(shard_of(tmp_path / "a", file_of(table))))
    assert sum(batch.num_rows for batch in batches) == 3402
    assert max(batch.num_rows for batch in batches) <= 1024
    assert [batch.num_rows for batch in batches if batch.column("text").nbytes > (8 << 20) + 60_000] == [1]


def test_shards_are_cut_at_row_groups(tmp_path):
    table = pa.table({"text": [str(i) * 50 for i in range(1000)]})
    shard = shard_of(tmp_path / "a", file_of(table, row_group_size=100, use_dictionary=False))
    ranges = ParquetReader().cut(shard.file, shard.file.size // 4)
    assert len(ranges) >= 4
    assert [start for start, _ in ranges[1:]] == [stop for _, stop in ranges[:-1]]
    assert (ranges[0][0], ranges[-1][1]) == (0, 10)
    assert ParquetReader().cut(shard.file, shard.file.size) == ((None, None),)
