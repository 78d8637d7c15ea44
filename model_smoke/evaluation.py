"""Bits per byte (BPB) of held-out documents, one figure a document: tokenizer-neutral, and what verdicts are made of.

In: a model and documents as token ids. Out: float64 bits [documents]. BPB of a document is its code length over the UTF-8
bytes of its text: the first token, which nothing precedes, at log2(vocab_size) bits, every other, the end of text included,
at the model's -log2 p. A document longer than a row is read in windows, each token charged once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from model_smoke.held_out import HeldOutDocument
from model_smoke.losses import IGNORED, TokenLosses
from pipelines.errors import InputError
from pipelines.tokens import TokenSource

TOKENS_AT_ONCE = 8_192


class LanguageModel(Protocol):
    """What is needed of a model: losses of targets, and whether it trains."""

    def loss(
        self, tokens: torch.Tensor, document: torch.Tensor | None, targets: torch.Tensor, *, z_loss: float = ...
    ) -> TokenLosses:
        """See `model_smoke.falcon_h1`."""
        ...


def read_tokens(documents: Sequence[HeldOutDocument], tokenizer: str) -> list[npt.NDArray[np.int64]]:
    """The token ids of each document under `tokenizer`, end of text included. InputError where it has none there."""
    source_of = lru_cache(maxsize=64)(TokenSource)
    found = []
    for document in documents:
        place = document.places.get(tokenizer)
        if place is None:
            raise InputError(f"held-out document {document.key:016x} was not tokenized by {tokenizer[:12]}")
        found.append(source_of(Path(place.directory)).document(place.ordinal))
    return found


@torch.no_grad()  # type: ignore[untyped-decorator,unused-ignore] # torch carries no types here
def document_bits(
    model: LanguageModel,
    documents: Sequence[npt.NDArray[np.int64]],
    *,
    length: int,
    vocab_size: int,
    device: str | torch.device = "cpu",
) -> npt.NDArray[np.float64]:
    """Code length in bits of each document, in windows of `length` tokens that are packed into rows and do not see each other.

    What a broken model gives, infinity or NaN, comes out as it is.
    """
    bits = np.full(len(documents), math.log2(vocab_size))
    for batch in _batches(list(_rows(_windows(documents, length), length)), max(1, TOKENS_AT_ONCE // length)):
        arrays = [np.stack([row[part] for row in batch]) for part in range(4)]
        tokens, number, targets = (torch.from_numpy(array).to(device) for array in arrays[:3])
        nats = model.loss(tokens, number, targets, z_loss=0.0).nats.cpu().numpy().astype(np.float64)
        owners = arrays[3]
        counted = arrays[2] != IGNORED
        bits += np.bincount(owners[counted], weights=nats[counted], minlength=len(documents)) / math.log(2)
    return bits


Row = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _windows(documents: Sequence[npt.NDArray[np.int64]], length: int) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """(document, its tokens from `start` to `start + length` inclusive), longest first: those fill rows best."""
    cut = [
        (owner, tokens[start : start + length + 1])
        for owner, tokens in enumerate(documents)
        for start in range(0, len(tokens) - 1, length)
    ]
    return sorted(cut, key=lambda entry: -len(entry[1]))


def _rows(windows: Sequence[tuple[int, npt.NDArray[np.int64]]], length: int) -> Iterator[Row]:
    """Rows of `length`: inputs, document numbers, targets and owners; the rest of a row is padding that counts for nothing.

    First fit over windows by falling size, among the last 64 open rows.
    """
    open_rows: list[tuple[int, list[tuple[int, npt.NDArray[np.int64]]]]] = []
    closed: list[list[tuple[int, npt.NDArray[np.int64]]]] = []
    for owner, window in windows:
        size = len(window) - 1
        for position, (room, members) in enumerate(open_rows):
            if size <= room:
                members.append((owner, window))
                open_rows[position] = room - size, members
                break
        else:
            open_rows.append((length - size, [(owner, window)]))
            if len(open_rows) > 64:
                closed.append(open_rows.pop(0)[1])
    for members in [*closed, *(members for _, members in open_rows)]:
        inputs, number = np.zeros(length, np.int64), np.full(length, len(members), np.int32)
        targets, owners = np.full(length, IGNORED, np.int64), np.zeros(length, np.int64)
        at = 0
        for position, (owner, window) in enumerate(members):
            stop = at + len(window) - 1
            inputs[at:stop], targets[at:stop] = window[:-1], window[1:]
            number[at:stop], owners[at:stop] = position, owner
            at = stop
        yield inputs, number, targets, owners


def _batches(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def bits_per_byte(bits: npt.NDArray[np.float64], documents: Sequence[HeldOutDocument]) -> dict[str, Any]:
    """{"all": x, "domains": {name: {bits_per_byte, documents, bytes}}, "languages": {...}}; sums of bits over sums of bytes."""
    sizes = np.array([document.num_bytes for document in documents], np.float64)
    return {
        "all": float(bits.sum() / sizes.sum()),
        "domains": _by([document.domain for document in documents], bits, sizes),
        "languages": _by([document.language for document in documents], bits, sizes),
    }


def _by(
    labels: Sequence[str | None], bits: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]
) -> Mapping[str, dict[str, float]]:
    found = {}
    for label in sorted({label for label in labels if label is not None}):
        rows = np.array([each == label for each in labels])
        found[label] = {
            "bits_per_byte": float(bits[rows].sum() / sizes[rows].sum()),
            "documents": int(rows.sum()),
            "bytes": int(sizes[rows].sum()),
        }
    return found
