"""Near dedup: documents in; of those that say nearly the same one keeper out, the others dropped as `near_duplicate`.

MinHash-LSH finds candidates, true Jaccard decides: a document is dropped only if the similarity of its shingle set with
its keeper's, recomputed from the text, is at least `min_jaccard`. Passes, each over files:

| pass | shards | does |
|---|---|---|
| `keys` | parts | band keys of every document (`candidates`) |
| `edges` | buckets of keys | documents that share a key (`candidates`) |
| `members` | one | connected components: the clusters (`clusters`) |
| `shingles` | parts | shingle sets of clusters' members alone, from the text, by cluster |
| `verdicts` | groups of clusters | elect keepers, verify, elect again (`verify`) |
| final | parts | `kept/`, `dropped/`, `signals/`, `clusters/` |

A pair of similarity s is found with probability `candidate_probability(s, config)` at least; what is lost to LSH is
kept, never dropped. Keepers are elected by `keepers`: order, shards and workers have no influence on what is kept.
With `verify=False` every member but the best of its cluster is dropped, however unlike, as
`near_duplicate_unverified`.

Out, beside `kept/`: `dropped/` has `keeper_source`, `keeper_id`, `similarity` (null unverified). `signals/` has
`cluster_size` (documents of the cluster, 1 where there is none), `duplicate_count` (documents that the kept one
stands for, itself included; of a dropped one its keeper's), `keeper_similarity` (0.0 where the document is kept),
`is_duplicate`. `clusters/` lists every member of every cluster, in the part it lies in: id, source, cluster (a name
made of the elected keeper of the whole cluster), cluster_size, kept, keeper_source, keeper_id, similarity (the last
three null where kept).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.artifact import Artifact, Built
from pipelines.errors import ConfigError
from pipelines.executors import Needs
from pipelines.kernels.minhash import MinHashConfig
from pipelines.makers.keepers import Prefer, check_prefer, check_prefer_columns
from pipelines.makers.near.candidates import KEYS_PER_BUCKET, pair_bucket, sign_part
from pipelines.makers.near.clusters import BYTES_PER_DOCUMENT, connect
from pipelines.makers.near.election import elect_keepers, gather_members
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
from pipelines.shards import ShardOutput

SHINGLES_PER_GROUP: Final = 1 << 24
"""Shingles that a task of the `verdicts` pass holds, about: 128 MB, unless one cluster alone has more."""
REASON: Final = "near_dedup/near_duplicate"
REASON_UNVERIFIED: Final = "near_dedup/near_duplicate_unverified"


@dataclass(frozen=True, kw_only=True)
class NearDedup:
    """Maker of `dedup_near`. Several inputs are deduplicated as one; exact duplicates are best removed before.

    `min_jaccard` (above 0, at most 1) is the lowest similarity with its keeper at which a document is dropped.
    `max_documents_in_memory` bounds the one task that joins clusters, at 24 bytes a document (4.8 GB by default).
    Raises ConfigError at construction for what cannot be, and when the input has more documents than that.
    """

    config: MinHashConfig = field(default_factory=MinHashConfig)
    min_jaccard: float = 0.8
    prefer: Prefer = ()
    verify: bool = True
    dropped_text: str = "sample"
    max_documents_in_memory: int = 200_000_000
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_prefer(self.prefer)
        if not 0.0 < self.min_jaccard <= 1.0:
            raise ConfigError(f"min_jaccard = {self.min_jaccard}: a similarity above 0 and at most 1; 0.8 is usual")
        if self.dropped_text not in DROPPED_TEXT:
            raise ConfigError(f"dropped_text = {self.dropped_text!r}; expected one of {', '.join(DROPPED_TEXT)}")

    def described_rules(self) -> list[dict[str, Any]]:
        """For the manifest: a document is dropped where `is_duplicate` holds."""
        return [duplicate_rule(REASON if self.verify else REASON_UNVERIFIED)]

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """The passes of the module's table."""
        parts = number_parts(inputs)
        for part in parts:
            check_prefer_columns(self.prefer, storage.read_schema(part.uri), where=part.uri)
        num_documents = sum(part.rows for part in parts)
        if num_documents > self.max_documents_in_memory:
            raise ConfigError(
                f"near dedup of {num_documents} documents is more than max_documents_in_memory = "
                f"{self.max_documents_in_memory}; raise it if a worker has {num_documents * BYTES_PER_DOCUMENT >> 20} "
                "MB to spare, or remove exact duplicates first, or deduplicate each source by itself"
            )
        members, member_counts = self._find_clusters(parts, num_documents, passes)
        shingles_each = max(1, member_counts["shingles"] // max(1, num_documents))
        num_groups = buckets_for(member_counts["members"] * shingles_each, SHINGLES_PER_GROUP)
        shingles = passes.run(
            "shingles",
            partial(
                gather_members,
                uris=members,
                config=self.config,
                prefer=self.prefer,
                verify=self.verify,
                num_groups=num_groups,
                num_parts=len(parts),
            ),
            parts,
        )
        verdicts = passes.run(
            "verdicts",
            partial(
                elect_keepers,
                uris=tuple(commit.path("shingles", SUFFIX) for commit in shingles),
                prefer=self.prefer,
                min_jaccard=self.min_jaccard,
                verify=self.verify,
                num_groups=num_groups,
                num_parts=len(parts),
            ),
            number_buckets(num_groups),
        )
        uris = tuple(commit.path("verdicts", SUFFIX) for commit in verdicts)
        work = partial(
            keep_and_drop,
            uris=uris,
            num_parts=len(parts),
            dropped_text=self.dropped_text,
            reason=REASON if self.verify else REASON_UNVERIFIED,
        )
        passes.final(work, parts)
        passes.note("near_dedup", member_counts | {"verified": self.verify})

    def _find_clusters(
        self, parts: tuple[NumberedPart, ...], num_documents: int, passes: Passes
    ) -> tuple[tuple[str, ...], dict[str, int]]:
        num_buckets = buckets_for(num_documents * self.config.num_bands, KEYS_PER_BUCKET)
        keys = passes.run("keys", partial(sign_part, config=self.config, num_buckets=num_buckets), parts)
        uris = tuple(commit.path("keys", SUFFIX) for commit in keys)
        pair = partial(pair_bucket, uris=uris, num_buckets=num_buckets)
        edges = passes.run("edges", pair, number_buckets(num_buckets))
        join = partial(connect, uris=tuple(commit.path("edges") for commit in edges), parts=parts)
        needs = Needs(memory_bytes=num_documents * BYTES_PER_DOCUMENT + (512 << 20))
        (members,) = passes.run("members", join, number_buckets(1), needs=needs)
        counts = {
            "shingles": sum(commit.counts["shingles"] for commit in keys),
            "documents_without_words": sum(commit.counts["documents_without_words"] for commit in keys),
            "shared_keys": sum(commit.counts["shared_keys"] for commit in edges),
            "documents_of_largest_key": max(commit.counts["largest_key"] for commit in edges),
            "clusters": members.counts["clusters"],
            "members": members.counts["members"],
            "largest_cluster": members.counts["largest"],
        }
        return (members.path("members", SUFFIX),), counts


def dedup_near(artifact: Artifact, *more: Artifact, name: str = "", **options: Any) -> Artifact:
    """Describe `artifact` (and `more`, as one) without near duplicates; `options` are the fields of NearDedup."""
    return Artifact(name=name or f"{artifact.name}-near", maker=NearDedup(**options), inputs=(artifact, *more))


def keep_and_drop(
    part: NumberedPart, out: ShardOutput, *, uris: tuple[str, ...], num_parts: int, dropped_text: str, reason: str
) -> dict[str, Any]:
    """Final pass: one part into kept, dropped, signals and clusters."""
    judge = partial(_judge, verdicts=verdicts_of(uris, part, num_parts), out=out, reason=reason)
    return write_outcome(part, out, judge, dropped_text=dropped_text)


def _judge(batch: pa.RecordBatch, first_row: int, *, verdicts: pa.Table, out: ShardOutput, reason: str) -> Judgement:
    found = verdicts_on_batch(verdicts, first_row, batch.num_rows)
    is_duplicate = found["keeper_id"].is_valid()
    keeper = {name: found[name] for name in ("keeper_source", "keeper_id", "similarity")}
    in_cluster = found["cluster"].is_valid()
    members = {"id": batch.column("id"), "source": batch.column("source")}
    members |= {"cluster": found["cluster"], "cluster_size": found["cluster_size"], "kept": pc.invert(is_duplicate)}
    out.write("clusters", pa.RecordBatch.from_pydict(members | keeper).filter(in_cluster))
    return Judgement(
        reasons=pc.if_else(is_duplicate, pa.scalar(reason), pa.scalar(None, pa.string())),
        extra=keeper,
        signals={
            "cluster_size": found["cluster_size"].fill_null(1),
            "duplicate_count": found["duplicate_count"].fill_null(1),
            "keeper_similarity": found["similarity"].fill_null(0.0),
            "is_duplicate": is_duplicate,
        },
    )
