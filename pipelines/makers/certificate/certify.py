"""`certify`: the passes of a certificate, one after the other, and its JSON. See the package for what is measured.

| pass | shards | does |
|---|---|---|
| `certificate_frame` | parts | candidates for samples, by cell (`frame`) |
| `certificate_draw` | one | the samples (`frame`) |
| `certificate_texts` | parts with a sampled document | shingle sets of queries, texts of pairs (`texts`) |
| `certificate_index` | groups of queries | an inverted index over their rarest shingles (`index`) |
| `certificate_probe` | parts, for each group | true pairs of every query in the whole corpus, counted (`probe`) |
| `certificate_totals` | one | sums of these (`probe`) |
| `certificate_pairs` | runs of buckets of pairs | similarity of dropped documents and keepers, recomputed (`precision`) |

The corpus is read twice, `frame` for lengths alone; texts go to other tasks for sampled pairs only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from pipelines import storage
from pipelines.counting import add_counts
from pipelines.fingerprint import seed_for
from pipelines.kernels.minhash import MinHashConfig
from pipelines.makers.certificate.frame import DROPPED, LARGEST, MAX_LARGEST, draw, write_frame
from pipelines.makers.certificate.index import group_queries, index_queries
from pipelines.makers.certificate.precision import compare_texts, runs_of
from pipelines.makers.certificate.probe import (
    LOWEST,
    Probe,
    probe_part,
    read_totals,
    sum_probes,
)
from pipelines.makers.certificate.report import (
    FORMAT,
    describe_largest,
    describe_precision,
    describe_recall,
    describe_removed,
    describe_sketch,
)
from pipelines.makers.certificate.sampling import Allocation, Certify, Limits, allocate
from pipelines.makers.certificate.texts import gather_texts, num_pair_buckets
from pipelines.makers.near.strata import Counts
from pipelines.makers.outcome import NumberedPart, number_buckets
from pipelines.makers.shuffle import SUFFIX
from pipelines.passes import Passes
from pipelines.shards import Committed

REPORTED_JACCARD: Final = 0.85
"""Where recall is certified besides `min_jaccard`: what users of near dedup compare by."""


def certify(
    parts: Sequence[NumberedPart],
    passes: Passes,
    *,
    options: Certify,
    config: MinHashConfig,
    min_jaccard: float,
    verdicts: tuple[str, ...],
    exact: tuple[str, ...],
    strata: Counts,
    removed: Counts,
    clusters: Mapping[str, Any],
    verified: bool,
    sketch_size: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> dict[str, Any]:
    """The certificate of a near dedup of `parts`: plain JSON, its format in `report`.

    `verdicts` are shuffle files by part in the schema `election.VERDICT`, `exact` those of exact dedup. `strata` and
    `removed` are documents and dropped documents by stratum; of `clusters` the entry "sizes" is shown. `sketch_size`
    is that of the index of earlier releases, if there was one.
    """
    num_parts = len(parts)
    queries, dropped, largest, counts, frames = _frame(parts, passes, options, verdicts, exact)
    (drawn,) = passes.run(
        "certificate_draw",
        partial(draw, uris=frames, queries=queries, dropped=dropped, largest=tuple(largest)),
        number_buckets(1),
    )
    num_queries, num_pairs = drawn.counts["queries"], drawn.counts["pairs"]
    texts = passes.run(
        "certificate_texts",
        partial(
            gather_texts,
            uri=drawn.path("wanted", SUFFIX),
            verdicts=verdicts,
            config=config,
            num_parts=num_parts,
            num_pairs=num_pairs,
            limits=limits,
        ),
        [part for part in parts if str(part.number) in drawn.counts["wanted"]],
    )
    sizes = {int(number): size for commit in texts for number, size in commit.counts["shingles"].items()}
    skipped = [sizes[number] > limits.max_query_shingles for number in range(num_queries)]
    thresholds = tuple(dict.fromkeys((min_jaccard, REPORTED_JACCARD)))
    comparable = {number: size for number, size in sizes.items() if 0 < size <= limits.max_query_shingles}
    lowest = min(LOWEST, min_jaccard)
    index = passes.run(
        "certificate_index",
        partial(
            index_queries,
            uris=tuple(commit.path("chosen") for commit in texts),
            num_bands=config.num_bands,
            lowest=lowest,
        ),
        group_queries(comparable, limits.shingles_per_group),
    )
    probed = passes.run(
        "certificate_probe",
        partial(
            probe_part,
            config=config,
            thresholds=thresholds,
            lowest=lowest,
            verdicts=verdicts,
            exact=exact,
            num_parts=num_parts,
        ),
        _probes(parts, index),
    )
    uris = tuple(commit.path("probed") for commit in probed)
    (totals,) = passes.run(
        "certificate_totals",
        partial(sum_probes, uris=uris, num_queries=num_queries, num_thresholds=len(thresholds)),
        number_buckets(1),
    )
    compared = _compare_pairs(drawn, texts, passes, num_pairs, config.shingle_size, limits)
    cells = storage.read_table(drawn.path("queries")).column("cell").to_pylist()
    recall = describe_recall(
        read_totals(totals.path("totals"), num_queries, len(thresholds)), cells, skipped, queries, thresholds, config
    )
    sample = [pair for pair in compared if pair["frame"] == DROPPED]
    return {
        "format": FORMAT,
        "verified": verified,
        "min_jaccard": min_jaccard,
        "config": asdict(config),
        "options": asdict(options),
        "documents": {
            "all": counts["rows"],
            "exact_duplicates": counts["rows"] - counts["unique"],
            "compared": counts["unique"],
            "near_duplicates": counts["dropped"],
            "near_duplicates_by_sketch": counts["by_sketch"],
            "near_duplicates_by_release": counts["by_release"],
            "kept": counts["unique"] - counts["dropped"],
        },
        "recall": recall | {"skipped_queries": {limits.skipped_query(): sum(skipped)} if any(skipped) else {}},
        "precision": describe_precision(sample, dropped, min_jaccard),
        "by_sketch": describe_sketch(counts["by_sketch"], sketch_size, min_jaccard),
        "removed": describe_removed(strata, removed),
        "cluster_sizes": dict(clusters.get("sizes", {})),
        "largest_clusters": describe_largest(largest, [pair for pair in compared if pair["frame"] == LARGEST]),
    }


def _frame(
    parts: Sequence[NumberedPart],
    passes: Passes,
    options: Certify,
    verdicts: tuple[str, ...],
    exact: tuple[str, ...],
) -> tuple[Allocation, Allocation, dict[str, int], dict[str, Any], tuple[str, ...]]:
    """Samples to take of queries and of dropped documents, the largest clusters, counts, frames by part number."""
    seeds = tuple(seed_for(options.seed, "near_dedup", "certificate", frame) for frame in ("queries", "dropped"))
    commits = passes.run(
        "certificate_frame",
        partial(
            write_frame,
            options=options,
            seeds=(seeds[0], seeds[1]),
            verdicts=verdicts,
            exact=exact,
            num_parts=len(parts),
        ),
        parts,
    )
    counts: dict[str, Any] = {}
    largest: dict[str, int] = {}
    for commit in commits:
        largest |= commit.counts["largest"]
        counts = add_counts(counts, {name: value for name, value in commit.counts.items() if name != "largest"})
    order = sorted(largest, key=lambda name: (-largest[name], name))[:MAX_LARGEST]
    population = counts["population"]
    by_name = {commit.shard: commit.path("frame") for commit in commits}
    return (
        allocate(population["queries"], options.num_queries),
        allocate(population["dropped"], options.num_dropped),
        {name: largest[name] for name in order},
        counts,
        tuple(by_name[part.name] for part in parts),
    )


def _probes(parts: Sequence[NumberedPart], index: Sequence[Committed]) -> list[Probe]:
    return [
        Probe(name=f"{part.name}-{commit.shard}", part=part, index=commit.path("index", ".npy"))
        for commit in index
        for part in parts
    ]


def _compare_pairs(
    drawn: Committed, texts: Sequence[Committed], passes: Passes, num_pairs: int, shingle_size: int, limits: Limits
) -> list[dict[str, Any]]:
    """Every sampled pair as in `precision.COMPARED`, by number."""
    work = partial(
        compare_texts,
        pairs=drawn.path("pairs"),
        uris=tuple(commit.path("texts", SUFFIX) for commit in texts),
        num_buckets=num_pair_buckets(num_pairs),
        shingle_size=shingle_size,
        limits=limits,
    )
    commits = passes.run("certificate_pairs", work, runs_of(num_pair_buckets(num_pairs)) if num_pairs else ())
    rows = [row for commit in commits for row in storage.read_table(commit.path("compared")).to_pylist()]
    return sorted(rows, key=lambda row: int(row["number"]))
