"""Text normalization case by case."""

from __future__ import annotations

import pyarrow as pa
import pytest

from filters.normalize import NormalizeText, repair_mojibake
from pipelines.errors import ConfigError

FLAG_OF_ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\u2028d\u2029e\x85f\vg\fh", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("e\u0301", "é"),
        ("\ufeffa\u200bb\u00adc\u2060d\x00e\x7ff\x9dg\u200eh\u202ei", "abcdefghi"),
        ("e\u200b\u0301", "é"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क\u094d\u200dष", "क\u094d\u200dष"),
        ("👩\u200d💻 ☺\ufe0f", "👩\u200d💻 ☺\ufe0f"),
        ("ab\u200cc\u200dd", "abcd"),
        ("ab\u200d\u200cc", "abc"),
        ("می\u200c\u200cخ", "می\u200cخ"),
        (FLAG_OF_ENGLAND, FLAG_OF_ENGLAND),
        ("a\U000e0041b", "ab"),
        ("a  \t\nb\u00a0\u3000\nc ", "a\nb\nc"),
        ("\n\n  a\n\n\n\n\nb\n \n", "  a\n\n\nb"),
        ("tab\tstays  and  blanks", "tab\tstays  and  blanks"),
        ("\ufffd stays \ue000", "\ufffd stays \ue000"),
        ("\ufdd0\uffff\U0001ffffx", "x"),
        ("", ""),
        (" \n\t", ""),
    ],
)
def test_default(text, expected):
    assert NormalizeText().normalize(text) == expected


def test_forms_and_options():
    assert NormalizeText(form="NFKC").normalize("ﬁ ２\u00a0x") == "fi 2 x"
    assert NormalizeText(form="none").normalize("e\u0301\r\n") == "e\u0301"
    assert NormalizeText(squeeze_spaces=True).normalize("  a  b\t\u00a0c\n\td") == "  a b c\n\td"
    assert NormalizeText(max_blank_lines=0).normalize("a\n\n\nb") == "a\nb"


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="NFX"):
        NormalizeText(form="NFX")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="-1"):
        NormalizeText(max_blank_lines=-1)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("It’s – “quoted” café", 1),
        ("São Paulo, naïve, Ångström", 2),
        ("Привет, как дела", 1),
        ("日本語のテキスト", 1),
        ("مرحبا بالعالم", 1),
        ("हिन्दी पाठ", 1),
        ("emoji 😀 done", 1),
    ],
)
def test_mojibake_is_read_again(text, times):
    shown = text
    for _ in range(times):
        shown = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in shown.encode())
    assert shown != text
    assert repair_mojibake(shown) == text


@pytest.mark.parametrize(
    "text",
    [
        "« CAFÉ »",
        "“AMANHÔ",
        "Ã é Â ü ß",
        "DÉJÀ-VU à côté",
        "Đà Nẵng",
        "Ärger Öl Übung",
        "«É»",
        "5 €",
        "Ñandú",
        "çà et là",
    ],
)
def test_text_that_was_never_mojibake_stays(text):
    assert repair_mojibake(text) == text


def test_the_transform_touches_only_what_is_not_clean():
    texts = ["clean\ntext", "Привет", "dirty \n", "e\u0301", "中文。", ""]
    batch = pa.RecordBatch.from_pydict({"id": list("abcdef"), "text": pa.array(texts, pa.large_string())})
    after = NormalizeText().transform(batch)
    assert after.column("text").to_pylist() == ["clean\ntext", "Привет", "dirty", "é", "中文。", ""]
    assert after.schema == batch.schema
    clean = batch.slice(0, 2)
    assert NormalizeText().transform(clean) is clean
    assert NormalizeText().transform(batch.slice(2, 2)).column("text").to_pylist() == ["dirty", "é"]
    assert NormalizeText().transform(batch.slice(0, 0)).num_rows == 0


@pytest.mark.parametrize(
    "text", [" " * 1_000_000 + "x", "\n" * 1_000_000, "\u200d" * 500_000, " \n" * 500_000, "Ã" * 500_000]
)
def test_hostile_input_ends(text):
    stage = NormalizeText(squeeze_spaces=True, fix_mojibake=True)
    once = stage.normalize(text)
    assert stage.normalize(once) == once
