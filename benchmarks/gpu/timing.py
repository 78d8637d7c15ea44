"""Our kernels on the clock: each launch of a layer by itself with the bytes it must move, then whole operations with autograd.

ns per token and layer, at the 0.5B's shape with 32,768 and 131,072 tokens, documents of 1,000 tokens on average. Bytes count each
tensor of a launch once; bytes a second are shown against a copy on the same device, measured first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.gpu.clock import ceilings, median_seconds
from benchmarks.gpu.rows import FIGURE, GOAL, Row
from benchmarks.gpu.shapes import (
    Options,
    conv_inputs,
    gate_inputs,
    layer_launches,
    leaves,
    norm_inputs,
    scan_inputs,
    usual_documents,
)
from model_smoke.backend import choose_backend
from model_smoke.config import SIZES, FalconH1Config
from model_smoke.kernels import causal_conv1d, document_starts, gated_rms_norm, rms_norm, silu_gate, ssd_scan

SHAPES = ((8, 4096), (32, 4096))
GOALS = {"forward": 10.0, "forward and backward": 35.0}
"""ns per token and layer of the scan at the 0.5B's shape."""
OTHER_SIZES = ("90m", "1.5b", "34b")
UNIT = "ns/token/layer"

Work = Callable[..., torch.Tensor]


def machine(options: Options) -> Iterator[Row]:
    """What runs here, and its two ceilings. Raises ConfigError where the device or Triton is not there."""
    backend = choose_backend(options.backend, options.device)
    copied, multiplied = ceilings(options.device, small=options.small)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(backend.versions.items()))
    yield Row(what=f"{backend.device_name}, {versions}", value=1.0, unit="device", more=backend.as_json())
    yield Row(what="copy, bytes read and written", value=copied / 1e12, unit="TB/s")
    yield Row(what="bfloat16 matrix product, 8192 cubed", value=multiplied / 1e12, unit="TFLOP/s")


def launches(options: Options) -> Iterator[Row]:
    """Every launch of one layer by itself."""
    name, shapes = ("tiny", ((2, 70),)) if options.small else ("0.5b", SHAPES)
    copied, _ = ceilings(options.device, small=options.small)
    for batch, length in shapes:
        tokens = batch * length
        documents = usual_documents(batch, length, options.device)
        for operation, direction, parts in layer_launches(
            SIZES[name], batch, length, device=options.device, documents=documents
        ):
            for kernel, launch in parts:
                moved = launch_bytes(launch.arguments)
                seconds = median_seconds(launch.run, options.device, runs=_runs(options))
                yield Row(
                    what=f"{name}, {tokens:,} tokens, {operation} {direction}: {kernel}", value=seconds / tokens * 1e9,
                    unit=UNIT,
                    more={"bytes": moved, "TB/s": moved / seconds / 1e12, "of_copy": moved / seconds / copied},
                )  # fmt: skip


def operations(options: Options) -> Iterator[Row]:
    """Whole operations, as the model calls them; the scan is held against its goals."""
    name, shapes = ("tiny", ((2, 70),)) if options.small else ("0.5b", SHAPES)
    ceiling = ceilings(options.device, small=options.small)
    for batch, length in shapes:
        documents = usual_documents(batch, length, options.device)
        for about, numbers in (("documents", documents), ("one document a row", None)):
            yield from _scan_rows(SIZES[name], name, batch, length, about, numbers, options, ceiling, goals=True)
        yield from _other_rows(SIZES[name], name, batch, length, documents, options)
    for other in () if options.small else OTHER_SIZES:
        documents = usual_documents(8, 4096, options.device)
        yield from _scan_rows(SIZES[other], other, 8, 4096, "documents", documents, options, ceiling, goals=False)


def time_scan(scan: Work, inputs: dict[str, torch.Tensor], device: str, *, runs: int) -> dict[str, float]:
    """Seconds of `scan(**inputs)` by "forward" and "forward and backward"; dy is the same random tensor each time."""
    given = leaves(inputs)
    dy = torch.randn_like(inputs["x"])

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return scan(**inputs)

    def both() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(scan(**given), list(given.values()), dy)

    return {
        "forward": median_seconds(forward, device, runs=runs),
        "forward and backward": median_seconds(both, device, runs=runs),
    }


def launch_bytes(arguments: Any) -> int:
    """Bytes of the tensors of a launch, each once: those that share their first value are one (unused pointers are filled so)."""
    tensors = {each.data_ptr(): each for each in arguments.values() if isinstance(each, torch.Tensor)}
    return sum(each.numel() * each.element_size() for each in tensors.values())


def scan_floors(config: FalconH1Config, ceiling: tuple[float, float], *, chunk: int = 64) -> dict[str, float]:
    """Fewest ns per token: the larger of inputs and outputs moved once by a copy's rate, and products at a matrix product's.

    Forward in bfloat16: x, y, B, C, dt; per head a chunk-wide and two state-wide products, per group C B^T. With backward x, B, C,
    dt are read again, dy is read, dx, dB, dC, ddt are written, and there are three times the products.
    """
    heads, width, state = config.ssm_heads, config.ssm_head_dim, config.ssm_state
    keys = 2 * config.ssm_groups * state
    inputs = 2 * (heads * width + keys + heads)
    moved = {"forward": inputs + 2 * heads * width, "forward and backward": 3 * inputs + 4 * heads * width}
    products = heads * (2 * chunk * width + 4 * width * state) + config.ssm_groups * 2 * chunk * state
    flops = {"forward": products, "forward and backward": 3 * products}
    return {name: 1e9 * max(moved[name] / ceiling[0], flops[name] / ceiling[1]) for name in moved}


def _scan_rows(
    config: FalconH1Config, name: str, batch: int, length: int, about: str, documents: torch.Tensor | None,
    options: Options, ceiling: tuple[float, float], *, goals: bool,
) -> Iterator[Row]:  # fmt: skip
    starts = None if documents is None else document_starts(documents)
    inputs = scan_inputs(config, batch, length, dtype=torch.bfloat16, device=options.device)

    def scan(**given: torch.Tensor) -> torch.Tensor:
        return ssd_scan(**given, document=starts, backend=options.backend)

    floors = scan_floors(config, ceiling)
    for direction, seconds in time_scan(scan, inputs, options.device, runs=_runs(options)).items():
        yield Row(
            what=f"{name}, {batch * length:,} tokens, ssd {direction}, {about}", value=seconds / (batch * length) * 1e9,
            unit=UNIT, kind=GOAL if goals else FIGURE, bound=GOALS[direction] if goals else None,
            more={"floor_ns": floors[direction]},
        )  # fmt: skip


def _other_rows(
    config: FalconH1Config, name: str, batch: int, length: int, documents: torch.Tensor, options: Options
) -> Iterator[Row]:
    device, backend, starts, eps = options.device, options.backend, document_starts(documents), config.norm_eps
    shape = dict(device=device, dtype=torch.bfloat16)
    residual = dict(device=device, dtype=torch.float32)
    works: dict[str, tuple[Work, dict[str, torch.Tensor]]] = {
        "conv": (
            lambda **t: causal_conv1d(**t, document=starts, backend=backend),
            conv_inputs(config, batch, length, **shape),
        ),
        "norm of the residual stream, float32": (
            lambda **t: rms_norm(**t, eps=eps, backend=backend),
            norm_inputs(config, batch, length, width=config.hidden_size, gated=False, **residual),
        ),
        "gated norm": (
            lambda **t: gated_rms_norm(**t, groups=config.ssm_groups, eps=eps, backend=backend),
            norm_inputs(config, batch, length, width=config.ssm_size, gated=True, **shape),
        ),
        "gate of the MLP": (
            lambda **t: silu_gate(**t, backend=backend),
            gate_inputs(batch, length, config.mlp_size, **shape),
        ),
    }
    for about, (work, inputs) in works.items():
        for direction, seconds in time_scan(work, inputs, device, runs=_runs(options)).items():
            value = seconds / (batch * length) * 1e9
            yield Row(what=f"{name}, {batch * length:,} tokens, {about} {direction}", value=value, unit=UNIT)


def _runs(options: Options) -> int:
    return 2 if options.small else 30
