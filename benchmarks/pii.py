"""Redaction: precision and recall by set, and speed by corpus. `python -m benchmarks.pii [--speed]`.

The figures of the first table are those that `tests/parity/test_pii_gold.py` holds. Speed is megabytes of UTF-8 text per
CPU second of one core, from a document batch in memory to the redacted batch, the best of three runs, compile time left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pyarrow as pa

from filters.normalize import NormalizeText
from filters.pii import EMAIL, IP, PHONE, RedactPii
from pipelines.kernels.redaction import find_candidates
from tests.parity.pii_gold import as_table, pooled, rows, scores
from tests.shared import ROOT

CORPORA = (
    "multilingual/en",
    "webtext/c4_sample",
    "multilingual/de",
    "multilingual/ru",
    "multilingual/zh",
    "multilingual/hi",
    "math/latex_sources",
    "pii/debian_changelogs",
)


def speed(data: Path) -> None:
    print(f"{'corpus':24} {'MB':>6} {'redact MB/s':>12} {'scan MB/s':>10} {'normalize MB/s':>15} {'again MB/s':>11}")
    for name in CORPORA:
        texts = [row["text"] for row in rows(data / f"{name}.jsonl.zst")]
        batch = pa.RecordBatch.from_pydict(
            {"id": [str(number) for number in range(len(texts))], "text": pa.array(texts, pa.large_string())}
        )
        num_bytes = sum(len(text.encode()) for text in texts)
        clean = NormalizeText().transform(batch)
        works = (
            lambda batch=batch: RedactPii().transform(batch),
            lambda batch=batch: find_candidates(batch.column("text")),
            lambda batch=batch: NormalizeText().transform(batch),
            lambda clean=clean: NormalizeText().transform(clean),
        )
        rates = [num_bytes / 1e6 / seconds(work) for work in works]
        print(f"{name:24} {num_bytes / 1e6:6.1f} {rates[0]:12.0f} {rates[1]:10.0f} {rates[2]:15.0f} {rates[3]:11.0f}")


def seconds(work) -> float:  # noqa: ANN001 - any callable
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", action="store_true", help="also measure speed")
    arguments = parser.parse_args()
    data = ROOT / "data"
    table = scores(data)
    print(as_table([*table, *(pooled(table, kind) for kind in (EMAIL, IP, PHONE))]))
    if arguments.speed:
        print()
        speed(data)


if __name__ == "__main__":
    main()
