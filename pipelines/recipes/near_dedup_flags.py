"""Flags of a build that concern near dedup: what its guard allows (execution), and leaving verification out (identity).

Bounds of the guard change no byte, so they are set on the artifact and not recorded. `UNVERIFIED` is a setting like any
other: recorded in the manifest, so that the artifact can be described again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipelines.artifact import Artifact, Existing
from pipelines.errors import ConfigError
from pipelines.makers.near_dedup import NearDedup

UNVERIFIED: Final = "near_dedup.verify=false"
"""Setting that drops all but one document of each cluster, however unlike they are."""


def has_near_dedup(artifact: Artifact) -> bool:
    """Whether a near dedup is made anywhere in the graph of `artifact`."""
    if isinstance(artifact.maker, NearDedup):
        return True
    return any(has_near_dedup(parent) for parent in artifact.inputs if isinstance(parent, Artifact))


def leaves_out_verification(artifact: Artifact) -> bool:
    """Whether a near dedup anywhere in the graph of `artifact` drops documents unverified."""
    if isinstance(artifact.maker, NearDedup) and not artifact.maker.verify:
        return True
    return any(leaves_out_verification(parent) for parent in artifact.inputs if isinstance(parent, Artifact))


def check_near_dedup(artifact: Artifact, flags: tuple[str, ...]) -> None:
    """Refuse, with ConfigError, flags that would do nothing: there is no near dedup in the graph."""
    if flags and not has_near_dedup(artifact):
        raise ConfigError(
            f"{', '.join(flags)}: the recipe of {artifact.name!r} has no near dedup; leave the flag out, or add "
            "dedup_near to the recipe"
        )


def with_earlier(artifact: Artifact, indexes: Sequence[str]) -> Artifact:
    """`artifact` with its last near dedup also against the releases whose indexes lie in these directories.

    Raises ConfigError where there is no near dedup, or several side by side.
    """
    check_near_dedup(artifact, ("--earlier",))
    if isinstance(artifact.maker, NearDedup):
        maker = dataclasses.replace(artifact.maker, num_earlier=artifact.maker.num_earlier + len(indexes))
        inputs = (*artifact.inputs, *(Existing(uri=uri) for uri in indexes))
        return dataclasses.replace(artifact, maker=maker, inputs=inputs)
    above = [node for node in artifact.inputs if isinstance(node, Artifact) and has_near_dedup(node)]
    if len(above) > 1:
        raise ConfigError(
            f"--earlier: {artifact.name!r} is made of {len(above)} artifacts with a near dedup each; call dedup_near with "
            "earlier=... in the recipe"
        )
    changed = {id(node): with_earlier(node, indexes) for node in above}
    return dataclasses.replace(artifact, inputs=tuple(changed.get(id(node), node) for node in artifact.inputs))


def with_guard(artifact: Artifact, bounds: Mapping[str, Any]) -> Artifact:
    """`artifact` with these fields of `Guard` set in every near dedup of its graph. ConfigError for bounds that cannot be."""
    changed: Artifact = _with_guard(artifact, bounds, {}) if bounds else artifact
    return changed


def _with_guard(node: Any, bounds: Mapping[str, Any], seen: dict[int, Any]) -> Any:
    if not isinstance(node, Artifact):
        return node
    if id(node) not in seen:
        maker: Any = node.maker
        if isinstance(maker, NearDedup):
            guard: Any = maker.guard
            maker = dataclasses.replace(maker, guard=dataclasses.replace(guard, **bounds))
        inputs = tuple(_with_guard(parent, bounds, seen) for parent in node.inputs)
        seen[id(node)] = dataclasses.replace(node, maker=maker, inputs=inputs)
    return seen[id(node)]
