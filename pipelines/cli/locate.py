"""From what a person types to an artifact, and from an artifact to those it was built on.

ARTIFACT is the directory `<root>/<name>/<fingerprint12>`, its `manifest.json`, or `<root>/<name>` where exactly one
finished artifact lies. Artifacts it was built on are found by the fingerprints in its manifest, under the same root.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines import manifest as manifests
from pipelines import storage
from pipelines.artifact import Built, artifact_directory, open_artifact
from pipelines.errors import InputError
from pipelines.fingerprint import SHORT
from pipelines.shards import PartShard

REQUIRED = ("name", "fingerprint", "payload", "counts", "files", "inputs")


@dataclass(frozen=True, kw_only=True)
class Located:
    """A finished artifact and where it lies. `directory` holds the manifest, `built.uri` the files."""

    built: Built
    directory: str
    root: str

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest as it was read."""
        return self.built.manifest

    @property
    def label(self) -> str:
        """`name/fingerprint12`."""
        return f"{self.built.name}/{self.built.fingerprint[:SHORT]}"

    @property
    def maker(self) -> str:
        """The class name of what made it: `Process`, `ExactDedup`, ..."""
        maker = self.manifest["payload"].get("maker")
        return str(maker.get("kind", "")) if isinstance(maker, Mapping) else ""

    def parts(self, kind: str) -> tuple[PartShard, ...]:
        """Its Parquet files of `kind`; () where it has none."""
        return self.built.parts(kind)

    def files(self, kind: str, suffix: str) -> tuple[PartShard, ...]:
        """Its other files `<kind>/<shard><suffix>`."""
        entries = [f for f in self.manifest["files"] if f["path"].startswith(f"{kind}/") and f["path"].endswith(suffix)]
        return tuple(
            PartShard(name=f["shard"], uri=storage.join(self.built.uri, *f["path"].split("/"))) for f in entries
        )


@dataclass(frozen=True, kw_only=True)
class Chain:
    """An artifact with all it was built on, ancestors first. `absent` names inputs that are not under the root."""

    artifacts: tuple[Located, ...]
    absent: tuple[str, ...]


def add_artifact(parser: argparse.ArgumentParser) -> None:
    """Add the positional ARTIFACT."""
    parser.add_argument(
        "artifact",
        metavar="ARTIFACT",
        help="its directory ROOT/NAME/FINGERPRINT, or ROOT/NAME where only one is finished",
    )


def absolute(uri: str) -> str:
    """A local path made absolute, so that its parents can be named; a URI as it is, less trailing slashes."""
    return os.path.abspath(storage.path_of(uri)) if storage.is_local(uri) else uri.rstrip("/")


def locate(text: str) -> Located:
    """The finished artifact that `text` names.

    Raises InputError where there is none, or several: it lists them and says what to type instead.
    """
    directory = absolute(text)
    if storage.basename(directory) == manifests.NAME:
        directory = storage.parent(directory)
    if storage.exists(storage.join(directory, manifests.NAME)):
        return open_located(directory)
    finished = finished_under(directory)
    if len(finished) == 1:
        return finished[0]
    if finished:
        lines = [f"  {item.directory}  {_outcome(item.manifest)}  {when(item.directory)}" for item in finished]
        raise InputError(f"{text}: {len(finished)} finished artifacts lie here; name one of them:\n" + "\n".join(lines))
    raise InputError(_nothing_here(text, directory))


def open_located(directory: str) -> Located:
    """The artifact whose manifest lies in `directory`. InputError for a file that is no manifest."""
    uri = storage.join(directory, manifests.NAME)
    try:
        built = open_artifact(directory)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"{uri}: not a manifest of eyas ({type(error).__name__}: {error}); build the artifact again"
        ) from error
    absent = [key for key in REQUIRED if key not in built.manifest]
    if absent:
        raise InputError(f"{uri}: the manifest has no {absent[0]!r}; build the artifact again")
    return Located(built=built, directory=directory, root=storage.parent(storage.parent(directory)))


def finished_under(directory: str) -> list[Located]:
    """Finished artifacts directly under `directory`, newest first, then by name."""
    found = [
        open_located(child)
        for child in storage.list_directories(directory)
        if storage.exists(storage.join(child, manifests.NAME))
    ]
    return sorted(found, key=lambda item: (_reversed(when(item.directory)), item.directory))


def _reversed(text: str) -> tuple[int, ...]:
    return tuple(-ord(letter) for letter in text)


def _outcome(manifest: Mapping[str, Any]) -> str:
    kept = manifest["counts"].get("kept")
    return f"{kept:,} kept" if isinstance(kept, int) else f"{len(manifest['files']):,} files"


def _nothing_here(text: str, directory: str) -> str:
    if not storage.is_directory(directory):
        near = difflib.get_close_matches(
            storage.basename(directory),
            [storage.basename(d) for d in storage.list_directories(storage.parent(directory))],
            n=1,
        )
        hint = f"; did you mean {storage.join(storage.parent(directory), near[0])}?" if near else ""
        return f"{text}: no artifact here; `eyas list ROOT` shows what there is{hint}"
    children = storage.list_directories(directory)
    if any(storage.basename(child) in ("work", "counts") for child in children):
        root = storage.parent(storage.parent(directory))
        return f"{text}: this build is not finished; run it again to resume, `eyas status {root}` shows how far it is"
    below = [item for child in children for item in finished_under(child)]
    if below:
        names = "\n".join(f"  {item.directory}" for item in below[:20])
        return f"{text}: a root, not an artifact; name one of the {len(below)} under it:\n{names}"
    return f"{text}: no finished artifact here; `eyas status {directory}` shows what is under way"


def when(directory: str) -> str:
    """When the manifest was written, UTC to the second: `2026-01-31 12:00:00`; empty where the store does not say."""
    moment = storage.file_info(storage.join(directory, manifests.NAME)).mtime_ns
    return datetime.fromtimestamp(moment / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def input_of(root: str, described: Mapping[str, Any]) -> Located | None:
    """The input artifact a manifest describes, or None for a source and for one that is not under `root`."""
    if "source" in described:
        return None
    directory = str(
        described.get("at") or artifact_directory(root, str(described["name"]), str(described["fingerprint"]))
    )
    if not storage.exists(storage.join(directory, manifests.NAME)):
        return None
    found = open_located(directory)
    return found if found.built.fingerprint == described["fingerprint"] else None


def chain_of(located: Located) -> Chain:
    """`located` and every artifact it was built on that lies under its root, each once, ancestors first."""
    order: dict[str, Located] = {}
    absent: dict[str, None] = {}
    _visit(located, order, absent)
    return Chain(artifacts=tuple(order.values()), absent=tuple(absent))


def _visit(located: Located, order: dict[str, Located], absent: dict[str, None]) -> None:
    for described in located.manifest["inputs"]:
        parent = input_of(located.root, described)
        if parent is not None and parent.built.fingerprint not in order:
            _visit(parent, order, absent)
        elif parent is None and "source" not in described:
            absent[f"{described['name']}/{str(described['fingerprint'])[:SHORT]}"] = None
    order[located.built.fingerprint] = located


def source_files(root: str, sources: Mapping[str, Any] | list[str]) -> dict[str, str]:
    """{sha256: URI} of the input files of the named sources, where builds under `root` found them."""
    found: dict[str, str] = {}
    folders = [made for named in storage.list_directories(root) for made in storage.list_directories(named)]
    for folder in folders:
        for source in sorted(sources):
            uri = storage.join(folder, "sources", f"{source}.json")
            if storage.exists(uri):
                files = json.loads(storage.read_bytes(uri))["files"]
                found |= {str(entry["checksum"]): str(where) for where, entry in files.items()}
    return found
