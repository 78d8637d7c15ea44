"""Run the Triton kernels in Triton's interpreter beside the float64 oracle; print relative errors, one line of JSON a case.

`TRITON_INTERPRET=1 python -m tests.kernels.interpreted ssd|conv|norm|model`, started by `test_interpreted.py` in processes of
their own, since Triton decides at import whether it interprets. All memory that torch leaves uninitialized is NaN here, and
so is what lies between the rows of strided inputs: a value that a kernel did not write, or should not read, shows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch

from model_smoke.config import FalconH1Config
from model_smoke.falcon_h1 import FalconH1
from model_smoke.kernels import causal_conv1d, document_starts, gated_rms_norm, rms_norm, silu_gate, ssd_scan
from model_smoke.kernels.reference import recurrent_scan

SCAN_INPUTS = ("x", "dt", "A_log", "B", "C", "D", "dt_bias")
Case = tuple[str, dict[str, float]]


def relative(ours: torch.Tensor, exact: torch.Tensor) -> float:
    """Relative error in the 2-norm; the absolute one where the exact value is zero in float32."""
    norm = exact.double().norm().item()
    return ((ours.double() - exact.double()).norm() / (norm if norm > 1e-37 else 1.0)).item()


def rounding(ours: torch.Tensor, exact: torch.Tensor) -> float:
    """Share of values which are not the exact one rounded to the storage type; 1.0 if one is more than a step away."""
    rounded = exact.to(ours.dtype)
    step = (torch.finfo(ours.dtype).eps * exact.abs()).clamp(min=torch.finfo(ours.dtype).tiny)
    near = ((ours.double() - exact.double()).abs() <= step + 1e-6 * exact.abs().max()).all().item()
    return (ours != rounded).double().mean().item() if near else 1.0


def strided(x: torch.Tensor) -> torch.Tensor:
    """The same values as a slice of wider rows full of NaN."""
    wide = torch.full((*x.shape[:2], x[0, 0].numel() + 8), torch.nan, dtype=x.dtype)
    wide[..., 3:-5] = x.flatten(2)
    return wide[..., 3:-5].unflatten(-1, x.shape[2:])


def scan_inputs(shape: tuple[int, ...], decay: str = "usual") -> list[torch.Tensor]:
    """x, dt, A_log, B, C, D, dt_bias for (batch, length, heads, head dim, groups, state)."""
    b, length, h, p, g, n = shape
    dt, a_log, bias = torch.randn(b, length, h) * 0.5 - 1, torch.rand(h) * 1.5, torch.randn(h) * 0.1
    if decay == "strong":  # exp(-dt A) down to exp(-140)
        a_log, bias = torch.linspace(2.0, 4.2, h), torch.full((h,), 2.0)
    elif decay == "mixed":  # steps from 1e-15 to 30 beside each other, A to -55
        dt, a_log = torch.randn(b, length, h) * 10 - 4, torch.linspace(0.0, 4.0, h)
    elif decay == "tiny":
        bias = torch.full((h,), -12.0)
    elif decay == "tiniest":  # far below float32's resolution near 1, so that only a series tells steps from zero
        bias = torch.full((h,), -30.0)
    elif decay == "zero":
        bias = torch.full((h,), -200.0)
    elif decay == "long":  # hardly any decay: sums over the whole row
        a_log, bias = torch.full((h,), -6.0), torch.full((h,), -2.0)
    B, C = torch.randn(b, length, g, n) * 0.5, torch.randn(b, length, g, n) * 0.5
    return [torch.randn(b, length, h, p), dt, a_log, B, C, torch.randn(h), bias]


def scan_case(
    inputs: list[torch.Tensor], document: torch.Tensor | None, chunk: int | None, compare: Callable[..., float]
) -> dict[str, float]:
    """Errors of y and of every gradient, by `compare` for what is stored in x's type."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    laid_out = [strided(each) if each.ndim > 2 else each for each in leaves]
    y = ssd_scan(*laid_out, document=document, chunk=chunk, backend="triton")
    dy = torch.randn_like(y)
    gradients = torch.autograd.grad(y, leaves, dy)
    exact = [each.double().requires_grad_() for each in inputs]
    starts = None if document is None else document_starts(document)
    exact_y = recurrent_scan(*exact, starts=starts)
    exact_gradients = torch.autograd.grad(exact_y, exact, dy.double())
    errors = {"y": compare(y, exact_y)}
    for name, ours, wanted in zip(SCAN_INPUTS, gradients, exact_gradients, strict=True):
        errors[name] = (relative if name in ("A_log", "D", "dt_bias") else compare)(ours, wanted)
    return errors


def scan_cases() -> Iterator[Case]:
    """The scan: widths, lengths, decays, documents, storage types."""
    shapes = {
        "one token": ((2, 1, 2, 16, 1, 16), 16),
        "length below a chunk": ((2, 5, 2, 16, 2, 16), 64),
        "length of a chunk": ((1, 32, 2, 32, 1, 16), 32),
        "ragged": ((2, 37, 4, 16, 2, 32), 16),
        "head dim 128, state 16": ((1, 70, 2, 128, 2, 16), 64),
        "head dim 16, state 128": ((1, 70, 3, 16, 1, 128), 32),
        "head dim 64, state 128": ((1, 90, 2, 64, 1, 128), 64),
        "head dim 128, state 256": ((1, 70, 2, 128, 2, 256), 64),
        "head dim 32, state 64, six heads in two groups": ((1, 40, 6, 32, 2, 64), 16),
        "no power of two": ((1, 40, 3, 24, 1, 20), 16),
        "the table's own chunk": ((1, 130, 2, 64, 1, 64), None),
    }
    for name, (shape, chunk) in shapes.items():
        document = (torch.rand(shape[:2]) < 0.08).cumsum(1)
        for about, numbers in (("one document", None), ("documents", document)):
            yield f"{name}, {about}", scan_case(scan_inputs(shape), numbers, chunk, relative)
    for decay in ("strong", "mixed", "tiny", "tiniest", "zero", "long"):
        document = (torch.rand(1, 70) < 0.1).cumsum(1) % 3  # numbers come back: still new documents
        yield f"{decay} decay", scan_case(scan_inputs((1, 70, 4, 16, 2, 16), decay), document, 16, relative)
    # row r: a document starts at r, and one token later another
    length = 35
    offset = torch.arange(length)[:, None]
    document = (torch.arange(length) >= offset).int() + (torch.arange(length) > offset).int()
    inputs = scan_inputs((length, length, 1, 16, 1, 16))
    yield "documents start at every offset", scan_case(inputs, document, 16, relative)
    for dtype, decay in ((torch.float16, "usual"), (torch.bfloat16, "usual"), (torch.bfloat16, "strong")):
        inputs = scan_inputs((1, 70, 4, 16, 2, 32), decay)
        inputs = [each.to(dtype) if each.ndim > 2 else each for each in inputs]
        document = (torch.rand(1, 70) < 0.1).cumsum(1)
        yield f"{decay} decay stored as {dtype}", scan_case(inputs, document, 32, rounding)


def plain_case(
    compute: Callable[..., torch.Tensor], inputs: list[torch.Tensor], compare: Callable[..., float], **options: Any
) -> dict[str, float]:
    """Errors of `compute(*inputs)` and its gradients on Triton, against plain torch in float64."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    y = compute(*(strided(each) if each.ndim > 2 else each for each in leaves), **options, backend="triton")
    dy = torch.randn_like(y)
    gradients = torch.autograd.grad(y, leaves, dy)
    exact = [each.double().requires_grad_() for each in inputs]
    exact_y = compute(*exact, **options, backend="torch")
    exact_gradients = torch.autograd.grad(exact_y, exact, dy.double())
    errors = {"y": compare(y, exact_y)}
    for position, (ours, wanted) in enumerate(zip(gradients, exact_gradients, strict=True)):
        errors[f"input {position}"] = (compare if inputs[position].ndim > 2 else relative)(ours, wanted)
    return errors


STORED = ((torch.float32, relative), (torch.float16, rounding), (torch.bfloat16, rounding))


def conv_cases() -> Iterator[Case]:
    """The convolution: lengths, widths, documents at every offset, activations, storage types."""
    every = (torch.arange(40) >= torch.arange(40)[:, None]).int()
    cases: dict[str, tuple[int, int, int, int, torch.Tensor | None, str | None]] = {
        "one token": (2, 1, 5, 4, None, "silu"),
        "shorter than the taps": (2, 3, 5, 4, None, "silu"),
        "ragged": (2, 130, 70, 4, (torch.rand(2, 130) < 0.1).cumsum(1), "silu"),
        "no activation": (1, 70, 16, 4, (torch.rand(1, 70) < 0.1).cumsum(1), None),
        "two taps": (1, 70, 16, 2, None, "silu"),
        "documents start at every offset": (40, 40, 6, 4, every, "silu"),
    }
    for name, (b, length, c, width, document, activation) in cases.items():
        options = dict(document=document, activation=activation)
        inputs = [torch.randn(b, length, c) * 3, torch.randn(c, width), torch.randn(c)]
        for dtype, compare in STORED if name == "ragged" else STORED[:1]:
            yield f"{name}, {dtype}", plain_case(causal_conv1d, [inputs[0].to(dtype), *inputs[1:]], compare, **options)

    inputs = [torch.randn(1, 20, 6), torch.randn(6, 4)]
    yield "no bias", plain_case(causal_conv1d, inputs, relative, bias=None)


def norm_cases() -> Iterator[Case]:
    """RMSNorm, plain and gated, by groups, gate first or last, many rows, storage types; the gate alone."""
    for groups, gate_last in product((1, 2, 3), (False, True)):
        options = dict(groups=groups, eps=1e-5, norm_before_gate=gate_last)
        for dtype, compare in STORED if groups == 2 else STORED[:1]:
            inputs = [torch.randn(2, 9, 72).to(dtype), (torch.randn(2, 9, 72) * 3).to(dtype), torch.randn(72)]
            name = f"{groups} groups, gate {'last' if gate_last else 'first'}, {dtype}"
            yield name, plain_case(gated_rms_norm, inputs, compare, **options)

    yield (
        "more rows than programs",
        plain_case(rms_norm, [torch.randn(1, 700, 24), torch.randn(24)], relative, eps=1e-5),
    )
    yield "tiny values", plain_case(rms_norm, [torch.randn(1, 5, 24) * 1e-4, torch.randn(24)], relative, eps=1e-5)
    yield "zeros", plain_case(rms_norm, [torch.zeros(1, 5, 24), torch.randn(24)], relative, eps=1e-5)

    for dtype, compare in STORED:
        inputs = [torch.randn(2, 40, 72).to(dtype), (torch.randn(2, 40, 72) * 5).to(dtype)]
        yield f"gate alone, {dtype}", plain_case(silu_gate, inputs, compare)


def model_cases() -> Iterator[Case]:
    """The whole model, both backends, in float32: the logits and the gradient of each parameter, documents packed."""
    config = FalconH1Config(
        vocab_size=96, num_layers=2, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16, ssm_heads=4,
        ssm_head_dim=16, ssm_state=16, ssm_groups=2, mlp_size=64, gated_norm=True,
    )  # fmt: skip
    tokens = torch.randint(0, 96, (1, 50))
    document = (torch.rand(1, 50) < 0.1).cumsum(1).int()
    found = []
    for backend in ("triton", "torch"):
        torch.manual_seed(1)
        model = FalconH1(config, backend=backend)
        logits = model(tokens, document)
        logits.square().mean().backward()
        found.append({"logits": logits} | {name: each.grad for name, each in model.named_parameters()})
    ours, plain = found
    yield "model", {name: relative(ours[name], plain[name]) for name in plain}


def main(name: str) -> None:
    """Print the cases of one family."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)  # and with it NaN in all that torch.empty returns
    if not torch.empty(3).isnan().all():
        raise RuntimeError("torch.empty does not return NaN: these tests would not see a value that was never written")
    for case, errors in {"ssd": scan_cases, "conv": conv_cases, "norm": norm_cases, "model": model_cases}[name]():
        print(json.dumps({"case": case, "errors": errors}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
