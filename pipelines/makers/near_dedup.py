"""Near dedup: documents in; of those that say nearly the same one keeper out, the others dropped as `near_duplicate`.

MinHash-LSH finds candidates, true Jaccard decides: a document is dropped only if the similarity of its shingle set with
its keeper's, recomputed from the text, is at least `min_jaccard`. Passes, each over files:

| pass | shards | does |
|---|---|---|
| `digests`, `groups` | parts, buckets of digests | exact duplicates, which the others do not see (`exact_dedup`) |
| `keys`, `earlier_keys` | parts, indexes of earlier releases | band keys of every document (`near.candidates`, `near.index`) |
| `edges` | buckets of keys | documents that share a key (`near.candidates`) |
| `components_*` | buckets of documents | connected components: the clusters (`near.components`) |
| `shingles`, `earlier_shingles` | parts, indexes | shingle sets of clusters' members alone, by cluster (`near.election`) |
| `verdicts` | groups of clusters | elect keepers, verify, elect again (`near.verify`) |
| `copies` | parts | exact duplicates follow their keeper (`near.copies`) |
| final | parts | `kept/`, `dropped/`, `signals/`, `clusters/` |
| `certificate_*` | parts, samples | what all this did: recall, precision (`certificate`) |

A pair of similarity s is found with probability `candidate_probability(s, config)` at least; what is lost to LSH is
kept, never dropped. Keepers are elected by `keepers`: order, shards and workers have no influence on what is kept. The
guard (`near.guard`) stops the build, to be resumed, before a cluster or a bucket of the corpus loses suspiciously much.
With `verify=False` every member but the best of its cluster is dropped, however unlike, as
`near_duplicate_unverified`.

Out, beside `kept/`: `dropped/` has `keeper_source`, `keeper_id`, `similarity`, `containment` (share of the dropped
document's shingles that its keeper has; both null unverified), `by_sketch` (both were estimated, from the sketch of a
keeper of an earlier release). `signals/` has `cluster_size` (documents of the cluster, 1 where there is none; exact
duplicates are in none), `duplicate_count` (documents that the kept one stands for, itself and exact duplicates included;
of a dropped one its keeper's), `keeper_similarity` (0.0 where the document is kept), and
for each reason whether it is why: `is_exact_duplicate`, `is_near_duplicate`. `clusters/` lists every member of every
cluster, in the part it lies in: id, source, cluster (a name made of the elected keeper of the whole cluster),
cluster_size, kept, and the columns of `dropped/`, null where kept.
`certificate.json` is the certificate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.artifact import Artifact, Built, Node
from pipelines.errors import ConfigError
from pipelines.executors import Needs
from pipelines.kernels.minhash import MinHashConfig
from pipelines.makers.certificate.certify import certify
from pipelines.makers.certificate.report import CERTIFICATE
from pipelines.makers.certificate.sampling import Certify
from pipelines.makers.exact_dedup import count_groups, find_groups
from pipelines.makers.keepers import Prefer, check_prefer, check_prefer_columns
from pipelines.makers.near.candidates import KEYS_PER_BUCKET, PAIR_BYTES, pair_bucket, sign_part
from pipelines.makers.near.components import Clusters, find_clusters
from pipelines.makers.near.copies import follow_copies
from pipelines.makers.near.election import elect_keepers, gather_members, member_schema
from pipelines.makers.near.guard import Guard, check_clusters, check_removed
from pipelines.makers.near.index import gather_index_members, number_index, sign_index_part, smallest_sketch
from pipelines.makers.near.strata import sum_strata
from pipelines.makers.outcome import (
    DROPPED_TEXT,
    Judgement,
    NumberedPart,
    duplicate_rule,
    number_buckets,
    number_parts,
    verdicts_of,
    verdicts_on_batch,
    write_outcome,
)
from pipelines.makers.shuffle import SUFFIX, buckets_for
from pipelines.passes import Passes
from pipelines.shards import Committed, ShardOutput

SHINGLES_PER_GROUP: Final = 1 << 23
"""Shingles of a group of clusters, about: 64 MB. A task of the `verdicts` pass has room for twice that, and sweeps in
blocks where one cluster has more."""
EXACT: Final = "near_dedup/exact_duplicate"
NEAR: Final = "near_dedup/near_duplicate"
UNVERIFIED: Final = "near_dedup/near_duplicate_unverified"
KEEPER_COLUMNS: Final = ("keeper_source", "keeper_id", "similarity", "containment", "by_sketch")


@dataclass(frozen=True, kw_only=True)
class NearDedup:
    """Maker of `dedup_near`. Its inputs are deduplicated as one, but for the last `num_earlier`: these are indexes of
    earlier releases (`near_index`), whose documents are kept already.

    `min_jaccard` (above 0, at most 1) is the lowest similarity with its keeper at which a document is dropped.
    `remove_exact` drops documents whose texts are equal but for white space first, and counts them apart.
    `certify` says how large the samples of the certificate are; None leaves it out. `guard` decides whether there is an
    artifact, not what is in it: it is the same in every identity. Raises ConfigError at construction for what cannot be.
    """

    config: MinHashConfig = field(default_factory=MinHashConfig)
    min_jaccard: float = 0.8
    prefer: Prefer = ()
    verify: bool = True
    remove_exact: bool = True
    certify: Certify | None = field(default_factory=Certify)
    guard: Guard = field(default_factory=Guard)
    num_earlier: int = 0
    dropped_text: str = "sample"
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_prefer(self.prefer)
        if not isinstance(self.min_jaccard, float | int) or not 0.0 < self.min_jaccard <= 1.0:
            raise ConfigError(f"min_jaccard = {self.min_jaccard!r}: a similarity above 0 and at most 1; 0.8 is usual")
        for name in ("verify", "remove_exact"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: True or False")
        if self.num_earlier < 0:
            raise ConfigError(f"num_earlier = {self.num_earlier}: how many of the inputs are indexes, from 0 on")
        if self.dropped_text not in DROPPED_TEXT:
            raise ConfigError(f"dropped_text = {self.dropped_text!r}; expected one of {', '.join(DROPPED_TEXT)}")

    @property
    def reason(self) -> str:
        """Why near duplicates are dropped, as `stage/reason`."""
        return NEAR if self.verify else UNVERIFIED

    def described_rules(self) -> list[dict[str, Any]]:
        """For the manifest: one rule for each reason."""
        return [duplicate_rule(reason) for reason in ((EXACT,) if self.remove_exact else ()) + (self.reason,)]

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """The passes of the module's table. Raises GuardStopped where the guard does."""
        if len(inputs) <= self.num_earlier:
            raise ConfigError(
                f"num_earlier = {self.num_earlier} of {len(inputs)} inputs: give new documents before them"
            )
        new, earlier = inputs[: len(inputs) - self.num_earlier], inputs[len(inputs) - self.num_earlier :]
        parts = number_parts(new)
        for part in parts:
            check_prefer_columns(self.prefer, storage.read_schema(part.uri), where=part.uri)
        num_documents = sum(part.rows for part in parts)
        released = number_index(earlier, config=self.config, first_number=len(parts), first_ordinal=num_documents)
        groups = find_groups(parts, passes, prefer=self.prefer, normalize="whitespace") if self.remove_exact else ()
        exact = _paths(groups, "verdicts")
        signed, edges = self._find_edges(parts, released, exact, passes)
        uris = [commit.path("edges") for commit in edges]
        num_edges = sum(commit.counts["edges"] for commit in edges)
        clusters = find_clusters(uris, (*parts, *released), passes, num_edges=num_edges, num_new=num_documents)
        compared = sum(commit.counts["unique"] for commit in signed) + sum(part.rows for part in released)
        stopped = check_clusters(
            self.guard, clusters.counts, compared, parts=(*parts, *released), members=clusters.members,
            shingle_size=self.config.shingle_size, passes=passes,
        )  # fmt: skip
        decided = self._elect(parts, released, clusters, signed, exact, smallest_sketch(earlier), passes)
        verdicts = _paths(decided, "verdicts")
        strata = {commit.shard: commit.counts["strata"] for commit in signed}
        followed = self._follow(parts, groups, verdicts, passes)
        removed = sum_strata([commit.counts["removed"] for commit in (*decided, *followed)])
        stopped += check_removed(self.guard, strata, removed, parts=parts, verdicts=verdicts, passes=passes)
        work = partial(
            keep_and_drop, verdicts=verdicts, exact=exact, followed=_paths(followed, "followed"),
            num_parts=len(parts), dropped_text=self.dropped_text, reason=self.reason,
        )  # fmt: skip
        passes.final(work, parts)
        passes.note(
            "near_dedup",
            {"verified": self.verify, "guard": stopped}
            | (count_groups(groups) if groups else {})
            | _describe(signed, edges, clusters, decided),
        )
        if self.certify is not None:
            found = certify(
                parts, passes, options=self.certify, config=self.config, min_jaccard=self.min_jaccard,
                verdicts=verdicts, exact=exact, strata=sum_strata(list(strata.values())), removed=removed,
                clusters=clusters.counts, verified=self.verify, sketch_size=smallest_sketch(earlier),
            )  # fmt: skip
            passes.put(CERTIFICATE, (json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())

    def _find_edges(
        self, parts: Sequence[NumberedPart], released: Sequence[NumberedPart], exact: tuple[str, ...], passes: Passes
    ) -> tuple[tuple[Committed, ...], tuple[Committed, ...]]:
        """Commits of the passes `keys` (of the new documents) and `edges`."""
        num_documents = sum(part.rows for part in (*parts, *released))
        num_buckets = buckets_for(num_documents * self.config.num_bands, KEYS_PER_BUCKET)
        sign = partial(sign_part, config=self.config, num_buckets=num_buckets, exact=exact, num_parts=len(parts))
        signed = passes.run("keys", sign, parts)
        uris = _paths(signed, "keys")
        if released:
            sign_released = partial(sign_index_part, config=self.config, num_buckets=num_buckets)
            uris += _paths(passes.run("earlier_keys", sign_released, released), "keys")
        pair = partial(pair_bucket, uris=uris, num_buckets=num_buckets)
        return signed, passes.run("edges", pair, number_buckets(num_buckets), needs=Needs(memory_bytes=PAIR_BYTES))

    def _elect(
        self,
        parts: Sequence[NumberedPart],
        released: Sequence[NumberedPart],
        clusters: Clusters,
        signed: Sequence[Committed],
        exact: tuple[str, ...],
        sketch_size: int | None,
        passes: Passes,
    ) -> tuple[Committed, ...]:
        """Commits of the pass `verdicts`."""
        unique = sum(commit.counts["unique"] for commit in signed)
        shingles_each = max(1, sum(commit.counts["shingles"] for commit in signed) // max(1, unique))
        num_groups = buckets_for(clusters.counts["members"] * shingles_each, SHINGLES_PER_GROUP)
        shared: dict[str, Any] = {
            "uris": clusters.members,
            "num_groups": num_groups,
            "num_parts": len(parts) + len(released),
        }
        gather = partial(
            gather_members, config=self.config, prefer=self.prefer, verify=self.verify, exact=exact,
            num_exact_parts=len(parts), **shared,
        )  # fmt: skip
        uris = _paths(passes.run("shingles", gather, parts), "shingles")
        if released:
            gather_released = partial(
                gather_index_members, schema=member_schema(self.prefer, storage.read_schema(parts[0].uri)),
                sketch_size=sketch_size or 0, num_documents=sum(part.rows for part in parts), verify=self.verify, **shared,
            )  # fmt: skip
            uris += _paths(passes.run("earlier_shingles", gather_released, released), "shingles")
        elect = partial(
            elect_keepers, uris=uris, prefer=self.prefer, min_jaccard=self.min_jaccard, verify=self.verify,
            num_groups=num_groups, num_parts=len(parts), sketch_size=sketch_size,
        )  # fmt: skip
        return passes.run("verdicts", elect, number_buckets(num_groups))

    def _follow(
        self, parts: Sequence[NumberedPart], groups: Sequence[Committed], verdicts: tuple[str, ...], passes: Passes
    ) -> tuple[Committed, ...]:
        """Commits of the pass `copies`; none where exact duplicates were not looked for."""
        if not groups:
            return ()
        work = partial(follow_copies, copies=_paths(groups, "copies"), verdicts=verdicts, num_parts=len(parts))
        return passes.run("copies", work, parts)


def dedup_near(
    artifact: Artifact, *more: Artifact, earlier: Sequence[Node] = (), name: str = "", **options: Any
) -> Artifact:
    """Describe `artifact` (and `more`, as one) without near duplicates, of each other and of documents of `earlier`.

    `earlier` are indexes of releases (`near_index`), described or `Existing`. `options` are the fields of NearDedup.
    """
    maker = NearDedup(num_earlier=len(earlier), **options)
    return Artifact(name=name or f"{artifact.name}-near", maker=maker, inputs=(artifact, *more, *earlier))


def keep_and_drop(
    part: NumberedPart,
    out: ShardOutput,
    *,
    verdicts: tuple[str, ...],
    exact: tuple[str, ...],
    followed: tuple[str, ...],
    num_parts: int,
    dropped_text: str,
    reason: str,
) -> dict[str, Any]:
    """Final pass: one part into kept, dropped, signals and clusters."""
    judge = partial(
        _judge,
        near=verdicts_of(verdicts, part, num_parts),
        exact=verdicts_of(exact, part, num_parts) if exact else None,
        followed=verdicts_of(followed, part, num_parts) if followed else None,
        out=out,
        reason=reason,
    )
    return write_outcome(part, out, judge, dropped_text=dropped_text)


def _judge(
    batch: pa.RecordBatch,
    first_row: int,
    *,
    near: pa.Table,
    exact: pa.Table | None,
    followed: pa.Table | None,
    out: ShardOutput,
    reason: str,
) -> Judgement:
    found = verdicts_on_batch(near, first_row, batch.num_rows)
    is_near = found["keeper_id"].is_valid()
    reasons = pc.if_else(is_near, pa.scalar(reason), pa.scalar(None, pa.string()))
    keeper = {name: found[name] for name in KEEPER_COLUMNS}
    in_cluster = found["cluster"].is_valid()
    members = {"id": batch.column("id"), "source": batch.column("source")}
    members |= {"cluster": found["cluster"], "cluster_size": found["cluster_size"], "kept": pc.invert(is_near)}
    out.write("clusters", pa.RecordBatch.from_pydict(members | keeper).filter(in_cluster))
    stands_for = found["duplicate_count"]
    if exact is not None and followed is not None:
        copies = verdicts_on_batch(exact, first_row, batch.num_rows)
        is_copy = copies["keeper_id"].is_valid()
        reasons = pc.if_else(is_copy, pa.scalar(EXACT), reasons)
        # of a copy, what its keeper's verdict says comes first; without one it is its keeper's alone, and equal to it
        further = verdicts_on_batch(followed, first_row, batch.num_rows)
        equal = pc.and_(is_copy, pc.invert(further["keeper_id"].is_valid()))
        whole = pc.if_else(equal, pa.scalar(1.0), pa.scalar(None, pa.float64()))
        copies |= {"similarity": whole, "containment": whole, "by_sketch": pc.if_else(equal, False, None)}
        keeper = {name: pc.coalesce(further[name], keeper[name], copies[name]) for name in KEEPER_COLUMNS}
        stands_for = pc.coalesce(further["duplicate_count"], stands_for, copies["duplicate_count"])
    return Judgement(
        reasons=reasons,
        extra=keeper,
        signals={
            "cluster_size": found["cluster_size"].fill_null(1),
            "duplicate_count": stands_for.fill_null(1),
            "keeper_similarity": keeper["similarity"].fill_null(0.0),
            **_flags(reasons, EXACT if exact is not None else "", reason),
        },
    )


def _flags(reasons: pa.Array, *names: str) -> dict[str, pa.Array]:
    """`is_<reason>` of every row: whether that is why it is dropped."""
    return {f"is_{name.split('/')[1]}": pc.fill_null(pc.equal(reasons, name), False) for name in names if name}


def _describe(
    signed: Sequence[Committed], edges: Sequence[Committed], clusters: Clusters, decided: Sequence[Committed]
) -> dict[str, Any]:
    """For the manifest: what each step met."""
    skewed = sorted((entry for commit in edges for entry in commit.counts["top_keys"]), key=lambda e: (-e[1], e[0]))
    return {
        "unique_documents": sum(commit.counts["unique"] for commit in signed),
        "shingles": sum(commit.counts["shingles"] for commit in signed),
        "documents_without_words": sum(commit.counts["documents_without_words"] for commit in signed),
        "edges": sum(commit.counts["edges"] for commit in edges),
        "shared_keys": sum(commit.counts["shared_keys"] for commit in edges),
        "documents_of_largest_key": max(commit.counts["largest_key"] for commit in edges),
        "skewed_keys": sum(commit.counts["skewed_keys"] for commit in edges),
        "largest_skewed_keys": [{"key": key, "documents": documents} for key, documents, _ in skewed[:10]],
        "clusters": clusters.counts["clusters"],
        "members": clusters.counts["members"],
        "largest_cluster": clusters.counts["largest"],
        "rounds_of_components": clusters.counts["rounds"],
        "cluster_sizes": clusters.counts["sizes"],
        "dropped": sum(commit.counts["dropped"] for commit in decided),
        "dropped_by_sketch": sum(commit.counts["dropped_by_sketch"] for commit in decided),
        "most_keepers_of_a_cluster": max(commit.counts["rounds"] for commit in decided),
    }


def _paths(commits: Sequence[Committed], kind: str) -> tuple[str, ...]:
    return tuple(commit.path(kind, SUFFIX) for commit in commits)
