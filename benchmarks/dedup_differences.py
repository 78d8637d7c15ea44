"""Why eyas and datatrove remove different documents: each one with a cause that is checked by computing it again.

Documents that eyas drops and datatrove keeps, `d` with our keeper `k`; s(a, b) is true Jaccard by our shingles:

| cause | what is checked |
|---|---|
| `their_keeper` | both are in one of their clusters, s(d, k) reaches the threshold: they keep d and remove others |
| `too_short_for_them` | d or k has no shingle by their rule (fewer than 5 words): they never compare it |
| `their_normalization` | no band of theirs agrees, and Jaccard by their own shingles is below the threshold |
| `missed_by_their_lsh` | no band of theirs agrees, though Jaccard by their own shingles reaches the threshold |

Documents that datatrove removes and eyas keeps, `d` in their cluster C with its representative `r`:

| cause | what is checked |
|---|---|
| `our_keeper` | another of C is dropped by us for d, with s at the threshold: the same duplicates, another keeper |
| `their_normalization` | s(d, m) is below the threshold for all m of C that we keep, by their shingles s(d, r) is not |
| `their_chain` | the same, but some m of C that we drop has s(d, m) at the threshold: they went on from m to r |
| `their_false_positive` | no m of C has s(d, m) at the threshold: bands agreed, the texts are unlike |
| `missed_by_our_lsh` | some m of C that we keep has s(d, m) at the threshold, and no band of ours agrees |

What fits none is unexplained, and the benchmark fails.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from pipelines.kernels.minhash import MinHashConfig, band_keys, signatures_of_texts
from pipelines.kernels.shingles import jaccard, shingle_sets

MIN_JACCARD = 0.8


@dataclass(kw_only=True)
class Differences:
    """Counts by side and cause, and the documents that have none."""

    documents: int
    removed_by_both: int
    ours_only: Counter[str] = field(default_factory=Counter)
    theirs_only: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "documents": self.documents,
            "removed_by_both": self.removed_by_both,
            "removed_by_eyas_alone": dict(sorted(self.ours_only.items())),
            "removed_by_datatrove_alone": dict(sorted(self.theirs_only.items())),
            "unexplained": len(self.unexplained),
        }


class Corpus:
    """Texts by id, and what either side makes of one: computed when asked, remembered."""

    def __init__(self, kept: Path) -> None:
        from datatrove.pipeline.dedup.minhash import MinhashDedupSignature

        from benchmarks.dedup import _datatrove_config

        self.texts: dict[str, str] = {}
        self.place: dict[tuple[int, int], str] = {}
        for number, path in enumerate(sorted(kept.glob("*.parquet"))):
            table = pq.read_table(path, columns=["id", "text"])
            for row, (document, text) in enumerate(zip(*(column.to_pylist() for column in table.columns), strict=True)):
                self.texts[document] = text
                self.place[number, row] = document
        self._step = MinhashDedupSignature(output_folder="/tmp", config=_datatrove_config())  # noqa: S108 - not written
        self._ours: dict[str, Any] = {}
        self._theirs: dict[str, Any] = {}

    def our_set(self, document: str) -> Any:
        """Ascending shingle hashes."""
        if document not in self._ours:
            self._ours[document] = shingle_sets(self._array(document), 5)[0]
        return self._ours[document]

    def similarity(self, left: str, right: str) -> float:
        """True Jaccard by our shingles."""
        return jaccard(self.our_set(left), self.our_set(right))

    def our_bands_agree(self, left: str, right: str) -> bool:
        """Whether one of our band keys is the same."""
        config = MinHashConfig()
        keys = band_keys(
            signatures_of_texts(pa.array([self.texts[left], self.texts[right]], pa.large_string()), config)[0], config
        )
        return bool(np.any(keys[0] == keys[1]))

    def their_shingles(self, document: str) -> Any:
        """datatrove's hashes, uint64 [n, 1]."""
        if document not in self._theirs:
            self._theirs[document] = self._step.get_shingles(self.texts[document])
        return self._theirs[document]

    def their_similarity(self, left: str, right: str) -> float:
        """True Jaccard by their shingles."""
        a, b = (np.unique(self.their_shingles(document)) for document in (left, right))
        return jaccard(a, b)

    def their_bands_agree(self, left: str, right: str) -> bool:
        """Whether one of their buckets has the same signature."""
        a, b = (self._step.get_signature(self.their_shingles(document)) for document in (left, right))
        return any(x == y for x, y in zip(a, b, strict=True))

    def _array(self, document: str) -> pa.Array:
        return pa.array([self.texts[document]], pa.large_string())


def explain(*, kept: Path, ours: Path, theirs: str) -> Differences:
    """Compare the artifact `ours` with what datatrove left in `theirs`; both worked on the files of `kept`."""
    corpus = Corpus(kept)
    dropped = {}
    for path in sorted((ours / "dropped").glob("*.parquet")):
        table = pq.read_table(path, columns=["id", "keeper_id"])
        dropped.update(zip(table.column("id").to_pylist(), table.column("keeper_id").to_pylist(), strict=True))
    clusters, removed = _their_clusters(corpus, theirs)
    members: dict[int, list[str]] = {}
    for document, cluster in clusters.items():
        members.setdefault(cluster, []).append(document)
    found = Differences(documents=len(corpus.texts), removed_by_both=len(removed & dropped.keys()))
    for document in sorted(dropped.keys() - removed):
        cause = _ours_alone(corpus, document, dropped[document], clusters)
        found.ours_only[cause or "unexplained"] += 1
        if cause is None:
            found.unexplained.append(f"{document} dropped for {dropped[document]}")
    for document in sorted(removed - dropped.keys()):
        cause = _theirs_alone(corpus, document, members[clusters[document]], dropped, removed)
        found.theirs_only[cause or "unexplained"] += 1
        if cause is None:
            found.unexplained.append(f"{document} removed by datatrove")
    return found


def _their_clusters(corpus: Corpus, theirs: str) -> tuple[dict[str, int], set[str]]:
    """Cluster of each clustered document, and the documents removed: their step again, told to write clusters too."""
    from datatrove.pipeline.dedup.minhash import MinhashDedupCluster

    from benchmarks.dedup import _datatrove_config

    folder = Path(theirs, "clusters")
    MinhashDedupCluster(
        input_folder=f"{theirs}/dups", output_folder=str(folder), config=_datatrove_config(), save_cluster_id=True
    ).run(None, 0, 1)
    clusters, removed = {}, set()
    for path in folder.glob("*.clusters"):
        for row, cluster in np.frombuffer(path.read_bytes(), "<u4").reshape(-1, 2).tolist():
            clusters[corpus.place[int(path.stem), row]] = cluster
    for path in Path(theirs, "remove").glob("*.remove"):
        removed |= {corpus.place[int(path.stem), row] for row in np.frombuffer(path.read_bytes(), "<u4").tolist()}
    return clusters, removed


def _ours_alone(corpus: Corpus, document: str, keeper: str, clusters: dict[str, int]) -> str | None:
    equal = corpus.texts[document].split() == corpus.texts[keeper].split()
    if not equal and corpus.similarity(document, keeper) < MIN_JACCARD:
        return None
    if not corpus.their_shingles(document).size or not corpus.their_shingles(keeper).size:
        return "too_short_for_them"
    if document in clusters and clusters[document] == clusters.get(keeper):
        return "their_keeper"
    if corpus.their_bands_agree(document, keeper):
        return None
    near = corpus.their_similarity(document, keeper) >= MIN_JACCARD
    return "missed_by_their_lsh" if near else "their_normalization"


def _theirs_alone(
    corpus: Corpus, document: str, members: list[str], dropped: dict[str, str], removed: set[str]
) -> str | None:
    others = [member for member in members if member != document]
    if any(dropped.get(m) == document and corpus.similarity(document, m) >= MIN_JACCARD for m in others):
        return "our_keeper"
    near = [member for member in others if corpus.similarity(document, member) >= MIN_JACCARD]
    if near_kept := [member for member in near if member not in dropped]:
        return None if any(corpus.our_bands_agree(document, m) for m in near_kept) else "missed_by_our_lsh"
    representative = next(member for member in members if member not in removed)
    if corpus.their_similarity(document, representative) >= MIN_JACCARD:
        return "their_normalization"
    return "their_chain" if near else "their_false_positive"


def tell(found: Differences, console: Console) -> None:
    """The table."""
    table = Table(title=f"removed by both: {found.removed_by_both} of {found.documents}")
    for column in ("removed by", "cause", "documents"):
        table.add_column(column, justify="right" if column == "documents" else "left")
    for side, counts in (("eyas alone", found.ours_only), ("datatrove alone", found.theirs_only)):
        for cause, number in sorted(counts.items()):
            table.add_row(side, cause, str(number))
    console.print(table)
