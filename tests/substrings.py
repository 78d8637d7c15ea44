"""Substring and line dedup in plain Python, written from their definitions: what the makers are held to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from pipelines.kernels.generate_case_folding import fold
from tests.dedup import ALONE

_IGNORED = r"[\u00ad\u200c\u200d\u2060\ufeff]"
_SPACE = r"[\s\x1c-\x1f]"
_LETTER = rf"(?:(?!{ALONE})[\p{{L}}\p{{N}}\p{{M}}])"
_WORD = rf"(?:(?:{ALONE})(?:{_IGNORED}*\p{{M}})*|{_LETTER}(?:{_IGNORED}*{_LETTER})*)"
_OTHER = rf"(?:(?!{_SPACE})(?![\p{{L}}\p{{N}}\p{{M}}]).)"
TOKEN = regex.compile(rf"(?s)(?:{_OTHER}{_SPACE}*)*{_WORD}{_OTHER}*")
WORD_CHARACTER = regex.compile(r"[\p{L}\p{N}\p{M}]")
GOES_ON = regex.compile(rf"\p{{M}}|{_LETTER}")

Span = tuple[int, int]


@dataclass(frozen=True)
class Token:
    start: int
    stop: int
    name: str


def tokens(text: str, compare: str) -> list[Token]:
    found = []
    for match in TOKEN.finditer(text):
        if compare == "text":
            name = regex.sub(_SPACE, "", match[0])
        else:
            name = "".join(fold(c) for c in regex.sub(_IGNORED, "", regex.search(_WORD, match[0])[0]))
        found.append(Token(match.start(), match.end(), name))
    return found


def repeated_places(documents: Sequence[Sequence[str]], size: int, keep_first: bool) -> list[set[int]]:
    """Of each document, a list of token names, in order of preference, the places to cut: every window in a dict."""
    where: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for number, names in enumerate(documents):
        for at in range(len(names) - size + 1):
            where[tuple(names[at : at + size])].append((number, at))
    cut: list[set[int]] = [set() for _ in documents]
    for places in where.values():
        for number, at in places:
            if keep_first:
                is_repeated = any((n, a) < (number, at) and (n != number or at - a >= size) for n, a in places)
            else:
                is_repeated = any(
                    n != m or abs(a - b) >= size for i, (n, a) in enumerate(places) for m, b in places[:i]
                )
            if is_repeated:
                cut[number].update(range(at, at + size))
    return cut


def spans_of(places: set[int], found: Sequence[Token]) -> list[Span]:
    """Characters of runs of `places`."""
    spans: list[Span] = []
    last = None
    for place in sorted(places):
        if last is not None and place == last + 1:
            spans[-1] = (spans[-1][0], found[place].stop)
        else:
            spans.append((found[place].start, found[place].stop))
        last = place
    return spans


def cut(text: str, spans: Sequence[Span], mask: str | None) -> str:
    """`text` less `spans`, joined as `kernels.cutting` says."""
    result, position = "", 0
    for start, stop in spans:
        if mask is not None:
            result += text[position:start] + mask
            position = stop
            continue
        before, after = start, stop
        while before > position and regex.fullmatch(_SPACE, text[before - 1]):
            before -= 1
        while after < len(text) and regex.fullmatch(_SPACE, text[after]):
            after += 1
        result += text[position:before]
        position = after
        left, right = text[before:start], text[stop:after]
        if result and after < len(text):
            if left or right:
                result += right if not left or right.count("\n") > left.count("\n") else left
            elif WORD_CHARACTER.match(text[before - 1]) and GOES_ON.match(text[after]):
                result += " "
    return result + text[position:]


def dedup_substrings(
    texts: Sequence[str], size: int, compare: str = "text", keep_first: bool = True, mask: str | None = None
) -> tuple[list[str], list[int]]:
    """What becomes of texts given in order of preference, and how many tokens each has left."""
    found = [tokens(text, compare) for text in texts]
    places = repeated_places([[t.name for t in ts] for ts in found], size, keep_first)
    cut_texts = [cut(text, spans_of(at, ts), mask) for text, at, ts in zip(texts, places, found, strict=True)]
    return cut_texts, [len(ts) - len(at) for ts, at in zip(found, places, strict=True)]


def units(text: str, unit: str) -> list[Span]:
    """Characters of lines or paragraphs, with the line ends after them."""
    lines, at = [], 0
    for line in regex.findall(r"[^\n]*\n|[^\n]+", text):
        lines.append((at, at + len(line)))
        at += len(line)
    if unit == "line":
        return lines
    found: list[Span] = []
    after_blank = True
    for start, stop in lines:
        blank = not regex.sub(_SPACE, "", text[start:stop])
        if blank:
            found[-1:] = [(found[-1][0], stop)] if found else []
        elif after_blank:
            found.append((start, stop))
        else:
            found[-1] = (found[-1][0], stop)
        after_blank = blank
    return found


def unit_name(text: str, normalize: str) -> str:
    text = regex.sub(rf"{_SPACE}+", " ", text).strip(" ")
    if normalize == "whitespace":
        return text
    text = regex.sub(r"[^\p{L}\p{N}\p{M} ]", "", text)
    folded = "".join(fold(c) for c in regex.sub(r"\p{Nd}", "0", text))
    return regex.sub(" +", " ", folded).strip(" ")


def dedup_lines(
    texts: Sequence[str], unit: str, normalize: str, max_documents: int = 1, min_characters: int = 1
) -> tuple[list[str], list[int]]:
    """What becomes of texts given in order of preference, and how many units that are compared each has left."""
    seen: dict[str, int] = defaultdict(int)
    results, left = [], []
    for text in texts:
        result, position, compared, here = "", 0, 0, set()
        for start, stop in units(text, unit):
            name = unit_name(text[start:stop], normalize)
            compared += bool(name)
            if len(name.replace(" ", "")) < min_characters:
                continue
            if name in here or seen[name] >= max_documents:
                result += text[position:start]
                position = stop
                compared -= 1
            here.add(name)
        for name in here:
            seen[name] += 1
        results.append(result + text[position:])
        left.append(compared)
    return results, left
