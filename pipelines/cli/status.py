"""`eyas status`: how far every build under a root is. `eyas list`: what is finished there, and what was made of what.

A pass says in `work/plan/<pass>.json` which shards it has; those with `counts/<shard>.json` are done. So progress can be
seen from another shell or machine that reaches the root, and nothing has to be running to see it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs

from pipelines import manifest as manifests
from pipelines import storage
from pipelines.cli import tables
from pipelines.cli.locate import absolute, finished_under, open_located, when
from pipelines.errors import ConfigError, EyasError, InputError
from pipelines.passes import FINAL

RUNNING_SECONDS = 120.0
"""A build whose files changed within this time is called running; nothing else tells, since it may run elsewhere."""


def add(subparsers: Any) -> None:
    """Add the parsers of `status` and `list`."""
    parser = subparsers.add_parser(
        "status",
        help="how far every build under ROOT is",
        description="For every artifact under ROOT: finished, running or interrupted; passes, shards and documents so far.",
        epilog="Example: eyas status corpus --watch",
    )
    parser.add_argument("root", metavar="ROOT", help="directory or URI given to `eyas build --root`")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=2.0,
        default=None,
        metavar="SECONDS",
        help="refresh (every 2 s) until all is finished",
    )
    tables.add_json(parser)
    parser.set_defaults(run=run)
    parser = subparsers.add_parser(
        "list",
        help="the finished artifacts under ROOT",
        description="Name, fingerprint, kept documents, bytes and time of every finished artifact, each under what was made of it.",
        epilog="Example: eyas list corpus",
    )
    parser.add_argument("root", metavar="ROOT", help="directory or URI given to `eyas build --root`")
    tables.add_json(parser)
    parser.set_defaults(run=run_list)


def run(arguments: argparse.Namespace) -> int:
    """Print the state once, or again and again."""
    root = _root(arguments.root)
    if arguments.watch is not None and not 0.1 <= arguments.watch <= 86400:
        raise ConfigError(f"--watch {arguments.watch}: expected seconds between 0.1 and 86400")
    while True:
        states = states_under(root, now=time.time())
        if arguments.json:
            tables.print_json({"root": root, "artifacts": states})
        else:
            show(states)
        if arguments.watch is None or not any(state["state"] == "running" for state in states):
            return 0
        sys.stdout.flush()
        time.sleep(arguments.watch)
        if sys.stdout.isatty() and not arguments.json:
            tables.console().clear()


def _root(text: str) -> str:
    root = absolute(text)
    if not storage.is_directory(root):
        raise InputError(f"{text}: no such folder; give the --root of a build")
    return root


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A file of an artifact as a listing shows it: its path below the artifact, and seconds since the epoch, or None."""

    path: str
    changed: float | None


def states_under(root: str, *, now: float) -> list[dict[str, Any]]:
    """The state of every artifact under `root` as plain JSON, in order of name and fingerprint. `now` is time.time()."""
    states = []
    for folder in storage.list_directories(root):
        for directory in storage.list_directories(folder):
            seen = _files_of(directory)
            if any(item.path == manifests.NAME or item.path.startswith(("work/plan/", "counts/")) for item in seen):
                states.append(_state(directory, seen, now))
    return states


def _files_of(directory: str) -> list[_Seen]:
    """Every file, those being written too: a temporary that grows is how a long shard shows that it lives."""
    fs, path = storage.resolve(directory)
    found = fs.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
    files = [info for info in found if info.type == pafs.FileType.File]
    start = len(path.rstrip("/")) + 1
    return [_Seen(path=info.path[start:], changed=info.mtime_ns / 1e9 if info.mtime_ns else None) for info in files]


def _state(directory: str, seen: list[_Seen], now: float) -> dict[str, Any]:
    name, short = storage.basename(storage.parent(directory)), storage.basename(directory)
    state: dict[str, Any] = {"name": name, "fingerprint": short, "directory": directory}
    if any(item.path == manifests.NAME for item in seen):
        try:
            counts = open_located(directory).manifest["counts"]
        except EyasError as error:
            return state | {"state": "damaged", "error": str(error), "passes": [], "documents": 0}
        return state | {"state": "finished", "finished": when(directory), "passes": [], "documents": counts.get("documents", 0),
                        "kept": counts.get("kept")}  # fmt: skip
    changed = max((item.changed for item in seen if item.changed), default=None)
    idle = None if changed is None else max(now - changed, 0.0)
    passes = _passes_of(directory, seen)
    return state | {
        "state": "interrupted" if idle is None or idle > RUNNING_SECONDS else "running",
        "idle_seconds": None if idle is None else round(idle, 1),
        "passes": passes,
        "documents": max((entry["documents"] for entry in passes), default=0),
    }


def _passes_of(directory: str, seen: list[_Seen]) -> list[dict[str, Any]]:
    """Passes in the order they began: shards done of those planned, documents so far, documents a second."""
    plans = sorted((item for item in seen if _is_plan(item.path)), key=lambda item: (item.changed or 0.0, item.path))
    passes = []
    for plan in plans:
        name = plan.path.removeprefix("work/plan/").removesuffix(".json")
        below = "counts/" if name == FINAL else f"work/{name}/counts/"
        planned = set(_read_json(directory, plan.path).get("shards", []))
        done = [
            i for i in seen if i.path.startswith(below) and i.path.removeprefix(below).removesuffix(".json") in planned
        ]
        documents = [_documents_in(directory, item.path) for item in done]
        passes.append(
            {
                "pass": name,
                "shards": len(planned),
                "done": len(done),
                "documents": sum(documents),
                "documents_per_second": _rate([item.changed for item in done], documents),
            }
        )
    return passes


def _is_plan(path: str) -> bool:
    return (
        path.startswith("work/plan/")
        and path.endswith(".json")
        and not storage.basename(path).startswith(storage.TEMPORARY_PREFIX)
    )


def _documents_in(directory: str, path: str) -> int:
    counts = _read_json(directory, path).get("counts", {})
    number = counts.get("documents", 0) if isinstance(counts, Mapping) else 0
    return number if isinstance(number, int) else 0


def _read_json(directory: str, path: str) -> Mapping[str, Any]:
    """A small file of a build that goes on meanwhile: gone or unreadable is as good as empty."""
    try:
        data = json.loads(storage.read_bytes(storage.join(directory, *path.split("/"))))
    except (EyasError, ValueError):
        return {}
    return data if isinstance(data, Mapping) else {}


def _rate(times: Iterable[float | None], documents: list[int]) -> float | None:
    """Documents a second between the first and the last commit; None before there are two apart."""
    ends = sorted((moment, number) for moment, number in zip(times, documents, strict=True) if moment)
    if len(ends) < 2 or ends[-1][0] - ends[0][0] < 0.001:
        return None
    return round(sum(number for _, number in ends[1:]) / (ends[-1][0] - ends[0][0]), 1)


def show(states: list[dict[str, Any]]) -> None:
    """One line an artifact, and one for each pass of those under way."""
    if not states:
        tables.print_line("nothing has been built here yet")
    rows: list[list[Any]] = []
    for state in states:
        idle = state.get("idle_seconds")
        last = state.get("finished") or (f"last change {_ago(idle)}" if idle is not None else state.get("error", ""))
        rows.append(
            [
                f"{state['name']}/{state['fingerprint']}",
                state["state"],
                "",
                state["documents"] or None,
                state.get("kept"),
                last,
            ]
        )
        for entry in state["passes"]:
            rate = entry["documents_per_second"]
            speed = f"{rate:,.0f} documents/s" if rate else ""
            rows.append(
                [
                    f"  {entry['pass']}",
                    "",
                    f"{entry['done']:,}/{entry['shards']:,}",
                    entry["documents"] or None,
                    None,
                    speed,
                ]
            )
    tables.print_table(["artifact", "state", "shards", "documents", "kept", ""], rows)
    if any(state["state"] == "interrupted" for state in states):
        tables.note(f"interrupted: nothing was written for {RUNNING_SECONDS:.0f} s; run the same build again to resume")


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def run_list(arguments: argparse.Namespace) -> int:
    """Print what is finished."""
    root = _root(arguments.root)
    found = artifacts_under(root)
    if arguments.json:
        tables.print_json({"root": root, "artifacts": found})
        return 0
    if not found:
        tables.print_line("nothing is finished here")
    tables.print_table(["artifact", "fingerprint", "kept", "bytes", "finished (UTC)", "made by"], _tree_rows(found))
    return 0


def artifacts_under(root: str) -> list[dict[str, Any]]:
    """Every finished artifact as plain JSON, in order of name, newest first."""
    found = []
    for folder in storage.list_directories(root):
        for item in finished_under(folder):
            manifest = item.manifest
            found.append(
                {
                    "name": item.built.name,
                    "fingerprint": item.built.fingerprint,
                    "directory": item.directory,
                    "maker": item.maker,
                    "kept": manifest["counts"].get("kept"),
                    "bytes": sum(int(entry["bytes"]) for entry in manifest["files"]),
                    "finished": when(item.directory),
                    "missing_shards": len(manifest.get("missing", {})),
                    "inputs": [dict(described) for described in manifest["inputs"]],
                }
            )
    return found


def _tree_rows(found: list[dict[str, Any]]) -> list[list[Any]]:
    """A tree of rows: what nothing else was made of comes first, its inputs below it. Shown twice, shortened the second time."""
    by_fingerprint = {item["fingerprint"]: item for item in found}
    used = {described["fingerprint"] for item in found for described in item["inputs"]}
    rows: list[list[Any]] = []
    seen: set[str] = set()

    def visit(item: dict[str, Any], lead: str, branch: str) -> None:
        again = item["fingerprint"] in seen
        short = item["fingerprint"][:12]
        missing = f" ({item['missing_shards']} shards missing)" if item["missing_shards"] else ""
        values = (
            ["", "", "", "(above)"]
            if again
            else [item["kept"], tables.size(item["bytes"]), item["finished"], item["maker"]]
        )
        rows.append([f"{lead}{branch}{item['name']}{missing}", short, *values])
        seen.add(item["fingerprint"])
        if again:
            return
        below = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        for i, described in enumerate(item["inputs"]):
            sign = "└─ " if i == len(item["inputs"]) - 1 else "├─ "
            parent = by_fingerprint.get(described["fingerprint"])
            if parent is not None:
                visit(parent, below, sign)
            else:
                totals = described.get("source")
                what = f"source of {totals.get('files', 0):,} files" if totals else "not under this root"
                size = tables.size(totals.get("bytes")) if totals else ""
                rows.append(
                    [f"{below}{sign}{described['name']}", str(described["fingerprint"])[:12], "", size, "", what]
                )

    for item in found:
        if item["fingerprint"] not in used:
            visit(item, "", "")
    return rows
