"""The readable texts under `samples/texts/` -> the archives beside it, byte for byte the same on every run.

    python samples/build.py [FOLDER]

writes below FOLDER (default: `samples/`): three WARC files of web pages and one of pages with formulas; three JSON
Lines files in 18 languages (plain, gzip, zstd); questions and rewrites as JSON Lines; some broken source files; and
MANIFEST.md, which says what was planted where. Standard library only. Everything here was written for this project.

A text file holds documents: a line `=== name`, lines `key: value` (a key may come again), a blank line, the body.
Bodies of pages use a small markup: blank lines between paragraphs, `## ` headings, `- ` bullets, four spaces for code,
`| a | b |` for tables, `@name date` before a forum post. `copy-of:` takes the body of another document, and each
`edit: old => new` changes it in one place.
"""

from __future__ import annotations

import html
import json
import re
import sys
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

SAMPLES = Path(__file__).resolve().parent
TEXTS = SAMPLES / "texts"
LANGUAGES = ("ar", "cs", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ro", "ru", "sv", "ur", "zh")
WEB_FILES = (
    "articles-1", "articles-2", "forum", "docs", "products", "listings", "short-pages", "contaminated",
    "other-languages", "charsets", "junk", "variants",
)  # fmt: skip
NUM_WARC_FILES = 3
DATE = "2024-06-01T{:02d}:{:02d}:{:02d}Z"
KEYS = {"url", "template", "title", "author", "price", "lang", "encoding", "declared", "expect", "plant", "copy-of",
        "edit", "prompt", "source_id"}  # fmt: skip


@dataclass(frozen=True)
class Document:
    """One entry of a text file. `keys` keeps every value of a repeated key, in order."""

    name: str
    keys: dict[str, tuple[str, ...]]
    body: str

    def get(self, key: str, default: str = "") -> str:
        return self.keys.get(key, (default,))[0]


@dataclass
class Built:
    """Made so far: files by path relative to `samples/`, and rows of the manifest (kind, id, path, detail)."""

    files: dict[str, bytes] = field(default_factory=dict)
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)


# --- text files ------------------------------------------------------------------------------------------------------


def parse(path: Path) -> list[Document]:
    """The documents of one text file."""
    documents = []
    for part in re.split(r"^=== ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        keys: dict[str, tuple[str, ...]] = {}
        lines = rest.split("\n")
        while lines and (match := re.match(r"([a-z_-]+): ?(.*)$", lines[0])) and match[1] in KEYS:
            keys[match[1]] = (*keys.get(match[1], ()), match[2].strip())
            lines.pop(0)
        documents.append(Document(name.strip(), keys, "\n".join(lines).strip("\n")))
    return documents


def resolve(documents: list[Document]) -> list[Document]:
    """Copies get the keys and the body of what they copy, with their edits made; each edit must apply exactly once."""
    by_name = {document.name: document for document in documents}
    if len(by_name) != len(documents):
        raise SystemExit("two documents have the same name")
    resolved = []
    for document in documents:
        if "copy-of" in document.keys:
            original = by_name[document.get("copy-of")]
            body = original.body
            for edit in document.keys.get("edit", ()):
                old, _, new = edit.partition(" => ")
                if body.count(old) != 1:
                    raise SystemExit(f"{document.name}: {old!r} occurs {body.count(old)} times in {original.name}")
                body = body.replace(old, new)
            document = replace(document, keys={**original.keys, **document.keys}, body=body)
        resolved.append(document)
    return resolved


# --- pages -----------------------------------------------------------------------------------------------------------

SECTIONS = ("Home", "Articles", "Archive", "Forum", "Shop", "About us", "Contact", "Sign in")
FOOTER = (
    "All texts on this site may be shared under the terms given on our licence page. Imprint. Privacy. Cookie settings."
)
BANNER = "We use cookies to make this site work and to count our visitors. You can accept all of them or choose."
NOSCRIPT = "Some parts of this site need JavaScript. Please turn it on in your browser and load the page again."


def inline(text: str) -> str:
    return html.escape(text, quote=False)


def blocks(body: str) -> Iterator[str]:
    """The markup of a body as HTML elements."""
    num_posts = 0
    for block in re.split(r"\n\s*\n", body):
        lines = block.split("\n")
        if lines[0].startswith("## "):
            yield f"<h2>{inline(lines.pop(0)[3:])}</h2>"
        while lines:
            kind = line_kind(lines[0])
            run = [lines.pop(0)]
            while lines and line_kind(lines[0]) == kind:
                run.append(lines.pop(0))
            if kind == "list":
                yield "<ul>\n" + "\n".join(f"<li>{inline(line[2:])}</li>" for line in run) + "\n</ul>"
            elif kind == "code":
                yield "<pre><code>" + inline("\n".join(line[4:] for line in run)) + "</code></pre>"
            elif kind == "table":
                cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in run]
                rows = ["".join(f"<{tag}>{inline(cell)}</{tag}>" for cell in row)
                        for tag, row in zip(["th"] + ["td"] * len(cells), cells, strict=False)]  # fmt: skip
                yield "<table>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "\n</table>"
            elif kind == "post":
                num_posts += 1
                name, _, day = run[0][1:].partition(" ")
                yield f'<p class="post-meta">#{num_posts} <a href="/u/{name}">{name}</a> wrote on {day}:</p>'
            else:
                yield "<p>" + inline(" ".join(run) if len(run) == 1 else "\n".join(run)) + "</p>"


def line_kind(line: str) -> str:
    starts = {"- ": "list", "    ": "code", "| ": "table", "@": "post"}
    return next((kind for start, kind in starts.items() if line.startswith(start)), "text")


def page(document: Document, neighbours: list[Document]) -> str:
    """The whole HTML page: content in its site's frame, with menu, banner, related links and footer."""
    title = inline(document.get("title"))
    language = document.get("lang", "en")
    template = document.get("template")
    declared = document.get("declared", "utf-8")
    meta = f'<meta charset="{declared}">' if declared else ""
    head = f'<!DOCTYPE html>\n<html lang="{language}">\n<head>{meta}<title>{title}</title></head>\n<body>\n'
    content = "\n".join(blocks(document.body))
    if template == "bare":
        body = "<br>\n".join(inline(line) for line in document.body.split("\n"))
        return f"{head}<h1>{title}</h1>\n<div>{body}</div>\n</body>\n</html>\n"
    site = document.get("url").split("/")[2]
    menu = "".join(f'<li><a href="/{name.lower().replace(" ", "-")}">{name}</a></li>' for name in SECTIONS)
    related = "".join(
        f'<li><a href="{html.escape(n.get("url"))}">{inline(n.get("title"))}</a></li>' for n in neighbours
    )
    frame = (
        f'{head}<header class="site"><a href="/">{site}</a><nav><ul>{menu}</ul></nav></header>\n'
        f'<div id="cookie-banner" class="cookie-consent" role="dialog"><p>{BANNER}</p><button>Accept</button></div>\n'
        f"<noscript>{NOSCRIPT}</noscript>\n"
    )
    aside = f'<aside class="sidebar"><h3>You may also like</h3><ul>{related}</ul></aside>\n'
    if template == "product":
        main = (
            f'<main><div class="product"><h1>{title}</h1>\n<div class="price">Price: {document.get("price")} EUR</div>'
            f'<button class="buy">Add to basket</button>\n<div class="description">\n{content}\n</div></div></main>\n'
        )
    elif template == "forum":
        main = f'<main class="thread"><h1>{title}</h1>\n{content}\n<a class="button" href="/reply">Reply</a></main>\n'
    elif template == "docs":
        toc = "".join(f"<li>{inline(line[3:])}</li>" for line in document.body.split("\n") if line.startswith("## "))
        main = (
            f'<nav class="toc"><ul>{toc}</ul></nav>\n<main class="documentation"><h1>{title}</h1>\n{content}\n</main>\n'
        )
    elif template == "listing":
        teasers = content.replace("<ul>", "").replace("</ul>", "")
        teasers = teasers.replace("<li>", '<div class="teaser"><p>').replace("</li>", "</p></div>")
        main = f"<main><h1>{title}</h1>\n{teasers}\n</main>\n"
    else:
        byline = f'<p class="byline">By {inline(document.get("author"))}</p>\n' if document.get("author") else ""
        main = f"<main><article>\n<h1>{title}</h1>\n{byline}{content}\n</article></main>\n"
    footer = f'<footer class="site-footer"><p>{FOOTER}</p></footer>\n</body>\n</html>\n'
    return frame + main + aside + footer


# --- archives --------------------------------------------------------------------------------------------------------


def gzip_member(data: bytes) -> bytes:
    """One gzip member (RFC 1952) without time, name or operating system in it."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = squeeze.compress(data) + squeeze.flush()
    sizes = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + body + sizes


def zstd_frame(data: bytes) -> bytes:
    """A zstd frame of raw blocks (RFC 8878, 3.1.1), since the standard library cannot compress zstd."""
    frame = bytearray(b"\x28\xb5\x2f\xfd" + b"\xa0" + len(data).to_bytes(4, "little"))
    size = 1 << 16
    for start in range(0, len(data), size):
        block = data[start : start + size]
        last = start + size >= len(data)
        frame += (last | len(block) << 3).to_bytes(3, "little") + block
    return bytes(frame)


def record_id(name: str) -> str:
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, 'https://eyas.example/samples/' + name)}>"


def warc_record(kind: str, name: str, url: str, block: bytes, *, second: int, length: int | str | None = None) -> bytes:
    """One WARC 1.1 record; `length` is a lie to tell instead of the true Content-Length."""
    media = {"response": "application/http;msgtype=response", "request": "application/http;msgtype=request"}
    headers = [
        "WARC/1.1",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: {record_id(f'{kind}/{name}')}",
        f"WARC-Date: {DATE.format(second // 3600, second // 60 % 60, second % 60)}",
        *([f"WARC-Target-URI: {url}"] if url else []),
        f"Content-Type: {media.get(kind, 'application/warc-fields')}",
        f"Content-Length: {len(block) if length is None else length}",
    ]
    return ("\r\n".join(headers) + "\r\n\r\n").encode() + block + b"\r\n\r\n"


def http_response(
    body: bytes, content_type: str, *headers: str, status: str = "200 OK", length: int | None = None
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *headers]
    if not any(line.startswith("Transfer-Encoding") for line in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def chunked(body: bytes, size: int = 1000) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def response_block(document: Document, neighbours: list[Document], position: int) -> bytes:
    """The HTTP response of a page; some pages are compressed or chunked, as a server would."""
    encoding = document.get("encoding", "utf-8")
    body = page(document, neighbours).encode(encoding)
    declared = document.get("declared", "utf-8")
    content_type = f"text/html; charset={declared}" if declared else "text/html"
    if position % 7 == 3:
        return http_response(gzip_member(body), content_type, "Content-Encoding: gzip")
    if position % 7 == 5:
        return http_response(
            chunked(gzip_member(body)), content_type, "Content-Encoding: gzip", "Transfer-Encoding: chunked"
        )
    return http_response(body, content_type)


@dataclass(frozen=True)
class Fault:
    """A response that is broken or odd. `lie` replaces the WARC Content-Length; `cut` is how many bytes are left."""

    name: str
    what: str
    block: bytes
    lie: int | str | None = None
    cut: int | None = None

    @property
    def url(self) -> str:
        return f"https://faults.example/{self.name}"

    def member(self, second: int) -> bytes:
        return gzip_member(warc_record("response", self.name, self.url, self.block, second=second, length=self.lie))[
            : self.cut
        ]


def faults(documents: dict[str, Document]) -> tuple[tuple[Fault, ...], ...]:
    """The faults at the end of each file. What is truncated comes last."""
    html_type = "text/html; charset=utf-8"
    moss, fog, lock, short = (
        page(documents[name], []).encode() for name in ("moss-garden", "fog-forecast", "canal-lock", "junk-short-1")
    )
    damaged = bytearray(gzip_member(moss))
    damaged[40:60] = bytes(20)
    bomb = gzip_member(b"<p>" + b" " * (8 << 20) + b"</p>")
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    zipped = "Content-Encoding: gzip"
    honest = http_response(fog, html_type)
    return (
        (
            Fault(
                "fault-gzip",
                "its body says gzip and cannot be decompressed",
                http_response(bytes(damaged), html_type, zipped),
            ),
            Fault(
                "odd-http-length", "only the HTTP Content-Length is wrong", http_response(lock, html_type, length=99999)
            ),
            Fault("odd-not-found", "status 404", http_response(short, html_type, status="404 Not Found")),
        ),
        (
            Fault("fault-bomb", "8 MiB of blanks in 8 kB of gzip", http_response(bomb, html_type, zipped)),
            Fault("fault-warc-length", "its WARC Content-Length is 300 bytes too small", honest, lie=len(honest) - 300),
            Fault("odd-image", "an image", http_response(png, "image/png")),
        ),
        (
            Fault("fault-bad-header", "its WARC Content-Length is not a number", honest, lie="many"),
            Fault("fault-truncated", "the file ends in the middle of it", honest, cut=700),
        ),
    )


def build_web(built: Built) -> None:
    documents = resolve([document for name in WEB_FILES for document in parse(TEXTS / "web" / f"{name}.txt")])
    broken = faults({document.name: document for document in documents})
    for number in range(NUM_WARC_FILES):
        path = f"web/pages-{number:03d}.warc.gz"
        info = b"software: samples/build.py\r\nformat: WARC File Format 1.1\r\n"
        parts = [gzip_member(warc_record("warcinfo", path, "", info, second=0))]
        mine = documents[number::NUM_WARC_FILES]
        for position, document in enumerate(mine):
            name, url, second = document.name, document.get("url"), number * 3600 + position * 7
            if position % 4 == 0:
                ask = f"GET /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\n\r\n".encode()
                parts.append(gzip_member(warc_record("request", name, url, ask, second=second)))
            start = documents.index(document)
            neighbours = [documents[(start + step) % len(documents)] for step in (5, 11, 23)]
            block = response_block(document, neighbours, position)
            parts.append(gzip_member(warc_record("response", name, url, block, second=second)))
            if position % 6 == 0:
                parts.append(gzip_member(warc_record("metadata", name, url, b"fetchTimeMs: 120\r\n", second=second)))
            built.rows.extend(page_rows(document, path))
        for position, fault in enumerate(broken[number]):
            parts.append(fault.member(number * 3600 + 3000 + position))
            kind = "broken record" if fault.name.startswith("fault") else "odd record"
            built.rows.append((kind, fault.name, path, f"{fault.what}, at {fault.url}"))
        if number == 0:
            built.rows.append(("exact duplicate", "odd-http-length", path, "of canal-lock"))
        built.files[path] = b"".join(parts)


def page_rows(document: Document, path: str) -> Iterator[tuple[str, str, str, str]]:
    url = document.get("url")
    if "copy-of" in document.keys:
        kind = "near duplicate" if "edit" in document.keys else "exact duplicate"
        yield kind, document.name, path, f"of {document.get('copy-of')}, at {url}"
        return
    if "expect" in document.keys:
        yield "junk", document.name, path, f"{document.get('expect')}, at {url}"
    if "encoding" in document.keys:
        declared = document.get("declared") or "nothing"
        yield "charset", document.name, path, f"{document.get('encoding')}, declared as {declared}, at {url}"
    if document.get("lang", "en") != "en":
        yield "other language", document.name, path, f"{document.get('lang')}, at {url}"
    yield from planted_rows(document, path)


def planted_rows(document: Document, path: str) -> Iterator[tuple[str, str, str, str]]:
    for plant in document.keys.get("plant", ()):
        kind, _, value = plant.partition(" ")
        names = {
            "email": "e-mail address",
            "ip": "IP address",
            "private_ip": "private IP address",
            "phone": "telephone number",
        }
        if kind == "benchmark":
            yield "benchmark question", document.name, path, value
        elif kind in names:
            yield names[kind], document.name, path, value
        else:
            yield "other", document.name, path, plant


def build_math(built: Built) -> None:
    path, parts = "math/pages.warc.gz", []
    for second, source in enumerate(sorted((TEXTS / "math").glob("*.html"))):
        url = f"https://countinghouse.example/essays/{source.stem}"
        block = http_response(source.read_bytes(), "text/html; charset=utf-8")
        parts.append(gzip_member(warc_record("response", source.stem, url, block, second=second)))
    built.files[path] = b"".join(parts)
    lines = []
    for document in parse(TEXTS / "math" / "questions.txt"):
        question, _, solution = document.body.partition("\n---\n")
        lines.append(
            {"id": document.name, "text": f"{question}\n\n{solution}", "question": question, "solution": solution}
        )
    built.files["math/questions.jsonl"] = json_lines(lines)
    built.rows.append(("exact duplicate", "geometric-series-copy.tex", "math/tex", "of geometric-series.tex"))
    built.rows.append(("other", "broken-braces.tex", "math/tex", "unbalanced braces and environments"))


def build_multilingual(built: Built) -> None:
    documents = []
    for language in LANGUAGES:
        for document in parse(TEXTS / "multilingual" / f"{language}.txt"):
            documents.append(replace(document, keys={"lang": (language,)}))
    planted = [document.name for document in parse(TEXTS / "multilingual" / "planted.txt")]
    documents = resolve(documents + parse(TEXTS / "multilingual" / "planted.txt"))
    paths = ("multilingual/part-a.jsonl", "multilingual/part-b.jsonl.gz", "multilingual/part-c.jsonl.zst")
    shares: list[list[dict[str, str]]] = [[], [], []]
    for position, document in enumerate(documents):
        share = (position + 1) % 3
        if "copy-of" in document.keys:  # never into the file of the original
            original = next(at for at, other in enumerate(documents) if other.name == document.get("copy-of"))
            share = (original + 2) % 3
        shares[share].append({"id": document.name, "lang": document.get("lang"), "text": document.body})
        if document.name in planted and "copy-of" in document.keys:
            kind = "near duplicate" if "edit" in document.keys else "exact duplicate"
            built.rows.append((kind, document.name, paths[share], f"of {document.get('copy-of')}"))
        built.rows.extend(planted_rows(document, paths[share]))
    plain = json_lines(shares[0]).split(b"\n")
    broken = {
        10: (
            b'{"id": "broken-utf8", "lang": "de", "text": "Gr\xfc\xdfe aus einer anderen Zeit"}',
            "latin-1 bytes in UTF-8",
        ),
        20: (b'{"id": "broken-json", "lang": "en", "text": "the quotation mark is missing}', "not JSON"),
        30: (b'{"id": "broken-no-text", "lang": "en", "body": "the text has another name here"}', "no field `text`"),
    }
    for at in sorted(broken, reverse=True):
        plain.insert(at, broken[at][0])
    for line, what in broken.values():
        built.rows.append(("broken record", line.split(b'"')[3].decode(), paths[0], what))
    built.files[paths[0]] = b"\n".join(plain)
    built.files[paths[1]] = gzip_member(json_lines(shares[1]))
    built.files[paths[2]] = zstd_frame(json_lines(shares[2]))


def build_synthetic(built: Built) -> None:
    path, lines = "synthetic/rewrites.jsonl", []
    for document in parse(TEXTS / "synthetic" / "rewrites.txt"):
        names = {"prompt": document.get("prompt"), "source_id": document.get("source_id")}
        lines.append({"id": document.name, **names, "text": document.body.strip()})
        built.rows.extend(planted_rows(document, path))
    built.files[path] = json_lines(lines)


def build_code(built: Built) -> None:
    """Source files broken in ways that no editor would keep. The sound ones lie in `samples/code/` as they are."""
    minified = "var t=0;" + "".join(f"function f{n}(a){{return a+{n}>{n * 7}?f{n}(a-1):t+=a}}" for n in range(90))
    broken = {
        "broken/empty.rb": (b"", "no bytes"),
        "broken/blob.c": (b"int main(void) { return 0; }\n" + bytes(range(256)) * 4, "bytes that are no text"),
        "broken/invalid_utf8.go": (b"package broken\n\n// Gr\xfc\xdfe\nconst Answer = 42\n", "invalid UTF-8"),
        "broken/latin1.py": (
            "# -*- coding: latin-1 -*-\n# Größe in Fuß\nHEIGHT = 6\n".encode("latin-1"),
            "latin-1, and says so",
        ),
        "broken/minified.js": (minified.encode() + b"\n", "one line without a break"),
    }
    for name, (content, what) in broken.items():
        built.files[f"code/{name}"] = content
        built.rows.append(("broken file", name, "code", what))
    built.rows.append(("exact duplicate", "atlas/frost.py", "code", "of orchard/frost.py"))
    built.rows.append(("near duplicate", "lantern/chart.py", "code", "of orchard/chart.py, one name changed"))
    built.rows.append(("other", "lanes/stations_pb.js", "code", "generated code, and says so"))


def json_lines(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


MANIFEST_HEAD = """# What is planted in the samples

Written by `build.py`; do not edit. `id` is the name in `texts/`, and where the format has ids the document's id; pages
have `WARC-Record-ID`s made of it (`build.record_id("response/<id>")`). Everything that is not listed here is sound.

| kind | id | file | detail |
|---|---|---|---|
"""


def manifest(rows: list[tuple[str, str, str, str]]) -> bytes:
    return (MANIFEST_HEAD + "".join("| " + " | ".join(row) + " |\n" for row in sorted(rows))).encode()


def build(into: Path) -> dict[str, bytes]:
    """Write everything below `into`; returns the bytes by relative path."""
    built = Built()
    for part in (build_web, build_math, build_multilingual, build_synthetic, build_code):
        part(built)
    built.files["MANIFEST.md"] = manifest(built.rows)
    for path, content in built.files.items():
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return built.files


def deflate_probe() -> int:
    """A checksum that is the same wherever zlib compresses as it did when the archives in git were made."""
    return zlib.crc32(zlib.compress(b"".join(b"%d, " % (n * n % 9973) for n in range(4000)), 9))


if __name__ == "__main__":
    made = build(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES)
    for made_path, made_bytes in sorted(made.items()):
        sys.stdout.write(f"{len(made_bytes):>8} {made_path}\n")
