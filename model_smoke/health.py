"""Is this run sound? Spikes, non-finite values, dead tokens, what was read against what was planned, repeated documents.

In: what the training loop sees, step by step, and counts at its end. Out: plain JSON with `problems` (the run cannot be
trusted) and `remarks` (look here). A spike is judged against the steps before it, so it is found while its batch is at hand
and names that batch's documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from model_smoke.distributions import chi_square_tail
from pipelines.tokens import Span

WINDOW = 50
MIN_HISTORY = 20
MAX_Z = 8.0
MAX_NAMED = 20
"""Spikes kept with their documents, and token ids listed: a record stays small however bad the run."""
CONSISTENT_MAD = 1.4826
"""Median absolute deviation times this is the standard deviation of a normal distribution."""
MIN_RELATIVE_SPREAD = 0.01
MIN_LOG_SPREAD = 0.1
"""A curve that hardly moves has spikes of its own rounding otherwise: at least 1% of a loss, 10% of a gradient norm, count as
spread."""
MIN_CHI_SQUARE_LEVEL = 1e-3


@dataclass(frozen=True, kw_only=True)
class Spike:
    """A step whose `signal` lies `z` robust deviations above the steps before. `documents` as {source, document}."""

    step: int
    signal: str
    value: float
    z: float
    documents: tuple[dict[str, Any], ...]


def robust_z(value: float, history: Sequence[float], *, min_spread: float = 0.0) -> float:
    """(value - median) / (1.4826 MAD) of the finite values of the last WINDOW of `history`, brought to the present along their
    trend, with floors under the spread (`min_spread` and 1% of the level); 0 where there are fewer than MIN_HISTORY.

    The trend is the median slope between the first and the second half: a loss that falls steadily has a wide spread and hides
    its spikes otherwise.

    >>> round(robust_z(3.0, 2 * [1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1.0, 1.1, 0.9]), 1)
    27.0
    """
    recent = np.array(history[-WINDOW:], np.float64)
    kept = np.flatnonzero(np.isfinite(recent))
    if kept.size < MIN_HISTORY or not math.isfinite(value):
        return 0.0
    half = kept.size // 2
    early, late = kept[:half], kept[kept.size - half :]
    slope = float(np.median((recent[late] - recent[early]) / (late - early)))
    now = recent[kept] + slope * (recent.size - kept)
    middle = float(np.median(now))
    spread = CONSISTENT_MAD * float(np.median(np.abs(now - middle)))
    return (value - middle) / max(spread, MIN_RELATIVE_SPREAD * abs(middle), min_spread, 1e-12)


@dataclass(kw_only=True)
class Watch:
    """Gathers what health needs while a run goes on; `state` and `restore` carry it over an interruption."""

    vocab_size: int
    documents: Mapping[str, int]
    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    spikes: list[Spike] = field(default_factory=list)
    num_spikes: int = 0
    begun: int = 0

    def __post_init__(self) -> None:
        self.token_counts = np.zeros(self.vocab_size, np.int64)
        self.seen = {name: np.zeros(number, np.bool_) for name, number in sorted(self.documents.items())}
        self.sequences = dict.fromkeys(sorted(self.documents), 0)

    def read(self, tokens: npt.NDArray[np.int64], component: str, spans: Sequence[Span]) -> None:
        """Count one packed sequence: its tokens [L + 1] and the documents that begin in it."""
        self.token_counts += np.bincount(tokens[:-1], minlength=self.vocab_size)
        self.sequences[component] += 1
        length = len(tokens) - 1
        for span in spans:
            if span.start == 0 and length > 0:
                self.begun += 1
                self.seen[span.source][span.document] = True
            length -= span.stop - span.start

    def step(self, loss: float, gradient_norm: float, spans: Sequence[Span]) -> tuple[Spike, ...]:
        """Judge the step that gave these; returns its spikes."""
        found = []
        # A gradient norm varies by factors, a loss by differences.
        logs = [_log(each) for each in self.gradient_norms[-WINDOW:]]
        judged = (
            ("loss", loss, robust_z(loss, self.losses)),
            ("gradient_norm", gradient_norm, robust_z(_log(gradient_norm), logs, min_spread=MIN_LOG_SPREAD)),
        )
        for signal, value, z in judged:
            if z > MAX_Z:
                found.append(
                    Spike(
                        step=len(self.losses) + 1, signal=signal, value=value, z=round(z, 2), documents=named(spans)
                    )
                )  # fmt: skip
        self.losses.append(loss)
        self.gradient_norms.append(gradient_norm)
        self.num_spikes += len(found)
        self.spikes.extend(found[: max(0, MAX_NAMED - len(self.spikes))])
        return tuple(found)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """JSON and arrays of everything gathered."""
        plain = {
            "losses": self.losses, "gradient_norms": self.gradient_norms, "spikes": [asdict(s) for s in self.spikes],
            "num_spikes": self.num_spikes, "begun": self.begun, "sequences": self.sequences,
        }  # fmt: skip
        return plain, {"token_counts": self.token_counts} | {f"seen/{name}": bits for name, bits in self.seen.items()}

    def restore(self, plain: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from `state`."""
        self.losses, self.gradient_norms = list(plain["losses"]), list(plain["gradient_norms"])
        self.spikes = [Spike(**{**entry, "documents": tuple(entry["documents"])}) for entry in plain["spikes"]]
        self.num_spikes, self.begun = int(plain["num_spikes"]), int(plain["begun"])
        self.sequences = {name: int(number) for name, number in plain["sequences"].items()}
        self.token_counts = arrays["token_counts"]
        self.seen = {name: arrays[f"seen/{name}"] for name in self.seen}


def _log(value: float) -> float:
    return math.log(max(value, 1e-30)) if math.isfinite(value) else math.nan


def named(spans: Sequence[Span]) -> tuple[dict[str, Any], ...]:
    """The documents of some spans, each once, in order: {"source": component, "document": ordinal}."""
    found = dict.fromkeys((span.source, span.document) for span in spans)
    return tuple({"source": source, "document": document} for source, document in found)


def mixture_fit(sequences: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, Any]:
    """Sequences read against planned shares by Pearson's chi-square, whose `p` is the chance of as bad a fit at random."""
    total, weight = sum(sequences.values()), sum(weights.values())
    planned = {name: weights[name] / weight if weight else 0.0 for name in sorted(weights)}
    expected = {name: share * total for name, share in planned.items()}
    # every sequence goes to the largest deficit: where a component expects less than one, reading it once is no misfit
    value = sum(
        (sequences[name] - number) ** 2 / number
        for name, number in expected.items()
        if number and abs(sequences[name] - number) >= 1
    )
    unplanned = sum(sequences[name] for name, number in expected.items() if not number)
    degrees = max(1, sum(1 for share in planned.values() if share) - 1)
    return {
        "planned": planned,
        "realized": {name: sequences[name] / total if total else 0.0 for name in sorted(sequences)},
        "chi_square": value,
        "p": 0.0 if unplanned else chi_square_tail(value, degrees),
    }


def health_of(
    watch: Watch, *, weights: Mapping[str, float], untrained_rows: int, before: float, after: float
) -> dict[str, Any]:
    """The verdict on the run itself. `before` and `after` are bits per byte of held-out documents."""
    non_finite = [
        step
        for step, pair in enumerate(zip(watch.losses, watch.gradient_norms, strict=True), 1)
        if not all(map(math.isfinite, pair))
    ]
    never_seen = np.flatnonzero(watch.token_counts == 0)
    fit = mixture_fit(watch.sequences, weights)
    unique = sum(int(bits.sum()) for bits in watch.seen.values())
    problems = []
    if non_finite:
        problems.append(f"loss or gradient norm not finite in {len(non_finite)} steps, first in step {non_finite[0]}")
    if not math.isfinite(after):
        problems.append("bits per byte of held-out documents are not finite after training")
    elif not after < before:
        problems.append(f"held-out bits per byte did not fall: {before:.4f} before, {after:.4f} after")
    if fit["p"] < MIN_CHI_SQUARE_LEVEL:
        problems.append(f"what was read is not what was planned: chi-square {fit['chi_square']:.1f}, p {fit['p']:.2g}")
    remarks = []
    if watch.num_spikes:
        remarks.append(
            f"{watch.num_spikes} spikes; the first in step {watch.spikes[0].step} ({watch.spikes[0].signal})"
        )
    if watch.begun and unique / watch.begun < 0.5:
        remarks.append(
            f"documents were read {watch.begun / unique:.1f} times on average: the mixture is small for this run"
        )
    return {
        "healthy": not problems,
        "problems": problems,
        "remarks": remarks,
        "non_finite_steps": non_finite[:MAX_NAMED],
        "num_spikes": watch.num_spikes,
        "spikes": [asdict(spike) | {"documents": list(spike.documents)} for spike in watch.spikes],
        "dead_tokens": {
            "never_seen": int(never_seen.size),
            "never_seen_share": never_seen.size / max(1, watch.vocab_size),
            "first": never_seen[:MAX_NAMED].tolist(),
            "untrained_rows": untrained_rows,
        },
        "mixture": fit,
        "documents": {
            "begun": watch.begun,
            "unique": unique,
            "unique_share": unique / watch.begun if watch.begun else 1.0,
        },
    }
