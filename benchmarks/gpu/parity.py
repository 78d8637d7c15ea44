"""Are the compiled kernels right? Each one, forward and backward, beside float64, at the shapes of a model size.

bfloat16 is judged by a yardstick: the error of transformers' own torch path on the same stored inputs. A kernel may err SLACK
times as much; the scan more, since transformers scans in float32 and tensor cores multiply bfloat16. float32 is held to
the limits that the interpreter's tests hold. Memory that torch leaves uninitialized is NaN here, so a value that no kernel wrote
shows. Rows hold several documents with starts at awkward places; the scan is tried without, and under strong decay, too.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchmarks.gpu import yardstick
from benchmarks.gpu.rows import CHECK, Row
from benchmarks.gpu.shapes import (
    Options,
    awkward_documents,
    conv_inputs,
    gate_inputs,
    leaves,
    norm_inputs,
    scan_inputs,
)
from model_smoke.config import SIZES, FalconH1Config
from model_smoke.falcon_h1 import FalconH1
from model_smoke.kernels import causal_conv1d, gated_rms_norm, rms_norm, silu_gate, ssd_scan
from model_smoke.kernels.documents import document_starts
from model_smoke.kernels.reference import recurrent_scan

LENGTH = 389
"""Six chunks of 64 and a ragged end."""
EXACT, SUMMED = 2e-6, 5e-5
"""float32, relative, in the 2-norm; SUMMED for the gradients of A and dt_bias, sums over the row of terms of both signs."""
SLACK, SCAN_SLACK = 1.5, 2.0
"""Times transformers' error. A scan in plain torch with products in bfloat16 (`peers.plain_scan`) errs at most 1.3 times as
much, at 0.5B and 34B widths on a CPU."""
MODEL_SLACK = 1.25
"""Of logits and of the median gradient; the worst gradient of some two dozen has SLACK."""
FLOOR = 4e-3
"""An error that bfloat16 always may have: half its epsilon. Where the yardstick happens to be finer, this holds."""
LOGITS, GRADIENTS = 1e-5, 1e-4
"""float32, relative: the whole model."""
MODEL_VOCAB = 1024

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operation on given inputs: ours, the same in float64, and transformers' for bfloat16."""

    name: str
    inputs: Tensors
    ours: Callable[[Tensors], torch.Tensor]
    exact: Callable[[Tensors], torch.Tensor]
    theirs: Callable[[Tensors], torch.Tensor]
    slack: float = SLACK


def parity(options: Options, size: str, dtype: str) -> Iterator[Row]:
    """Errors of every output and gradient at `size` in "bf16" or "fp32", then of a whole model of one or two layers."""
    config = SIZES[size]
    stored = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    yardstick.theirs()  # the yardstick is needed: without it this part fails at once
    # the float64 recurrence keeps every state: 25 MB a token at the 34B's width
    batch = 1 if config.ssm_size * config.ssm_state >= 1 << 20 else 2
    with poisoned():
        for case in cases(config, batch, LENGTH, stored, options):
            try:
                yield from _judge(case, size, stored)
            except Exception as error:
                yield failed(f"{size} {dtype} {case.name}", error)
        try:
            yield from model_parity(config, size, stored, options)
        except Exception as error:
            yield failed(f"{size} {dtype} model", error)


def failed(what: str, error: Exception) -> Row:
    """A check that could not be made does not hold."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return Row(what=what, value=math.nan, unit="relative error", kind=CHECK, bound=0.0, more={"error": said[:500]})


def cases(config: FalconH1Config, batch: int, length: int, dtype: torch.dtype, options: Options) -> Iterator[Case]:
    """Every kernel of a layer."""
    device, backend = options.device, options.backend
    numbers = awkward_documents(batch, length, device)
    for decay, documents in (("model", None), ("model", numbers), ("strong", numbers)):
        about = "one document a row" if documents is None else "documents"
        yield Case(
            name=f"ssd, {about}{', strong decay' * (decay == 'strong')}",
            inputs=scan_inputs(config, batch, length, dtype=dtype, device=device, decay=decay),
            ours=lambda t, d=documents: ssd_scan(**t, document=d, backend=backend),
            exact=lambda t, d=documents: recurrent_scan(**t, starts=None if d is None else document_starts(d)),
            theirs=lambda t, d=documents: yardstick.scan(t, d),
            slack=SCAN_SLACK,
        )
    yield Case(
        name="conv, documents",
        inputs=conv_inputs(config, batch, length, dtype=dtype, device=device),
        ours=lambda t: causal_conv1d(**t, document=numbers, backend=backend),
        exact=lambda t: causal_conv1d(**t, document=numbers, backend="torch"),
        theirs=lambda t: yardstick.conv(t, numbers),
    )
    yield Case(
        name="norm",
        inputs=norm_inputs(config, batch, length, width=config.hidden_size, gated=False, dtype=dtype, device=device),
        ours=lambda t: rms_norm(**t, eps=config.norm_eps, backend=backend),
        exact=lambda t: rms_norm(**t, eps=config.norm_eps, backend="torch"),
        theirs=lambda t: yardstick.norm(t, groups=1, eps=config.norm_eps),
    )
    groups = config.ssm_groups
    yield Case(
        name="gated norm",
        inputs=norm_inputs(config, batch, length, width=config.ssm_size, gated=True, dtype=dtype, device=device),
        ours=lambda t: gated_rms_norm(**t, groups=groups, eps=config.norm_eps, backend=backend),
        exact=lambda t: gated_rms_norm(**t, groups=groups, eps=config.norm_eps, backend="torch"),
        theirs=lambda t: yardstick.norm(t, groups=groups, eps=config.norm_eps),
    )
    yield Case(
        name="gate",
        inputs=gate_inputs(batch, length, config.mlp_size, dtype=dtype, device=device),
        ours=lambda t: silu_gate(**t, backend=backend),
        exact=lambda t: silu_gate(**t, backend="torch"),
        theirs=yardstick.gate,
    )


def differentiate(
    work: Callable[[Tensors], torch.Tensor], inputs: Tensors, dtype: torch.dtype | None = None
) -> Tensors:
    """The output "y" and the gradient of each input for one drawn dy, which is the same for every dtype of one case."""
    given = leaves(inputs, dtype)
    y = work(given)
    stored = inputs["x"].dtype
    random = torch.Generator(y.device).manual_seed(7)
    dy = torch.randn(y.shape, generator=random, device=y.device).to(stored).to(y.dtype)
    gradients = torch.autograd.grad(y, list(given.values()), dy)
    return {"y": y.detach()} | dict(zip((f"d{name}" for name in given), gradients, strict=True))


def relative(ours: torch.Tensor, exact: torch.Tensor) -> float:
    """Relative error in the 2-norm; NaN where a value is."""
    return float((ours.double() - exact.double()).norm() / exact.double().norm())


def model_parity(config: FalconH1Config, size: str, dtype: torch.dtype, options: Options) -> Iterator[Row]:
    """Logits and gradients of the model at full width, few layers and a small vocabulary, documents packed."""
    layers = 1 if config.hidden_size > 4096 else 2
    small = dataclasses.replace(config, num_layers=min(layers, config.num_layers), vocab_size=MODEL_VOCAB)
    random = torch.Generator().manual_seed(5)
    tokens = torch.randint(MODEL_VOCAB, (1, LENGTH), generator=random).to(options.device)
    documents = awkward_documents(1, LENGTH, options.device)
    first = FalconH1(small, device=options.device, backend=options.backend, compute_dtype=dtype)
    weights = first.state_dict()
    expected = _exact_gradients(small, weights, tokens, documents, options.device)
    ours = _errors(_model_gradients(first, lambda: first(tokens, documents)), expected)
    if dtype == torch.float32:
        yield _check(f"{size} fp32 model, logits", ours["logits"], LOGITS, None)
        worst = max((name for name in ours if name != "logits"), key=lambda name: _or_infinite(ours[name]))
        yield _check(f"{size} fp32 model, worst gradient", ours[worst], GRADIENTS, None, parameter=worst)
        return
    module = yardstick.model(small, weights, dtype=dtype, device=options.device)
    theirs = _errors(_model_gradients(module, lambda: yardstick.model_logits(module, tokens, documents)), expected)
    logits, measured = ours.pop("logits"), theirs.pop("logits")
    yield _check(f"{size} bf16 model, logits", logits, MODEL_SLACK * measured, measured)
    for about, of, slack in (("median", statistics.median, MODEL_SLACK), ("worst", max, SLACK)):
        mine, measured = (of([_or_infinite(error) for error in each.values()]) for each in (ours, theirs))
        yield _check(f"{size} bf16 model, {about} gradient", mine, slack * measured, measured)


@contextmanager
def poisoned() -> Iterator[None]:
    """NaN in all that torch.empty returns, which torch does in its deterministic mode; as before after it."""
    before, only_warn = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # float64 sums and products of the oracle that have no deterministic form
            if not torch.empty(3).isnan().all():
                raise RuntimeError("torch.empty does not return NaN: a value that was never written would not show")
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warn)


def _judge(case: Case, size: str, dtype: torch.dtype) -> Iterator[Row]:
    exact = differentiate(case.exact, case.inputs, torch.float64)
    ours = differentiate(case.ours, case.inputs)
    narrow = dtype == torch.bfloat16
    theirs = differentiate(case.theirs, case.inputs, dtype) if narrow else {}
    for name, expected in exact.items():
        what = f"{size} {'bf16' if narrow else 'fp32'} {case.name}, {name}"
        error = relative(ours[name], expected)
        if narrow:
            measured = relative(theirs[name], expected)
            yield _check(what, error, max(FLOOR, case.slack * measured), measured)
        else:
            yield _check(what, error, SUMMED if name in ("dA_log", "ddt_bias") else EXACT, None)


def _check(what: str, error: float, bound: float, measured: float | None, **more: str) -> Row:
    if measured is not None:
        more = more | {"transformers": measured}
    return Row(what=what, value=error, unit="relative error", kind=CHECK, bound=bound, more=more)


def _model_gradients(model: torch.nn.Module, forward: Callable[[], torch.Tensor]) -> Tensors:
    logits = forward()
    random = torch.Generator(logits.device).manual_seed(8)
    towards = torch.randn(logits.shape, generator=random, device=logits.device)
    (logits.double() * towards).mean().backward()
    made = {"logits": logits.detach()} | {name: each.grad for name, each in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return made


def _exact_gradients(
    config: FalconH1Config, weights: Tensors, tokens: torch.Tensor, documents: torch.Tensor, device: str
) -> Tensors:
    model = FalconH1(config, device=device, backend="torch", compute_dtype=torch.float64)
    model.load_state_dict(weights)
    return _model_gradients(model, lambda: model(tokens, documents))


def _errors(made: Tensors, expected: Tensors) -> dict[str, float]:
    return {name: relative(made[name], each) for name, each in expected.items()}


def _or_infinite(error: float) -> float:
    return error if math.isfinite(error) else math.inf
