"""`process`: run a pipeline over every document of a source or an artifact.

In: files to read, or the kept documents of an artifact. Out, per shard: `kept/`, `dropped/` (with every reason and, for
a sample, the text), `signals/` of all documents, `quarantine/` for records that never became documents, `ids/` (sorted
64-bit hashes of `source` and `id`: what finds a repeated id, and a document's shard).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipelines import storage
from pipelines.artifact import Artifact, Built, Source
from pipelines.counting import TextSample, add_counts, count_outcome, dropped_batch
from pipelines.errors import ConfigError, InputError, QuarantineCap, StageError
from pipelines.fingerprint import identity
from pipelines.inventory import file_marks
from pipelines.kernels.shingles import text_buffers
from pipelines.passes import Passes
from pipelines.pipeline import Pipeline
from pipelines.readers.columns import document_schema
from pipelines.records import FileShard, Quarantined, Skipped
from pipelines.schema import DOCUMENT, check_documents
from pipelines.shards import Committed, PartShard, ShardOutput
from pipelines.stage import Stage, run_stages, stage_name

DROPPED_TEXT = ("all", "sample", "none")
MAX_DETAIL = 300
"""Characters of a quarantined record's detail and id that are stored."""
QUARANTINED_ALLOWED = 20
"""The cap on a shard's share of bad records holds from here on: in a file of ten records, one bad one says nothing."""
IDS_PER_BUCKET = 50_000_000
"""A task of the uniqueness pass holds about this many 64-bit hashes: 400 MB."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """Maker of `process`. `dropped_text` is all, sample or none.

    A shard, and the whole, fails where more than `max_quarantined_fraction` of its records (and more than a few) could
    not be read. That bound decides whether there is an artifact, not what is in it, so it is no part of identity.
    """

    pipeline: Pipeline
    dropped_text: str = "sample"
    max_quarantined_fraction: float = 0.1
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.dropped_text not in DROPPED_TEXT:
            raise ConfigError(f"dropped_text = {self.dropped_text!r}; expected one of {', '.join(DROPPED_TEXT)}")
        if not 0 <= self.max_quarantined_fraction <= 1:
            raise ConfigError(
                f"max_quarantined_fraction = {self.max_quarantined_fraction}; give a fraction from 0 to 1"
            )

    def identity(self) -> dict[str, Any]:
        """As that of any maker, less the cap on quarantine."""
        fields = {"pipeline": identity(self.pipeline), "dropped_text": self.dropped_text}
        return {"kind": "Process", "version": self.version, "fields": fields}

    def described_rules(self) -> list[dict[str, Any]]:
        """Every rule as JSON with its stage, for the manifest."""
        return self.pipeline.rules()

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """One pass over the shards, then one that proves ids unique."""
        (given,) = inputs
        work = partial(
            process_shard,
            stages=self.pipeline.stages,
            source=given.source,
            dropped_text=self.dropped_text,
            max_quarantined_fraction=self.max_quarantined_fraction,
            expects=self.pipeline.expects,
        )
        done = passes.final(work, given.shards if given.source else given.parts())
        total: dict[str, Any] = reduce(add_counts, (commit.counts for commit in done), {})
        if total:
            check_quarantine(total, self.max_quarantined_fraction, where=passes.artifact)
        if given.source:
            _prove_ids_unique(done, passes)


def process(source: Source | Artifact, *, through: Pipeline, name: str = "", **options: Any) -> Artifact:
    """Describe the artifact that `through` makes of `source`; `options` are further fields of Process."""
    return Artifact(
        name=name or f"{source.name}-{through.name}", maker=Process(pipeline=through, **options), inputs=(source,)
    )


def process_shard(
    shard: FileShard | PartShard,
    out: ShardOutput,
    *,
    stages: tuple[Stage, ...],
    source: Source | None,
    dropped_text: str,
    max_quarantined_fraction: float,
    expects: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Stream one shard through `stages` and return its counts. Memory: a few batches, whatever the shard's length."""
    quarantine = _Quarantine(out.open("quarantine", ".jsonl"))
    sample = TextSample(dropped_text)
    hashes: list[np.ndarray] = []
    counts: dict[str, Any] = {}
    for batch in _documents(shard, source, quarantine):
        _check_expected(batch, expects, shard)
        hashes.append(id_hashes(batch))
        counts = add_counts(counts, _judge_and_write(batch, stages, out, sample, quarantine))
    if not out.has("kept"):
        # An empty shard writes its files too, so that every shard of an artifact has the same ones.
        counts = add_counts(counts, _judge_and_write(_empty_like(shard, source), stages, out, sample, quarantine))
    merged = np.sort(np.concatenate(hashes)) if hashes else np.empty(0, np.uint64)
    with_ids = out.open("ids", ".u64")
    with_ids.write(merged.astype("<u8").tobytes())
    counts["quarantined"] = dict(sorted(quarantine.reasons.items()))
    counts["skipped"] = dict(sorted(quarantine.skipped.items()))
    counts["records"] = counts["documents"] + sum(quarantine.reasons.values())
    check_quarantine(counts, max_quarantined_fraction, where=f"shard {shard.name}", first=quarantine.first)
    return counts


class _Quarantine:
    """What a shard could not turn into documents: counts by reason, and one JSON line each, written as they come."""

    def __init__(self, file: BinaryIO) -> None:
        self.reasons: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.first = ""
        self._file = file

    def add(self, found: Quarantined) -> None:
        self.reasons[found.reason] += 1
        fields = {
            "reason": found.reason, "locator": found.locator,
            "detail": found.detail[:MAX_DETAIL], "id": found.id[:MAX_DETAIL],
        }  # fmt: skip
        line = json.dumps(fields, sort_keys=True, ensure_ascii=True)
        self.first = self.first or line
        self._file.write(line.encode() + b"\n")


def _check_expected(batch: pa.RecordBatch, expects: tuple[str, ...], shard: FileShard | PartShard) -> None:
    missing = [column for column in expects if batch.schema.get_field_index(column) < 0]
    if missing:
        raise InputError(
            f"{shard.name}: no column {missing[0]!r}, which the pipeline expects; there are {batch.schema.names}; "
            "name it in the reader's `columns`, or put the stage that adds it before"
        )


def _documents(
    shard: FileShard | PartShard, source: Source | None, quarantine: _Quarantine
) -> Iterator[pa.RecordBatch]:
    if isinstance(shard, PartShard):
        yield from storage.read_batches(shard.uri)
        return
    _check_unchanged(shard)
    if source is None:
        raise ConfigError(f"{shard.file.uri}: a shard of a file needs the source it belongs to")
    reader, extractor = source.reader_of(shard.file.uri), source.extractor
    for item in reader.read(shard):
        if isinstance(item, Quarantined):
            quarantine.add(item)
        elif isinstance(item, Skipped):
            quarantine.skipped[item.kind] += item.count
        elif reader.yields == "raw":
            if extractor is None:
                raise ConfigError(f"{shard.file.uri} holds raw records and the source has no extractor")
            documents, failed = extractor.extract(item)
            if documents.num_rows + len(failed) != item.num_rows:
                raise StageError(
                    f"extractor {type(extractor).__name__} returned {documents.num_rows} documents and {len(failed)} "
                    f"quarantined for {item.num_rows} records"
                )
            for found in failed:
                quarantine.add(found)
            check_documents(documents, where=shard.file.uri)
            yield documents
        else:
            check_documents(item, where=shard.file.uri)
            yield item
    _check_unchanged(shard)


def _check_unchanged(shard: FileShard) -> None:
    """Asked before and after reading: what was read must be what the inventory hashed."""
    file = shard.file
    changed = file_marks(file.uri) != list(file.marks) if file.marks else storage.size(file.uri) != file.size
    if changed:
        raise InputError(f"{file.uri} changed after it was listed; let it settle and build again")


def _judge_and_write(
    batch: pa.RecordBatch, stages: tuple[Stage, ...], out: ShardOutput, sample: TextSample, quarantine: _Quarantine
) -> dict[str, Any]:
    judged, failed = run_stages(stages, batch)
    num_bytes = pc.binary_length(batch.column("text"))
    if failed:
        for row, (stage, error) in sorted(failed.items()):
            document, locator = batch.column("id")[row].as_py(), batch.column("locator")[row].as_py()
            quarantine.add(Quarantined(reason=f"failed_in_{stage}", locator=locator, detail=error, id=document))
        num_bytes = num_bytes.take(pa.array([row for row in range(batch.num_rows) if row not in failed], pa.int64()))
    if judged is None:
        return {"documents": 0, "kept": 0}
    documents, reasons = judged.documents, judged.reasons
    kept = pc.equal(pc.list_value_length(reasons), 0)
    out.write("kept", documents.filter(kept))
    out.write("signals", judged.signals.append_column("reasons", reasons))
    lost = pc.invert(kept)
    out.write("dropped", dropped_batch(documents.filter(lost), reasons.filter(lost), sample))
    return count_outcome(documents, reasons, num_bytes=num_bytes, tallies=_tallies(documents, stages))


def _tallies(documents: pa.RecordBatch, stages: Iterable[Stage]) -> dict[str, int]:
    return {
        f"{stage_name(stage)}/{column}": int(pc.sum(documents.column(column)).as_py() or 0)
        for stage in stages
        for column in getattr(stage, "tallies", ())
    }


def _empty_like(shard: FileShard | PartShard, source: Source | None) -> pa.RecordBatch:
    schema = DOCUMENT
    if isinstance(shard, PartShard):
        schema = storage.read_schema(shard.uri)
    elif source is not None:
        schema = document_schema(getattr(source.reader_of(shard.file.uri), "columns", ()))
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def id_hashes(batch: pa.RecordBatch, seed: int = 0) -> npt.NDArray[np.uint64]:
    """`id_hash` of every document, or another hash for another `seed`: uint64 [num_rows]."""
    names = [batch.column(name).cast(pa.large_string()) for name in ("source", "id")]
    data, offsets = text_buffers(pc.binary_join_element_wise(*names, pa.scalar("\0", pa.large_string())))
    view = data.data
    made = (xxhash.xxh3_64_intdigest(view[a:b], seed) for a, b in pairwise(offsets.tolist()))
    return np.fromiter(made, np.uint64, batch.num_rows)


def id_hash(source: str, document: str) -> int:
    """64-bit xxh3 of `source`, NUL, `id`: what `ids/` holds."""
    return xxhash.xxh3_64_intdigest(f"{source}\0{document}".encode())


def check_quarantine(counts: Mapping[str, Any], cap: float, *, where: str, first: str = "") -> None:
    """Raise QuarantineCap where more than a few records, and more than the share `cap`, could not be read."""
    reasons = Counter(counts.get("quarantined", {}))
    bad = sum(reasons.values())
    if bad > QUARANTINED_ALLOWED and bad > cap * counts["records"]:
        worst = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common(4))
        raise QuarantineCap(
            f"{bad} of {counts['records']} records of {where} could not be read ({worst}), more than the allowed "
            f"{cap:.0%}" + (f"; first: {first[:300]}" if first else "") + "; mend the input, or raise the cap with "
            "--set process.max_quarantined_fraction=..."
        )


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    name: str
    low: int
    high: int
    uris: tuple[str, ...]


def _prove_ids_unique(done: tuple[Committed, ...], passes: Passes) -> None:
    total = sum(commit.counts["documents"] for commit in done)
    uris = tuple(commit.path("ids", ".u64") for commit in done)
    number = max(1, -(-total // IDS_PER_BUCKET))
    edges = [(i << 64) // number for i in range(number + 1)]
    # A build without some shards asks about other files than the whole one, and must not trust its answer.
    over = hashlib.sha256("".join(commit.shard for commit in done).encode()).hexdigest()[:8]
    buckets = [
        _Bucket(name=f"bucket-{over}-{i:05d}", low=edges[i], high=edges[i + 1] - 1, uris=uris) for i in range(number)
    ]
    repeated = [r for commit in passes.run("unique-ids", repeated_hashes, buckets) for r in commit.counts["repeated"]]
    if repeated:
        _raise_repeated(done, set(repeated))


def repeated_hashes(bucket: _Bucket, out: ShardOutput) -> dict[str, Any]:
    """Up to ten hashes within the bucket's range that occur more than once over all shards."""
    slices = []
    for uri in bucket.uris:
        values = np.frombuffer(storage.read_bytes(uri), "<u8")
        slices.append(
            values[np.searchsorted(values, bucket.low) : np.searchsorted(values, bucket.high, side="right")].copy()
        )
    merged = np.sort(np.concatenate(slices)) if slices else np.empty(0, np.uint64)
    return {"repeated": [int(value) for value in np.unique(merged[1:][merged[1:] == merged[:-1]])[:10]]}


def _raise_repeated(done: tuple[Committed, ...], hashes: set[int]) -> None:
    """Find where the repeated ids lie. Two ids that merely share a 64-bit hash are no repeat, and nothing is raised."""
    places: dict[tuple[str, str], list[str]] = {}
    for commit in done:
        for uri in (commit.path("kept"), commit.path("dropped")):
            for batch in storage.read_batches(uri, ["source", "id", "locator"]):
                rows = zip(*(batch.column(i).to_pylist() for i in range(3)), strict=True)
                for source, document, locator in rows:
                    if id_hash(source, document) in hashes:
                        places.setdefault((source, document), []).append(f"{locator} (shard {commit.shard})")
    for (source, document), where in sorted(places.items()):
        if len(where) > 1:
            raise InputError(
                f"the id {document!r} of source {source!r} is repeated: at {where[0]} and at {where[1]}"
                + (f" and {len(where) - 2} more places" if len(where) > 2 else "")
                + "; name a field that is unique with --id-field, or give --id-field none to number records by place"
            )
