"""The torch backend: against the step-by-step oracle, against torch's own operations, and its promises about documents."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from model_smoke.kernels import (
    causal_conv1d,
    document_starts,
    gated_rms_norm,
    rms_norm,
    silu_gate,
    ssd_scan,
)
from model_smoke.kernels.reference import recurrent_scan


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scan_inputs(generator, *, batch=1, length=20, heads=2, head_dim=4, groups=1, state=3, scale=1.0):
    def randn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return [
        randn(batch, length, heads, head_dim), randn(batch, length, heads) * scale, randn(heads),
        randn(batch, length, groups, state), randn(batch, length, groups, state), randn(heads), randn(heads) - 2,
    ]  # fmt: skip


def close(ours, exact, tolerance=1e-10):
    assert (ours - exact).norm() <= tolerance * max(1.0, exact.norm())


@settings(max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_chunks_change_nothing(data, seed):
    """Any length, chunk, grouping and documents: chunked values and gradients are those of one step after another."""
    generator = torch.Generator().manual_seed(seed)
    groups, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 40))
    inputs = scan_inputs(
        generator, batch=data.draw(st.integers(1, 2)), length=length, heads=groups * data.draw(st.integers(1, 2)),
        groups=groups, scale=data.draw(st.sampled_from([0.1, 1.0, 30.0])),
    )  # fmt: skip
    numbers = data.draw(st.lists(st.integers(0, 2), min_size=length, max_size=length))
    document = torch.tensor([numbers] * inputs[0].shape[0])
    chunk = data.draw(st.integers(1, 50))
    leaves = [each.requires_grad_() for each in inputs]
    ours = ssd_scan(*leaves, document=document, chunk=chunk, backend="torch")
    exact = recurrent_scan(*leaves, starts=document_starts(document))
    dy = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    close(ours, exact)
    for got, wanted in zip(torch.autograd.grad(ours, leaves, dy), torch.autograd.grad(exact, leaves, dy), strict=True):
        close(got, wanted)


def test_a_scan_worked_out_by_hand():
    """One head, x = B = C = 1, D = 0, steps of ln 2, A = -1: S = 1/2 S + ln 2, so y = ln2 (1, 3/2, 7/4), then a new document."""
    length, step = 4, math.log(2)
    raw = math.log(math.expm1(step))  # softplus(raw) = ln 2
    ones = torch.ones(1, length, 1, 1, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    y = ssd_scan(
        ones, torch.full((1, length, 1), raw, dtype=torch.float64), zero, ones, ones, zero, zero,
        document=torch.tensor([[4, 4, 4, 9]]), chunk=2, backend="torch",
    )  # fmt: skip
    assert y.flatten().tolist() == pytest.approx([step, 1.5 * step, 1.75 * step, step], rel=1e-12)


@pytest.mark.parametrize("cuts", [(0, 20), (0, 1, 20), (0, 7, 8, 19, 20), tuple(range(21))])
def test_packed_documents_are_as_separate_ones(cuts):
    generator = torch.Generator().manual_seed(3)
    inputs = scan_inputs(generator)
    weight, bias = torch.randn(2, 4, 4, dtype=torch.float64, generator=generator).flatten(0, 1), torch.ones(8).double()
    document = torch.cat([torch.full((end - start,), start) for start, end in pairwise(cuts)])[None]
    packed = ssd_scan(*inputs, document=document, chunk=6, backend="torch")
    convolved = causal_conv1d(inputs[0].flatten(2), weight, bias, document=document, backend="torch")
    for start, end in pairwise(cuts):
        alone = [each[:, start:end] if each.ndim > 1 else each for each in inputs]
        close(packed[:, start:end], ssd_scan(*alone, chunk=6, backend="torch"))
        close(convolved[:, start:end], causal_conv1d(alone[0].flatten(2), weight, bias, backend="torch"))


def test_a_number_that_comes_back_is_a_new_document():
    assert document_starts(torch.tensor([[0, 0, 1, 0, 0]])).positions.tolist() == [[0, 0, 2, 3, 3]]
    starts = document_starts(torch.tensor([[5]]))
    assert starts.positions.tolist() == [[0]]
    assert document_starts(starts) is starts


def test_float32_keeps_its_precision_under_strong_and_tiny_decay():
    """A token of decay exp(-1000) must not blur the small decays after it, nor its own large product drown dA."""
    generator = torch.Generator().manual_seed(0)
    inputs = scan_inputs(generator, length=64, heads=4)
    inputs[1] = torch.where(torch.rand(1, 64, 4, generator=generator) < 0.2, 20.0, -9.0).double()
    inputs[2] = torch.full((4,), 4.0).double()
    leaves = [each.requires_grad_() for each in inputs]
    narrow = [each.detach().float().requires_grad_() for each in inputs]
    exact, ours = recurrent_scan(*leaves), ssd_scan(*narrow, chunk=64, backend="torch")
    dy = torch.randn(ours.shape, generator=generator)
    assert (ours - exact).norm() < 2e-6 * exact.norm()
    gradients = torch.autograd.grad(ours, narrow, dy), torch.autograd.grad(exact, leaves, dy.double())
    for got, wanted in zip(*gradients, strict=True):
        assert (got - wanted).norm() < 5e-6 * wanted.norm()


def test_the_convolution_is_torchs():
    generator = torch.Generator().manual_seed(1)
    x, weight = torch.randn(2, 30, 5, generator=generator), torch.randn(5, 4, generator=generator)
    bias = torch.randn(5, generator=generator)
    padded = functional.pad(x.transpose(1, 2), (3, 0))
    torchs = functional.conv1d(padded, weight[:, None], bias, groups=5).transpose(1, 2)
    ours = causal_conv1d(x, weight, bias, activation=None, backend="torch")
    torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-6)
    with_silu = causal_conv1d(x, weight, bias, backend="torch")
    torch.testing.assert_close(with_silu, functional.silu(torchs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_the_norm_is_torchs_within_each_group(groups):
    generator = torch.Generator().manual_seed(2)
    x, z = torch.randn(2, 2, 7, 12, generator=generator)
    weight = torch.randn(12, generator=generator)
    gate = functional.silu(z)
    for first in (False, True):
        u = x if first else x * gate
        parts = [functional.rms_norm(part, part.shape[-1:], eps=1e-5) for part in u.chunk(groups, dim=-1)]
        wanted = torch.cat(parts, dim=-1) * weight * (gate if first else 1.0)
        ours = gated_rms_norm(x, z, weight, groups=groups, eps=1e-5, norm_before_gate=first, backend="torch")
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-6)
    plain = rms_norm(x, weight, 1e-5, "torch")
    torch.testing.assert_close(plain, functional.rms_norm(x, (12,), weight, eps=1e-5), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(silu_gate(x, z, "torch"), x * gate, rtol=1e-6, atol=1e-7)


def test_sixteen_bit_inputs_give_sixteen_bit_outputs_rounded_once():
    generator = torch.Generator().manual_seed(4)
    inputs = scan_inputs(generator, length=50)
    inputs = [each.bfloat16() if each.ndim > 1 else each.float() for each in inputs]
    y = ssd_scan(*inputs, chunk=16, backend="torch")
    exact = recurrent_scan(*inputs)
    assert y.dtype == torch.bfloat16
    assert (y == exact.bfloat16()).double().mean() > 0.99


def shape_errors():
    x, dt, a_log, b, c, d, bias = scan_inputs(torch.Generator().manual_seed(0))
    good = dict(x=x, dt=dt, A_log=a_log, B=b, C=c, D=d, dt_bias=bias, backend="torch")
    yield "dt of another length", ssd_scan, good | {"dt": dt[:, 1:]}, "dt has shape"
    yield "C of another state", ssd_scan, good | {"C": c[..., 1:]}, "C has shape"
    yield "groups that do not divide", ssd_scan, good | dict.fromkeys("BC", b.repeat(1, 1, 3, 1)), "do not divide"
    yield "no chunk", ssd_scan, good | {"chunk": 0}, "chunk = 0"
    yield "no such backend", ssd_scan, good | {"backend": "cuda"}, "expected one of 'torch', 'triton'"
    yield "integers", ssd_scan, good | {"x": x.long()}, "floating point"
    yield "documents of another length", ssd_scan, good | {"document": torch.zeros(1, 3).long()}, "document has shape"
    yield "documents that are no integers", ssd_scan, good | {"document": torch.zeros(1, 20)}, "integers"
    yield "x on another device", ssd_scan, good | {"dt": dt.to("meta")}, "one device"
    flat = dict(x=x.flatten(2), weight=torch.ones(8, 4).double(), bias=None, backend="torch")
    yield "weight of other channels", causal_conv1d, flat | {"weight": torch.ones(7, 4).double()}, "weight has shape"
    yield "an unknown activation", causal_conv1d, flat | {"activation": "relu"}, "activation = 'relu'"
    norm = dict(x=x, z=None, weight=torch.ones(4).double(), eps=1e-5, backend="torch")
    yield "norm groups that do not divide", gated_rms_norm, norm | {"groups": 3}, "divide into 3 groups"
    yield "z of another shape", gated_rms_norm, norm | {"z": x[:, 1:]}, "z has shape"


@pytest.mark.parametrize(
    ("about", "function", "arguments", "message"), list(shape_errors()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_what_does_not_fit_is_refused(about, function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(**arguments)


def test_no_token_at_all():
    x = torch.zeros(2, 0, 2, 4)
    y = ssd_scan(x, x[..., 0], torch.zeros(2), x[:, :, :1], x[:, :, :1], torch.ones(2), torch.zeros(2), backend="torch")
    assert y.shape == x.shape
    assert causal_conv1d(x.flatten(2), torch.ones(8, 4), torch.ones(8), backend="torch").shape == (2, 0, 8)
