"""The learning rate of every step: warm up, stay, decay (WSD), ending at an eighth of the peak as Falcon-H1 does.

In: the step and the plan. Out: a rate. Warm-up is linear from peak / warmup_steps; the decay is exponential, so that each
step of it takes the same share off: rate = peak * 8 ** -(steps into the decay / steps of decay).
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import ConfigError

DECAY_BY = 8.0
"""The last step's rate is the peak over this (Falcon-H1's report, arXiv 2507.22448)."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """`steps` in all, of which the first `warmup_steps` rise and the last `decay_steps` fall. ConfigError where they overlap.

    >>> plan = Schedule(peak=1.0, steps=10, warmup_steps=2, decay_steps=3)
    >>> [round(plan.rate(step), 3) for step in range(10)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.25, 0.125]
    """

    peak: float
    steps: int
    warmup_steps: int
    decay_steps: int

    def __post_init__(self) -> None:
        if min(self.warmup_steps, self.decay_steps) < 0 or self.warmup_steps + self.decay_steps > self.steps:
            raise ConfigError(
                f"warmup_steps = {self.warmup_steps} and decay_steps = {self.decay_steps} do not fit into {self.steps} steps"
            )

    def rate(self, step: int) -> float:
        """The rate of `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        into_decay = step + 1 - (self.steps - self.decay_steps)
        if into_decay <= 0:
            return self.peak
        return float(self.peak * DECAY_BY ** -(into_decay / self.decay_steps))
