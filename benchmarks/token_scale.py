"""Exact merging at scale, on counts made for it: time and memory against the number of distinct pre-tokens.

    python -m benchmarks.token_scale --distinct 1000000 5000000 40000000
    python -m benchmarks.token_scale --distinct 40000000 --memory-bytes 5000000000
    python -m benchmarks.token_scale --one-character 1000000000        # count and train on a gigabyte of one character

A pre-token is one to four pieces of a lexicon of 60,000 (letter strings of Zipf lengths), pieces drawn by a Zipf law,
with a space before two of three; each is distinct, mean length about 9 bytes. The r-th gets the count C / r**1.2, at
least 1, so that 40 million stand for 10 billion pre-tokens, about 50 GB of text. Counts are written to Parquet by one
process; another reads and merges them, and its `VmHWM` is what is printed. No peer is run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from rich.table import Table

from benchmarks.harness import console
from pipelines import storage
from pipelines.passes import peak_memory_bytes
from tokenizer_training.counting import COUNTS_SCHEMA, PretokenCounter
from tokenizer_training.merging import MEMORY_BYTES, learn_merges
from tokenizer_training.split_patterns import split_pattern

LEXICON, MAX_PIECES = 60_000, 4
WRITE_ROWS = 1 << 20
PRETOKENS_PER_DISTINCT = 250  # 10 billion over 40 million


@njit(cache=True)
def _random(state: Any) -> Any:
    """splitmix64, in place: a float in [0, 1)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def _make(pieces: Any, lengths: Any, distinct: int, content: Any, offsets: Any, seen: Any, state: Any) -> int:
    """Write `distinct` different pre-tokens; the number that are there when `content` is full."""
    n, mask = 0, np.uint64(seen.size - 1)
    while n < distinct and offsets[n] + 64 <= content.size:
        at = offsets[n]
        if _random(state) < 0.67:
            content[at] = 32
            at += 1
        for _ in range(1 + int(_random(state) * MAX_PIECES)):
            piece = int(LEXICON ** _random(state)) - 1
            for z in range(lengths[piece]):
                content[at] = pieces[piece, z]
                at += 1
        h = np.uint64(0xC2B2AE3D27D4EB4F)
        for q in range(offsets[n], at):
            h = (h ^ np.uint64(content[q])) * np.uint64(0x9E3779B97F4A7C15)
            h ^= h >> np.uint64(29)
        h |= np.uint64(1)
        p = (h >> np.uint64(20)) & mask
        while seen[p] != 0 and seen[p] != h:
            p = (p + np.uint64(1)) & mask
        if seen[p] == 0:
            seen[p] = h
            n += 1
            offsets[n] = at
    return n


def make_counts(path: Path, distinct: int, seed: int) -> dict[str, Any]:
    """Write `distinct` pre-tokens with their counts (COUNTS_SCHEMA)."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(1 + rng.geometric(0.65, LEXICON), 8)
    letters = np.frombuffer(b"etaoinshrdlucmfwypvbgkqjxz", np.uint8)
    pieces = letters[np.minimum((26 ** rng.random((LEXICON, 8))).astype(np.int64) - 1, 25)]
    content, offsets = np.empty(16 * distinct + 1024, np.uint8), np.zeros(distinct + 1, np.int64)
    size = 1 << max(10, (2 * distinct).bit_length())
    state = np.array([seed], np.uint64)
    made = _make(pieces, lengths, distinct, content, offsets, np.zeros(size, np.uint64), state)
    ranks = np.arange(1, made + 1, dtype=np.float64) ** -1.2
    counts = np.maximum(ranks * (PRETOKENS_PER_DISTINCT * distinct / ranks.sum()), 1).astype(np.int64)
    with pq.ParquetWriter(path, COUNTS_SCHEMA, compression="zstd", use_dictionary=False) as writer:
        for start in range(0, made, WRITE_ROWS):
            stop = min(start + WRITE_ROWS, made)
            ends = offsets[start : stop + 1]
            buffers = [None, pa.py_buffer(ends - ends[0]), pa.py_buffer(content[ends[0] : ends[-1]])]
            pretokens = pa.Array.from_buffers(pa.large_binary(), stop - start, buffers)
            batch = pa.RecordBatch.from_arrays([pretokens, pa.array(counts[start:stop])], schema=COUNTS_SCHEMA)
            writer.write_batch(batch)
    return {"distinct": made, "mean_bytes": int(offsets[made]) / made, "pretokens": int(counts.sum())}


def read_counts(path: Path) -> Iterator[pa.RecordBatch]:
    return storage.read_batches(str(path), batch_rows=1 << 16)


def merge(path: Path, vocab_size: int, memory_bytes: int) -> dict[str, Any]:
    """Merge the counts at `path` in this process; CPU seconds without compiling, peak memory, and what was learned."""
    warm = pa.RecordBatch.from_pydict({"pretoken": [b"warm", b"warming"], "count": [5_000_000, 3]}, COUNTS_SCHEMA)
    learn_merges(warm, vocab_size=260, complete_slots=0)
    before, started = peak_memory_bytes(), time.process_time()
    learned = learn_merges(partial(read_counts, path), vocab_size=vocab_size, memory_bytes=memory_bytes)
    return {
        "cpu_seconds": time.process_time() - started, "base_bytes": before, "peak_bytes": peak_memory_bytes(),
        "merges": len(learned.merges), "last_count": int(learned.pair_counts[-1]), "scans": learned.num_scans,
        "largest_pair_count": learned.largest_pair_count, "digest": hash_of(learned.history),
    }  # fmt: skip


def hash_of(history: npt.NDArray[np.int64]) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(history).tobytes()).hexdigest()[:16]


def one_character(num_bytes: int) -> dict[str, Any]:
    """Count and merge `num_bytes` of the letter a, one document."""
    counter = PretokenCounter(split_pattern("both"))
    started = time.process_time()
    text = pa.array([b"a" * num_bytes], pa.large_binary()).cast(pa.large_string())
    counter.add(text)
    learned = learn_merges(counter.to_batch(), vocab_size=65_536)
    return {
        "cpu_seconds": time.process_time() - started, "peak_bytes": peak_memory_bytes(),
        "merges": len(learned.merges), "exhausted": learned.exhausted,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distinct", type=int, nargs="*", default=[1_000_000, 5_000_000])
    parser.add_argument("--vocab-size", type=int, default=261_120)
    parser.add_argument("--memory-bytes", type=int, default=MEMORY_BYTES)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--one-character", type=int)
    parser.add_argument("--counts", type=Path, help="merge this file of counts in this process and print JSON")
    options = parser.parse_args()
    if options.counts:
        print(json.dumps(merge(options.counts, options.vocab_size, options.memory_bytes)))
        return
    if options.one_character:
        print(json.dumps(one_character(options.one_character), indent=1))
        return
    table = Table(
        "distinct", "bytes each", "pre-tokens", "CPU s", "VmHWM MB", "scans", "last count", "merges", "digest"
    )
    for distinct in options.distinct:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "counts.parquet"
            made = make_counts(path, distinct, options.seed)
            call = [sys.executable, "-m", "benchmarks.token_scale", "--counts", str(path)]
            call += ["--vocab-size", str(options.vocab_size), "--memory-bytes", str(options.memory_bytes)]
            found = json.loads(subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout)
        table.add_row(
            f"{made['distinct']:,}", f"{made['mean_bytes']:.1f}", f"{made['pretokens']:,}",
            f"{found['cpu_seconds']:.1f}", f"{found['peak_bytes'] / 1e6:,.0f}", str(found["scans"]),
            f"{found['last_count']:,}", f"{found['merges']:,}", found["digest"],
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
