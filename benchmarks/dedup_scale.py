"""Near dedup at scale on documents made for it: time, bytes and memory of every pass, recall and precision of the whole.

    python -m benchmarks.dedup_scale --documents 100000 1000000 10000000 --workers 2
    python -m benchmarks.dedup_scale --planted                     # 200,000 documents of 30 to 2,000 words
    python -m benchmarks.dedup_scale --case identical --documents 1000000

Cases: `zipf` (short planted documents, `benchmarks.planted`), `identical` (one text), `empty` (no text), `band` (each
document is `--share` one common text and else its own words, so that bands join unlike documents), `giant` (one
document of `--giant-megabytes` and its near copy among planted ones).

The corpus is made by a maker of its own before the clock starts; then `dedup_near` is built from Parquet to kept
Parquet. Memory is the highest `VmHWM` of a worker, or of this process. No peer is run. What is printed last is an
estimate for 10 billion documents: everything but the driver is linear in documents at a given size of a task.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from benchmarks.harness import RESULTS, console
from benchmarks.planted import GROUP, Planting, num_groups, planted_pairs, similarities_by_position
from pipelines.artifact import Artifact, Built, build
from pipelines.counting import add_counts, count_outcome
from pipelines.errors import GuardStopped
from pipelines.executors.local import Local
from pipelines.makers.near.guard import Guard
from pipelines.makers.near_dedup import dedup_near
from pipelines.passes import Passes, peak_memory_bytes
from pipelines.schema import DOCUMENT
from pipelines.shards import ShardOutput

CASES = ("zipf", "identical", "empty", "band", "giant")
SHORT = {"median_words": 50, "spread": 0.6, "min_words": 8, "max_words": 400}
BATCH_DOCUMENTS = 1024
BAND_WORDS = 120
RECALL_FROM = 0.85
SAMPLED_GROUPS = 2_000
SAMPLED_DROPS = 100_000
TARGET = 10_000_000_000


# --- the corpus as an artifact ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Block:
    """Positions `first` to `last` as a shard."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class Plant:
    """Maker without inputs: the corpus of one case as kept documents, `block_documents` a file."""

    planting: Planting = field(default_factory=Planting)
    case: str = "zipf"
    share: float = 0.75
    giant_bytes: int = 200_000_000
    block_documents: int = 100_000
    version: ClassVar[int] = 1

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """One pass, a block a shard."""
        total = self.planting.num_documents
        firsts = range(0, total, self.block_documents)
        last = [min(first + self.block_documents, total) for first in firsts]
        blocks = [
            Block(name=f"block-{i:05d}", first=a, last=b) for i, (a, b) in enumerate(zip(firsts, last, strict=True))
        ]
        passes.final(_PlantBlock(plant=self), blocks)

    def documents(self, first: int, last: int) -> pa.RecordBatch:
        """Documents at positions `first` to `last` of this case: id, source, language, text."""
        batch = self.planting.documents(first, last)
        if self.case == "zipf":
            return batch
        if self.case == "giant":
            return self._with_giants(batch, first)
        if self.case == "empty":
            texts = pa.array([""] * batch.num_rows, pa.large_string())
        elif self.case == "identical":
            texts = self.planting.documents_at(np.zeros(batch.num_rows, np.int64)).column("text")
        else:
            texts = self._banded(first, batch.num_rows)
        return batch.set_column(batch.schema.get_field_index("text"), "text", texts)

    def _banded(self, first: int, num_rows: int) -> pa.Array:
        shared = round(BAND_WORDS * self.share)
        common = " ".join(f"common{i}" for i in range(shared))
        own = (" ".join(f"w{i}x{k}" for k in range(BAND_WORDS - shared)) for i in range(first, first + num_rows))
        return pa.array([f"{common} {words}" for words in own], pa.large_string())

    def _with_giants(self, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
        texts = batch.column("text").to_pylist()
        for position, stride in ((0, 0), (self.planting.num_documents - 1, 400)):
            if first <= position < first + batch.num_rows:
                numbers = np.arange(self.giant_bytes // 9) % 99_999_989 * 48_271 % 100_000_000
                if stride:
                    numbers[::stride] += 1
                texts[position - first] = " ".join(np.char.zfill(numbers.astype(str), 8).tolist())
        return batch.set_column(3, "text", pa.array(texts, pa.large_string()))


@dataclass(frozen=True, kw_only=True)
class _PlantBlock:
    plant: Plant

    def __call__(self, block: Block, out: ShardOutput) -> dict[str, Any]:
        firsts = range(block.first, block.last, BATCH_DOCUMENTS)
        batches = (self.plant.documents(first, min(first + BATCH_DOCUMENTS, block.last)) for first in firsts)
        return write_kept(batches, out)


def write_kept(batches: Iterator[pa.RecordBatch], out: ShardOutput) -> dict[str, Any]:
    """Write batches of id, source, language and text as kept documents; returns the counts of a final pass."""
    schema = pa.schema([*DOCUMENT, pa.field("language", pa.string())])
    hashes: list[int] = []
    counts: dict[str, Any] = {}
    for batch in batches:
        given = {name: batch.column(name) for name in batch.schema.names}
        given["locator"] = pc.binary_join_element_wise("planted:", batch.column("id"), "")
        columns = [given[f.name] if f.name in given else pa.nulls(batch.num_rows, f.type) for f in schema]
        documents = pa.RecordBatch.from_arrays(columns, schema=schema)
        out.write("kept", documents)
        ends = pa.array(np.zeros(batch.num_rows + 1, np.int32))
        reasons = pa.ListArray.from_arrays(ends, pa.array([], pa.string()))
        num_bytes = pc.binary_length(batch.column("text")).cast(pa.int64())
        counts = add_counts(counts, count_outcome(documents, reasons, num_bytes=num_bytes))
        pairs = zip(batch.column("source").to_pylist(), batch.column("id").to_pylist(), strict=True)
        hashes += [xxhash.xxh3_64_intdigest(f"{source}\0{document}".encode()) for source, document in pairs]
    out.open("ids", ".u64").write(np.sort(np.array(hashes, np.uint64)).astype("<u8").tobytes())
    return counts | {"records": counts["documents"]}


# --- measuring --------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Meter:
    """A Progress that notes, of every pass, seconds, CPU seconds of the process tree, and bytes it wrote."""

    root: str
    passes: dict[str, dict[str, float]] = field(default_factory=dict)
    _name: str = ""
    _began: float = 0.0
    _cpu: float = 0.0

    def begin(self, artifact: str, name: str, *, total: int, done: int) -> None:
        """Pass `name` of `artifact` begins."""
        self._name, self._artifact, self._shards = name, artifact, total
        self._began, self._cpu = time.monotonic(), tree_cpu_seconds()

    def advance(self, counts: Mapping[str, Any]) -> None:
        """Nothing to note."""

    def end(self) -> None:
        """The pass ended: what it wrote lies below the artifact until the manifest is there."""
        found = [p for p in Path(self.root).glob(f"{self._artifact}/*/") if not (p / "manifest.json").exists()]
        where = "" if self._name == "final" else f"work/{self._name}"
        written = sum(
            p.stat().st_size
            for folder in found
            for p in (folder / where).rglob("*")
            if p.is_file() and (where or "work" not in p.relative_to(folder).parts)
        )
        self.passes[f"{self._artifact}/{self._name}"] = {
            "shards": self._shards,
            "seconds": round(time.monotonic() - self._began, 2),
            "cpu_seconds": round(tree_cpu_seconds() - self._cpu, 2),
            "bytes": written,
        }


def tree_cpu_seconds() -> float:
    """CPU seconds of this process and of all processes below it, those that ended included."""
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            spent[int(entry.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    inside = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in inside} - inside:
        inside |= grown
    return sum(spent.get(pid, 0.0) for pid in inside)


def peaks(directory: Path) -> dict[str, int]:
    """The highest VmHWM after a shard of each pass, over all its workers: a worker's own never falls from pass to pass."""
    return {
        path.stem: max(int(entry.get("peak_bytes") or 0) for entry in json.loads(path.read_text()))
        for path in sorted((directory / "log").glob("*.json"))
    }


def run(plant: Plant, *, workers: int, root: str, options: dict[str, Any]) -> dict[str, Any]:
    """Plant, deduplicate, measure, check. Everything below `root`."""
    executor = Local(workers=workers)
    corpus = Artifact(name="planted", maker=plant, inputs=())
    meter = Meter(root=root)
    planted = build(corpus, root=root, executor=executor, progress=meter)
    began, cpu = time.monotonic(), tree_cpu_seconds()
    said: dict[str, Any] = {
        "case": plant.case,
        "documents": plant.planting.num_documents,
        "text_bytes": planted["counts"]["document_bytes"],
        "workers": workers,
    }
    # The planter's workers are gone from the peak: dedup gets workers of its own.
    artifact = dedup_near(corpus, name="near", **options)
    try:
        manifest = build(artifact, root=root, executor=Local(workers=workers), progress=meter)
    except GuardStopped as stopped:
        manifest = {}
        said["guard"] = str(stopped)
    said |= {"seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(tree_cpu_seconds() - cpu, 1)}
    said["passes"] = {name: found for name, found in meter.passes.items() if name.startswith("near/")}
    (directory,) = (Path(root) / "near").iterdir()
    said["peak_bytes"] = peaks(directory)
    said["driver_peak_bytes"] = peak_memory_bytes()
    if manifest:
        counts = manifest["counts"]
        said |= {"kept": counts["kept"], "dropped": counts["dropped"], "notes": manifest["notes"]}
        if plant.case == "zipf":
            said["quality"] = quality(plant.planting, directory)
    return said


def quality(planting: Planting, directory: Path) -> dict[str, Any]:
    """Recall of planted pairs at RECALL_FROM and above, of which not both may be kept; precision of drops.

    Similarities are recomputed from texts made again. Up to SAMPLED_GROUPS groups, SAMPLED_DROPS drops, evenly spread.
    """
    dropped = np.zeros(planting.num_documents, np.bool_)
    drops, exact = [], []
    for path in sorted((directory / "dropped").glob("*.parquet")):
        table = pq.read_table(path, columns=["id", "keeper_id", "reason"])
        exact.append(pc.equal(table.column("reason"), "exact_duplicate").to_numpy())
        pairs = np.stack([table.column(name).cast(pa.int64()).to_numpy() for name in ("id", "keeper_id")], axis=1)
        dropped[pairs[:, 0]] = True
        drops.append(pairs)
    found = np.concatenate(drops) if drops else np.zeros((0, 2), np.int64)
    was_exact = np.concatenate(exact) if exact else np.zeros(0, np.bool_)
    lost = dropped[found[:, 1]]
    chosen = found[:: max(1, len(found) // SAMPLED_DROPS)]
    similar = _in_steps(planting, chosen)
    total = num_groups(planting)
    groups = range(0, total, max(1, total // SAMPLED_GROUPS))
    pairs = np.concatenate([planted_pairs(planting, group, group + 1) for group in groups])
    truth = _in_steps(planting, pairs)
    missed = ~dropped[pairs[:, 0]] & ~dropped[pairs[:, 1]]
    near = truth >= RECALL_FROM
    unequal = near & (truth < 1.0)
    # in a large family a pair is also found through others; alone in its family it has only its own bands
    occurs = np.bincount(pairs.ravel(), minlength=planting.num_documents)
    alone = unequal & (occurs[pairs] == 1).all(axis=1)
    bins = {
        f"{low:.2f}": [int(missed[inside].sum()), int(inside.sum())]
        for low in np.arange(0.5, 1.0, 0.05).round(2)
        if (inside := (truth >= low) & (truth < low + 0.05)).any()
    }
    return {
        "recall": round(1.0 - float(missed[near].mean()), 5) if near.any() else None,
        "recall_of_unequal": round(1.0 - float(missed[unequal].mean()), 5) if unequal.any() else None,
        "recall_of_unequal_alone": round(1.0 - float(missed[alone].mean()), 5) if alone.any() else None,
        "pairs": int(near.sum()),
        "pairs_alone": int(alone.sum()),
        "pairs_sampled_groups": len(groups),
        "precision": round(float((similar >= 0.8 - 1e-12).mean()), 6) if len(similar) else None,
        "near_duplicates_whose_keeper_is_dropped": int((lost & ~was_exact).sum()),
        "exact_duplicates_whose_keeper_is_dropped": int((lost & was_exact).sum()),
        "drops_checked": len(chosen),
        "both_kept_of_pairs_by_similarity": bins,
    }


def _in_steps(planting: Planting, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """True Jaccard of pairs of positions, float64 [num_pairs], some thousand texts at a time."""
    step = 50 * GROUP
    parts = [similarities_by_position(planting, pairs[start : start + step]) for start in range(0, len(pairs), step)]
    return np.concatenate(parts) if parts else np.zeros(0)


# --- telling ----------------------------------------------------------------------------------------------------------


def tell(said: dict[str, Any]) -> None:
    """One run, to people."""
    rate = said["text_bytes"] / 1e6 / max(said["cpu_seconds"], 0.01)
    print(
        f"{said['case']}: {said['documents']:,} documents, {said['text_bytes'] / 1e6:,.0f} MB: {said['seconds']:.0f} s, "
        f"{said['cpu_seconds']:.0f} CPU s ({rate:.1f} MB/s/core) with {said['workers']} workers"
    )
    if "guard" in said:
        print(f"  the guard stopped it: {said['guard']}")
    print(f"  {'pass':<24}{'shards':>7}{'seconds':>9}{'CPU s':>9}{'MB written':>12}{'peak MB so far':>16}")
    for name, found in said["passes"].items():
        short = name.split("/", 1)[1]
        peak = said["peak_bytes"].get(short, 0) / 1e6
        print(
            f"  {short:<24}{found['shards']:>7}{found['seconds']:>9.1f}{found['cpu_seconds']:>9.1f}"
            f"{found['bytes'] / 1e6:>12.1f}{peak:>16.0f}"
        )
    print(f"  peak of the driver {said['driver_peak_bytes'] / 1e6:,.0f} MB")
    for key in ("kept", "dropped", "quality"):
        if key in said:
            print(f"  {key}: {json.dumps(said[key])}")


def estimate(said: dict[str, Any], documents: int = TARGET) -> dict[str, Any]:
    """On paper, for `documents` like those of a run: CPU hours, bytes of each shuffle, peak of a task.

    Passes over parts and over buckets of bounded size are linear; the number of rounds of connected components is
    logarithmic in the longest chain, which planting does not lengthen. Peaks of tasks stay: a task is a part or a bucket.
    """
    factor = documents / said["documents"]
    return {
        "documents": documents,
        "from": said["documents"],
        "cpu_hours": round(said["cpu_seconds"] * factor / 3600),
        "cpu_hours_by_pass": {n: round(p["cpu_seconds"] * factor / 3600) for n, p in said["passes"].items()},
        "terabytes_by_pass": {n: round(p["bytes"] * factor / 1e12, 2) for n, p in said["passes"].items()},
        "peak_bytes_of_a_task": max(said["peak_bytes"].values(), default=0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dedup_scale", description=__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--case", choices=CASES, default="zipf")
    parser.add_argument("--planted", action="store_true", help="200,000 documents of 30 to 2,000 words, for recall")
    parser.add_argument("--share", type=float, default=0.75, help="of the common text, in the case `band`")
    parser.add_argument("--giant-megabytes", type=int, default=200)
    parser.add_argument("--block-documents", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--root", help="where to build; a temporary folder else")
    parser.add_argument("--no-guard", action="store_true", help="let near dedup remove what it will")
    parser.add_argument("--no-certificate", action="store_true", help="leave the certificate out")
    parser.add_argument("--limit-gigabytes", type=float, default=4.0, help="exit 1 above this peak of any process")
    parser.add_argument("--write", action="store_true", help="add the runs to results/dedup_scale.json")
    arguments = parser.parse_args()
    options: dict[str, Any] = {"guard": Guard(enabled=False)} if arguments.no_guard else {}
    options |= {"certify": None} if arguments.no_certificate else {}
    runs = []
    for documents in [200_000] if arguments.planted else arguments.documents:
        shape = {} if arguments.planted else SHORT
        plant = Plant(
            planting=Planting(num_documents=documents, seed=arguments.seed, **shape),
            case=arguments.case,
            share=arguments.share,
            giant_bytes=arguments.giant_megabytes * 1_000_000,
            block_documents=arguments.block_documents,
        )
        with tempfile.TemporaryDirectory(dir=arguments.root) as scratch:
            runs.append(run(plant, workers=arguments.workers, root=scratch, options=options))
        tell(runs[-1])
    if arguments.case == "zipf":
        print(json.dumps({"estimate": estimate(runs[-1])}, indent=1))
    if arguments.write:
        path = RESULTS / "dedup_scale.json"
        path.write_text(json.dumps(runs, indent=1) + "\n")
        console.print(f"wrote {path}")
    worst = max(max([*said["peak_bytes"].values(), said["driver_peak_bytes"] or 0]) for said in runs)
    if worst > arguments.limit_gigabytes * 1e9:
        sys.exit(f"peak memory {worst / 1e9:.2f} GB is above {arguments.limit_gigabytes} GB")


if __name__ == "__main__":
    main()
