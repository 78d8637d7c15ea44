"""Token artifacts of given document lengths, for tests of the loader and of what reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.tokens import document_key, index_bytes, npy_bytes, token_dtype

EOS = 11


def write_token_shards(
    folder: Path,
    shards: Sequence[Sequence[int]],
    *,
    source: str,
    tokenizer: str = "t" * 64,
    vocab_size: int = 1000,
    first_id: int = 20,
) -> Path:
    """`shards[s][d]` is the number of tokens of document d of shard `s<number>`, the closing end of text included.

    All other tokens differ as long as the vocabulary allows. A document has three bytes a token.
    """
    entries, next_id = [], first_id
    for number, sizes in enumerate(shards):
        name = f"s{number}"
        tokens = []
        for size in sizes:
            for _ in range(size - 1):
                tokens.append(next_id)
                next_id = next_id + 1 if next_id + 1 < vocab_size else first_id
            tokens.append(EOS)
        if first_id > 60_000 and tokens:
            tokens[0] = vocab_size - 1
        keys = [document_key(source, f"{name}/{row}") for row in range(len(sizes))]
        arrays = {
            "tokens": np.array(tokens, token_dtype(vocab_size)),
            "documents": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            "document_bytes": np.array(sizes, np.int64) * 3,
            "document_keys": np.array(keys, np.uint64),
        }
        for kind, array in arrays.items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{name}.npy").write_bytes(npy_bytes(array))
        hashes = {kind: hashlib.sha256(npy_bytes(array)).hexdigest() for kind, array in arrays.items()}
        entries.append(
            {
                "name": name,
                "num_tokens": len(tokens),
                "num_documents": len(sizes),
                "num_bytes": 3 * len(tokens),
                "sha256": hashes,
            }
        )
    content = index_bytes(shards=entries, vocab_size=vocab_size, eos_id=EOS, tokenizer=tokenizer, statistics={})
    (folder / "index.json").write_bytes(content)
    return folder
