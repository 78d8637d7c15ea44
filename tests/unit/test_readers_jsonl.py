"""JSON lines: columns, compressions, faults of single lines, and mistakes of the user."""

from __future__ import annotations

import datetime
import json
import random

import pytest
import zstandard

from pipelines.errors import ConfigError, InputError
from pipelines.readers import JsonlReader
from pipelines.readers.columns import Column
from pipelines.records import Reader
from pipelines.schema import DOCUMENT
from tests.shared import shared_path
from tests.warc_files import member, read_all, shard_of


def read(tmp_path, content, **fields):
    return read_all(JsonlReader(**fields), shard_of(tmp_path / "a.jsonl", content))


def lines(*objects):
    return b"".join(json.dumps(one).encode() + b"\n" for one in objects)


@pytest.mark.parametrize("codec", ["plain", "gzip", "zstd", "lz4"])
def test_fields_become_columns(tmp_path, codec):
    content = lines({"body": "Grüße 🦅", "key": 7, "meta": {"url": "http://a"}, "when": "2024-02-29T12:00:00+01:00"})
    shard = shard_of(tmp_path / "a.jsonl", member(content, codec))
    reader = JsonlReader(text_field="body", id_field="key", url_field="meta.url", fetched_at_field="when")
    assert isinstance(reader, Reader)
    (batch,) = list(reader.read(shard))
    assert batch.schema.equals(DOCUMENT)
    place = "0" if codec == "plain" else "u0"
    assert batch.to_pylist() == [
        {"id": "7", "source": "web", "text": "Grüße 🦅", "url": "http://a",
         "fetched_at": datetime.datetime(2024, 2, 29, 11, 0, 0), "locator": f"{shard.file.checksum}:{place}:{len(content) - 1}"}
    ]  # fmt: skip


def test_ids_are_made_of_checksum_and_byte_offset(tmp_path):
    content = lines({"text": "é"}, {"text": "b"})
    shard = shard_of(tmp_path / "a", content)
    rows, _, _ = read_all(JsonlReader(), shard)
    assert [row["id"] for row in rows] == [f"{shard.file.checksum[:16]}-{n}" for n in (0, content.index(b"\n") + 1)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "a\xffb"}', "invalid_utf8"), (b'{"text": "a"', "bad_json"), (b"text", "bad_json"), (b"[1]", "not_an_object"),
        (b'"x"', "not_an_object"), (b'{"other": 1}', "missing_text"), (b'{"text": null}', "null_text"),
        (b'{"text": 5}', "text_not_a_string"), (b'{"text": ["a"]}', "text_not_a_string"),
        (b'{"text": "a", "x": ' + b"[" * 100 + b"]" * 100 + b"}", "json_too_deep"),
        (b"[" * 200_000, "json_too_deep"), (b'{"a":' * 100_000, "json_too_deep"),
        (b'{"text": "' + b"a" * 3000 + b'"}', "record_too_large"), (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", None),
        (b'{"text": "a", "n": "x"}', "bad_column"), (b'{"text": "a", "n": 1.5}', "bad_column"),
        (b'{"text": "a", "n": 1e999}', "bad_column"), (b'{"text": "a", "n": true}', "bad_column"),
    ],
)  # fmt: skip
def test_a_bad_line_is_quarantined_and_the_rest_is_read(tmp_path, line, reason):
    content = lines({"text": "first"}) + line + b"\n" + lines({"text": "last", "n": 3})
    cap = 2000 if reason in ("record_too_large",) else 1 << 20
    rows, quarantined, _ = read(tmp_path, content, max_line_bytes=cap, columns=(Column(name="n", type="int64"),))
    assert [(row["text"], row["n"]) for row in rows] == [("first", None), ("last", 3)]
    expected = reason or "bad_json"
    assert [one.reason for one in quarantined] == [expected]
    assert quarantined[0].locator.split(":")[1] == str(len(lines({"text": "first"})))


def test_values_of_attributes(tmp_path):
    columns = (
        Column(name="a", field="x.y"), Column(name="b", type="float64"), Column(name="c", type="bool"),
        Column(name="d", type="int64"),
    )  # fmt: skip
    content = (
        lines({"text": "1", "x": {"y": "z"}, "b": 2, "c": False, "d": 4.0}, {"text": "2"})
        + b'{"text": "3", "b": NaN}\n'
    )
    rows, quarantined, _ = read(tmp_path, content, columns=columns)
    assert [[row[name] for name in "abcd"] for row in rows] == [["z", 2.0, False, 4], [None] * 4, [None] * 4]
    assert not quarantined


def test_lone_surrogates_are_replaced_and_pairs_are_joined(tmp_path):
    rows, _, _ = read(tmp_path, b'{"text": "\\ud83e\\udd85 \\ud800x"}\n')
    assert rows[0]["text"] == "🦅 \ufffdx"


def test_blank_lines_crlf_a_mark_and_a_missing_last_newline(tmp_path):
    content = b"\xef\xbb\xbf" + lines({"text": "a"}).replace(b"\n", b"\r\n") + b"\n  \n" + lines({"text": "b"}).strip()
    rows, quarantined, _ = read(tmp_path, content)
    assert ([row["text"] for row in rows], quarantined) == (["a", "b"], [])
    assert read(tmp_path, b"") == ([], [], {})


def test_a_field_that_no_object_has_is_the_users_mistake(tmp_path):
    with pytest.raises(InputError, match=r"no field 'text'.*'body', 'id'.*--text-field"):
        read(tmp_path, b"not json\n" + lines({"body": "x", "id": 1}))
    with pytest.raises(InputError, match=r"no field 'key'.*--id-field"):
        read(tmp_path, lines({"text": "x"}), id_field="key")


@pytest.mark.parametrize("value", [None, "", 1.5, True, ["a"]])
def test_an_id_that_is_none_is_a_fault_of_its_line(tmp_path, value):
    rows, quarantined, _ = read(tmp_path, lines({"text": "a", "id": "x"}, {"text": "b", "id": value}), id_field="id")
    assert ([row["id"] for row in rows], [one.reason for one in quarantined]) == (["x"], ["missing_id"])


def many(number=4000):
    return [{"text": random.Random(i).randbytes(50).hex()} for i in range(number)]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_compressed_file_cut_short_keeps_its_whole_lines(tmp_path, codec):
    packed = member(lines(*many()), codec)
    rows, quarantined, _ = read(tmp_path, packed[: len(packed) * 3 // 4])
    assert [row["text"] for row in rows] == [one["text"] for one in many()[: len(rows)]]
    assert len(rows) > 2000
    assert "truncated_record" in [one.reason for one in quarantined]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_damage_in_one_member_costs_no_other(tmp_path, codec):
    parts = [member(lines(*many()[i : i + 500]), codec) for i in range(0, 4000, 500)]
    half = len(parts[3]) // 2
    parts[3] = parts[3][:half] + bytes([parts[3][half] ^ 255]) + parts[3][half + 1 :]
    rows, quarantined, _ = read(tmp_path, b"".join(parts))
    texts = [row["text"] for row in rows]
    assert texts[:1500] == [one["text"] for one in many()[:1500]]
    assert texts[-2000:] == [one["text"] for one in many()[-2000:]]
    assert quarantined
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_a_bomb_is_refused_within_bounds(tmp_path, codec):
    bomb = member(b'{"text": "' + bytes(1 << 26), codec)
    rows, quarantined, _ = read(
        tmp_path, member(lines({"text": "a"}), codec) + bomb + member(lines({"text": "b"}), codec)
    )
    assert rows[0]["text"] == "a"
    assert quarantined


def test_plain_files_are_cut_and_compressed_ones_are_not(tmp_path):
    content = lines(*many(100))
    plain, packed = shard_of(tmp_path / "a", content), shard_of(tmp_path / "b", zstandard.compress(content))
    ranges = JsonlReader().cut(plain.file, 1000)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(content)
    assert all(stop - start <= 1000 for start, stop in ranges)
    assert JsonlReader().cut(packed.file, 1000) == ((None, None),)


def test_batches_are_bounded(tmp_path):
    content = lines(*({"text": "x" * 100_000} for _ in range(300)), {"text": "y" * (9 << 20)}, {"text": "z"})
    batches = list(JsonlReader().read(shard_of(tmp_path / "a", content)))
    assert [batch.num_rows for batch in batches if batch.column("text").nbytes > (8 << 20) + 100_000] == [1]
    assert sum(batch.num_rows for batch in batches) == 302
    assert max(batch.num_rows for batch in JsonlReader().read(shard_of(tmp_path / "b", lines(*many())))) == 1024


def test_fields_that_cannot_be_are_refused_at_construction():
    with pytest.raises(ConfigError, match="text_field is empty"):
        JsonlReader(text_field="")
    with pytest.raises(ConfigError, match="core column"):
        Column(name="text")
    with pytest.raises(ConfigError, match="unknown type 'date'"):
        Column(name="x", type="date")
    with pytest.raises(ConfigError, match="named twice"):
        JsonlReader(columns=(Column(name="x"), Column(name="x", field="y")))


@pytest.mark.shared
def test_a_real_file_reads_as_zstd_and_json_read_it(tmp_path):
    path = shared_path("webtext/c4_sample.jsonl.zst")
    with zstandard.open(path, "rt", encoding="utf-8") as file:
        expected = [json.loads(line)["text"] for line in file]
    rows, quarantined, _ = read_all(JsonlReader(), shard_of(tmp_path / "a", path.read_bytes()))
    assert ([row["text"] for row in rows], quarantined) == (expected, [])
