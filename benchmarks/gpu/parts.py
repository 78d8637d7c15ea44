"""What each command runs, as plain data: no torch here, so a part that cannot even be imported costs only itself.

Parts of stage 1 run beside each other: they check, or fill compile caches. Those of stage 2 run one at a time: they time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PARITY_SIZES = ("90m", "0.5b", "1.5b", "34b")
PEERS = ("mamba_ssm-256", "torch-compile", "fla", "mamba_ssm-128", "torch-eager", "own-cpu-path")


@dataclass(frozen=True, kw_only=True)
class Part:
    """`function` of `module` called with the options and `arguments`, in a process of its own, for at most `cap_s` seconds.

    An `optional` part is a peer's: where it cannot be imported it is skipped, and whatever befalls it fails nothing of ours.
    """

    name: str
    module: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    stage: int = 2
    cap_s: float = 90.0
    optional: bool = False


MACHINE = Part(name="machine", module="benchmarks.gpu.timing", function="machine", stage=0, cap_s=60)
"""Runs first; where it fails, nothing else is tried."""


def own_parts(*, small: bool, triton: bool) -> list[Part]:
    """`make gpu`. Small ones at the size tiny, for a trial; launches are Triton's."""
    sizes = ("tiny",) if small else PARITY_SIZES
    stepped = ("tiny",) if small else ("0.5b", "90m")
    return [
        *(
            Part(
                name=f"parity-{size}-{dtype}", module="benchmarks.gpu.parity", function="parity",
                arguments={"size": size, "dtype": dtype}, stage=1, cap_s=140,
            )
            for size in reversed(sizes)
            for dtype in ("fp32", "bf16")
        ),
        *(
            Part(
                name=f"determinism-{size}", module="benchmarks.gpu.determinism", function="determinism",
                arguments={"size": size}, stage=1, cap_s=140,
            )
            for size in sizes
        ),
        Part(name="verdict", module="benchmarks.gpu.planted", function="verdict", stage=1, cap_s=140),
        Part(name="operations", module="benchmarks.gpu.timing", function="operations", cap_s=80),
        *(
            Part(name=f"step-{size}", module="benchmarks.gpu.steps", function="steps", arguments={"size": size}, cap_s=90)
            for size in stepped
        ),
        *([Part(name="launches", module="benchmarks.gpu.timing", function="launches", cap_s=60)] if triton else []),
    ]  # fmt: skip


def peer_parts(*, small: bool) -> list[Part]:
    """`make gpu-compare`: the peers all at once to fill their compile caches, then one after another on the clock."""

    def part(name: str, *, warm: bool) -> Part:
        return Part(
            name=f"{'warm-' * warm}{name}", module="benchmarks.gpu.compare", function="peer",
            arguments={"name": name, "warm": warm}, stage=1 if warm else 2, cap_s=330 if warm else 90, optional=True,
        )  # fmt: skip

    compiled = Part(
        name="step-compiled", module="benchmarks.gpu.steps", function="steps",
        arguments={"size": "tiny" if small else "0.5b", "compiled": True}, cap_s=150,
    )  # fmt: skip
    return [*(part(name, warm=True) for name in PEERS), *(part(name, warm=False) for name in PEERS), compiled]
