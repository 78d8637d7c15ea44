"""Making shards of an artifact again: its recipe is called, its fingerprint compared, and shards are compared by content.

The maker itself says what its final pass does: it is called with passes that hold on to that pass instead of running
it. So nothing about any maker is repeated here; a maker that needs passes before its last one is not made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pipelines.artifact import Artifact, BuildOptions, Built, Existing, Source, open_artifact, resolve_source
from pipelines.cli.integrity import Check, check_of, short_hash
from pipelines.cli.locate import Located, input_of
from pipelines.errors import EyasError
from pipelines.executors import Needs
from pipelines.fingerprint import fingerprint, identity
from pipelines.recipes import describe_again
from pipelines.shards import FileRecord, Work, run_shard

SHOWN_DIFFERENCES = 8


class _Captured(Exception):
    """Ends a maker's `make` once its final pass is known."""


class _Unsuited(Exception):
    """The maker runs a pass before its final one."""


@dataclass(kw_only=True)
class _Capture:
    """Stands in for `Passes`: keeps the final pass, runs nothing."""

    work: Work | None = None
    shards: tuple[Any, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    deterministic: bool = True

    def run(self, name: str, work: Work, shards: Iterable[Any], *, needs: Needs | None = None) -> NoReturn:
        raise _Unsuited(name)

    def final(self, work: Work, shards: Iterable[Any], *, needs: Needs | None = None) -> NoReturn:
        self.work, self.shards = work, tuple(shards)
        raise _Captured

    def put(self, name: str, content: bytes) -> None:
        """Nothing is written."""

    def get(self, name: str) -> bytes | None:
        return None

    def note(self, key: str, value: Any) -> None:
        self.notes[key] = value


def check_again(located: Located, *, number: int | None, inputs: tuple[str, ...], folder: str) -> list[Check]:
    """Call the recipe again, compare the fingerprint, and make `number` shards (None: all) again under `folder`."""
    record = dict(located.manifest.get("recipe", {})) | ({"inputs": list(inputs)} if inputs else {})
    try:
        described = _node_named(describe_again(record), located.built.name)
    except EyasError as error:
        return [_not_checked("recipe", str(error))]
    if described is None:
        return [
            _not_checked("recipe", f"the recipe of today describes no artifact {located.built.name!r}: it has changed")
        ]
    try:
        # What inputs hash to is kept with the temporary folder, never beside the artifact: verifying writes nothing there.
        payload, built = _payload_of(described, located, BuildOptions(root=folder))
    except EyasError as error:
        return [_not_checked("recipe", f"its inputs cannot be resolved: {error}; say where they are with --input")]
    was = {key: value for key, value in located.manifest["payload"].items() if key != "without"}
    changes = list(differences(was, payload))
    if fingerprint(was) != fingerprint(payload):
        finding = (
            "the code, its settings, a library or the input changed since the build, so it cannot be made again here"
        )
        return [Check(name="recipe", passed=False, finding=finding, problems=tuple(changes[:SHOWN_DIFFERENCES]))]
    checks = [Check(name="recipe", passed=True, finding="called again, it has the same fingerprint")]
    if any(parent is None for parent in built):
        return [*checks, _not_checked("shards made again", "an artifact it was built on is not under the same root")]
    return [*checks, _make_shards(located, described, tuple(b for b in built if b is not None), number, folder)]


def _not_checked(name: str, why: str) -> Check:
    return Check(name=name, passed=None, finding=f"not checked: {why}")


def _node_named(artifact: Artifact, name: str) -> Artifact | None:
    """The artifact called `name` in the graph, nearest to its end."""
    if artifact.name == name:
        return artifact
    parents = (_node_named(parent, name) for parent in artifact.inputs if isinstance(parent, Artifact))
    return next((found for found in parents if found is not None), None)


def _payload_of(node: Artifact, located: Located, options: BuildOptions) -> tuple[dict[str, Any], list[Built | None]]:
    """What the fingerprint of `node` covers today, and its inputs: sources resolved, artifacts opened where they lie."""
    built: list[Built | None] = []
    fingerprints = []
    for parent in node.inputs:
        if isinstance(parent, Source):
            resolved = resolve_source(parent, options)
            built.append(resolved)
            fingerprints.append(resolved.fingerprint)
        elif isinstance(parent, Existing):
            opened = open_artifact(parent.uri)
            built.append(opened)
            fingerprints.append(opened.fingerprint)
        else:
            whole = fingerprint(_payload_of(parent, located, options)[0])
            found = input_of(located.root, {"name": parent.name, "fingerprint": whole})
            built.append(found.built if found else None)
            fingerprints.append(whole)
    return {"maker": identity(node.maker), "inputs": fingerprints}, built


def _make_shards(located: Located, node: Artifact, inputs: tuple[Built, ...], number: int | None, folder: str) -> Check:
    name = "shards made again"
    capture = _Capture()
    try:
        node.maker.make(inputs, capture)  # type: ignore[arg-type]
    except _Captured:
        pass
    except _Unsuited as error:
        return _not_checked(
            name,
            f"{located.maker} works in passes (the first is {error}); its files were checked, its work was not repeated",
        )
    if capture.work is None:
        return _not_checked(name, f"{located.maker} has no final pass over shards")
    listed = _files_by_shard(located.manifest)
    there = sorted(
        (s for s in capture.shards if s.name in listed), key=lambda s: short_hash(located.built.fingerprint + s.name)
    )
    chosen = there if number is None else there[:number]
    problems: list[str] = []
    unknown = sorted(set(listed) - {shard.name for shard in capture.shards})
    problems += [f"shard {shard} is in the manifest, but the inputs give no such shard" for shard in unknown]
    for shard in chosen:
        try:
            made = run_shard(shard, directory=folder, work=capture.work)
        except Exception as error:
            # Whatever a stage raises now it did not raise then, so it is a finding, not a crash of this command.
            problems.append(f"shard {shard.name}: {type(error).__name__}: {error}")
            continue
        problems += _differing(listed[shard.name], {record.path: record for record in made.files})
    return check_of(name, problems, f"{len(chosen):,} of {len(listed):,}, equal in every file")


def _files_by_shard(manifest: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    shards: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in manifest["files"]:
        shards.setdefault(str(entry["shard"]), {})[str(entry["path"])] = entry
    return shards


def _differing(said: Mapping[str, Mapping[str, Any]], made: Mapping[str, FileRecord]) -> Iterator[str]:
    for path in sorted({*said, *made}):
        if path not in made or path not in said:
            yield f"{path}: {'made then, not now' if path in said else 'made now, not then'}"
        elif made[path].content != said[path]["content"]:
            yield f"{path}: other content ({made[path].rows} rows now, {said[path]['rows']} then)"


def differences(was: Any, now: Any, path: str = "") -> Iterator[str]:
    """Where two JSON values differ, one line a place: `maker.version: 1 -> 2`."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in sorted({*was, *now}):
            yield from differences(
                was.get(key, "absent"), now.get(key, "absent"), f"{path}.{key}" if path else str(key)
            )
    elif isinstance(was, list | tuple) and isinstance(now, list | tuple) and len(was) == len(now):
        for i, (left, right) in enumerate(zip(was, now, strict=True)):
            yield from differences(left, right, f"{path}[{i}]")
    elif was != now and not (
        isinstance(was, list | tuple) and isinstance(now, list | tuple) and list(was) == list(now)
    ):
        yield f"{path}: {str(was)[:120]} -> {str(now)[:120]}"
