"""The maker that trains a tokenizer: document artifacts in, `tokenizer/tokenizer.json` and its companions out.

One pass counts pre-tokens, a file a shard (64 bits, sorted by bytes); the driver adds the files up and learns the
merges. The result does not depend on shards, their order or workers. The merged counts are held in memory, some
200 bytes a distinct pre-token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.artifact import Built
from pipelines.errors import ConfigError, InputError
from pipelines.passes import Passes
from pipelines.shards import PartShard, ShardOutput
from tokenizer_training.counting import COUNTS_SCHEMA, MAX_PRETOKEN_BYTES, PretokenCounter
from tokenizer_training.export import tokenizer_files
from tokenizer_training.latex_commands import latex_commands
from tokenizer_training.merging import NUM_BYTES, Merges, learn_merges
from tokenizer_training.special_tokens import NUM_RESERVED, PLACEHOLDERS, reserved_tokens
from tokenizer_training.split_patterns import SplitPattern, split_pattern

MAX_INT32 = 2**31 - 1
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))


@dataclass(frozen=True, kw_only=True)
class TrainTokenizer:
    """Byte-level BPE in the Falcon-H1 design. Ids: reserved tokens, LaTeX commands, bytes, merges.

    `vocab_size` counts all of them; a corpus that is too small gives fewer, which the manifest notes. `pattern` is a
    name of split_patterns. A pair must occur `min_pair_count` times to be merged. `latex` injects the LaTeX commands.
    Longer pre-tokens are counted in pieces of `max_pretoken_bytes`.
    """

    version: ClassVar[int] = 1
    vocab_size: int = 65_536
    num_reserved: int = NUM_RESERVED
    pattern: str = "both"
    latex: bool = True
    min_pair_count: int = 2
    max_pretoken_bytes: int = MAX_PRETOKEN_BYTES

    def __post_init__(self) -> None:
        split_pattern(self.pattern)
        fixed = len(self.first_ids())
        if self.vocab_size < fixed + NUM_BYTES:
            raise ConfigError(
                f"vocab_size = {self.vocab_size}: {fixed} reserved tokens and LaTeX commands and {NUM_BYTES} bytes "
                f"need {fixed + NUM_BYTES}; raise vocab_size or lower num_reserved"
            )
        if self.min_pair_count < 1:
            raise ConfigError(f"min_pair_count = {self.min_pair_count}: give at least 1")
        if self.max_pretoken_bytes < 16:
            raise ConfigError(f"max_pretoken_bytes = {self.max_pretoken_bytes}: give at least 16")

    def first_ids(self) -> tuple[str, ...]:
        """The tokens before the bytes."""
        return reserved_tokens(self.num_reserved) + (latex_commands() if self.latex else ())

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Count, merge, export; notes what was learned. InputError where the inputs hold no text."""
        pattern = split_pattern(self.pattern)
        shards = [
            PartShard(name=f"{position:03d}-{part.name}", uri=part.uri)
            for position, built in enumerate(inputs)
            for part in built.parts()
        ]
        counted = passes.run(
            "count", partial(count_pretokens, pattern=pattern, max_bytes=self.max_pretoken_bytes), shards
        )
        counter = PretokenCounter(pattern)
        for commit in counted:
            for batch in storage.read_batches(commit.path("pretokens")):
                counter.add_counts(batch)
        counts = counter.to_batch()
        if not counts.num_rows:
            names = ", ".join(built.name for built in inputs) or "no input"
            raise InputError(f"no text to train a tokenizer on in {names}; look at what its filters dropped")
        merges = self.learn(counts)
        files = tokenizer_files(
            merges.vocab, merges.merges, reserved=reserved_tokens(self.num_reserved), pattern=pattern
        )
        for name, content in sorted(files.items()):
            passes.put(f"tokenizer/{name}", content)
        passes.note("tokenizer", self._describe(counts, merges, [commit.counts for commit in counted]))

    def learn(self, counts: pa.RecordBatch) -> Merges:
        """Merges from counts. Commands that have an id of their own are left out: they are looked up, never merged."""
        if self.latex:
            commands = pa.array([command.encode() for command in latex_commands()], pa.large_binary())
            counts = counts.filter(pc.invert(pc.is_in(counts.column("pretoken"), commands)))
        return learn_merges(
            counts, vocab_size=self.vocab_size, reserved=self.first_ids(), min_pair_count=self.min_pair_count
        )

    def _describe(self, counts: pa.RecordBatch, merges: Merges, shards: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            "asked_vocab_size": self.vocab_size,
            "vocab_size": len(merges.vocab),
            "exhausted": merges.exhausted,
            "num_merges": len(merges.merges),
            "num_reserved": self.num_reserved,
            "num_latex_commands": len(self.first_ids()) - self.num_reserved,
            "pattern": self.pattern,
            "num_documents": sum(shard["documents"] for shard in shards),
            "num_bytes": sum(shard["bytes"] for shard in shards),
            "num_pretokens": int(pc.sum(counts.column("count")).as_py()),
            "num_distinct_pretokens": counts.num_rows,
            "num_cut_pretokens": sum(shard["cuts"] for shard in shards),
            "largest_pair_count": merges.largest_pair_count,
            "beyond_32_bits": merges.largest_pair_count > MAX_INT32,
        }


def count_pretokens(shard: PartShard, out: ShardOutput, *, pattern: SplitPattern, max_bytes: int) -> dict[str, int]:
    """Count the pre-tokens of one shard's texts into `pretokens/`; placeholders are no part of any."""
    counter = PretokenCounter(pattern, max_bytes=max_bytes)
    documents = num_bytes = 0
    for batch in storage.read_batches(shard.uri, columns=["text"]):
        texts = batch.column("text")
        documents += batch.num_rows
        num_bytes += int(pc.sum(pc.binary_length(texts)).as_py() or 0)
        marked = pc.match_substring(texts, ">>")
        counter.add(texts.filter(pc.invert(marked)))
        pieces = [piece for text in texts.filter(marked).to_pylist() for piece in _PLACEHOLDER.split(text)]
        counter.add(pa.array(pieces, pa.large_string()))
    out.declare("pretokens", COUNTS_SCHEMA)
    counts = counter.to_batch()
    out.write("pretokens", counts)
    return {
        "documents": documents, "bytes": num_bytes, "distinct_pretokens": counts.num_rows, "cuts": counter.num_cuts,
    }  # fmt: skip
