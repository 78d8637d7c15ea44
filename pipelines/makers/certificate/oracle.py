"""Words, shingles and Jaccard a second time, to check the first: `unicodedata`, `re`, sets of tuples, and no code of
the kernels.

The rule is that of `kernels.shingles`; its facts are repeated here on purpose. A change of it has to be made twice.
The kernels' tables know a newer Unicode than the running Python may: `has_unknown` says where that could matter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Final

SPACED, MARK, ALONE, SEPARATOR = "LMA "
_WORD: Final = re.compile("AM*|[LM]+")
_IGNORED: Final = "\u00ad\u200c\u200d\u2060\ufeff"
# Names of the characters of scripts Han, Hiragana and Katakana begin so; "IDEOGRAPHIC CLOSING MARK" is of no script
_UNSPACED_NAMES: Final = (
    "CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH", "IDEOGRAPHIC ITERATION MARK",
    "OLD CHINESE ITERATION MARK", "VERTICAL IDEOGRAPHIC ITERATION MARK", "IDEOGRAPHIC NUMBER ZERO", "HANGZHOU NUMERAL",
    "HIRAGANA", "KATAKANA",
    "HALFWIDTH KATAKANA", "HENTAIGANA",
)  # fmt: skip
_UNSPACED_BLOCKS: Final = (
    ("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"), ("\u1950", "\u19ff"),
    ("\u1a20", "\u1aaf"), ("\u1b00", "\u1b7f"), ("\ua980", "\ua9ff"), ("\uaa60", "\uaadf"),
)  # fmt: skip


@cache
def kind_of(character: str) -> str:
    """SPACED, MARK, ALONE or SEPARATOR; "" for a character that is ignored."""
    if character in _IGNORED:
        return ""
    general = unicodedata.category(character)[0]
    if general == "M":
        return MARK
    if general not in "LN":
        return SEPARATOR
    if unicodedata.name(character, "").startswith(_UNSPACED_NAMES):
        return ALONE
    if general == "L" and any(first <= character <= last for first, last in _UNSPACED_BLOCKS):
        return ALONE
    return SPACED


@cache
def fold(character: str) -> str:
    """Simple case folding, one character to one character; "" for a character that is ignored."""
    if character in _IGNORED:
        return ""
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1:
            return folded
    return character


_BREAK: Final = "\0"
"""Stands where a character of ALONE does: NUL is no letter, so no word has it."""


def _kept(character: str) -> str:
    """What is left of a character where words are what stands between spaces."""
    kind = kind_of(character)
    return {SEPARATOR: " ", ALONE: _BREAK}.get(kind, fold(character))


class _Table(dict[int, str]):
    """A table for `str.translate` that fills itself."""

    def __init__(self, function: Callable[[str], str]) -> None:
        self.function = function

    def __missing__(self, code: int) -> str:
        self[code] = self.function(chr(code))
        return self[code]


@cache
def _table(function: Callable[[str], str]) -> _Table:
    """One table for all texts: it holds what characters they have, a million at most."""
    return _Table(function)


def has_unknown(text: str) -> bool:
    """Whether `text` has a character that the running Python's Unicode does not know, noncharacters aside."""
    return any(
        unicodedata.category(c) == "Cn" and not (0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE)
        for c in set(text)
    )


def words(text: str) -> list[str]:
    """The words of `text`.

    >>> words("GPU集群, naïve")
    ['gpu', '集', '群', 'naïve']
    """
    spaced = text.translate(_table(_kept))
    if _BREAK not in spaced:
        return spaced.split()
    kinds, folded = text.translate(_table(kind_of)), text.translate(_table(fold))
    return [folded[found.start() : found.end()] for found in _WORD.finditer(kinds)]


def shingle_set(text: str, size: int) -> set[tuple[str, ...]]:
    """The shingles of `text`: every `size` words in a row; all its words where they are fewer; none without a word."""
    found = words(text)
    if len(found) < size:
        return {tuple(found)} if found else set()
    return set(zip(*(found[i:] for i in range(size)), strict=False))


def similarity(left: str, right: str, size: int) -> float:
    """Jaccard of the two texts' shingle sets; 0.0 where both are empty."""
    a, b = shingle_set(left, size), shingle_set(right, size)
    common = len(a & b)
    return common / (len(a) + len(b) - common) if a or b else 0.0
