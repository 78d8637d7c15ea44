r"""What can be said of a tokenizer without a corpus: tokens no text can reach, digits and LaTeX commands kept whole.

*Unreachable*: encoding what a token decodes to does not give the token, neither alone nor behind a letter, a space or a
symbol (Land and Bartolo 2024, arXiv 2405.05417, who try it alone). A merge is undone by no neighbour, so what byte pair
encoding does not find in a token's own text it finds nowhere. Control tokens never come from text and are not counted;
tokens of part of a character decode to no text, and are counted apart.

*Exactness* is tried in contexts, not taken from the vocabulary: every command of `latex_commands`, and every digit, in each of
CONTEXTS, must be one token, the same one each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tokenizer_training.latex_commands import latex_commands
from tokenizer_training.spans import OpenTokenizer

CONTEXTS: Final = (
    ("", ""), ("", " x"), ("x", " A"), ("x ", "7"), ("$", "$"), ("{", "}"), ("(", ")"), ("7", "7"), ("漢", "漢"), ("\n", "\n"),
    ("  ", "  "), ("é", "_1"), (".", ","), ("\\\\", "{a}"), ("🙂", "🙂"),
)  # fmt: skip
"""What stands before and behind: nothing, letters, spaces, digits, punctuation, other scripts, a backslash."""
DIGITS: Final = tuple("0123456789")
DIGIT_CONTEXTS: Final = (*CONTEXTS, *((digit, "") for digit in DIGITS), *(("", digit) for digit in DIGITS), ("20", "5"))
_FRONTS: Final = ("", "x", " ", "«", ".")
SHOWN: Final = 20
_GROUP: Final = 20_000


def inspect_vocabulary(tokenizer: OpenTokenizer) -> dict[str, Any]:
    """Counts of the vocabulary, `unreachable` tokens, `digits` and `latex` exactness; up to SHOWN examples of each."""
    numbers = sorted(set(tokenizer.spellings) - tokenizer.control)
    texts = _texts_of(tokenizer, numbers)
    candidates = [number for number in numbers if texts[number]]
    missing = candidates
    for front in _FRONTS:
        missing = _not_found(tokenizer, missing, texts, front)
    joined = [number for number in candidates if _joins_digits(texts[number]) and number not in tokenizer.added]
    return {
        "vocab_size": tokenizer.num_tokens,
        "encoder": tokenizer.encoder.implementation,
        "encoder_reason": tokenizer.encoder.reason,
        "control": len(tokenizer.control),
        "parts_of_characters": len(numbers) - len(candidates),
        "unreachable": {"tokens": len(missing), "examples": [texts[number] for number in missing[:SHOWN]]},
        "digits": exactness(tokenizer, DIGITS, DIGIT_CONTEXTS)
        | {"joined_tokens": len(joined), "examples": [texts[number] for number in joined[:SHOWN]]},
        "latex": exactness(tokenizer, latex_commands()),
    }


def exactness(
    tokenizer: OpenTokenizer, spellings: Sequence[str], contexts: Sequence[tuple[str, str]] = CONTEXTS
) -> dict[str, Any]:
    """How many of `spellings` are one token in every context, and always the same; which are not."""
    texts = [front + spelling + back for spelling in spellings for front, back in contexts]
    spans = tokenizer.encode(pa.array(texts, pa.large_string()))
    firsts = np.concatenate([[0], spans.ends])
    offsets = np.cumsum([0, *(len(text.encode()) for text in texts)])
    failed: list[str] = []
    for k, spelling in enumerate(spellings):
        ids: set[int | None] = set()
        for c, (front, _) in enumerate(contexts):
            row = k * len(contexts) + c
            start = offsets[row] + len(front.encode())
            own = slice(firsts[row], firsts[row + 1])
            whole = (spans.starts[own] == start) & (spans.stops[own] == start + len(spelling.encode()))
            at = np.flatnonzero(whole)
            ids.add(int(spans.ids[own][at[0]]) if at.size == 1 and spans.placed[row] else None)
        if None in ids or len(ids) > 1:
            failed.append(spelling)
    return {"tried": len(spellings), "exact": len(spellings) - len(failed), "not_exact": failed[:SHOWN]}


def _texts_of(tokenizer: OpenTokenizer, numbers: Sequence[int]) -> dict[int, str]:
    """What each token decodes to; "" for parts of characters."""
    if tokenizer.token_bytes is None:
        decoded = [tokenizer.library.decode([number], skip_special_tokens=False) for number in numbers]
        return {n: "" if "\ufffd" in text else text for n, text in zip(numbers, decoded, strict=True)}
    found = {}
    for number in numbers:
        try:
            found[number] = tokenizer.token_bytes[number].decode()
        except UnicodeDecodeError:
            found[number] = ""
    return found


def _not_found(tokenizer: OpenTokenizer, numbers: list[int], texts: dict[int, str], front: str) -> list[int]:
    """Those of `numbers` that encoding their text behind `front` does not give."""
    missing: list[int] = []
    for start in range(0, len(numbers), _GROUP):
        group = numbers[start : start + _GROUP]
        ids, ends = tokenizer.encoder.encode(pa.array([front + texts[number] for number in group], pa.large_string()))
        first = 0
        for number, end in zip(group, ends.tolist(), strict=True):
            if number not in ids[first:end].tolist():
                missing.append(number)
            first = end
    return missing


def _joins_digits(text: str) -> bool:
    return len(text) > 1 and any(character.isdecimal() for character in text)
