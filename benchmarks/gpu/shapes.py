"""Inputs of the kernels at a model size, laid out in memory as the model hands them over, and the launches of one layer.

x, B and C are slices of one tensor, z and dt of another, so rows are strided. Parameters of the scan are as at the model's start:
A = -1 .. -heads, steps log-uniform in [1e-3, 0.1].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from model_smoke.config import CONV_WIDTH, FalconH1Config
from model_smoke.falcon_h1 import MAX_DT, MIN_DT
from model_smoke.kernels import document_starts

RESETS = ((0, 1, 63, 64, 65, 128, 130, 257, 320), (0, 100, 191, 192, 388))
"""Where documents start in the first and second row: on, before and after the edges of chunks of 64 and 128; one token long."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where and how large. `small` is a trial of the scripts, on a CPU for instance: its figures mean nothing."""

    device: str = "cuda"
    backend: str = "triton"
    small: bool = False
    wheels: str = ""


def scan_inputs(
    config: FalconH1Config,
    batch: int,
    length: int,
    *,
    dtype: torch.dtype,
    device: str,
    decay: str = "model",
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """x, dt, A_log, B, C, D, dt_bias. Parameters are float32 and bfloat16 holds them exactly. `decay` "strong": to exp(-140)."""
    random = torch.Generator(device).manual_seed(seed)
    heads, states = config.ssm_heads, config.ssm_groups * config.ssm_state
    # B and C as large as this make the states weigh about as much in y as the skip, whose rounding would hide their errors
    mixed = _normal(random, dtype, batch, length, config.conv_size)
    projected = 0.5 * _normal(random, dtype, batch, length, sum(config.ssm_slices))
    low, high = math.log(MIN_DT), math.log(MAX_DT)
    step = torch.exp(low + (high - low) * torch.rand(heads, generator=random, device=device))
    a_log, bias = torch.arange(1, heads + 1, device=device).log(), step + torch.log(-torch.expm1(-step))
    if decay == "strong":
        a_log, bias = torch.linspace(2.0, 4.2, heads), torch.full((heads,), 2.0)
    x, b, c = mixed.split([config.ssm_size, states, states], dim=-1)
    dt = projected[..., -heads:]
    return {
        "x": x.unflatten(-1, (heads, -1)),
        "dt": dt,
        "A_log": _exact(a_log, device),
        "B": b.unflatten(-1, (config.ssm_groups, -1)),
        "C": c.unflatten(-1, (config.ssm_groups, -1)),
        "D": _exact(torch.rand(heads, generator=random, device=device) + 0.5, device),
        "dt_bias": _exact(bias, device),
    }


def conv_inputs(
    config: FalconH1Config, batch: int, length: int, *, dtype: torch.dtype, device: str
) -> dict[str, torch.Tensor]:
    """x as the slice of the projection that it is, weight and bias."""
    random = torch.Generator(device).manual_seed(1)
    projected = _normal(random, dtype, batch, length, sum(config.ssm_slices))
    weight, bias = (torch.rand(config.conv_size, n, generator=random, device=device) - 0.5 for n in (CONV_WIDTH, 1))
    x = projected[..., config.ssm_size : config.ssm_size + config.conv_size]
    return {"x": x, "weight": _exact(weight, device), "bias": _exact(bias[:, 0], device)}


def norm_inputs(
    config: FalconH1Config, batch: int, length: int, *, width: int, gated: bool, dtype: torch.dtype, device: str
) -> dict[str, torch.Tensor]:
    """x, z where `gated` (a slice of the projection), weight."""
    random = torch.Generator(device).manual_seed(2)
    made = {"x": _normal(random, dtype, batch, length, width)}
    if gated:
        projected = _normal(random, dtype, batch, length, max(width, sum(config.ssm_slices)))
        made["z"] = projected[..., :width]
    return made | {"weight": _exact(1 + 0.3 * _normal(random, torch.float32, width), device)}


def gate_inputs(batch: int, length: int, width: int, *, dtype: torch.dtype, device: str) -> dict[str, torch.Tensor]:
    """x and z, contiguous as in the MLP."""
    random = torch.Generator(device).manual_seed(3)
    return {name: _normal(random, dtype, batch, length, width) for name in ("x", "z")}


def awkward_documents(batch: int, length: int, device: str) -> torch.Tensor:
    """Document numbers int32 [batch, length] with starts at RESETS."""
    rows = [[sum(t >= start for start in RESETS[row % 2]) for t in range(length)] for row in range(batch)]
    return torch.tensor(rows, dtype=torch.int32, device=device)


def usual_documents(batch: int, length: int, device: str, *, mean: int = 1000) -> torch.Tensor:
    """Document numbers int32 of documents of geometric length, `mean` tokens on average: about that of web pages."""
    random = torch.Generator().manual_seed(4)
    return (torch.rand(batch, length, generator=random) < 1 / mean).cumsum(1).int().to(device)


def spans(documents: torch.Tensor) -> Iterator[tuple[int, int, int]]:
    """(row, start, stop) of each document."""
    for row, numbers in enumerate(documents.tolist()):
        edges = [0, *(t for t in range(1, len(numbers)) if numbers[t] != numbers[t - 1]), len(numbers)]
        yield from ((row, start, stop) for start, stop in pairwise(edges))


def leaves(inputs: dict[str, torch.Tensor], dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """The same values, each to be differentiated by; strides stay unless the type changes."""
    return {name: each.detach().to(dtype or each.dtype).requires_grad_() for name, each in inputs.items()}


def layer_launches(
    config: FalconH1Config, batch: int, length: int, *, device: str, documents: torch.Tensor | None,
    dtype: torch.dtype = torch.bfloat16,
) -> Iterator[tuple[str, str, Sequence]]:  # fmt: skip
    """(operation, direction, launches by name) of one layer on Triton, in the order in which they can run."""
    from model_smoke.kernels import conv, gate, norm, ssd  # Triton is optional
    from model_smoke.kernels.tiles import ssd_tiles

    made = scan_inputs(config, batch, length, dtype=dtype, device=device)
    x, dt, a_log, B, C, D, bias = made.values()
    a = -torch.exp(a_log)
    starts = None if documents is None else document_starts(documents).positions
    tiles = ssd_tiles(config.ssm_head_dim, config.ssm_state, config.chunk)
    y, kept, forward = ssd.plan_forward(x, dt, a, B, C, D, bias, starts, tiles)
    yield "ssd", "forward", list(zip(("steps", "states", "outputs"), forward, strict=True))
    _, backward = ssd.plan_backward(torch.randn_like(y), x, a, B, C, D, kept, starts, tiles, dt_type=dtype)
    yield "ssd", "backward", list(zip(("states, reversed", "inputs", "keys"), backward, strict=True))

    x, weight, taps = conv_inputs(config, batch, length, dtype=dtype, device=device).values()
    y, launch = conv.plan_forward(x, weight, taps, starts, silu=True)
    yield "conv", "forward", [("conv", launch)]
    yield "conv", "backward", [("conv", conv.plan_backward(torch.randn_like(y), x, weight, taps, starts, silu=True)[1])]

    for name, width, gated in (("norm", config.hidden_size, False), ("gated norm", config.ssm_size, True)):
        if gated and not config.gated_norm:
            continue
        # the residual stream is float32
        stored = dtype if gated else torch.float32
        given = norm_inputs(config, batch, length, width=width, gated=gated, dtype=stored, device=device)
        rows, gates = given["x"].flatten(0, 1), given["z"].flatten(0, 1) if gated else None
        options = dict(groups=config.ssm_groups if gated else 1, eps=config.norm_eps, norm_before_gate=False)
        y, launch = norm.plan_forward(rows, gates, given["weight"], **options)
        yield name, "forward", [(name, launch)]
        back = norm.plan_backward(torch.randn_like(y), rows, gates, given["weight"], **options)[1]
        yield name, "backward", [(name, back)]

    x, z = (
        each.flatten(0, 1) for each in gate_inputs(batch, length, config.mlp_size, dtype=dtype, device=device).values()
    )
    y, launch = gate.plan_forward(x, z)
    yield "gate", "forward", [("gate of the MLP", launch)]
    yield "gate", "backward", [("gate of the MLP", gate.plan_backward(torch.randn_like(y), x, z)[1])]


def _normal(random: torch.Generator, dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Drawn on the generator's own device: the large ones would take the host seconds."""
    return torch.randn(*shape, generator=random, device=random.device).to(dtype)


def _exact(values: torch.Tensor, device: str) -> torch.Tensor:
    """float32 values that bfloat16 holds exactly, so that a model in bfloat16 computes the same function."""
    return values.bfloat16().float().to(device)
