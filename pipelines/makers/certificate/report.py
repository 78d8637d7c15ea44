"""The certificate as plain JSON (`certificate.json`, format 1). Shares are 0 to 1, intervals are of 95%.

```
format, verified, min_jaccard, config {field: value of MinHashConfig}, options {field: value of Certify}
documents       all, exact_duplicates, compared (all but these), near_duplicates, near_duplicates_by_sketch,
                near_duplicates_by_release (dropped for a document of an earlier release, by_sketch among them), kept
recall          num_queries (compared ones), is_census (every document was a query: estimates are exact),
                skipped_queries {why: number}
    strata      [source, language, length ("*": several), documents, queries]
    at          [min_jaccard, estimate, low, high, pairs_seen, resolved_seen, queries_with_pairs, pairs_in_corpus
                (estimated), effective_queries]; estimate is null where no true pair was seen; [0, 1] then
    s_curve     [from_jaccard, to_jaccard, theory (1 - (1 - s**r)**b at the middle), pairs_seen, found_seen, estimate,
                low, high (all three of "found by bands"), resolved (a share), pairs_in_corpus]
precision       num_sampled, num_compared, skipped {why: number}, reached (at least min_jaccard), estimate, low, high,
                is_census, largest_deviation (of the recorded similarity; null unverified), num_deviating,
                below [up to 5 pairs under min_jaccard, least similar first], deviating [up to 5 pairs]
by_sketch       dropped, sketch_size, standard_error (sqrt(s (1 - s) / k) at min_jaccard; null without an index)
removed         {source, language, length: {bucket: documents, removed, share}}
cluster_sizes   {power of two: clusters of so many members or more, up to the next}
largest_clusters [cluster, size, pairs]
```

A pair is `{similarity, recomputed, dropped {source, id, excerpt}, keeper {...}}`; excerpts are raw text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.kernels.minhash import MinHashConfig, candidate_probability
from pipelines.makers.certificate.intervals import Interval, ratio_interval
from pipelines.makers.certificate.probe import BINS, FOUND, RESOLVED, TRUE
from pipelines.makers.certificate.sampling import Allocation, cell_fields

FORMAT: Final = 1
CERTIFICATE: Final = "certificate.json"
MAX_SHOWN: Final = 5
_BIN_WIDTH: Final = 0.05

I64 = npt.NDArray[np.int64]


def describe_recall(
    totals: I64,
    cells: Sequence[str],
    skipped: Sequence[bool],
    queries: Allocation,
    thresholds: Sequence[float],
    config: MinHashConfig,
) -> dict[str, Any]:
    """The section `recall`. `totals` int64 [num_queries, 3, bins and thresholds] of `probe`, `cells` of each query."""
    names = queries.names()
    number = {name: i for i, name in enumerate(names)}
    seen = ~np.array(skipped, np.bool_)
    cell = np.array([number[name] for name in cells], np.int64)[seen]
    population = np.array([queries.documents[name] for name in names], np.int64)
    totals = totals[seen]
    curve, at = [], []
    for column, low in enumerate(BINS):
        counts = totals[:, :, column]
        found = ratio_interval(counts[:, FOUND], counts[:, TRUE], cell, population)
        resolved = ratio_interval(counts[:, RESOLVED], counts[:, TRUE], cell, population)
        curve.append(
            {"from_jaccard": low, "to_jaccard": round(low + _BIN_WIDTH, 2)}
            | {"theory": round(candidate_probability(low + _BIN_WIDTH / 2, config), 6)}
            | {"pairs_seen": int(counts[:, TRUE].sum()), "found_seen": int(counts[:, FOUND].sum())}
            | _interval(found)
            | {"resolved": _rounded(resolved.estimate), "pairs_in_corpus": round(found.total / 2, 1)}
        )
    for i, threshold in enumerate(thresholds):
        counts = totals[:, :, len(BINS) + i]
        interval = ratio_interval(counts[:, RESOLVED], counts[:, TRUE], cell, population)
        at.append(
            {"min_jaccard": threshold}
            | _interval(interval)
            | {"pairs_seen": int(counts[:, TRUE].sum()), "resolved_seen": int(counts[:, RESOLVED].sum())}
            | {"queries_with_pairs": int((counts[:, TRUE] > 0).sum()), "pairs_in_corpus": round(interval.total / 2, 1)}
            | {"effective_queries": None if interval.effective is None else round(interval.effective, 1)}
        )
    sampled = np.bincount(cell, minlength=len(names)).tolist()
    strata = [
        cell_fields(name) | {"documents": queries.documents[name], "queries": sampled[i]}
        for i, name in enumerate(names)
    ]
    census = bool(np.all(np.array(sampled, np.int64) >= population))
    return {"num_queries": int(seen.sum()), "is_census": census, "strata": strata, "at": at, "s_curve": curve}


def describe_precision(pairs: Sequence[Mapping[str, Any]], dropped: Allocation, min_jaccard: float) -> dict[str, Any]:
    """The section `precision`, from pairs as in `precision.COMPARED` of the sample of dropped documents."""
    names = dropped.names()
    number = {name: i for i, name in enumerate(names)}
    compared = [pair for pair in pairs if pair["recomputed"] is not None]
    skipped: dict[str, int] = {}
    for pair in pairs:
        if pair["recomputed"] is None:
            skipped[pair["skipped"]] = skipped.get(pair["skipped"], 0) + 1
    similarity = np.array([pair["recomputed"] for pair in compared], np.float64)
    reached = (similarity >= min_jaccard).astype(np.int64)
    cells = np.array([number[pair["cell"]] for pair in compared], np.int64)
    population = np.array([dropped.documents[name] for name in names], np.int64)
    interval = ratio_interval(reached, np.ones_like(reached), cells, population)
    off = [abs(p["recomputed"] - p["similarity"]) for p in compared if p["similarity"] is not None]
    below = sorted((p for p in compared if p["recomputed"] < min_jaccard), key=lambda p: (p["recomputed"], p["number"]))
    deviating = [p for p in compared if p["similarity"] is not None and p["similarity"] != p["recomputed"]]
    deviating.sort(key=lambda p: (-abs(p["recomputed"] - p["similarity"]), p["number"]))
    return {
        "num_sampled": len(pairs),
        "num_compared": len(compared),
        "skipped": dict(sorted(skipped.items())),
        "reached": int(reached.sum()),
        **_interval(interval),
        "is_census": interval.effective is None and bool(pairs),
        "largest_deviation": max(off) if off else None,
        "num_deviating": len(deviating),
        "below": [show_pair(pair) for pair in below[:MAX_SHOWN]],
        "deviating": [show_pair(pair) for pair in deviating[:MAX_SHOWN]],
    }


def describe_sketch(dropped: int, sketch_size: int | None, min_jaccard: float) -> dict[str, Any]:
    """The section `by_sketch`: error of the bottom-k estimate of a similarity at the threshold (Broder 1997)."""
    error = None if sketch_size is None else round(math.sqrt(min_jaccard * (1.0 - min_jaccard) / sketch_size), 6)
    return {"dropped": dropped, "sketch_size": sketch_size, "standard_error": error}


def describe_removed(
    documents: Mapping[str, Mapping[str, int]], removed: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """The section `removed`: every bucket of every stratum with its documents and how many of them near dedup dropped."""
    return {
        stratum: {
            bucket: {"documents": number, "removed": lost, "share": round(lost / number, 6) if number else 0.0}
            for bucket, number in sorted(buckets.items())
            for lost in (removed.get(stratum, {}).get(bucket, 0),)
        }
        for stratum, buckets in sorted(documents.items())
    }


def describe_largest(clusters: Mapping[str, int], pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The section `largest_clusters`, largest first, equal ones by name."""
    order = sorted(clusters, key=lambda name: (-clusters[name], name))
    return [
        {"cluster": name, "size": clusters[name], "pairs": [show_pair(pair) for pair in pairs if pair["cell"] == name]}
        for name in order
    ]


def show_pair(pair: Mapping[str, Any]) -> dict[str, Any]:
    """A pair as the certificate shows it."""
    return {name: pair[name] for name in ("similarity", "recomputed", "dropped", "keeper")}


def _interval(interval: Interval) -> dict[str, float | None]:
    return {"estimate": _rounded(interval.estimate), "low": round(interval.low, 6), "high": round(interval.high, 6)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
