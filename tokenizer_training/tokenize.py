"""The maker that tokenizes: a document artifact and a tokenizer artifact in, token shards of `pipelines.tokens` out.

Every document becomes its tokens and the end-of-text id 11; no token stands before it. Text never yields a control
token, whatever it spells; placeholders (`>>EMAIL_ADDRESS<<`) that redaction left are one id each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from pipelines import storage
from pipelines.artifact import Built
from pipelines.counting import add_counts
from pipelines.errors import ConservationError, InputError
from pipelines.passes import Passes
from pipelines.shards import Committed, PartShard, ShardOutput
from pipelines.tokens import document_key, index_bytes, token_dtype, write_npy
from tokenizer_training.export import load_tokenizer
from tokenizer_training.special_tokens import EOS_ID

ENCODE_BYTES = 4 << 20
"""Texts are handed to the tokenizer in groups of about this many bytes: enough for its threads, little memory."""
CARRIED = ("id", "source", "language", "url", "locator")


@dataclass(frozen=True, kw_only=True)
class Tokenize:
    """Inputs: the documents, then the tokenizer. One token shard a document shard; order and documents are kept."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("tokenizers",)

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Tokenize every shard, then write `index.json`. InputError where the second input holds no tokenizer."""
        if len(inputs) != 2:
            raise InputError(f"tokenize takes documents and a tokenizer, got {[built.name for built in inputs]}")
        documents, trained = inputs
        uri = storage.join(trained.uri, "tokenizer", "tokenizer.json")
        if not storage.exists(uri):
            raise InputError(f"{trained.name}: no tokenizer/tokenizer.json in it; give an artifact of train_tokenizer")
        vocab_size = load_tokenizer(storage.read_bytes(uri), where=uri).get_vocab_size()
        commits = passes.final(partial(tokenize_part, tokenizer_uri=uri, vocab_size=vocab_size), documents.parts())
        totals: dict[str, Any] = {}
        for commit in commits:
            totals = add_counts(totals, commit.counts)
        kept = documents.manifest.get("counts", {}).get("kept")
        if kept is not None and not passes.missing and totals.get("documents", 0) != kept:
            raise ConservationError(f"{documents.name}: {kept} documents kept, {totals.get('documents', 0)} tokenized")
        statistics = {key: totals.get(key, {}) for key in ("sources", "languages")}
        shards = [_index_entry(commit) for commit in commits]
        content = index_bytes(
            shards=shards, vocab_size=vocab_size, eos_id=EOS_ID, tokenizer=trained.fingerprint, statistics=statistics
        )
        passes.put("index.json", content)
        passes.note("tokens", {"tokens": totals.get("tokens", 0), "vocab_size": vocab_size})


def tokenize_part(part: PartShard, out: ShardOutput, *, tokenizer_uri: str, vocab_size: int) -> dict[str, Any]:
    """Tokenize one shard into `tokens/`, `documents/`, `document_bytes/` and `document_keys/`."""
    tokenizer = load_tokenizer(storage.read_bytes(tokenizer_uri), where=tokenizer_uri)
    dtype = token_dtype(vocab_size)
    tokens: list[npt.NDArray[Any]] = [np.zeros(0, dtype)]
    sizes: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    lengths, keys = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    counts: dict[str, Any] = {
        "documents": 0,
        "kept": 0,
        "dropped": {},
        "document_bytes": 0,
        "kept_bytes": 0,
        "tokens": 0,
    }
    schema = storage.read_schema(part.uri)
    carried = [name for name in CARRIED if name in schema.names]
    counted = [pa.field("num_tokens", pa.int64()), pa.field("num_bytes", pa.int64())]
    out.declare("documents", pa.schema([*(schema.field(name) for name in carried), *counted]))
    for batch in storage.read_batches(part.uri, columns=[*carried, "text"]):
        encoded = list(_encode(tokenizer, batch.column("text"), dtype))
        num_tokens = np.array([ids.size for ids in encoded], np.int64)
        num_bytes = pc.binary_length(batch.column("text")).cast(pa.int64()).to_numpy(zero_copy_only=False)
        names = zip(batch.column("source").to_pylist(), batch.column("id").to_pylist(), strict=True)
        tokens.extend(encoded)
        sizes.append(num_tokens)
        lengths.append(num_bytes)
        keys.append(np.array([document_key(source, name) for source, name in names], np.uint64))
        side = batch.select(carried).append_column("num_tokens", pa.array(num_tokens))
        out.write("documents", side.append_column("num_bytes", pa.array(num_bytes)))
        counts = add_counts(counts, _counts_of(batch, num_tokens, num_bytes))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    write_npy(out.open("tokens", ".npy"), np.concatenate(tokens).astype(dtype))
    write_npy(out.open("documents", ".npy"), starts)
    write_npy(out.open("document_bytes", ".npy"), np.concatenate(lengths).astype(np.int64))
    write_npy(out.open("document_keys", ".npy"), np.concatenate(keys))
    return counts


def _encode(tokenizer: Tokenizer, texts: pa.Array, dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    """Ids of each text, closed by the end-of-text id."""
    cumulative = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False))
    start = 0
    while start < len(texts):
        done = int(cumulative[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(cumulative, done + ENCODE_BYTES, side="right")))
        group = texts.slice(start, stop - start).to_pylist()
        for encoding in tokenizer.encode_batch_fast(group, add_special_tokens=False):
            yield np.array([*encoding.ids, EOS_ID], dtype)
        start = stop


def _counts_of(
    batch: pa.RecordBatch, num_tokens: npt.NDArray[np.int64], num_bytes: npt.NDArray[np.int64]
) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "documents": batch.num_rows, "kept": batch.num_rows, "document_bytes": int(num_bytes.sum()),
        "kept_bytes": int(num_bytes.sum()), "tokens": int(num_tokens.sum()),
    }  # fmt: skip
    for column, name in (("source", "sources"), ("language", "languages")):
        if batch.schema.get_field_index(column) < 0:
            continue
        table = pa.table(
            {"value": batch.column(column).fill_null("none"), "tokens": num_tokens, "bytes": num_bytes}
        ).group_by("value", use_threads=False)
        rows = table.aggregate([("tokens", "sum"), ("bytes", "sum"), ("value", "count")]).to_pylist()
        counts[name] = {
            row["value"]: {
                "documents": row["value_count"], "kept": row["value_count"], "document_bytes": row["bytes_sum"],
                "kept_bytes": row["bytes_sum"], "tokens": row["tokens_sum"],
            }
            for row in rows
        }  # fmt: skip
    return counts


def _index_entry(commit: Committed) -> dict[str, Any]:
    hashes = {f.path.split("/")[0]: f.sha256 for f in commit.files if f.path.endswith(".npy")}
    return {
        "name": commit.shard,
        "num_tokens": commit.counts["tokens"],
        "num_documents": commit.counts["documents"],
        "num_bytes": commit.counts["kept_bytes"],
        "sha256": hashes,
    }
