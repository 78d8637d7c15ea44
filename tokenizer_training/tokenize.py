"""The maker that tokenizes: a document artifact and a tokenizer artifact in, token shards of `pipelines.tokens` out.

Every document becomes its tokens and the end-of-text id 11; no token stands before it. Text never yields a control
token, whatever it spells; placeholders (`>>EMAIL_ADDRESS<<`) that redaction left are one id each. Memory is bounded by
a group of texts and 24 bytes a document: the tokens of a shard go through a temporary file.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.artifact import Built
from pipelines.counting import add_counts
from pipelines.errors import ConservationError, InputError
from pipelines.passes import Passes
from pipelines.shards import Committed, PartShard, ShardOutput
from pipelines.tokens import document_key, index_bytes, token_dtype, write_npy
from tokenizer_training.encoding import Encoder, load_encoder, text_groups
from tokenizer_training.export import load_tokenizer
from tokenizer_training.special_tokens import EOS_ID

GROUP_BYTES: Final = 16 << 20
"""Texts are encoded in groups of about this many bytes; a longer text is a group of its own."""
SPOOL_BYTES: Final = 64 << 20
"""Tokens of a shard up to this size stay in memory until they are written; more go through a temporary file."""
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
        content = storage.read_bytes(uri)
        load_tokenizer(content, where=uri)
        encoder = load_encoder(content, where=uri)
        if encoder.reason:
            warnings.warn(
                f"{trained.name}: HF tokenizers encodes, many times slower, since in its tokenizer.json {encoder.reason}",
                stacklevel=2,
            )
        vocab_size = encoder.vocab_size
        commits = passes.final(partial(tokenize_part, tokenizer_uri=uri), documents.parts())
        totals: dict[str, Any] = {}
        for commit in commits:
            totals = add_counts(totals, commit.counts)
        kept = documents.manifest.get("counts", {}).get("kept")
        if kept is not None and not passes.missing and totals.get("documents", 0) != kept:
            raise ConservationError(f"{documents.name}: {kept} documents kept, {totals.get('documents', 0)} tokenized")
        statistics = {key: totals.get(key, {}) for key in ("sources", "languages")}
        shards = [_index_entry(commit) for commit in commits]
        index = index_bytes(
            shards=shards, vocab_size=vocab_size, eos_id=EOS_ID, tokenizer=trained.fingerprint, statistics=statistics
        )
        passes.put("index.json", index)
        note = {"tokens": totals.get("tokens", 0), "vocab_size": vocab_size, "encoder": encoder.implementation}
        passes.note("tokens", note | ({"encoder_reason": encoder.reason} if encoder.reason else {}))


def tokenize_part(part: PartShard, out: ShardOutput, *, tokenizer_uri: str) -> dict[str, Any]:
    """Tokenize one shard into `tokens/`, `documents/`, `document_bytes/` and `document_keys/`.

    Raises InputError naming the rows where a text is null or no UTF-8.
    """
    encoder = load_encoder(storage.read_bytes(tokenizer_uri), where=tokenizer_uri)
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
    first_row = 0
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        for batch in storage.read_batches(part.uri, columns=[*carried, "text"]):
            where = f"{part.uri}, rows {first_row} to {first_row + batch.num_rows - 1}"
            num_tokens = _encode(encoder, batch.column("text").cast(pa.large_string()), spool, where=where)
            num_bytes = pc.binary_length(batch.column("text")).cast(pa.int64()).to_numpy(zero_copy_only=False)
            names = zip(batch.column("source").to_pylist(), batch.column("id").to_pylist(), strict=True)
            sizes.append(num_tokens)
            lengths.append(num_bytes)
            keys.append(np.array([document_key(source, name) for source, name in names], np.uint64))
            side = batch.select(carried).append_column("num_tokens", pa.array(num_tokens))
            out.write("documents", side.append_column("num_bytes", pa.array(num_bytes)))
            counts = add_counts(counts, _counts_of(batch, num_tokens, num_bytes))
            first_row += batch.num_rows
        starts = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
        _copy_npy(out.open("tokens", ".npy"), spool, token_dtype(encoder.vocab_size), int(starts[-1]))
    write_npy(out.open("documents", ".npy"), starts)
    write_npy(out.open("document_bytes", ".npy"), np.concatenate(lengths).astype(np.int64))
    write_npy(out.open("document_keys", ".npy"), np.concatenate(keys))
    return counts


def _encode(encoder: Encoder, texts: pa.Array, spool: IO[bytes], *, where: str) -> npt.NDArray[np.int64]:
    """Append the ids of each text, closed by the end-of-text id, to `spool`; how many each has."""
    return np.concatenate([np.zeros(0, np.int64), *_encode_groups(encoder, texts, spool, where)])


def _encode_groups(encoder: Encoder, texts: pa.Array, spool: IO[bytes], where: str) -> Iterator[npt.NDArray[np.int64]]:
    for group in text_groups(texts, GROUP_BYTES):
        try:
            ids, ends = encoder.encode(group, end_id=EOS_ID)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        spool.write(np.ascontiguousarray(ids, ids.dtype.newbyteorder("<")).data.cast("B") if ids.size else b"")
        yield np.diff(ends, prepend=0)


def _copy_npy(file: IO[bytes], spool: IO[bytes], dtype: np.dtype[Any], size: int) -> None:
    """What `write_npy` writes for `size` numbers, which are in `spool`."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": (size,)}
    np.lib.format.write_array_header_1_0(file, header)
    spool.seek(0)
    shutil.copyfileobj(spool, file, 1 << 20)


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
