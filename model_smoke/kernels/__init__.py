"""The model's own operations, differentiable, on plain torch or on our Triton kernels; the caller names the backend.

Outputs have the type of the first argument. `document` [batch, length] numbers each token's document (`seq_idx`); pass
`document_starts(document)` instead to work the starts out once for all layers; None means one document per row.
Triton is imported when its backend is first asked for, so that plain torch works where Triton is not installed.
"""

from __future__ import annotations

import torch

from model_smoke.kernels import reference
from model_smoke.kernels.checks import check_backend, check_shape, check_together
from model_smoke.kernels.documents import DocumentStarts, document_starts

__all__ = ["DocumentStarts", "causal_conv1d", "document_starts", "gated_rms_norm", "rms_norm", "silu_gate", "ssd_scan"]

DEFAULT_CHUNK = 32
"""Chunk of the torch backend: on one CPU core, 8 x 256 tokens of 8 heads of 16 took 40 ms forward and backward at 32, 53 at
64, 106 at 128, and no less at 16."""


def ssd_scan(
    x: torch.Tensor,
    dt: torch.Tensor,
    A_log: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    dt_bias: torch.Tensor,
    *,
    document: torch.Tensor | DocumentStarts | None = None,
    chunk: int | None = None,
    backend: str,
) -> torch.Tensor:
    """Mamba-2's scan: x [b, l, h, p], dt [b, l, h], A_log, D, dt_bias [h], B and C [b, l, g, n] -> y [b, l, h, p].

    dt = softplus(dt + dt_bias), A = -exp(A_log), the skip D x included; state is zero at each document's first token. The
    formula is in `reference`. `chunk` changes speed and rounding only; None takes the backend's own. Head j reads group
    j // (h / g). Raises ValueError for shapes that disagree.
    """
    check_backend(backend)
    check_together(x=x, dt=dt, A_log=A_log, B=B, C=C, D=D, dt_bias=dt_bias)
    if x.ndim != 4 or B.ndim != 4:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, B {tuple(B.shape)}; expected [batch, length, heads, head dim] and "
            "[batch, length, groups, state]"
        )
    batch, length, heads, _ = x.shape
    groups, state = B.shape[2:]
    if groups < 1 or heads % groups:
        raise ValueError(f"{heads} heads do not divide into {groups} groups")
    check_shape("dt", dt, (batch, length, heads), "[batch, length, heads] of x")
    check_shape("B", B, (batch, length, groups, state), "[batch, length] of x")
    check_shape("C", C, (batch, length, groups, state), "the shape of B")
    for name, each in (("A_log", A_log), ("D", D), ("dt_bias", dt_bias)):
        check_shape(name, each, (heads,), "[heads]")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk = {chunk}: give at least 1")
    starts = _starts(document, batch, length, x.device)
    if backend == "triton":
        from model_smoke.kernels import ssd  # Triton is optional

        return ssd.scan(x, dt, A_log, B, C, D, dt_bias, starts=starts, chunk=chunk)
    return reference.chunked_scan(x, dt, A_log, B, C, D, dt_bias, starts=starts, chunk=chunk or DEFAULT_CHUNK)


def causal_conv1d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    document: torch.Tensor | DocumentStarts | None = None,
    activation: str | None = "silu",
    backend: str,
) -> torch.Tensor:
    """Depthwise causal convolution: x [b, l, c], weight [c, width], bias [c] -> [b, l, c].

    y[t] = activation(bias + sum_k weight[:, k] x[t - width + 1 + k]); a tap before the start of t's document reads zero.
    `activation` is "silu" or None. Raises ValueError for shapes that disagree.
    """
    check_backend(backend)
    check_together(x=x, weight=weight, bias=bias)
    if x.ndim != 3 or weight.ndim != 2 or weight.shape[1] < 1:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, weight {tuple(weight.shape)}; expected [batch, length, channels] and [channels, width]"
        )
    check_shape("weight", weight, (x.shape[2], weight.shape[1]), "[channels of x, width]")
    if bias is not None:
        check_shape("bias", bias, (x.shape[2],), "[channels of x]")
    if activation not in ("silu", None):
        raise ValueError(f"activation = {activation!r}: expected 'silu' or None")
    starts = _starts(document, x.shape[0], x.shape[1], x.device)
    if backend == "triton":
        from model_smoke.kernels import conv  # Triton is optional

        return conv.conv1d(x, weight, bias, starts=starts, activation=activation)
    return reference.causal_conv1d(x, weight, bias, starts=starts, activation=activation)


def gated_rms_norm(
    x: torch.Tensor,
    z: torch.Tensor | None,
    weight: torch.Tensor,
    *,
    groups: int = 1,
    eps: float,
    norm_before_gate: bool = False,
    backend: str,
) -> torch.Tensor:
    """RMSNorm of x * silu(z) over each of `groups` equal parts of the last axis, times weight [width]; x, z [..., width].

    `norm_before_gate` gates the result instead. Raises ValueError for shapes that disagree.
    """
    check_backend(backend)
    check_together(x=x, z=z, weight=weight)
    if x.ndim < 1 or groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"x has shape {tuple(x.shape)}; its last axis must divide into {groups} groups")
    check_shape("weight", weight, (x.shape[-1],), "the last axis of x")
    if z is not None:
        check_shape("z", z, tuple(x.shape), "the shape of x")
    if backend == "triton":
        from model_smoke.kernels import norm  # Triton is optional

        return norm.gated_rms_norm(x, z, weight, groups=groups, eps=eps, norm_before_gate=norm_before_gate)
    return reference.gated_rms_norm(x, z, weight, groups=groups, eps=eps, norm_before_gate=norm_before_gate)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, backend: str) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis; x [..., width], weight [width]."""
    return gated_rms_norm(x, None, weight, groups=1, eps=eps, backend=backend)


def silu_gate(x: torch.Tensor, z: torch.Tensor, backend: str) -> torch.Tensor:
    """x * silu(z), rounded once; x, z [..., width]. Raises ValueError for shapes that disagree."""
    check_backend(backend)
    check_together(x=x, z=z)
    if x.ndim < 1:
        raise ValueError("x is a single number; give at least one axis")
    check_shape("z", z, tuple(x.shape), "the shape of x")
    if backend == "triton":
        from model_smoke.kernels import gate  # Triton is optional

        return gate.silu_gate(x, z)
    return reference.silu_gate(x, z)


def _starts(
    document: torch.Tensor | DocumentStarts | None, batch: int, length: int, device: torch.device
) -> DocumentStarts | None:
    if document is None:
        return None
    starts = document_starts(document)
    check_shape("document", starts.positions, (batch, length), "[batch, length] of x")
    if starts.positions.device != device:
        raise ValueError(f"document is on {starts.positions.device}, x on {device}; move them to one device")
    return starts
