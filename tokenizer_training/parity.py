r"""Parallel text: the same sentences in several languages, and what each language pays in tokens for saying the same.

The file is JSON lines, plain or compressed, one group of sentences a line: an object whose field `sentences`, or which
itself, maps a language to a sentence or to a list of them, `{"en": ["Good day.", "Sit."], "sv": ["God dag.", "Sitt."]}`.
Lists of the same length as the pivot's are taken to be in step; one of another length is compared as a whole.

| figure | of | source |
|---|---|---|
| premium | tokens of all sentences in the language / in the pivot | Ahia et al. 2023, arXiv 2305.13707 |
| parity | mean over sentences of that ratio | Petrov et al. 2023, arXiv 2305.15425 |
| gini | Gini coefficient, over languages, of the tokens of the sentences that all have | Foroutan et al. 2025, arXiv 2508.04796 |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipelines import storage
from pipelines.errors import InputError
from pipelines.readers.jsonl import BadLine, parse_object
from pipelines.readers.limits import MAX_LINE_BYTES, MAX_RATIO
from pipelines.readers.lines import read_lines
from pipelines.readers.warc_records import Fault

FIELD: Final = "sentences"
MAX_PARALLEL_BYTES: Final = 1 << 30
"""The text is held in memory, in every language at once."""


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """`texts[language][k]` is sentence k in that language, None where it has none. All lists are of one length."""

    pivot: str
    texts: Mapping[str, Sequence[str | None]]

    def as_json(self) -> bytes:
        """The form `parallel_of` reads."""
        return (json.dumps({"pivot": self.pivot, "texts": self.texts}, ensure_ascii=False, sort_keys=True)).encode()


def parallel_of(content: bytes) -> Parallel:
    """Back from `as_json`."""
    return Parallel(**json.loads(content))


def read_parallel(uri: str, *, pivot: str = "en") -> Parallel:
    """The parallel text in a file. InputError, naming the line's offset, for what is not in the form above."""
    groups: list[dict[str, list[str]]] = []
    num_bytes = 0
    with storage.open_input(uri) as file:
        lines = read_lines(
            file, storage.file_info(uri).size, None, None, max_line_bytes=MAX_LINE_BYTES, max_ratio=MAX_RATIO
        )
        for line in lines:
            if isinstance(line, Fault):
                raise InputError(f"{uri}, byte {line.start}: {line.reason} ({line.detail})")
            num_bytes += len(line[1])
            if num_bytes > MAX_PARALLEL_BYTES:
                raise InputError(f"{uri}: more than {MAX_PARALLEL_BYTES} bytes of parallel text; give a part of it")
            groups.append(_group(line[1], f"{uri}, byte {line[0]}"))
    if not any(pivot in group for group in groups):
        there = sorted({language for group in groups for language in group})
        raise InputError(f"{uri}: no sentence in the pivot {pivot!r}; its languages are {there[:40]}")
    return _aligned(groups, pivot)


def _group(line: bytes, where: str) -> dict[str, list[str]]:
    try:
        record = parse_object(line)
    except BadLine as bad:
        raise InputError(f"{where}: {bad.reason} ({bad.detail})") from bad
    named = record.get(FIELD, record)
    found: dict[str, list[str]] = {}
    for language, given in named.items() if isinstance(named, dict) else ():
        sentences = [given] if isinstance(given, str) else given
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise InputError(f"{where}: {language!r} is no sentence and no list of them; give {{language: [sentence]}}")
        found[language] = [sentence.encode("utf-8", "replace").decode() for sentence in sentences]
    if not found:
        raise InputError(f"{where}: no languages in it; give {{language: [sentence, ...]}} or that in {FIELD!r}")
    return found


def _aligned(groups: Iterable[Mapping[str, list[str]]], pivot: str) -> Parallel:
    groups = [group for group in groups if pivot in group]
    languages = sorted({language for group in groups for language in group})
    texts: dict[str, list[str | None]] = {language: [] for language in languages}
    for group in groups:
        in_step = all(len(sentences) == len(group[pivot]) for sentences in group.values())
        for language in languages:
            sentences = group.get(language)
            if in_step:
                texts[language] += sentences if sentences is not None else [None] * len(group[pivot])
            else:
                texts[language].append(None if sentences is None else "\n".join(sentences))
    return Parallel(pivot=pivot, texts=texts)


def compare_languages(parallel: Parallel, count: Callable[[Sequence[str]], Sequence[int]]) -> dict[str, Any]:
    """`{"gini", "common_sentences", "languages": {language: {tokens, bytes, sentences, premium, parity}}}`.

    `count` gives the tokens of each text. `tokens` and `bytes` are of the sentences that the pivot has too.
    """
    tokens = {language: _counted(texts, count) for language, texts in sorted(parallel.texts.items())}
    base = tokens[parallel.pivot]
    languages: dict[str, Any] = {}
    for language, own in tokens.items():
        both = [k for k, number in enumerate(own) if number is not None and base[k] is not None]
        pairs = [(own[k] or 0, base[k] or 0) for k in both]
        total, of_pivot = sum(a for a, _ in pairs), sum(b for _, b in pairs)
        ratios = [a / b for a, b in pairs if b]
        languages[language] = {
            "sentences": len(both),
            "tokens": total,
            "bytes": sum(len((parallel.texts[language][k] or "").encode()) for k in both),
            "premium": round(total / of_pivot, 6) if of_pivot else None,
            "parity": round(sum(ratios) / len(ratios), 6) if ratios else None,
        }
    common = [k for k in range(len(base)) if all(own[k] is not None for own in tokens.values())]
    costs = [sum(own[k] or 0 for k in common) for own in tokens.values()]
    return {"pivot": parallel.pivot, "gini": gini(costs), "common_sentences": len(common), "languages": languages}


def _counted(texts: Sequence[str | None], count: Callable[[Sequence[str]], Sequence[int]]) -> list[int | None]:
    found = iter(count([text for text in texts if text is not None]))
    return [None if text is None else next(found) for text in texts]


def gini(costs: Sequence[int]) -> float | None:
    """The Gini coefficient: 0 where all are equal, 1 - 1/n where one of n has all. None where there is nothing.

    The mean difference of two of them, over twice their mean: sum (2i - n - 1) c_i / (n sum c_i) for c_1 <= ... <= c_n.

    >>> gini([5, 5, 5]), gini([0, 0, 9]), gini([1, 3])
    (0.0, 0.666667, 0.25)
    """
    n, total = len(costs), sum(costs)
    if not total:
        return None
    return round(sum((2 * i - n - 1) * cost for i, cost in enumerate(sorted(costs), start=1)) / (n * total), 6)
