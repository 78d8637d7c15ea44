"""The passes from parts to `kept/` of makers that cut repeated items out of documents, and the final pass itself.

Final pass, part by part: what `runs/` has and `stays/` has not is cut; a document with fewer than `min_left` tokens or
units left is dropped, with the text it came with. Out:

- `kept/`: the input's columns, text cut; `dropped/`: as of any maker;
- `signals/`: `repeated_bytes` (cut, white space within the span included, that around it not), `num_repeated_spans`,
  `is_all_repeated`;
- `spans/`: one row a span, of kept and dropped documents: id, source, `first_byte`, `stop_byte` in the UTF-8 text as it came in,
  `num_tokens` or `num_units`. With the input it gives back what was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.artifact import Built
from pipelines.counting import TextSample, add_counts, count_outcome, dropped_batch
from pipelines.errors import ConservationError
from pipelines.kernels.copies import I64
from pipelines.kernels.cutting import cut_spans
from pipelines.makers.keepers import Prefer, check_prefer_columns
from pipelines.makers.outcome import BATCH_TEXT_ROWS, NumberedPart, number_buckets, number_parts
from pipelines.makers.process import id_hash
from pipelines.makers.shuffle import SUFFIX, buckets_for
from pipelines.makers.substring.first_copies import find_stays, stays_of, write_items
from pipelines.makers.substring.items import Kind
from pipelines.makers.substring.shared_keys import find_shared, write_keys
from pipelines.passes import Passes
from pipelines.rules import Rule, to_json
from pipelines.schema import set_column
from pipelines.shards import ShardOutput

ALL_REPEATED: Final = "all_repeated"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much a task holds; what comes out does not depend on it."""

    keys_per_bucket: int = 1 << 22
    keys_in_memory: int = 1 << 22
    items_per_bucket: int = 1 << 21
    items_in_memory: int = 1 << 21
    heavy_items: int = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """What the final pass does: `name` of the stage, the mask (None: remove), and what is left at least of a document."""

    name: str
    size_name: str
    mask: str | None
    tidy: bool
    min_left: int
    dropped_text: str


def described_rule(stage: str) -> dict[str, Any]:
    """The one rule of such a maker, for the manifest."""
    return {"stage": stage, **to_json(Rule(ALL_REPEATED, "is_all_repeated", "==", True))}


def cut_repeated(
    inputs: Sequence[Built], passes: Passes, *, kind: Kind, prefer: Prefer, cutting: Cutting, sizes: Sizes
) -> None:
    """All passes: `keys`, `shared`, `items`, `stays`, final; notes under the maker's name."""
    parts = number_parts(inputs)
    num_bytes = 0
    for part in parts:
        check_prefer_columns(prefer, storage.read_schema(part.uri), where=part.uri)
        num_bytes += _text_bytes(part.uri)
    num_buckets = buckets_for(int(num_bytes / kind.bytes_per_run()), sizes.keys_per_bucket)
    work = partial(write_keys, kind=kind, num_buckets=num_buckets, keys_in_memory=sizes.keys_in_memory)
    keys = passes.run("keys", work, parts)
    shared = passes.run(
        "shared",
        partial(
            find_shared,
            uris=tuple(commit.path("keys", SUFFIX) for commit in keys),
            num_buckets=num_buckets,
            num_parts=len(parts),
            heavy_items=sizes.heavy_items,
        ),
        number_buckets(num_buckets),
    )
    num_items = sum(commit.counts["shared_items"] for commit in shared)
    num_groups = buckets_for(num_items, sizes.items_per_bucket)
    items = passes.run(
        "items",
        partial(
            write_items,
            uris=tuple(commit.path("shared", SUFFIX) for commit in shared),
            kind=kind,
            prefer=prefer,
            num_buckets=num_groups,
            num_parts=len(parts),
            items_in_memory=sizes.items_in_memory,
        ),
        parts,
    )
    stays = passes.run(
        "stays",
        partial(
            find_stays,
            uris=tuple(commit.path("items", SUFFIX) for commit in items),
            kind=kind,
            prefer=prefer,
            num_buckets=num_groups,
            num_parts=len(parts),
        ),
        number_buckets(num_groups),
    )
    runs_of = {commit.shard: commit.path("runs") for commit in items}
    work = partial(
        write_cut,
        runs=tuple(runs_of[part.name] for part in parts),
        uris=tuple(commit.path("stays", SUFFIX) for commit in stays),
        kind=kind,
        cutting=cutting,
        num_parts=len(parts),
    )
    passes.final(work, parts)
    counts: dict[str, Any] = reduce(add_counts, (commit.counts for commit in keys), {})
    notes = {
        name: sum(commit.counts[name] for commit in shared) for name in ("shared_keys", "heavy_keys", "shared_items")
    }
    notes["items_of_largest_key"] = max(commit.counts["items_of_largest_key"] for commit in shared)
    notes["items_sent"] = sum(commit.counts["sent"] for commit in items)
    notes["items_that_stay"] = sum(commit.counts["stay"] for commit in stays)
    passes.note(cutting.name, {**counts, **notes})


def write_cut(
    part: NumberedPart,
    out: ShardOutput,
    *,
    runs: tuple[str, ...],
    uris: tuple[str, ...],
    kind: Kind,
    cutting: Cutting,
    num_parts: int,
) -> dict[str, Any]:
    """Final pass on one part. Holds a few batches, and 24 bytes a run and an interval of the part."""
    table = storage.read_table(runs[part.number])
    found = np.stack([table.column(name).to_numpy() for name in ("row", "start", "count")], axis=1)
    stays = stays_of(uris, part, num_parts)
    sample = TextSample(cutting.dropped_text)
    counts: dict[str, Any] = {}
    hashes: list[int] = []
    first_row = 0
    for batch in storage.read_batches(part.uri, batch_rows=BATCH_TEXT_ROWS):
        here, left = (_between(rows, first_row, batch.num_rows) for rows in (found, stays))
        counts = add_counts(counts, _write(batch, here, left, out, sample, kind, cutting))
        pairs = zip(batch.column("source").to_pylist(), batch.column("id").to_pylist(), strict=True)
        hashes.extend(id_hash(source, document) for source, document in pairs)
        first_row += batch.num_rows
    if not counts:
        schema = storage.read_schema(part.uri)
        empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
        counts = _write(empty, found[:0], stays[:0], out, sample, kind, cutting)
    if first_row != part.rows:
        raise ConservationError(
            f"{part.uri}: its manifest says {part.rows} rows, it has {first_row}; build the input again"
        )
    out.open("ids", ".u64").write(np.sort(np.array(hashes, np.uint64)).astype("<u8").tobytes())
    counts["records"] = counts["documents"]
    return counts


def _write(
    batch: pa.RecordBatch, runs: I64, stays: I64, out: ShardOutput, sample: TextSample, kind: Kind, cutting: Cutting
) -> dict[str, Any]:
    texts = batch.column("text")
    cuts = kind.spans(texts, runs, stays)
    num_spans = np.bincount(cuts.documents, minlength=batch.num_rows)
    cut_bytes = np.bincount(cuts.documents, cuts.spans[:, 1] - cuts.spans[:, 0], minlength=batch.num_rows)
    lost = pa.array((num_spans > 0) & (cuts.num_left < cutting.min_left))
    ends = np.concatenate([np.zeros(1, np.int32), np.cumsum(lost.to_numpy(zero_copy_only=False), dtype=np.int32)])
    reason = f"{cutting.name}/{ALL_REPEATED}"
    reasons = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array([reason] * int(ends[-1]), pa.string()))
    num_bytes = pc.binary_length(texts).cast(pa.int64())

    documents = batch
    if cuts.documents.size:
        rewritten = cut_spans(texts, cuts.documents, cuts.spans, mask=cutting.mask, tidy=cutting.tidy)
        text = batch.schema.field("text")
        documents = set_column(batch, text, pc.if_else(lost, texts, rewritten))
    out.write("kept", documents.filter(pc.invert(lost)))
    out.write("dropped", dropped_batch(documents.filter(lost), reasons.filter(lost), sample))
    named = {"id": batch.column("id"), "source": batch.column("source")}
    signals = named | {
        "num_bytes": num_bytes,
        "repeated_bytes": pa.array(cut_bytes.astype(np.int64)),
        "num_repeated_spans": pa.array(num_spans.astype(np.int64)),
        "is_all_repeated": lost,
        "reasons": reasons,
    }
    out.write("signals", pa.RecordBatch.from_pydict(signals))
    at = pa.array(cuts.documents)
    spans = {name: values.take(at) for name, values in named.items()}
    spans |= {"first_byte": pa.array(cuts.spans[:, 0]), "stop_byte": pa.array(cuts.spans[:, 1])}
    out.write("spans", pa.RecordBatch.from_pydict(spans | {cutting.size_name: pa.array(cuts.sizes)}))
    tallies = {
        "repeated_bytes": cut_bytes.sum(),
        "repeated_spans": num_spans.sum(),
        "cut_documents": (num_spans > 0).sum(),
    }
    named_tallies = {f"{cutting.name}/{name}": int(total) for name, total in tallies.items()}
    return count_outcome(documents, reasons, num_bytes=num_bytes, tallies=named_tallies)


def _between(rows: npt.NDArray[np.int64], first_row: int, num_rows: int) -> I64:
    low, high = np.searchsorted(rows[:, 0], [first_row, first_row + num_rows])
    near = rows[low:high].copy()
    near[:, 0] -= first_row
    return near


def _text_bytes(uri: str) -> int:
    """Size of the text column before compression, from the file's footer."""
    with storage.open_input(uri) as file:
        footer = pq.ParquetFile(file).metadata
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    return sum(int(column.total_uncompressed_size) for column in columns if column.path_in_schema == "text")
