"""The Triton kernels, forward and backward, in Triton's interpreter against a float64 oracle; no GPU.

A Triton process interprets from its first import on or never, so the cases run in processes that these tests start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

EXACT = 2e-6
SUMMED = 5e-5
"""For sums over the whole row of terms of both signs: the gradients of A and dt_bias."""
MISROUNDED = 5e-3
"""Share of 16-bit values that may be the other neighbour of the exact value: those which lie half way, nearly."""

FEWEST_CASES = {"ssd": 32, "conv": 9, "norm": 14, "model": 1}


@cache
def errors_of(family: str) -> dict[str, dict[str, float]]:
    """Errors by case and tensor, from one process."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.interpreted", family],
        capture_output=True, text=True, cwd=root, env={**os.environ, "TRITON_INTERPRET": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return {line["case"]: line["errors"] for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("family", FEWEST_CASES)
def test_every_output_and_gradient_agrees_with_float64(family):
    cases = errors_of(family)
    assert len(cases) >= FEWEST_CASES[family]
    wrong = []
    for case, errors in cases.items():
        narrow = "float16" in case  # bfloat16 too
        for name, error in errors.items():
            summed = name.endswith(("A_log", "dt_bias"))
            stored = narrow and not (
                name in ("A_log", "D", "dt_bias") or (family == "conv" and name not in ("y", "input 0"))
            )
            limit = MISROUNDED if stored else SUMMED if summed else EXACT
            if not error <= limit:  # NaN, too, is wrong
                wrong.append(f"{case}: {name} {error:.1e} > {limit:.0e}")
    assert not wrong, "\n".join(wrong)


def test_the_cases_are_those_the_kernels_are_known_to_fail_on():
    """Each of these names a way in which a scan goes wrong: none may drop out unnoticed."""
    names = " ".join(errors_of("ssd"))
    for trap in ("strong decay", "mixed decay", "tiniest decay", "zero decay", "every offset", "length below a chunk",
                 "ragged", "two groups", "float16", "bfloat16", "head dim 128", "state 16"):  # fmt: skip
        assert trap in names
