"""AdamW over the model's float32 parameters: matrices decay, everything else does not.

No weight decay on A_log, D, dt_bias, norms, biases and the convolution's taps: they are scales, times and filters, not maps.
The embedding counts as a matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

BETAS = (0.9, 0.95)
WITHOUT_DECAY = ("A_log", "D", "dt_bias")


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Whether weight decay applies: to matrices only."""
    return parameter.ndim == 2 and name.rsplit(".", 1)[-1] not in WITHOUT_DECAY


def make_optimizer(model: nn.Module, *, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with two groups, fused on CUDA. A tied matrix is one parameter. The rate is set anew before each step."""
    named = list(model.named_parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in named if decays(name, p)], "weight_decay": weight_decay},
        {"params": [p for name, p in named if not decays(name, p)], "weight_decay": 0.0},
    ]
    on_gpu = bool(named) and named[0][1].device.type == "cuda"
    return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=1e-8, fused=on_gpu)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate
