"""Public IP addresses in text: what is one, and what only looks like one.

Both functions take the whole text and one candidate of `pipelines.kernels.redaction` and look at a bounded window
around it, so a document costs time linear in its length, whatever it holds.

Public are the addresses that the IANA special-purpose registries call globally reachable: the meaning of `is_global` in
the standard library's `ipaddress`, held as a table here since that function differs between releases of Python. So
loopback, private, link-local, shared, documentation and reserved addresses stay. A dotted quad is read as a version, a
section number or an object identifier where its context says so; octets padded to three digits are read as decimal.
"""

from __future__ import annotations

import ipaddress
import re

_QUAD = re.compile(r"(?<![\d.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\d])(?!\.\d)")
_VERSION_WORDS = (
    "version|versions|vers?|v|release|releases|released|rev|revision|firmware|build|patch|patchlevel|upgraded?|update"
    "|upstream|tag|snapshot|sections?|sect?|chapter|clause|figure|fig|tables?|appendix|annex|articles?|art|paragraph|para"
    "|theorem|lemma|definition|proposition|corollary|exercise|equation|eq|oid"
    "|versión|versione|versão|wersja|verze|versiunea|versie|версия|версии|версию|sezione|sección|seção|abschnitt|kapitel|ziffer"
    "|punkt|раздел|пункт|глава|п|гл|chapitre|capítulo|capitolo|paragraaf|hoofdstuk|avsnitt|sekcja|rozdział|kapitola"
    "|バージョン|ver|版本|버전|第"
)
_VERSION_BEFORE = re.compile(
    rf"(?:(?<![^\W_])(?:{_VERSION_WORDS})(?:\s+(?:to|is|of|was))?|§"
    rf"|[<>=!~]=|~>|(?<![A-Z<])<<|(?<![A-Z>])>>)[\s:.(\"'=-]{{0,4}}\Z",
    re.IGNORECASE,
)
_SMALL_VERSION_BEFORE = re.compile(
    r"(?:(?<![^\W_])(?:policy|policies|standar[dt]?s?|standards-version|conform\w*|complian\w+"
    r"|version\w*|releases?|upstream|packag\w+"
    r"|upgrad\w+|requires?|depends?|before|since|until|changelog|libc|kernel|linux|debhelper)(?![^\W_])[^\n]{0,24}"
    r"|[@_][\w.]{0,24}\d \()\Z",
    re.IGNORECASE,
)
_PACKAGE_BEFORE = re.compile(r"(?:[^\W\d_][\w+.]*-|[^\W\d_][\w+-]*/)\Z")
_HOST_BEFORE = re.compile(
    r"(?:\w\.[A-Za-z][\w-]*/|(?:ip|addr|address|host|client|server|from|to|peer)[-/])\Z", re.IGNORECASE
)
_ADDRESS_BEFORE = re.compile(
    r"(?://|[\[@#]|(?:ip|addr|address|host|client|server|from|peer|src|dst|ping|gateway|dns|nameserver)[\s:=(\[\"']{1,3})\Z",
    re.IGNORECASE,
)
_VERSION_AFTER = re.compile(r"-\d(?!\d{0,2}\.)|[+~]\w|-[A-Za-z]|\.[A-Za-z]|\.(?:\*|x\b)|[A-Za-z_]")
_PORT_AFTER = re.compile(r":\d{1,5}(?!\d)|/\d{1,5}(?!\d)|#\d")
_HEADING_AFTER = re.compile(r"(?P<stop>[.)])?[^\S\n]+(?P<word>[^\W\d_]+)")
_REFERENCE = re.compile(
    r"(?:[^\W\d_]\u00a0|(?<![^\W_])(?:see|vgl|siehe|cf|voir|véase|vedi|zie|viz|см|قسم|القسم|الفصل|kapitole|kapitoly|sekci|sekce"
    r"|rozdziale|rozdziału|sekcji|secțiunea|secțiune|разделе|раздела|главе|пункте|avsnittet|kapitlet|sectie)\.?\s)\Z",
    re.IGNORECASE,
)
_COUNTER_AFTER = re.compile(r"\s?[절節节항條条]")
_OBJECT_IDENTIFIER = re.compile(r"1\.3\.6\.1|2\.5\.(?:4|29)\.\d+|1\.2\.840\.\d+|0\.9\.2342\.\d+")


def ipv4_spans(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """Public IPv4 addresses within `text[start:stop]`, in order.

    >>> ipv4_spans("1.2.3.4 sent 10.0.0.1, libc 2.31", 0, 7)
    [(0, 7)]
    """
    found = []
    for quad in _QUAD.finditer(text, start, min(len(text), stop + 2)):
        if quad.end() > stop:
            continue
        octets = [int(part) for part in quad.group().split(".")]
        padded = [part for part in quad.group().split(".") if len(part) > 1 and part[0] == "0"]
        if max(octets) > 255 or any(len(part) != 3 for part in padded):
            continue
        address = (octets[0] << 24) | (octets[1] << 16) | (octets[2] << 8) | octets[3]
        if _is_public_v4(address) and not _is_version(text, quad.start(), quad.end(), octets):
            found.append((quad.start(), quad.end()))
    return found


def _is_version(text: str, start: int, stop: int, octets: list[int]) -> bool:
    before = text[max(0, start - 32) : start]
    after = text[stop : stop + 16]
    if (before and (before[-1].isalnum() or before[-1] == "_")) or _VERSION_AFTER.match(after):
        ends_range = after[:1] == "-" and _range_end(after) >= octets[3] and octets[0] >= 32
        if not ends_range:
            return True
    if _PACKAGE_BEFORE.search(before) and not (_HOST_BEFORE.search(before) or _PORT_AFTER.match(after)):
        return True
    if _VERSION_BEFORE.search(before) or _OBJECT_IDENTIFIER.fullmatch(text[start:stop]):
        return not _ADDRESS_BEFORE.search(before)
    if max(octets) >= 40 or _PORT_AFTER.match(after) or _ADDRESS_BEFORE.search(before):
        return False
    if _SMALL_VERSION_BEFORE.search(text, max(0, start - 48), start):
        return True
    line_start = text.rfind("\n", max(0, start - 8), start) + 1 or (0 if start < 8 else -1)
    if line_start >= 0 and not text[line_start:start].strip(" \t#*=") and octets[3] > 0:
        word = _HEADING_AFTER.match(text, stop, stop + 32)
        if word is not None and (word.group("stop") or _is_title(word.group("word"))):
            return True
    return _REFERENCE.search(before) is not None or _COUNTER_AFTER.match(after) is not None


def _is_title(word: str) -> bool:
    """`Scope`, and any word of a script without cases; neither `GET` nor `sent`, which follow addresses in logs."""
    return not word[0].islower() and not (len(word) > 1 and word.isupper())


def _range_end(after: str) -> int:
    end = re.match(r"-(\d{1,3})(?!\d)", after)
    return int(end.group(1)) if end and int(end.group(1)) <= 255 else -1


_ZONE = re.compile(r"%(?:25)?[A-Za-z0-9_.~-]{1,32}")
_TRAILING_PORT = re.compile(r":\d{1,5}\Z")


def ipv6_span(text: str, start: int, stop: int) -> tuple[int, int] | None:
    """The public IPv6 address in the run `text[start:stop]` of hexadecimal digits, colons and dots, or None.

    Compressed forms need to look like addresses in use and not like `A::B` of a program: inside 2000::/3 with a first
    group of four digits, or four groups. Embedded IPv4 counts by the IPv4 address. A zone id is part of the span.
    """
    if start and (text[start - 1].isalnum() or text[start - 1] in "_:$&"):
        return None
    if stop < len(text) and (text[stop].isalnum() or text[stop] == "_"):
        return None
    while stop > start and text[stop - 1] in ".:" and text[stop - 2 : stop] != "::":
        stop -= 1
    while start < stop and text[start] == ".":
        start += 1
    if stop < len(text) and text[stop] == ":" and text[start:stop].count(":") == 0:
        return None
    address = _parse_v6(text[start:stop])
    if address is None or not _plausible_v6(text[start:stop]):
        port = _TRAILING_PORT.search(
            text, start, stop
        )  # "2001:db8::1:58430" parses as it is, "1:2:3:4:5:6:7:8:443" does not
        if port is None or address is not None:
            return None
        stop = port.start()
        address = _parse_v6(text[start:stop])
        if address is None or not _plausible_v6(text[start:stop]):
            return None
    if not _is_public_v6(address):
        return None
    zone = _ZONE.match(text, stop)
    return start, zone.end() if zone else stop


def _parse_v6(written: str) -> int | None:
    try:
        return int(ipaddress.IPv6Address(written))
    except ValueError:
        return None


def _plausible_v6(written: str) -> bool:
    groups = [group for group in written.split(":") if group]
    if "." in written:
        return True
    if "::" not in written:
        return not all(len(group) == 2 for group in groups)  # 8 bytes of a key or an EUI-64
    if not any(c.isdigit() for c in written):
        return False
    return len(groups) >= 4 or (len(groups[0]) == 4 and groups[0][0] in "23" and len(groups) >= 1)


# IANA special-purpose address registries, 2025: (first, last, globally reachable), the narrower block first.
def _blocks(*listed: tuple[str, bool]) -> tuple[tuple[int, int, bool], ...]:
    networks = [(ipaddress.ip_network(written), public) for written, public in listed]
    return tuple((int(net.network_address), int(net.broadcast_address), public) for net, public in networks)


_SPECIAL_V4 = _blocks(
    ("192.0.0.9/32", True), ("192.0.0.10/32", True), ("0.0.0.0/8", False), ("10.0.0.0/8", False),
    ("100.64.0.0/10", False), ("127.0.0.0/8", False), ("169.254.0.0/16", False), ("172.16.0.0/12", False),
    ("192.0.0.0/24", False), ("192.0.2.0/24", False), ("192.168.0.0/16", False), ("198.18.0.0/15", False),
    ("198.51.100.0/24", False), ("203.0.113.0/24", False), ("240.0.0.0/4", False),
)  # fmt: skip
_SPECIAL_V6 = _blocks(
    ("2001:1::1/128", True), ("2001:1::2/128", True), ("2001:3::/32", True), ("2001:4:112::/48", True),
    ("2001:20::/28", True), ("2001:30::/28", True), ("::/128", False), ("::1/128", False), ("64:ff9b:1::/48", False),
    ("100::/64", False), ("2001::/23", False), ("2001:db8::/32", False), ("3fff::/20", False), ("fc00::/7", False),
    ("fe80::/10", False),
)  # fmt: skip


def _is_public_v4(address: int) -> bool:
    return next((public for first, last, public in _SPECIAL_V4 if first <= address <= last), True)


def _is_public_v6(address: int) -> bool:
    if address >> 32 == 0xFFFF or (address >> 32 == 0 and address > 0xFFFF):  # ::ffff:a.b.c.d, and the old ::a.b.c.d
        return _is_public_v4(address & 0xFFFFFFFF)
    return next((public for first, last, public in _SPECIAL_V6 if first <= address <= last), True)
