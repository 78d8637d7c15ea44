"""`samples/`: built from readable texts byte for byte, holding what MANIFEST.md says and no more than it should weigh.

The archives are read here by the standard library and zstandard, never by eyas' own readers: the corpus is what the
readers are tested on.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import sys
import zlib
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import zstandard

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
MAX_BYTES = 1_500_000
LANGUAGES = set(
    ["ar", "cs", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ro", "ru", "sv", "ur", "zh"]
)
PROBE_OF_USUAL_ZLIB = 1960165523


@cache
def build_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("samples_build", SAMPLES / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["samples_build"] = module
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


def unzipped(path: str, data: bytes) -> bytes:
    """All gzip members that are whole, one after another; other files as they are."""
    if not path.endswith(".gz"):
        return data
    out = b""
    while data:
        member = zlib.decompressobj(wbits=31)
        out += member.decompress(data)
        if not member.eof:
            break
        data = member.unused_data
    return out


@cache
def content_of(path: str) -> bytes:
    return unzipped(path, (SAMPLES / path).read_bytes())


@cache
def responses(path: str) -> dict[str, bytes]:
    """HTTP responses of a WARC file by record id, decoded bodies; only those that are sound."""
    found: dict[str, bytes] = {}
    for record in re.split(rb"(?=WARC/1\.1\r\n)", content_of(path)):
        head, _, block = record.partition(b"\r\n\r\n")
        if b"WARC-Type: response" not in head:
            continue
        identity = re.search(rb"WARC-Record-ID: (\S+)", head)
        assert identity is not None
        http, _, body = block.partition(b"\r\n\r\n")
        if b"chunked" in http:
            body = re.sub(rb"(?:\A|\r\n)[0-9a-f]+\r\n", b"", body)
        if b"Content-Encoding: gzip" in http:
            try:
                body = zlib.decompressobj(wbits=31).decompress(body, 1 << 20)
            except zlib.error:
                body = b""
        found[identity[1].decode()] = body
    return found


@cache
def manifest() -> tuple[tuple[str, str, str, str], ...]:
    rows = [line.strip("| ").split(" | ") for line in (SAMPLES / "MANIFEST.md").read_text("utf-8").splitlines()]
    return tuple((row[0], row[1], row[2], row[3]) for row in rows if len(row) == 4 and row[0] != "kind")


@cache
def json_documents(path: str) -> dict[str, dict[str, str]]:
    data = (SAMPLES / path).read_bytes()
    if path.endswith(".zst"):
        data = zstandard.ZstdDecompressor().decompress(data)
    documents = {}
    for line in unzipped(path, data).splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if "text" in document:
            documents[document["id"]] = document
    return documents


def text_of(name: str, path: str) -> str:
    """The text or HTML of the document `name` in the archive, JSON Lines file or source tree `path`."""
    if path.endswith(".warc.gz"):
        for archive in sorted(SAMPLES.glob("web/*.warc.gz")):
            body = responses(f"web/{archive.name}").get(build_module().record_id(f"response/{name}"))
            if body is not None:
                return body.decode("utf-8", "replace")
        raise AssertionError(f"no response {name}")
    if ".jsonl" in path:
        for archive in sorted((SAMPLES / path).parent.glob("*.jsonl*")):
            found = json_documents(f"{Path(path).parent}/{archive.name}").get(name)
            if found is not None:
                return found["text"]
        raise AssertionError(f"no document {name}")
    return (SAMPLES / path / name).read_text("utf-8")


def words_of_page(page: str) -> list[str]:
    main = re.search(r"<main.*?</main>", page, re.DOTALL)
    return re.sub(r"<[^>]+>", " ", main[0] if main else page).split()


def shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + 5]) for at in range(len(words) - 4)}


def test_build_reproduces_the_archives(tmp_path: Path) -> None:
    made = build_module().build(tmp_path)
    usual = build_module().deflate_probe() == PROBE_OF_USUAL_ZLIB
    assert len(made) >= 14
    for path, content in made.items():
        assert (tmp_path / path).read_bytes() == content
        if usual or not path.endswith(".gz"):
            assert (SAMPLES / path).read_bytes() == content, f"{path}: run python samples/build.py and commit"
        else:  # another deflate: the same bytes after decompression, but for the member that is cut short
            assert unzipped(path, content)[:-2000] == content_of(path)[:-2000], path


def test_everything_stays_small() -> None:
    files = [path for path in SAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES


def test_archives_name_no_time_and_no_machine() -> None:
    for path in SAMPLES.rglob("*.gz"):
        assert path.read_bytes()[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"


def test_there_are_enough_pages_in_every_file() -> None:
    counts = [len(responses(f"web/{path.name}")) for path in sorted(SAMPLES.glob("web/*.warc.gz"))]
    assert len(counts) == 3
    assert min(counts) >= 35
    assert sum(counts) >= 110


def test_all_languages_are_covered() -> None:
    counts: dict[str, int] = {}
    for path in sorted(SAMPLES.glob("multilingual/*.jsonl*")):
        for document in json_documents(f"multilingual/{path.name}").values():
            counts[document["lang"]] = counts.get(document["lang"], 0) + 1
    assert counts.keys() - {"fi"} == LANGUAGES
    assert all(counts[language] >= 8 for language in LANGUAGES)


def test_code_covers_many_languages() -> None:
    suffixes = {path.suffix for path in SAMPLES.glob("code/*/*")}
    wanted = ".py .c .h .cpp .js .ts .css .go .rs .java .kt .sql .rb .pl .lua .php .hs .jl .R .cs .swift .scala .ex .sh .ipynb"
    assert suffixes >= set(wanted.split())


def test_the_manifest_is_complete() -> None:
    kinds = {kind for kind, *_ in manifest()}
    assert kinds >= {
        "exact duplicate", "near duplicate", "e-mail address", "IP address", "private IP address", "telephone number",
        "junk", "charset", "other language", "benchmark question", "broken record", "broken file",
    }  # fmt: skip
    faults = {detail.partition(",")[0] for kind, _, _, detail in manifest() if kind == "junk"}
    assert len(faults) >= 6


@pytest.mark.parametrize("row", [row for row in manifest() if row[0] == "exact duplicate"], ids=lambda row: row[1])
def test_exact_duplicates_are_equal(row: tuple[str, str, str, str]) -> None:
    _, name, path, detail = row
    original = re.split(r"of |, at | in ", detail)[1]
    copy, source = text_of(name, path), text_of(original, path)
    if path.endswith(".warc.gz"):
        assert words_of_page(copy) == words_of_page(source)
    else:
        assert copy == source


@pytest.mark.parametrize("row", [row for row in manifest() if row[0] == "near duplicate"], ids=lambda row: row[1])
def test_near_duplicates_are_near_and_not_equal(row: tuple[str, str, str, str]) -> None:
    _, name, path, detail = row
    original = re.split(r"of |, ", detail)[1]
    copy, source = (words_of_page(text_of(each, path)) for each in (name, original))
    assert copy != source
    common, union = shingles(copy) & shingles(source), shingles(copy) | shingles(source)
    # source code changes one name throughout, so that few shingles stay
    assert len(common) / len(union) >= (0.3 if path == "code" else 0.8)


@pytest.mark.parametrize(
    "row",
    [row for row in manifest() if row[0].endswith(("address", "number"))],
    ids=lambda row: row[3],
)
def test_planted_personal_data_is_there_once(row: tuple[str, str, str, str]) -> None:
    _, name, path, value = row
    text = text_of(name, path)
    assert text.count(value) == 1


def test_planted_benchmark_questions_are_verbatim() -> None:
    questions = {}
    for line in (SAMPLES / "benchmarks/orsett-quiz.jsonl").read_text("utf-8").splitlines():
        document = json.loads(line)
        questions[document["id"]] = document["question"]
    assert len(questions) == 20
    planted = [(name, path, detail) for kind, name, path, detail in manifest() if kind == "benchmark question"]
    assert len(planted) == 3
    for name, path, question in planted:
        assert questions[question] in text_of(name, path)
    clean = [text_of("forum-chess-endgame", "web/pages-000.warc.gz"), text_of("tide-tables", "web/pages-000.warc.gz")]
    assert not any(question in page for question in questions.values() for page in clean)


def test_charset_pages_are_not_what_they_declare() -> None:
    rows = [row for row in manifest() if row[0] == "charset"]
    assert len(rows) == 4
    for _, name, path, detail in rows:
        encoding, declared = re.match(r"(\S+), declared as (\S+),", detail).groups()  # type: ignore[union-attr]
        body = responses(path)[build_module().record_id(f"response/{name}")]
        text = body.decode(encoding)
        assert "<main>" in text
        if declared not in ("nothing", encoding):
            assert body.decode(declared, "replace") != text


def test_broken_records_are_broken() -> None:
    lines = (SAMPLES / "multilingual/part-a.jsonl").read_bytes().split(b"\n")
    assert sum(b"broken-" in line for line in lines) == 3
    with pytest.raises(UnicodeDecodeError):
        next(line for line in lines if b"broken-utf8" in line).decode()
    with pytest.raises(ValueError, match="Unterminated string"):
        json.loads(next(line for line in lines if b"broken-json" in line))
    with pytest.raises(EOFError):
        gzip.decompress((SAMPLES / "web/pages-002.warc.gz").read_bytes())
    bomb = responses("web/pages-001.warc.gz")[build_module().record_id("response/fault-bomb")]
    assert len(bomb) == 1 << 20  # the limit that this test reads with
    assert b"Content-Length: many" in content_of("web/pages-002.warc.gz")


def test_rewrites_name_their_sources() -> None:
    texts = [SAMPLES / f"texts/web/{name}.txt" for name in ("articles-1", "articles-2")]
    pages = {document.name for path in texts for document in build_module().parse(path)}
    rewrites = json_documents("synthetic/rewrites.jsonl").values()
    assert len(rewrites) == 30
    assert {rewrite["source_id"] for rewrite in rewrites} <= pages
    assert all(rewrite["prompt"] for rewrite in rewrites)
