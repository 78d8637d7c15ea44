"""Token shards on disk, and a source that reads them as one endless run of documents. Numpy only.

A token artifact is a directory:

```
index.json                    what follows, in order, with counts and checksums
tokens/<shard>.npy            uint16 where every id is at most 65,535, else uint32; little endian, one dimension
documents/<shard>.npy         int64 [num_documents + 1]: where each document starts; the last entry is the end
document_bytes/<shard>.npy    int64 [num_documents]: UTF-8 bytes of each document's text, for bits per byte
document_keys/<shard>.npy     uint64 [num_documents]: `document_key(source, id)`, for a held-out choice by hash
documents/<shard>.parquet     row = document: id, source, locator, ...: from a token back to its page (not read here)
```

Every document ends with the end-of-text id, so a document is never empty.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import ConfigError, InputError

FORMAT = 1
MAX_UINT16_VOCAB = 65_536


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """`<u2` where the largest id, `vocab_size - 1`, fits into it, else `<u4`: 65,537 entries need 32 bits."""
    return np.dtype("<u2") if vocab_size <= MAX_UINT16_VOCAB else np.dtype("<u4")


def document_key(source: str, document_id: str) -> int:
    """The first 8 bytes of sha256(source, NUL, id) as an unsigned integer: the same document, the same key anywhere."""
    return int.from_bytes(hashlib.sha256(f"{source}\x00{document_id}".encode()).digest()[:8], "big")


def is_held_out(keys: npt.NDArray[np.uint64], share: float) -> npt.NDArray[np.bool_]:
    """The held-out rule: a document is held out iff its key is below `share` of 2**64.

    Raises ConfigError for a share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise ConfigError(f"held_out = {share}: give a share of documents in [0, 1)")
    return keys < np.uint64(int(share * 2**64))


def npy_bytes(array: npt.NDArray[Any]) -> bytes:
    """`array` as a .npy file of version 1.0, the same bytes for the same values."""
    file = io.BytesIO()
    write_npy(file, array)
    return file.getvalue()


def write_npy(file: IO[bytes], array: npt.NDArray[Any]) -> None:
    """Append `array` to a binary `file` as .npy 1.0; the file need not be seekable."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(little))
    file.write(little.data.cast("B") if little.size else b"")


def index_bytes(
    *, shards: Sequence[Mapping[str, Any]], vocab_size: int, eos_id: int, tokenizer: str, statistics: Mapping[str, Any]
) -> bytes:
    """`index.json` of a token artifact.

    `shards` in reading order, each {name, num_tokens, num_documents, num_bytes, sha256: {directory: hex}}; `tokenizer`
    is the fingerprint of the tokenizer's artifact; `statistics` is kept as given, for reports.
    """
    index = {
        "format": FORMAT,
        "dtype": token_dtype(vocab_size).str,
        "vocab_size": vocab_size,
        "eos_id": eos_id,
        "tokenizer": tokenizer,
        "num_tokens": sum(int(shard["num_tokens"]) for shard in shards),
        "num_documents": sum(int(shard["num_documents"]) for shard in shards),
        "num_bytes": sum(int(shard["num_bytes"]) for shard in shards),
        "shards": [dict(shard) for shard in shards],
        "statistics": dict(statistics),
    }
    return (json.dumps(index, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


class _View:
    """One shard as a source sees it: the documents it may read, and where each lies in the view's run of tokens."""

    def __init__(self, tokens: npt.NDArray[Any], starts: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> None:
        self.tokens, self.starts, self.rows = tokens, starts, rows
        self.ends = np.cumsum(starts[rows + 1] - starts[rows])
        self.num_tokens = int(self.ends[-1]) if rows.size else 0


class TokenSource:
    """A token artifact on a local disk, read as one endless run of documents, in the order of its index.

    `held_out` hides that share of documents, chosen by `is_held_out`, from `read`; `documents(held_out=True)` gives
    exactly those. Raises InputError, naming the file and what is wrong, for anything that is not as the index says.
    """

    def __init__(self, directory: str | Path, *, held_out: float = 0.0) -> None:
        self.directory = Path(directory)
        self.held_out = held_out
        index = _read_index(self.directory / "index.json")
        self.fingerprint = hashlib.sha256((self.directory / "index.json").read_bytes()).hexdigest()
        self.vocab_size, self.eos_id = int(index["vocab_size"]), int(index["eos_id"])
        self.tokenizer = str(index["tokenizer"])
        self.num_documents, self.num_bytes = int(index["num_documents"]), int(index["num_bytes"])
        self.shards: tuple[dict[str, Any], ...] = tuple(index["shards"])
        self._first_document = np.concatenate([[0], np.cumsum([s["num_documents"] for s in self.shards])]).astype(
            np.int64
        )
        self._view = lru_cache(maxsize=2)(self._open)
        sizes = [
            self._view(shard).num_tokens if held_out else int(s["num_tokens"]) for shard, s in enumerate(self.shards)
        ]
        self._ends = np.cumsum(np.array(sizes, np.int64))
        self.num_tokens = int(self._ends[-1]) if sizes else 0

    def read(self, position: int, length: int) -> tuple[npt.NDArray[np.int64], list[tuple[int, int, int]]]:
        """`length` tokens from token `position` of the endless run, and their (document, start, stop), in order.

        The run repeats after `num_tokens`: position `num_tokens` is position 0 of the next epoch.
        """
        if not self.num_tokens:
            raise InputError(f"{self.directory}: no tokens to read")
        tokens, spans = np.empty(length, np.int64), []
        done = 0
        while done < length:
            at = (position + done) % self.num_tokens
            shard = int(np.searchsorted(self._ends, at, side="right"))
            view = self._view(shard)
            local = at - int(self._ends[shard] - view.num_tokens)
            row = int(np.searchsorted(view.ends, local, side="right"))
            document = int(view.rows[row])
            size = int(view.starts[document + 1] - view.starts[document])
            start = size - (int(view.ends[row]) - local)
            stop = min(size, start + length - done)
            first = int(view.starts[document])
            tokens[done : done + stop - start] = view.tokens[first + start : first + stop]
            spans.append((int(self._first_document[shard]) + document, start, stop))
            done += stop - start
        if length and int(tokens.max()) >= self.vocab_size:
            raise InputError(
                f"{self.directory}: token id {int(tokens.max())} near document {spans[0][0]} is outside the "
                f"vocabulary of {self.vocab_size}; tokenize again"
            )
        return tokens, spans

    def place(self, document: int) -> tuple[str, int]:
        """(shard name, row in its `documents/<shard>.parquet`) of a document's ordinal."""
        if not 0 <= document < self.num_documents:
            raise InputError(f"{self.directory}: document {document} of {self.num_documents}")
        shard = int(np.searchsorted(self._first_document, document, side="right")) - 1
        return str(self.shards[shard]["name"]), document - int(self._first_document[shard])

    def document(self, document: int) -> npt.NDArray[np.int64]:
        """All tokens of one document, the closing end-of-text id included."""
        name, row = self.place(document)
        starts = self._array("documents", name, np.dtype("<i8"), mapped=True)
        return np.asarray(
            self._array("tokens", name, token_dtype(self.vocab_size), mapped=True)[starts[row] : starts[row + 1]],
            np.int64,
        )

    def documents(self, *, held_out: bool) -> list[tuple[int, int, int]]:
        """(ordinal, tokens, bytes of text) of every document that is held out, or of every other, in order."""
        found = []
        for number, shard in enumerate(self.shards):
            name = str(shard["name"])
            starts = self._array("documents", name, np.dtype("<i8"))
            num_bytes = self._array("document_bytes", name, np.dtype("<i8"))
            chosen = is_held_out(self._array("document_keys", name, np.dtype("<u8")), self.held_out) == held_out
            for row in np.flatnonzero(chosen).tolist():
                found.append(
                    (int(self._first_document[number]) + row, int(starts[row + 1] - starts[row]), int(num_bytes[row]))
                )
        return found

    def verify(self) -> None:
        """Rehash every file that the index lists. Raises InputError naming the first that differs."""
        for shard in self.shards:
            for kind, expected in sorted(shard["sha256"].items()):
                path = self.directory / kind / f"{shard['name']}.npy"
                if not path.is_file():
                    raise InputError(f"{path}: missing, though index.json lists it; tokenize again")
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != expected:
                    raise InputError(
                        f"{path}: sha256 {found[:12]} is not {expected[:12]} of index.json; tokenize again"
                    )

    def _open(self, shard: int) -> _View:
        entry = self.shards[shard]
        name, num_tokens, num_documents = str(entry["name"]), int(entry["num_tokens"]), int(entry["num_documents"])
        tokens = self._array("tokens", name, token_dtype(self.vocab_size), mapped=True)
        starts = self._array("documents", name, np.dtype("<i8"))
        where = self.directory / "documents" / f"{name}.npy"
        if tokens.size != num_tokens or starts.size != num_documents + 1:
            raise InputError(
                f"{where}: {starts.size - 1} documents of {tokens.size} tokens, "
                f"index.json says {num_documents} of {num_tokens}"
            )
        if starts[0] != 0 or starts[-1] != num_tokens or (num_documents and int(np.diff(starts).min()) < 1):
            raise InputError(f"{where}: starts must rise from 0 to {num_tokens}; the shard is damaged, tokenize again")
        rows = np.arange(num_documents, dtype=np.int64)
        if self.held_out:
            keys = self._array("document_keys", name, np.dtype("<u8"))
            if keys.size != num_documents:
                raise InputError(
                    f"{self.directory}/document_keys/{name}.npy: {keys.size} keys of {num_documents} documents"
                )
            rows = rows[~is_held_out(keys, self.held_out)]
        return _View(tokens, starts, rows)

    def _array(self, kind: str, name: str, dtype: np.dtype[Any], *, mapped: bool = False) -> npt.NDArray[Any]:
        path = self.directory / kind / f"{name}.npy"
        try:
            array: npt.NDArray[Any] = np.load(
                path, mmap_mode="r" if mapped and path.stat().st_size > 128 else None, allow_pickle=False
            )
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: not a readable .npy file ({error}); tokenize again") from error
        if array.dtype != dtype or array.ndim != 1:
            raise InputError(f"{path}: {array.dtype.str} of {array.ndim} dimensions, expected {dtype.str} of 1")
        return array


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: not a token artifact ({error.strerror}); make one with tokenize") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); tokenize again") from error
    needed = ("vocab_size", "eos_id", "tokenizer", "num_tokens", "num_documents", "num_bytes", "shards", "dtype")
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        found = index.get("format") if isinstance(index, dict) else type(index).__name__
        raise InputError(f"{path}: token format {found!r}, this version of eyas reads {FORMAT}")
    missing = [key for key in needed if key not in index]
    if missing:
        raise InputError(f"{path}: without {', '.join(missing)}; tokenize again")
    if index["dtype"] != token_dtype(int(index["vocab_size"])).str:
        raise InputError(f"{path}: dtype {index['dtype']!r} for a vocabulary of {index['vocab_size']}")
    for shard in index["shards"]:
        name = shard.get("name", "") if isinstance(shard, dict) else ""
        if not name or "/" in name or "\\" in name or name.startswith(".") or "\x00" in name:
            raise InputError(f"{path}: {name!r} cannot be the name of a shard")
        for key in ("num_tokens", "num_documents", "num_bytes"):
            if not isinstance(shard.get(key), int) or shard[key] < 0:
                raise InputError(f"{path}: shard {name!r} has {key} = {shard.get(key)!r}")
    for key in ("num_tokens", "num_documents", "num_bytes"):
        if index[key] != sum(shard[key] for shard in index["shards"]):
            raise InputError(f"{path}: {key} = {index[key]} is not the sum over its shards")
    return index
