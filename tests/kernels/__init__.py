"""Kernels: the torch backend against the oracle in this process, Triton's in processes that the tests start."""

from pathlib import Path

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "registers.json"
SIZES_COMPILED = ("90m", "34b", "0.5b", "1.5b")
