"""One large file as one shard: does memory stay flat? Prints the peak of the process that did it (`VmHWM`).

    python -m benchmarks.stress --gigabytes 4

The file is JSON Lines of made-up English, made for the run and deleted after it; it goes through normalization, all
heuristic filters and redaction into kept, dropped and signals on disk. No peer is run: the figure is ours alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from filters.c4 import C4Quality
from filters.fineweb import FineWebQuality
from filters.gopher import GopherQuality, GopherRepetition
from filters.normalize import NormalizeText
from filters.pii import EscapePlaceholders, RedactPii
from pipelines.artifact import Source, build
from pipelines.cli.progress import progress_for_terminal
from pipelines.executors.local import Local
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline

STAGES = (
    NormalizeText(),
    EscapePlaceholders(),
    GopherRepetition(),
    GopherQuality(),
    C4Quality(),
    FineWebQuality(),
    RedactPii(),
)
SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ha", "ki", "lo", "me", "nu", "pa", "re", "si", "to", "va")
STOP_WORDS = ("the", "of", "and", "to", "that", "with", "have", "be")


def write_file(path: Path, gigabytes: float) -> int:
    """Documents of 200 to 12,000 words until the file has its size; returns how many."""
    chooser = random.Random(7)
    words = ["".join(chooser.choices(SYLLABLES, k=chooser.randint(1, 5))) for _ in range(30_000)]
    sentences = []
    for _ in range(20_000):
        picked = chooser.choices(words, k=chooser.randint(6, 14)) + chooser.choices(STOP_WORDS, k=5)
        chooser.shuffle(picked)
        sentences.append(" ".join(picked).capitalize() + ".")
    documents = 0
    with path.open("w", buffering=1 << 20) as file:
        while file.tell() < gigabytes * 1e9:
            for _ in range(200):
                length = chooser.choice((10, 30, 80, 600))
                text = "\n".join(chooser.choices(sentences, k=length))
                file.write(json.dumps({"id": f"d{documents}", "text": text}) + "\n")
                documents += 1
    return documents


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stress", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--limit-gigabytes", type=float, default=1.5, help="exit 1 above this peak")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "one.jsonl"
        documents = write_file(path, arguments.gigabytes)
        size = path.stat().st_size
        source = Source(name="one", inputs=(str(path),), shard_bytes=size + 1)
        artifact = process(source, through=Pipeline(name="clean", stages=STAGES))
        began = time.monotonic()
        # Two workers, so that the shard runs in a process of its own, whose peak is nobody else's.
        manifest = build(artifact, root=scratch, executor=Local(workers=2), progress=progress_for_terminal())
        seconds = time.monotonic() - began
        log = json.loads(next(Path(scratch).rglob("log/final.json")).read_text())
    (entry,) = log
    counts = manifest["counts"]
    print(
        f"{size / 1e9:.2f} GB, {documents:,} documents, one shard: {seconds:.0f} s, {size / 1e6 / entry['seconds']:.1f} MB/s"
    )
    print(f"{counts['documents']:,} documents = {counts['kept']:,} kept + {sum(counts['dropped'].values()):,} dropped")
    print(
        f"peak memory of the worker (VmHWM): {entry['peak_bytes'] / 1e9:.2f} GB, limit {arguments.limit_gigabytes} GB"
    )
    if counts["documents"] != documents or entry["peak_bytes"] > arguments.limit_gigabytes * 1e9:
        sys.exit(1)


if __name__ == "__main__":
    main()
