"""The same inputs twice, the same bits: every kernel forward and backward, and two whole training steps.

The kernels use no atomics and no autotune, so they must. The step is run in torch's deterministic mode, which its own attention
and embedding need; what that mode cannot make deterministic shows as a goal missed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch

from benchmarks.gpu.parity import Tensors, cases, differentiate, failed, poisoned
from benchmarks.gpu.rows import CHECK, GOAL, Row
from benchmarks.gpu.shapes import Options, usual_documents
from model_smoke.config import SIZES
from model_smoke.falcon_h1 import FalconH1
from model_smoke.optimizer import make_optimizer, set_rate

LENGTH, SMALL_LENGTH = 4096, 200
"""As long as the sequences that are timed later: the kernels compiled here are found by then."""
STEPPED = ("90m", "tiny")


def determinism(options: Options, size: str) -> Iterator[Row]:
    """How many of the tensors differ in any bit between two runs at `size`."""
    for case in cases(SIZES[size], 2, SMALL_LENGTH if options.small else LENGTH, torch.bfloat16, options):
        what = f"{size} {case.name}: tensors that differ between two runs"
        try:
            first, second = (differentiate(case.ours, case.inputs) for _ in range(2))
        except Exception as error:
            yield failed(what, error)
            continue
        yield _compare(what, CHECK, first, second)
    if size not in STEPPED:
        return
    try:
        yield from _steps(options)
    except Exception as error:
        yield failed("two training steps", error)


def _steps(options: Options) -> Iterator[Row]:
    size, batch, length = ("tiny", 2, 64) if options.small else ("90m", 4, 2048)
    made: list[Tensors] = []
    with poisoned(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            model = FalconH1.from_size(size, device=options.device, backend=options.backend)
            optimizer = make_optimizer(model, weight_decay=0.1)
            set_rate(optimizer, 1e-3)
            random = torch.Generator().manual_seed(6)
            for _ in range(2):
                tokens = torch.randint(model.config.vocab_size, (batch, length + 1), generator=random).to(
                    options.device
                )
                documents = usual_documents(batch, length, options.device, mean=length // 4)
                loss = model.loss(tokens[:, :-1], documents, tokens[:, 1:])
                loss.mean().backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            made.append({name: each.detach() for name, each in model.named_parameters()} | {"nats": loss.nats})
    yield _compare(f"{size} two training steps, torch's deterministic mode: tensors that differ", GOAL, *made)


def _compare(what: str, kind: str, first: Tensors, second: Tensors) -> Row:
    apart = [name for name, each in first.items() if not torch.equal(_bits(each), _bits(second[name]))]
    return Row(
        what=what, value=len(apart), unit=f"of {len(first)}", kind=kind, bound=0, more={"differ": apart[:20]}
    )  # fmt: skip


def _bits(x: torch.Tensor) -> torch.Tensor:
    """As integers, so that NaN equals itself and 0 differs from -0."""
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    return x.contiguous().view(whole)
