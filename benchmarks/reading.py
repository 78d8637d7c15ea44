"""WARC in, Parquet of ids, URLs and decoded pages out: eyas' reader and charset decoding against datatrove's.

`python -m benchmarks reading`. Both sides read the same files, undo HTTP's codings, decode to text by content and write
one uncompressed Parquet file. datatrove reads HTML only, and tells it by libmagic.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import SHARED, Command, Row, console, measure

RESULTS = "web"
WARCS = ("pages-dev-000", "pages-dev-001", "pages-dev-002")


def prepare_ours(sources: list[str], target: str) -> Callable[[], dict[str, int]]:
    from pipelines.readers.charset import decode_column
    from pipelines.readers.warc import WarcReader
    from pipelines.records import FileShard, SourceFile

    pa.set_cpu_count(1)
    reader = WarcReader(media_types=("text/html", "application/xhtml+xml"))
    schema = pa.schema([("id", pa.string()), ("url", pa.string()), ("text", pa.large_string())])
    checksums = [hashlib.sha256(Path(source).read_bytes()).hexdigest() for source in sources]

    def work() -> dict[str, int]:
        documents = 0
        with pq.ParquetWriter(target, schema, compression="none", use_dictionary=False) as writer:
            for source, checksum in zip(sources, checksums, strict=True):
                file = SourceFile(uri=source, size=Path(source).stat().st_size, checksum=checksum)
                for batch in reader.read(FileShard(name="a", file=file, source="web")):
                    if isinstance(batch, pa.RecordBatch):
                        columns = [batch.column("id"), batch.column("url"), decode_column(batch)[0]]
                        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
                        documents += batch.num_rows
        return {"documents": documents}

    return work


def prepare_datatrove(source: str, target: str) -> Callable[[], dict[str, int]]:
    import cchardet  # noqa: F401  what its reader imports on the first record
    import magic  # noqa: F401
    import warcio.archiveiterator  # noqa: F401
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers import ParquetWriter
    from loguru import logger

    logger.remove()

    def work() -> dict[str, int]:
        pipeline = WarcReader(source, glob_pattern="*.warc.gz").run(None, 0, 1)
        return {"documents": sum(1 for _ in ParquetWriter(target, compression=None).run(pipeline, 0, 1))}

    return work


def rows() -> Iterator[Row]:
    """`warc`, in megabytes of decoded pages a second."""
    sources = [SHARED / "data" / "web" / f"{name}.warc.gz" for name in WARCS]
    if not all(source.exists() for source in sources):
        console.print(f"warc: needs {sources[0]}: skipped")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "in").mkdir()
        for source in sources:
            (folder / "in" / source.name).symlink_to(source)
        target = str(folder / "ours.parquet")
        prepare_ours([str(source) for source in sources], target)()
        megabytes = sum(len(text.as_py().encode()) for text in pq.read_table(target).column("text")) / 1e6
        yield measure(
            "warc",
            peer="datatrove",
            peer_version=version("datatrove"),
            unit="MB/s/core",
            data=f"pages-dev: {megabytes:.1f} MB of HTML in {len(sources)} files",
            ours=Command(
                function="benchmarks.reading:prepare_ours",
                arguments={"sources": [str(source) for source in sources], "target": target},
                amount=megabytes,
            ),
            theirs=Command(
                function="benchmarks.reading:prepare_datatrove",
                arguments={"source": str(folder / "in"), "target": str(folder / "theirs")},
                amount=megabytes,
            ),
        )
