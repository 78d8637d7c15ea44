"""Token shards: the format on disk, a source that reads it, and the deterministic loader over several. Numpy only.

`shards` tells the format, `loader` the order of sequences; training code imports all of it from here.
"""

from pipelines.tokens.loader import Component, MixtureLoader, PackedSequence, Span
from pipelines.tokens.shards import (
    FORMAT,
    TokenSource,
    document_key,
    index_bytes,
    is_held_out,
    npy_bytes,
    token_dtype,
    write_npy,
)

__all__ = [
    "FORMAT",
    "Component",
    "MixtureLoader",
    "PackedSequence",
    "Span",
    "TokenSource",
    "document_key",
    "index_bytes",
    "is_held_out",
    "npy_bytes",
    "token_dtype",
    "write_npy",
]
