"""`python -m benchmarks [NAME]`: all benchmarks, or those of one module or results file, against their peers."""

from __future__ import annotations

import argparse
import importlib
import importlib.util

from benchmarks.harness import console, write_results

MODULES = ("heuristics", "reading", "extraction", "language", "chain", "dedup", "tokenizer")
"""Each has `RESULTS`, the results file its rows go to, and `rows()`, which measures and yields them."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "only", nargs="?", default="", help=f"one of {', '.join(MODULES)}, or a results file such as web"
    )
    only = parser.parse_args().only
    ran = 0
    for name in MODULES:
        if importlib.util.find_spec(f"benchmarks.{name}") is None:
            console.print(f"benchmarks.{name} is not there: skipped")
            continue
        module = importlib.import_module(f"benchmarks.{name}")
        if only in ("", name, module.RESULTS):
            for row in module.rows():
                write_results(module.RESULTS, [row])
                ran += 1
    if not ran:
        parser.error(f"no benchmark is called {only!r}")


if __name__ == "__main__":
    main()
