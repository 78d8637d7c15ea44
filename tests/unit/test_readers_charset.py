"""Charsets: by content where the header lies, and never a NUL or lone surrogate in what comes out."""

from __future__ import annotations

import base64
import json

import pyarrow as pa
import pytest
import zstandard

from pipelines.readers.charset import codec_of, decode, decode_column
from tests.shared import shared_path

TEXTS = {
    "koi8-r": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    "cp1251": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    "iso8859-7": "Τον άνδρα τον πολύτροπο τραγούδησέ μου, Μούσα, που πάρα πολύ πλανήθηκε.",
    "cp1255": "בראשית ברא אלוהים את השמים ואת הארץ והארץ היתה תוהו ובוהו",
    "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "euc_jp": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "gb2312": "道可道，非常道。名可名，非常名。这是我们的国家，大家都来学习中文。",
    "big5": "道可道，非常道。名可名，非常名。這是我們的國家，大家都來學習中文。",
    "euc_kr": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "cp1252": "Où est-ce que nous allons déjeuner ? « À la plage », répondit l’élève… très étonné.",
    "iso8859-2": "Příliš žluťoučký kůň úpěl ďábelské ódy, všechny děti se smály a běžely domů.",
    "tis-620": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
}
HEADERS = (None, "utf-8", "iso-8859-1", "windows-1251", "shift_jis", "none", "\0", "x" * 500)


@pytest.mark.parametrize("charset", TEXTS)
@pytest.mark.parametrize("header", HEADERS)
def test_the_content_decides_whatever_the_header_says(charset, header):
    text = TEXTS[charset] * 4
    decoded = decode(text.encode(charset), header, "text/plain")
    assert (decoded.text, decoded.num_replaced, decoded.is_readable) == (text, 0, True)


@pytest.mark.parametrize("charset", TEXTS)
def test_a_short_text_is_believed_to_be_what_header_or_page_say(charset):
    text = TEXTS[charset][:12]
    assert decode(text.encode(charset), charset).text == text
    page = f'<html><head><meta http-equiv="x" content="text/html; charset={charset}"></head>{text}'
    assert decode(page.encode(charset), None, "text/html").text == page


@pytest.mark.parametrize(
    "charset", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
)
def test_unicode_with_and_without_a_mark(charset):
    for text in (TEXTS["cp1252"], TEXTS["gb2312"] + "\n", TEXTS["koi8-r"]):
        decoded = decode(text.encode(charset), "iso-8859-1")
        assert (decoded.text, decoded.num_replaced) == (text, 0)


@pytest.mark.parametrize("charset", ["iso2022_jp", "iso2022_kr"])
def test_escapes(charset):
    text = TEXTS["shift_jis" if charset == "iso2022_jp" else "euc_kr"]
    assert decode(text.encode(charset)).text == text


def test_a_few_bad_bytes_do_not_make_utf8_anything_else():
    text = TEXTS["koi8-r"] * 3
    content = text.encode()
    decoded = decode(content[:60] + b"\xff" + content[60:] + b"\xd0", "windows-1251")
    assert (decoded.charset, decoded.num_replaced) == ("utf-8", 2)
    assert decoded.text.replace("\ufffd", "") == text
    assert decoded.is_readable


def test_nul_and_noise():
    decoded = decode(b"a\0b" * 9)
    assert (decoded.text, decoded.num_replaced, decoded.is_readable) == ("a\ufffdb" * 9, 9, False)
    assert not decode(bytes(range(128, 160)) * 40 + b"\x81\x8d" * 200).is_readable
    assert decode(b"").text == ""


def test_a_column_is_decoded_as_its_rows_are():
    contents = [b"", b"plain", "\ufeffmark".encode(), "Grüße".encode(), TEXTS["koi8-r"].encode("koi8-r"), b"a\0b\0",
                b"", TEXTS["shift_jis"].encode("iso2022_jp"), b"\x1b[0m", "x".encode("utf-16"),
                TEXTS["big5"].encode("big5")]  # fmt: skip
    rows = len(contents)
    columns = {"content": pa.array(contents, pa.large_binary()), "charset": pa.array(["latin1"] * rows),
               "media_type": pa.array(["text/html"] * rows)}  # fmt: skip
    whole = pa.RecordBatch.from_pydict(columns)
    for batch in (whole, whole.slice(3), whole.slice(1, 4), whole.slice(0, 0)):
        text, num_replaced = decode_column(batch)
        text.validate(full=True)
        expected = [decode(content.as_py(), "latin1", "text/html") for content in batch.column("content")]
        assert text.to_pylist() == [one.text for one in expected]
        assert num_replaced.tolist() == [one.num_replaced for one in expected]


def test_labels():
    assert [codec_of(label) for label in ("LATIN1", "Windows-31J", "utf8", "utf-7", "rot13", "hex", None, "")] == [
        "cp1252", "shift_jis", None, None, None, None, None, None,
    ]  # fmt: skip


def samples():
    with zstandard.open(shared_path("web/charset_samples.jsonl.zst"), "rt", encoding="utf-8") as file:
        for line in file:
            sample = json.loads(line)
            if sample["encoding"] not in (None, "None"):
                yield base64.b64decode(sample["bytes_b64"]), sample["encoding"]


@pytest.mark.shared
@pytest.mark.parametrize("header", [None, "iso-8859-1", "windows-1251", "gbk", "utf-8"])
def test_real_samples_are_decoded_by_their_charset(header):
    """274 of 277 here (one is EBCDIC, two are short windows-1252); uchardet alone 258, charset-normalizer 265."""
    found = [
        decode(content, header, "text/plain").text.lstrip("\ufeff")
        == content.decode(charset).lstrip("\ufeff").replace("\0", "\ufffd")
        for content, charset in samples()
    ]
    assert sum(found) / len(found) >= 0.98
