"""The Numba scan and the regular expression in HF `tokenizers` cut every text alike.

`test_split_patterns_files.py` has real text; `python -m tests.parity.split_pattern_files` takes all of it.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigError
from tests.parity.split_pattern_files import first_difference, splitter
from tokenizer_training.split_patterns import (
    LETTER,
    NAMED,
    NUMBER,
    OTHER,
    SAME,
    WHITE,
    SplitPattern,
    cut_ends,
    cuts,
    split_classes,
    split_pattern,
)  # fmt: skip

PATTERNS = {
    **NAMED,
    **{f"{name}_plain": SplitPattern(digits=digits, punctuation=punctuation, contiguous=contiguous, latex_commands=False)
       for name, digits, punctuation, contiguous in (
           ("none", False, False, False), ("digits", True, False, False), ("punctuation", False, True, False),
           ("punctuation_contiguous", False, True, True), ("both", True, True, False), ("both_contiguous", True, True, True),
       )},
}  # fmt: skip
SPLITS = {name: splitter(pattern) for name, pattern in PATTERNS.items()}


def edges() -> str:
    """The characters on either side of every change of class, over all of Unicode."""
    classes = split_classes()
    changes = np.flatnonzero(np.diff(classes))
    points = np.unique(np.concatenate([changes, changes + 1]))
    return "".join(chr(c) for c in points.tolist() if not 0xD800 <= c < 0xE000)


WHITE_SPACE = "".join(chr(c) for c in np.flatnonzero(split_classes() == WHITE))
PIECES = [
    "\\in", "\\infty", "\\", "\\\\", " ", "  ", "\n", "\r\n", "\t", "\0", "x", "Z", "12", "2\u0967", "...", "({", "_", "'",
    "e\u0301", "\u0301", "\u200d", "\ufe0f", "\u20e3", "👩\u200d👩\u200d👧", "🇨🇿", "\U0001f3fd", "漢", "ー", "がぱ",
    "ا\u0651", "\u0915\u094d\u0937", "ด\u0e49", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c", "\u180e", "\u200b",
    "\ufeff", "\u0378", "\U000e0001", "\U0010ffff", "\ue000", "\ufdd0", "½", "Ⅷ", "²", "𝟘", "ǅ", "ª", "№",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(),
    st.text(alphabet=edges()),
    st.text(alphabet=WHITE_SPACE + "a1.\\"),
    st.text(alphabet="aZ é\\\\ \n\t1２५,.{}$$_^́漢ー \x1c\x85\u3000𝟘🙂"),
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
)


@pytest.mark.parametrize("name", sorted(PATTERNS))
@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_kernel_cuts_as_the_engine(name, text):
    pieces = [piece for piece, _ in SPLITS[name].pre_tokenize_str(text)]
    assert cuts(text, PATTERNS[name]) == pieces
    assert "".join(pieces) == text


@pytest.mark.parametrize("name", ["both", "none"])
def test_every_code_point_is_cut_as_the_engine_cuts_it(name):
    """Behind a letter, a digit, a space, a full stop and a backslash, and doubled: over all of Unicode."""
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    step = 1 << 15
    for low in range(0, len(points), step):
        text = "".join(f"a{chr(c)}1{chr(c)} {chr(c)}.\\{chr(c)}{chr(c)}" for c in points[low : low + step])
        assert first_difference(text, PATTERNS[name], SPLITS[name]) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", ["f", "((", "\\alpha", "))", " ==", " 12", "  ", " x"]),
        ("digits", ["f", "((", "\\alpha", "))", " ==", " ", "1", "2", "  ", " x"]),
        ("punctuation", ["f", "(", "(", "\\alpha", ")", ")", " ", "=", "=", " 12", "  ", " x"]),
        ("punctuation_contiguous", ["f", "((", "\\alpha", "))", " ", "==", " 12", "  ", " x"]),
        ("both", ["f", "(", "(", "\\alpha", ")", ")", " ", "=", "=", " ", "1", "2", "  ", " x"]),
        ("both_contiguous", ["f", "((", "\\alpha", "))", " ", "==", " ", "1", "2", "  ", " x"]),
    ],
)
def test_the_table_of_the_docstring(name, expected):
    assert cuts("f((\\alpha)) == 12   x", split_pattern(name)) == expected


def test_every_pair_of_names_cuts_something_differently():
    text = "f((\\alpha)) == 12   x"
    assert len({tuple(cuts(text, pattern)) for pattern in NAMED.values()}) == len(NAMED) == 6


@given(text=TEXTS)
def test_contiguous_changes_nothing_where_punctuation_is_not_split(text):
    """Which is why two of the eight combinations are other names of the pattern beside them."""
    for digits in (False, True):
        run = SplitPattern(digits=digits, punctuation=False, contiguous=True)
        assert cuts(text, run) == cuts(text, SplitPattern(digits=digits, punctuation=False))
        assert run.regex == SplitPattern(digits=digits, punctuation=False).regex
    assert {name: split_pattern(name) for name in SAME} == {
        "none_contiguous": NAMED["none"], "digits_contiguous": NAMED["digits"],
    }  # fmt: skip


@given(text=TEXTS)
def test_what_the_names_promise(text):
    """Digits are single, punctuation is split from what is beside it, commands are whole, and no pre-token is empty."""
    classes = split_classes()
    for piece in cuts(text, split_pattern("both")):
        kinds = [int(classes[ord(c)]) for c in piece]
        assert kinds
        if NUMBER in kinds:
            assert len(piece) == 1
        if OTHER in kinds:
            assert len(piece) == 1 or re.fullmatch(r"\\[A-Za-z]+", piece)
        if WHITE in kinds and LETTER in kinds:
            assert piece[0] == " "
            assert kinds[1:] == [LETTER] * (len(piece) - 1)


@pytest.mark.parametrize("name", ["none", "both_contiguous"])
def test_a_long_run_of_backslashes_does_not_stop_the_engine(name):
    """Six million of them: an alternation inside the repeat made the engine give up after 10 million second tries."""
    text = "\\" * 6_000_000 + "in"
    assert [piece[-3:] for piece, _ in SPLITS[name].pre_tokenize_str(text)] == ["\\\\\\", "\\in"]
    assert cut_ends(np.frombuffer(text.encode(), np.uint8), PATTERNS[name]).tolist() == [5_999_999, 6_000_002]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="'bpe'; expected one of none, digits"):
        split_pattern("bpe")


def test_information_separators_are_no_white_space():
    """`\\s` does not match U+001C to U+001F, though `str.isspace` does."""
    assert split_classes()[0x1C] == 0
    assert split_classes()[0x85] == 3
