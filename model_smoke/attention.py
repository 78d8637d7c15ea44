"""Causal attention that sees one document at a time, and rotary positions that restart with each.

In: queries, keys and values of packed rows, and where each token's document starts. Out: each token's mix of the values of
the tokens at or before it in its document. Grouped queries (GQA): each key head serves several query heads. RoPE is the
rotate-half form with Falcon-H1's base of 1e11; angles and rotation are float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from model_smoke.kernels import DocumentStarts


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where documents lie in the rows of one batch: worked out once, read by every layer.

    `cos`, `sin` float [batch or 1, length, 1, head_dim / 2]; `visible` bool [batch, 1, length, length], who sees whom,
    or None where each row is one document and plain causal attention does it.
    """

    starts: DocumentStarts | None
    cos: torch.Tensor
    sin: torch.Tensor
    visible: torch.Tensor | None


def make_layout(
    starts: DocumentStarts | None,
    *,
    length: int,
    head_dim: int,
    rope_base: float,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Layout:
    """The layout of rows of `length` tokens; angles in `dtype`. `starts` None: every row is one document."""
    position = torch.arange(length, device=device)
    since_start = position[None] if starts is None else position - starts.positions
    exponent = torch.arange(0, head_dim, 2, device=device, dtype=dtype) / head_dim
    angle = since_start[..., None].to(dtype) * (1.0 / rope_base**exponent)
    visible = None
    if starts is not None:
        same = starts.positions[:, :, None] == starts.positions[:, None, :]
        visible = (same & (position[:, None] >= position))[:, None]
    return Layout(starts=starts, cos=angle.cos()[:, :, None], sin=angle.sin()[:, :, None], visible=visible)


def rotate(x: torch.Tensor, layout: Layout) -> torch.Tensor:
    """RoPE on x [batch, length, heads, head_dim]: dimension i turns with i + head_dim / 2; x's type is kept."""
    first, second = x.to(layout.cos.dtype).chunk(2, dim=-1)
    turned = first * layout.cos - second * layout.sin, second * layout.cos + first * layout.sin
    return torch.cat(turned, dim=-1).to(x.dtype)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout) -> torch.Tensor:
    """query [batch, length, heads, head_dim], key and value [.., kv heads, head_dim] -> [batch, length, heads * head_dim].

    Query head j reads key head j // (heads / kv heads); scores are scaled by head_dim ** -0.5.
    """
    query, key = rotate(query, layout), rotate(key, layout)
    served = query.shape[2] // key.shape[2]
    # written out: with a mask, SDPA's own GQA falls back to a kernel that holds all scores
    key, value = (_repeat_heads(each, served) for each in (key, value))
    query, key, value = (each.transpose(1, 2) for each in (query, key, value))
    mixed = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=layout.visible, is_causal=layout.visible is None
    )
    return mixed.transpose(1, 2).flatten(2)


def _repeat_heads(x: torch.Tensor, times: int) -> torch.Tensor:
    return x if times == 1 else x[:, :, :, None].expand(-1, -1, -1, times, -1).flatten(2, 3)
