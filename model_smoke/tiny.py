"""A tiny tied Falcon-H1 trained some tens of steps on the CPU: does this mixture teach a model anything at all?

In: a directory with `mixture.json`, beside the token artifacts it names. Out: plain JSON with the loss curve and bits per
byte (BPB) of held-out documents before and after. The model is transformers' `FalconH1ForCausalLM`, every layer attention
beside Mamba-2; its scan takes no `seq_idx`, so state leaks over document starts in training (not in evaluation, where
each document is by itself).

BPB of a document is its code length: the first token, which nothing precedes, at log2(vocab_size) bits, every other,
the end of text included, at the model's -log2 p; over the UTF-8 bytes of its text. It compares across tokenizers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn import functional

from pipelines.errors import ConfigError, InputError
from pipelines.tokens import Component, MixtureLoader, PackedSequence, TokenSource

FORMAT = 1
PAD_ID = 0
HELD_OUT_RULE = "the first 8 bytes of sha256(source, NUL, id), as a number, are below held_out x 2**64"


@dataclass(frozen=True, kw_only=True)
class TinyRun:
    """Size and length of the run: about 390,000 parameters with 4,096 entries, under a minute on one slow core.

    `eval_tokens` bounds what is evaluated: whole documents, in order, an equal part of each component's held-out ones.
    """

    steps: int = 60
    batch_size: int = 4
    learning_rate: float = 8e-3
    warmup_steps: int = 6
    hidden_size: int = 64
    num_layers: int = 2
    seed: int = 0
    eval_tokens: int = 16_384

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "hidden_size", "num_layers", "eval_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: give at least 1")
        if self.hidden_size % 32:
            raise ConfigError(
                f"hidden_size = {self.hidden_size}: give a multiple of 32, the width of an attention head"
            )


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Held-out documents of one component: token ids (end of text included) and bytes of text of each."""

    name: str
    documents: list[torch.Tensor] = field(default_factory=list)
    num_bytes: int = 0


def train(mixture_dir: str | Path, run: TinyRun | None = None) -> dict[str, Any]:
    """Train on the mixture in `mixture_dir` and return the record, `smoke.json`.

    Deterministic: the same files, run and library versions give the same numbers; one thread is used and torch's global
    state is put back. Raises InputError where files are missing or damaged, or no held-out document is there.
    """
    run = run or TinyRun()
    mixture = _read_mixture(Path(mixture_dir) / "mixture.json")
    loader, held_out = _open(Path(mixture_dir), mixture, run)
    vocab_size = loader.components[0].source.vocab_size
    with _deterministic(run.seed), _quiet_transformers():
        model = tiny_model(vocab_size, run, max_length=mixture["sequence_length"] + 1)
        before = _evaluate(model, held_out, mixture["sequence_length"])
        losses = _fit(model, loader, run)
        after = _evaluate(model, held_out, mixture["sequence_length"])
    components = {
        part.name: {
            "before": before[part.name] / part.num_bytes,
            "after": after[part.name] / part.num_bytes,
            "documents": len(part.documents),
            "bytes": part.num_bytes,
        }
        for part in held_out
    }
    total = sum(part.num_bytes for part in held_out)
    overall = sum(before.values()) / total, sum(after.values()) / total
    return {
        "format": FORMAT,
        "model": {
            "architecture": "FalconH1ForCausalLM", "hidden_size": run.hidden_size, "num_layers": run.num_layers,
            "vocab_size": vocab_size, "num_parameters": sum(p.numel() for p in model.parameters()), "tied": True,
        },
        "steps": run.steps,
        "batch_size": run.batch_size,
        "sequence_length": mixture["sequence_length"],
        "trained_tokens": run.steps * run.batch_size * mixture["sequence_length"],
        "epochs": loader.epochs(),
        "losses": losses,
        "bits_per_byte": {"before": overall[0], "after": overall[1], "components": components},
        "held_out": {"share": mixture["held_out"], "rule": HELD_OUT_RULE},
        "healthy": all(map(math.isfinite, losses)) and overall[1] < overall[0],
        "backend": {"device": "cpu", "threads": 1, "dtype": "float32"},
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "numpy")},
    }  # fmt: skip


def tiny_model(vocab_size: int, run: TinyRun, *, max_length: int) -> torch.nn.Module:
    """A tied Falcon-H1: GQA of 32-wide heads beside Mamba-2 of state 16 in every layer, RoPE base 1e11."""
    heads = max(run.hidden_size // 32, 1)
    config = transformers.FalconH1Config(
        vocab_size=vocab_size, hidden_size=run.hidden_size, intermediate_size=2 * run.hidden_size,
        num_hidden_layers=run.num_layers, num_attention_heads=heads, num_key_value_heads=1, head_dim=32,
        mamba_d_ssm=2 * run.hidden_size, mamba_n_heads=2 * heads, mamba_d_head=32, mamba_d_state=16, mamba_n_groups=1,
        mamba_d_conv=4, mamba_chunk_size=64, mamba_norm_before_gate=False, mamba_rms_norm=False,
        rope_theta=1e11, tie_word_embeddings=True, max_position_embeddings=max_length, use_cache=False,
        pad_token_id=PAD_ID, bos_token_id=None, eos_token_id=11,
    )  # fmt: skip
    return transformers.FalconH1ForCausalLM(config)


def _open(directory: Path, mixture: dict[str, Any], run: TinyRun) -> tuple[MixtureLoader, list[HeldOut]]:
    components, held_out = [], []
    for entry in mixture["components"]:
        source = TokenSource(directory / entry["directory"], held_out=mixture["held_out"])
        components.append(Component(name=entry["name"], source=source, weight=entry["planned_tokens"]))
        part = _held_out_of(entry["name"], source, run.eval_tokens // len(mixture["components"]))
        if part.documents:
            held_out.append(part)
    if not held_out:
        raise InputError(
            f"{directory}: no held-out document with text at held_out = {mixture['held_out']}; raise held_out in the mixture"
        )
    loader = MixtureLoader(components, sequence_length=mixture["sequence_length"], seed=mixture["seed"])
    return loader, held_out


def _held_out_of(name: str, source: TokenSource, max_tokens: int) -> HeldOut:
    """The first held-out documents of a source, up to `max_tokens` but at least one; those without text are passed over."""
    documents: list[torch.Tensor] = []
    used = num_bytes = 0
    for ordinal, size, bytes_of_text in source.documents(held_out=True):
        if bytes_of_text and (not documents or used + size <= max_tokens):
            documents.append(torch.from_numpy(source.document(ordinal)))
            used, num_bytes = used + size, num_bytes + bytes_of_text
    return HeldOut(name=name, documents=documents, num_bytes=num_bytes)


def _fit(model: torch.nn.Module, loader: MixtureLoader, run: TinyRun) -> list[float]:
    """Train; the mean loss in nats per token of every step. Warm-up, then linear decay to a tenth (WSD's short form)."""
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=run.learning_rate, betas=(0.9, 0.95))
    losses = []
    model.train()
    for step in range(run.steps):
        warm = min(1.0, (step + 1) / max(run.warmup_steps, 1))
        for group in optimizer.param_groups:
            group["lr"] = run.learning_rate * warm * (1.0 - 0.9 * step / run.steps)
        loss = _loss(model, loader.next_batch(run.batch_size))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(round(float(loss.detach()), 6))
    return losses


def _loss(model: torch.nn.Module, batch: Sequence[PackedSequence]) -> torch.Tensor:
    inputs = torch.from_numpy(np.stack([packed.inputs for packed in batch]))
    targets = torch.from_numpy(np.stack([packed.targets for packed in batch]))
    mask = torch.from_numpy(np.stack([packed.loss_mask for packed in batch]))
    positions = torch.from_numpy(np.stack([packed.position_ids for packed in batch]).astype(np.int64))
    logits = model(input_ids=inputs, position_ids=positions).logits
    nats = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return (nats * mask.flatten()).sum() / mask.sum().clamp(min=1)


def _evaluate(model: torch.nn.Module, held_out: Sequence[HeldOut], length: int) -> dict[str, float]:
    """Code length, in bits, of each component's held-out documents: each token once, in windows of `length`."""
    model.eval()
    bits = {}
    for part in held_out:
        vocab_bits = math.log2(model.config.vocab_size)  # type: ignore[union-attr,arg-type,unused-ignore]
        total = vocab_bits * len(part.documents)
        windows = [d[start : start + length + 1] for d in part.documents for start in range(0, len(d) - 1, length)]
        windows.sort(key=len)
        for first in range(0, len(windows), 8):
            total += _nats_of(model, windows[first : first + 8]) / math.log(2)
        bits[part.name] = total
    return bits


@torch.no_grad()
def _nats_of(model: torch.nn.Module, windows: Sequence[torch.Tensor]) -> float:
    """Sum of -log p of all tokens but each window's first. Padding on the right changes nothing before it."""
    padded = torch.nn.utils.rnn.pad_sequence(list(windows), batch_first=True, padding_value=-1)
    inputs, targets = padded[:, :-1].clamp(min=PAD_ID), padded[:, 1:]
    logits = model(input_ids=inputs).logits.float()
    nats = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")
    return float(nats.double().sum())


def _read_mixture(path: Path) -> dict[str, Any]:
    try:
        mixture = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: no mixture here ({error.strerror}); make one with mix") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); mix again") from error
    if not isinstance(mixture, dict) or mixture.get("format") != FORMAT:
        raise InputError(f"{path}: not a mixture of format {FORMAT}; mix again")
    return mixture


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """One thread, deterministic kernels and an own random state inside the block; everything as before after it."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers from warning that its CUDA kernels are absent: the slow path is meant here."""
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
