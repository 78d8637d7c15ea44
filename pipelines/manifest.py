"""`manifest.json`: the record of a finished build. Its presence means done.

Format 1 holds: fingerprint and the payload it hashes, name, recipe and arguments, inputs, code revision, package
versions, rules, counts, every output file (rows, bytes, sha256, content), `root_hash`, `deterministic`. A manifest of
format 1 stays readable for ever.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from pipelines import storage
from pipelines.errors import InputError
from pipelines.shards import Committed

FORMAT = 1
NAME = "manifest.json"
PACKAGES = (
    "eyas",
    "pyarrow",
    "numpy",
    "numba",
    "ray",
    "torch",
    "transformers",
    "tokenizers",
    "resiliparse",
    "fastwarc",
)
OUTSIDE_ROOT_HASH = ("ids/",)
"""Kinds that are indexes over other outputs; their content follows from these."""


def root_hash(shards: Iterable[Committed], extra_files: Mapping[str, str]) -> str:
    """sha256 over the Arrow content of every output, by path below the artifact; `extra_files` are path -> sha256."""
    lines = [
        f"{file.path}\0{file.content}\n"
        for shard in shards
        for file in shard.files
        if not file.path.startswith(OUTSIDE_ROOT_HASH)
    ]
    lines += [f"{path}\0{digest}\n" for path, digest in extra_files.items()]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def file_entries(shards: Iterable[Committed]) -> list[dict[str, Any]]:
    """Every output file of the shards, sorted by path, as the manifest lists them."""
    entries = [asdict(file) | {"shard": shard.shard} for shard in shards for file in shard.files]
    return sorted(entries, key=lambda entry: str(entry["path"]))


def read(directory: str) -> dict[str, Any] | None:
    """The manifest in `directory`, or None where the build is not finished.

    Raises InputError for one that cannot be parsed or whose format is newer than this program.
    """
    uri = storage.join(directory, NAME)
    if not storage.exists(uri):
        return None
    try:
        manifest: dict[str, Any] = json.loads(storage.read_bytes(uri))
    except ValueError as error:
        raise InputError(
            f"{uri}: not valid JSON ({error}); delete it and build again: finished shards are reused"
        ) from error
    if manifest.get("format", 0) > FORMAT:
        raise InputError(
            f"{uri}: format {manifest['format']} is newer than {FORMAT}, which this eyas reads; upgrade eyas"
        )
    return manifest


def files_stand(manifest: Mapping[str, Any], directory: str) -> bool:
    """Whether every output file is there with its size. Asked of a finished artifact before it is trusted."""
    sizes = storage.sizes_under(directory)
    return all(sizes.get(entry["path"]) == entry["bytes"] for entry in manifest["files"])


def write(directory: str, manifest: Mapping[str, Any]) -> None:
    """Put the manifest: the last thing a build does."""
    storage.write_bytes(storage.join(directory, NAME), (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())


def environment() -> dict[str, Any]:
    """What ran: package versions, Python, code revision. Recorded, never hashed."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "packages": versions, "revision": _revision()}


def _revision() -> str | None:
    here = Path(__file__).resolve().parent.parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
