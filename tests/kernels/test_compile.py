"""Every kernel, compiled ahead of time for sm_90 at the widths of four model sizes; no GPU.

What is asserted is what decides speed and can be known without running: no spills, shared memory that fits, tensor-core
instructions, and the registers, which are kept in `tests/golden/registers.json` by Triton version. After a change to a kernel
that is meant: `python -m tests.kernels.aot --golden`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import GOLDEN, SIZES_COMPILED

ROOT = Path(__file__).resolve().parents[2]
MAX_SHARED_BYTES = 227 * 1024
"""What one block may have on sm_90 (CUDA programming guide, compute capabilities)."""
PER_SIZE = {
    "steps", "states", "states_reverse", "outputs", "inputs", "keys", "conv", "conv_backward", "norm", "norm_backward",
    "gate", "gate_backward",
}  # fmt: skip
WITH_DOTS = {"states", "states_reverse", "outputs", "inputs", "keys"}


@cache
def reports() -> dict[str, dict[str, dict[str, Any]]]:
    """Size, then kernel -> what the compiler said; two processes, each with an empty cache of its own."""
    halves = SIZES_COMPILED[::2], SIZES_COMPILED[1::2]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.kernels.aot", *half],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        )
        for half in halves
    ]  # fmt: skip
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for process in started:
        output, errors = process.communicate()
        assert process.returncode == 0, errors[-4000:]
        for line in map(json.loads, output.splitlines()):
            found.setdefault(line["size"], {})[line["kernel"]] = line
    return found


@pytest.mark.parametrize("size", SIZES_COMPILED)
def test_nothing_spills_and_shared_memory_fits(size):
    assert set(reports()[size]) >= PER_SIZE
    for kernel, report in reports()[size].items():
        assert (report["stack"], report["local"]) == (0, 0), f"{size} {kernel} spills"
        assert report["shared"] < MAX_SHARED_BYTES, f"{size} {kernel}"


@pytest.mark.parametrize("size", SIZES_COMPILED)
def test_matrix_products_run_on_tensor_cores(size):
    for kernel in WITH_DOTS:
        assert reports()[size][kernel]["wgmma"] > 0, f"{size} {kernel}"


def test_registers_are_the_golden_ones():
    golden = json.loads(GOLDEN.read_text())
    version = next(iter(reports()["90m"].values()))["triton"]
    assert version in golden, f"no registers for Triton {version}: python -m tests.kernels.aot --golden"
    ours = {size: {kernel: r["registers"] for kernel, r in found.items()} for size, found in reports().items()}
    assert ours == golden[version]
