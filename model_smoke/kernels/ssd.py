"""SSD on Triton as one differentiable function: checks, padding to powers of two, the launches of forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from model_smoke.kernels.checks import check_last_stride
from model_smoke.kernels.documents import DocumentStarts
from model_smoke.kernels.launch import Launch, compute_type, run_all
from model_smoke.kernels.ssd_backward import plan_inputs, plan_keys
from model_smoke.kernels.ssd_forward import plan_outputs, plan_states, plan_steps
from model_smoke.kernels.tiles import Tiles, ssd_tiles

MAX_STATE = 256
"""The largest head dim and state: beyond it the tiles no longer fit."""


@torch.compiler.disable  # type: ignore[untyped-decorator,unused-ignore]
def scan(
    x: torch.Tensor, dt: torch.Tensor, A_log: torch.Tensor, B: torch.Tensor, C: torch.Tensor, D: torch.Tensor,
    dt_bias: torch.Tensor, *, starts: DocumentStarts | None, chunk: int | None,
) -> torch.Tensor:  # fmt: skip
    """`kernels.ssd_scan` on Triton. Raises ValueError for types, strides and sizes that the kernels cannot take."""
    check_last_stride(x=x, dt=dt, B=B, C=C)
    compute_type(x.dtype)
    if B.dtype != x.dtype or C.dtype != x.dtype:
        raise ValueError(f"x is {x.dtype}, B {B.dtype}, C {C.dtype}; give all three the same type")
    head_dim, state = x.shape[3], B.shape[3]
    if not (1 <= head_dim <= MAX_STATE and 1 <= state <= MAX_STATE):
        raise ValueError(f"head dim {head_dim}, state {state}: the Triton kernels take 1 to {MAX_STATE}")
    padded_dim, padded_state = _padded(head_dim), _padded(state)
    tiles = ssd_tiles(padded_dim, padded_state, chunk)
    if x.numel() == 0:
        return x * D[:, None].to(x.dtype)
    if padded_dim > head_dim:  # columns of zeros change no sum
        x = functional.pad(x, (0, padded_dim - head_dim))
    if padded_state > state:
        B, C = (functional.pad(each, (0, padded_state - state)) for each in (B, C))
    positions = None if starts is None else starts.positions.contiguous()
    y: torch.Tensor = _Scan.apply(x, dt, A_log, B, C, D, dt_bias, positions, tiles)
    return y[..., :head_dim]


def plan_forward(
    x: torch.Tensor, dt: torch.Tensor, a: torch.Tensor, B: torch.Tensor, C: torch.Tensor, D: torch.Tensor,
    dt_bias: torch.Tensor, starts: torch.Tensor | None, tiles: Tiles,
) -> tuple[torch.Tensor, list[torch.Tensor], tuple[Launch, ...]]:  # fmt: skip
    """y, what backward needs ([states, step, high, low]), and the launches that fill them."""
    steps, make_steps = plan_steps(dt, a, dt_bias, tiles.chunk)
    states, make_states = plan_states(x, B, steps, starts, tiles, reverse=False)
    y, make_outputs = plan_outputs(x, B, C, D, steps, states, starts, tiles)
    return y, [states, *steps], (make_steps, make_states, make_outputs)


def plan_backward(
    dy: torch.Tensor, x: torch.Tensor, a: torch.Tensor, B: torch.Tensor, C: torch.Tensor, D: torch.Tensor,
    made: list[torch.Tensor], starts: torch.Tensor | None, tiles: Tiles, *, dt_type: torch.dtype,
) -> tuple[list[torch.Tensor], tuple[Launch, ...]]:  # fmt: skip
    """[dx, ddt, sums, dB parts, dC parts] and the launches that fill them."""
    states, *steps = made
    dstates, make_states = plan_states(dy, C, steps, starts, tiles, reverse=True)
    inputs, make_inputs = plan_inputs(x, B, C, dy, a, D, steps, states, dstates, starts, tiles, dt_type=dt_type)
    keys, make_keys = plan_keys(x, B, C, dy, steps, states, dstates, starts, tiles)
    return [*inputs, *keys], (make_states, make_inputs, make_keys)


class _Scan(torch.autograd.Function):  # type: ignore[misc,unused-ignore] # torch carries no types here
    """Saves x, B, C, the states entering each chunk and the steps; everything else is computed again."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, dt: torch.Tensor, A_log: torch.Tensor, B: torch.Tensor, C: torch.Tensor,
        D: torch.Tensor, dt_bias: torch.Tensor, starts: torch.Tensor | None, tiles: Tiles,
    ) -> torch.Tensor:  # fmt: skip
        a = -torch.exp(A_log.float())
        D, dt_bias = D.contiguous(), dt_bias.contiguous()
        y, made, launches = plan_forward(x, dt, a, B, C, D, dt_bias, starts, tiles)
        run_all(launches, x.device)
        ctx.save_for_backward(x, a, B, C, D, starts, *made)
        ctx.tiles, ctx.types = tiles, (dt.dtype, A_log.dtype, dt_bias.dtype)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, a, B, C, D, starts, *made = ctx.saved_tensors
        dt_type, a_type, bias_type = ctx.types
        dy = gradients[0].contiguous()
        outputs, launches = plan_backward(dy, x, a, B, C, D, made, starts, ctx.tiles, dt_type=dt_type)
        run_all(launches, x.device)
        dx, ddt, sums, db, dc = outputs
        da, dd, dbias = sums.sum((1, 2))
        db, dc = (each[0] if each.shape[0] == 1 else each.sum(0).to(B.dtype) for each in (db, dc))
        return dx, ddt, (da * a).to(a_type), db, dc, dd.to(D.dtype), dbias.to(bias_type), None, None


def _padded(size: int) -> int:
    """The next power of two, at least 16, which tl.dot wants."""
    return max(16, 1 << (size - 1).bit_length())
