"""Redaction: e-mail addresses, public IP addresses and phone numbers are replaced by placeholder tokens.

A document batch comes in; the same rows go out with `>>EMAIL_ADDRESS<<`, `>>IP_ADDRESS<<` and `>>PHONE_NUMBER<<` where
personal data stood, and the numbers of replacements in three columns. The first two spellings are those of the
reserved tokens of Falcon-H1's tokenizers; the third follows them (the published siblings name no phone token). What
counts as what is stated in `filters.pii_emails`, `filters.pii_ips` and `filters.pii_phones`.

Redaction is idempotent: a placeholder that is already there is text like any other and is left alone. To tell text
that *held* such a spelling from text that was redacted, put `EscapePlaceholders` before `RedactPii`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.pii_emails import email_span
from filters.pii_ips import ipv4_spans, ipv6_span
from filters.pii_phones import phone_spans
from pipelines.kernels.redaction import AT, COLONS, QUAD, find_candidates
from pipelines.schema import set_column

EMAIL, IP, PHONE = "email", "ip", "phone"
KINDS = (EMAIL, IP, PHONE)
PLACEHOLDERS = {EMAIL: ">>EMAIL_ADDRESS<<", IP: ">>IP_ADDRESS<<", PHONE: ">>PHONE_NUMBER<<"}
MAX_ROUNDS = 16
"""A replacement changes what stands near the numbers after it, so a document is searched until nothing more is found."""


class Span(NamedTuple):
    """`text[start:end]` is personal data of `kind`: one of `email`, `ip`, `phone`. Offsets are characters."""

    kind: str
    start: int
    end: int


def find_spans(text: str, kinds: Sequence[str] = KINDS) -> list[Span]:
    """Every span that `RedactPii` replaces in `text`, in order, none overlapping.

    >>> find_spans("Write to ann@example.org from 8.8.8.8.")
    [Span(kind='email', start=9, end=24), Span(kind='ip', start=30, end=37)]
    """
    return _search(text, _candidates(text), kinds)[0]


def redact(text: str, kinds: Sequence[str] = KINDS) -> str:
    """`text` with each span of `find_spans` replaced by its placeholder."""
    return _search(text, _candidates(text), kinds)[1]


Candidate = tuple[int, int, int]  # kind of candidate, start, end in characters


def _candidates(text: str) -> list[Candidate]:
    column = pa.array([text], pa.large_string())
    found = find_candidates(column)
    return list(_in_characters(text, found.kind.tolist(), found.start, found.stop)) if len(found.row) else []


def _in_characters(
    text: str, kinds: list[int], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> Iterator[Candidate]:
    """Byte offsets of a document to character offsets."""
    if not text.isascii():
        data = np.frombuffer(text.encode(), np.uint8)
        before = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])
        starts, stops = before[starts], before[stops]
    return zip(kinds, starts.tolist(), stops.tolist(), strict=True)


def _search(text: str, candidates: list[Candidate], kinds: Sequence[str]) -> tuple[list[Span], str]:
    """All spans in offsets of `text`, and the redacted text."""
    spans = _search_once(text, candidates, kinds)
    redacted = _replace(text, spans)
    for _ in range(MAX_ROUNDS if spans else 0):
        more = _search_once(redacted, _candidates(redacted), kinds)
        if not more:
            break
        spans = sorted([*spans, *_map_back(more, spans)], key=lambda span: span.start)
        redacted = _replace(text, spans)
    return spans, redacted


def _map_back(found: list[Span], earlier: list[Span]) -> Iterator[Span]:
    """Spans of a redacted text in offsets of the text before `earlier` was replaced."""
    shift, at = 0, 0
    for span in found:
        while at < len(earlier) and earlier[at].start + shift < span.start:
            shift += len(PLACEHOLDERS[earlier[at].kind]) - (earlier[at].end - earlier[at].start)
            at += 1
        yield Span(span.kind, span.start - shift, span.end - shift)


def _replace(text: str, spans: list[Span]) -> str:
    parts, at = [], 0
    for span in spans:
        parts += [text[at : span.start], PLACEHOLDERS[span.kind]]
        at = span.end
    return "".join([*parts, text[at:]])


def _search_once(text: str, candidates: list[Candidate], kinds: Sequence[str]) -> list[Span]:
    """E-mail addresses first, then IP addresses, then phone numbers in what is left."""
    taken: list[Span] = []
    if EMAIL in kinds:
        end = 0
        for kind, start, _ in candidates:
            if kind == AT and start >= end:
                found = email_span(text, start)
                if found is not None and found[0] >= end:
                    taken.append(Span(EMAIL, *found))
                    end = found[1]
    if IP in kinds:
        numbers: list[Span] = []
        for kind, start, stop in candidates:
            if kind == COLONS:
                found = ipv6_span(text, start, stop)
                numbers += [Span(IP, *found)] if found is not None else []
            elif kind == QUAD:
                numbers += [Span(IP, *found) for found in ipv4_spans(text, start, stop)]
        taken = _without_overlaps(taken, numbers)
    if PHONE in kinds:
        phones: list[Span] = []
        previous, at = -1, 0
        for kind, start, stop in candidates:
            if kind in (AT, COLONS):
                continue
            while at < len(taken) and taken[at].end <= start:
                at += 1
            for first, last in _free_parts(start, stop, taken, at):
                for found in phone_spans(text, first, last, previous):
                    phones.append(Span(PHONE, *found))
                    previous = found[1]
        taken = _without_overlaps(taken, phones)
    return taken


def _free_parts(start: int, stop: int, taken: list[Span], at: int) -> Iterator[tuple[int, int]]:
    """The parts of `[start, stop)` that no span of `taken[at:]` covers."""
    while at < len(taken) and taken[at].start < stop:
        if taken[at].start > start:
            yield start, taken[at].start
        start = max(start, taken[at].end)
        at += 1
    if start < stop:
        yield start, stop


def _without_overlaps(first: list[Span], second: list[Span]) -> list[Span]:
    """Both in order of start; of two that overlap the one from `first` stays, and of one list the earlier."""
    merged: list[Span] = []
    at, end = 0, -1
    for span in sorted(second, key=lambda span: (span.start, -span.end)):
        while at < len(first) and first[at].start < span.end:
            merged.append(first[at])
            end = max(end, first[at].end)
            at += 1
        if span.start >= end:
            merged.append(span)
            end = span.end
    return [*merged, *first[at:]]


@dataclass(frozen=True, kw_only=True)
class RedactPii:
    """Replace personal data by placeholder tokens and count the replacements of each document.

    A kind that is switched off is neither replaced nor counted (its column is 0).
    """

    emails: bool = True
    ips: bool = True
    phones: bool = True

    version: ClassVar[int] = 1
    rewrites_text: ClassVar[bool] = True
    adds: ClassVar[tuple[pa.Field, ...]] = (
        pa.field("num_emails_replaced", pa.int32(), nullable=False),
        pa.field("num_ips_replaced", pa.int32(), nullable=False),
        pa.field("num_phones_replaced", pa.int32(), nullable=False),
    )
    tallies: ClassVar[tuple[str, ...]] = ("num_emails_replaced", "num_ips_replaced", "num_phones_replaced")

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows and order are kept; documents without personal data keep their very text."""
        switches = ((EMAIL, self.emails), (IP, self.ips), (PHONE, self.phones))
        kinds = tuple(kind for kind, switched_on in switches if switched_on)
        column = batch.column("text")
        counts = np.zeros((len(KINDS), batch.num_rows), np.int32)
        changed = np.zeros(batch.num_rows, np.bool_)
        texts: list[str] = []
        found = find_candidates(column)
        edges = np.flatnonzero(np.diff(found.row, prepend=-1, append=-1))
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            row = int(found.row[first])
            text = column[row].as_py()
            here = _in_characters(
                text, found.kind[first:last].tolist(), found.start[first:last], found.stop[first:last]
            )
            spans, redacted = _search(text, list(here), kinds)
            if spans:
                changed[row] = True
                texts.append(redacted)
                for span in spans:
                    counts[KINDS.index(span.kind), row] += 1
        if texts:
            rewritten = pc.replace_with_mask(column, pa.array(changed), pa.array(texts, pa.large_string()))
            batch = set_column(batch, batch.schema.field("text"), rewritten)
        for field, values in zip(self.adds, counts, strict=True):
            batch = set_column(batch, field, pa.array(values))
        return batch


PLACEHOLDER_NAMES = (
    "EMAIL_ADDRESS",
    "IP_ADDRESS",
    "PHONE_NUMBER",
    "PASSWORD",
    "KEY",
    "ABSTRACT",
    "INTRODUCTION",
    r"UNUSED_\d+",
)


@dataclass(frozen=True, kw_only=True)
class EscapePlaceholders:
    """Tell spellings of placeholders that authors wrote from those that redaction writes: one space between the `>`s.

    `>>KEY<<` becomes `> >KEY<<`, and a spelling with `k >= 1` spaces gets one more, so that the rule is reversible
    (`unescape`): taking one space away restores the document byte for byte. It is to be run once, before `RedactPii`;
    unlike redaction it is not idempotent, since then it could not be undone. `names` are the reserved names, each a
    literal but for `\\d+`.
    """

    names: tuple[str, ...] = PLACEHOLDER_NAMES

    version: ClassVar[int] = 1
    rewrites_text: ClassVar[bool] = True
    adds: ClassVar[tuple[pa.Field, ...]] = (pa.field("num_placeholders_escaped", pa.int32(), nullable=False),)
    tallies: ClassVar[tuple[str, ...]] = ("num_placeholders_escaped",)

    def _spelling(self, spaces: str) -> re.Pattern[str]:
        names = "|".join(re.escape(name).replace(r"\\d\+", "[0-9]+") for name in self.names)
        return re.compile(rf">({spaces})>(?=(?:{names})<<)")

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows and order are kept; documents without such a spelling keep their very text."""
        column = batch.column("text")
        counts = np.zeros(batch.num_rows, np.int32)
        spelling = self._spelling(" *")
        texts: list[str] = []
        for row in np.flatnonzero(pc.match_substring(column, "<<").to_numpy(zero_copy_only=False)).tolist():
            escaped, num = spelling.subn(r"> \1>", column[row].as_py())
            if num:
                counts[row] = num
                texts.append(escaped)
        if texts:
            rewritten = pc.replace_with_mask(column, pa.array(counts > 0), pa.array(texts, pa.large_string()))
            batch = set_column(batch, batch.schema.field("text"), rewritten)
        return set_column(batch, self.adds[0], pa.array(counts))

    def unescape(self, text: str) -> str:
        """The document as it was before `transform`; only for text that went through it and was not redacted since."""
        return self._spelling(" +").sub(lambda found: ">" + found.group(1)[1:] + ">", text)
