"""Exact byte-level BPE: from (pre-token, count) to merges, with 64-bit counts and the ties of HF `tokenizers`.

The most frequent pair is merged in every pre-token, again and again (Sennrich et al., arXiv 1508.07909). Ties go to the
smaller left id, then the smaller right id; ids are the reserved tokens', then the 256 bytes' in the order of their
printable characters, then one a merge. Merges and ids equal those of HF's `BpeTrainer` as long as HF's 32-bit counts
hold (2,147,483,647); beyond that HF's wrap around and these do not.

Memory is bounded: the pre-tokens take 8 bytes and 4 a byte each (`words`), the index of their frequent pairs what
`memory_bytes` leaves (`pair_index`). Little memory means more scans of the pre-tokens, not other merges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.errors import ConfigError, InputError
from tokenizer_training.merge_loop import BELOW, DONE, Run, merge_pairs
from tokenizer_training.pair_index import index_pairs
from tokenizer_training.words import Batches, Words, compact, read_words

NUM_BYTES = 256
MEMORY_BYTES = 8_000_000_000
"""Of the whole process: 40 million pre-tokens of 9 bytes are merged within it."""
BASE_BYTES = 400_000_000
"""Interpreter, libraries and machine code."""
PLACE_BYTES, PAIR_BYTES = 4, 90
"""A place in a list; a pair's share of table, queue and entries."""
COMPLETE_SLOTS = 1 << 18
"""Up to so many slots of records every pair is indexed at once: nothing is to be gained by leaving some out."""
STEP = 8
"""The threshold falls by this: lower means fewer scans of the records and more pairs that are listed for nothing."""


@dataclass(frozen=True, kw_only=True)
class Merges:
    """What was learned. `vocab[i]` is token i, spelled in byte characters; `merges` are pairs of ids, best first.

    `pair_counts` int64: how often each merge's pair stood there when it was merged. `exhausted`: no pair was left
    before the vocabulary was full, so `vocab` is shorter than asked. `history` int64 [n, 4] has every step: left id,
    right id, count, size of the vocabulary after it; a pair can be in it twice. `num_scans`: how often the pre-tokens
    were scanned for frequent pairs, which depends on memory and is no result.
    """

    vocab: tuple[str, ...]
    merges: tuple[tuple[int, int], ...]
    pair_counts: npt.NDArray[np.int64]
    exhausted: bool
    history: npt.NDArray[np.int64]
    num_fixed: int
    num_scans: int = 0

    @property
    def largest_pair_count(self) -> int:
        """The count of the most frequent pair; above 2,147,483,647 a 32-bit trainer would have gone wrong."""
        return int(self.pair_counts.max()) if self.pair_counts.size else 0

    def first(self, vocab_size: int) -> Merges:
        """What a run to `vocab_size` would have learned, which is at most the size of this one."""
        return merges_of(
            self.vocab, self.history, vocab_size=vocab_size, num_fixed=self.num_fixed, num_scans=self.num_scans
        )


def merges_of(
    vocab: Sequence[str], history: npt.NDArray[np.int64], *, vocab_size: int, num_fixed: int, num_scans: int = 0
) -> Merges:
    """`vocab_size` entries of `vocab` and the steps of `history` that lead to them; `num_fixed` were there before.

    A pair can come twice where a merge spelled a token that existed; HF's saved file keeps the last rank.
    """
    steps = history[: int(np.searchsorted(history[:, 3], vocab_size)) + 1] if vocab_size > num_fixed else history[:0]
    rank = {(left, right): position for position, (left, right) in enumerate(steps[:, :2].tolist())}
    order = sorted(rank, key=rank.__getitem__)
    return Merges(
        vocab=tuple(vocab[:vocab_size]),
        merges=tuple(order),
        pair_counts=steps[[rank[pair] for pair in order], 2].copy() if order else np.zeros(0, np.int64),
        exhausted=len(vocab) < vocab_size,
        history=steps,
        num_fixed=num_fixed,
        num_scans=num_scans,
    )


def byte_characters() -> tuple[str, ...]:
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2's convention)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(NUM_BYTES) if b not in plain]
    spelled = {b: chr(b) for b in plain} | {b: chr(NUM_BYTES + i) for i, b in enumerate(others)}
    return tuple(spelled[b] for b in range(NUM_BYTES))


def learn_merges(
    counts: pa.RecordBatch | Batches,
    *,
    vocab_size: int,
    reserved: Sequence[str] = (),
    min_pair_count: int = 1,
    memory_bytes: int = MEMORY_BYTES,
    complete_slots: int = COMPLETE_SLOTS,
) -> Merges:
    """Learn merges from `counts` (COUNTS_SCHEMA, each pre-token once) until `vocab_size` entries are there.

    `counts` is a batch, or a function that gives the batches anew each time. `reserved` take the first ids. A pair that
    occurs fewer than `min_pair_count` times ends the run. A merge that spells a token that exists takes its id.

    Raises ConfigError where reserved tokens and bytes alone do not fit; InputError where the counts take more than
    two thirds of `memory_bytes`, are no counts, or would overflow 64 bits.
    """
    characters = byte_characters()
    ids: dict[str, int] = {}
    for token in [*reserved, *sorted(characters)]:
        ids.setdefault(token, len(ids))
    if vocab_size < len(ids):
        raise ConfigError(f"vocab_size = {vocab_size}: {len(reserved)} reserved tokens and 256 bytes need {len(ids)}")
    byte_of = {character: b for b, character in enumerate(characters)}
    spelled = [bytes(byte_of[c] for c in t) if all(c in byte_of for c in t) else b"" for t in ids]
    run = Run.begin(spelled, vocab_size, byte_ids := np.array([ids[c] for c in characters], np.int32))
    words = read_words(_given(counts), byte_ids)
    num_scans = _learn(words, run, max(min_pair_count, 1), memory_bytes, complete_slots)
    learned = ["".join(characters[b] for b in token) for token in run.spellings(len(spelled))]
    return merges_of(
        [*ids, *learned], run.history(), vocab_size=vocab_size, num_fixed=len(spelled), num_scans=num_scans
    )


def memory_needed(distinct: int, num_bytes: int) -> int:
    """What merging so many distinct pre-tokens of so many bytes in all takes if it may: at most MEMORY_BYTES."""
    records, index = 4 * num_bytes + 8 * distinct, 8 * num_bytes + 64 * distinct
    return min(MEMORY_BYTES, BASE_BYTES + records + index)


def _learn(words: Words, run: Run, min_pair_count: int, memory_bytes: int, complete_slots: int) -> int:
    """Merge until `run` is full or no pair is left; the number of scans that took."""
    needed = BASE_BYTES + run.nbytes + words.slots.nbytes + words.slots.nbytes // 2
    if needed > memory_bytes:
        raise InputError(
            f"the pre-tokens to merge need {needed} bytes of memory, {memory_bytes} are allowed; allow more "
            "(memory_bytes) or leave rare ones out (drop_pretokens_below, which says what it left out)"
        )
    threshold: int | None = 1 if words.used <= complete_slots else None
    num_scans, status = 0, BELOW
    while status != DONE:
        compact(words)
        room = memory_bytes - BASE_BYTES - run.nbytes - words.slots.nbytes
        index = index_pairs(
            words, threshold=threshold, floor=min_pair_count, merged=run.merged(),
            max_places=room * 5 // 8 // PLACE_BYTES, max_pairs=room // 4 // PAIR_BYTES,
        )  # fmt: skip
        num_scans += 1
        status = merge_pairs(words, index, run, min_pair_count)
        threshold = index.threshold
        if status == BELOW:
            if threshold <= min_pair_count:
                break
            threshold = max(min_pair_count, threshold // STEP)
        run.keep_merged(index)
        del index
    return num_scans


def _given(counts: pa.RecordBatch | Batches) -> Batches:
    if callable(counts):
        return counts
    return partial(_one, counts)


def _one(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, ...]:
    return (batch,)
