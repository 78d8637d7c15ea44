"""`eyas verify`: that an artifact is what its manifest says, and that its recipe makes it again.

1. Integrity: every file is there with its size, sha256, rows and Arrow content; `root_hash`, fingerprint, counts and the
   conservation equations follow from what is there.
2. Re-execution: the recipe is called again; if the code it runs has changed, the fingerprint differs, and what differs is
   said. Otherwise some shards are made again in a temporary folder and compared file by file. That takes a maker whose
   first pass is its last, as `process` is; for others the integrity is checked, and the report says that this is all.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

from pipelines.cli import tables
from pipelines.cli.integrity import Check, check_integrity
from pipelines.cli.locate import add_artifact, locate
from pipelines.cli.reexecution import check_again
from pipelines.errors import ConfigError


def add(subparsers: Any) -> None:
    """Add the parser of `verify`."""
    parser = subparsers.add_parser(
        "verify",
        help="check files against the manifest, and make some shards again",
        description="Check sizes, hashes, content, counts and root_hash, then make some shards again. Exit 1 if anything differs.",
        epilog="Example: eyas verify corpus/web-clean --shards 3",
    )
    add_artifact(parser)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "--shards", type=int, default=2, metavar="N", help="how many shards to make again (default 2; 0: none)"
    )
    amount.add_argument("--all", action="store_true", help="make every shard again")
    parser.add_argument(
        "--input", nargs="+", default=[], metavar="URI", help="where the input files are now, if they were moved"
    )
    tables.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check and print; 1 where a check fails."""
    if arguments.shards < 0:
        raise ConfigError(f"--shards {arguments.shards}: expected 0 or more")
    located = locate(arguments.artifact)
    checks = check_integrity(located)
    number = None if arguments.all else arguments.shards
    if number != 0:
        with tempfile.TemporaryDirectory(prefix="eyas-verify-") as folder:
            checks += check_again(located, number=number, inputs=tuple(arguments.input), folder=folder)
    failed = [check for check in checks if check.passed is False]
    if arguments.json:
        tables.print_json(
            {"artifact": located.label, "passed": not failed, "checks": [vars(check) for check in checks]}
        )
    else:
        for check in checks:
            show(check)
        tables.print_line(f"{located.label}: " + (f"{len(failed)} checks FAILED" if failed else "verified"))
    return 1 if failed else 0


def show(check: Check) -> None:
    """One line a check, and what is wrong below it."""
    mark = {True: "ok    ", False: "FAILED", None: "--    "}[check.passed]
    tables.print_line(f"{mark}  {check.name}: {check.finding}")
    for problem in check.problems:
        tables.print_line(f"          {problem}")
