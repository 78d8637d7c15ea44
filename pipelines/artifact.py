"""Artifacts: lazy handles of directories; `build` is the one verb that acts.

`Source` and `Artifact` describe; constructing them runs nothing. `build` resolves sources into inventories (checksums of
their files), computes fingerprints from the bottom up, and makes what is not there yet: a directory
`<root>/<name>/<fingerprint12>/` whose `manifest.json` is written last. What is finished is never made again, what was
interrupted goes on where it stood.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, ClassVar, Protocol, runtime_checkable

from pipelines import manifest as manifests
from pipelines import storage
from pipelines.counting import add_counts, check_conservation
from pipelines.errors import BuildError, ConfigError, StorageError
from pipelines.executors import Executor
from pipelines.executors.local import Local
from pipelines.fingerprint import SHORT, fingerprint, identity
from pipelines.inventory import take_inventory
from pipelines.passes import Passes, Progress, Silent
from pipelines.readers import reader_for
from pipelines.readers.suffixes import kind_of
from pipelines.records import Extractor, FileShard, Reader, SourceFile
from pipelines.shards import PartShard

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
SHARD_BYTES = 256 << 20


@runtime_checkable
class Maker(Protocol):
    """Turns built inputs into one artifact. A frozen dataclass: its fields are its configuration and its identity."""

    version: ClassVar[int]

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """Run `passes`; the final one writes the artifact."""
        ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where documents come from: paths, folders, globs, `@list` files or URIs, and how to read them.

    `reader` None chooses by suffix, file by file, and sets `reader_fields` on those readers that have them: all of them
    (`("text_field", "content")`) or those of one kind of file (`("jsonl.id_field", "id")`). `extractor` is needed where
    a reader yields raw records (WARC). Where the files lie is execution; what is in them is identity.
    """

    name: str
    inputs: tuple[str, ...]
    reader: Reader | None = None
    reader_fields: tuple[tuple[str, str], ...] = ()
    extractor: Extractor | None = None
    shard_bytes: int = SHARD_BYTES

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.inputs:
            raise ConfigError(f"source {self.name!r} has no inputs; give at least one path, glob, @list file or URI")

    def reader_of(self, uri: str) -> Reader:
        """The reader of one of its files."""
        chosen = self.reader or reader_for(uri)
        known = getattr(chosen, "__dataclass_fields__", {})
        prefix = f"{kind_of(uri)}."
        named = {name.removeprefix(prefix): value for name, value in self.reader_fields}
        fields = {name: value for name, value in named.items() if name in known}
        return replace(chosen, **fields) if fields else chosen  # type: ignore[type-var]


@dataclass(frozen=True, kw_only=True)
class Existing:
    """A finished artifact, of this or of another root, that is taken as it is: the directory its manifest lies in.

    It is its fingerprint; where it lies is execution.
    """

    uri: str


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A directory that `maker` will make out of `inputs`. Two artifacts are the same where their fingerprints are."""

    name: str
    maker: Maker
    inputs: tuple[Node, ...]

    def __post_init__(self) -> None:
        _check_name(self.name)


Node = Artifact | Source | Existing


@dataclass(frozen=True, kw_only=True)
class Built:
    """A finished input, as a maker sees it. `uri` is the directory its files lie in."""

    name: str
    fingerprint: str
    uri: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    shards: tuple[FileShard, ...] = ()
    source: Source | None = None

    def parts(self, kind: str = "kept") -> tuple[PartShard, ...]:
        """The artifact's Parquet files of `kind`, in order of shard name."""
        entries = [
            f for f in self.manifest["files"] if f["path"].startswith(f"{kind}/") and f["path"].endswith(".parquet")
        ]
        return tuple(PartShard(name=f["shard"], uri=storage.join(self.uri, *f["path"].split("/"))) for f in entries)


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How a build runs; none of it is identity. `recipe` is recorded so that the artifact can be described again."""

    root: str
    executor: Executor = field(default_factory=Local)
    progress: Progress = field(default_factory=Silent)
    rehash: bool = False
    without_failed_shards: bool = False
    resume_command: str = "run the same build again"
    recipe: Mapping[str, Any] = field(default_factory=dict)


def build(artifact: Artifact, *, root: str, executor: Executor | None = None, **options: Any) -> dict[str, Any]:
    """Build `artifact` and everything it needs under `root`; return its manifest.

    `options` are further fields of BuildOptions. Raises InputError or ConfigError for what the caller can mend,
    BuildError where work failed; finished shards stay and the same call resumes.
    """
    return dict(build_all((artifact,), BuildOptions(root=root, executor=executor or Local(), **options))[0].manifest)


def build_all(artifacts: Sequence[Artifact], options: BuildOptions) -> tuple[Built, ...]:
    """Build several artifacts that may share inputs, each once."""
    storage.check_writable(options.root)
    _check_shared(options)
    finished: dict[int, Built] = {}
    return tuple(_build(artifact, options, finished) for artifact in artifacts)


def _check_shared(options: BuildOptions) -> None:
    """Every machine of a cluster must see the root: found out here, with one small file, and not hours in."""
    everywhere = getattr(options.executor, "on_every_machine", None)
    if everywhere is None or not storage.is_local(options.root):
        return
    probe = storage.join(options.root, storage.temporary_name("shared"))
    storage.write_bytes(probe, b"eyas")
    blind = sorted(machine for machine, sees in everywhere(storage.exists, probe) if not sees)
    storage.delete_file(probe)
    if blind:
        raise StorageError(
            f"the root {options.root} cannot be seen from {', '.join(blind)}: what workers write there would be lost; "
            "use a filesystem that every machine mounts at the same path, or an object store such as s3://"
        )


def _build(node: Node, options: BuildOptions, finished: dict[int, Built]) -> Built:
    if id(node) not in finished:
        if isinstance(node, Source):
            finished[id(node)] = resolve_source(node, options)
        elif isinstance(node, Existing):
            finished[id(node)] = open_artifact(node.uri)
        else:
            inputs = tuple(_build(parent, options, finished) for parent in node.inputs)
            finished[id(node)] = _make(node, inputs, options)
    return finished[id(node)]


def _make(artifact: Artifact, inputs: tuple[Built, ...], options: BuildOptions) -> Built:
    payload = {"maker": identity(artifact.maker), "inputs": [built.fingerprint for built in inputs]}
    whole = fingerprint(payload)
    directory = artifact_directory(options.root, artifact.name, whole)
    present = manifests.read(directory)
    if present is not None and not options.rehash and manifests.files_stand(present, directory):
        storage.delete_dir(storage.join(directory, "work"))  # of a build that was killed after its manifest
        return Built(name=artifact.name, fingerprint=whole, uri=directory, manifest=present)
    passes = Passes(
        artifact=artifact.name, directory=directory, executor=options.executor, progress=options.progress,
        resume_command=options.resume_command, rehash=options.rehash, without_failed_shards=options.without_failed_shards,
    )  # fmt: skip
    artifact.maker.make(inputs, passes)
    counts: dict[str, Any] = reduce(add_counts, (shard.counts for shard in passes.committed), {})
    for shard in passes.committed:
        if "documents" in shard.counts:
            check_conservation(shard.counts, where=f"{artifact.name}, shard {shard.shard}")
    if "documents" in counts:
        check_conservation(counts, where=artifact.name)
    if passes.missing:
        payload = payload | {"without": sorted(passes.missing)}
        whole = fingerprint(payload)
    record = {
        "format": manifests.FORMAT,
        "name": artifact.name,
        "fingerprint": whole,
        "payload": payload,
        "recipe": dict(options.recipe),
        "inputs": [_describe_input(*given) for given in zip(artifact.inputs, inputs, strict=True)],
        "counts": counts,
        "rules": _rules_of(artifact.maker),
        "files": manifests.file_entries(passes.committed),
        "side_files": passes.files,
        "root_hash": manifests.root_hash(passes.committed, passes.files),
        "missing": passes.missing,
        "notes": passes.notes,
        "deterministic": passes.deterministic,
        "environment": manifests.environment(),
    }
    for built in inputs:
        if built.source is not None:
            _write_sources(directory, built)
    if passes.missing:
        record["data"] = f"../{storage.basename(directory)}"
        manifests.write(artifact_directory(options.root, artifact.name, whole), record)
        return Built(name=artifact.name, fingerprint=whole, uri=directory, manifest=record)
    storage.clean_temporaries(directory)
    manifests.write(directory, record)
    storage.delete_dir(storage.join(directory, "work"))
    return Built(name=artifact.name, fingerprint=whole, uri=directory, manifest=record)


def artifact_directory(root: str, name: str, whole: str) -> str:
    """`<root>/<name>/<first 12 hex of the fingerprint>`."""
    return storage.join(root, name, whole[:SHORT])


def resolve_source(source: Source, options: BuildOptions) -> Built:
    """List and hash the files of `source`, cut them into shards, and give it its fingerprint."""
    files = take_inventory(source.name, source.inputs, root=options.root, executor=options.executor)
    shards: list[FileShard] = []
    identities = []
    # Empty files are all one content: the first stands for all, or their shards would have one name.
    empty = [file for file in files if not file.size][1:]
    for file in sorted((f for f in files if f not in empty), key=lambda f: (f.checksum, f.uri)):
        reader = source.reader_of(file.uri)
        if reader.yields == "raw" and source.extractor is None:
            raise ConfigError(f"source {source.name!r}: {file.uri} holds raw records; give the source an extractor")
        identities.append([file.checksum, identity(reader)])
        shards.extend(_cut(source, reader, file))
    payload = {
        "source": source.name, "files": identities, "extractor": identity(source.extractor), "shard_bytes": source.shard_bytes
    }  # fmt: skip
    totals = {"files": len(files), "bytes": sum(file.size for file in files), "shards": len(shards)}
    return Built(
        name=source.name, fingerprint=fingerprint(payload), uri="", manifest={"totals": totals, "files": []},
        shards=tuple(shards), source=source,
    )  # fmt: skip


def _cut(source: Source, reader: Reader, file: SourceFile) -> list[FileShard]:
    ranges = reader.cut(file, source.shard_bytes)
    short = file.checksum[:16]
    names = [f"{short}-{number:05d}" for number in range(len(ranges))]
    return [
        FileShard(name=name, file=file, source=source.name, start=start, stop=stop)
        for name, (start, stop) in zip(names, ranges, strict=True)
    ]


def _write_sources(directory: str, built: Built) -> None:
    """`sources/<name>.json`: where each input file lay. Found again by `explain` and `sample`; no part of identity."""
    files = {shard.file.uri: {"size": shard.file.size, "checksum": shard.file.checksum} for shard in built.shards}
    content = json.dumps({"format": 1, "files": files}, indent=0, sort_keys=True).encode()
    storage.write_bytes(storage.join(directory, "sources", f"{built.name}.json"), content)


def _describe_input(node: Node, built: Built) -> dict[str, Any]:
    described: dict[str, Any] = {"name": built.name, "fingerprint": built.fingerprint}
    if built.source is not None:
        return described | {"source": dict(built.manifest["totals"])}
    if isinstance(node, Existing):
        return described | {"at": node.uri}
    return described


def _rules_of(maker: Maker) -> list[dict[str, Any]]:
    describe = getattr(maker, "described_rules", None)
    return list(describe()) if describe is not None else []


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"name {name!r} cannot be a directory; use up to 100 of a-z 0-9 . _ - starting with a letter or digit"
        )


def open_artifact(uri: str) -> Built:
    """The finished artifact in directory `uri`, described by its manifest alone. BuildError where it is not finished."""
    record = manifests.read(uri)
    if record is None:
        raise BuildError(
            f"{uri}: no manifest.json, so there is no finished artifact here; `eyas list ROOT` shows what there is"
        )
    data = storage.join(storage.parent(uri), storage.basename(record["data"])) if record.get("data") else uri
    return Built(name=record["name"], fingerprint=record["fingerprint"], uri=data, manifest=record)


def quote_command(words: Sequence[str]) -> str:
    """A command line one can paste."""
    return " ".join(shlex.quote(word) for word in words)
