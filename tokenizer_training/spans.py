"""Any tokenizer as an evaluation sees it: texts in; ids out, the bytes each token stands for, and whether the text came back.

A tokenizer is the content of a `tokenizer.json`, of eyas or of anyone else. Control tokens are never found in text, and no
token is put around it. Tokens of a byte-level tokenizer are bytes, so where they lie is the sum of their lengths; of others
the library's offsets say it, by which a token of part of a character lies on the whole of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit
from tokenizers import Tokenizer

from pipelines.errors import InputError
from tokenizer_training.bpe_model import NotUnderstoodError, read_model
from tokenizer_training.counting import buffers_of
from tokenizer_training.encoding import LIBRARY_BYTES, BpeEncoder, Encoder, LibraryEncoder, text_groups
from tokenizer_training.merging import byte_characters
from tokenizer_training.split_patterns import Array

MAX_FILE_BYTES: Final = 512 << 20
MAX_VOCAB_SIZE: Final = 1 << 24
"""Ids beyond this are no vocabulary but a mistake; the count of uses of every id is held in memory."""


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Tokens of several texts, in order.

    `ids` int64 [tokens]; `ends` int64 [texts], where each text's tokens end; `starts`, `stops` int64 [tokens], bytes from the
    start of the first text; `comes_back` bool [texts], whether decoding gives the text; `placed` bool [texts], whether the
    spans can be trusted.
    """

    ids: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    comes_back: npt.NDArray[np.bool_]
    placed: npt.NDArray[np.bool_]


class OpenTokenizer:
    """`token_bytes` by id, b"" where there is none; None where tokens are not bytes. `added` are the ids of added tokens."""

    def __init__(self, content: bytes, *, where: str = "tokenizer.json") -> None:
        self.library = _library(content, where)
        vocab = self.library.get_vocab(with_added_tokens=True)
        if not vocab:
            raise InputError(f"{where}: the tokenizer has no token")
        if max(vocab.values()) >= MAX_VOCAB_SIZE:
            raise InputError(
                f"{where}: an id is {max(vocab.values())}; ids up to {MAX_VOCAB_SIZE - 1} can be evaluated"
            )
        added = self.library.get_added_tokens_decoder()
        self.added = frozenset(added)
        self.control = frozenset(number for number, token in added.items() if token.special)
        self.vocab_size = max(vocab.values()) + 1
        self.num_tokens = len(set(vocab.values()))
        self.spellings: dict[int, str] = {number: token for token, number in vocab.items()}
        self.token_bytes = _token_bytes(self.spellings, self.added) if _is_byte_level(content) else None
        self.encoder = _encoder(content, self.library, where)
        self._arena, self._offsets = _joined(self.token_bytes or [])

    def encode(self, texts: pa.Array) -> Spans:
        """The tokens of a large_string array without nulls. InputError where a text is no UTF-8."""
        return self._by_offsets(texts) if self.token_bytes is None else self._by_bytes(texts)

    def ids_of(self, text: str) -> list[int]:
        """The ids of one text."""
        ids, _ = self.encoder.encode(pa.array([text], pa.large_string()))
        return [int(number) for number in ids]

    def _by_bytes(self, texts: pa.Array) -> Spans:
        found, ends = self.encoder.encode(texts)
        ids = found.astype(np.int64)
        content, offsets = buffers_of(texts)
        content, offsets = content[offsets[0] : offsets[-1]], offsets - offsets[0]
        stops = np.cumsum(np.diff(self._offsets)[ids], dtype=np.int64)
        before = np.concatenate([[0], stops])[np.concatenate([[0], ends])]
        shift = offsets[:-1] - before[:-1]
        stops += np.repeat(shift, np.diff(ends, prepend=0))
        starts = stops - np.diff(self._offsets)[ids]
        same = np.zeros(len(texts), np.bool_)
        _compare(_own(content), offsets, ids, ends, self._arena, self._offsets, same)
        return Spans(ids=ids, ends=ends, starts=starts, stops=stops, comes_back=same, placed=same)

    def _by_offsets(self, texts: pa.Array) -> Spans:
        at = 0
        ids, starts, stops, sizes, same = [], [], [], [], []
        for group in text_groups(texts, LIBRARY_BYTES):
            documents = group.to_pylist()
            for text, found in zip(
                documents, self.library.encode_batch(documents, add_special_tokens=False), strict=True
            ):
                raw = np.frombuffer(text.encode(), np.uint8)
                bytes_of = np.append(np.flatnonzero((raw & 0xC0) != 0x80), raw.size)
                spans = np.array(found.offsets, np.int64).reshape(-1, 2)
                ids.append(np.array(found.ids, np.int64))
                starts.append(bytes_of[spans[:, 0]] + at)
                stops.append(bytes_of[spans[:, 1]] + at)
                sizes.append(len(found.ids))
                same.append(self.library.decode(found.ids, skip_special_tokens=False) == text)
                at += raw.size
        none = np.zeros(0, np.int64)
        return Spans(
            ids=np.concatenate([none, *ids]), ends=np.cumsum(sizes, dtype=np.int64), starts=np.concatenate([none, *starts]),
            stops=np.concatenate([none, *stops]), comes_back=np.array(same, np.bool_), placed=np.ones(len(texts), np.bool_),
        )  # fmt: skip


def _library(content: bytes, where: str) -> Tokenizer:
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"{where}: {len(content)} bytes, more than {MAX_FILE_BYTES}; this is no tokenizer.json")
    try:
        tokenizer = Tokenizer.from_str(content.decode())
    except Exception as error:  # the library raises bare Exception for whatever its parser meets
        raise InputError(f"{where}: not a tokenizer.json ({str(error)[:300]})") from error
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _encoder(content: bytes, library: Tokenizer, where: str) -> Encoder:
    try:
        return BpeEncoder(read_model(content, where=where))
    except NotUnderstoodError as error:
        return LibraryEncoder(library, reason=str(error))


def _is_byte_level(content: bytes) -> bool:
    """Whether text comes back by putting the bytes of its tokens one after another, and by nothing else."""
    decoder = json.loads(content).get("decoder")
    while isinstance(decoder, dict) and decoder.get("type") == "Sequence" and len(decoder.get("decoders", [])) == 1:
        decoder = decoder["decoders"][0]
    return isinstance(decoder, dict) and decoder.get("type") == "ByteLevel"


def _token_bytes(spellings: dict[int, str], added: frozenset[int]) -> list[bytes]:
    """The bytes of every id. A token with other characters than those that stand for bytes is its UTF-8, as decoders have it."""
    values = {ord(character): byte for byte, character in enumerate(byte_characters())}
    found = [b""] * (max(spellings) + 1)
    for number, token in spellings.items():
        if number in added or any(ord(character) not in values for character in token):
            found[number] = token.encode(errors="replace")
        else:
            found[number] = bytes(values[ord(character)] for character in token)
    return found


def _joined(tokens: list[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    return _own(np.frombuffer(b"".join(tokens), np.uint8)), np.cumsum([0, *map(len, tokens)], dtype=np.int64)


def _own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same array, read-only: the one type for which the loop is compiled."""
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


@njit(cache=True, nogil=True)
def _compare(content: Array, offsets: Array, ids: Array, ends: Array, arena: Array, at: Array, same: Array) -> None:
    """Whether the bytes of each text's tokens are the text."""
    t = 0
    for d in range(ends.size):
        p, stop, equal = offsets[d], offsets[d + 1], True
        while t < ends[d]:
            a, b = at[ids[t]], at[ids[t] + 1]
            t += 1
            if not equal or p + b - a > stop:
                equal = False
                continue
            for i in range(b - a):
                if content[p + i] != arena[a + i]:
                    equal = False
            p += b - a
        same[d] = equal and p == stop
