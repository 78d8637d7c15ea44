"""`python -m benchmarks.gpu.run [--compare]`: run the parts, keep what each one found, print a table. No torch in this process.

The results are one JSON file in $OUT, or in ./gpu-results, written anew after every part: a run that is cut off leaves what it had.
Exits 0 where every check held and every part of ours ran to its end, 1 otherwise, and 2 where the device cannot be used at all.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import MACHINE, Part, own_parts, peer_parts
from benchmarks.gpu.report import table
from benchmarks.gpu.rows import CHECK, Row

FORMAT = 1
REPOSITORY = Path(__file__).resolve().parents[2]
BUDGET_S = {"gpu": 290.0, "gpu-compare": 570.0}
LEAST_S = 10.0
"""A part with less time left than this is not started."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`status`: done, failed, timed out, or skipped; `reason` where it is not done. `log`: the end of what it printed."""

    part: str
    status: str
    seconds: float
    reason: str = ""
    rows: tuple[Row, ...] = ()
    optional: bool = False
    log: str = field(default="", repr=False)

    def as_json(self) -> dict[str, Any]:
        """Rows in their own form."""
        return {**asdict(self), "rows": [row.as_json() for row in self.rows]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit code."""
    given = _parse(arguments)
    command = "gpu-compare" if given.compare else "gpu"
    triton = given.backend == "triton"
    parts = peer_parts(small=given.small) if given.compare else own_parts(small=given.small, triton=triton)
    if given.only:
        unknown = set(given.only) - {part.name for part in parts}
        if unknown:
            print(f"no part {sorted(unknown)}; there are {', '.join(part.name for part in parts)}", file=sys.stderr)
            return 2
        parts = [part for part in parts if part.name in given.only]
    options = {"device": given.device, "backend": given.backend, "small": given.small, "wheels": given.wheels}
    began = time.monotonic()
    ends = began + (given.budget or BUDGET_S[command])
    results = Path(os.environ.get("OUT") or REPOSITORY / "gpu-results") / f"{command}.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []

    def keep(outcome: Outcome) -> None:
        outcomes.append(outcome)
        said = f"{outcome.part}: {outcome.status} in {outcome.seconds:.0f} s"
        print(said + (f": {outcome.reason}" if outcome.reason else ""), file=sys.stderr, flush=True)
        results.write_text(json.dumps(summary(command, options, outcomes, time.monotonic() - began), indent=1) + "\n")

    keep(run_part(MACHINE, options, ends))
    if outcomes[0].status != "done":
        print(f"{command}: nothing else was tried: {outcomes[0].reason}", file=sys.stderr)
        return 2
    first = [part for part in parts if part.stage == 1]
    with ThreadPoolExecutor(max_workers=1 if given.small else max(1, min(10, os.cpu_count() or 1))) as pool:
        for finished in as_completed([pool.submit(run_part, part, options, ends) for part in first]):
            keep(finished.result())
    for part in parts:
        if part.stage == 2:
            keep(run_part(part, options, ends))
    print(table(command, outcomes, time.monotonic() - began))
    print(f"results: {results}")
    return 0 if all_well(outcomes) else 1


def run_part(part: Part, options: dict[str, Any], ends: float) -> Outcome:
    """Run one part in a process of its own until it ends, its cap, or `ends` (by time.monotonic), whichever is first."""
    began = time.monotonic()
    cap = min(part.cap_s, ends - began)
    if ends - began < LEAST_S:
        return Outcome(part=part.name, status="timed out", seconds=0.0, reason="no time left in this run's budget")
    call = {"module": part.module, "function": part.function, "arguments": part.arguments, "options": options}
    # what a checked part must not leave to chance; timed parts run as users do
    extra = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if part.stage == 1 else {}
    with tempfile.TemporaryDirectory() as folder:
        rows, log = Path(folder) / "rows.jsonl", Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.child", str(rows), json.dumps(call)],
                cwd=REPOSITORY, stdout=output, stderr=output, env={**os.environ, **extra}, start_new_session=True,
            )  # fmt: skip
            try:
                code: int | None = process.wait(timeout=cap)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with what it started: compilers
                process.wait()
                code = None
        lines = [json.loads(line) for line in _whole_lines(rows)]
        said = log.read_bytes()[-3000:].decode(errors="replace")
    seconds = time.monotonic() - began
    found = tuple(Row.from_json(line) for line in lines if "end" not in line)
    end = next((line for line in lines if "end" in line), None)
    if code is None:
        status, reason = "timed out", f"stopped after {cap:.0f} s"
    elif end is None:
        status, reason = "failed", f"ended with code {code} and no last word; see its log"
    elif end["end"] == "done":
        status, reason = "done", ""
    else:
        status, reason = "skipped" if part.optional and end["end"] == "missing" else "failed", end["reason"]
    return Outcome(
        part=part.name, status=status, seconds=seconds, reason=reason, rows=found, optional=part.optional,
        log="" if status == "done" else said,
    )  # fmt: skip


def summary(command: str, options: dict[str, Any], outcomes: Iterable[Outcome], seconds: float) -> dict[str, Any]:
    """The results file: `failed` names checks that do not hold and parts that did not run, `missed` the goals."""
    outcomes = list(outcomes)
    return {
        "format": FORMAT,
        "command": command,
        "options": {**options, "wheels": bool(options["wheels"])},
        "commit": _commit(),
        "seconds": round(seconds, 1),
        "ok": all_well(outcomes),
        "failed": [f"{each.part}: {each.status}: {each.reason}" for each in outcomes if _went_wrong(each)]
        + [row.what for each in outcomes for row in each.rows if row.kind == CHECK and row.holds is False],
        "missed": [row.what for each in outcomes for row in each.rows if row.kind != CHECK and row.holds is False],
        "peers_not_measured": {
            each.part: f"{each.status}: {each.reason}" for each in outcomes if each.optional and each.status != "done"
        },
        "parts": [each.as_json() for each in outcomes],
    }


def all_well(outcomes: Iterable[Outcome]) -> bool:
    """Whether no part went wrong and no check failed."""
    return not any(
        _went_wrong(each) or any(row.kind == CHECK and row.holds is False for row in each.rows) for each in outcomes
    )


def _went_wrong(outcome: Outcome) -> bool:
    return outcome.status != "done" and not outcome.optional


def _whole_lines(path: Path) -> list[str]:
    """Lines that were written to their end; a process that was stopped may leave half of one."""
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _commit() -> str:
    try:
        said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.run", description=__doc__.splitlines()[0])
    parser.add_argument("--compare", action="store_true", help="the peers instead of our own parts")
    parser.add_argument("--wheels", default="", help="folder of the peers' wheels and source archives")
    parser.add_argument("--only", nargs="*", metavar="PART", help="these parts only")
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:N, or cpu with --small for a trial")
    parser.add_argument("--backend", default="auto", choices=("auto", "triton", "torch"))
    parser.add_argument("--small", action="store_true", help="tiny shapes: a trial of the scripts, no figures")
    parser.add_argument("--budget", type=float, help="seconds for everything (default: 290, with --compare 570)")
    given = parser.parse_args(arguments)
    if given.backend == "auto":
        given.backend = "torch" if given.device == "cpu" else "triton"
    if given.device == "cpu" and not given.small:
        parser.error("--device cpu is a trial of the scripts: give --small, too")
    if given.wheels and not Path(given.wheels).is_dir():
        parser.error(f"--wheels {given.wheels}: no such folder; see docs/gpu.md")
    given.wheels = str(Path(given.wheels).resolve()) if given.wheels else ""
    return given


if __name__ == "__main__":
    sys.exit(main())
