"""Guard of near dedup: counts of clusters and of removals in; a build that stops, resumable, where they are alarming out.

Near dedup fails in two ways that look like success: one chain of candidates swallows a corpus, or one source, language
or size of document nearly vanishes. So a build stops

- before anything is verified, where a cluster has over `max_cluster_members` documents or over `max_cluster_share` of
  the corpus (`check_clusters`);
- before anything is written, where over `max_removed_share` of a bucket of `strata` with at least
  `min_stratum_documents` documents would be dropped (`check_removed`).

`GuardStopped` names cluster or bucket, its numbers and the bound, shows three pairs and says how to go on. Passes that
are finished stay, so the same command with the flag added resumes there. What the guard allows changes no byte of what
is built: it is no part of identity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipelines.errors import ConfigError, GuardStopped
from pipelines.makers.near.guard_pairs import Pair, escaped, pairs_of_bucket, pairs_of_cluster
from pipelines.makers.near.strata import STRATA, Counts, sum_strata
from pipelines.makers.outcome import NumberedPart
from pipelines.passes import Passes

SHOWN_FINDINGS: Final = 8
Finding = dict[str, Any]
"""Plain JSON, for the manifest too. `what` is "cluster" (with cluster, members) or "bucket" (with stratum, bucket,
documents, removed); both have `share` and `bounds`: what was exceeded, field of Guard -> its value."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What near dedup may do without being asked. Raises ConfigError at construction for bounds that cannot be.

    Shares are 0 to 1 and may be reached but not exceeded. Clusters of fewer than `min_cluster_members` are never too
    large a share: a dozen copies in a small corpus is no alarm. With `enabled=False` nothing stops.
    """

    enabled: bool = True
    max_removed_share: float = 0.6
    min_stratum_documents: int = 1000
    max_cluster_members: int = 100_000
    max_cluster_share: float = 0.01
    min_cluster_members: int = 100

    def __post_init__(self) -> None:
        for name in ("max_removed_share", "max_cluster_share"):
            value = getattr(self, name)
            if not isinstance(value, float | int) or not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} = {value}: a share from 0 to 1; {getattr(Guard, name)} is the default")
        for name, least in (("min_stratum_documents", 1), ("max_cluster_members", 2), ("min_cluster_members", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"{name} = {value}: a whole number from {least} on; {getattr(Guard, name)} is the default"
                )

    def identity(self) -> None:
        """None, the same for every guard: it decides whether a build goes on, never what it makes."""


def clusters_beyond(guard: Guard, top: Sequence[Sequence[int]], num_documents: int) -> list[Finding]:
    """Clusters larger than `guard` allows, largest first. `top` holds (cluster, members) of the largest there are."""
    findings = []
    for cluster, members in sorted(top, key=lambda entry: (-entry[1], entry[0])):
        share = members / max(num_documents, 1)
        bounds: dict[str, float] = {}
        if members > guard.max_cluster_members:
            bounds["max_cluster_members"] = guard.max_cluster_members
        if share > guard.max_cluster_share and members >= guard.min_cluster_members:
            bounds["max_cluster_share"] = guard.max_cluster_share
        if bounds:
            found: Finding = {"what": "cluster", "cluster": int(cluster), "members": int(members)}
            findings.append(found | {"share": share, "bounds": bounds})
    return findings


def buckets_beyond(guard: Guard, totals: Counts, removed: Counts) -> list[Finding]:
    """Buckets that lose more than `guard` allows, largest share first."""
    findings: list[Finding] = []
    for stratum in STRATA:
        for bucket, documents in totals.get(stratum, {}).items():
            lost = removed.get(stratum, {}).get(bucket, 0)
            share = lost / max(documents, 1)
            if documents >= guard.min_stratum_documents and share > guard.max_removed_share:
                found: Finding = {"what": "bucket", "stratum": stratum, "bucket": bucket}
                found |= {"documents": documents, "removed": lost, "share": share}
                findings.append(found | {"bounds": {"max_removed_share": guard.max_removed_share}})
    # ties in the order of STRATA, then by name: whatever order counts came in
    return sorted(findings, key=lambda f: (-f["share"], -f["documents"], STRATA.index(f["stratum"]), f["bucket"]))


def check_clusters(
    guard: Guard,
    counts: Mapping[str, Any],
    num_documents: int,
    *,
    parts: Sequence[NumberedPart],
    members: Sequence[str],
    shingle_size: int,
    passes: Passes,
) -> list[Finding]:
    """Stop where a cluster is too large; else what would have stopped under the defaults, for the manifest.

    `counts["top"]` has (cluster, members) of the largest clusters. `members` are the shuffle files of their members by
    part, one bucket for each of `parts`, those of earlier releases' indexes among them. Raises GuardStopped, after
    reading six documents of the largest cluster.
    """
    found = clusters_beyond(guard, counts["top"], num_documents) if guard.enabled else []
    if found:
        pairs = pairs_of_cluster(found[0]["cluster"], parts=parts, members=members, shingle_size=shingle_size)
        raise GuardStopped(_message(passes, found, pairs))
    return clusters_beyond(Guard(), counts["top"], num_documents)


def check_removed(
    guard: Guard,
    totals: Mapping[str, Counts],
    removed: Counts,
    *,
    parts: Sequence[NumberedPart],
    verdicts: Sequence[str],
    passes: Passes,
) -> list[Finding]:
    """Stop where a bucket would lose too much; else what would have stopped under the defaults, for the manifest.

    `totals` are the documents by stratum of each part, by its name: they tell where to look for pairs. `verdicts` are the
    shuffle files by part, one bucket for each of `parts`, which are those of documents only. Raises GuardStopped, after
    reading a few documents of parts in which the worst bucket lies.
    """
    whole = sum_strata(list(totals.values()))
    found = buckets_beyond(guard, whole, removed) if guard.enabled else []
    if found:
        worst = found[0]
        pairs = pairs_of_bucket(worst["stratum"], worst["bucket"], totals=totals, parts=parts, verdicts=verdicts)
        raise GuardStopped(_message(passes, found, pairs))
    return buckets_beyond(Guard(), whole, removed)


def loosened(findings: Sequence[Finding]) -> dict[str, float]:
    """Fields of Guard and values under which none of `findings` stops a build.

    >>> loosened([{"what": "bucket", "share": 0.701, "bounds": {"max_removed_share": 0.6}}])
    {'max_removed_share': 0.71}
    """
    values: dict[str, float] = {}
    for finding in findings:
        for name in finding["bounds"]:
            enough = finding["members"] if name == "max_cluster_members" else _rounded_up(finding["share"])
            values[name] = max(values.get(name, 0), enough)
    return dict(sorted(values.items()))


def flags_of(values: Mapping[str, float]) -> str:
    """Fields of Guard as flags of `eyas build`.

    >>> flags_of({"max_removed_share": 0.71})
    '--max-removed-share 0.71'
    """
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in values.items())


def _rounded_up(share: float) -> float:
    """To two digits after the point, three below a tenth; never below `share`."""
    steps = 100 if share >= 0.1 else 1000
    return min(max(math.ceil(share * steps) / steps, share), 1.0)


def _message(passes: Passes, found: Sequence[Finding], pairs: Sequence[Pair]) -> str:
    of_clusters = found[0]["what"] == "cluster"
    what = "the guard found clusters too large" if of_clusters else "near dedup would drop too much of a bucket"
    lines = [f"{passes.artifact}: {what}; the build stops here, and nothing is dropped yet."]
    lines += [f"  {sentence_of(finding)}" for finding in found[:SHOWN_FINDINGS]]
    if len(found) > SHOWN_FINDINGS:
        lines.append(f"  ... and {len(found) - SHOWN_FINDINGS} more")
    if of_clusters:
        lines.append("Pairs of documents of the largest, taken from all over it:")
    else:
        lines.append(
            f"Documents of {found[0]['stratum']} {escaped(found[0]['bucket'])} to be dropped, with their keepers:"
        )
    for number, pair in enumerate(pairs, start=1):
        lines += pair.lines(number)
    if of_clusters:
        lines.append(
            "If the pairs are unlike, a text that many share (a banner, a licence) made them candidates: remove it before, "
            "or raise near_dedup.config.rows_per_band. A verified dedup drops only what is like its keeper, one that is not "
            "verified drops all but one of them."
        )
    else:
        lines.append(
            "If the pairs are unlike, raise near_dedup.min_jaccard; if they are alike, the bucket may be made of copies."
        )
    values = loosened(found)
    python = ", ".join(f"{name}={value}" for name, value in values.items())
    lines.append(
        f"If it is meant: add {flags_of(values)} (or --no-guard); in Python, guard=Guard({python}). "
        "Finished passes are kept, the same command resumes."
    )
    if passes.resume_command.startswith("eyas build "):
        lines.append(f"To go on although: {passes.resume_command} {flags_of(values)}")
    else:
        lines.append(f"To resume: {passes.resume_command}")
    return "\n".join(lines)


def sentence_of(finding: Mapping[str, Any]) -> str:
    """A Finding in words."""
    if finding["what"] == "cluster":
        bounds = " and ".join(f"{name} = {value:,}" for name, value in finding["bounds"].items())
        share = f"{finding['share']:.1%} of the corpus"
        return f"a cluster of {finding['members']:,} documents, {share}: more than {bounds}"
    return (
        f"{finding['stratum']} {escaped(finding['bucket'])}: {finding['removed']:,} of {finding['documents']:,} documents "
        f"({finding['share']:.1%}), more than max_removed_share = {finding['bounds']['max_removed_share']}"
    )
