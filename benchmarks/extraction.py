"""HTML to text, Parquet of pages in, Parquet of text out: eyas against datatrove's trafilatura; and how good each is.

`python -m benchmarks extraction` measures speed on `wcxb-dev` and `pages-dev`: all pages for eyas; every n-th, about
8 MB, for datatrove, whose stage runs as shipped (precision, no comments, deduplication, 1 s of wall time a page).

`python -m benchmarks.extraction --quality` prints bag-of-words F1 of every engine: mean of pages, each page type of
WCXB apart and their mean; article texts, reference HTML and Markdown of `pages-dev`; and snippets that must be there or
must not. Words are runs of `\\w`, lower case. trafilatura 2.x is installed into a temporary folder for it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType
from rich.console import Console
from rich.table import Table

from benchmarks.harness import REPOSITORY, SHARED, SLOW_PEER_MB, SLOW_PEER_RUNS, Command, Row, console, measure

RESULTS = "web"
WARCS = {"wcxb-dev": ("wcxb-dev",), "pages-dev": ("pages-dev-000", "pages-dev-001", "pages-dev-002")}
TYPES = ("article", "documentation", "service", "forum", "product", "listing", "collection")
WORDS = re.compile(r"\w+")


def pages(data: str) -> dict[str, bytes]:
    """Content of every HTML response of a set, by record id."""
    found = {}
    for name in WARCS[data]:
        with (SHARED / "data" / "web" / f"{name}.warc.gz").open("rb") as file:
            for record in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True):
                found[record.headers["WARC-Record-ID"]] = record.reader.read()
    return found


def write_input(folder: Path, contents: list[str]) -> float:
    """One Parquet file of pages as text, uncompressed; returns megabytes of UTF-8."""
    folder.mkdir()
    ids = [str(number) for number in range(len(contents))]
    table = pa.table({"id": ids, "text": pa.array(contents, pa.string())})
    pq.write_table(table, folder / "pages.parquet", row_group_size=64, compression="none")
    return sum(len(content.encode()) for content in contents) / 1e6


def prepare_ours(source: str, target: str) -> Callable[[], dict[str, int]]:
    """Compile on one small page; the work streams row groups through the extractor into a Parquet file."""
    from pipelines.extraction import ExtractHtml

    pa.set_cpu_count(1)
    extractor = ExtractHtml()
    extractor.extract(_raw(pa.record_batch({"id": ["a"], "text": ["<p>b"]})))

    def work() -> dict[str, int]:
        file = pq.ParquetFile(Path(source) / "pages.parquet", memory_map=True)
        documents = quarantined = 0
        writer = None
        for group in range(file.num_row_groups):
            for batch in file.read_row_group(group, use_threads=False).to_batches():
                made, bad = extractor.extract(_raw(batch))
                writer = writer or pq.ParquetWriter(target, made.schema, compression="none", use_dictionary=False)
                writer.write_batch(made)
                documents, quarantined = documents + made.num_rows, quarantined + len(bad)
        if writer is not None:
            writer.close()
        return {"documents": documents, "quarantined": quarantined}

    return work


def _raw(batch: pa.RecordBatch) -> pa.RecordBatch:
    from pipelines.schema import RAW

    rows = batch.num_rows
    columns = {
        "id": batch.column("id"),
        "source": pa.repeat(pa.scalar("pages"), rows),
        "content": batch.column("text").cast(pa.binary()).cast(pa.large_binary()),
        "media_type": pa.repeat(pa.scalar("text/html"), rows),
        "locator": batch.column("id"),
    }
    return pa.RecordBatch.from_arrays(
        [columns.get(field.name, pa.nulls(rows, field.type)) for field in RAW], schema=RAW
    )


def prepare_datatrove(source: str, target: str) -> Callable[[], dict[str, int]]:
    """The work is datatrove's reader, extractor in its sandbox process, and writer."""
    import trafilatura
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from loguru import logger

    logger.remove()
    trafilatura.extract("<html><body><p>a</p></body></html>")

    def work() -> dict[str, int]:
        pipeline = ParquetReader(source, text_key="text", id_key="id").run(None, 0, 1)
        for step in (Trafilatura(), ParquetWriter(target, compression=None)):
            pipeline = step.run(pipeline, 0, 1)
        return {"documents": sum(1 for _ in pipeline)}

    return work


def rows() -> Iterator[Row]:
    """`extraction` on both sets."""
    from pipelines.readers.charset import decode

    for data in WARCS:
        contents = [decode(content, None, "text/html").text for content in pages(data).values()]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            all_mb = write_input(folder / "all", contents)
            slice_mb = write_input(folder / "slice", contents[:: max(1, round(all_mb / SLOW_PEER_MB))])
            yield measure(
                "extraction" if data == "wcxb-dev" else f"extraction_{data.split('-')[0]}",
                peer="datatrove",
                peer_version=f"{version('datatrove')}, trafilatura {version('trafilatura')}",
                unit="MB/s/core",
                data=f"{data}: {all_mb:.1f} MB ours, {slice_mb:.1f} MB peer",
                ours=Command(
                    function="benchmarks.extraction:prepare_ours",
                    arguments={"source": str(folder / "all"), "target": str(folder / "ours.parquet")},
                    amount=all_mb,
                ),
                theirs=Command(
                    function="benchmarks.extraction:prepare_datatrove",
                    arguments={"source": str(folder / "slice"), "target": str(folder / "theirs")},
                    amount=slice_mb,
                ),
                peer_runs=SLOW_PEER_RUNS,
            )


def engines() -> dict[str, Callable[[], Any]]:
    """Every engine of the quality table, made when it is wanted."""
    from pipelines.extraction.resiliparse_engine import Resiliparse

    def trafilatura(focus: str) -> Callable[[], Any]:
        def make() -> Any:
            from pipelines.extraction.trafilatura_engine import Trafilatura

            return Trafilatura(focus=focus)

        return make

    return {
        "resiliparse": Resiliparse,
        "resiliparse, main content only": lambda: Resiliparse(min_main_fraction=0),
        "resiliparse, its own defaults": lambda: Resiliparse(
            min_main_fraction=0, alt_texts=True, list_bullets=True, hidden_elements=False
        ),
        "trafilatura": trafilatura("balanced"),
        "trafilatura, recall": trafilatura("recall"),
        "trafilatura, precision": trafilatura("precision"),
    }


def word_f1(found: str, wanted: str) -> float:
    """F1 of two bags of words; two empty ones agree."""
    left, right = (Counter(WORDS.findall(text.lower())) for text in (found, wanted))
    if not left and not right:
        return 1.0
    shared = sum((left & right).values())
    return 2 * shared / (sum(left.values()) + sum(right.values()))


def gold(name: str) -> list[dict[str, Any]]:
    raw = zstandard.ZstdDecompressor().stream_reader((SHARED / "data" / "web" / f"{name}.jsonl.zst").open("rb"))
    return [json.loads(line) for line in io.TextIOWrapper(raw, encoding="utf-8")]


def wanted_text(entry: dict[str, Any]) -> str | None:
    """The whole text a gold entry of `pages-dev` asks for, or None where it names snippets or parts only."""
    if entry["kind"] in ("article_body", "markdown"):
        return str(entry["text"])
    if entry["kind"] == "expected_html":
        import lxml.html

        return " ".join(lxml.html.document_fromstring(entry["html"]).itertext())
    return None


def score(name: str) -> dict[str, float]:
    """Figures of one engine: F1 by page type and kind, their means, precision and recall of snippets."""
    from pipelines.readers.charset import decode

    engine = engines()[name]()
    web = {key: decode(content, None, "text/html").text for data in WARCS for key, content in pages(data).items()}
    scores: dict[str, list[float]] = defaultdict(list)
    for entry in gold("wcxb_gold"):
        kind = entry["page_type"] if entry["page_type"] in TYPES else "article"
        found = engine.extract_text(web[entry["record_id"]])
        scores[kind].append(word_f1(found, entry.get("main_content") or ""))
    snippets: Counter[tuple[str, bool]] = Counter()
    for entry in gold("extraction_gold"):
        wanted = wanted_text(entry)
        if wanted:
            scores[entry["kind"]].append(word_f1(engine.extract_text(web[entry["record_id"]]), wanted))
        elif entry["kind"] == "snippets":
            text = " ".join(engine.extract_text(web[entry["record_id"]]).split())
            for side in ("with", "without"):
                snippets.update((side, " ".join(snippet.split()) in text) for snippet in entry[side] or ())
    means = {kind: sum(values) / len(values) for kind, values in scores.items()}
    there, wrongly = snippets["with", True], snippets["without", True]
    return {
        **{kind: means[kind] for kind in TYPES},
        "mean of types": sum(means[kind] for kind in TYPES) / len(TYPES),
        "mean of pages": sum(sum(scores[kind]) for kind in TYPES) / sum(len(scores[kind]) for kind in TYPES),
        **{kind: means[kind] for kind in ("article_body", "expected_html", "markdown")},
        "snippets F1": 2 * there / (2 * there + wrongly + snippets["with", False]),
    }


def quality() -> Table:
    """Engine by page type, each engine in a process of its own."""
    table = Table(title="bag-of-words F1")
    with tempfile.TemporaryDirectory() as folder:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "trafilatura>=2.1,<3"]
        newer = subprocess.run(install, check=False, stderr=subprocess.DEVNULL).returncode == 0
        if not newer:
            console.print("trafilatura 2.x could not be installed: its rows are left out")
        for name in engines():
            folders = ["", folder] if newer and name.startswith("trafilatura") else [""]
            for packages in folders:
                said = _score_apart(name, packages)
                if not table.columns:
                    for column in ("engine", *said["scores"]):
                        table.add_column(column, justify="left" if column == "engine" else "right")
                library = name.split(",")[0]
                label = name.replace(library, f"{library} {said['version']}", 1)
                table.add_row(label, *(f"{value:.3f}" for value in said["scores"].values()))
    return table


def _score_apart(name: str, packages: str) -> dict[str, Any]:
    call = [sys.executable, "-m", "benchmarks.extraction", "--score", name]
    environment = os.environ | ({"PYTHONPATH": packages} if packages else {})
    done = subprocess.run(call, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction")
    parser.add_argument("--quality", action="store_true", help="print F1 of every engine by page type")
    parser.add_argument("--score", metavar="ENGINE", help="print the figures of one engine as JSON")
    asked = parser.parse_args()
    if asked.score:
        said = {"version": version(asked.score.split(",")[0]), "scores": score(asked.score)}
        print(json.dumps(said))
    elif asked.quality:
        Console(width=220).print(quality())
    else:
        parser.error("give --quality; for speed: python -m benchmarks extraction")


if __name__ == "__main__":
    main()
