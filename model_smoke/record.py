"""The record of one run: what was trained, on what, how it went, and the bits of each held-out document. Plain data.

Nothing in it depends on the time or the machine's speed; that is `Speed`, kept apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import InputError

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """`losses` in nats per token, one a step, as `gradient_norms` and `learning_rates`. `bits_before` and `bits_after` are
    float64 [held-out documents], in the order of those handed in; they go to a file of their own.
    """

    options: Mapping[str, Any]
    model: Mapping[str, Any]
    backend: Mapping[str, Any]
    sequence_length: int
    losses: Sequence[float]
    gradient_norms: Sequence[float]
    learning_rates: Sequence[float]
    trained_tokens: int
    bytes_per_token: float
    epochs: Mapping[str, float]
    health: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    deterministic: bool
    bits_before: npt.NDArray[np.float64] = field(repr=False)
    bits_after: npt.NDArray[np.float64] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """Everything but the documents' bits."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return {"format": FORMAT} | plain

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], *, bits_before: npt.NDArray[np.float64], bits_after: npt.NDArray[np.float64]
    ) -> RunRecord:
        """Back from `as_json`. InputError for another format."""
        if data.get("format") != FORMAT:
            raise InputError(f"run record of format {data.get('format')!r}, this version of eyas reads {FORMAT}")
        return cls(**{name: data[name] for name in _PLAIN}, bits_before=bits_before, bits_after=bits_after)


_PLAIN = (
    "options", "model", "backend", "sequence_length", "losses", "gradient_norms", "learning_rates", "trained_tokens",
    "bytes_per_token", "epochs", "health", "evaluation", "deterministic",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A step as somebody who waits sees it. `bits_per_byte` of the training batch by the mixture's mean bytes per token, so
    an estimate; `mfu` None where the device's peak is not known.
    """

    step: int
    steps: int
    loss: float
    bits_per_byte: float
    gradient_norm: float
    learning_rate: float
    tokens_per_second: float
    mfu: float | None
    spikes: int = 0

    def line(self) -> str:
        """`step 40/60  loss 5.931  2.713 BPB  3,412 tokens/s`."""
        mfu = "" if self.mfu is None else f"  MFU {self.mfu:.1%}"
        spikes = f"  {self.spikes} spikes" if self.spikes else ""
        return (
            f"step {self.step}/{self.steps}  loss {self.loss:.3f}  {self.bits_per_byte:.3f} BPB  "
            f"{self.tokens_per_second:,.0f} tokens/s{mfu}{spikes}"
        )


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a run went: seconds of its steps (those before an interruption not counted), tokens/s over them, MFU."""

    seconds: float
    tokens_per_second: float
    mfu: float | None

    def as_json(self) -> dict[str, Any]:
        """For logs and notes."""
        return {
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "mfu": self.mfu,
        }
