"""Normalization over generated text: a fixed point, equal to a slow reading of its contract, its fast path sound."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.normalize import NormalizeText
from pipelines.kernels.normalizing import HARMLESS, STABLE, what_may_change

PIECES = st.sampled_from(
    [
        "a", "Z", " ", "  ", "\t", "\n", "\n\n\n", "\r", "\r\n", "\u200b", "\u200c", "\u200d", "\ufeff", "\u00ad", "\u0301", "e",
        "é", "\u00a0", "\u3000", "\x00", "\x85", "\u2028", "م", "ک", "क", "\u094d", "👩", "💻", "\ufe0f", "\U0001f3f4",
        "\U000e0067",
        "\U000e007f", "가", "\u1100", "\u1161", "中", "Ã", "©", "â€™", "\u212b", "\u0344", "\x1c", "\x1f", "ﬁ",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.characters(exclude_categories=["Cs"]), max_size=40).map("".join)
STAGES = st.builds(
    NormalizeText,
    form=st.sampled_from(["NFC", "NFKC", "none"]),
    max_blank_lines=st.integers(0, 3),
    squeeze_spaces=st.booleans(),
    fix_mojibake=st.booleans(),
)

JOINING = (
    (0x0600, 0x08FF), (0x0900, 0x109F), (0x1780, 0x18AF), (0x1900, 0x1CFF), (0xA800, 0xABFF), (0xFB50, 0xFDFF),
    (0xFE70, 0xFEFC), (0x10A00, 0x11FFF), (0x1E900, 0x1E95F), (0xA9, 0xA9), (0xAE, 0xAE), (0x2190, 0x27BF), (0x2B00, 0x2BFF),
    (0x3030, 0x3030), (0x303D, 0x303D), (0x3297, 0x3297), (0x3299, 0x3299), (0xFE0F, 0xFE0F), (0x20E3, 0x20E3),
    (0x1F000, 0x1FAFF),
)  # fmt: skip


def is_junk(char: str) -> bool:
    """A character that nobody sees: by category and by name rather than by the list of the stage."""
    code = ord(char)
    if unicodedata.category(char) == "Cc":
        return char not in "\t\n"
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF or char in "\u2065\u061c":
        return True
    zero_width = ("\u00ad", "\u180e", "\u200b", "\ufeff", "\u200e", "\u200f", "\ufff9", "\ufffa", "\ufffb")
    return char in zero_width or 0x202A <= code <= 0x202E or 0x2060 <= code <= 0x206F


def slow(text: str) -> str:
    """The default stage, from its contract, one character at a time."""
    text = text.replace("\r\n", "\n")
    text = "".join("\n" if char in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029" else char for char in text)
    text = "".join(char for char in unicodedata.normalize("NFC", text) if not is_junk(char))
    kept: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\U0001f3f4":
            end = at + 1
            while end < len(text) and 0xE0020 <= ord(text[end]) <= 0xE007E:
                end += 1
            if 1 < end - at <= 33 and text[end : end + 1] == "\U000e007f":
                kept.append(text[at : end + 1])
                at = end + 1
                continue
        if 0xE0000 <= ord(char) <= 0xE007F:
            at += 1
            continue
        kept.append(char)
        at += 1
    result = ""
    for char in "".join(kept):
        if char not in "\u200c\u200d" or (result and any(first <= ord(result[-1]) <= last for first, last in JOINING)):
            result += char
    lines = [line.rstrip() for line in unicodedata.normalize("NFC", result).split("\n")]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    for position in range(len(lines) - 1, -1, -1):
        if not any(lines[max(0, position - 2) : position + 1]) and position >= 2:
            del lines[position]
    return "\n".join(lines)


@given(TEXTS, STAGES)
@settings(max_examples=800, deadline=None)
def test_normalizing_twice_is_normalizing_once(text, stage):
    once = stage.normalize(text)
    assert stage.normalize(once) == once


@given(TEXTS)
@settings(max_examples=800, deadline=None)
def test_equals_a_slow_reading_of_the_contract(text):
    assert NormalizeText().normalize(text) == slow(text)


@given(st.lists(TEXTS, max_size=4), STAGES)
@settings(max_examples=400, deadline=None)
def test_the_fast_path_never_skips_a_document_that_would_change(texts, stage):
    batch = pa.RecordBatch.from_pydict(
        {"id": [str(i) for i in range(len(texts))], "text": pa.array(texts, pa.large_string())}
    )
    assert stage.transform(batch).column("text").to_pylist() == [stage.normalize(text) for text in texts]


def test_every_stable_character_is_left_alone_by_unicode_and_by_us():
    composing = set()  # second halves of a composition, which NFC may join to what stands before
    for code in range(0x110000):
        decomposition = unicodedata.decomposition(chr(code))
        if decomposition and not decomposition.startswith("<"):
            composing |= {int(part, 16) for part in decomposition.split()[1:]}
    for first, last in STABLE:
        for code in range(first, last + 1):
            char = chr(code)
            assert unicodedata.combining(char) == 0, hex(code)
            assert unicodedata.is_normalized("NFC", char), hex(code)
            assert code not in composing, hex(code)
            assert not char.isspace(), hex(code)
            assert NormalizeText().normalize(f"a{char}b") == f"a{char}b", hex(code)
            assert NormalizeText(squeeze_spaces=True).normalize(f"a{char}") == f"a{char}", hex(code)


def test_no_harmless_character_is_removed_or_blank():
    stage = NormalizeText(form="none")
    for first, last in HARMLESS:
        for code in range(first, last + 1):
            assert stage.normalize(f"a{chr(code)}") == f"a{chr(code)}", hex(code)


def test_clean_text_is_seen_to_be_clean():
    texts = [
        "plain English\n\nwith lines",
        "Größe, naïve café",
        "Привет, мир!",
        "中文，測試。",
        "日本語カタカナ",
        "한국어",
        "“quotes” – dashes…",
    ]
    flags = what_may_change(
        pa.array(texts, pa.large_string()), max_blank_lines=2, squeeze_spaces=False, ascii_only=False
    )
    assert not flags.any()
