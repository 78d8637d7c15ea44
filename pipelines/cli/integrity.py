"""Whether the files of an artifact are what its manifest says: sizes, hashes, content, counts, conservation, identity.

Everything is read again; nothing that the manifest says is taken on trust, and no path in it leads out of the artifact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa

from pipelines import storage
from pipelines.cli.locate import Located
from pipelines.content_hash import ContentHash
from pipelines.counting import add_counts, check_conservation
from pipelines.errors import ConservationError, EyasError
from pipelines.fingerprint import SHORT, fingerprint
from pipelines.manifest import root_hash
from pipelines.shards import Committed, FileRecord, read_commit

SHOWN_PROBLEMS = 10
BOOKKEEPING = ("manifest.json", "counts", "log", "sources", "work")
READ_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing checked. `passed` None: could not be checked, which is said but is no failure."""

    name: str
    passed: bool | None
    finding: str
    problems: tuple[str, ...] = ()


def check_of(name: str, problems: list[str], finding: str) -> Check:
    """A check that passes where there is no problem; long lists are cut, with their number."""
    if not problems:
        return Check(name=name, passed=True, finding=finding)
    shown = tuple(problems[:SHOWN_PROBLEMS])
    if len(problems) > SHOWN_PROBLEMS:
        shown += (f"... and {len(problems) - SHOWN_PROBLEMS} more",)
    return Check(
        name=name, passed=False, finding=f"{len(problems)} problem{'s' if len(problems) > 1 else ''}", problems=shown
    )


def check_integrity(located: Located) -> list[Check]:
    """Every check that needs the artifact alone."""
    manifest = located.manifest
    found, problems = _read_files(located)
    total = sum(int(entry["bytes"]) for entry in manifest["files"])
    checks = [
        check_of(
            "files",
            problems,
            f"{len(manifest['files']):,} files, {total:,} bytes: size, sha256, rows and content agree",
        )
    ]
    sides, side_problems = _side_files(located)
    if sides:
        checks.append(check_of("side files", side_problems, f"{len(sides):,} files agree"))
    again = root_hash([Committed(directory="", shard="", counts={}, files=tuple(found))], sides)
    wrong = [f"the manifest says {manifest.get('root_hash')}, the content gives {again}"]
    checks.append(check_of("root_hash", wrong if again != manifest.get("root_hash") else [], again))
    checks.append(_check_identity(located))
    checks.append(_check_counts(located))
    checks.append(_check_extra(located))
    return checks


def _read_files(located: Located) -> tuple[list[FileRecord], list[str]]:
    """What every listed file really holds, and where that is not what the manifest says."""
    found: list[FileRecord] = []
    problems: list[str] = []
    for entry in located.manifest["files"]:
        said = FileRecord(**{key: entry.get(key) for key in ("path", "rows", "bytes", "sha256", "content")})
        try:
            is_now = _read_file(located.built.uri, said)
        except (EyasError, OSError, pa.ArrowException, ValueError) as error:
            problems.append(f"{said.path}: {error}")
            continue
        found.append(is_now)
        for key in ("bytes", "sha256", "rows", "content"):
            if getattr(is_now, key) != getattr(said, key):
                problems.append(f"{said.path}: {key} is {getattr(is_now, key)}, the manifest says {getattr(said, key)}")
                break
    return found, problems


def _read_file(directory: str, said: FileRecord) -> FileRecord:
    if not _inside(said.path):
        raise ValueError("this path leads out of the artifact")
    uri = storage.join(directory, *said.path.split("/"))
    size, sha256 = storage.size(uri), storage.sha256(uri)
    if not said.path.endswith(".parquet") or sha256 != said.sha256:
        return FileRecord(path=said.path, rows=said.rows, bytes=size, sha256=sha256, content=sha256)
    rows, contents = content_of(uri)
    content = said.content if said.content in contents else contents[0]
    return FileRecord(path=said.path, rows=rows, bytes=size, sha256=sha256, content=content)


def _inside(path: str) -> bool:
    parts = path.split("/")
    return bool(path) and not path.startswith("/") and ".." not in parts and "" not in parts


def content_of(uri: str) -> tuple[int, tuple[str, ...]]:
    """Rows of a Parquet file, and its content hash: as read and, where types differ, as it may have been written.

    Parquet has no timestamps in seconds, so these come back in milliseconds, and the child of a list comes back as
    `element` where Arrow writes `item`. One of the hashes is that of the columns as they were before they were stored.
    """
    read = storage.read_schema(uri).remove_metadata()
    seconds = pa.schema([f.with_type(pa.timestamp("s")) if f.type == pa.timestamp("ms") else f for f in read])
    hashes: dict[pa.Schema, ContentHash | None] = {}
    for schema in (read, seconds, _with_items(read), _with_items(seconds)):
        hashes.setdefault(schema, ContentHash(schema))
    rows = 0
    for batch in storage.read_batches(uri):
        rows += batch.num_rows
        for schema, content in hashes.items():
            if content is not None and not _fed(content, batch, schema):
                hashes[schema] = None
    return rows, tuple(content.hexdigest() for content in hashes.values() if content is not None)


def _fed(content: ContentHash, batch: pa.RecordBatch, schema: pa.Schema) -> bool:
    """Add the batch as `schema` has it; False where its values do not fit, such as a fraction of a second."""
    try:
        content.update(batch if batch.schema.equals(schema) else batch.cast(schema))
    except pa.ArrowInvalid:
        return False
    return True


def _with_items(schema: pa.Schema) -> pa.Schema:
    return pa.schema([f.with_type(pa.list_(f.type.value_type)) if pa.types.is_list(f.type) else f for f in schema])


def _side_files(located: Located) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    problems = []
    for path, sha256 in sorted(located.manifest.get("side_files", {}).items()):
        if not _inside(path):
            problems.append(f"{path}: this path leads out of the artifact")
            continue
        try:
            found[path] = storage.sha256(storage.join(located.built.uri, *path.split("/")))
        except EyasError as error:
            problems.append(f"{path}: {error}")
            continue
        if found[path] != sha256:
            problems.append(f"{path}: sha256 is {found[path]}, the manifest says {sha256}")
    return found, problems


def _check_identity(located: Located) -> Check:
    manifest = located.manifest
    problems = []
    again = fingerprint(manifest["payload"])
    if again != manifest["fingerprint"]:
        problems.append(f"the payload hashes to {again}, the manifest says {manifest['fingerprint']}")
    if storage.basename(located.directory) != manifest["fingerprint"][:SHORT]:
        problems.append(
            f"the folder is named {storage.basename(located.directory)}, not {manifest['fingerprint'][:SHORT]}"
        )
    inputs = [described["fingerprint"] for described in manifest["inputs"]]
    if inputs != manifest["payload"].get("inputs"):
        problems.append("the inputs listed are not those that the fingerprint covers")
    return check_of("fingerprint", problems, again)


def _check_counts(located: Located) -> Check:
    """Counts of the shards add up to the manifest's, the equations hold, and the files have as many rows as were counted."""
    manifest = located.manifest
    counts = manifest["counts"]
    problems = []
    shards = {str(entry["shard"]) for entry in manifest["files"]}
    commits = [read_commit(located.built.uri, shard) for shard in sorted(shards)]
    missing = [shard for shard, commit in zip(sorted(shards), commits, strict=True) if commit is None]
    problems += [f"counts/{shard}.json is absent, unreadable, or names files of another size" for shard in missing]
    nothing: dict[str, Any] = {}
    total = reduce(add_counts, (commit.counts for commit in commits if commit is not None), nothing)
    if not missing and total != counts:
        problems.append("the counts of the shards do not add up to the manifest's")
    if "documents" in counts and "kept" in counts:
        try:
            check_conservation(counts, where=located.label)
        except ConservationError as error:
            problems.append(str(error))
        problems += list(_wrong_rows(manifest))
    finding = f"{len(shards):,} shards add up"
    if "documents" in counts and "kept" in counts:
        dropped = sum(counts.get("dropped", {}).values())
        finding += f"; {counts['documents']:,} documents = {counts['kept']:,} kept + {dropped:,} dropped"
    return check_of("counts", problems, finding)


def _wrong_rows(manifest: Mapping[str, Any]) -> Iterator[str]:
    counts = manifest["counts"]
    expected = {
        "kept": counts["kept"],
        "dropped": sum(counts.get("dropped", {}).values()),
        "signals": counts["documents"],
    }
    for kind, number in expected.items():
        rows = [int(entry["rows"]) for entry in manifest["files"] if str(entry["path"]).startswith(f"{kind}/")]
        if rows and sum(rows) != number:
            yield f"{kind}/ has {sum(rows)} rows, {number} were counted"


def _check_extra(located: Located) -> Check:
    """Files that no manifest lists would be read by a tool that globs `kept/*.parquet`."""
    if located.manifest.get("missing"):
        return Check(
            name="no other files", passed=None, finding="not checked: the folder is shared with a build that may go on"
        )
    base = storage.path_of(located.built.uri).rstrip("/") + "/"
    listed = {str(entry["path"]) for entry in located.manifest["files"]} | set(located.manifest.get("side_files", {}))
    there = [storage.path_of(uri).removeprefix(base) for uri in storage.list_files(located.built.uri)]
    extra = [path for path in there if path not in listed and path.partition("/")[0] not in BOOKKEEPING]
    return check_of("no other files", [f"{path} is not in the manifest; delete it" for path in extra], "none")


def short_hash(text: str) -> int:
    """A number from text, to choose shards by: the same everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
