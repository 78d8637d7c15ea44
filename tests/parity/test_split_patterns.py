"""The Numba scan and the regular expression in HF `tokenizers` cut every text alike."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from pipelines.errors import ConfigError
from tokenizer_training.split_patterns import NAMED, SplitPattern, cuts, split_classes, split_pattern

PATTERNS = {
    **NAMED,
    "both_plain": SplitPattern(latex_commands=False),
    "none_plain": SplitPattern(digits=False, punctuation=False, latex_commands=False),
}
ALPHABETS = st.one_of(
    st.text(),
    st.text(alphabet="aZ é\\\\ \n\t1２५,.{}$$_^́漢ー \x1c\x85\u3000𝟘🙂"),
    st.lists(
        st.sampled_from(["\\in", "\\infty", "\\", " ", "  ", "\n", "x", "12", "...", "({", "e\u0301", "\u200d"])
    ).map("".join),
)


def engine_cuts(text: str, pattern: SplitPattern) -> list[str]:
    split = pre_tokenizers.Split(Regex(pattern.regex), "isolated")
    return [piece for piece, _ in split.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", sorted(PATTERNS))
@settings(max_examples=150, deadline=None)
@given(text=ALPHABETS)
def test_kernel_cuts_as_the_engine(name, text):
    pattern = PATTERNS[name]
    assert cuts(text, pattern) == engine_cuts(text, pattern)


def test_every_code_point_has_the_class_the_engine_sees():
    """Pairs `a<c>1<c>` over all of Unicode: a letter joins `a`, a number splits singly, white space and others part."""
    pattern = split_pattern("both")
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for low in range(0, len(points), 65_536):
        text = "".join(f"a{chr(c)}1{chr(c)} " for c in points[low : low + 65_536])
        assert cuts(text, pattern) == engine_cuts(text, pattern)


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


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="'bpe'; expected one of none, digits"):
        split_pattern("bpe")


def test_information_separators_are_no_white_space():
    """`\\s` does not match U+001C to U+001F, though `str.isspace` does."""
    assert split_classes()[0x1C] == 0
    assert split_classes()[0x85] == 3
