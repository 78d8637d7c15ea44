"""Cross entropy of the next token with z-loss, from hidden states, without ever holding the logits of all tokens.

In: hidden states [tokens, width], the output layer [vocab, width], targets. Out: the summed objective and each token's own
nats. Logits exist for a few hundred tokens at a time; where gradients are wanted they are made in the same sweep, so
that the output layer is multiplied three times and never four. The z-loss keeps log Z, and with it the logits, from
drifting: z_loss * (log Z)^2 per token (PaLM, arXiv 2204.02311, section 5; 1e-4 in Falcon-H1's report as there).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

IGNORED = -100
"""A target that is not counted: where the next token opens another document, or is padding. torch's own number for it."""

LOGITS_AT_ONCE = 1 << 25
"""How many logits exist together: 128 MiB in float32."""


class TokenLosses(NamedTuple):
    """`total`: the sum over counted targets of nats + z_loss (log Z)^2, a scalar to differentiate. `nats`, in float32 or
    wider, the targets' shape: -ln p of each target, 0 where not counted; no gradient. `num_targets`: int64 scalar, how many count.
    """

    total: torch.Tensor
    nats: torch.Tensor
    num_targets: torch.Tensor

    def mean(self) -> torch.Tensor:
        """The objective per counted target; 0 where none counts."""
        return self.total / self.num_targets.clamp(min=1)


def cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    z_loss: float = 0.0,
    logits_at_once: int = LOGITS_AT_ONCE,
) -> TokenLosses:
    """Losses of targets int64 [...] under the logits hidden [..., width] @ weight [vocab, width].T.

    Logits are multiplied in the type of `hidden` and summed up in float32 or wider. The gradient of `total` alone is
    defined, and of the first order. Deterministic: chunks go in order. Raises ValueError for shapes that disagree or a
    target outside the vocabulary (checked on the CPU only: on a GPU a check would wait for it).
    """
    if hidden.shape[:-1] != targets.shape or hidden.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)} and targets {tuple(targets.shape)} disagree; "
            "expected [..., width], [vocab, width] and [...]"
        )
    flat = targets.reshape(-1)
    if flat.device.type == "cpu" and flat.numel():
        outside = ((flat < 0) & (flat != IGNORED)) | (flat >= weight.shape[0])
        if bool(outside.any()):
            raise ValueError(f"target {int(flat[outside][0])} is outside the vocabulary of {weight.shape[0]}")
    wants_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    at_once = max(1, logits_at_once // weight.shape[0])
    total, nats = _ChunkedCrossEntropy.apply(
        hidden.reshape(-1, hidden.shape[-1]), weight, flat, z_loss, at_once, wants_gradient
    )
    return TokenLosses(total=total, nats=nats.view(targets.shape), num_targets=(targets != IGNORED).sum())


class _ChunkedCrossEntropy(torch.autograd.Function):  # type: ignore[misc] # torch carries no types here
    """With p = softmax(logits): d nats = p - onehot, d (log Z)^2 = 2 log Z p, per counted token."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        z_loss: float,
        at_once: int,
        wants: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        wide = torch.promote_types(torch.float32, hidden.dtype)
        weight_used = weight.to(hidden.dtype)
        nats = torch.zeros(len(targets), dtype=wide, device=hidden.device)
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if wants else None
        d_weight = torch.zeros(weight.shape, dtype=wide, device=weight.device) if wants else None
        for start in range(0, len(targets), at_once):
            part = slice(start, start + at_once)
            counted = targets[part] != IGNORED
            target = targets[part].clamp(min=0)
            logits = (hidden[part] @ weight_used.T).to(wide)
            log_z = torch.logsumexp(logits, dim=-1)
            nats[part] = torch.where(counted, log_z - logits.gather(1, target[:, None])[:, 0], 0.0)
            total += nats[part].sum(dtype=torch.float64)
            total += z_loss * torch.where(counted, log_z.square(), 0.0).sum(dtype=torch.float64)
            if d_hidden is None or d_weight is None:
                continue
            slope = (logits - log_z[:, None]).exp_()
            slope *= (counted * (1.0 + 2.0 * z_loss * log_z))[:, None]
            rows = torch.arange(len(target), device=target.device)
            slope[rows, target] -= counted.to(wide)
            narrow = slope.to(hidden.dtype)
            d_hidden[part] = narrow @ weight_used
            d_weight += narrow.T @ hidden[part]
        if wants:
            ctx.save_for_backward(d_hidden, d_weight)
        ctx.mark_non_differentiable(nats)
        ctx.types = hidden.dtype, weight.dtype
        return total.to(wide), nats

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_total: torch.Tensor, _nats: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        d_hidden, d_weight = ctx.saved_tensors
        of_hidden, of_weight = ctx.types
        return (d_hidden * d_total).to(of_hidden), (d_weight * d_total).to(of_weight), None, None, None, None
