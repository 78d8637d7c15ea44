"""Encoding texts: a `tokenizer.json` and Arrow's UTF-8 in, ids out, the same as HF `tokenizers` gives.

What eyas exports, byte-level BPE over one of its split patterns, is encoded here, from UTF-8 buffers to arrays of ids
without a Python object a document. `bpe_model` takes a file only if it understands every field that could change an id;
any other is encoded by HF `tokenizers` itself, and `reason` says what was not understood.

In both, control tokens never come out of text, and placeholders are one id each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Tokenizer

from pipelines.errors import InputError
from pipelines.tokens import token_dtype
from tokenizer_training import encode_loop
from tokenizer_training.bpe_model import Model, NotUnderstoodError, read_model
from tokenizer_training.counting import buffers_of
from tokenizer_training.export import load_tokenizer
from tokenizer_training.piece_merging import byte_pair_ranks, pair_table
from tokenizer_training.split_patterns import split_classes

CACHED_PRETOKENS: Final = 1 << 18
"""Pre-tokens that are remembered beside the vocabulary; then the cache is begun anew. Most are met once: with a million
of them 126 MB of 18 languages and code took no less CPU time, and four times the memory."""
MAX_ARENA_BYTES, MAX_SPILLED_IDS = 16 << 20, 4 << 20
LIBRARY_BYTES: Final = 4 << 20
"""Texts go to HF `tokenizers` in groups of about this many bytes: enough for its threads, little memory."""

Ids = npt.NDArray[Any]
Ends = npt.NDArray[np.int64]


class Encoder(Protocol):
    """`encode` gives the ids of all texts in one array, uint16 or uint32, and int64 where each text's end.

    `vocab_size` is the largest id and one. `reason` says why the library was needed, or is empty.
    """

    vocab_size: int
    implementation: str
    reason: str

    def encode(self, texts: pa.Array, *, end_id: int | None = None) -> tuple[Ids, Ends]:
        """Ids of a large_string array without nulls, each text closed by `end_id` if given. InputError if not UTF-8."""
        ...


def load_encoder(content: bytes, *, where: str = "tokenizer.json") -> Encoder:
    """The encoder of a `tokenizer.json`: eyas' own where it is exact, else HF `tokenizers`.

    Raises InputError for what is no tokenizer.json, and for one in which text can spell a control token.
    """
    try:
        return BpeEncoder(read_model(content, where=where))
    except NotUnderstoodError as error:
        return LibraryEncoder(load_tokenizer(content, where=where), reason=str(error))


class BpeEncoder:
    """The encoder of eyas. Not to be shared between threads: it keeps what it has merged."""

    implementation = "eyas"
    reason = ""

    def __init__(self, model: Model, *, cached_pretokens: int = CACHED_PRETOKENS) -> None:
        self.vocab_size = model.vocab_size
        self._dtype, self._cached = token_dtype(model.vocab_size), cached_pretokens
        pairs = pair_table(model.lefts, model.rights)
        byte_ranks = byte_pair_ranks(pairs, model.byte_ids)
        marks = [spelling for spelling, _ in model.placeholders]
        firsts = np.zeros(256, np.bool_)
        firsts[[spelling[0] for spelling in marks]] = True
        self._marks = (
            firsts, _joined(marks), _offsets(marks), np.array([number for _, number in model.placeholders], np.int32)
        )  # fmt: skip
        self._merging = (model.byte_ids, byte_ranks, pairs, model.lefts, model.rights, model.results, model.widths)
        self._splitting = (split_classes(), model.pattern.flags)
        longest = max(map(len, model.tokens), default=0)
        self._max_lookup = max(encode_loop.CACHED_BYTES, longest)
        long_bytes = sum(len(token) + 4 for token in model.tokens if len(token) > encode_loop.OWN_KEY)
        self._table, self._arena = (
            encode_loop.empty_table(encode_loop.slots_for(len(model.tokens))),
            np.empty(long_bytes, np.uint8),
        )
        self._used, self._spilled = np.zeros(3, np.int64), np.empty(0, np.int32)
        encode_loop.enter_vocabulary(
            _joined(model.tokens), _offsets(model.tokens), model.token_ids, self._table, self._arena, self._used
        )
        self._first = self._table.copy(), self._arena.copy(), self._used.copy()

    def encode(self, texts: pa.Array, *, end_id: int | None = None) -> tuple[Ids, Ends]:
        """Ids of a large_string array without nulls, each text closed by `end_id` if given. InputError if not UTF-8."""
        _check_texts(texts)
        content, offsets = (_read_only(array) for array in buffers_of(texts))
        out = np.empty(int(offsets[-1] - offsets[0]) + len(texts) + encode_loop.ROOM, self._dtype)
        ends = np.zeros(len(texts), np.int64)
        document, at, n = 0, int(offsets[0]), 0
        while True:
            document, at, n = encode_loop.encode_texts(
                content, offsets, out, ends, -1 if end_id is None else end_id, *self._splitting, *self._marks,
                *self._merging, self._max_lookup, self._table, self._arena, self._spilled, self._used, document, at, n,
            )  # fmt: skip
            if document == len(texts):
                return out[:n], ends
            self._make_room()

    def _make_room(self) -> None:
        """Room for at least one more pre-token, in tables that were grown or, at their bounds, begun anew."""
        entries, arena, spilled = self._used.tolist()
        at_most = int(self._first[2][encode_loop.ENTRIES]) + self._cached
        room = self._max_lookup + 4
        if (
            entries >= at_most
            or arena + room > max(MAX_ARENA_BYTES, 2 * self._first[1].size + room)
            or spilled + room > MAX_SPILLED_IDS
        ):
            table, kept, used = self._first
            self._table, self._arena, self._used = table.copy(), kept.copy(), used.copy()
            entries, arena, spilled = self._used.tolist()
        if entries >= self._table.size // 8:
            larger = encode_loop.empty_table(self._table.size // 2)
            encode_loop.move_entries(self._table, larger)
            self._table = larger
        if arena + room > self._arena.size:
            self._arena = _longer(self._arena, arena, room)
        if spilled + room > self._spilled.size:
            self._spilled = _longer(self._spilled, spilled, room)


class LibraryEncoder:
    """HF `tokenizers`, told never to find control tokens in text."""

    implementation = "tokenizers"

    def __init__(self, tokenizer: Tokenizer, *, reason: str = "") -> None:
        self._tokenizer, self.reason = tokenizer, reason
        self.vocab_size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0) + 1
        self._dtype = token_dtype(self.vocab_size)

    def encode(self, texts: pa.Array, *, end_id: int | None = None) -> tuple[Ids, Ends]:
        """Ids of a large_string array without nulls, each text closed by `end_id` if given. InputError if not UTF-8."""
        _check_texts(texts)
        closing = [] if end_id is None else [end_id]
        found = [np.zeros(0, self._dtype)]
        for group in text_groups(texts, LIBRARY_BYTES):
            for encoding in self._tokenizer.encode_batch_fast(group.to_pylist(), add_special_tokens=False):
                found.append(np.array(encoding.ids + closing, self._dtype))
        return np.concatenate(found), np.cumsum([ids.size for ids in found[1:]], dtype=np.int64)


def text_groups(texts: pa.Array, num_bytes: int) -> Iterator[pa.Array]:
    """Slices of a large_string array, in order, of at most `num_bytes` each, or of one longer text."""
    _, offsets = buffers_of(texts)
    start = 0
    while start < len(texts):
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + num_bytes, side="right")) - 1)
        yield texts.slice(start, stop - start)
        start = stop


def _check_texts(texts: pa.Array) -> None:
    if texts.null_count:
        raise InputError(f"{texts.null_count} of {len(texts)} texts are null; a document has a text, drop it before")
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"a text is not UTF-8 ({error}); read its source again or drop the document") from error


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same array, of the one type for which the loop is compiled."""
    view = array.view()
    view.setflags(write=False)
    return view


def _longer(array: npt.NDArray[Any], used: int, room: int) -> npt.NDArray[Any]:
    larger = np.empty(2 * used + room, array.dtype)
    larger[:used] = array[:used]
    return larger


def _joined(values: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(values), np.uint8)


def _offsets(values: Sequence[bytes]) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *map(len, values)], dtype=np.int64)
