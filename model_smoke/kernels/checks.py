"""What every backend refuses before it computes: shapes that disagree, types it cannot take, mixed devices."""

from __future__ import annotations

import torch

BACKENDS = ("torch", "triton")


def check_backend(backend: str) -> None:
    """Raise ValueError unless the backend is known."""
    if backend not in BACKENDS:
        raise ValueError(f"backend = {backend!r}: expected one of {', '.join(map(repr, BACKENDS))}")


def check_together(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless all are floating point and on one device."""
    given = {name: each for name, each in tensors.items() if each is not None}
    first = next(iter(given))
    for name, each in given.items():
        if not each.is_floating_point():
            raise ValueError(f"{name} has type {each.dtype}; give floating point")
        if each.device != given[first].device:
            raise ValueError(f"{name} is on {each.device}, {first} on {given[first].device}; move them to one device")


def check_shape(name: str, tensor: torch.Tensor, expected: tuple[int, ...], meaning: str) -> None:
    """Raise ValueError unless the shape is as expected; `meaning` spells the axes."""
    if tuple(tensor.shape) != expected:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {expected}, which is {meaning}")


def check_last_stride(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless values along the last axis are next to each other, as the Triton kernels read them."""
    for name, each in tensors.items():
        if each is not None and each.shape[-1] > 1 and each.stride(-1) != 1:
            raise ValueError(f"{name} has strides {each.stride()}; the last must be 1: call .contiguous() first")
