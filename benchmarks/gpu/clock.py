"""Seconds of work on a device: CUDA events around each run, the cache flushed before it, the median of many.

On a CPU the wall clock stands in, so that the scripts can be tried there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

FLUSH_BYTES = 1 << 28
"""Written before each run: four times the L2 of an H200, so that no input is still in it."""


def median_seconds(work: Callable[[], Any], device: str, *, runs: int = 30, warmup: int = 5) -> float:
    """The median of `runs`, after `warmup` runs that are not counted and that compile what is to be compiled.

    All runs are queued before the first is waited for, so that the host stays ahead of the device.
    """
    if torch.device(device).type != "cuda":
        return statistics.median([_wall_seconds(work) for _ in range(warmup + runs)][warmup:])
    for _ in range(warmup):
        work()
    torch.cuda.synchronize(device)
    flushed = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device=device)
    pairs = []
    for _ in range(runs):
        flushed.zero_()
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        pairs.append((start, stop))
    torch.cuda.synchronize(device)
    return statistics.median(start.elapsed_time(stop) / 1e3 for start, stop in pairs)


def ceilings(device: str, *, small: bool) -> tuple[float, float]:
    """(bytes a second of a copy, read and written counted; FLOP a second of a bfloat16 matrix product), measured here and now."""
    size, width = (1 << 16, 64) if small else (1 << 32, 8192)
    return 2 * size / _copy_seconds(size, device), 2 * width**3 / _product_seconds(width, device)


def _copy_seconds(size: int, device: str) -> float:
    source = torch.randint(-9, 9, (size // 4,), dtype=torch.int32, device=device)
    target = torch.empty_like(source)
    return median_seconds(lambda: target.copy_(source), device, runs=10, warmup=3)


def _product_seconds(width: int, device: str) -> float:
    # zeros would run faster than data ever will
    a, b = (torch.randn(width, width, device=device).bfloat16() for _ in range(2))
    return median_seconds(lambda: a @ b, device, runs=10, warmup=3)


def _wall_seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
