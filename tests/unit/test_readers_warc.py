"""WARC files, sound and hostile: what is read, what is quarantined and why, and that nothing hides what lies behind it."""

from __future__ import annotations

import datetime
import gzip
import io
import random
import zlib

import brotli
import pyarrow as pa
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator

from pipelines.errors import ConfigError
from pipelines.readers import WarcReader
from pipelines.readers import warc_file as warc_file_module
from pipelines.readers.warc_records import Record
from pipelines.records import Reader
from pipelines.schema import RAW
from tests.shared import shared_path
from tests.warc_files import PAGE, member, read_all, record, response, shard_of

CODECS = ("gzip", "zstd", "lz4", "plain")


def names(rows):
    return [row["id"] for row in rows]


def reasons(quarantined):
    return [found.reason for found in quarantined]


def read(tmp_path, content, **fields):
    return read_all(WarcReader(**fields), shard_of(tmp_path / "a.warc", content))


@pytest.mark.parametrize("codec", CODECS)
def test_a_record_becomes_a_row_with_every_column(tmp_path, codec):
    content = member(record(b"software: x", kind="warcinfo"), codec) + member(
        response(name="r-é".encode().decode()), codec
    )
    shard = shard_of(tmp_path / "a.warc", content)
    rows, quarantined, skipped = read_all(WarcReader(), shard)
    assert not quarantined
    assert skipped == {"warcinfo": 1}
    (row,) = rows
    offset = len(member(record(b"software: x", kind="warcinfo"), codec))
    locator = row.pop("locator").split(":")
    assert locator[:2] == [shard.file.checksum, str(offset)]
    # A plain record's length leaves out the two newlines that end it; a compressed one's is that of its member.
    assert int(locator[2]) == len(content) - offset - (4 if codec == "plain" else 0)
    assert row == {
        "id": "r-é", "source": "web", "content": PAGE, "media_type": "text/html", "charset": "utf-8",
        "url": "http://example.org/", "fetched_at": datetime.datetime(2024, 2, 29, 12, 0, 0),
    }  # fmt: skip


def test_it_is_a_reader_and_its_batches_have_the_raw_schema(tmp_path):
    reader = WarcReader()
    assert isinstance(reader, Reader)
    (batch,) = list(reader.read(shard_of(tmp_path / "a.warc", response())))
    assert batch.schema.equals(RAW)


def test_the_id_falls_back_to_checksum_and_place(tmp_path):
    nameless = response().replace(b"WARC-Record-ID: <urn:uuid:r1>\r\n", b"")
    shard = shard_of(tmp_path / "a.warc", member(nameless) + member(nameless + nameless))
    rows, _, _ = read_all(WarcReader(), shard)
    short, second = shard.file.checksum[:16], len(member(nameless))
    assert names(rows) == [f"{short}-0", f"{short}-{second}", f"{short}-{second}+{len(nameless)}"]
    rows, _, _ = read_all(WarcReader(id_field=""), shard_of(tmp_path / "b.warc", response()))
    assert rows[0]["id"].endswith("-0")


def test_what_is_no_page_by_its_kind_is_counted_not_quarantined(tmp_path):
    content = b"".join(
        [
            record(b"GET / HTTP/1.1\r\n\r\n", kind="request"), record(b"a: b", kind="metadata"),
            record(b"", kind="revisit"), record(b"x", kind="fancy"), response(status="404 Not Found"),
            response(status="301 Moved"), response(content_type="image/png"), response(content_type="application/pdf"),
            response(content_type="strange/thing"), response(b""), response(b" \r\n "),
            response(b"\x01\x02", content_type=None), record(b"1.2.3.4", kind="resource", content_type="text/dns"),
        ]
    )  # fmt: skip
    rows, quarantined, skipped = read(tmp_path, content)
    assert (rows, quarantined) == ([], [])
    assert skipped == {
        "request": 1, "metadata": 1, "revisit": 1, "unknown_record_type": 1, "http_status_404": 1, "http_status_301": 1,
        "media_type_image": 1, "media_type_application": 1, "media_type_other": 1, "empty_payload": 2,
        "media_type_unknown": 1, "media_type_text": 1,
    }  # fmt: skip


def test_media_types_can_be_chosen_and_are_judged_by_content_where_the_server_says_nothing(tmp_path):
    identified = response(name="a", content_type="text/weird", extra=[("WARC-Identified-Payload-Type", "text/html")])
    untold = response(b"\n<!-- x --><!DOCTYPE HTML><p>hi", name="b", content_type="application/octet-stream")
    content = identified + untold + response(b"{}", name="c", content_type="application/json")
    rows, _, _ = read(tmp_path, content)
    assert [(row["id"], row["media_type"]) for row in rows] == [("a", "text/weird"), ("b", "application/octet-stream")]
    rows, _, _ = read(tmp_path, content, media_types=("application/json",))
    assert names(rows) == ["c"]


def test_wet_and_resource_records_carry_their_block(tmp_path):
    content = record("Grüße".encode(), kind="conversion", name="a") + record(
        PAGE, kind="resource", content_type="text/html", name="b"
    )
    rows, _, _ = read(tmp_path, content)
    assert [(row["id"], row["content"]) for row in rows] == [("a", "Grüße".encode()), ("b", PAGE)]


# --- codings ----------------------------------------------------------------------------------------------------------


def chunked(body: bytes, size: int = 7) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: x\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(body) + deflate.flush()


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate),
        ("br", brotli.compress), ("zstd", zstandard.ZstdCompressor().compress), ("identity", bytes), ("UTF-8", bytes),
        ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
        ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
    ],
)  # fmt: skip
@pytest.mark.parametrize("in_chunks", [False, True])
def test_codings_are_undone(tmp_path, coding, encode, in_chunks):
    body = chunked(encode(PAGE)) if in_chunks else encode(PAGE)
    headers = [("Content-Encoding", coding), *([("Transfer-Encoding", "chunked")] if in_chunks else [])]
    rows, quarantined, _ = read(tmp_path, response(body, headers=headers))
    assert reasons(quarantined) == []
    assert rows[0]["content"] == PAGE


@pytest.mark.parametrize("header", [("Content-Encoding", "gzip"), ("Content-Encoding", "br"), ("Content-Encoding", "deflate"),
                                    ("Transfer-Encoding", "chunked"), ("Content-Encoding", "zstd")])  # fmt: skip
def test_a_body_that_was_stored_decoded_is_taken_as_it_is(tmp_path, header):
    """Many crawlers decode the body and keep the header: 'the header lies' is no reason to lose a readable page."""
    rows, quarantined, _ = read(tmp_path, response(PAGE, headers=[header]))
    assert (reasons(quarantined), rows[0]["content"]) == ([], PAGE)


NOISE = random.Random(7).randbytes(4000)


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (NOISE, [("Content-Encoding", "gzip")], "bad_content_encoding"),
        (NOISE, [("Content-Encoding", "br")], "bad_content_encoding"),
        (NOISE, [("Content-Encoding", "zstd")], "bad_content_encoding"),
        (b"\x1f\x8b\x08\0" + NOISE, [("Content-Encoding", "gzip")], "bad_content_encoding"),
        (gzip.compress(NOISE)[:-900], [("Content-Encoding", "gzip")], "truncated_payload"),
        (NOISE, [("Content-Encoding", "sdch")], "unsupported_content_encoding"),
        (PAGE, [("Content-Encoding", "gzip, gzip, gzip, gzip")], "unsupported_content_encoding"),
        (chunked(PAGE)[:30], [("Transfer-Encoding", "chunked")], "truncated_payload"),
        (chunked(PAGE)[:18] + b"zz" + chunked(PAGE)[20:], [("Transfer-Encoding", "chunked")], "truncated_payload"),
        (gzip.compress(bytes(3 << 20)), [("Content-Encoding", "gzip")], "decompression_ratio_exceeded"),
        (zlib.compress(bytes(3 << 20)), [("Content-Encoding", "deflate")], "decompression_ratio_exceeded"),
        (brotli.compress(bytes(3 << 20)), [("Content-Encoding", "br")], "decompression_ratio_exceeded"),
        (zstandard.compress(bytes(3 << 20)), [("Content-Encoding", "zstd")], "decompression_ratio_exceeded"),
        (gzip.compress(NOISE * 4 * 80), [("Content-Encoding", "gzip")], "record_too_large"),
        (b"\x89PNG\r\n\x1a\n" + NOISE, [], "binary_content"),
        (b"%PDF-1.4\n" + NOISE, [], "binary_content"),
        (NOISE, [], "binary_content"),
    ],
)  # fmt: skip
def test_a_hostile_or_mislabelled_body_is_quarantined_and_the_next_is_read(tmp_path, body, headers, reason):
    content = member(response(body, headers=headers)) + member(response(name="after"))
    rows, quarantined, _ = read(tmp_path, content, max_record_bytes=1 << 20)
    assert (reasons(quarantined), names(rows)) == ([reason], ["after"])
    assert quarantined[0].id == "" or quarantined[0].id == "r1"
    assert quarantined[0].locator.split(":")[1] == "0"


def test_utf16_pages_are_no_binary(tmp_path):
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        rows, quarantined, _ = read(tmp_path, response(PAGE.decode().encode(encoding)))
        assert (len(rows), quarantined) == (1, []), encoding


@pytest.mark.parametrize("block", [b"not http at all", b"HTTP/1.1 abc\r\n\r\nx", b"", b"HTTP/1.1 2000 OK\r\n\r\nx",
                                   b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000])  # fmt: skip
def test_a_response_that_is_no_http_is_quarantined(tmp_path, block):
    content = record(block, content_type="application/http; msgtype=response") + response(name="after")
    rows, quarantined, _ = read(tmp_path, content)
    assert (reasons(quarantined), names(rows)) == (["bad_http"], ["after"])


def test_http_headers_may_end_their_lines_with_lf_alone_or_be_none(tmp_path):
    lf = record(b"HTTP/1.0 200\nContent-Type: text/html\n\n<p>x", content_type="application/http", name="a")
    none = record(b"HTTP/1.0 200 OK\r\n\r\n<html>x", content_type="application/http", name="b")
    rows, quarantined, _ = read(tmp_path, lf + none)
    assert [(row["id"], row["content"]) for row in rows] == [("a", b"<p>x"), ("b", b"<html>x")]
    assert not quarantined


def test_segmented_records_are_not_taken_for_whole(tmp_path):
    content = response(extra=[("WARC-Segment-Number", "1"), ("WARC-Segment-Total-Length", "9")]) + record(
        b"x", kind="continuation", extra=[("WARC-Segment-Number", "2")]
    )
    _, quarantined, _ = read(tmp_path, content)
    assert reasons(quarantined) == ["segmented_record"] * 2


# --- damage -----------------------------------------------------------------------------------------------------------


def three(codec: str) -> list[bytes]:
    rng = random.Random(5)
    pages = [b"<html>" + rng.randbytes(600).hex().encode() for _ in range(3)]
    return [member(response(page, name=f"r{i}"), codec) for i, page in enumerate(pages)]


@pytest.mark.parametrize("codec", CODECS)
def test_a_record_cut_short_in_the_middle_hides_nothing(tmp_path, codec):
    a, b, c = three(codec)
    rows, quarantined, _ = read(tmp_path, a + b[: len(b) // 2] + c)
    assert names(rows) == ["r0", "r2"]
    assert quarantined[0].locator.split(":")[1] == str(len(a))


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_cut_short_keeps_what_is_whole(tmp_path, codec):
    a, b, c = three(codec)
    rows, quarantined, _ = read(tmp_path, a + b + c[: len(c) // 2])
    assert (names(rows), reasons(quarantined)) == (["r0", "r1"], ["truncated_record"])


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_flipped_byte_costs_one_record(tmp_path, codec):
    a, b, c = three(codec)
    for at in range(8, len(b) - 1, 37):
        broken = b[:at] + bytes([b[at] ^ 0x55]) + b[at + 1 :]
        rows, quarantined, _ = read(tmp_path, a + broken + c)
        assert [name for name in names(rows) if name != "r1"] == ["r0", "r2"], at
        assert quarantined or names(rows) == ["r0", "r1", "r2"], at


@pytest.mark.parametrize("codec", CODECS)
def test_damage_to_the_first_bytes_of_the_file_costs_the_first_record(tmp_path, codec):
    a, b, c = three(codec)
    for broken in (a[3:], b"\0\0\0" + a[3:], a[len(a) // 2 :], NOISE + a[30:]):
        rows, quarantined, _ = read(tmp_path, broken + b + c)
        assert (names(rows), len(quarantined) >= 1) == (["r1", "r2"], True)


def test_a_wrong_checksum_alone_is_noticed(tmp_path):
    a, b, c = three("gzip")
    rows, quarantined, _ = read(tmp_path, a + b[:-8] + bytes([b[-8] ^ 1]) + b[-7:] + c)
    assert (names(rows), reasons(quarantined)) == (["r0", "r2"], ["corrupt_member"])


@pytest.mark.parametrize("codec", CODECS)
def test_garbage_between_records_is_told_and_padding_is_not(tmp_path, codec):
    a, b, c = three(codec)
    rows, quarantined, _ = read(tmp_path, a + b"garbage! " * 20 + b + c)
    assert (names(rows), len(quarantined)) == (["r0", "r1", "r2"], 1)
    if codec != "plain":
        rows, quarantined, _ = read(tmp_path, a + bytes(5000) + b + c + bytes(100_000))
        assert (names(rows), quarantined) == (["r0", "r1", "r2"], [])


@pytest.mark.parametrize("lie", [0, 5, 10_000, 40 << 20, 10**17])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("together", [False, True])
def test_a_content_length_that_lies_hides_nothing(tmp_path, codec, lie, together):
    """Longer or shorter than the block, beyond the file, beyond the cap; a member a record, or all in one member."""
    records = [response(name="a"), response(name="b", length=lie), response(name="c"), response(name="d")]
    content = member(b"".join(records), codec) if together else b"".join(member(one, codec) for one in records)
    rows, quarantined, _ = read(tmp_path, content)
    assert names(rows) == ["a", "c", "d"]
    assert len(quarantined) == 1
    assert quarantined[0].id in ("", "b")


def test_many_lies_in_one_member_are_read_again_a_bounded_number_of_times(tmp_path):
    lies = [response(name=f"l{i}", length=10**12) for i in range(200)]
    content = member(b"".join(lies) + response(name="last"))
    rows, quarantined, _ = read(tmp_path, content)
    assert (names(rows), len(quarantined)) == (["last"], 200)


@pytest.mark.parametrize("header", ["Content-Length: -5", "Content-Length: 1e3", "Content-Length:", "X: y",
                                    "Content-Length: " + "9" * 400])  # fmt: skip
def test_headers_that_cannot_be_are_told(tmp_path, header):
    bad = f"WARC/1.0\r\nWARC-Type: response\r\n{header}\r\n\r\nbody\r\n\r\n".encode()
    rows, quarantined, _ = read(tmp_path, member(bad) + member(response(name="after")))
    assert (names(rows), reasons(quarantined)) == (["after"], ["bad_header"])
    rows, quarantined, _ = read(tmp_path, bad + response(name="after"))
    assert (names(rows), reasons(quarantined)) == (["after"], ["bad_header"])


def test_headers_without_end_are_bounded(tmp_path):
    endless = b"WARC/1.0\r\n" + b"".join(
        b"A%d: %s\r\n" % (i, NOISE[i % 900 :][:20].hex().encode()) for i in range(4000)
    )
    rows, quarantined, _ = read(tmp_path, member(endless) + member(response(name="after")))
    assert (names(rows), reasons(quarantined)) == (["after"], ["bad_header"])


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_a_bomb_in_the_file_itself_is_refused_and_the_next_is_read(tmp_path, codec):
    bomb = member(response(b"<p>" + bytes(64 << 20)), codec)
    rows, quarantined, _ = read(tmp_path, bomb + member(response(name="after"), codec))
    assert names(rows) == ["after"]
    assert reasons(quarantined) in (["decompression_ratio_exceeded"], ["record_too_large"])


@pytest.mark.parametrize("codec", CODECS)
def test_a_record_above_the_cap_is_passed_over_with_what_it_holds(tmp_path, codec):
    """A WARC as payload of a record that is too large is not taken for records of the file."""
    inner = b"".join(response(random.Random(i).randbytes(900).hex().encode(), name=f"inner{i}") for i in range(50))
    large = member(response(inner, content_type="application/warc"), codec)
    content = member(response(name="a"), codec) + large + member(response(name="b"), codec)
    rows, quarantined, _ = read(tmp_path, content, max_record_bytes=10_000)
    assert (names(rows), reasons(quarantined)) == (["a", "b"], ["record_too_large"])


def test_records_per_shard_are_bounded_and_it_is_said(tmp_path):
    content = b"".join(member(record(b"x", name=f"r{i}", kind="conversion")) for i in range(30))
    rows, quarantined, _ = read(tmp_path, content, max_records=20)
    assert (len(rows), reasons(quarantined)) == (20, ["too_many_records"])


def test_files_that_are_no_warc_at_all(tmp_path):
    for content in (b"", b"\0" * 100, NOISE, gzip.compress(b"")):
        rows, quarantined, _ = read(tmp_path, content)
        assert rows == []
        assert len(quarantined) <= 1
    _, quarantined, _ = read(tmp_path, gzip.compress(NOISE))
    assert reasons(quarantined) == ["bad_header"]


# --- ways of compressing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_one_member_for_all_records_is_read_and_not_cut(tmp_path, codec):
    content = member(b"".join(response(name=f"r{i}") for i in range(40)), codec)
    shard = shard_of(tmp_path / "a.warc", content)
    rows, quarantined, _ = read_all(WarcReader(), shard)
    assert (len(rows), quarantined) == (40, [])
    assert len({row["locator"] for row in rows}) == 40
    assert WarcReader().cut(shard.file, len(content) // 3) == ((None, None),)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_one_large_member_is_streamed(tmp_path, codec):
    """Larger, decoded, than a record may be: so it cannot be taken whole."""
    pages = [b"<html>" + random.Random(i).randbytes(2000).hex().encode() for i in range(60)]
    content = member(b"".join(response(page, name=f"r{i}") for i, page in enumerate(pages)), codec)
    rows, quarantined, _ = read(tmp_path, content + member(response(name="after"), codec), max_record_bytes=5000)
    assert (names(rows), quarantined) == ([f"r{i}" for i in range(60)] + ["after"], [])


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
@pytest.mark.parametrize("block", [100, 333, 5000])
def test_members_that_do_not_fit_records_are_joined(tmp_path, codec, block):
    stream = b"".join(response(PAGE * i, name=f"r{i}") for i in range(1, 20))
    content = b"".join(member(stream[i : i + block], codec) for i in range(0, len(stream), block))
    shard = shard_of(tmp_path / "a.warc", content)
    rows, quarantined, _ = read_all(WarcReader(), shard)
    assert (names(rows), quarantined) == ([f"r{i}" for i in range(1, 20)], [])
    if block < 400:
        assert WarcReader().cut(shard.file, len(content) // 3) == ((None, None),)


def test_damage_in_joined_members_hides_nothing_behind_it(tmp_path):
    stream = b"".join(response(random.Random(i).randbytes(300).hex().encode(), name=f"r{i}") for i in range(30))
    blocks = [member(stream[i : i + 500]) for i in range(0, len(stream), 500)]
    blocks[20] = blocks[20][:60] + bytes([blocks[20][60] ^ 255]) + blocks[20][61:]
    rows, quarantined, _ = read(tmp_path, b"".join(blocks))
    got = names(rows)
    assert len(got) >= 26
    assert got[0] == "r0"
    assert got[-1] == "r29"
    assert quarantined


def test_a_zstd_dictionary_at_the_start_of_the_file_is_used(tmp_path):
    pages = [response(PAGE + str(i).encode() * 50, name=f"r{i}") for i in range(200)]
    dictionary = zstandard.train_dictionary(2048, pages)
    compressor = zstandard.ZstdCompressor(dict_data=dictionary)
    for frame in (dictionary.as_bytes(), zstandard.compress(dictionary.as_bytes())):
        head = b"\x5d\x2a\x4d\x18" + len(frame).to_bytes(4, "little") + frame
        shard = shard_of(tmp_path / "a.warc", head + b"".join(compressor.compress(page) for page in pages))
        rows, quarantined, _ = read_all(WarcReader(), shard)
        assert (names(rows), quarantined) == ([f"r{i}" for i in range(200)], [])
        assert len(WarcReader().cut(shard.file, 2000)) > 2


def test_batches_are_bounded(tmp_path):
    content = b"".join(response(PAGE * 2000, name=f"r{i}") for i in range(200))
    batches = list(WarcReader().read(shard_of(tmp_path / "a.warc", content)))
    assert sum(batch.num_rows for batch in batches) == 200
    assert all(batch.num_rows == 1 or batch.column("content").nbytes < (8 << 20) + 4096 for batch in batches)
    assert len(batches) > 2


def test_fields_that_cannot_be_are_refused_at_construction():
    with pytest.raises(ConfigError, match="max_ratio = 0"):
        WarcReader(max_ratio=0)


# --- against FastWARC -------------------------------------------------------------------------------------------------


def blocks_by_fastwarc(content: bytes):
    found = ArchiveIterator(io.BytesIO(content), parse_http=False)
    return [(one.record_id, one.reader.read(), str(one.stream_pos)) for one in found]


def blocks_by_us(content: bytes):
    bounds = warc_file_module.Bounds(max_record_bytes=16 << 20, max_ratio=200)
    found = warc_file_module.read_records(pa.BufferReader(content), len(content), None, None, bounds)
    return [
        (one.found.headers[b"warc-record-id"].decode(), one.found.block, one.place)
        for one in found
        if isinstance(one.found, Record)
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_sound_files_read_as_fastwarc_reads_them(codec):
    rng = random.Random(11)
    content = b"".join(
        member(response(rng.randbytes(rng.randrange(3000)).hex().encode(), name=f"r{i}"), codec) for i in range(50)
    )
    assert blocks_by_us(content) == blocks_by_fastwarc(content)


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["pages-dev-000.warc.gz", "wcxb-dev.warc.gz", "crawled/aut_example.warc.gz", "crawled/iana.warc.gz",
             "crawled/resiliparse_warcfile.warc.lz4", "crawled/whirlwind.warc.wet.gz"]
)  # fmt: skip
def test_real_files_read_as_fastwarc_reads_them(name):
    content = shared_path(f"web/{name}").read_bytes()
    assert blocks_by_us(content) == blocks_by_fastwarc(content)


@pytest.mark.shared
def test_every_real_file_is_read_without_an_error(tmp_path):
    for path in sorted(shared_path("web/crawled").iterdir()):
        read_all(WarcReader(), shard_of(tmp_path / "a", path.read_bytes()))
