"""What the guard shows: three pairs of documents of a cluster or a bucket, read from the few files they lie in.

Runs on the driver, so it reads little: buckets of the shuffle for a handful of parts, and of these parts the rows up to
the documents wanted. Documents are hostile: what is shown of them is short, on one line, with every character
spelled out that could steer a terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.kernels.shingles import jaccard, shingle_sets
from pipelines.makers.near.strata import Counts, columns_of_strata, strata_of
from pipelines.makers.outcome import NumberedPart
from pipelines.makers.shuffle import read_bucket

NUM_PAIRS: Final = 3
EXCERPT: Final = 160
"""Characters shown of a text, escapes included."""
SHOWN_NAME: Final = 200
MAX_PARTS: Final = 8
"""Parts in which documents are looked for."""
MAX_COMPARED_BYTES: Final = 8 << 20
"""Texts beyond this are shown but not compared: the driver stays small."""
BATCH_ROWS: Final = 64
_JOINERS: Final = "\u200c\u200d"
"""Persian, Indic scripts and emoji need them."""
Place = tuple[int, int]
"""Part and row."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One document of a pair; `excerpt` None where its text is not at hand (a document of an earlier release)."""

    source: str
    id: str
    excerpt: str | None = None

    def line(self) -> str:
        """`source/id: "excerpt"`, harmless."""
        name = f"{escaped(self.source, SHOWN_NAME)}/{escaped(self.id, SHOWN_NAME)}"
        return f"{name} (its text is in an earlier release)" if self.excerpt is None else f'{name}: "{self.excerpt}"'


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two documents and their similarity, None where it was not measured."""

    left: Shown
    right: Shown
    similarity: float | None = None
    by_sketch: bool = False

    def lines(self, number: int) -> list[str]:
        """Three lines for a message."""
        how = "not measured" if self.similarity is None else f"{self.similarity:.3f}"
        if self.by_sketch:
            how += ", estimated from a sketch"
        return [f"  {number}. similarity {how}", f"     {self.left.line()}", f"     {self.right.line()}"]


def escaped(text: str, limit: int = EXCERPT) -> str:
    r"""The beginning of `text` on one line, at most `limit` characters: controls spelled out, spaces collapsed.

    >>> escaped("a\x1b[2J \n b\u202ec")
    'a\\x1b[2J b\\u202ec'
    """
    shown: list[str] = []
    length = 0
    for character in " ".join(text[: 8 * limit].split()):
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and character not in _JOINERS:
            code = ord(character)
            character = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
        if length + len(character) > limit - 3:
            return "".join(shown) + "..."
        shown.append(character)
        length += len(character)
    return "".join(shown)


def pairs_of_cluster(
    cluster: int, *, parts: Sequence[NumberedPart], members: Sequence[str], shingle_size: int
) -> list[Pair]:
    """Up to three pairs of members from parts far apart, with their true Jaccard similarity.

    `members` are shuffle files by part with `row` and `cluster`; a cluster is named by its smallest ordinal.
    """
    places = _members_of(cluster, parts, members)
    if len(places) >= 2 * NUM_PAIRS:
        chosen = [(places[2 * i], places[2 * i + 1]) for i in range(NUM_PAIRS)]
    else:
        chosen = list(combinations(places, 2))[:NUM_PAIRS]
    found = _documents_at({place for pair in chosen for place in pair}, parts)
    sets = {place: _shingles(text, shingle_size) for place, (_, text) in found.items()}
    pairs = []
    for left, right in chosen:
        a, b = sets[left], sets[right]
        similarity = None if a is None or b is None else jaccard(a, b)
        pairs.append(Pair(left=found[left][0], right=found[right][0], similarity=similarity))
    return pairs


def _members_of(cluster: int, parts: Sequence[NumberedPart], members: Sequence[str]) -> list[Place]:
    """Up to six members, one from each part looked at before a second from any."""
    own = next((part.number for part in parts if part.first <= cluster < part.first + part.rows), 0)
    spread = [len(parts) * i // MAX_PARTS for i in range(MAX_PARTS)]
    order = list(dict.fromkeys([own, *spread, *range(len(parts))]))
    ranked: list[tuple[int, int, Place]] = []
    for looked, number in enumerate(order):
        if looked > MAX_PARTS and len(ranked) >= NUM_PAIRS:  # of three members come three pairs
            break
        table = read_bucket(members, number, num_buckets=len(parts), columns=["row", "cluster"])
        rows = np.sort(table.column("row").to_numpy()[table.column("cluster").to_numpy() == cluster])
        evenly = np.unique(np.linspace(0, rows.size - 1, min(rows.size, 2 * NUM_PAIRS)).astype(np.int64))
        ranked += [(rank, looked, (number, int(row))) for rank, row in enumerate(rows[evenly])]
    return [place for _, _, place in sorted(ranked)[: 2 * NUM_PAIRS]]


def pairs_of_bucket(
    stratum: str,
    bucket: str,
    *,
    totals: Mapping[str, Counts],
    parts: Sequence[NumberedPart],
    verdicts: Sequence[str],
) -> list[Pair]:
    """Up to three documents of `bucket` that would be dropped, each with its keeper; of different keepers if they can be.

    `totals` say which parts hold documents of it, by name of part: those with most are looked at, one pair from each
    where there are enough. `parts` are those of the documents; the index of earlier releases is not read.
    """
    number_of = {part.name: totals.get(part.name, {}).get(stratum, {}).get(bucket, 0) for part in parts}
    there = sorted((part for part in parts if number_of[part.name]), key=lambda p: (-number_of[p.name], p.number))
    there = there[:MAX_PARTS]
    chosen: list[tuple[Place, dict[str, Any]]] = []
    for quota in dict.fromkeys((-(-NUM_PAIRS // max(len(there), 1)), NUM_PAIRS)):
        chosen = _choose(stratum, bucket, there, verdicts, len(parts), quota)
        if len(chosen) == NUM_PAIRS:
            break
    keepers = {i: _place_of_keeper(verdict, len(parts)) for i, (_, verdict) in enumerate(chosen)}
    wanted = {place for place, _ in chosen} | {place for place in keepers.values() if place is not None}
    found = _documents_at(wanted, parts)
    pairs = []
    for i, (place, verdict) in enumerate(chosen):
        keeper_place = keepers[i]
        by_verdict = Shown(source=verdict["keeper_source"] or "", id=verdict["keeper_id"])
        keeper = by_verdict if keeper_place is None else found[keeper_place][0]
        pairs.append(
            Pair(
                left=found[place][0],
                right=keeper,
                similarity=verdict["similarity"],
                by_sketch=bool(verdict["by_sketch"]),
            )
        )
    return pairs


def _place_of_keeper(verdict: Mapping[str, Any], num_parts: int) -> Place | None:
    """None for a keeper of an earlier release: its part is numbered after those of the documents."""
    part, row = verdict["keeper_part"], verdict["keeper_row"]
    return None if part is None or row is None or part >= num_parts else (int(part), int(row))


def _choose(
    stratum: str, bucket: str, there: Iterable[NumberedPart], verdicts: Sequence[str], num_parts: int, quota: int
) -> list[tuple[Place, dict[str, Any]]]:
    """At most NUM_PAIRS dropped documents, up to `quota` a part, of keepers not shown yet before others."""
    chosen: list[tuple[Place, dict[str, Any]]] = []
    spare: list[tuple[Place, dict[str, Any]]] = []
    keepers = set()
    for part in there:
        taken = 0
        for row, verdict in _dropped_of(stratum, bucket, part, verdicts, num_parts):
            keeper = (verdict["keeper_source"], verdict["keeper_id"])
            entry = ((part.number, row), verdict)
            if keeper in keepers:
                if len(spare) < NUM_PAIRS:
                    spare.append(entry)
                continue
            keepers.add(keeper)
            chosen.append(entry)
            taken += 1
            if len(chosen) == NUM_PAIRS:
                return chosen
            if taken == quota:
                break
    return (chosen + spare)[:NUM_PAIRS]


def _dropped_of(
    stratum: str, bucket: str, part: NumberedPart, verdicts: Sequence[str], num_parts: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    names = ["row", "keeper_source", "keeper_id", "similarity", "keeper_part", "keeper_row", "by_sketch"]
    table = read_bucket(verdicts, part.number, num_buckets=num_parts, columns=names)
    table = table.filter(table.column("keeper_id").is_valid()).sort_by("row")
    rows = table.column("row").to_numpy()
    if not rows.size:
        return
    first = 0
    columns = list(dict.fromkeys(["text", *columns_of_strata(storage.read_schema(part.uri))]))
    for batch in storage.read_batches(part.uri, columns, batch_rows=BATCH_ROWS):
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        if high > low:
            buckets = strata_of(batch.take(pa.array(rows[low:high] - first)))[stratum].to_pylist()
            for at, found in enumerate(buckets, start=int(low)):
                if found == bucket:
                    yield int(rows[at]), table.slice(at, 1).to_pylist()[0]
        first += batch.num_rows
        if high == rows.size:
            return


def _documents_at(places: Iterable[Place], parts: Sequence[NumberedPart]) -> dict[Place, tuple[Shown, pa.Array | None]]:
    """Each document as it is shown, and its text: an array of one, None where there is none or it is too large."""
    rows_of: dict[int, list[int]] = {}
    for number, row in sorted(set(places)):
        rows_of.setdefault(number, []).append(row)
    found: dict[Place, tuple[Shown, pa.Array | None]] = {}
    for number, rows in rows_of.items():
        uri = parts[number].uri
        has_text = storage.read_schema(uri).get_field_index("text") >= 0
        columns = ["source", "id", *(["text"] if has_text else [])]
        first, waiting = 0, list(rows)
        for batch in storage.read_batches(uri, columns, batch_rows=BATCH_ROWS):
            while waiting and waiting[0] < first + batch.num_rows:
                row = waiting.pop(0)
                found[number, row] = _document(batch.take(pa.array([row - first])), has_text)
            first += batch.num_rows
            if not waiting:
                break
    return found


def _document(row: pa.RecordBatch, has_text: bool) -> tuple[Shown, pa.Array | None]:
    source, document = row.column("source")[0].as_py(), row.column("id")[0].as_py()
    if not has_text:
        return Shown(source=str(source), id=str(document)), None
    text = row.column("text")
    excerpt = escaped(pc.utf8_slice_codeunits(text, 0, 8 * EXCERPT)[0].as_py() or "")
    num_bytes = pc.binary_length(text)[0].as_py() or 0
    shown = Shown(source=str(source), id=str(document), excerpt=excerpt)
    return shown, text if num_bytes <= MAX_COMPARED_BYTES else None


def _shingles(text: pa.Array | None, shingle_size: int) -> Any:
    return None if text is None else shingle_sets(text, shingle_size)[0]
