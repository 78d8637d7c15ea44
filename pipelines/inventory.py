"""The inventory of a source: which files there are, how long, and the sha256 of each. A changed file is noticed by content.

Hashing is a pass over `map_shards`. Its result is kept under `<root>/inventory/`, and a file is hashed again unless its
path, size and every timestamp the filesystem gives are those of last time. A file touched within two seconds of the
listing is never trusted from there, since a later write could carry the same timestamps (the rule git uses).
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from typing import Any

from pipelines import storage
from pipelines.errors import ConservationError, InputError
from pipelines.executors import Executor
from pipelines.readers.listing import inventory, list_inputs
from pipelines.records import SourceFile

SETTLED_SECONDS = 2.0
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class _Listed:
    name: str
    uri: str


def take_inventory(source: str, inputs: tuple[str, ...], *, root: str, executor: Executor) -> tuple[SourceFile, ...]:
    """Every file that `inputs` name, in order of URI.

    Raises InputError for a missing path, an empty listing, or two files with one content (their ids would repeat).
    """
    uris = list_inputs(inputs)
    cache_uri = storage.join(root, "inventory", f"{source}.json")
    known = _read_cache(cache_uri)
    now = time.time()
    marks = {uri: file_marks(uri) for uri in uris}
    fresh = {uri: known[uri]["file"] for uri in uris if uri in known and known[uri]["marks"] == marks[uri]}
    todo = [_Listed(name=uri, uri=uri) for uri in uris if uri not in fresh]
    found = {uri: SourceFile(**entry) for uri, entry in fresh.items()}
    for outcome in executor.map_shards(_hash_file, todo):
        if outcome.error is not None:
            raise InputError(f"{outcome.shard.uri}: cannot be read: {outcome.error}") from outcome.error
        found[outcome.shard.uri] = outcome.value
    if todo:
        # A store without timestamps (0) gives nothing to trust a listing by: its files are hashed every time.
        settled = {uri: m for uri, m in marks.items() if m[1] > 0 and max(m[1:3]) / 1e9 < now - SETTLED_SECONDS}
        entries = {
            uri: {"marks": m, "file": {"uri": uri, "size": found[uri].size, "checksum": found[uri].checksum}}
            for uri, m in settled.items()
        }
        storage.write_bytes(cache_uri, json.dumps({"format": FORMAT, "files": entries}, sort_keys=True).encode())
    if lost := [uri for uri in uris if uri not in found]:
        raise ConservationError(f"no checksum came back for {len(lost)} of {len(uris)} files, among them {lost[0]}")
    files = tuple(replace(found[uri], marks=tuple(marks[uri])) for uri in uris)
    _refuse_repeats(files)
    return files


def _hash_file(listed: _Listed) -> SourceFile:
    return inventory(listed.uri)


def file_marks(uri: str) -> list[int]:
    """Size, then timestamps in ns, then the inode where there is one: what changes when a file is written."""
    if storage.is_local(uri):
        found = os.stat(storage.path_of(uri))
        return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    info = storage.file_info(uri)
    return [info.size, info.mtime_ns or 0, 0, 0]


def _read_cache(uri: str) -> dict[str, Any]:
    if not storage.exists(uri):
        return {}
    try:
        data = json.loads(storage.read_bytes(uri))
        return dict(data["files"]) if data["format"] == FORMAT else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _refuse_repeats(files: tuple[SourceFile, ...]) -> None:
    seen: dict[str, str] = {}
    for file in files:
        if file.size and file.checksum in seen:
            raise InputError(
                f"{seen[file.checksum]} and {file.uri} have the same content, so every id in them would repeat; "
                "leave one of them out of --input"
            )
        seen[file.checksum] = file.uri
