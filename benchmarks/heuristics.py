"""The four heuristic filters on English text, Parquet in, Parquet out: eyas against datatrove's Gopher, C4, FineWeb.

Both sides read the same Parquet files (id, text), judge every document by the four filters with their published
thresholds, and write the kept documents as Parquet; all files are uncompressed, so that filters and not codecs are
timed. eyas also writes every signal and all reasons of every document, kept or dropped; datatrove stops at the first
filter that drops a document.

`heuristics` is datatrove as shipped (spaCy splits words and sentences), `heuristics_regex_words` the same with two
regular expressions injected instead. Data: multilingual/en and webtext of the shared folder, repeated to about 200 MB
for eyas; every n-th document of it, about 8 MB, for datatrove.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from benchmarks.harness import SHARED, SLOW_PEER_MB, SLOW_PEER_RUNS, Command, Row, measure

RESULTS = "web"
REPEATS = 12


def english() -> list[str]:
    texts = []
    for file in ("multilingual/en.jsonl.zst", "webtext/c4_sample.jsonl.zst", "webtext/datajuicer_samples.jsonl.zst"):
        raw = zstandard.ZstdDecompressor().stream_reader((SHARED / "data" / file).open("rb"))
        texts += [json.loads(line)["text"] for line in io.TextIOWrapper(raw, encoding="utf-8")]
    return texts


def write_input(folder: Path, texts: list[str]) -> float:
    """Write one Parquet file of documents; returns megabytes of text."""
    folder.mkdir()
    table = pa.table({"id": [str(i) for i in range(len(texts))], "text": pa.array(texts, pa.large_string())})
    pq.write_table(table, folder / "documents.parquet", row_group_size=2000, compression="none")
    return sum(len(text.encode()) for text in texts) / 1e6


def prepare_ours(source: str, target: str) -> Callable[[], dict[str, int]]:
    """Compile on a tiny batch; the work streams row groups through the four filters and writes kept and signals."""
    from filters.c4 import C4Quality
    from filters.fineweb import FineWebQuality
    from filters.gopher import GopherQuality, GopherRepetition
    from pipelines.stage import run_stages

    pa.set_cpu_count(1)
    stages = (GopherQuality(), GopherRepetition(), C4Quality(), FineWebQuality())
    run_stages(stages, _documents(pa.record_batch({"id": ["a"], "text": pa.array(["b c"], pa.large_string())})))

    def work() -> dict[str, int]:
        folder = Path(target)
        folder.mkdir(exist_ok=True)
        kept = documents = 0
        writers: dict[str, pq.ParquetWriter] = {}
        file = pq.ParquetFile(Path(source) / "documents.parquet", memory_map=True)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False).combine_chunks()
            for batch in table.to_batches():
                judged, failed = run_stages(stages, _documents(batch))
                assert judged is not None
                assert not failed
                keep = pa.compute.equal(pa.compute.list_value_length(judged.reasons), 0)
                outputs = {
                    "kept": judged.documents.filter(keep),
                    "signals": judged.signals.append_column("reasons", judged.reasons),
                }
                for kind, rows in outputs.items():
                    if kind not in writers:
                        path = folder / f"{kind}.parquet"
                        writers[kind] = pq.ParquetWriter(path, rows.schema, compression="none", use_dictionary=False)
                    writers[kind].write_batch(rows)
                kept, documents = kept + outputs["kept"].num_rows, documents + batch.num_rows
        for writer in writers.values():
            writer.close()
        return {"documents": documents, "kept": kept}

    return work


def _documents(batch: pa.RecordBatch) -> pa.RecordBatch:
    source = pa.repeat(pa.scalar("english"), batch.num_rows)
    text = batch.column("text").cast(pa.large_string())
    return pa.RecordBatch.from_arrays([batch.column("id"), source, text], names=["id", "source", "text"])


def prepare_datatrove(source: str, target: str, regex_words: bool) -> Callable[[], dict[str, int]]:
    """Load the word splitter by filtering one short text; the work is reader, four filters and writer in one process."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.word_tokenizers import WordTokenizer
    from loguru import logger

    words, ends = re.compile(r"\w+"), re.compile(r"[.!?]+\s+|$")

    class RegexWords(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return words.findall(text)

        def sent_tokenize(self, text: str) -> list[str]:
            return [text[start:end] for start, end in self.span_tokenize(text)]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            spans, start = [], 0
            for match in ends.finditer(text):
                spans.append((start, match.end()))
                start = match.end()
            return spans

    logger.remove()
    options = {"language": RegexWords()} if regex_words else {}
    filters = [
        GopherQualityFilter(**options),
        GopherRepetitionFilter(**options),
        C4QualityFilter(**options),
        FineWebQualityFilter(**options),
    ]
    for step in filters:
        step.filter(Document(text="The one. And that of a few words.\n" * 3, id="0"))

    def work() -> dict[str, int]:
        reader = ParquetReader(source, text_key="text", id_key="id")
        pipeline = reader.run(None, 0, 1)
        for step in (*filters, ParquetWriter(target, compression=None)):
            pipeline = step.run(pipeline, 0, 1)
        return {"kept": sum(1 for _ in pipeline)}

    return work


def rows() -> Iterator[Row]:
    texts = english()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        all_mb = write_input(folder / "all", texts * REPEATS)
        step = max(1, round(all_mb / REPEATS / SLOW_PEER_MB))
        slice_mb = write_input(folder / "slice", texts[::step])
        ours = Command(
            function="benchmarks.heuristics:prepare_ours",
            arguments={"source": str(folder / "all"), "target": str(folder / "ours")},
            amount=all_mb,
            environment={"NUMBA_CACHE_DIR": str(folder / "numba")},
        )
        for name, regex_words in (("heuristics", False), ("heuristics_regex_words", True)):
            theirs = Command(
                function="benchmarks.heuristics:prepare_datatrove",
                arguments={"source": str(folder / "slice"), "target": str(folder / name), "regex_words": regex_words},
                amount=slice_mb,
            )
            yield measure(
                name,
                peer="datatrove",
                peer_version=version("datatrove"),
                unit="MB/s/core",
                data=f"multilingual/en + webtext: {all_mb:.1f} MB ours, {slice_mb:.1f} MB peer",
                ours=ours,
                theirs=theirs,
                peer_runs=SLOW_PEER_RUNS,
            )
