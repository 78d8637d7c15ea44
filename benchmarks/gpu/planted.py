"""One small verdict on this device: a mixture with 20% of its documents shuffled by word against one without.

Six runs of a few seconds through `model_smoke.training`, on the same kernels as everything else, judged by `model_smoke.verdict`.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.gpu.rows import CHECK, FIGURE, GOAL, Row
from benchmarks.gpu.shapes import Options
from model_smoke.backend import choose_backend
from model_smoke.held_out import choose_held_out
from model_smoke.sources import open_mixture
from model_smoke.training import train
from model_smoke.verdict import WORSE, compare
from tests.planted_mixtures import CONFIG, OPTIONS, write_mixture

SHUFFLED, SEEDS = 0.2, 3
LEARNED = 0.3
"""Bits per byte that every run must have learned; on a CPU in float32 they learned at least 1.0."""


def verdict(options: Options) -> Iterator[Row]:
    """Did training learn, is every figure finite, and what is the verdict."""
    backend = choose_backend(options.backend, options.device)
    training = dataclasses.replace(OPTIONS, steps=4) if options.small else OPTIONS
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        mixtures = [open_mixture(write_mixture(Path(folder) / str(s), shuffled=s)) for s in (SHUFFLED, 0.0)]
        held_out = choose_held_out(mixtures, max_tokens=1 << 20).documents
        records = [
            [
                train(each, dataclasses.replace(training, seed=seed), held_out, backend=backend, config=CONFIG)[0]
                for seed in range(SEEDS)
            ]
            for each in mixtures
        ]
    bits = [np.stack([record.bits_after for record in runs]) for runs in records]
    learned = [
        record.evaluation["before"]["all"] - record.evaluation["after"]["all"] for runs in records for record in runs
    ]
    yield Row(
        what="smoke runs: least fall in bits per byte", value=min(learned), unit="BPB", kind=CHECK,
        bound=None if options.small else LEARNED, more_is_better=True,
    )  # fmt: skip
    judged = compare(*bits, held_out, names=("20% shuffled", "none shuffled"), paired=True)
    yield Row(
        what="smoke verdict: 20% shuffled is called worse", value=float(judged.outcome == WORSE), unit="", kind=GOAL,
        bound=1.0, more_is_better=True, more={"sentence": judged.sentence(), "backend": backend.as_json()},
    )  # fmt: skip
    yield Row(what="smoke verdict: six runs", value=time.monotonic() - began, unit="s", kind=FIGURE)
