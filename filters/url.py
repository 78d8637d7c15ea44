"""Documents judged by their URL alone: blocked hosts, blocked words, several suspect words.

The three-tier rule follows RefinedWeb (arXiv 2306.01116, section G.1): a blocklist of hosts, words of which one is
enough, and words of which several are. Words are whole: a host and a path are cut at everything that is neither a
letter nor a digit, so `essex-council.gov.uk` holds `essex` and not `sex`, and `scunthorpe` holds nothing. That
misses words that are glued together (`bestsexclips.com`): such hosts belong on a list, which `hosts_file` takes.
The list in the package, `url_words.toml`, is short and our own; it is a floor, not a blocklist of the web.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import ClassVar, NamedTuple
from urllib.parse import unquote

import pyarrow as pa

from pipelines.errors import ConfigError
from pipelines.fingerprint import File
from pipelines.rules import Rule

MAX_URL_LENGTH = 8192
"""Characters of a URL that are looked at; what follows is no address anyone typed (browsers stop at 2,000 to 8,192)."""

_AUTHORITY = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//([^/?#\\]*)([^?#]*)", re.IGNORECASE)
_BARE = re.compile(r"()([^?#]*)")
_WORDS = re.compile(r"[^\W_]+(?:[\u0300-\u036f\u0900-\u0dff][^\W_]*)*")


class UrlLists(NamedTuple):
    """`hosts` in ASCII (punycode) form, lower case; `words` and `suspect` in case-folded form."""

    hosts: frozenset[str]
    words: frozenset[str]
    suspect: frozenset[str]


@lru_cache(maxsize=1)
def packaged_lists() -> UrlLists:
    """The lists of `filters/url_words.toml`."""
    content = tomllib.loads(resources.files("filters").joinpath("url_words.toml").read_text(encoding="utf-8"))
    return UrlLists(
        hosts=frozenset(_host_key(host) for host in content["hosts"]),
        words=frozenset(word.casefold() for word in content["words"]),
        suspect=frozenset(word.casefold() for word in content["suspect"]),
    )


def _listed(path: str, *, hosts: bool) -> frozenset[str]:
    """The entries of a list, read once a process unless the file changes."""
    status = Path(path).stat()
    return _read_list(path, status.st_size, status.st_mtime_ns, status.st_ino, hosts)


@lru_cache(maxsize=8)
def _read_list(path: str, size: int, changed: int, inode: int, hosts: bool) -> frozenset[str]:
    """One entry a line, as the UT1 lists are: blank lines and `#` comments are skipped, `0.0.0.0 host` lines are read."""
    entries = set()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; a list holds one host or word a line") from error
    for line in lines:
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        if len(fields) > 1 and not (hosts and len(fields) == 2 and fields[0] in ("0.0.0.0", "127.0.0.1", "::")):  # noqa: S104 - hosts(5) syntax
            raise ConfigError(
                f"{path}: cannot read the line {line[:80]!r}; expected one {'host' if hosts else 'word'} a line"
            )
        entries.add(_host_key(fields[-1].removeprefix("*.")) if hosts else fields[-1].casefold())
    return frozenset(entries)


def split_url(url: str) -> tuple[str, str]:
    """Host in lower-case ASCII without user information, port and final dot, and the percent-decoded path.

    >>> split_url("HTTPS://user:pw@WWW.Exämple.org.:8080/a%20b?q=1")
    ('www.xn--exmple-cua.org', '/a b')
    """
    url = url[:MAX_URL_LENGTH].strip()
    found = _AUTHORITY.match(url) or _BARE.match(url)
    authority, path = found.groups() if found else ("", "")
    host = authority.rsplit("@", 1)[-1]
    host = host.split("]", 1)[0] + "]" if host.startswith("[") else host.split(":", 1)[0]
    return _host_key(unquote(host)), unquote(path)


def _host_key(host: str) -> str:
    host = host.strip().rstrip(".").lower()
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _host_words(host: str) -> str:
    """The host as people read it: punycode labels decoded."""
    if "xn--" not in host:
        return host
    try:
        return host.encode("ascii").decode("idna")
    except UnicodeError:
        return host


def _parents(host: str) -> Iterator[str]:
    """`a.b.c` -> `a.b.c`, `b.c`, `c`."""
    while host:
        yield host
        _, _, host = host.partition(".")


@dataclass(frozen=True, kw_only=True)
class UrlFilter:
    """Measures `url`; a document without one has no fault.

    `hosts_file` and `words_file` add to the packaged lists (or stand alone where `packaged` is False): a host, or a word
    of which one is enough, a line, as the UT1 category files are. A listed host blocks its subdomains. Counts are of
    occurrences in host and path; the query and fragment are not looked at. A rule holds above its `max_`.
    """

    max_blocked_url_words: int = 0
    max_suspect_url_words: int = 1
    packaged: bool = True
    hosts_file: File | None = None
    words_file: File | None = None

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("url",)
    wants: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        self.lists()  # a list that cannot be read fails here, on the driver

    def lists(self) -> UrlLists:
        """The lists in force."""
        hosts, words, suspect = packaged_lists() if self.packaged else UrlLists(frozenset(), frozenset(), frozenset())
        if self.hosts_file is not None:
            hosts |= _listed(self.hosts_file.path, hosts=True)
        if self.words_file is not None:
            words |= _listed(self.words_file.path, hosts=False)
        return UrlLists(hosts, words, suspect - words)

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        """`url_host_blocked: bool`, `num_blocked_url_words: int32`, `num_suspect_url_words: int32`; never null."""
        lists = self.lists()
        encoded = batch.column("url").dictionary_encode()
        by_host: dict[str, tuple[bool, int, int]] = {"": (False, 0, 0)}
        measured: list[tuple[bool, int, int]] = []
        for url in encoded.dictionary.to_pylist():
            host, path = split_url(url)
            if host not in by_host:
                listed = any(parent in lists.hosts for parent in _parents(host))
                by_host[host] = (listed, *_count(_host_words(host), lists))
            listed, in_host, suspect_in_host = by_host[host]
            in_path, suspect_in_path = _count(path, lists)
            measured.append((listed, in_host + in_path, suspect_in_host + suspect_in_path))
        rows = [(False, 0, 0) if index is None else measured[index] for index in encoded.indices.to_pylist()]
        return pa.RecordBatch.from_arrays(
            [
                pa.array([row[0] for row in rows], pa.bool_()),
                pa.array([row[1] for row in rows], pa.int32()),
                pa.array([row[2] for row in rows], pa.int32()),
            ],
            names=["url_host_blocked", "num_blocked_url_words", "num_suspect_url_words"],
        )

    def rules(self) -> tuple[Rule, ...]:
        """A blocked host, a blocked word, several suspect words."""
        return (
            Rule("blocked_host", "url_host_blocked", "==", True),
            Rule(
                "blocked_url_word",
                "num_blocked_url_words",
                ">",
                self.max_blocked_url_words,
                field="max_blocked_url_words",
            ),
            Rule(
                "many_suspect_url_words",
                "num_suspect_url_words",
                ">",
                self.max_suspect_url_words,
                field="max_suspect_url_words",
            ),
        )


def _count(text: str, lists: UrlLists) -> tuple[int, int]:
    """Blocked and suspect words of `text`, each occurrence counted."""
    words = _WORDS.findall(text.casefold())
    return sum(word in lists.words for word in words), sum(word in lists.suspect for word in words)
