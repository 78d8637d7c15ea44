"""The maker that trains tokenizers: document artifacts in, `tokenizer/tokenizer.json` and its companions out.

Passes: count the pre-tokens of every shard, add the counts up by hash range (`aggregate`), learn the merges in one task
(`merging`, exact in 64 bits, within MEMORY_BYTES); the driver writes the files. The result does not depend on shards,
their order, workers or memory. Several `vocab_sizes` come out of one run of merges, a folder each (`ladder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipelines import storage
from pipelines.artifact import Built
from pipelines.errors import ConfigError, InputError
from pipelines.executors import Needs
from pipelines.passes import Passes
from pipelines.shards import Committed, PartShard, ShardOutput
from tokenizer_training.aggregate import count_inputs, read_counts
from tokenizer_training.counting import MAX_PRETOKEN_BYTES
from tokenizer_training.export import tokenizer_files
from tokenizer_training.ladder import SIZES, check_sizes, folder_of, size_entry, size_file
from tokenizer_training.latex_commands import latex_commands
from tokenizer_training.merging import MEMORY_BYTES, NUM_BYTES, Merges, learn_merges, memory_needed, merges_of
from tokenizer_training.sampling import check_sampling
from tokenizer_training.special_tokens import NUM_RESERVED, reserved_tokens
from tokenizer_training.split_patterns import split_pattern

MAX_INT32 = 2**31 - 1
STEPS = pa.schema([pa.field(name, pa.int64(), False) for name in ("left", "right", "count", "size")])
VOCAB = pa.schema([pa.field("token", pa.string(), False)])


@dataclass(frozen=True, kw_only=True)
class TrainTokenizer:
    """Byte-level BPE in the Falcon-H1 design. Ids: reserved tokens, LaTeX commands, bytes, merges.

    `vocab_size` counts all of them; a corpus that is too small gives fewer, which the manifest notes. `vocab_sizes`, if
    given, are the sizes of a ladder, the smallest first, and replace it. Embeddings are padded to a multiple of
    `pad_to`, which changes no tokenizer.

    `pattern` is a name of split_patterns. A pair must occur `min_pair_count` times to be merged. `latex` injects the
    LaTeX commands. Longer pre-tokens are counted in pieces of `max_pretoken_bytes`. Pre-tokens that occur less than
    `drop_pretokens_below` times are left out (1: none), which makes merging cheaper and is not exact; the manifest
    notes how many. `weights` are factors on sources and `temperature` evens out languages (`sampling`); counts are
    then weighted ones, those that `min_pair_count` and `drop_pretokens_below` bound too.
    """

    version: ClassVar[int] = 2
    vocab_size: int = 65_536
    vocab_sizes: tuple[int, ...] = ()
    pad_to: int = 16
    num_reserved: int = NUM_RESERVED
    pattern: str = "both"
    latex: bool = True
    min_pair_count: int = 2
    max_pretoken_bytes: int = MAX_PRETOKEN_BYTES
    drop_pretokens_below: int = 1
    weights: tuple[tuple[str, float], ...] = ()
    temperature: float = 1.0

    def __post_init__(self) -> None:
        split_pattern(self.pattern)
        check_sizes(self.sizes, self.pad_to)
        check_sampling(self.weights, self.temperature)
        fixed = len(self.first_ids())
        if self.sizes[0] < fixed + NUM_BYTES:
            raise ConfigError(
                f"vocab_size = {self.sizes[0]}: {fixed} reserved tokens and LaTeX commands and {NUM_BYTES} bytes "
                f"need {fixed + NUM_BYTES}; raise vocab_size or lower num_reserved"
            )
        for name in ("min_pair_count", "drop_pretokens_below"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: give at least 1")
        if self.max_pretoken_bytes < 16:
            raise ConfigError(f"max_pretoken_bytes = {self.max_pretoken_bytes}: give at least 16")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The vocabulary sizes to make, the smallest first."""
        return self.vocab_sizes or (self.vocab_size,)

    def first_ids(self) -> tuple[str, ...]:
        """The tokens before the bytes."""
        return reserved_tokens(self.num_reserved) + (latex_commands() if self.latex else ())

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Count, merge, export; notes what was learned. InputError where the inputs hold no text."""
        pattern = split_pattern(self.pattern)
        counted, notes = count_inputs(
            inputs, passes, pattern=pattern, max_pretoken_bytes=self.max_pretoken_bytes, weights=self.weights,
            temperature=self.temperature, drop_below=self.drop_pretokens_below,
        )  # fmt: skip
        if not notes["num_distinct_pretokens"]:
            names = ", ".join(built.name for built in inputs) or "no input"
            raise InputError(f"no text to train a tokenizer on in {names}; look at what its filters dropped")
        merges = self._merge(counted, notes["count_scale"], passes)
        ladder = []
        for size in self.sizes:
            rung = merges.first(size)
            entry = size_entry(size, len(rung.vocab), self.pad_to)
            files = tokenizer_files(
                rung.vocab, rung.merges, reserved=reserved_tokens(self.num_reserved), pattern=pattern,
                padded_vocab_size=entry["padded_vocab_size"],
            )  # fmt: skip
            files[SIZES] = size_file(entry)
            for name, content in sorted(files.items()):
                passes.put(f"{folder_of(size, self.sizes)}/{name}", content)
            ladder.append(entry | {"num_merges": len(rung.merges), "exhausted": rung.exhausted})
        largest = merges.largest_pair_count // notes["count_scale"]
        learned = {
            **ladder[-1],
            "num_reserved": self.num_reserved,
            "num_latex_commands": len(self.first_ids()) - self.num_reserved,
            "pattern": self.pattern,
            "largest_pair_count": largest,
            "beyond_32_bits": largest > MAX_INT32,
            "ladder": ladder,
        }
        passes.note("tokenizer", notes | learned)

    def _merge(self, counted: Sequence[Committed], scale: int, passes: Passes) -> Merges:
        """Learn the merges in a task of its own, and read them back."""
        needed = memory_needed(
            sum(commit.counts["distinct"] for commit in counted),
            sum(commit.counts["pretoken_bytes"] for commit in counted),
        )
        work = partial(
            merge_counts, uris=tuple(commit.path("pretokens") for commit in counted), vocab_size=self.sizes[-1],
            first_ids=self.first_ids(), latex=self.latex, min_pair_count=self.min_pair_count * scale,
        )  # fmt: skip
        (commit,) = passes.run("merge", work, [PartShard(name="merges", uri="")], needs=Needs(memory_bytes=needed))
        steps = storage.read_table(commit.path("steps"))
        history = np.column_stack([steps.column(name).to_numpy() for name in STEPS.names])
        vocab = storage.read_table(commit.path("vocab")).column("token").to_pylist()
        return merges_of(vocab, history, vocab_size=self.sizes[-1], num_fixed=commit.counts["num_fixed"])


def merge_counts(
    shard: PartShard,
    out: ShardOutput,
    *,
    uris: Sequence[str],
    vocab_size: int,
    first_ids: Sequence[str],
    latex: bool,
    min_pair_count: int,
    memory_bytes: int = MEMORY_BYTES,
) -> dict[str, int]:
    """Learn merges from the counts in `uris` into `steps/` and `vocab/`.

    Commands that have an id of their own are left out: they are looked up, never merged.
    """
    commands = pa.array([command.encode() for command in latex_commands()], pa.large_binary()) if latex else None
    merges = learn_merges(
        partial(read_counts, uris, commands), vocab_size=vocab_size, reserved=first_ids, min_pair_count=min_pair_count,
        memory_bytes=memory_bytes,
    )  # fmt: skip
    columns = [pa.array(np.ascontiguousarray(merges.history[:, i])) for i in range(4)]
    out.declare("steps", STEPS)
    out.write("steps", pa.RecordBatch.from_arrays(columns, schema=STEPS))
    out.write("vocab", pa.RecordBatch.from_pydict({"token": list(merges.vocab)}, schema=VOCAB))
    return {"merges": len(merges.merges), "num_fixed": merges.num_fixed, "scans": merges.num_scans}
