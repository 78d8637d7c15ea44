"""The `eyas` command. Flags say where and how, recipes say what.

Data goes to stdout, everything else to stderr. Exit code 0 for success, 2 for bad input, 1 for a build that failed,
130 for an interrupt. An error is one message: the value, the place, the cure.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from pipelines.errors import EyasError
from pipelines.executors import worker_environment

COMMANDS = ("demo", "build", "inspect", "sample", "explain", "whatif", "verify", "status", "smoke", "tokenizer")
"""Modules of this package; each has `add(subparsers)` and sets `run`. `status` adds `list` too."""


def main(words: Sequence[str] | None = None) -> int:
    """Parse and run one command; returns its exit code."""
    for name in ("NUMBA_CACHE_DIR", "TOKENIZERS_PARALLELISM"):
        os.environ.setdefault(name, worker_environment()[name])
    arguments = _parser().parse_args(words)
    try:
        return int(arguments.run(arguments))
    except EyasError as error:
        print(f"eyas: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("eyas: interrupted; finished shards are kept, the same command resumes", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eyas",
        description="From raw crawls, code and math to deduplicated, measured, tokenized training mixtures.",
        epilog="`eyas COMMAND --help` tells more. On a cluster: `ray job submit --working-dir . -- python -m pipelines build ...`",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"pipelines.cli.{name}").add(subparsers)
    return parser
