"""RMSNorm and Mamba-2's gated RMSNorm on Triton, forward and backward.

In: x, z [..., width], weight [width], groups of width / groups values. u = x silu(z), r = 1 / sqrt(mean(u^2) + eps) per group,
y = u r weight; with `norm_before_gate` u = x and y is gated instead. Backward computes u and r again. dweight is a partial sum
per program, at most 512 of them, which torch adds in a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from model_smoke.kernels.checks import check_last_stride
from model_smoke.kernels.launch import Launch, compute_type, run_all
from model_smoke.kernels.rounding import narrowed

MAX_PROGRAMS = 512
"""Programs along the rows in backward: about four for each multiprocessor of an H200, and the number of partial sums."""
MAX_GROUP = 32768
"""Values of one group, which one program holds in registers."""


@triton.jit
def norm_forward_kernel(
    x_ptr: tl.tensor, z_ptr: tl.tensor, weight_ptr: tl.tensor, y_ptr: tl.tensor, width: tl.tensor,
    group_size: tl.tensor, x_row: tl.tensor, z_row: tl.tensor, eps: tl.tensor,
    BLOCK: tl.constexpr, GATE: tl.constexpr, GATE_LAST: tl.constexpr,
) -> None:  # fmt: skip
    """y of one group of one row."""
    row = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, BLOCK)
    here = n < group_size
    column = tl.program_id(1) * group_size + n
    u = tl.load(x_ptr + row * x_row + column, mask=here, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + column, mask=here, other=0.0).to(tl.float32)
    if GATE:
        z = tl.load(z_ptr + row * z_row + column, mask=here, other=0.0).to(tl.float32)
        gate = z / (1.0 + tl.exp(-z))
        if GATE_LAST:
            weight = weight * gate
        else:
            u = u * gate
    scale = 1.0 / tl.sqrt(tl.sum(u * u, axis=0) / group_size + eps)
    tl.store(y_ptr + row * width + column, narrowed(u * scale * weight, y_ptr.dtype.element_ty), mask=here)


@triton.jit
def norm_backward_kernel(
    x_ptr: tl.tensor, z_ptr: tl.tensor, weight_ptr: tl.tensor, dy_ptr: tl.tensor, dx_ptr: tl.tensor, dz_ptr: tl.tensor,
    sums_ptr: tl.tensor, num_rows: tl.tensor, rows_each: tl.tensor, width: tl.tensor, group_size: tl.tensor,
    x_row: tl.tensor, z_row: tl.tensor, eps: tl.tensor,
    BLOCK: tl.constexpr, GATE: tl.constexpr, GATE_LAST: tl.constexpr,
) -> None:  # fmt: skip
    """dx, dz of `rows_each` rows of one group; sums [program, width]: their part of dweight."""
    program = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, BLOCK)
    inside = n < group_size
    column = tl.program_id(1) * group_size + n
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    dweight = tl.zeros((BLOCK,), tl.float32)
    for i in range(0, rows_each):
        row = program * rows_each + i
        here = inside & (row < num_rows)
        x = tl.load(x_ptr + row * x_row + column, mask=here, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + row * width + column, mask=here, other=0.0).to(tl.float32)
        u = x
        if GATE:
            z = tl.load(z_ptr + row * z_row + column, mask=here, other=0.0).to(tl.float32)
            sigmoid = 1.0 / (1.0 + tl.exp(-z))
            gate = z * sigmoid
            slope = sigmoid * (1.0 + z * (1.0 - sigmoid))
            if not GATE_LAST:
                u = x * gate
        scale = 1.0 / tl.sqrt(tl.sum(u * u, axis=0) / group_size + eps)
        normed = u * scale
        inner = dy * weight
        share = dy * normed
        if GATE and GATE_LAST:
            tl.store(
                dz_ptr + row * width + column, narrowed(inner * normed * slope, dz_ptr.dtype.element_ty), mask=here
            )
            inner = inner * gate
            share = share * gate
        dweight += share
        du = scale * (inner - normed * (tl.sum(inner * normed, axis=0) / group_size))
        if GATE and not GATE_LAST:
            tl.store(dz_ptr + row * width + column, narrowed(du * x * slope, dz_ptr.dtype.element_ty), mask=here)
            du = du * gate
        tl.store(dx_ptr + row * width + column, narrowed(du, dx_ptr.dtype.element_ty), mask=here)
    tl.store(sums_ptr + program * width + column, dweight, mask=inside)


@torch.compiler.disable  # type: ignore[untyped-decorator,unused-ignore]
def gated_rms_norm(
    x: torch.Tensor, z: torch.Tensor | None, weight: torch.Tensor, *, groups: int, eps: float, norm_before_gate: bool
) -> torch.Tensor:
    """`kernels.gated_rms_norm` on Triton. Raises ValueError for types, strides and sizes that it cannot take."""
    check_last_stride(x=x, z=z)
    compute_type(x.dtype)
    if x.shape[-1] // groups > MAX_GROUP:
        raise ValueError(f"a group of {x.shape[-1] // groups} values: the Triton kernels take at most {MAX_GROUP}")
    if x.numel() == 0:
        return torch.zeros_like(x)
    y: torch.Tensor = _Norm.apply(x, z, weight, groups, eps, norm_before_gate)
    return y


def plan_forward(
    x: torch.Tensor, z: torch.Tensor | None, weight: torch.Tensor, *, groups: int, eps: float, norm_before_gate: bool
) -> tuple[torch.Tensor, Launch]:
    """y, contiguous in x's type, and its launch; x and z [rows, width]."""
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    launch = _launch(norm_forward_kernel, x.shape[0], x, z, weight, dict(y_ptr=y), groups, eps, norm_before_gate)
    return y, launch


def plan_backward(
    dy: torch.Tensor, x: torch.Tensor, z: torch.Tensor | None, weight: torch.Tensor, *, groups: int, eps: float,
    norm_before_gate: bool,
) -> tuple[list[torch.Tensor], Launch]:  # fmt: skip
    """[dx, dz, sums] and the launch; sums float32 [programs, width]; without z, dz is dx and is not written on its own."""
    rows, width = x.shape
    rows_each = triton.cdiv(rows, MAX_PROGRAMS)
    programs = triton.cdiv(rows, rows_each)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dz = dx if z is None else torch.empty(z.shape, dtype=z.dtype, device=z.device)
    sums = torch.empty(programs, width, dtype=torch.float32, device=x.device)
    extra = dict(dy_ptr=dy, dx_ptr=dx, dz_ptr=dz, sums_ptr=sums, num_rows=rows, rows_each=rows_each)
    launch = _launch(norm_backward_kernel, programs, x, z, weight, extra, groups, eps, norm_before_gate)
    return [dx, dz, sums], launch


def _launch(
    kernel: Any, programs: int, x: torch.Tensor, z: torch.Tensor | None, weight: torch.Tensor, extra: dict[str, Any],
    groups: int, eps: float, norm_before_gate: bool,
) -> Launch:  # fmt: skip
    size = x.shape[1] // groups
    block = triton.next_power_of_2(size)
    return Launch(
        kernel=kernel,
        grid=(programs, groups),
        arguments=dict(
            x_ptr=x, z_ptr=x if z is None else z, weight_ptr=weight, width=x.shape[1], group_size=size,
            x_row=x.stride(0), z_row=0 if z is None else z.stride(0), eps=eps, **extra,
        ),
        constants=dict(BLOCK=block, GATE=z is not None, GATE_LAST=norm_before_gate),
        num_warps=4 if block <= 2048 else 8 if block <= 8192 else 16,
    )  # fmt: skip


class _Norm(torch.autograd.Function):  # type: ignore[misc,unused-ignore] # torch carries no types here
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, z: torch.Tensor | None, weight: torch.Tensor, groups: int, eps: float,
        norm_before_gate: bool,
    ) -> torch.Tensor:  # fmt: skip
        rows, gates = x.reshape(-1, x.shape[-1]), None if z is None else z.reshape(-1, z.shape[-1])
        weight = weight.contiguous()
        ctx.options = dict(groups=groups, eps=eps, norm_before_gate=norm_before_gate)
        y, launch = plan_forward(rows, gates, weight, **ctx.options)
        run_all([launch], x.device)
        ctx.save_for_backward(rows, gates, weight)
        ctx.shape = x.shape
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, z, weight = ctx.saved_tensors
        dy = gradients[0].reshape(x.shape).contiguous()
        (dx, dz, sums), launch = plan_backward(dy, x, z, weight, **ctx.options)
        run_all([launch], x.device)
        dweight = sums.sum(0).to(weight.dtype)
        return dx.view(ctx.shape), None if z is None else dz.view(ctx.shape), dweight, None, None, None
