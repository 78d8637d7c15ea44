"""`eyas build`: run a recipe, a named corpus or a user's file, on the inputs given."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

from pipelines.artifact import Artifact, BuildOptions, Built, artifact_directory, build_all, quote_command
from pipelines.cli import tables
from pipelines.cli.locate import locate
from pipelines.cli.progress import progress_for_terminal
from pipelines.errors import ConfigError
from pipelines.executors import Executor
from pipelines.executors.local import Local
from pipelines.fingerprint import SHORT
from pipelines.recipes import CORPORA, Request, apply_settings, describe
from pipelines.recipes.near_dedup_flags import UNVERIFIED, check_near_dedup, leaves_out_verification, with_guard

LOUD = (
    "WARNING: near dedup without verification drops all but one document of every cluster of candidates, however unlike "
    "they are; elsewhere this has deleted whole sources. The manifest and its reasons say that nothing was verified."
)


def add(subparsers: Any) -> None:
    """Add the parser of `build`."""
    parser = subparsers.add_parser(
        "build",
        help="build a corpus, or a recipe of your own",
        description="Build CORPUS, or the recipe in FILE.py, from the inputs, under ROOT. Running it again resumes.",
        epilog="Example: eyas build web --input 'crawl/*.warc.gz' --root corpus --workers 2",
    )
    parser.add_argument(
        "recipe", metavar="CORPUS|FILE.py", help=f"one of {', '.join(CORPORA)}, or a Python file with recipe(source)"
    )
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="URI",
        help="paths, folders, globs, @list files, s3:// gs:// hf:// URIs",
    )
    parser.add_argument("--root", required=True, help="directory or URI under which artifacts are written")
    parser.add_argument("--name", default="", help="name of the source (default: that of the recipe)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="stage.field=value",
        help="set a field of every stage or maker of that name, or of the extractor (extract.field); may be repeated",
    )
    parser.add_argument(
        "--dropped-text",
        choices=("all", "sample", "none"),
        default="",
        help="texts of dropped documents to store (default: sample, 1%% by hash and at least 100 for each reason)",
    )
    parser.add_argument("--text-field", default="", help="column or key that holds the text (JSONL, Parquet)")
    parser.add_argument(
        "--id-field", default="", help="column, key or WARC header that holds the id; 'none' numbers records by place"
    )
    parser.add_argument(
        "--without-failed-shards",
        action="store_true",
        help="finish without shards that failed three times; the manifest names them",
    )
    parser.add_argument("--check", action="store_true", help="rehash the files of finished shards before trusting them")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")
    _add_near_dedup(parser)
    add_executor(parser)
    parser.set_defaults(run=run)


def _add_near_dedup(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "near dedup", "Its guard stops a build that would lose what nobody meant to lose."
    )
    group.add_argument(
        "--earlier",
        nargs="+",
        default=[],
        metavar="INDEX",
        help="indexes of earlier releases (`index_near`): what is like one of their documents is dropped",
    )
    group.add_argument(
        "--max-removed-share",
        type=float,
        metavar="F",
        help="of a source, language or length bucket of at least 1,000 documents (default: 0.6)",
    )
    group.add_argument("--max-cluster-members", type=int, metavar="N", help="documents of a cluster (default: 100,000)")
    group.add_argument(
        "--max-cluster-share", type=float, metavar="F", help="documents of a cluster, of the corpus (default: 0.01)"
    )
    group.add_argument(
        "--no-guard", action="store_true", help="stop for none of these; the manifest says what would have"
    )
    group.add_argument(
        "--no-verify",
        action="store_true",
        help="drop candidates without comparing them with their keeper: another artifact, marked as not verified",
    )


def add_executor(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how work runs."""
    parser.add_argument("--executor", choices=("local", "ray"), default="local", help="this machine, or a Ray cluster")
    parser.add_argument(
        "--workers", type=int, default=None, help="processes (local, default 1), or tasks in flight (ray)"
    )
    parser.add_argument("--address", default=None, help="Ray cluster to join (default: RAY_ADDRESS, else a local one)")


def executor_of(arguments: argparse.Namespace, *, recipe: str = "") -> Executor:
    """The executor the flags ask for. Ray is imported only where it is asked for."""
    if arguments.workers is not None and arguments.workers < 1:
        raise ConfigError(f"--workers {arguments.workers}: expected a whole number from 1 on")
    if arguments.executor == "local":
        return Local(workers=arguments.workers or 1)
    from pipelines.executors.ray import OnRay

    return OnRay(workers=arguments.workers, address=arguments.address, ship=(recipe,) if recipe.endswith(".py") else ())


def run(arguments: argparse.Namespace) -> int:
    """Build and print what came out."""
    if not arguments.root.strip():
        raise ConfigError("--root is empty; name the directory or URI under which artifacts are written")
    request = Request(
        recipe=arguments.recipe, inputs=tuple(arguments.input), settings=tuple(arguments.set), name=arguments.name,
        text_field=arguments.text_field, id_field=arguments.id_field, dropped_text=arguments.dropped_text,
        earlier=tuple(locate(text).directory for text in arguments.earlier),
    )  # fmt: skip
    artifact = describe(request)
    bounds = _guard_bounds(arguments)
    flags = [f"--{name.replace('_', '-')}" if name != "enabled" else "--no-guard" for name in bounds]
    check_near_dedup(artifact, tuple(flags + ["--no-verify"] * arguments.no_verify))
    artifact = with_guard(artifact, bounds)
    if arguments.no_verify:
        artifact = apply_settings(artifact, (UNVERIFIED,))
        request = replace(request, settings=(*request.settings, UNVERIFIED))
    if leaves_out_verification(artifact):
        tables.note(LOUD)
    options = BuildOptions(
        root=arguments.root,
        executor=executor_of(arguments, recipe=arguments.recipe),
        progress=progress_for_terminal(),
        rehash=arguments.check,
        without_failed_shards=arguments.without_failed_shards,
        resume_command=quote_command(["eyas", *sys.argv[1:]]),
        recipe=request.record(),
    )
    chain = [*_ancestors(artifact), artifact]
    built = build_all(chain, options)
    if arguments.json:
        print(json.dumps(dict(built[-1].manifest), indent=1, sort_keys=True))
    else:
        once = {(item.name, item.fingerprint): item for item in built}
        print_outcome(tuple(once.values()), arguments.root)
    return 0


def _guard_bounds(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of the guard that flags set."""
    names = ("max_removed_share", "max_cluster_members", "max_cluster_share")
    bounds = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    return bounds | ({"enabled": False} if arguments.no_guard else {})


def _ancestors(artifact: Artifact) -> list[Artifact]:
    """All that `artifact` is made of, each once, inputs first."""
    found: dict[int, Artifact] = {}

    def collect(node: Artifact) -> None:
        for parent in node.inputs:
            if isinstance(parent, Artifact) and id(parent) not in found:
                collect(parent)
                found[id(parent)] = parent

    collect(artifact)
    return list(found.values())


def print_outcome(built: tuple[Built, ...], root: str) -> None:
    """One block an artifact: what came in, what was kept, what went and why, and that the sums agree."""
    for item in built:
        counts = item.manifest["counts"]
        # The manifest's own directory: `uri` is where the files lie, another one where shards are missing.
        print(f"\n{item.name}  {item.fingerprint[:SHORT]}  {artifact_directory(root, item.name, item.fingerprint)}")
        for shard, error in sorted(item.manifest.get("missing", {}).items()):
            print(f"  MISSING shard {shard}: {error}")
        if "documents" not in counts:
            continue
        quarantined, dropped = sum(counts.get("quarantined", {}).values()), sum(counts["dropped"].values())
        if "records" in counts and counts["records"] != counts["documents"]:
            print(f"  {counts['records']:,} records = {counts['documents']:,} documents + {quarantined:,} quarantined")
        share = counts["kept"] / max(counts["documents"], 1)
        print(f"  {counts['documents']:,} documents = {counts['kept']:,} kept ({share:.1%}) + {dropped:,} dropped")
        for kind in ("quarantined", "dropped"):
            ranked = sorted(counts.get(kind, {}).items(), key=lambda pair: (-pair[1], pair[0]))
            for reason, number in ranked[:12]:
                print(f"    {number:>9,}  {kind}: {reason}")
            if len(ranked) > 12:
                print(f"    {sum(n for _, n in ranked[12:]):>9,}  {kind}: {len(ranked) - 12} further reasons")
    last = artifact_directory(root, built[-1].name, built[-1].fingerprint)
    print(f"\nLook closer: eyas inspect {quote_command([last])}")
