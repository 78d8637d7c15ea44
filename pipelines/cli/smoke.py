"""`eyas smoke`: short runs of the hybrid model on a mixture, and a verdict against another one, with an interval.

stdout: the verdict, a line for all documents, each domain and each language, and each run's health; or JSON. Exit code 1
where a run is not healthy. "Not decided" is an answer, not a failure.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines import storage
from pipelines.artifact import Artifact, BuildOptions, Existing, build_all, quote_command
from pipelines.cli.build import add_executor, executor_of
from pipelines.cli.locate import Located, locate
from pipelines.cli.progress import progress_for_terminal
from pipelines.cli.tables import printable
from pipelines.errors import ConfigError, InputError

SIZES = ("tiny", "90m", "0.5b", "1.5b", "1.5b-deep", "3b", "7b", "34b")
ARTIFACT = "smoke-verdict"


def add(subparsers: Any) -> None:
    """Add the parser of `smoke`."""
    parser = subparsers.add_parser(
        "smoke",
        help="train a small model on a mixture; is it better than another mixture?",
        description="Train short runs of the full hybrid model on MIXTURE, and say whether it is healthy and, with --against, "
        "whether it models held-out text better than the other mixture: better, worse, or not decided yet.",
        epilog="Example: eyas smoke corpus/mixture-new --against corpus/mixture --seeds 3 --max-seeds 12",
    )
    parser.add_argument("mixture", metavar="MIXTURE", help="a mixture artifact: its directory, or ROOT/NAME")
    parser.add_argument("--against", metavar="MIXTURE", help="the mixture to compare with")
    parser.add_argument(
        "--held-out",
        nargs="+",
        default=[],
        metavar="ARTIFACT",
        help="token artifacts to judge by, trained on by neither (default: what both mixtures hold out)",
    )
    parser.add_argument("--root", help="where the result is written (default: the root of MIXTURE)")
    parser.add_argument("--size", choices=SIZES, default="tiny", help="size of the model (default: tiny)")
    parser.add_argument("--steps", type=int, default=60, help="steps a run (default: 60)")
    parser.add_argument("--batch-size", type=int, help="sequences a step (default: by size)")
    parser.add_argument("--learning-rate", type=float, help="peak of the schedule (default: by size)")
    parser.add_argument("--seeds", type=int, help="runs a mixture (default: 3 with --against, else 1)")
    parser.add_argument("--max-seeds", type=int, help="go on up to so many while nothing is decided (default: --seeds)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first seed (default: 0)")
    parser.add_argument(
        "--level", type=float, default=0.05, help="chance of a false decision between equal mixtures (default: 0.05)"
    )
    parser.add_argument(
        "--eval-tokens", type=int, default=32_768, help="held-out tokens to judge by, at most (default: 32768)"
    )
    parser.add_argument(
        "--backend", choices=("auto", "triton", "torch"), default="auto", help="kernels (default: auto)"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N (default: cuda where there is one)")
    parser.add_argument("--json", action="store_true", help="print verdict.json")
    parser.add_argument("--html", metavar="FILE", help="copy the page to FILE")
    add_executor(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, judge, print."""
    # torch takes seconds to import, and no other command needs it
    from model_smoke.training import TrainOptions
    from pipelines.recipes.smoke import SmokeVerdict

    mixtures = [_mixture(text) for text in (arguments.mixture, arguments.against) if text is not None]
    given = [locate(text) for text in arguments.held_out]
    seeds = arguments.seeds if arguments.seeds is not None else 3 if arguments.against else 1
    maker = SmokeVerdict(
        options=TrainOptions(
            size=arguments.size,
            steps=arguments.steps,
            seed=arguments.seed,
            batch_size=arguments.batch_size,
            learning_rate=arguments.learning_rate,
        ),
        num_mixtures=len(mixtures),
        seeds=seeds,
        max_seeds=arguments.max_seeds if arguments.max_seeds is not None else seeds,
        level=arguments.level,
        eval_tokens=arguments.eval_tokens,
        backend=arguments.backend,
        device=_device(arguments),
    )
    root = arguments.root if arguments.root is not None else mixtures[0].root
    if not str(root).strip() or not storage.is_local(root):
        raise ConfigError(f"--root {str(root)!r}: a smoke run maps its files; name a folder that every worker mounts")
    inputs = tuple(Existing(uri=located.directory) for located in (*mixtures, *given))
    options = BuildOptions(
        root=root,
        executor=executor_of(arguments),
        progress=progress_for_terminal(),
        resume_command=quote_command(["eyas", *sys.argv[1:]]),
    )
    (built,) = build_all((Artifact(name=ARTIFACT, maker=maker, inputs=inputs),), options)
    record = json.loads(storage.read_bytes(storage.join(built.uri, "verdict.json")))
    page = Path(storage.path_of(storage.join(built.uri, "report.html")))
    if arguments.html:
        shutil.copyfile(page, arguments.html)
    if arguments.json:
        print(json.dumps(record, indent=1, sort_keys=True))
    else:
        _show(record, built.manifest.get("notes", {}), page)
    return 0 if record["healthy"] else 1


def _mixture(text: str) -> Located:
    located = locate(text)
    if not storage.exists(storage.join(located.built.uri, "mixture.json")):
        raise InputError(f"{text}: no mixture.json in it, so it is no mixture; make one with mix")
    return located


def _device(arguments: argparse.Namespace) -> str:
    """`auto` made definite, since what a GPU computes differs in the last digits; checked here unless workers are elsewhere."""
    import torch

    from model_smoke.backend import choose_backend

    device = str(arguments.device)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if arguments.executor == "local":
        choose_backend(arguments.backend, device)
    return device


def _show(record: Mapping[str, Any], notes: Mapping[str, Any], page: Path) -> None:
    verdict = record["verdict"]
    if verdict is not None:
        print(printable(verdict["sentence"]))
        print(
            f"{record['held_out']['documents']} held-out documents, {verdict['seeds']['a']} and {verdict['seeds']['b']} runs, "
            f"intervals at {1 - verdict['level']:.0%}"
        )
        table = Table()
        for heading in ("", "BPB of A", "BPB of B", "B - A", "+-", "p", "documents", "A is"):
            table.add_column(heading, justify="left" if heading in ("", "A is") else "right")
        for row in [verdict["overall"], *verdict["domains"], *verdict["languages"]]:
            table.add_row(*_cells(row))
        Console(width=110).print(table)
        for text in verdict["limits"]:
            print(f"Mind: {text}")
    for name, problems in sorted(record["unhealthy_runs"].items()):
        print(f"UNHEALTHY {name}: {'; '.join(problems)}")
    if record["healthy"]:
        print(f"{len(record['runs'])} runs, all healthy")
    for name, speed in sorted(notes.get("speed", {}).items()):
        mfu = "" if speed["mfu"] is None else f", MFU {speed['mfu']:.1%}"
        print(f"  {name}: {speed['seconds']:.1f} s, {speed['tokens_per_second']:,.0f} tokens/s{mfu}")
    print(f"Page: {page}")


def _cells(row: Mapping[str, Any]) -> list[str]:
    known = row["low"] is not None and row["high"] is not None
    more = f", about {min(row['more_seeds'], 99)} more seeds" if row["more_seeds"] else ""
    return [
        printable(row["name"]),
        f"{row['bits_per_byte_a']:.4f}",
        f"{row['bits_per_byte_b']:.4f}",
        f"{row['difference']:+.4f}",
        f"{(row['high'] - row['low']) / 2:.4f}" if known else "",
        f"{row['p_adjusted']:.3g}" if row["p_adjusted"] is not None else "",
        f"{row['documents']:,}",
        row["outcome"] + more,
    ]
