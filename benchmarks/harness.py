"""Side-by-side measurements of eyas and a peer, and the results file they go to.

Each side is a `Command`: a function, named so that a fresh process can import it, which prepares (imports, models, a
warm-up that compiles) and returns the work as a callable. Both sides run in turn, each time in a new process. What
counts is the CPU time of the work, over the whole process tree and until the process has ended; preparation is
measured apart and printed. The reported value is the median of `runs`.

    ours = Command("benchmarks.heuristics:prepare_ours", {"source": ..., "target": ...}, amount=67.1)
    row = measure("heuristics", peer="datatrove", peer_version="0.10.1", unit="MB/s/core", data="...", ours=..., theirs=...)
    write_results("web", [row])

`amount / CPU seconds` is the value in `unit`, more is better; both sides may work on inputs of different size, never on
different kinds of input or output.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
SHARED = Path(os.environ.get("EYAS_SHARED", REPOSITORY.parent / "shared"))
"""Where the shared data lies; `data/` below it."""

SLOW_PEER_MB, SLOW_PEER_RUNS = 8, 3
"""A peer under 5 MB/s works on a slice of 8 MB, three times."""

console = Console(stderr=True)


@dataclass(frozen=True, kw_only=True)
class Command:
    """`module:function` and its JSON arguments; the function returns the work. `amount` of `unit` x seconds it does.

    `environment` is set on top of the caller's.
    """

    function: str
    arguments: dict[str, Any]
    amount: float
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One process: CPU seconds of the work and of preparing it, peak bytes of its largest process, what it returned."""

    cpu_seconds: float
    prepare_seconds: float
    peak_bytes: int
    returned: Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a results file; `name` and `peer` together are unique. `ratio` above 1 means ours is better."""

    name: str
    peer: str
    peer_version: str
    unit: str
    ours: float
    peer_value: float
    ratio: float
    ours_peak_bytes: int
    peer_peak_bytes: int
    data: str
    runs: int
    commit: str
    date: str
    cpu: str


def run_once(command: Command) -> Run:
    """Run `command` in a fresh process and wait for it and its children. Raises RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        call = [
            sys.executable,
            "-m",
            "benchmarks.harness",
            command.function,
            json.dumps(command.arguments),
            str(report),
        ]
        with (Path(folder) / "output").open("wb+") as output:
            environment = {**os.environ, **command.environment}
            process = subprocess.Popen(call, cwd=REPOSITORY, stdout=output, stderr=output, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode or not report.exists():
                output.seek(0)
                tail = output.read().decode(errors="replace")[-4000:]
                raise RuntimeError(f"{command.function} exited with {process.returncode}:\n{tail}")
        said = json.loads(report.read_text())
    return Run(
        cpu_seconds=usage.ru_utime + usage.ru_stime - said["prepare_seconds"],
        prepare_seconds=said["prepare_seconds"],
        peak_bytes=said["peak_bytes"],
        returned=said["returned"],
    )


def measure(
    name: str,
    *,
    peer: str,
    peer_version: str,
    unit: str,
    data: str,
    ours: Command,
    theirs: Command,
    runs: int = 5,
    peer_runs: int | None = None,
) -> Row:
    """Run both sides in turn and make a row of the medians; `peer_runs` may be fewer, for slow peers."""
    peer_runs = runs if peer_runs is None else peer_runs
    our_runs, their_runs = [], []
    run_once(ours)  # fills the compile cache of this machine; printed below as "first"
    for number in range(max(runs, peer_runs)):
        if number < runs:
            our_runs.append(run_once(ours))
        if number < peer_runs:
            their_runs.append(run_once(theirs))
    our_value = ours.amount / statistics.median(run.cpu_seconds for run in our_runs)
    their_value = theirs.amount / statistics.median(run.cpu_seconds for run in their_runs)
    for side, made in (("ours", our_runs), (peer, their_runs)):
        seconds = ", ".join(f"{run.cpu_seconds:.2f}" for run in made)
        prepared = statistics.median(run.prepare_seconds for run in made)
        console.print(f"{name}: {side}: CPU s {seconds}; preparing {prepared:.2f}; returned {made[-1].returned}")
    return Row(
        name=name,
        peer=peer,
        peer_version=peer_version,
        unit=unit,
        ours=round(our_value, 3),
        peer_value=round(their_value, 4),
        ratio=round(our_value / their_value, 2),
        ours_peak_bytes=max(run.peak_bytes for run in our_runs),
        peer_peak_bytes=max(run.peak_bytes for run in their_runs),
        data=data,
        runs=runs,
        commit=_commit(),
        date=datetime.now(UTC).date().isoformat(),
        cpu=_cpu(),
    )


def write_results(results: str, rows: Sequence[Row]) -> Path:
    """Merge `rows` into `benchmarks/results/<results>.json` by (name, peer) and print them; returns the file."""
    path = RESULTS / f"{results}.json"
    merged = {(row["name"], row["peer"]): row for row in (json.loads(path.read_text()) if path.exists() else [])}
    merged.update({(row.name, row.peer): asdict(row) for row in rows})
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps([merged[key] for key in sorted(merged)], indent=2, ensure_ascii=False)
    path.write_text(text + "\n")
    table = Table(title=f"{results}: {_cpu()}")
    for column in ("name", "peer", "unit", "ours", "peer's", "ratio", "our peak MB", "peer's peak MB"):
        table.add_column(column, justify="left" if column in ("name", "peer", "unit") else "right")
    for row in rows:
        peaks = (f"{peak / 1e6:,.0f}" for peak in (row.ours_peak_bytes, row.peer_peak_bytes))
        peer = f"{row.peer} {row.peer_version}"
        table.add_row(row.name, peer, row.unit, f"{row.ours:.4g}", f"{row.peer_value:.4g}", f"{row.ratio:.1f}", *peaks)
    Console(width=130).print(table)
    return path


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def peak_bytes() -> int:
    """Highest resident memory of this process (VmHWM) or of a child that has ended, whichever is larger."""
    status = Path("/proc/self/status")
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    if not status.exists():
        return max(children, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    own = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return max(children, int(own.split()[1]) * 1024)


def _commit() -> str:
    said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return said.stdout.strip() if said.returncode == 0 else ""


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{model} x {os.cpu_count()}"


def _child(function: str, arguments: str, report: str) -> None:
    module, name = function.split(":")
    prepare: Callable[..., Callable[[], Any]] = getattr(importlib.import_module(module), name)
    work = prepare(**json.loads(arguments))
    prepared = cpu_seconds()
    returned = work()
    said = {"prepare_seconds": prepared, "peak_bytes": peak_bytes(), "returned": returned}
    Path(report).write_text(json.dumps(said))


if __name__ == "__main__":
    _child(*sys.argv[1:])
