"""What the Triton backend refuses before it launches anything: strides, types and sizes that its kernels cannot read."""

from __future__ import annotations

import pytest
import torch

from model_smoke.kernels import causal_conv1d, gated_rms_norm, rms_norm, silu_gate, ssd_scan


def scan_arguments(**changes):
    x, b = torch.zeros(1, 8, 2, 16), torch.zeros(1, 8, 1, 16)
    heads = torch.zeros(2)
    given = dict(x=x, dt=x[..., 0].contiguous(), A_log=heads, B=b, C=b, D=heads, dt_bias=heads)
    return given | changes


def test_the_last_axis_must_be_contiguous():
    every_other = torch.zeros(1, 8, 2, 32)[..., ::2]
    with pytest.raises(ValueError, match=r"x has strides .* the last must be 1"):
        ssd_scan(**scan_arguments(x=every_other), backend="triton")
    flat = every_other.flatten(2)[..., ::2]
    for call in (
        lambda: causal_conv1d(flat, torch.zeros(16, 4), None, backend="triton"),
        lambda: rms_norm(flat, torch.zeros(16), 1e-5, "triton"),
        lambda: silu_gate(flat.contiguous(), flat, "triton"),
    ):
        with pytest.raises(ValueError, match="the last must be 1"):
            call()


@pytest.mark.parametrize("chunk", [8, 24, 512])
def test_a_chunk_is_a_power_of_two(chunk):
    with pytest.raises(ValueError, match=f"chunk = {chunk}: .* power of two from 16 to 256"):
        ssd_scan(**scan_arguments(), chunk=chunk, backend="triton")


def test_types_are_those_the_kernels_take():
    wide = {name: each.double() for name, each in scan_arguments().items()}
    with pytest.raises(ValueError, match=r"not torch\.float64"):
        ssd_scan(**wide, backend="triton")
    with pytest.raises(ValueError, match="give all three the same type"):
        ssd_scan(**scan_arguments(C=torch.zeros(1, 8, 1, 16).bfloat16()), backend="triton")


def test_a_state_or_group_beyond_the_tiles_is_refused():
    big = torch.zeros(1, 8, 1, 512)
    with pytest.raises(ValueError, match="state 512"):
        ssd_scan(**scan_arguments(B=big, C=big), backend="triton")
    with pytest.raises(ValueError, match="at most 32768"):
        gated_rms_norm(torch.zeros(1, 40_000), None, torch.zeros(40_000), eps=1e-5, backend="triton")
