"""One layer of Falcon-H1: norm, Mamba-2 and attention side by side, norm, gated MLP. Module and parameter names are transformers'.

In: the residual stream [batch, length, hidden_size] in float32 and the batch's `Layout`. Out: the same, one layer on. muP's
multipliers are folded into the weights in float32, before these are rounded to the compute type.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from model_smoke.attention import Layout, attend
from model_smoke.config import CONV_WIDTH, FalconH1Config
from model_smoke.kernels import causal_conv1d, gated_rms_norm, rms_norm, silu_gate, ssd_scan


class Block(nn.Module):  # type: ignore[misc] # torch carries no types here
    """The layer; its parts compute in `compute_dtype`, what they add to keeps its own type."""

    def __init__(self, config: FalconH1Config, backend: str) -> None:
        super().__init__()
        self.mamba = _Mixer(config, backend)
        self.self_attn = _Attention(config)
        self.feed_forward = _FeedForward(config, backend)
        self.input_layernorm = Norm(config.hidden_size, config.norm_eps, backend)
        self.pre_ff_layernorm = Norm(config.hidden_size, config.norm_eps, backend)

    def forward(self, x: torch.Tensor, layout: Layout, compute_dtype: torch.dtype) -> torch.Tensor:
        """x [batch, length, hidden_size] -> the same shape and type."""
        h = self.input_layernorm(x).to(compute_dtype)
        x = x + (self.mamba(h, layout) + self.self_attn(h, layout))
        y = self.pre_ff_layernorm(x).to(compute_dtype)
        x = x + self.feed_forward(y)
        return x


class _Mixer(nn.Module):  # type: ignore[misc] # as above
    """Mamba-2 with muP multipliers on the slices of its input projection and, in some sizes, a gated norm."""

    def __init__(self, config: FalconH1Config, backend: str) -> None:
        super().__init__()
        self.config, self.backend = config, backend
        self.in_proj = nn.Linear(config.hidden_size, sum(config.ssm_slices), bias=False)
        # holds weight [channels, 1, width] and bias under transformers' names; the kernel does the work
        self.conv1d = nn.Conv1d(config.conv_size, config.conv_size, CONV_WIDTH, groups=config.conv_size)
        self.dt_bias = nn.Parameter(torch.empty(config.ssm_heads))
        self.A_log = nn.Parameter(torch.empty(config.ssm_heads))
        self.D = nn.Parameter(torch.empty(config.ssm_heads))
        self.norm = Norm(config.ssm_size, config.norm_eps, backend) if config.gated_norm else None
        self.out_proj = nn.Linear(config.ssm_size, config.hidden_size, bias=False)
        self.register_buffer("row_multipliers", torch.empty(sum(config.ssm_slices), 1), persistent=False)

    @torch.no_grad()  # type: ignore[untyped-decorator,unused-ignore] # as above
    def reset_multipliers(self) -> None:
        """Write the multiplier of each row of the input projection, `ssm_in` included."""
        parts = zip(self.row_multipliers.split(self.config.ssm_slices), self.config.multipliers.ssm_slices, strict=True)
        for rows, multiplier in parts:
            rows.fill_(multiplier * self.config.multipliers.ssm_in)

    def forward(self, h: torch.Tensor, layout: Layout) -> torch.Tensor:
        config = self.config
        projected = functional.linear(h, (self.in_proj.weight * self.row_multipliers).to(h.dtype))
        z, xbc, dt = projected.split([config.ssm_size, config.conv_size, config.ssm_heads], dim=-1)
        xbc = causal_conv1d(
            xbc,
            self.conv1d.weight[:, 0],
            self.conv1d.bias,
            document=layout.starts,
            activation="silu",
            backend=self.backend,
        )
        states = config.ssm_groups * config.ssm_state
        x, b, c = xbc.split([config.ssm_size, states, states], dim=-1)
        y = ssd_scan(
            x.unflatten(-1, (config.ssm_heads, config.ssm_head_dim)),
            dt,
            self.A_log,
            b.unflatten(-1, (config.ssm_groups, config.ssm_state)),
            c.unflatten(-1, (config.ssm_groups, config.ssm_state)),
            self.D,
            self.dt_bias,
            document=layout.starts,
            chunk=config.chunk,
            backend=self.backend,
        ).flatten(2)
        if self.norm is None:
            y = silu_gate(y, z, self.backend)
        else:
            y = gated_rms_norm(
                y, z, self.norm.weight, groups=config.ssm_groups, eps=config.norm_eps, backend=self.backend
            )
        return functional.linear(y, scaled(self.out_proj.weight, config.multipliers.ssm_out, y.dtype))


class _Attention(nn.Module):  # type: ignore[misc] # as above
    def __init__(self, config: FalconH1Config) -> None:
        super().__init__()
        self.head_dim, self.multipliers = config.head_dim, config.multipliers
        self.q_proj = nn.Linear(config.hidden_size, config.num_heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, config.num_kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.num_kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.num_heads * config.head_dim, config.hidden_size, bias=False)

    def forward(self, h: torch.Tensor, layout: Layout) -> torch.Tensor:
        entering = self.multipliers.attention_in
        query, key, value = (
            functional.linear(h, scaled(linear.weight, multiplier, h.dtype)).unflatten(-1, (-1, self.head_dim))
            for linear, multiplier in (
                (self.q_proj, entering),
                (self.k_proj, entering * self.multipliers.key),
                (self.v_proj, entering),
            )
        )
        mixed = attend(query, key, value, layout)
        return functional.linear(mixed, scaled(self.o_proj.weight, self.multipliers.attention_out, h.dtype))


class _FeedForward(nn.Module):  # type: ignore[misc] # as above
    def __init__(self, config: FalconH1Config, backend: str) -> None:
        super().__init__()
        self.multipliers, self.backend = config.multipliers, backend
        self.gate_proj = nn.Linear(config.hidden_size, config.mlp_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.mlp_size, bias=False)
        self.down_proj = nn.Linear(config.mlp_size, config.hidden_size, bias=False)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        gate = functional.linear(y, scaled(self.gate_proj.weight, self.multipliers.mlp_gate, y.dtype))
        up = functional.linear(y, self.up_proj.weight.to(y.dtype))
        down = scaled(self.down_proj.weight, self.multipliers.mlp_down, y.dtype)
        return functional.linear(silu_gate(up, gate, self.backend), down)


class Norm(nn.Module):  # type: ignore[misc] # as above
    """RMSNorm; in the mixer only the holder of the gated norm's weight."""

    def __init__(self, width: int, eps: float, backend: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps, self.backend = eps, backend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., width] -> the same shape and type."""
        return rms_norm(x, self.weight, self.eps, self.backend)


def scaled(weight: torch.Tensor, multiplier: float, dtype: torch.dtype) -> torch.Tensor:
    """The weight as it is multiplied with: scaled in its own type, then rounded to the compute type."""
    return (weight if multiplier == 1.0 else weight * multiplier).to(dtype)
