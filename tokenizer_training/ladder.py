"""The ladder: tokenizers of several sizes from one run, each a prefix of the next, and the maker that picks one.

Merging to a smaller vocabulary takes the same steps and stops earlier, so one run to the largest size holds them all.
An artifact of several sizes has a folder `tokenizer-<vocab_size>/` each; one of a single size has `tokenizer/`, which is what
other makers read. `pick_tokenizer` makes the second kind of one rung.

`vocab_size` counts the entries a tokenizer has; `padded_vocab_size` the rows of the embedding made for it, rounded up to
a multiple. Falcon-H1 0.5B has 32,778 entries and 32,784 rows:

>>> padded_size(32_778, 16)
32784
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pipelines import storage
from pipelines.artifact import Artifact, Built
from pipelines.errors import ConfigError, InputError
from pipelines.passes import Passes

FOLDER: Final = "tokenizer"
SIZES: Final = "sizes.json"
"""Beside `tokenizer.json`: `vocab_size`, `padded_vocab_size`, `asked_vocab_size`."""


def padded_size(vocab_size: int, pad_to: int) -> int:
    """`vocab_size` rounded up to a multiple of `pad_to`."""
    return -(-vocab_size // pad_to) * pad_to


def folder_of(vocab_size: int, vocab_sizes: Sequence[int]) -> str:
    """Where the tokenizer asked for as `vocab_size` lies in an artifact of `vocab_sizes`."""
    return FOLDER if len(vocab_sizes) == 1 else f"{FOLDER}-{vocab_size}"


def check_sizes(vocab_sizes: Sequence[int], pad_to: int) -> None:
    """Raises ConfigError where the sizes do not rise or `pad_to` is below 1."""
    if list(vocab_sizes) != sorted(set(vocab_sizes)):
        raise ConfigError(f"vocab_sizes = {tuple(vocab_sizes)}: give each size once, the smallest first")
    if pad_to < 1:
        raise ConfigError(f"pad_to = {pad_to}: give at least 1 (no padding)")


def size_entry(asked: int, vocab_size: int, pad_to: int) -> dict[str, Any]:
    """What SIZES and the manifest say of one tokenizer."""
    padded = padded_size(vocab_size, pad_to)
    return {"asked_vocab_size": asked, "vocab_size": vocab_size, "padded_vocab_size": padded}


def size_file(entry: dict[str, Any]) -> bytes:
    """The content of SIZES."""
    return (json.dumps(entry, indent=1, sort_keys=True) + "\n").encode()


@dataclass(frozen=True, kw_only=True)
class PickTokenizer:
    """Input: one artifact of train_tokenizer. Output: its tokenizer of `vocab_size` as `tokenizer/`."""

    vocab_size: int
    version: ClassVar[int] = 1

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Copy the folder. InputError where the input has no tokenizer of that size; it says which it has."""
        if len(inputs) != 1:
            raise InputError(f"give one artifact of train_tokenizer to pick from, got {[b.name for b in inputs]}")
        trained = inputs[0]
        noted = trained.manifest.get("notes", {}).get("tokenizer", {})
        rungs = {int(rung["asked_vocab_size"]): rung for rung in noted.get("ladder", [])}
        if self.vocab_size not in rungs:
            raise InputError(
                f"{trained.name} has no tokenizer of vocab_size = {self.vocab_size}; it has {sorted(rungs) or 'none'}"
            )
        folder = storage.join(trained.uri, folder_of(self.vocab_size, tuple(rungs)))
        for uri in storage.list_files(folder):
            passes.put(f"{FOLDER}/{storage.basename(uri)}", storage.read_bytes(uri))
        passes.note("tokenizer", {**noted, **rungs[self.vocab_size], "ladder": [rungs[self.vocab_size]]})


def pick_tokenizer(trained: Artifact, vocab_size: int, *, name: str = "") -> Artifact:
    """Describe the tokenizer of `vocab_size` out of an artifact that holds several."""
    maker = PickTokenizer(vocab_size=vocab_size)
    return Artifact(name=name or f"{trained.name}-{vocab_size}", maker=maker, inputs=(trained,))
