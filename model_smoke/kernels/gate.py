"""x * silu(z) on Triton in one pass each way: the gate of the mixer where it has no norm, and of the MLP.

In: x, z [..., width], rows at any stride. Out: contiguous, x's type. Backward computes the gate again.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from model_smoke.kernels.checks import check_last_stride
from model_smoke.kernels.launch import Launch, compute_type, run_all
from model_smoke.kernels.rounding import narrowed

BLOCK = 1024
"""Values of one program."""


@triton.jit
def gate_forward_kernel(
    x_ptr: tl.tensor, z_ptr: tl.tensor, y_ptr: tl.tensor, width: tl.tensor, x_row: tl.tensor, z_row: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """y of one block of one row."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = column < width
    x = tl.load(x_ptr + row * x_row + column, mask=here, other=0.0).to(tl.float32)
    z = tl.load(z_ptr + row * z_row + column, mask=here, other=0.0).to(tl.float32)
    y = x * z / (1.0 + tl.exp(-z))
    tl.store(y_ptr + row * width + column, narrowed(y, y_ptr.dtype.element_ty), mask=here)


@triton.jit
def gate_backward_kernel(
    x_ptr: tl.tensor, z_ptr: tl.tensor, dy_ptr: tl.tensor, dx_ptr: tl.tensor, dz_ptr: tl.tensor, width: tl.tensor,
    x_row: tl.tensor, z_row: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """dx and dz of one block of one row."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = column < width
    x = tl.load(x_ptr + row * x_row + column, mask=here, other=0.0).to(tl.float32)
    z = tl.load(z_ptr + row * z_row + column, mask=here, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + row * width + column, mask=here, other=0.0).to(tl.float32)
    sigmoid = 1.0 / (1.0 + tl.exp(-z))
    dz = dy * x * sigmoid * (1.0 + z * (1.0 - sigmoid))
    tl.store(dx_ptr + row * width + column, narrowed(dy * z * sigmoid, dx_ptr.dtype.element_ty), mask=here)
    tl.store(dz_ptr + row * width + column, narrowed(dz, dz_ptr.dtype.element_ty), mask=here)


@torch.compiler.disable  # type: ignore[untyped-decorator,unused-ignore]
def silu_gate(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """`kernels.silu_gate` on Triton. Raises ValueError for types and strides that the kernels cannot take."""
    check_last_stride(x=x, z=z)
    compute_type(x.dtype)
    if x.numel() == 0:
        return torch.zeros_like(x)
    y: torch.Tensor = _Gate.apply(x, z)
    return y


def plan_forward(x: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, Launch]:
    """y [rows, width] and its launch."""
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return y, _launch(gate_forward_kernel, x, z, dict(y_ptr=y))


def plan_backward(dy: torch.Tensor, x: torch.Tensor, z: torch.Tensor) -> tuple[list[torch.Tensor], Launch]:
    """[dx, dz] and the launch."""
    dx, dz = (torch.empty(each.shape, dtype=each.dtype, device=each.device) for each in (x, z))
    return [dx, dz], _launch(gate_backward_kernel, x, z, dict(dy_ptr=dy, dx_ptr=dx, dz_ptr=dz))


def _launch(kernel: Any, x: torch.Tensor, z: torch.Tensor, extra: dict[str, Any]) -> Launch:
    rows, width = x.shape
    return Launch(
        kernel=kernel,
        grid=(rows, triton.cdiv(width, BLOCK)),
        arguments=dict(x_ptr=x, z_ptr=z, width=width, x_row=x.stride(0), z_row=z.stride(0), **extra),
        constants=dict(BLOCK=BLOCK),
    )


class _Gate(torch.autograd.Function):  # type: ignore[misc,unused-ignore] # torch carries no types here
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        rows, gates = x.reshape(-1, x.shape[-1]), z.reshape(-1, z.shape[-1])
        y, launch = plan_forward(rows, gates)
        run_all([launch], x.device)
        ctx.save_for_backward(rows, gates)
        ctx.shape = x.shape
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, z = ctx.saved_tensors
        (dx, dz), launch = plan_backward(gradients[0].reshape(x.shape).contiguous(), x, z)
        run_all([launch], x.device)
        return dx.view(ctx.shape), dz.view(ctx.shape)
