"""One training run of the hybrid model on a mixture: deterministic, resumable to the bit, watched while it goes.

In: an open mixture, options, a backend and the documents to judge by. Out: a `RunRecord`. AdamW under a WSD schedule, the
gradient of a step summed over micro batches of whole sequences and clipped by its norm. The loss is the mean over all
targets of a step, so micro batches change rounding and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model_smoke import checkpoint as checkpoints
from model_smoke.backend import Backend, choose_backend
from model_smoke.config import FalconH1Config, size_config
from model_smoke.evaluation import bits_per_byte, document_bits, read_tokens
from model_smoke.falcon_h1 import Z_LOSS, FalconH1
from model_smoke.health import Watch, health_of
from model_smoke.held_out import HeldOutDocument
from model_smoke.losses import IGNORED
from model_smoke.optimizer import make_optimizer, set_rate
from model_smoke.record import Progress, RunRecord, Speed
from model_smoke.schedule import Schedule
from model_smoke.sources import OpenMixture
from pipelines.errors import ConfigError
from pipelines.tokens import MixtureLoader, PackedSequence

DIALS: Mapping[str, tuple[int, float]] = {
    "tiny": (4, 8e-3), "90m": (64, 3e-3), "0.5b": (64, 2e-3), "1.5b": (128, 1e-3), "1.5b-deep": (128, 1e-3),
    "3b": (256, 8e-4), "7b": (256, 6e-4), "34b": (512, 3e-4),
}  # fmt: skip
"""Sequences a step and peak learning rate of each size; only tiny's were tuned."""
PEAK_FLOPS: Mapping[str, float] = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Dense bfloat16 matrix products a second, by a part of the device's name: what MFU is measured against."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train. `size` sets batch and rate where they are None. ConfigError for what cannot be.

    `warmup_share` and `decay_share` are parts of `steps`. `tokens_at_once` bounds a micro batch, which is at least one
    sequence. `max_gradient_norm` clips.
    """

    size: str = "tiny"
    steps: int = 60
    seed: int = 0
    batch_size: int | None = None
    learning_rate: float | None = None
    warmup_share: float = 0.1
    decay_share: float = 0.5
    weight_decay: float = 0.1
    max_gradient_norm: float = 1.0
    z_loss: float = Z_LOSS
    tokens_at_once: int = 16_384

    def __post_init__(self) -> None:
        size_config(self.size)
        for name in ("steps", "batch_size", "tokens_at_once"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} = {value}: give at least 1")
        for name in ("warmup_share", "decay_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: give a share of the steps in [0, 1]")
        for name in ("weight_decay", "z_loss"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} = {getattr(self, name)}: give a finite number of at least 0")
        for name in ("learning_rate", "max_gradient_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name} = {value}: give a finite number above 0")
        if self.seed < 0:
            raise ConfigError(f"seed = {self.seed}: give 0 or more")
        self.schedule()

    @property
    def sequences(self) -> int:
        """Sequences a step."""
        return self.batch_size or DIALS[self.size][0]

    def schedule(self) -> Schedule:
        """The learning rate of every step."""
        return Schedule(
            peak=self.learning_rate or DIALS[self.size][1],
            steps=self.steps,
            warmup_steps=int(self.warmup_share * self.steps),
            decay_steps=int(self.decay_share * self.steps),
        )


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Where a run leaves what it needs to go on, and after how many steps each time."""

    path: Path
    every: int = 100


OnStep = Callable[[Progress], None]


def train(
    mixture: OpenMixture,
    options: TrainOptions,
    held_out: Sequence[HeldOutDocument],
    *,
    backend: Backend | None = None,
    config: FalconH1Config | None = None,
    resume: Resume | None = None,
    on_step: OnStep | None = None,
) -> tuple[RunRecord, Speed]:
    """Train, and evaluate before and after. `config` None is that of `options.size` with the mixture's vocabulary.

    On the CPU one thread is used and the same files, options and library versions give the same numbers; torch's global
    state is put back. With `resume`, a run that was interrupted goes on and ends with the numbers of one that was not; the
    file is removed at the end. Raises InputError for damaged files.
    """
    backend = backend or choose_backend("auto", "cpu")
    config = config or size_config(options.size, vocab_size=mixture.vocab_size)
    if config.vocab_size < mixture.vocab_size:
        raise ConfigError(f"a model of {config.vocab_size} tokens cannot read {mixture.vocab_size}")
    with _deterministic(options.seed, backend.device):
        model = FalconH1(config, device=backend.device, backend=backend.name, seed=options.seed)
        run = _Run(mixture, options, config, model, backend, held_out)
        speed = run.fit(resume, on_step)
        record = run.record()
    if resume is not None:
        resume.path.unlink(missing_ok=True)
    return record, speed


class _Run:
    """The state of one run: model, optimizer, loader, what is watched."""

    def __init__(
        self,
        mixture: OpenMixture,
        options: TrainOptions,
        config: FalconH1Config,
        model: FalconH1,
        backend: Backend,
        held_out: Sequence[HeldOutDocument],
    ) -> None:
        self.mixture, self.options, self.config, self.model, self.backend = mixture, options, config, model, backend
        self.held_out = held_out
        self.tokens = read_tokens(held_out, mixture.tokenizer)
        self.optimizer = make_optimizer(model, weight_decay=options.weight_decay)
        self.schedule = options.schedule()
        self.loader = mixture.loader(options.seed)
        self.watch = Watch(
            vocab_size=config.vocab_size,
            documents={part.name: part.source.num_documents for part in mixture.components},
        )
        self.bits_before = np.zeros(0)

    def fit(self, resume: Resume | None, on_step: OnStep | None) -> Speed:
        """All steps, from the checkpoint on where there is one."""
        if resume is not None and resume.path.exists():
            self._load(resume.path)
        else:
            self.bits_before = self._evaluate()
        length, first = self.mixture.sequence_length, len(self.watch.losses)
        began = time.monotonic()
        speed = Speed(seconds=0.0, tokens_per_second=0.0, mfu=None)
        for step in range(first, self.options.steps):
            rate = self.schedule.rate(step)
            loss, norm, found = self._step(rate)
            seconds = time.monotonic() - began
            speed = self._speed(seconds, (step + 1 - first) * self.options.sequences * length)
            if resume is not None and (step + 1) % resume.every == 0 and step + 1 < self.options.steps:
                self._save(resume.path)
            if on_step is not None:
                per_byte = loss / np.log(2) / max(self.mixture.bytes_per_token, 1e-9)
                progress = Progress(
                    step=step + 1, steps=self.options.steps, loss=loss, bits_per_byte=float(per_byte),
                    gradient_norm=norm, learning_rate=rate, tokens_per_second=speed.tokens_per_second,
                    mfu=speed.mfu, spikes=found,
                )  # fmt: skip
                on_step(progress)
        return speed

    def _step(self, rate: float) -> tuple[float, float, int]:
        """One step of the optimizer: its loss in nats per target, the gradient's norm before clipping, spikes found."""
        batch = self.loader.next_batch(self.options.sequences)
        for packed in batch:
            self.watch.read(packed.tokens, self.mixture.components[packed.component].name, packed.spans)
        num_targets = max(1, int(sum(packed.loss_mask.sum() for packed in batch)))
        self.optimizer.zero_grad(set_to_none=True)
        nats = torch.zeros((), dtype=torch.float64, device=self.backend.device)
        at_once = max(1, self.options.tokens_at_once // self.mixture.sequence_length)
        for start in range(0, len(batch), at_once):
            tokens, document, targets = to_tensors(batch[start : start + at_once], self.backend.device)
            losses = self.model.loss(tokens, document, targets, z_loss=self.options.z_loss)
            (losses.total / num_targets).backward()
            nats += losses.nats.sum(dtype=torch.float64)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_gradient_norm))
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        loss = float(nats) / num_targets
        found = self.watch.step(loss, norm, [span for packed in batch for span in packed.spans])
        return loss, norm, len(found)

    def record(self) -> RunRecord:
        """What came out; evaluates."""
        after = self._evaluate()
        before = self.bits_before
        figures = {
            "before": bits_per_byte(before, self.held_out),
            "after": bits_per_byte(after, self.held_out),
            "documents": len(self.held_out),
            "bytes": sum(document.num_bytes for document in self.held_out),
        }
        components = self.mixture.components
        return RunRecord(
            options=asdict(self.options) | {"batch_size": self.options.sequences, "learning_rate": self.schedule.peak},
            model={
                "architecture": "Falcon-H1",
                "num_parameters": self.config.num_parameters(),
                "vocab_size": self.config.vocab_size,
                "hidden_size": self.config.hidden_size,
                "num_layers": self.config.num_layers,
                "tied": self.config.tied,
                "published_multipliers": self.config.multipliers.published,
            },
            backend=self.backend.as_json() | {"compute_dtype": str(self.model.compute_dtype).removeprefix("torch.")},
            sequence_length=self.mixture.sequence_length,
            losses=list(self.watch.losses),
            gradient_norms=list(self.watch.gradient_norms),
            learning_rates=[self.schedule.rate(step) for step in range(self.options.steps)],
            trained_tokens=self.options.steps * self.options.sequences * self.mixture.sequence_length,
            bytes_per_token=self.mixture.bytes_per_token,
            epochs=self.loader.epochs(),
            health=health_of(
                self.watch,
                weights={part.name: part.weight for part in components},
                untrained_rows=self._untrained_rows(),
                before=figures["before"]["all"],  # type: ignore[index]
                after=figures["after"]["all"],  # type: ignore[index]
            ),
            evaluation=figures,
            deterministic=self.backend.device == "cpu",
            bits_before=before,
            bits_after=after,
        )

    def _untrained_rows(self) -> int:
        """Embedding rows that never got a gradient: Adam's second moment of them is exactly 0."""
        state = self.optimizer.state.get(self.model.model.embed_tokens.weight, {})
        return int((state["exp_avg_sq"].amax(dim=1) == 0).sum()) if "exp_avg_sq" in state else self.config.vocab_size

    def _evaluate(self) -> npt.NDArray[np.float64]:
        bits: npt.NDArray[np.float64] = document_bits(
            self.model,
            self.tokens,
            length=self.mixture.sequence_length,
            vocab_size=self.mixture.vocab_size,
            device=self.backend.device,
        )
        return bits

    def _speed(self, seconds: float, tokens: int) -> Speed:
        rate = tokens / seconds if seconds > 0 else 0.0
        peak = next((flops for part, flops in PEAK_FLOPS.items() if part in self.backend.device_name), None)
        mfu = None if peak is None else rate * self.config.flops_per_token(self.mixture.sequence_length) / peak
        return Speed(seconds=seconds, tokens_per_second=rate, mfu=mfu)

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to be this run's."""
        held_out = [document.key for document in self.held_out]
        config = {key: value for key, value in asdict(self.config).items()}
        return {"options": asdict(self.options), "config": config, "held_out": held_out}

    def _save(self, path: Path) -> None:
        plain, arrays = self.watch.state()
        plain |= {"loader": self.loader.state()} | self._identity()
        checkpoints.save(
            path, self.model, self.optimizer, plain=plain, arrays=arrays | {"bits_before": self.bits_before}
        )

    def _load(self, path: Path) -> None:
        plain, arrays = checkpoints.load(path, self.model, self.optimizer, expected=self._identity())
        self.loader = MixtureLoader.from_state(self.mixture.components, plain["loader"])
        self.watch.restore(plain, arrays)
        self.bits_before = arrays["bits_before"]


def to_tensors(
    batch: Sequence[PackedSequence], device: str | torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs int64, document numbers int32 and targets int64 of packed sequences, each [batch, length].

    A target that opens another document is IGNORED: nothing before it could tell.
    """
    inputs = torch.from_numpy(np.stack([packed.inputs for packed in batch]))
    document = torch.from_numpy(np.stack([packed.seq_idx for packed in batch]))
    targets = torch.from_numpy(
        np.stack([np.where(packed.loss_mask, packed.targets, IGNORED) for packed in batch])
    )  # fmt: skip
    return inputs.to(device), document.to(device), targets.to(device)


@contextmanager
def _deterministic(seed: int, device: str) -> Iterator[None]:
    """An own random state inside the block and, on the CPU, one thread and deterministic kernels; as before after it."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        if device == "cpu":
            torch.set_num_threads(1)
            torch.use_deterministic_algorithms(True)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)
