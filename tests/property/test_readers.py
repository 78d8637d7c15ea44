"""Any cut of a file gives the records of the whole file, each once; arbitrary bytes never end a reader."""

from __future__ import annotations

import gzip
import io
import json
import re
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.readers import JsonlReader, ParquetReader, WarcReader
from pipelines.readers.charset import decode
from pipelines.readers.listing import _translate
from pipelines.readers.warc_file import Bounds, read_records
from pipelines.readers.warc_records import Fault
from pipelines.records import FileShard
from tests.warc_files import member, read_all, response, shard_of

CODECS = ("gzip", "zstd", "lz4", "plain")
MAGIC = (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", b"\x28\xb5\x2f\xfd\x24\x00", b"\x04\x22\x4d\x18\x60\x40\x82", b"WARC/1.0\r\n",
         b"\r\n\r\nWARC/1.1\r\nWARC-Type: response\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n")  # fmt: skip
LONGEST = 3000
BOUNDS = Bounds(max_record_bytes=1 << 20, max_ratio=200, lookback_bytes=LONGEST)


@st.composite
def payloads(draw):
    """Pages, some with magic bytes, lines of a WARC, or a whole WARC of every codec inside, stored as they are."""
    inner = st.sampled_from(CODECS).flatmap(
        lambda codec: st.integers(1, 3).map(
            lambda n: b"".join(member(response(name=f"in{i}"), codec) for i in range(n))
        )
    )
    parts = draw(st.lists(st.binary(max_size=60) | st.sampled_from(MAGIC) | inner, max_size=4))
    return b"<html>" + b"".join(parts)[: LONGEST - 800]


@st.composite
def warc_files(draw):
    """Records of a codec; stored, not deflated, where it is gzip, so that the bytes of payloads stand in the file."""
    codec = draw(st.sampled_from(CODECS))
    pages = draw(st.lists(payloads(), min_size=1, max_size=8))
    level = draw(st.sampled_from([0, 6]))
    parts = [member(response(page, name=f"r{i}"), codec, level=level) for i, page in enumerate(pages)]
    if draw(st.booleans()):
        damaged = draw(st.integers(0, len(parts) - 1))
        kind = draw(st.sampled_from(["cut", "flip", "garbage"]))
        part = parts[damaged]
        # Without its first bytes a file does not say how it is compressed: that is another test's.
        at = draw(st.integers(1 if damaged else 8, len(part) - 1))
        if kind == "cut":
            parts[damaged] = part[:at]
        elif kind == "flip":
            parts[damaged] = part[:at] + bytes([part[at] ^ draw(st.integers(1, 255))]) + part[at + 1 :]
        else:
            parts[damaged] = part + draw(st.binary(min_size=1, max_size=50))
    else:
        damaged = None
    return codec, pages, b"".join(parts), damaged


def found_in(content, start, stop, bounds=BOUNDS):
    found = read_records(pa.BufferReader(content), len(content), start, stop, bounds)
    return [(one.place, one.found.reason if isinstance(one.found, Fault) else one.found.block) for one in found]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(warc_files(), st.lists(st.integers(0, 20_000), max_size=5))
def test_any_cut_of_a_warc_gives_its_records_once(made, cuts):
    codec, pages, content, damaged = made
    size = len(content)
    points = sorted({0, size, *(cut % (size + 1) for cut in cuts)})
    whole = found_in(content, 0, size)
    pieces = [one for start, stop in pairwise(points) for one in found_in(content, start, stop)]
    assert pieces == whole
    blocks = [block for _, block in whole if isinstance(block, bytes)]
    expected = [response(page, name=f"r{i}") for i, page in enumerate(pages)]
    expected = [one[one.index(b"\r\n\r\n") + 4 : -4] for one in expected]
    if damaged is None:
        assert blocks == expected
    else:
        # What lies before the damage is read, and what lies behind it is among what is read.
        assert blocks[:damaged] == expected[:damaged]
        rest = [block for block in blocks if block in expected[damaged + 1 :]]
        assert len(rest) >= len(expected) - damaged - 1, codec


@settings(max_examples=60, deadline=None)
@given(st.lists(payloads(), min_size=1, max_size=5), st.sampled_from(CODECS), st.integers(0, 4000))
def test_every_single_byte_is_a_place_to_cut(pages, codec, at):
    content = b"".join(member(response(page, name=f"r{i}"), codec, level=0) for i, page in enumerate(pages))
    at %= len(content) + 1
    assert found_in(content, 0, at) + found_in(content, at, len(content)) == found_in(content, 0, len(content))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MAGIC[:4]) | st.just(b""), st.binary(max_size=400))
def test_arbitrary_bytes_end_no_reader(tmp_path_factory, magic, noise):
    shard = shard_of(tmp_path_factory.mktemp("noise") / "a", magic + noise)
    rows, _, _ = read_all(WarcReader(), shard)
    assert all(row["content"] for row in rows)


LINES = st.one_of(
    st.builds(lambda text, url: json.dumps({"text": text, "url": url}).encode(), st.text(), st.text(max_size=5)),
    st.builds(lambda text: json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "surrogatepass"), st.text()),
    st.binary(max_size=40).map(lambda noise: noise.replace(b"\n", b"")),
    st.sampled_from([b"", b"  ", b"[1]", b'{"text": null}', b'{"text": 5}', b'{"no": "text"}', b'{"text": "a']),
    st.just(b'{"text": "\\ud800"}'),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, max_size=12), st.booleans(), st.lists(st.integers(0, 2000), max_size=4))
def test_any_cut_of_json_lines_gives_its_documents_once(tmp_path_factory, lines, ends, cuts):
    content = b'{"text": "first"}\n' + b"\n".join(lines) + (b"\n" if ends else b"")
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    shard = shard_of(path, content)
    whole = documents(JsonlReader(), shard)
    points = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    pieces = []
    for start, stop in pairwise(points):
        part = FileShard(name="p", file=shard.file, source="web", start=start, stop=stop)
        # A range may start with an object without text, which for a whole shard would be a user's mistake.
        pieces += documents(_Lenient(), part)
    assert sorted(pieces) == whole
    not_empty = sum(1 for line in content.split(b"\n") if line.strip())
    assert len(whole) == not_empty


class _Lenient(JsonlReader):
    def _check_fields(self, record, uri):
        return None


def documents(reader, shard):
    rows, quarantined, _ = read_all(reader, shard)
    found = [(row["locator"], row["id"], row["text"]) for row in rows]
    return sorted(found + [(one.locator, one.reason, "") for one in quarantined])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=10), st.integers(1, 40))
@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_compressed_lines_are_those_of_the_plain_file(tmp_path_factory, codec, texts, block):
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    parts = b"".join(member(content[i : i + block], codec) for i in range(0, len(content), block))
    folder = tmp_path_factory.mktemp("lines")
    plain, _, _ = read_all(JsonlReader(), shard_of(folder / "a", content))
    packed, _, _ = read_all(JsonlReader(), shard_of(folder / "b", parts))
    assert [row["text"] for row in packed] == [row["text"] for row in plain] == texts
    places = [[row["id"].split("-")[1] for row in rows] for rows in (plain, packed)]
    assert places[0] == places[1]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.text(max_size=50), min_size=1, max_size=40), st.integers(1, 9), st.data())
def test_any_cut_of_parquet_gives_its_rows_once(tmp_path_factory, texts, group, data):
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), sink, row_group_size=group)
    shard = shard_of(tmp_path_factory.mktemp("rows") / "a.parquet", sink.getvalue())
    whole = documents(ParquetReader(), shard)
    ranges = ParquetReader().cut(shard.file, data.draw(st.integers(1, 2000)))
    pieces = []
    for start, stop in ranges:
        pieces += documents(ParquetReader(), FileShard(name="p", file=shard.file, source="web", start=start, stop=stop))
    assert sorted(pieces) == whole
    assert [row[2] for row in whole if row[2] or row[1] != "null_text"].count("") <= len(texts)
    assert sum(1 for row in whole if row[1] == "null_text") == texts.count(None)
    assert len(whole) == len(texts)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.none() | st.text(max_size=12), st.sampled_from([None, "text/html", "text/plain"]))
def test_decoding_never_fails_and_gives_clean_text(content, hint, media_type):
    decoded = decode(content, hint, media_type)
    decoded.text.encode()
    assert "\0" not in decoded.text
    assert decoded.num_replaced >= 0


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff\x1b"), max_size=200),
       st.none() | st.sampled_from(["latin1", "shift_jis", "koi8-r"]))  # fmt: skip
def test_utf8_is_utf8_whatever_the_header_says(text, hint):
    assert decode(text.encode(), hint, "text/html").text == text


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab/.*?[]!-\\^", max_size=12), st.text(alphabet="ab/.-", max_size=8))
def test_globs_compile_and_a_name_matches_itself(pattern, name):
    re.compile(_translate(pattern)).fullmatch(name)
    assert re.fullmatch(_translate(name), name)


def test_the_compressed_builders_are_what_they_say():
    assert gzip.decompress(member(b"x")) == b"x"
    assert zstandard.decompress(member(b"x", "zstd"), 10) == b"x"
