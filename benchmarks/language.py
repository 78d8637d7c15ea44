"""Language identification with `lid.176.ftz`, Parquet in, Parquet out: eyas against datatrove's LanguageFilter.

Both sides read the same Parquet file (id, text), label every document with the same model file, and write all
documents with language and probability as uncompressed Parquet. datatrove's filter is as shipped, `label_only`, but for the
model: it would download lid.176.bin, and is given the path of the .ftz file. After the runs the two outputs are compared
document by document; datatrove's labels are translated as ours are (`als` of lid.176 is `gsw`), thresholds are off.
Data: multilingual, webtext and the 383 translations of `lid/udhr2_all` of the shared folder.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from benchmarks.harness import SHARED, SLOW_PEER_RUNS, Command, Row, console, measure
from filters.fasttext_model import packaged_model
from filters.language_codes import language_and_script

RESULTS = "web"
MIN_EQUAL = 0.99
"""Share of equal labels below which the comparison of speed means nothing."""


def documents() -> list[str]:
    folder = SHARED / "data"
    files = [*sorted((folder / "multilingual").glob("??.jsonl.zst")), *sorted((folder / "webtext").glob("*.jsonl.zst"))]
    texts = []
    for file in (*files, folder / "lid" / "udhr2_all.jsonl.zst"):
        raw = zstandard.ZstdDecompressor().stream_reader(file.open("rb"))
        texts += [json.loads(line)["text"] for line in io.TextIOWrapper(raw, encoding="utf-8")]
    return [text for text in texts if text]  # datatrove's reader skips empty ones


def prepare_ours(source: str, target: str) -> Callable[[], dict[str, int]]:
    """Load the model and compile on one row; the work streams row groups through the stage."""
    from filters.language import IdentifyLanguage

    pa.set_cpu_count(1)
    stage = IdentifyLanguage(min_probability=0)
    stage.transform(pa.record_batch({"id": ["a"], "text": pa.array(["b c"], pa.large_string())}))

    def work() -> dict[str, int]:
        Path(target).mkdir(exist_ok=True)
        written, writer = 0, None
        file = pq.ParquetFile(Path(source) / "documents.parquet", memory_map=True)
        for group in range(file.num_row_groups):
            for batch in file.read_row_group(group, use_threads=False).combine_chunks().to_batches():
                labelled = stage.transform(batch)
                if writer is None:
                    path = Path(target) / "labelled.parquet"
                    writer = pq.ParquetWriter(path, labelled.schema, compression="none", use_dictionary=False)
                writer.write_batch(labelled)
                written += labelled.num_rows
        assert writer is not None
        writer.close()
        return {"documents": written}

    return work


def prepare_datatrove(source: str, target: str, model: str) -> Callable[[], dict[str, int]]:
    """Load the model by labelling one short text; the work is reader, filter and writer in one process."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import LanguageFilter
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from fasttext.FastText import _FastText
    from loguru import logger

    logger.remove()
    step = LanguageFilter(label_only=True, backend="ft176")
    step.model._model = _FastText(model)  # what its property does after the download
    step.filter(Document(text="The one. And that of a few words.", id="0"))

    def work() -> dict[str, int]:
        pipeline = ParquetReader(source, text_key="text", id_key="id").run(None, 0, 1)
        for part in (step, ParquetWriter(target, compression=None)):
            pipeline = part.run(pipeline, 0, 1)
        return {"documents": sum(1 for _ in pipeline)}

    return work


def equal_labels(ours: Path, theirs: Path) -> float:
    """The share of documents with the same label, by id; every document is on both sides."""
    mine = pq.read_table(ours, columns=["id", "language"]).to_pydict()
    table = pq.read_table(theirs).to_pydict()
    their_labels = dict(zip(table["id"], (row["language"] for row in table["metadata"]), strict=True))
    assert set(mine["id"]) == set(their_labels)
    pairs = list(zip(mine["id"], mine["language"], strict=True))
    return sum(language_and_script(their_labels[name])[0] == label for name, label in pairs) / len(pairs)


def rows() -> Iterator[Row]:
    texts = documents()
    num_mb = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "input").mkdir()
        table = pa.table({"id": [str(i) for i in range(len(texts))], "text": pa.array(texts, pa.large_string())})
        pq.write_table(table, folder / "input" / "documents.parquet", row_group_size=2000, compression="none")
        ours = {"source": str(folder / "input"), "target": str(folder / "ours")}
        theirs = {"source": str(folder / "input"), "target": str(folder / "theirs"), "model": packaged_model()}
        row = measure(
            "language_id",
            peer="datatrove",
            peer_version=version("datatrove"),
            unit="documents/s/core",
            data=f"multilingual + webtext + udhr: {len(texts)} documents, {num_mb:.1f} MB, lid.176.ftz on both sides",
            ours=Command(
                function="benchmarks.language:prepare_ours",
                arguments=ours,
                amount=len(texts),
                environment={"NUMBA_CACHE_DIR": str(folder / "numba")},
            ),
            theirs=Command(function="benchmarks.language:prepare_datatrove", arguments=theirs, amount=len(texts)),
            peer_runs=SLOW_PEER_RUNS,
        )
        share = equal_labels(folder / "ours" / "labelled.parquet", next((folder / "theirs").glob("*.parquet")))
        console.print(f"language_id: equal labels {share:.4f} of {len(texts)} documents")
        assert share >= MIN_EQUAL
    yield row
