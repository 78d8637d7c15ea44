"""Counting, training and encoding with byte-level BPE: eyas against HF `tokenizers`, datatrove, rustbpe and bpeasy.

All sides take the same texts, split by the same expression (`both`), to the same size of vocabulary, 65,536. The
texts are real and each is there once: the shared data's, then the standard library's and installed packages' (source,
headers, scripts, markup, documentation), at least 300 MB where so much is found.

- `count`: Parquet to the counts of all pre-tokens, on disk. HF's trainer counts nothing by itself, so it is asked for
  the bytes alone: it counts, makes words, counts pairs once and stops.
- `train`: Parquet to a tokenizer on disk, by the maker, with counts and merges; each peer once, as it takes
  minutes, bpeasy on the slice.
- `encode`: Parquet to ids and the places where documents end, on disk. eyas also writes keys, byte lengths and a side table.
  `tokenizers` encodes by `encode_batch_fast`, datatrove by its DocumentTokenizer, without shuffling; both as one thread.

What is "per core" is per CPU second. eyas runs on everything, a peer under 5 MB/s on every n-th text, about 8 MB, but for `train`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import random
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zstandard

from benchmarks.dedup import Given
from benchmarks.harness import SHARED, SLOW_PEER_MB, SLOW_PEER_RUNS, Command, Row, console, measure

RESULTS = "tokenizer"
MIN_MB, TARGET_MB, VOCAB_SIZE, NUM_RESERVED = 300.0, 320.0, 65_536, 32
PATTERN = "both"
BATCH_ROWS = 1024
MAX_FILE_BYTES = 1 << 20
SUFFIXES = {
    ".py", ".pyi", ".pyx", ".md", ".rst", ".txt", ".h", ".hpp", ".c", ".cpp", ".cu", ".cuh", ".js", ".ts", ".css", ".html",
    ".cmake", ".toml", ".cfg",
}  # fmt: skip
SHARED_FOLDERS = ("multilingual", "code", "math", "webtext", "neardup", "benchmarks", "quality")
ONE_THREAD = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


# --- texts ------------------------------------------------------------------------------------------------------------


def shared_texts() -> Iterator[str]:
    """Every string of more than 200 characters in the JSON Lines of the shared folders."""
    for folder in SHARED_FOLDERS:
        for path in sorted((SHARED / "data" / folder).glob("*.jsonl.zst")):
            raw = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
            for line in io.TextIOWrapper(raw, encoding="utf-8"):
                found = json.loads(line)
                values = found.values() if isinstance(found, dict) else ()
                yield from (value for value in values if isinstance(value, str) and len(value) > 200)


def installed_texts() -> Iterator[str]:
    """Files of the standard library and of installed packages that are text and no more than a megabyte."""
    paths = sysconfig.get_paths()
    for folder in dict.fromkeys((paths["stdlib"], paths["purelib"], paths["platlib"])):
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and 200 < path.stat().st_size <= MAX_FILE_BYTES:
                content = path.read_bytes()
                try:
                    yield content.decode()
                except UnicodeDecodeError:
                    continue


def distinct_texts(target_mb: float) -> list[str]:
    """Texts of about `target_mb`, each once, in an order that mixes all kinds."""
    seen: set[bytes] = set()
    texts: list[str] = []
    size = 0
    for source in (shared_texts, installed_texts):
        for text in source():
            content = text.encode(errors="replace")
            digest = hashlib.sha256(content).digest()
            if digest not in seen and size < target_mb * 1e6:
                seen.add(digest)
                texts.append(content.decode())
                size += len(content)
    random.Random(11).shuffle(texts)
    return texts


def write_documents(path: Path, texts: list[str]) -> float:
    """Write one Parquet file of documents; megabytes of text."""
    path.parent.mkdir(parents=True)
    columns = {"id": [f"{i:08d}" for i in range(len(texts))], "source": ["real"] * len(texts)}
    table = pa.table({**columns, "text": pa.array(texts, pa.large_string())})
    pq.write_table(table, path, row_group_size=BATCH_ROWS, compression="none")
    return float(pc.sum(pc.binary_length(table.column("text"))).as_py()) / 1e6


def batches(path: str) -> Iterator[pa.RecordBatch]:
    return pq.ParquetFile(path, memory_map=True).iter_batches(
        batch_size=BATCH_ROWS, columns=["text"], use_threads=False
    )


def texts_in(path: str) -> Iterator[str]:
    for batch in batches(path):
        yield from batch.column("text").to_pylist()


# --- count ------------------------------------------------------------------------------------------------------------


def prepare_count(source: str, target: str) -> Callable[[], dict[str, int]]:
    """Compile on a few texts; the work streams batches through one counter, whose counts go to Parquet."""
    from tokenizer_training.counting import PretokenCounter
    from tokenizer_training.split_patterns import split_pattern

    pa.set_cpu_count(1)

    def count(given: Iterator[pa.RecordBatch]) -> dict[str, int]:
        counter = PretokenCounter(split_pattern(PATTERN))
        for batch in given:
            counter.add(batch.column("text").cast(pa.large_string()))
        counts = counter.to_batch()
        pq.write_table(pa.table(counts), target, compression="none", use_dictionary=False)
        return {"distinct": counts.num_rows, "pretokens": int(pc.sum(counts.column("count")).as_py())}

    count(iter([pa.record_batch({"text": pa.array(["warm up, incomprehensibilities"] * 2, pa.large_string())})]))
    return lambda: count(batches(source))


def hf_trainer(vocab_size: int) -> tuple[Any, Any]:
    """HF's BPE with the expression, reserved tokens and bytes that eyas has, and its trainer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    from tokenizer_training.special_tokens import reserved_tokens
    from tokenizer_training.split_patterns import split_pattern

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(split_pattern(PATTERN).regex), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, show_progress=False, special_tokens=list(reserved_tokens(NUM_RESERVED)),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    return tokenizer, trainer


def prepare_hf_train(source: str, target: str, vocab_size: int) -> Callable[[], dict[str, Any]]:
    """The work reads texts, trains and saves `tokenizer.json`."""
    tokenizer, trainer = hf_trainer(vocab_size)

    def work() -> dict[str, Any]:
        tokenizer.train_from_iterator(texts_in(source), trainer)
        tokenizer.save(target)
        return {"vocab_size": tokenizer.get_vocab_size(), "merges": merges_digest(Path(target))}

    return work


# --- train ------------------------------------------------------------------------------------------------------------


def merges_digest(path: Path) -> str:
    """Of the merges in a tokenizer.json: equal where two sides learned the same."""
    merges = json.loads(path.read_bytes())["model"]["merges"]
    return hashlib.sha256(json.dumps(merges).encode()).hexdigest()[:12]


def prepare_train(artifact: str, scratch: str, vocab_size: int) -> Callable[[], dict[str, Any]]:
    """Compile by training on a few texts; the work is one build by one process, in a root of its own."""
    from pipelines.artifact import Artifact, Existing, build
    from tokenizer_training.train import TrainTokenizer

    pa.set_cpu_count(1)

    def train(corpus: Any, size: int) -> dict[str, Any]:
        root = tempfile.mkdtemp(dir=scratch)
        maker = TrainTokenizer(vocab_size=size, num_reserved=NUM_RESERVED, pattern=PATTERN, latex=False)
        manifest = build(Artifact(name="tokenizer", maker=maker, inputs=(corpus,)), root=root)
        (path,) = Path(root).glob("tokenizer/*/tokenizer/tokenizer.json")
        note = manifest["notes"]["tokenizer"]
        return {"vocab_size": note["vocab_size"], "merges": merges_digest(path), "path": str(path)}

    warm = Path(tempfile.mkdtemp(dir=scratch))
    write_documents(warm / "in" / "part.parquet", ["some words to merge, some words to count " * 3] * 4)
    train(Artifact(name="given", maker=Given(folder=str(warm / "in")), inputs=()), 320)
    return lambda: train(Existing(uri=artifact), vocab_size)


def prepare_rustbpe(source: str, target: str, vocab_size: int) -> Callable[[], dict[str, int]]:
    import rustbpe

    from tokenizer_training.split_patterns import split_pattern

    def work() -> dict[str, int]:
        tokenizer = rustbpe.Tokenizer()
        size = vocab_size - NUM_RESERVED
        tokenizer.train_from_iterator(texts_in(source), size, pattern=split_pattern(PATTERN).regex)
        ranks = tokenizer.get_mergeable_ranks()
        Path(target).write_text("\n".join(f"{bytes(token).hex()} {rank}" for token, rank in ranks))
        return {"vocab_size": len(ranks)}

    return work


def prepare_bpeasy(source: str, target: str, vocab_size: int) -> Callable[[], dict[str, int]]:
    """Its tokens may be as long as ours, which it wants bounded."""
    import bpeasy

    from tokenizer_training.split_patterns import split_pattern

    def work() -> dict[str, int]:
        size = vocab_size - NUM_RESERVED
        vocab = bpeasy.train_bpe(texts_in(source), split_pattern(PATTERN).regex, 1024, size)
        Path(target).write_text("\n".join(f"{token.hex()} {rank}" for token, rank in vocab.items()))
        return {"vocab_size": len(vocab)}

    return work


# --- encode -----------------------------------------------------------------------------------------------------------


def prepare_encode(source: str, tokenizer: str, scratch: str) -> Callable[[], dict[str, Any]]:
    """Compile on a few texts; the work is one shard of the maker, with all its files."""
    from pipelines.shards import PartShard, run_shard
    from tokenizer_training.tokenize import tokenize_part

    pa.set_cpu_count(1)
    work = partial(tokenize_part, tokenizer_uri=tokenizer)

    def encode(uri: str) -> dict[str, Any]:
        directory = tempfile.mkdtemp(dir=scratch)
        counts = run_shard(PartShard(name="part", uri=uri), directory=directory, work=work).counts
        tokens = np.load(Path(directory) / "tokens" / "part.npy", mmap_mode="r")
        return {"documents": counts["documents"], "tokens": counts["tokens"], "ids": str(tokens.dtype)}

    warm = Path(tempfile.mkdtemp(dir=scratch)) / "in" / "part.parquet"
    write_documents(warm, ["warm", "x" * 600 + " incomprehensibilities" * 2, "z" * 100])
    encode(str(warm))
    return lambda: encode(source)


def prepare_hf_encode(source: str, tokenizer: str, target: str) -> Callable[[], dict[str, int]]:
    """The work encodes batches by `encode_batch_fast` and writes ids and the ends of documents."""
    from tokenizer_training.export import load_tokenizer
    from tokenizer_training.special_tokens import EOS_ID

    library = load_tokenizer(Path(tokenizer).read_bytes())

    def work() -> dict[str, int]:
        sizes, num_tokens = [], 0
        with Path(target).open("wb") as file:
            for batch in batches(source):
                for found in library.encode_batch_fast(batch.column("text").to_pylist(), add_special_tokens=False):
                    ids = np.array([*found.ids, EOS_ID], np.uint16)
                    file.write(ids)
                    sizes.append(ids.size)
                    num_tokens += ids.size
        np.save(target + ".ends.npy", np.cumsum(sizes))
        return {"documents": len(sizes), "tokens": num_tokens}

    return work


def prepare_datatrove_encode(source: str, tokenizer: str, target: str) -> Callable[[], dict[str, int]]:
    """The work is its reader and its DocumentTokenizer, one process, no shuffling."""
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from loguru import logger

    from tokenizer_training.special_tokens import EOS

    logger.remove()
    reader = ParquetReader(str(Path(source).parent), text_key="text", id_key="id")
    step = DocumentTokenizer(target, tokenizer, eos_token=EOS, shuffle_documents=False, batch_size=BATCH_ROWS)

    def work() -> dict[str, int]:
        step.run(reader.run(None, 0, 1), 0, 1)
        return {"tokens": int(step.stats["tokens"].total)}

    return work


# --- rows -------------------------------------------------------------------------------------------------------------


def rows(target_mb: float = TARGET_MB, vocab_size: int = VOCAB_SIZE, runs: int = 5) -> Iterator[Row]:
    """Measure; smaller numbers are for trying the benchmark out."""
    from pipelines.artifact import Artifact, build

    texts = distinct_texts(target_mb)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        whole, sliced = folder / "whole" / "part.parquet", folder / "slice" / "part.parquet"
        whole_mb = write_documents(whole, texts)
        slice_mb = write_documents(sliced, texts[:: max(1, round(whole_mb / SLOW_PEER_MB))])
        if whole_mb < min(MIN_MB, target_mb):
            console.print(f"only {whole_mb:.0f} MB of distinct text found here")
        build(Artifact(name="given", maker=Given(folder=str(whole.parent)), inputs=()), root=str(folder / "root"))
        (artifact,) = (folder / "root" / "given").iterdir()
        ours_environment = {"NUMBA_CACHE_DIR": str(folder / "numba"), **ONE_THREAD}

        def ours(function: str, **arguments: Any) -> Command:
            return Command(
                function=f"{__name__}:{function}", arguments=arguments, amount=whole_mb, environment=ours_environment
            )

        def theirs(function: str, amount: float, **arguments: Any) -> Command:
            return Command(
                function=f"{__name__}:{function}", arguments=arguments, amount=amount, environment=ONE_THREAD
            )

        of_all = f"{whole_mb:.1f} MB of distinct real text, {len(texts):,} documents"
        of_slice = f"{of_all}; peer: {slice_mb:.1f} MB of it"
        yield measure(
            "count", peer="tokenizers", peer_version=version("tokenizers"), unit="MB/s/core", data=of_slice, runs=runs,
            ours=ours("prepare_count", source=str(whole), target=str(folder / "counts.parquet")),
            theirs=theirs(
                "prepare_hf_train", slice_mb, source=str(sliced), target=str(folder / "bytes.json"),
                vocab_size=NUM_RESERVED + 256,
            ),
            peer_runs=SLOW_PEER_RUNS,
        )  # fmt: skip
        train = ours("prepare_train", artifact=str(artifact), scratch=str(folder), vocab_size=vocab_size)
        for peer, function in (
            ("tokenizers", "prepare_hf_train"), ("rustbpe", "prepare_rustbpe"), ("bpeasy", "prepare_bpeasy"),
        ):  # fmt: skip
            if importlib.util.find_spec(peer) is None:
                console.print(f"train: {peer} is not installed: skipped")
                continue
            small = peer == "bpeasy"  # the slowest by far at 12 MB
            arguments = {"source": str(sliced if small else whole), "target": str(folder / f"{peer}.json")}
            yield measure(
                "train", peer=peer, peer_version=version(peer), unit="MB/s/core",
                data=f"{of_slice if small else of_all}; {vocab_size:,} entries", ours=train,
                theirs=theirs(function, slice_mb if small else whole_mb, **arguments, vocab_size=vocab_size),
                runs=min(runs, 3) if peer == "tokenizers" else 1, peer_runs=1,
            )  # fmt: skip
        largest = max(folder.glob("*/tokenizer/*/tokenizer/tokenizer.json"), key=lambda path: path.stat().st_size)
        tokenizer = str(largest)
        for peer, function, target in (
            ("tokenizers", "prepare_hf_encode", "ids.bin"), ("datatrove", "prepare_datatrove_encode", "datatrove"),
        ):  # fmt: skip
            arguments = {"source": str(sliced), "tokenizer": tokenizer, "target": str(folder / target)}
            yield measure(
                "encode", peer=peer, peer_version=version(peer), unit="MB/s/core", data=of_slice, runs=runs,
                ours=ours("prepare_encode", source=str(whole), tokenizer=tokenizer, scratch=str(folder)),
                theirs=theirs(function, slice_mb, **arguments), peer_runs=SLOW_PEER_RUNS,
            )  # fmt: skip


if __name__ == "__main__":
    from benchmarks.harness import write_results

    for row in rows(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:4])):
        write_results(RESULTS, [row])
