"""Small tokenizers for tests: a `tokenizer.json` as eyas exports it, learned from a few texts in a moment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import pyarrow as pa

from tokenizer_training.counting import PretokenCounter
from tokenizer_training.export import tokenizer_files
from tokenizer_training.latex_commands import latex_commands
from tokenizer_training.merging import byte_characters, learn_merges
from tokenizer_training.special_tokens import reserved_tokens
from tokenizer_training.split_patterns import split_pattern

RESERVED = reserved_tokens(32)
TEXTS = (
    "The falcon dives, and the other falcons dive again. There are 1024 of them; 12 are there.",
    "    def fly(self):\n        return 42\n\n\n    def land(self):\n        return (1, 2)\n" * 2,
    r"Let $\alpha \in \mathbb{R}$ and $\int_0^\infty e^{-x}dx = 1$; \\in is no command. " * 2,
    "Der Falke fliegt über 漢字漢字。がぱ ا\u0651ا\u0651 naïve cafe\u0301 🙂🙂 👩\u200d👩\u200d👧 \r\n\r\n\t\t",
    "==== ---- ((( ))) ;;; aaaaaaaaaaaaaaaa xxxxyyyyxxxxyyyy https://example.org/a?b=c&d=e",
)


@cache
def small_tokenizer(pattern: str = "both", vocab_size: int = 1200) -> bytes:
    """The content of a `tokenizer.json` with that split pattern."""
    split = split_pattern(pattern)
    counter = PretokenCounter(split)
    counter.add(pa.array(TEXTS, pa.large_string()))
    learned = learn_merges(
        counter.to_batch(), vocab_size=vocab_size, reserved=RESERVED + latex_commands(), min_pair_count=1
    )
    return tokenizer_files(learned.vocab, learned.merges, reserved=RESERVED, pattern=split)["tokenizer.json"]


def tokenizer_of(merges: Sequence[tuple[str, str]], *, ignore_merges: bool, pattern: str = "none") -> bytes:
    """One with these merges of byte characters, in this order; whatever they make is in the vocabulary."""
    vocab = list(dict.fromkeys([*RESERVED, *sorted(byte_characters()), *(left + right for left, right in merges)]))
    number = {token: n for n, token in enumerate(vocab)}
    pairs = [(number[left], number[right]) for left, right in merges]
    files = tokenizer_files(vocab, pairs, reserved=RESERVED, pattern=split_pattern(pattern))
    return changed(files["tokenizer.json"], model={"ignore_merges": ignore_merges})


def changed(content: bytes, *, model: dict[str, Any] | None = None, **fields: Any) -> bytes:
    """The same `tokenizer.json` with other fields, of the file and of its model."""
    data = json.loads(content)
    data.update(fields)
    data["model"].update(model or {})
    return json.dumps(data).encode()
