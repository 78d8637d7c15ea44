"""One peer's scan beside ours, on the same inputs in the same process: it must compute the same, then both are timed.

The 0.5B's shape, 32,768 tokens, bfloat16, one document a row (fla packs documents another way). A peer's time includes whatever it
needs around its kernels to be the same function of the same inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.parity import differentiate, relative
from benchmarks.gpu.peers import PEERS, stand_in, unpacked
from benchmarks.gpu.rows import CHECK, FIGURE, GOAL, Row
from benchmarks.gpu.shapes import Options, scan_inputs
from benchmarks.gpu.timing import UNIT, time_scan
from model_smoke.config import SIZES
from model_smoke.kernels import ssd_scan

GOALS = {"mamba_ssm-256": 1.5, "mamba_ssm-128": 1.5, "torch-compile": 5.0}
"""How many times as fast ours is to be, each way."""
SAME = 0.05
"""Relative; bfloat16 gives about 5e-3. A peer further away computes something else, and its time would mean nothing."""


def peer(options: Options, name: str, *, warm: bool = False) -> Iterator[Row]:
    """ns per token of a peer and how many times as fast ours is. `warm` only runs it once each way, to fill compile caches.

    A peer that computes something else is a check that fails, and is not timed. Raises ImportError where it is not there.
    """
    size, batch, length = ("tiny", 2, 256) if options.small else ("0.5b", 8, 4096)
    inputs = scan_inputs(SIZES[size], batch, length, dtype=torch.bfloat16, device=options.device)
    own = partial(ssd_scan, backend=options.backend)
    package, make = PEERS[name]
    with unpacked(options.wheels):
        version = stand_in(package) if package else torch.__version__
        scan = make()
        theirs = differentiate(lambda given: scan(**given), inputs)
        if warm:
            return
        ours = differentiate(lambda given: own(**given), inputs)
        apart = {each: relative(theirs[each], ours[each]) for each in ("y", "dx", "dB", "dC", "ddt")}
        # NaN is the largest of all
        worst = max(apart.values(), key=lambda value: math.inf if math.isnan(value) else value)
        same = Row(what=f"{name} against ours, y and gradients", value=worst, unit="relative", kind=CHECK, bound=SAME)
        yield same
        if not same.holds:
            return
        runs = 2 if options.small else 20
        our_time, their_time = (time_scan(each, inputs, options.device, runs=runs) for each in (own, scan))
    tokens = batch * length
    for direction, seconds in their_time.items():
        more = {"version": version, "ours": our_time[direction] / tokens * 1e9, "apart": apart}
        yield Row(what=f"{name}, ssd {direction}", value=seconds / tokens * 1e9, unit=UNIT, more=more)
        goal = GOALS.get(name)
        yield Row(
            what=f"ours against {name}, ssd {direction}", value=seconds / our_time[direction], unit="times as fast",
            kind=GOAL if goal else FIGURE, bound=goal, more_is_better=True,
        )  # fmt: skip
