"""Narrowing to a storage type, rounded to nearest even on a GPU and in Triton's interpreter alike.

The interpreter cuts float32 to bfloat16 by dropping bits, so there the half step is added to the bits first.
"""

from __future__ import annotations

import os

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
"""Whether the kernels of this process are interpreted; Triton, too, decides that at import."""


@triton.jit
def narrowed(value: tl.tensor, TYPE: tl.constexpr) -> tl.tensor:
    """A float32 value as TYPE."""
    if INTERPRETED and TYPE == tl.bfloat16:  # noqa: SIM300 # TYPE is a parameter
        bits = value.to(tl.uint32, bitcast=True)
        value = (bits + 0x7FFF + ((bits >> 16) & 1)).to(tl.float32, bitcast=True)
    return value.to(TYPE)
