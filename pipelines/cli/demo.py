"""`eyas demo`: everything, small, on the embedded samples, with a report to look at."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines import storage
from pipelines.artifact import BuildOptions, Built, build_all, quote_command
from pipelines.cli.build import add_executor, executor_of
from pipelines.cli.progress import progress_for_terminal
from pipelines.errors import ConfigError

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def add(subparsers: Any) -> None:
    """Add the parser of `demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="the whole line, small, on the embedded samples",
        description="Build five small corpora, a tokenizer, a mixture, and train a tiny model; ends with a report.",
        epilog="Example: eyas demo --root demo",
    )
    parser.add_argument("--root", default="demo", help="directory under which artifacts are written (default: demo)")
    parser.add_argument(
        "--samples", type=Path, default=SAMPLES, help="folder of the samples (default: that of the checkout)"
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    add_executor(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build the line and write the report."""
    # These bring torch and transformers along, which no other command needs.
    from pipelines.recipes.demo import demo_line, prepare
    from pipelines.recipes.line_report import report_of

    root = str(arguments.root)
    if not root.strip() or not storage.is_local(root):
        raise ConfigError(f"--root {root!r}: the demo maps its files into memory; name a folder of this machine")
    root = storage.path_of(root)
    storage.check_writable(root)
    prepared = Path(root) / "demo-input"
    prepare(arguments.samples, prepared)
    line = demo_line(arguments.samples, prepared)
    options = BuildOptions(
        root=root, executor=executor_of(arguments), progress=progress_for_terminal(),
        resume_command=quote_command(["eyas", "demo", "--root", root]),
    )  # fmt: skip
    built: list[Built] = []
    seconds: dict[str, float] = {}
    for artifact in line.in_order():
        began = time.monotonic()
        request = line.request_of(artifact)
        built.extend(build_all((artifact,), replace(options, recipe=request.record() if request else {})))
        seconds[artifact.name] = time.monotonic() - began
    report = storage.join(root, "report.html")
    storage.write_bytes(report, report_of(built, title="eyas demo", seconds=seconds).encode())
    smoke = json.loads(storage.read_bytes(storage.join(built[-1].uri, "smoke.json")))
    if arguments.json:
        print(json.dumps({"artifacts": [_row(item) for item in built], "smoke": smoke, "report": report}, indent=1))
    else:
        _print_table(built, seconds, smoke)
        print(f"\nReport: {Path(report).resolve()}")
    if not smoke.get("healthy", False):
        print(
            "eyas: the tiny model did not learn from this mixture; look at the loss curve in the report",
            file=sys.stderr,
        )
        return 1
    return 0


def _row(built: Built) -> dict[str, Any]:
    counts = built.manifest["counts"]
    quarantined = sum(counts.get("quarantined", {}).values())
    return {
        "name": built.name,
        "fingerprint": built.fingerprint,
        "root_hash": built.manifest["root_hash"],
        "records": counts.get("records", counts.get("documents")),
        "quarantined": quarantined,
        "documents": counts.get("documents"),
        "kept": counts.get("kept"),
        "dropped": sum(counts.get("dropped", {}).values()) if "documents" in counts else None,
        "kept_bytes": counts.get("kept_bytes"),
        "tokens": counts.get("tokens"),
    }


def _print_table(built: list[Built], seconds: dict[str, float], smoke: dict[str, Any]) -> None:
    table = Table(title="eyas demo", title_justify="left")
    table.add_column("artifact")
    for heading in ("records", "quarantined", "documents", "kept", "dropped", "kept bytes", "tokens", "seconds"):
        table.add_column(heading, justify="right")
    for item in built:
        row = _row(item)
        figures = [
            row[key] for key in ("records", "quarantined", "documents", "kept", "dropped", "kept_bytes", "tokens")
        ]
        cells = ["" if figure is None else f"{figure:,}" for figure in figures]
        table.add_row(item.name, *cells, f"{seconds[item.name]:.1f}")
    Console(width=120).print(table)
    before, after = smoke["bits_per_byte"]["before"], smoke["bits_per_byte"]["after"]
    print("records = documents + quarantined, documents = kept + dropped: both hold for every row above.")
    print(f"A tiny Falcon-H1 read the mixture: {before:.3f} -> {after:.3f} bits per byte on held-out documents.")
