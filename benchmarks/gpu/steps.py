"""Whole training steps: tokens a second, MFU, memory, and where the time goes.

A step is what `model_smoke.training` does: micro batches forward and backward in bfloat16 over float32 masters, the norm of the
gradient clipped, fused AdamW. Tokens are random. MFU counts the model's own `flops_per_token` against the device's dense peak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.gpu.clock import median_seconds
from benchmarks.gpu.rows import FIGURE, GOAL, Row
from benchmarks.gpu.shapes import Options, usual_documents
from model_smoke.falcon_h1 import FalconH1
from model_smoke.optimizer import make_optimizer, set_rate

GOALS = {"90m": 350e3, "0.5b": 85e3}
"""Tokens a second on one H200."""
PEAK_FLOPS = 989e12
"""Of an H200 or H100, dense bfloat16, by the vendor's datasheet."""
LENGTH, SEQUENCES, AT_ONCE = 4096, 32, 8
"""131,072 tokens a step in micro batches of 32,768."""
SHOWN = 14


def steps(options: Options, size: str, *, compiled: bool = False) -> Iterator[Row]:
    """Steps of `size` with documents of 1,000 tokens on average, then with one document a row; then a profile of the former.

    `compiled` wraps each layer in torch.compile. A micro batch that does not fit is halved, and the row says so.
    """
    length, sequences, at_once = (64, 4, 2) if options.small else (LENGTH, SEQUENCES, AT_ONCE)
    model = FalconH1.from_size(size, device=options.device, backend=options.backend)
    optimizer = make_optimizer(model, weight_decay=0.1)
    set_rate(optimizer, 1e-4)
    if compiled:
        for layer in model.model.layers:
            layer.compile(dynamic=False)
    random = torch.Generator().manual_seed(9)
    tokens = torch.randint(model.config.vocab_size, (sequences, length + 1), generator=random).to(options.device)
    packed = usual_documents(sequences, length, options.device)
    how = f"{size}{', each layer compiled' * compiled}"
    for about, documents in (("documents", packed), ("one document a row", None)):
        at_once, seconds, memory = _measure(model, optimizer, tokens, documents, at_once, options)
        rate = sequences * length / seconds
        goal = GOALS.get(size) if documents is not None else None
        yield Row(
            what=f"{how} step, {about}", value=rate, unit="tokens/s", kind=GOAL if goal else FIGURE, bound=goal,
            more_is_better=True,
            more={
                "mfu": rate * model.config.flops_per_token(length) / PEAK_FLOPS, "seconds": seconds,
                "peak_GB": memory / 1e9, "tokens_a_step": sequences * length, "micro_batch_tokens": at_once * length,
            },
        )  # fmt: skip
    try:
        yield from _profile(lambda: _step(model, optimizer, tokens[:at_once], packed[:at_once], at_once), size, options)
    except Exception as error:  # the profiler is a help, no result
        yield Row(what=f"{how} profile", value=0.0, unit="", more={"error": f"{type(error).__name__}: {error}"[:300]})


def _measure(
    model: FalconH1, optimizer: torch.optim.Optimizer, tokens: torch.Tensor, documents: torch.Tensor | None, at_once: int,
    options: Options,
) -> tuple[int, float, int]:  # fmt: skip
    """(sequences at once, median seconds a step, peak bytes)."""
    runs, warmup = (1, 1) if options.small else (4, 2)
    on_gpu = torch.device(options.device).type == "cuda"
    while True:
        try:
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(options.device)
            seconds = median_seconds(
                lambda n=at_once: _step(model, optimizer, tokens, documents, n),
                options.device,
                runs=runs,
                warmup=warmup,
            )
            return at_once, seconds, torch.cuda.max_memory_allocated(options.device) if on_gpu else 0
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
            at_once //= 2
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()


def _step(
    model: FalconH1,
    optimizer: torch.optim.Optimizer,
    tokens: torch.Tensor,
    documents: torch.Tensor | None,
    at_once: int,
) -> float:
    optimizer.zero_grad(set_to_none=True)
    targets = tokens[:, 1:].numel()
    nats = torch.zeros((), dtype=torch.float64, device=tokens.device)
    for start in range(0, len(tokens), at_once):
        part = tokens[start : start + at_once]
        numbers = None if documents is None else documents[start : start + at_once]
        losses = model.loss(part[:, :-1], numbers, part[:, 1:])
        (losses.total / targets).backward()
        nats += losses.nats.sum(dtype=torch.float64)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(nats) / targets  # waits for the step, as training does


def _profile(work: Callable[[], Any], size: str, options: Options) -> Iterator[Row]:
    """Shares of the device's time by kernel, largest first."""
    on_gpu = torch.device(options.device).type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    work()
    with torch.profiler.profile(activities=[activity], acc_events=True) as profiler:
        work()
        if on_gpu:
            torch.cuda.synchronize(options.device)
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    spent = sorted(((getattr(each, attribute), each) for each in profiler.key_averages()), key=lambda pair: -pair[0])
    total = sum(microseconds for microseconds, _ in spent)
    for microseconds, each in spent[:SHOWN]:
        yield Row(
            what=f"{size} step, one micro batch: {each.key[:90]}", value=microseconds / total, unit="of the time",
            more={"milliseconds": microseconds / 1e3, "calls": each.count},
        )  # fmt: skip
