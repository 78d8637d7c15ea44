"""The formulas in plain torch: a float64 step-by-step recurrence, which is the oracle, and the CPU backend.

Mamba-2's state space duality (Dao and Gu 2024, arXiv 2405.21060, sections 5 and 6). Per head, with A < 0 a number and
the state S [head dim, state], which is zero before the first token of every document:

    dt_t = softplus(dt_t + dt_bias)      A = -exp(A_log)
    S_t  = exp(dt_t A) S_{t-1} + dt_t x_t B_t^T          y_t = S_t C_t + D x_t

`chunked_scan` cuts the row into chunks: within a chunk a masked matrix product, between chunks the state. Gradients come
from autograd. Everything computes in float32 (float64 for float64 inputs) and returns the type of its first argument.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from model_smoke.kernels.documents import DocumentStarts


def recurrent_scan(
    x: torch.Tensor,
    dt: torch.Tensor,
    A_log: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    dt_bias: torch.Tensor,
    *,
    starts: DocumentStarts | None = None,
) -> torch.Tensor:
    """The oracle: one token after another in float64; y [batch, length, heads, head dim] in float64, differentiable."""
    x, dt, A_log, B, C, D, dt_bias = (each.double() for each in (x, dt, A_log, B, C, D, dt_bias))
    heads, groups = x.shape[2], B.shape[2]
    step = functional.softplus(dt + dt_bias)
    decay = torch.exp(-torch.exp(A_log) * step)
    B, C = (each.repeat_interleave(heads // groups, dim=2) for each in (B, C))
    state = x.new_zeros(x.shape[0], heads, x.shape[3], B.shape[3])
    outputs = []
    for t in range(x.shape[1]):
        if starts is not None:
            state = state * (starts.positions[:, t] < t)[:, None, None, None]
        state = state * decay[:, t, :, None, None] + (step[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None, :]
        outputs.append((state * C[:, t, :, None, :]).sum(-1) + D[:, None] * x[:, t])
    return torch.stack(outputs, dim=1) if outputs else torch.zeros_like(x)


def chunked_scan(
    x: torch.Tensor,
    dt: torch.Tensor,
    A_log: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    dt_bias: torch.Tensor,
    *,
    starts: DocumentStarts | None = None,
    chunk: int,
) -> torch.Tensor:
    """The same scan in chunks of matrix products, any length; y [batch, length, heads, head dim] in x's type.

    Sums of log decays are kept in float64: in float32 a token of strong decay would blur every later difference in its
    chunk. The decay of a token to itself is a constant 1, so that its large gradient never cancels against itself.
    """
    batch, length, heads, head_dim = x.shape
    groups = B.shape[2]
    if length == 0:
        return torch.zeros_like(x)
    chunk = min(chunk, length)
    num_chunks = -(-length // chunk)
    wide = _wide(x)
    xs = _chunks(wide, num_chunks, chunk).unflatten(3, (groups, heads // groups)).permute(0, 1, 3, 4, 2, 5)
    Bs, Cs = (_chunks(_wide(each), num_chunks, chunk).permute(0, 1, 3, 2, 4) for each in (B, C))
    step = _chunks(functional.softplus(_wide(dt) + _wide(dt_bias)), num_chunks, chunk)
    total = torch.cumsum((-torch.exp(A_log.double()) * step).movedim(2, 3), dim=3)
    total = total.unflatten(2, (groups, heads // groups))  # [batch, chunk number, group, head in group, token]
    step = step.movedim(2, 3).unflatten(2, (groups, heads // groups)).to(wide.dtype)
    visible, entering, staying, carried = _reach(starts, batch, length, num_chunks, chunk, x.device)

    diagonal = torch.eye(chunk, dtype=torch.bool, device=x.device)
    between = total[..., :, None] - total[..., None, :]
    between = between.masked_fill(diagonal, 0.0).masked_fill(~visible[:, :, None, None], -torch.inf)
    weights = (Cs @ Bs.transpose(-1, -2))[:, :, :, None] * torch.exp(between.to(wide.dtype)) * step[..., None, :]
    y = weights @ xs

    kept = torch.exp((total[..., -1:] - total).to(wide.dtype)) * step * staying[:, :, None, None]
    added = (xs * kept[..., None]).transpose(-1, -2) @ Bs[:, :, :, None]
    through = torch.exp(total[..., -1].to(wide.dtype)) * carried[:, :, None, None]
    states = [torch.zeros_like(added[:, 0])]
    for number in range(num_chunks - 1):
        states.append(states[-1] * through[:, number, ..., None, None] + added[:, number])
    entered = torch.exp(total.to(wide.dtype)) * entering[:, :, None, None]
    y = y + (Cs[:, :, :, None] @ torch.stack(states, dim=1).transpose(-1, -2)) * entered[..., None]

    y = y.permute(0, 1, 4, 2, 3, 5).reshape(batch, num_chunks * chunk, heads, head_dim)[:, :length]
    return (y + _wide(D)[:, None] * wide).to(x.dtype)


def causal_conv1d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    starts: DocumentStarts | None = None,
    activation: str | None,
) -> torch.Tensor:
    """activation(bias + sum_k weight[:, k] x[t - width + 1 + k]) per channel; taps before t's document read zero."""
    length, width = x.shape[1], weight.shape[1]
    wide, taps = _wide(x), _wide(weight)
    y = wide * taps[:, width - 1]
    for back in range(1, min(width, length)):
        shifted = functional.pad(wide[:, : length - back], (0, 0, back, 0))
        if starts is not None:
            position = torch.arange(length, device=x.device)
            shifted = shifted * (position - back >= starts.positions)[..., None]
        y = y + shifted * taps[:, width - 1 - back]
    if bias is not None:
        y = y + _wide(bias)
    return (functional.silu(y) if activation == "silu" else y).to(x.dtype)


def gated_rms_norm(
    x: torch.Tensor,
    z: torch.Tensor | None,
    weight: torch.Tensor,
    *,
    groups: int,
    eps: float,
    norm_before_gate: bool,
) -> torch.Tensor:
    """u / sqrt(mean(u^2) + eps) * weight over each of `groups` equal parts of the last axis, u = x * silu(z).

    With `norm_before_gate`, u = x and the gate multiplies the result; without z there is no gate.
    """
    wide = _wide(x)
    gate = None if z is None else functional.silu(_wide(z))
    if gate is not None and not norm_before_gate:
        wide = wide * gate
    parts = wide.unflatten(-1, (groups, -1))
    normed = (parts * torch.rsqrt(parts.square().mean(-1, keepdim=True) + eps)).flatten(-2) * _wide(weight)
    if gate is not None and norm_before_gate:
        normed = normed * gate
    return normed.to(x.dtype)


def silu_gate(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """x * silu(z)."""
    return (_wide(x) * functional.silu(_wide(z))).to(x.dtype)


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _chunks(x: torch.Tensor, num_chunks: int, chunk: int) -> torch.Tensor:
    """[batch, length, ...] -> [batch, num_chunks, chunk, ...], zeros past the end."""
    padding = [0, 0] * (x.ndim - 2) + [0, num_chunks * chunk - x.shape[1]]
    return functional.pad(x, padding).unflatten(1, (num_chunks, chunk))


def _reach(
    starts: DocumentStarts | None, batch: int, length: int, num_chunks: int, chunk: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What document starts let through, per chunk.

    visible [batch, chunks, t, s]: s is at or before t and in its document; entering [.., t]: the state that enters the
    chunk is of t's document; staying [.., s]: s is of the document that leaves the chunk; carried [..]: both at once.
    """
    position = torch.arange(num_chunks * chunk, device=device).expand(batch, -1)
    first = position[:, ::chunk]
    start = torch.zeros_like(position) if starts is None else starts.positions[:, position[0].clamp(max=length - 1)]
    position, start = (each.unflatten(1, (num_chunks, chunk)) for each in (position, start))
    visible = (position[..., None, :] <= position[..., :, None]) & (position[..., None, :] >= start[..., :, None])
    entering = start < first[..., None]
    return visible, entering, position >= start[..., -1:], entering[..., -1]
