"""Precision and recall of redaction on the shared gold sets, one row a set and kind.

What counts, and why it is fair:

- *hit*: a gold span is hit where a found span of its kind is exactly it (`exact`), or overlaps it (`overlap`). Recall is
  by `exact` for e-mail and IP, by `overlap` for phones, whose edges (brackets, extensions) are a matter of taste.
- *complete* gold (`presidio_synth`, numbers put in context by us): every found span that is not gold is wrong.
- *partial* gold: changelogs list trailer lines only, log lines one host, pages their `mailto:` and `tel:` links. Spans that
  are not listed were looked at by hand, on the development half; `REVIEWED` holds how many there were and how many of them
  were wrong. A change that finds more than were looked at counts the surplus as wrong, until someone has looked.
  `listed_precision` is the lower bound that takes every unlisted span as wrong.
- Hosts that are not public (by `ipaddress`), and lines that do not show their host, have nothing to be replaced.
- Of a page's links only those are gold that its text shows.
"""

from __future__ import annotations

import io
import ipaddress
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import detect_encoding
from resiliparse.parse.html import HTMLTree

from filters.pii import EMAIL, IP, PHONE, Span, find_spans

REVIEWED = {  # unlisted spans looked at by hand: (how many, of them wrong)
    ("debian_changelogs", EMAIL): (99, 0),
    ("debian_changelogs", IP): (0, 0),
    ("debian_changelogs", PHONE): (0, 0),
    ("fail2ban_log_lines", IP): (72, 0),
    ("fail2ban_log_lines", PHONE): (1, 0),
    ("cpython_test_email", IP): (33, 0),
    ("web_mailto_tel", EMAIL): (33, 0),
    ("web_mailto_tel", PHONE): (183, 3),  # two short codes, one rest of a number
}

CONTEXTS = (
    "Call me at {} please.", "My phone number is {}.", "Phone: {}", "Tel. {}", "Fax {}",
    "You can reach us on {} from 9 to 5.", "Text {} to subscribe.", "WhatsApp: {}", "Contact: {}", "{} (mobile)",
    '<a href="tel:{}">', "Give me a ring on {} tonight", "Ann Lee\nCell: {}\nLondon", "Dial {} for assistance",
    "Telefon: {}", "Rufen Sie uns an: {}", "Mobil {}", "Sie erreichen uns unter der Rufnummer {}.", "Téléphone : {}",
    "Appelez le {}", "Joignable au {}", "Teléfono: {}", "Llame al {}", "Телефон: {}", "тел. {}",
    "Звоните по номеру {}", "电话：{}", "联系电话:{}", "手机 {}", "電話番号：{}", "お問い合わせは{}まで", "전화: {}",
    "연락처 {}", "هاتف: {}", "اتصل بنا على {}", "फ़ोन: {}", "संपर्क करें: {}", "فون: {}", "رابطہ نمبر: {}",
    "Telefono: {}", "Chiama il {}", "Ligue para {}", "Celular: {}", "Bel {}", "Zadzwoń: {}", "Volejte {}",
    "Sunați la {}", "Ring {}",
)  # fmt: skip
OTHER_NUMBERS = (
    "The order number is {8}.", "Call for papers, 20{2}-20{2}", "IBAN DE{20}", "my card number is {4} {4} {4} {4}",
    "ISBN {3}-{1}-{5}-{3}-{1}", "Invoice {9}, customer {6}", "between 19{2} and 20{2}", "on 20{2}-0{1}-1{1}",
    "population {3},{3},{3}", "version 1.{2}.{4}", "bug #{6}", "pp. {3}-{3}", "$ {7}", "SSN {3}-{2}-{4}",
    "at 1{1}:3{1}, room {3}", "DOI 10.{4}/{7}", "{3}.{3}.{3},{2} EUR", "UTC+0{1}00 {8}",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Score:
    """One row of the table. `right` is how many of `num_found` spans are personal data of this kind."""

    name: str
    kind: str
    num_gold: int
    num_exact: int
    num_overlap: int
    num_found: int
    num_listed: int
    right: int

    @property
    def recall(self) -> float:
        hits = self.num_overlap if self.kind == PHONE else self.num_exact
        return hits / self.num_gold if self.num_gold else 1.0

    @property
    def precision(self) -> float:
        return self.right / self.num_found if self.num_found else 1.0

    @property
    def listed_precision(self) -> float:
        return self.num_listed / self.num_found if self.num_found else 1.0


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of one `.jsonl.zst`."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as plain:
        for line in io.TextIOWrapper(plain, encoding="utf-8"):
            yield json.loads(line)


def scores(data: Path) -> list[Score]:
    """Every row of the table, in a fixed order; `data` is the shared data folder."""
    pii = data / "pii"
    return [
        *_presidio(pii / "presidio_synth.jsonl.zst"),
        *_changelogs(pii / "debian_changelogs.jsonl.zst"),
        *_log_lines(pii / "fail2ban_log_lines.jsonl.zst"),
        *_messages(pii / "cpython_test_email.jsonl.zst"),
        *_pages(pii / "web_mailto_tel.jsonl.zst", data / "web"),
        _phones_in_context(pii / "phone_numbers.jsonl.zst"),
    ]


def pooled(table: list[Score], kind: str) -> Score:
    """All rows of one kind as one."""
    of_kind = [score for score in table if score.kind == kind]
    fields = ("num_gold", "num_exact", "num_overlap", "num_found", "num_listed", "right")
    return Score(name="all", kind=kind, **{field: sum(getattr(score, field) for score in of_kind) for field in fields})


class _Tally:
    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self.gold = self.exact = self.overlap = self.found = self.listed = 0

    def add(self, gold: set[tuple[int, int]], found: list[Span]) -> None:
        spans = [(span.start, span.end) for span in found if span.kind == self.kind]
        self.gold += len(gold)
        self.exact += len(gold.intersection(spans))
        self.overlap += sum(any(start < end and first < stop for start, stop in spans) for first, end in gold)
        self.found += len(spans)
        self.listed += sum(any(start < end and first < stop for first, end in gold) for start, stop in spans)

    def score(self) -> Score:
        unlisted = self.found - self.listed
        looked_at, wrong = REVIEWED.get((self.name, self.kind), (0, 0))
        right = self.listed + max(0, min(unlisted, looked_at) - wrong)
        return Score(
            name=self.name, kind=self.kind, num_gold=self.gold, num_exact=self.exact, num_overlap=self.overlap,
            num_found=self.found, num_listed=self.listed, right=right,
        )  # fmt: skip


def _presidio(path: Path) -> list[Score]:
    kinds = {"EMAIL_ADDRESS": EMAIL, "IP_ADDRESS": IP, "PHONE_NUMBER": PHONE}
    tallies = {kind: _Tally("presidio_synth", kind) for kind in (EMAIL, IP, PHONE)}
    for row in rows(path):
        found = find_spans(row["text"])
        for kind, tally in tallies.items():
            tally.add({(s["start"], s["end"]) for s in row["spans"] if kinds.get(s["type"]) == kind}, found)
    return [tally.score() for tally in tallies.values()]


def _changelogs(path: Path) -> list[Score]:
    tallies = {kind: _Tally("debian_changelogs", kind) for kind in (EMAIL, IP, PHONE)}
    for row in rows(path):
        found = find_spans(row["text"])
        tallies[EMAIL].add({(email["start"], email["end"]) for email in row["trailer_emails"]}, found)
        tallies[IP].add(set(), found)
        tallies[PHONE].add(set(), found)
    return [tally.score() for tally in tallies.values()]


def _log_lines(path: Path) -> list[Score]:
    addresses, phones = _Tally("fail2ban_log_lines", IP), _Tally("fail2ban_log_lines", PHONE)
    for row in rows(path):
        found = find_spans(row["text"])
        gold = set()
        if row["host"] and _is_public(row["host"]):
            written = re.compile(
                rf"(?:::ffff:)?(?<![\w.:]){re.escape(row['host'])}(?![\w.]*\w)|::ffff:{re.escape(row['host'])}(?!\w)"
            )
            gold = {match.span() for match in written.finditer(row["text"])}
        addresses.add(gold, found)
        phones.add(set(), found)
    return [addresses.score(), phones.score()]


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False


_HEADER_ADDRESS = re.compile(
    r"^(?:From|To|Cc|Bcc|Sender|Reply-To|Return-Path|Delivered-To|Errors-To)[ \t]*:"
    r"[^\n]*?([\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,})(?![\w.-]*\w)",
    re.MULTILINE,
)


def _messages(path: Path) -> list[Score]:
    emails, addresses = _Tally("cpython_test_email", EMAIL), _Tally("cpython_test_email", IP)
    for row in rows(path):
        found = find_spans(row["text"])
        gold = {match.span(1) for match in _HEADER_ADDRESS.finditer(row["text"])}
        emails.add(
            gold, [span for span in found if (span.start, span.end) in gold]
        )  # the rest of a message is not labelled
        addresses.add(set(), found)
    return [emails.score(), addresses.score()]


def _pages(path: Path, web: Path) -> list[Score]:
    """Links of each page against its whole text, as resiliparse gives it."""
    by_file: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows(path):
        by_file.setdefault(row["warc"], {})[row["record_id"].strip("<>")] = row
    emails, phones = _Tally("web_mailto_tel", EMAIL), _Tally("web_mailto_tel", PHONE)
    for name, wanted in sorted(by_file.items()):
        with (web / name).open("rb") as file:
            for record in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True):
                row = wanted.get(record.record_id.strip("<>"))
                if row is None:
                    continue
                content = record.reader.read()
                tree = HTMLTree.parse_from_bytes(content, detect_encoding(content))
                text = extract_plain_text(tree, preserve_formatting=True, main_content=False, alt_texts=False)
                found = find_spans(text)
                mails = {unquote(mail).strip().lower() for mail in row["mailto"] if "@" in mail}
                shown = {
                    m.span()
                    for mail in mails
                    for m in re.finditer(rf"(?<![\w.+-]){re.escape(mail)}(?![\w-])", text.lower())
                }
                emails.add(shown if len(text.lower()) == len(text) else set(), found)
                digits = {re.sub(r"\D", "", unquote(tel))[-7:] for tel in row["tel"]}
                numbers = [r"(?<!\d)" + r"[^\w\n]{0,4}".join(tail) + r"(?!\d)" for tail in digits if len(tail) >= 5]
                phones.add({match.span() for number in numbers for match in re.finditer(number, text)}, found)
    return [emails.score(), phones.score()]


def _phones_in_context(path: Path) -> Score:
    """Each number in three spellings in a context drawn by seed, and as many sentences whose numbers are no phone numbers."""
    tally = _Tally("phone_numbers in context", PHONE)
    draw = random.Random(20)
    for row in rows(path):
        for form in ("e164", "international", "national"):
            before, after = draw.choice(CONTEXTS).split("{}")
            text = before + row[form] + after
            tally.add({(len(before), len(before) + len(row[form]))}, find_spans(text))
            other = re.sub(
                r"\{(\d+)\}",
                lambda m: "".join(draw.choices("123456789", k=int(m.group(1)))),
                draw.choice(OTHER_NUMBERS),
            )
            tally.add(set(), find_spans(other))
    return tally.score()


def as_table(table: list[Score]) -> str:
    """The rows as text."""
    head = f"{'set':26} {'kind':6} {'gold':>6} {'exact':>6} {'overlap':>7} {'found':>6}"
    head += f" {'recall':>7} {'precision':>9} {'listed':>7}"
    lines = [
        f"{s.name:26} {s.kind:6} {s.num_gold:6} {s.num_exact:6} {s.num_overlap:7} {s.num_found:6}"
        f" {s.recall:7.4f} {s.precision:9.4f} {s.listed_precision:7.4f}"
        for s in table
    ]
    return "\n".join([head, *lines])
