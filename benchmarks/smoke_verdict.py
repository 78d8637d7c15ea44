"""How small an effect does a smoke verdict see, and how often does it see one that is not there? Prints a table and JSON.

Planted mixtures (tests/planted_mixtures.py): 20, 10 and 5% of documents shuffled by word, against none; and none against
none with other seeds. Runs are trained once a seed and compared in every disjoint or matching choice of seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from model_smoke.held_out import choose_held_out
from model_smoke.sources import open_mixture
from model_smoke.training import train
from model_smoke.verdict import NOT_DECIDED, WORSE, compare
from tests.planted_mixtures import CONFIG, OPTIONS, write_mixture

SHARES = (0.2, 0.1, 0.05)
MAX_COMPARISONS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="runs of each mixture (default: 10)")
    parser.add_argument("--steps", type=int, default=OPTIONS.steps)
    given = parser.parse_args()
    options = dataclasses.replace(OPTIONS, steps=given.steps)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        mixtures = {s: open_mixture(write_mixture(Path(folder) / str(s), shuffled=s)) for s in (0.0, *SHARES)}
        held_out = choose_held_out(list(mixtures.values()), max_tokens=1 << 20).documents
        bits = {}
        for share, mixture in mixtures.items():
            runs = [
                train(mixture, dataclasses.replace(options, seed=seed), held_out, config=CONFIG)[0].bits_after
                for seed in range(given.seeds)
            ]
            bits[share] = np.stack(runs)
            print(f"{share:.0%} shuffled: {given.seeds} runs, {time.monotonic() - began:.0f} s", file=sys.stderr)
    results = []
    for runs in (3, 5):
        chosen = list(itertools.combinations(range(given.seeds), runs))
        for share in SHARES:
            verdicts = [
                compare(bits[share][list(c)], bits[0.0][list(c)], held_out, paired=True, seed=n)
                for n, c in enumerate(_some(chosen))
            ]
            called = sum(verdict.outcome == WORSE for verdict in verdicts) / len(verdicts)
            effect = float(np.mean([-verdict.overall.difference for verdict in verdicts]))
            results.append({"shuffled": share, "runs": runs, "effect_bpb": effect, "called_worse": called})
        apart = [(a, b) for a, b in itertools.combinations(chosen, 2) if not set(a) & set(b)]
        verdicts = [
            compare(bits[0.0][list(a)], bits[0.0][list(b)], held_out, paired=True, seed=n)
            for n, (a, b) in enumerate(_some(apart))
        ]
        called = sum(verdict.outcome != NOT_DECIDED for verdict in verdicts) / len(verdicts)
        results.append({"shuffled": 0.0, "runs": runs, "effect_bpb": 0.0, "called_different": called})
    for row in results:
        kind = "called worse" if "called_worse" in row else "called different"
        rate = row.get("called_worse", row.get("called_different", 0.0))
        print(
            f"{row['shuffled']:4.0%} shuffled, {row['runs']} runs a side: {row['effect_bpb']:+.4f} BPB, {kind} in {rate:.0%}"
        )
    print(json.dumps({"documents": len(held_out), "seeds": given.seeds, "steps": given.steps, "results": results}))


def _some(choices: list) -> list:
    """At most MAX_COMPARISONS of them, the same ones each time."""
    picked = np.random.default_rng(0).permutation(len(choices))[:MAX_COMPARISONS]
    return [choices[number] for number in picked]


if __name__ == "__main__":
    main()
