"""`eyas sample`: look at the text of documents that were kept or dropped.

The sample is the `n` documents with the smallest seeded hash of source and id: the same for the same artifact and seed,
whatever the shards, and uniform. Memory is `n` rows, not the artifact's.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import xxhash

from pipelines import storage
from pipelines.cli import tables
from pipelines.cli.locate import Located, add_artifact, chain_of, locate, source_files
from pipelines.cli.rows import attribute_of, find_rows, keeper_line, sentences_of
from pipelines.errors import ConfigError, InputError
from pipelines.shards import PartShard

SHOWN_CHARACTERS = 600


@dataclass(frozen=True, kw_only=True, order=True)
class Chosen:
    """A document of the sample: its hash, and where its row lies."""

    hash: int
    source: str
    id: str
    part: PartShard
    row: int


def add(subparsers: Any) -> None:
    """Add the parser of `sample`."""
    parser = subparsers.add_parser(
        "sample",
        help="look at text that was kept or dropped",
        description="Print a deterministic random sample of kept documents, or of dropped ones with their faults.",
        epilog="Example: eyas sample corpus/web-clean --dropped --reason too_few_words -n 5",
    )
    add_artifact(parser)
    parser.add_argument("--dropped", action="store_true", help="sample dropped documents instead of kept ones")
    parser.add_argument(
        "--reason", default="", metavar="R", help="dropped ones for which R holds: `reason` or `stage/reason`"
    )
    parser.add_argument("--language", default="", metavar="L", help="documents of this language only")
    parser.add_argument("--source", default="", help="documents of this source only")
    parser.add_argument("-n", type=int, default=20, metavar="N", help="how many (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another sample (default 0)")
    parser.add_argument("--full", action="store_true", help=f"whole texts, not the first {SHOWN_CHARACTERS} characters")
    tables.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Choose, read and print."""
    if arguments.n < 1:
        raise ConfigError(f"-n {arguments.n}: expected a whole number from 1 on")
    if not 0 <= arguments.seed < 2**63:
        raise ConfigError(f"--seed {arguments.seed}: expected a whole number from 0 to 2^63 - 1")
    located = locate(arguments.artifact)
    dropped = arguments.dropped or bool(arguments.reason)
    chosen, matching = choose(
        located, dropped=dropped, reason=arguments.reason, language=arguments.language, source=arguments.source,
        n=arguments.n, seed=arguments.seed,
    )  # fmt: skip
    documents = [describe(located, item, dropped=dropped) for item in chosen]
    if arguments.json:
        tables.print_json({"artifact": located.label, "matching": matching, "documents": documents})
        return 0
    for document in documents:
        show(document, full=arguments.full)
    what = "dropped" if dropped else "kept"
    tables.note(f"{len(documents):,} of {matching:,} {what} documents of {located.label}")
    return 0


def choose(
    located: Located,
    *,
    dropped: bool,
    reason: str = "",
    language: str = "",
    source: str = "",
    n: int = 20,
    seed: int = 0,
) -> tuple[list[Chosen], int]:
    """The sample, in order of hash, and how many documents there were to choose from."""
    kind = "dropped" if dropped else "kept"
    parts = located.parts(kind)
    if not parts:
        raise InputError(
            f"{located.label}: this artifact stores no {kind} documents (made by {located.maker}); sample one it was built on"
        )
    if "text" not in (names := storage.read_schema(parts[0].uri).names) or "id" not in names:
        raise InputError(f"{located.label}: its {kind}/ holds no documents but {names}; sample one it was built on")
    if reason:
        _check_reason(located, reason)
    matching = 0
    best: list[tuple[int, str, str, str, int, PartShard]] = []
    for part in parts:
        for document_source, document, row in _candidates(located, part, dropped, reason, language):
            if source and document_source != source:
                continue
            matching += 1
            value = xxhash.xxh3_64_intdigest(f"{document_source}\0{document}".encode(), seed=seed)
            item = (-value, document_source, document, part.name, row, part)
            if len(best) < n:
                heapq.heappush(best, item)
            elif item > best[0]:
                heapq.heapreplace(best, item)
    ordered = [Chosen(hash=-v, source=s, id=d, part=p, row=r) for v, s, d, _, r, p in best]
    return sorted(ordered, key=lambda item: (item.hash, item.source, item.id)), matching


def _check_reason(located: Located, reason: str) -> None:
    counts = located.manifest["counts"]
    names = sorted({*counts.get("held", {}), *counts.get("dropped", {})})
    if not any(_is_reason(name, reason) for name in names):
        rules = [f"{rule['stage']}/{rule['reason']}" for rule in located.manifest.get("rules", [])]
        why = (
            "holds for no document"
            if any(_is_reason(name, reason) for name in rules)
            else "is no reason of this artifact"
        )
        raise InputError(f"--reason {reason!r} {why}; documents were dropped for: {', '.join(names) or 'nothing'}")


def _is_reason(name: str, asked: str) -> bool:
    return name == asked or name.partition("/")[2] == asked


def _candidates(
    located: Located, part: PartShard, dropped: bool, reason: str, language: str
) -> Iterator[tuple[str, str, int]]:
    names = storage.read_schema(part.uri).names
    columns = ["source", "id", *(["reasons"] if dropped and reason else [])]
    languages: Mapping[tuple[str, str], str] | None = None
    if language and "language" in names:
        columns.append("language")
    elif language:
        languages = _languages(located, part)
    first = 0
    for batch in storage.read_batches(part.uri, columns):
        sources, ids = batch.column(0).to_pylist(), batch.column(1).to_pylist()
        reasons = batch.column("reasons").to_pylist() if "reasons" in columns else None
        own = batch.column("language").to_pylist() if "language" in columns else None
        for i, pair in enumerate(zip(sources, ids, strict=True)):
            found = own[i] if own is not None else languages.get(pair, "") if languages is not None else language
            if (not language or found == language) and (
                reasons is None or any(_is_reason(name, reason) for name in reasons[i])
            ):
                yield *pair, first + i
        first += batch.num_rows


def _languages(located: Located, part: PartShard) -> dict[tuple[str, str], str]:
    """{(source, id): language} of the shard, from its signals: dropped documents keep few columns."""
    for signals in located.parts("signals"):
        if signals.name == part.name and "language" in storage.read_schema(signals.uri).names:
            table = storage.read_table(signals.uri, ["source", "id", "language"])
            rows = zip(*(table.column(i).to_pylist() for i in range(3)), strict=True)
            return {(source, document): language for source, document, language in rows}
    raise InputError(f"{located.label}: no language is stored for these documents; leave --language out")


def describe(located: Located, chosen: Chosen, *, dropped: bool) -> dict[str, Any]:
    """One document of the sample as plain JSON: text or where it can be read again, reason, and the sentences that explain."""
    row = read_row(chosen.part.uri, chosen.row)
    result: dict[str, Any] = {key: row.get(key) for key in ("id", "source", "url", "locator", "text")}
    if "language" in row:
        result["language"] = row["language"]
    if not dropped:
        return result
    result["reason"] = row["reasons"][0]
    result["reasons"] = row["reasons"]
    signals = find_rows(located, "signals", chosen.id, source=chosen.source, shards=(chosen.part.name,))
    result["because"] = [
        item["sentence"] for found in signals for item in sentences_of(located.manifest, found[1]) if item["holds"]
    ]
    if line := keeper_line(row):
        result["because"].append(line)
    if row.get("text") is None:
        result["read_again"] = how_to_read_again(located, str(row["locator"]))
    if "language" not in result and signals:
        result["language"] = attribute_of(signals[0][1], "language")
    return {key: value for key, value in result.items() if value is not None or key == "text"}


def read_row(uri: str, row: int) -> dict[str, Any]:
    """Row number `row` of a Parquet file, read batch by batch."""
    first = 0
    for batch in storage.read_batches(uri):
        if row < first + batch.num_rows:
            found: dict[str, Any] = batch.slice(row - first, 1).to_pylist()[0]
            return found
        first += batch.num_rows
    raise InputError(f"{uri}: no row {row}; the file changed since it was built: run `eyas verify`")


def how_to_read_again(located: Located, locator: str) -> str:
    """Where the original of a document lies, from its locator `<sha256>:<offset or row>:<length>`."""
    checksum, _, place = locator.partition(":")
    offset, _, length = place.partition(":")
    sources = {d["name"] for item in chain_of(located).artifacts for d in item.manifest["inputs"] if "source" in d}
    uri = source_files(located.root, sorted(sources)).get(checksum)
    if uri is None:
        return f"text not stored; its file (sha256 {checksum}) is not known under {located.root}"
    state = "" if storage.exists(uri) else ", which is no longer there"
    return f"text not stored; read it again at {offset} (length {length or 'unknown'}) in {uri}{state}"


def show(document: Mapping[str, Any], *, full: bool) -> None:
    """Print one document; nothing in it reaches the terminal as a control character."""
    rule = "─" * 8
    tables.print_line(
        f"{rule} {document['id']}  source {document['source']}"
        + (f"  {document['url']}" if document.get("url") else "")
    )
    if document.get("language"):
        tables.print_line(f"language: {document['language']}")
    if "reason" in document:
        tables.print_line(f"dropped: {document['reason']}")
        for sentence in document["because"]:
            tables.print_line(f"  {sentence}")
    text = document["text"]
    if text is None:
        tables.print_line(f"({document['read_again']})")
    elif full or len(text) <= SHOWN_CHARACTERS:
        print(tables.printable(text, lines=True))
    else:
        print(tables.printable(text[:SHOWN_CHARACTERS], lines=True))
        tables.print_line(f"... {len(text) - SHOWN_CHARACTERS:,} characters more (--full)")
    print()
