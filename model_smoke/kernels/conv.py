"""Depthwise causal convolution with bias and SiLU on Triton, forward and backward; document starts cut the taps.

In: x [b, l, c], any strides with the last 1, weight [c, width], bias [c], starts [b, l]. y[t] reads x[i], i = t - width + 1 + k,
where i >= start[t]. Backward computes the sums before SiLU again, so only the inputs are kept; the gradients of weight and
bias are partial sums per block of positions, which torch adds in a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from model_smoke.kernels.checks import check_last_stride
from model_smoke.kernels.documents import DocumentStarts
from model_smoke.kernels.launch import Launch, compute_type, run_all
from model_smoke.kernels.rounding import narrowed

BLOCK_L, BLOCK_C = 64, 64
"""Positions and channels of one program."""


@triton.jit
def tap_sum(
    x: tl.tensor, weight_ptr: tl.tensor, t: tl.tensor, c: tl.tensor, start: tl.tensor, bias: tl.tensor,
    length: tl.tensor, channels: tl.tensor, x_length: tl.tensor,
    WIDTH: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """bias + the sum of the taps at positions t, float32 [t, c]; zero taps outside the row and before start."""
    acc = tl.zeros((t.shape[0], c.shape[0]), tl.float32) + bias[None, :]
    for k in tl.static_range(WIDTH):
        i = t - (WIDTH - 1) + k
        reads = ((i >= start) & (i < length))[:, None] & (c < channels)[None, :]
        value = tl.load(x + i[:, None].to(tl.int64) * x_length + c[None, :], mask=reads, other=0.0).to(tl.float32)
        tap = tl.load(weight_ptr + c * WIDTH + k, mask=c < channels, other=0.0).to(tl.float32)
        acc += value * tap[None, :]
    return acc


@triton.jit
def conv_forward_kernel(
    x_ptr: tl.tensor, weight_ptr: tl.tensor, bias_ptr: tl.tensor, starts_ptr: tl.tensor, y_ptr: tl.tensor,
    length: tl.tensor, channels: tl.tensor, x_batch: tl.tensor, x_length: tl.tensor,
    WIDTH: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_C: tl.constexpr, BIAS: tl.constexpr, SILU: tl.constexpr,
    DOCUMENTS: tl.constexpr,
) -> None:  # fmt: skip
    """y [b, l, c] of one block of positions and channels."""
    t = tl.program_id(0) * BLOCK_L + tl.arange(0, BLOCK_L)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    b = tl.program_id(2).to(tl.int64)
    bias = tl.zeros((BLOCK_C,), tl.float32)
    if BIAS:
        bias += tl.load(bias_ptr + c, mask=c < channels, other=0.0).to(tl.float32)
    start = tl.zeros((BLOCK_L,), tl.int32)
    if DOCUMENTS:
        start += tl.load(starts_ptr + b * length + t, mask=t < length, other=0)
    y = tap_sum(x_ptr + b * x_batch, weight_ptr, t, c, start, bias, length, channels, x_length, WIDTH)
    if SILU:
        y = y / (1.0 + tl.exp(-y))
    here = (t < length)[:, None] & (c < channels)[None, :]
    tl.store(y_ptr + (b * length + t[:, None]) * channels + c[None, :], narrowed(y, y_ptr.dtype.element_ty), mask=here)


@triton.jit
def conv_backward_kernel(
    x_ptr: tl.tensor, weight_ptr: tl.tensor, bias_ptr: tl.tensor, starts_ptr: tl.tensor, dy_ptr: tl.tensor,
    dx_ptr: tl.tensor, sums_ptr: tl.tensor, length: tl.tensor, channels: tl.tensor, num_blocks: tl.tensor,
    x_batch: tl.tensor, x_length: tl.tensor,
    WIDTH: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_C: tl.constexpr, BIAS: tl.constexpr, SILU: tl.constexpr,
    DOCUMENTS: tl.constexpr,
) -> None:  # fmt: skip
    """dx of one block; sums [b, block, width + 1, c]: its part of dweight, then of dbias.

    x[i] reached the sums at t = i .. i + width - 1, whose gradients are computed here again rather than passed on.
    """
    block = tl.program_id(0)
    i = block * BLOCK_L + tl.arange(0, BLOCK_L)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    b = tl.program_id(2).to(tl.int64)
    x = x_ptr + b * x_batch
    bias = tl.zeros((BLOCK_C,), tl.float32)
    if BIAS:
        bias += tl.load(bias_ptr + c, mask=c < channels, other=0.0).to(tl.float32)
    dx = tl.zeros((BLOCK_L, BLOCK_C), tl.float32)
    sums = sums_ptr + (b * num_blocks + block) * (WIDTH + 1) * channels + c
    for ahead in tl.static_range(WIDTH):
        t = i + ahead
        here = (t < length)[:, None] & (c < channels)[None, :]
        start = tl.zeros((BLOCK_L,), tl.int32)
        if DOCUMENTS:
            start += tl.load(starts_ptr + b * length + t, mask=t < length, other=0)
        dsum = tl.load(dy_ptr + (b * length + t[:, None]) * channels + c[None, :], mask=here, other=0.0).to(tl.float32)
        if SILU:
            before = tap_sum(x, weight_ptr, t, c, start, bias, length, channels, x_length, WIDTH)
            gate = 1.0 / (1.0 + tl.exp(-before))
            dsum = dsum * gate * (1.0 + before * (1.0 - gate))
        tap = tl.load(weight_ptr + c * WIDTH + (WIDTH - 1 - ahead), mask=c < channels, other=0.0).to(tl.float32)
        dx += tl.where((i >= start)[:, None], dsum * tap[None, :], 0.0)
        if ahead == 0:
            tl.store(sums + WIDTH * channels, tl.sum(dsum, axis=0), mask=c < channels)
            for k in tl.static_range(WIDTH):
                j = t - (WIDTH - 1) + k
                reads = ((j >= start) & (j < length))[:, None] & (c < channels)[None, :]
                value = tl.load(x + j[:, None].to(tl.int64) * x_length + c[None, :], mask=reads, other=0.0)
                tl.store(sums + k * channels, tl.sum(dsum * value.to(tl.float32), axis=0), mask=c < channels)
    here = (i < length)[:, None] & (c < channels)[None, :]
    tl.store(
        dx_ptr + (b * length + i[:, None]) * channels + c[None, :], narrowed(dx, dx_ptr.dtype.element_ty), mask=here
    )


@torch.compiler.disable  # type: ignore[untyped-decorator,unused-ignore]
def conv1d(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *, starts: DocumentStarts | None,
    activation: str | None,
) -> torch.Tensor:  # fmt: skip
    """`kernels.causal_conv1d` on Triton. Raises ValueError for types and strides that the kernels cannot take."""
    check_last_stride(x=x)
    compute_type(x.dtype)
    if x.numel() == 0:
        return torch.zeros_like(x)
    positions = None if starts is None else starts.positions.contiguous()
    y: torch.Tensor = _Conv.apply(x, weight, bias, positions, activation == "silu")
    return y


def plan_forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, starts: torch.Tensor | None, *, silu: bool
) -> tuple[torch.Tensor, Launch]:
    """y, contiguous [b, l, c] in x's type, and its launch."""
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return y, _launch(conv_forward_kernel, x, weight, bias, starts, dict(y_ptr=y), silu=silu)


def plan_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, starts: torch.Tensor | None, *,
    silu: bool,
) -> tuple[list[torch.Tensor], Launch]:  # fmt: skip
    """[dx, sums] and the launch; sums float32 [b, blocks, width + 1, c]."""
    batch, length, channels = x.shape
    num_blocks = triton.cdiv(length, BLOCK_L)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    shape = batch, num_blocks, weight.shape[1] + 1, channels
    sums = torch.empty(shape, dtype=torch.float32, device=x.device)
    extra = dict(dy_ptr=dy, dx_ptr=dx, sums_ptr=sums, num_blocks=num_blocks)
    return [dx, sums], _launch(conv_backward_kernel, x, weight, bias, starts, extra, silu=silu)


def _launch(
    kernel: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, starts: torch.Tensor | None,
    extra: dict[str, Any], *, silu: bool,
) -> Launch:  # fmt: skip
    batch, length, channels = x.shape
    return Launch(
        kernel=kernel,
        grid=(triton.cdiv(length, BLOCK_L), triton.cdiv(channels, BLOCK_C), batch),
        arguments=dict(
            x_ptr=x, weight_ptr=weight, bias_ptr=weight if bias is None else bias, starts_ptr=weight if starts is None
            else starts, length=length, channels=channels, x_batch=x.stride(0), x_length=x.stride(1), **extra,
        ),
        constants=dict(
            WIDTH=weight.shape[1], BLOCK_L=BLOCK_L, BLOCK_C=BLOCK_C, BIAS=bias is not None, SILU=silu,
            DOCUMENTS=starts is not None,
        ),
        num_warps=8,
    )  # fmt: skip


class _Conv(torch.autograd.Function):  # type: ignore[misc,unused-ignore] # torch carries no types here
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, starts: torch.Tensor | None,
        silu: bool,
    ) -> torch.Tensor:  # fmt: skip
        weight, bias = weight.contiguous(), None if bias is None else bias.contiguous()
        y, launch = plan_forward(x, weight, bias, starts, silu=silu)
        run_all([launch], x.device)
        ctx.save_for_backward(x, weight, bias, starts)
        ctx.silu = silu
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, weight, bias, starts = ctx.saved_tensors
        (dx, sums), launch = plan_backward(gradients[0].contiguous(), x, weight, bias, starts, silu=ctx.silu)
        run_all([launch], x.device)
        total = sums.sum((0, 1))
        dbias = None if bias is None else total[-1].to(bias.dtype)
        return dx, total[:-1].T.to(weight.dtype), dbias, None, None
