"""A kernel launch as plain data: the backend runs it, the ahead-of-time compile of the tests compiles exactly the same.

Planning allocates outputs and computes nothing, so it works on torch's meta device too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import triton.language as tl

from model_smoke.kernels.rounding import INTERPRETED


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One kernel over one grid. `arguments` are tensors and numbers, `constants` are compiled in."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: Mapping[str, Any]
    constants: Mapping[str, Any] = field(default_factory=dict)
    num_warps: int = 4
    num_stages: int = 2

    def run(self) -> None:
        """Run it on the device of its tensors."""
        self.kernel[self.grid](**self.arguments, **self.constants, num_warps=self.num_warps, num_stages=self.num_stages)


def run_all(launches: Iterable[Launch], device: torch.device) -> None:
    """Run launches in order on `device`, whichever CUDA device is current."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        for launch in launches:
            launch.run()


def compute_type(dtype: torch.dtype) -> tuple[Any, torch.dtype]:
    """What matrix products multiply, as Triton and as torch type: the storage type; float32 in the interpreter.

    Triton's interpreter gets bfloat16 arithmetic wrong without a word, so there every value is widened when it is loaded.
    """
    if INTERPRETED or dtype == torch.float32:
        return tl.float32, torch.float32
    if dtype == torch.bfloat16:
        return tl.bfloat16, torch.bfloat16
    if dtype == torch.float16:
        return tl.float16, torch.float16
    raise ValueError(f"the Triton kernels take float32, bfloat16 and float16, not {dtype}; use backend='torch'")
