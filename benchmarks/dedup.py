"""Near dedup: eyas against datatrove's MinHash steps and rensa, on real text of which nothing is repeated.

`signatures`, `signatures_zh`, `_ar`, `_hi`: Parquet in, band keys or signatures of 112 permutations of word 5-grams out,
on disk. Ours is the pass `keys` of near dedup. datatrove's step is as shipped, each language with the tokenizer it
assigns to it (spaCy, spaCy with jieba, Indic NLP). rensa is used end to end: its README leaves words to Python, here
lower case and one regular expression, and the same 5-grams. A pass over a small file is done `times` over by one
process, since one takes milliseconds; no file has a text twice.

`near_dedup`: kept Parquet of an artifact in, kept Parquet out, the same files, 14 bands of 8 rows, word 5-grams.
eyas removes exact duplicates, finds clusters, verifies every drop and writes kept, dropped, signals and clusters;
datatrove's four steps write kept documents, and verify nothing; rensa joins bands in memory and writes nothing.
`near_dedup_certified` is the same with the certificate, which no peer has. What eyas and datatrove remove
differently is explained pair by pair (`dedup_differences`), counts by cause printed and kept beside the results.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from benchmarks.dedup_scale import write_kept
from benchmarks.harness import RESULTS as RESULTS_FOLDER
from benchmarks.harness import SHARED, SLOW_PEER_MB, SLOW_PEER_RUNS, Command, Row, console, measure

RESULTS = "dedup"
NUM_PARTS = 4
NUM_BANDS, ROWS_PER_BAND, SHINGLE_SIZE = 14, 8, 5
ENGLISH = (
    "multilingual/en.jsonl.zst",
    "webtext/c4_sample.jsonl.zst",
    "webtext/datajuicer_samples.jsonl.zst",
    "quality/dclm_human_labels.jsonl.zst",
    "neardup/minhash_articles_2500.jsonl.zst",
    "neardup/git_revision_pairs.jsonl.zst",
    "math/latex_sources.jsonl.zst",
)
"""Prose and technical prose; the revisions and the articles hold near duplicates."""
LANGUAGES = (("zh", "cmn_Hani"), ("ar", "arb_Arab"), ("hi", "hin_Deva"))
TOKENIZERS = {"zh": ("jieba",), "hi": ("indicnlp",)}
WORDS = re.compile(r"\w+")


def texts_of(files: tuple[str, ...]) -> list[str]:
    """Every text of the shared files, each once, in their order."""
    found: dict[str, None] = {}
    for file in files:
        raw = zstandard.ZstdDecompressor().stream_reader((SHARED / "data" / file).open("rb"))
        for line in io.TextIOWrapper(raw, encoding="utf-8"):
            record = json.loads(line)
            found.update({record[name]: None for name in ("text", "text_a", "text_b") if record.get(name)})
    return list(found)


def write_parts(folder: Path, texts: list[str], num_parts: int = NUM_PARTS) -> float:
    """Write `num_parts` Parquet files of documents; returns megabytes of text."""
    folder.mkdir(parents=True)
    step = -(-len(texts) // num_parts)
    for number in range(num_parts):
        first = number * step
        part = texts[first : first + step]
        ids = [f"{first + i:08d}" for i in range(len(part))]
        columns = {"id": ids, "source": ["english"] * len(part), "text": pa.array(part, pa.large_string())}
        pq.write_table(pa.table(columns), folder / f"part-{number}.parquet", row_group_size=1000, compression="none")
    return sum(len(text.encode()) for text in texts) / 1e6


# --- signatures -------------------------------------------------------------------------------------------------------


def prepare_ours(source: str, scratch: str, times: int) -> Callable[[], dict[str, int]]:
    """Compile on a tiny batch; the work is the pass `keys` over every part, `times` over."""
    from pipelines.kernels.minhash import MinHashConfig, band_keys, signatures_of_texts
    from pipelines.makers.near.candidates import sign_part
    from pipelines.makers.outcome import NumberedPart
    from pipelines.shards import run_shard

    pa.set_cpu_count(1)
    config = MinHashConfig()
    band_keys(signatures_of_texts(pa.array(["a b c d e f g"], pa.large_string()), config)[0], config)
    parts = []
    for number, path in enumerate(sorted(Path(source).iterdir())):
        rows = pq.read_metadata(path).num_rows
        first = sum(part.rows for part in parts)
        parts.append(NumberedPart(name=path.stem, uri=str(path), number=number, first=first, rows=rows))
    target = tempfile.mkdtemp(dir=scratch)

    def work() -> dict[str, int]:
        shingles = 0
        for time in range(times):
            for part in parts:
                done = run_shard(
                    part, directory=f"{target}/{time}", work=partial(sign_part, config=config, num_buckets=1)
                )
                shingles += int(done.counts["shingles"])
        return {"shingles": shingles // times}

    return work


def prepare_datatrove(source: str, scratch: str, language: str) -> Callable[[], dict[str, int]]:
    """Load the tokenizer on one sentence; the work is reader and signature step, file by file, in one process."""
    from datatrove.pipeline.dedup.minhash import MinhashDedupSignature
    from datatrove.pipeline.readers import ParquetReader
    from loguru import logger

    logger.remove()
    target = tempfile.mkdtemp(dir=scratch)
    options = {"language": language} if language else {}
    step = MinhashDedupSignature(output_folder=target, config=_datatrove_config(), **options)
    step.get_shingles("One sentence, which loads the words. 一句话。 جملة واحدة. एक वाक्य।")

    num_files = len(list(Path(source).iterdir()))

    def work() -> dict[str, int]:
        for rank in range(num_files):
            reader = ParquetReader(source, text_key="text", id_key="id").run(rank=rank, world_size=num_files)
            step.run(reader, rank, num_files)
        return {"files": len(list(Path(target).rglob("*.sig")))}

    return work


def _datatrove_config() -> Any:
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    return MinhashConfig(n_grams=SHINGLE_SIZE, num_buckets=NUM_BANDS, hashes_per_bucket=ROWS_PER_BAND)


def prepare_rensa(source: str, scratch: str) -> Callable[[], dict[str, int]]:
    """The work: Parquet, words and 5-grams by Python, signatures by rensa as one matrix, written as bytes."""
    import numpy as np
    from rensa import RMinHash

    target = tempfile.mkdtemp(dir=scratch)
    RMinHash.digest_matrix_from_token_sets([["a", "b"]], num_perm=NUM_BANDS * ROWS_PER_BAND, seed=42)

    def work() -> dict[str, int]:
        rows = 0
        for path in sorted(Path(source).iterdir()):
            matrix = _rensa_matrix(path)
            signatures = np.array(matrix.to_rows(), np.uint32)
            np.save(Path(target) / path.stem, signatures)
            rows += len(signatures)
        return {"documents": rows}

    return work


def _rensa_matrix(path: Path) -> Any:
    from rensa import RMinHash

    texts = pq.read_table(path, columns=["text"]).column("text").to_pylist()
    sets = (rensa_shingles(text) for text in texts)
    return RMinHash.digest_matrix_from_token_sets(sets, num_perm=NUM_BANDS * ROWS_PER_BAND, seed=42)


def rensa_shingles(text: str) -> list[str]:
    """Word 5-grams; all words of a text with fewer, so that it is not empty."""
    words = WORDS.findall(text.lower())
    if len(words) < SHINGLE_SIZE:
        return [" ".join(words)]
    return [" ".join(words[i : i + SHINGLE_SIZE]) for i in range(len(words) - SHINGLE_SIZE + 1)]


# --- near dedup, disk to disk -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Given:
    """Maker without inputs: the Parquet files of a folder as kept documents, so that dedup has an artifact to start from."""

    folder: str
    version: ClassVar[int] = 1

    def make(self, inputs: tuple[Any, ...], passes: Any) -> None:
        """One pass, a file a shard."""
        from pipelines.shards import PartShard

        files = sorted(Path(self.folder).glob("*.parquet"))
        passes.final(keep_all, [PartShard(name=path.stem, uri=str(path)) for path in files])


def keep_all(shard: Any, out: Any) -> dict[str, Any]:
    """Every document of one file is kept."""
    return write_kept(pq.ParquetFile(shard.uri).iter_batches(batch_size=1024), out)


def given(folder: Path, root: Path) -> Path:
    """Build the artifact of `Given`; the folder of its kept files, which every side reads."""
    from pipelines.artifact import Artifact, build

    build(Artifact(name="given", maker=Given(folder=str(folder)), inputs=()), root=str(root))
    (directory,) = (root / "given").iterdir()
    return directory / "kept"


def prepare_ours_dedup(folder: str, root: str, scratch: str, options: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Compile by deduplicating a few texts; the work is one build by one process, in a root of its own."""
    from pipelines.artifact import Artifact, build
    from pipelines.makers.near_dedup import dedup_near

    pa.set_cpu_count(1)

    def dedup(folder: str, root: str) -> dict[str, Any]:
        corpus = Artifact(name="given", maker=Given(folder=folder), inputs=())
        manifest = build(dedup_near(corpus, name="near", **options), root=root)
        return {key: manifest["counts"][key] for key in ("documents", "kept", "dropped")}

    warm = Path(tempfile.mkdtemp(dir=scratch))
    numbers = [" ".join(f"w{i}" for i in range(60))] * 2 + [
        " ".join(f"w{i + s // 30}" for i in range(60)) for s in range(60)
    ]
    write_parts(warm / "in", [*numbers, ""])
    dedup(str(warm / "in"), str(warm / "root"))
    own = tempfile.mkdtemp(dir=scratch)
    shutil.copytree(Path(root) / "given", Path(own) / "given")
    Path(root, "last").write_text(own)
    return lambda: dedup(folder, own)


def prepare_datatrove_dedup(kept: str, root: str, scratch: str) -> Callable[[], dict[str, int]]:
    """Load spaCy; the work is the four steps, one task after the other, in one process."""
    from datatrove.pipeline.dedup.minhash import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from loguru import logger

    logger.remove()
    own = tempfile.mkdtemp(dir=scratch)
    config = _datatrove_config()
    sign = MinhashDedupSignature(output_folder=f"{own}/sigs", config=config)
    sign.get_shingles("One sentence, which loads the words.")
    Path(root, "theirs").write_text(own)

    def reader(rank: int) -> Any:
        return ParquetReader(kept, text_key="text", id_key="id").run(rank=rank, world_size=NUM_PARTS)

    def work() -> dict[str, int]:
        for rank in range(NUM_PARTS):
            sign.run(reader(rank), rank, NUM_PARTS)
        for rank in range(NUM_BANDS):
            MinhashDedupBuckets(input_folder=f"{own}/sigs", output_folder=f"{own}/dups", config=config).run(
                None, rank, NUM_BANDS
            )
        MinhashDedupCluster(input_folder=f"{own}/dups", output_folder=f"{own}/remove", config=config).run(None, 0, 1)
        num_kept = 0
        for rank in range(NUM_PARTS):
            judged = MinhashDedupFilter(input_folder=f"{own}/remove").run(reader(rank), rank, NUM_PARTS)
            num_kept += sum(1 for _ in ParquetWriter(f"{own}/kept", compression="zstd").run(judged, rank, NUM_PARTS))
        return {"kept": num_kept}

    return work


def prepare_rensa_dedup(kept: str) -> Callable[[], dict[str, int]]:
    """The work: words and 5-grams by Python, signatures, bands and flags in memory; nothing is verified or written."""
    from rensa import RMinHash, RMinHashLSH

    num_perm = NUM_BANDS * ROWS_PER_BAND
    RMinHash.digest_matrix_from_token_sets([["a", "b"]], num_perm=num_perm, seed=42)

    def work() -> dict[str, int]:
        index = RMinHashLSH(threshold=0.8, num_perm=num_perm, num_bands=NUM_BANDS)
        documents = flagged = 0
        for path in sorted(Path(kept).iterdir()):
            flags = index.insert_matrix_and_query_duplicate_flags(_rensa_matrix(path), documents)
            documents, flagged = documents + len(flags), flagged + sum(flags)
        return {"documents": documents, "flagged": flagged}

    return work


# --- rows -------------------------------------------------------------------------------------------------------------


def rows() -> Iterator[Row]:
    texts = texts_of(ENGLISH)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        yield from _signature_rows(scratch, texts)
        yield from _dedup_rows(scratch, texts)


def _signature_rows(scratch: Path, texts: list[str]) -> Iterator[Row]:
    megabytes = write_parts(scratch / "en", texts)
    every = max(1, round(megabytes / SLOW_PEER_MB))
    sliced = write_parts(scratch / "en-slice", texts[::every])
    ours = _ours(scratch, "en", megabytes, times=3)
    data = f"English prose of the shared folder, each text once: {megabytes:.1f} MB ours, {sliced:.1f} MB peer"
    yield measure(
        "signatures",
        peer="datatrove",
        peer_version=version("datatrove"),
        unit="MB/s/core",
        data=data,
        ours=ours,
        theirs=_datatrove(scratch, "en-slice", sliced, ""),
        peer_runs=SLOW_PEER_RUNS,
    )
    yield measure(
        "signatures",
        peer="rensa",
        peer_version=version("rensa"),
        unit="MB/s/core",
        data=data,
        ours=ours,
        theirs=Command(
            function="benchmarks.dedup:prepare_rensa",
            arguments={"source": str(scratch / "en-slice"), "scratch": str(scratch)},
            amount=sliced,
        ),
        peer_runs=SLOW_PEER_RUNS,
    )
    for language, code in LANGUAGES:
        if absent := [name for name in TOKENIZERS.get(language, ()) if importlib.util.find_spec(name) is None]:
            console.print(
                f"signatures_{language}: datatrove's tokenizer needs {absent[0]}, which is not there: skipped"
            )
            continue
        size = write_parts(scratch / language, texts_of((f"multilingual/{language}.jsonl.zst",)), 1)
        times = max(1, round(60 / size))
        yield measure(
            f"signatures_{language}",
            peer="datatrove",
            peer_version=version("datatrove"),
            unit="MB/s/core",
            data=f"multilingual/{language}, each text once: {size:.2f} MB; ours goes over it {times} times",
            ours=_ours(scratch, language, size, times=times),
            theirs=_datatrove(scratch, language, size, code),
            peer_runs=SLOW_PEER_RUNS,
        )


def _ours(scratch: Path, folder: str, megabytes: float, *, times: int) -> Command:
    return Command(
        function="benchmarks.dedup:prepare_ours",
        arguments={"source": str(scratch / folder), "scratch": str(scratch), "times": times},
        amount=megabytes * times,
        environment={"EYAS_CACHE_DIR": str(scratch / "cache")},
    )


def _datatrove(scratch: Path, folder: str, megabytes: float, language: str) -> Command:
    arguments = {"source": str(scratch / folder), "scratch": str(scratch), "language": language}
    return Command(function="benchmarks.dedup:prepare_datatrove", arguments=arguments, amount=megabytes)


def _dedup_rows(scratch: Path, texts: list[str]) -> Iterator[Row]:
    from benchmarks.dedup_differences import explain, tell

    root = scratch / "root"
    megabytes = write_parts(scratch / "corpus", texts)
    kept = given(scratch / "corpus", root)

    def ours(options: dict[str, Any]) -> Command:
        arguments = {"folder": str(scratch / "corpus"), "root": str(root), "scratch": str(scratch), "options": options}
        return Command(
            function="benchmarks.dedup:prepare_ours_dedup",
            arguments=arguments,
            amount=megabytes,
            environment={"EYAS_CACHE_DIR": str(scratch / "cache")},
        )

    def row(name: str, peer: str, options: dict[str, Any], theirs: Command, peer_runs: int) -> Row:
        return measure(
            name,
            peer=peer,
            peer_version=version(peer),
            unit="MB/s/core",
            data=f"English prose of the shared folder, each text once, revisions among it: {megabytes:.1f} MB both",
            ours=ours(options),
            theirs=theirs,
            peer_runs=peer_runs,
        )

    plain: dict[str, Any] = {"certify": None}
    rensa = Command(function="benchmarks.dedup:prepare_rensa_dedup", arguments={"kept": str(kept)}, amount=megabytes)
    datatrove = Command(
        function="benchmarks.dedup:prepare_datatrove_dedup",
        arguments={"kept": str(kept), "root": str(root), "scratch": str(scratch)},
        amount=megabytes,
    )
    yield row("near_dedup", "rensa", plain, rensa, SLOW_PEER_RUNS)
    yield row("near_dedup_certified", "rensa", {}, rensa, SLOW_PEER_RUNS)
    yield row("near_dedup", "datatrove", plain, datatrove, 1)
    found = explain(
        kept=kept,
        ours=next(Path(Path(root, "last").read_text(), "near").iterdir()),
        theirs=Path(root, "theirs").read_text(),
    )
    tell(found, console)
    RESULTS_FOLDER.mkdir(exist_ok=True)
    path = RESULTS_FOLDER / "dedup_differences.json"
    path.write_text(json.dumps(found.summary(), indent=2) + "\n")
    if found.unexplained:
        raise RuntimeError(
            f"{len(found.unexplained)} differences from datatrove are unexplained: {found.unexplained[:5]}"
        )
