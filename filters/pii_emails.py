"""E-mail addresses in text: what is one, and what only looks like one.

`email_span` takes the whole text and the place of one `@`, and looks at a bounded window around it, so a document costs
time linear in its length, whatever it holds.

Addresses are those of RFC 5321 and 6531, as people write them: local parts with letters of any script, digits and `._+'-`, or
quoted; `{ann,bob}@host` groups; domains of at least two labels, internationalized ones included. A full stop, bracket or
sentence after the address is not part of it. Not addresses: file names (`icon@2x.png`), unit names
(`getty@tty1.service`), package versions (`pkg@1.2.3-beta.x`), labels and matrix products in code (`this@Main.run`,
`A@B.inverse()`), the shared account of a code host in `git@host:path`, user information in a URL
(`https://user@host/`), shell variables (`$USER@host.org`), and identifiers of messages rather than people
(`Message-ID`, `References`, `20010911.GA1234@host`). Not found: `user at host dot com`, full-width signs, one-label domains.
"""

from __future__ import annotations

import re

# Letters that join into words although Python's \w leaves them out: combining and vowel signs, joiners.
_MARKS = "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0dff\u0e00-\u0eff\u200c\u200d"
_LOCAL = re.compile(rf"[\w{_MARKS}.+'-]+\Z")
_QUOTED = re.compile(r'(?<![^\W_])"(?:[^"\\\r\n<>@]|\\[^\r\n<>@]){1,64}"\Z')
_GROUP = re.compile(r"\{[\w.+ ,;|-]{1,200}\}\Z")
_DOMAIN_RUN = re.compile(rf"[^\W_](?:[^\W_]|[{_MARKS}.-])*")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_AFTER_UNSPACED = re.compile(rf".*[{_UNSPACED}](?=[A-Za-z0-9])", re.DOTALL)
_LATIN_HEAD = re.compile(r"[A-Za-z]{2,}(?=[^\x00-\u024f])")
_COMMON_TOP = (
    "com|org|net|edu|gov|mil|info|biz|int|co|uk|de|fr|it|es|nl|pl|ru|cz|ro|se|jp|kr|cn|in|br|pt|us|ca|au|eu|ch|at|be|io"
)
_GLUED = re.compile(rf"(?:{_COMMON_TOP})(?=[A-Z][a-z])")
_COMMON = frozenset(_COMMON_TOP.split("|"))
_FILE_ENDINGS_LISTED = (
    "png jpg jpeg gif svg webp ico bmp tif tiff css scss less js mjs cjs ts tsx jsx json xml xsl html htm xhtml php asp"
    " aspx jsp txt csv tsv pdf doc docx xls xlsx ppt odt zip tar gz bz tgz xz zst rar iso img exe dll lib obj jar war class"
    " service socket target timer mount automount slice scope device swap conf cfg ini log lock yaml yml toml bak tmp orig"
    " patch diff cpp hpp cxx java rb lua ttf otf woff wav ogg avi mkv flac gpg asc sig crt pem key db sqlite so dylib deb rpm"
)
_FILE_ENDINGS = frozenset(_FILE_ENDINGS_LISTED.split())
_SOURCE_ENDINGS = frozenset(
    ("py", "sh", "md")
)  # countries too: believed after a long label, a third one, or before ">"
_CODE_LABELS = frozenset(("this", "super", "return", "break", "continue"))
_CODE_HOST_ACCOUNTS = frozenset(("git", "hg", "svn", "bzr", "gitolite", "gitea", "aur"))
_VERSION_HEAD = re.compile(r"v?\d+\Z", re.IGNORECASE)
_URL_USER = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/@]*\Z")
_MESSAGE_ID_LOCAL = re.compile(r"(?:\d+\.){2,}\d+|\d{8,14}\.[A-Za-z0-9].*|[\w-]+\.fsf(?:_-_)?", re.DOTALL)
_MESSAGE_ID_BEFORE = re.compile(
    r"(?:message-?id|msg-?id|in-reply-to|references|content-id|(?<!\w)(?:mid|cid|news))\W{0,4}\Z", re.IGNORECASE
)
_MESSAGE_ID_HEADER = re.compile(
    r"[>\s]*(?:[\w-]*message-id|in-reply-to|references|content-id|supersedes|x-[\w-]*-id)[ \t]*:", re.IGNORECASE
)
_HEADER = re.compile(r"[>\s]*[A-Za-z][\w-]*:\s")
MAX_LOCAL, MAX_DOMAIN = 64, 253  # RFC 5321, 4.5.3.1


def email_span(text: str, at: int) -> tuple[int, int] | None:
    """The address around the `@` at `text[at]` as `(start, stop)`, or None where it is no e-mail address.

    >>> email_span("mail <Ann.Lee+x@mail.example.org>.", 15)
    (6, 32)
    """
    start = _local_start(text, at)
    if start is None:
        return None
    stop = _domain_stop(text, at + 1)
    if stop is None or not _is_address(text, start, at, stop):
        return None
    return start, stop


def _local_start(text: str, at: int) -> int | None:
    if at == 0:
        return None
    if text[at - 1] == '"':
        low = max(0, at - MAX_LOCAL - 3)
        quoted = _QUOTED.search(text[low:at])
        return low + quoted.start() if quoted else None
    if text[at - 1] == "}":
        low = max(0, at - 204)
        group = _GROUP.search(text[low:at])
        return low + group.start() if group and text[low + group.start() - 1 : low + group.start()] != "$" else None
    low = max(0, at - MAX_LOCAL - 1)
    local = _LOCAL.search(text[low:at])
    if local is None or len(local.group()) > MAX_LOCAL:
        return None
    found = local.group()
    glued = _AFTER_UNSPACED.match(found)
    if glued:  # "写信joe@": a script without spaces runs into the address
        found = found[glued.end() :]
    start = at - len(found)
    if text[start - 1 : start] == "%" and re.match(r"[0-9A-Fa-f]{2}", found):
        start, found = start + 2, found[2:]  # %20joe@ in a URL
    elif text[start - 1 : start] == "\\" and found[0] in "nrt" and len(found) > 1:
        start, found = start + 1, found[1:]  # "\njoe@" in a string of source code
    lead = len(found) - len(found.lstrip(".+'-"))
    found = found[lead:]
    return start + lead if found and found[-1] != "'" else None


def _domain_stop(text: str, start: int) -> int | None:
    """Where a domain of two labels or more that begins at `start` ends."""
    run = _DOMAIN_RUN.match(text, start, start + MAX_DOMAIN + 1)
    if run is None or run.end() - start > MAX_DOMAIN:
        return None
    stop = start
    labels: list[str] = []
    glued = False
    for label in run.group().split("."):
        cut = _LATIN_HEAD.match(label) or _GLUED.match(label) if labels else None
        kept = cut.group() if cut else label.rstrip("-")
        if not kept or kept[0] == "-" or len(kept) > 63:
            break
        if len(labels) >= 2 and kept[0].isupper() and kept[1:].islower() and labels[-1] in _COMMON:
            break  # "ann@example.org.Next sentence"
        stop += len(kept) + bool(labels)
        labels.append(kept)
        if kept != label:
            glued = cut is not None  # "example.comPhone": a page's next word, not a longer label
            break
    while len(labels) >= 2 and not _is_top_label(labels[-1]):
        stop -= len(labels.pop()) + 1
    if len(labels) < 2 or (_VERSION_HEAD.match(labels[0]) and labels[1][0].isdigit()):
        return None
    top = labels[-1].lower()
    after = text[stop : stop + 1]
    if top in _FILE_ENDINGS:
        return None
    if (
        top in _SOURCE_ENDINGS
        and len(labels) == 2
        and after != ">"
        and not (labels[0].isalpha() and len(labels[0]) >= 4)
    ):
        return None
    if not glued and after and (after == "_" or (after.isascii() and after.isalnum())):
        return None
    if after == "(" and top not in _COMMON:
        return None
    return stop


def _is_top_label(label: str) -> bool:
    if label.isascii():
        return (label.isalpha() and 2 <= len(label) <= 24) or label[:4].lower() == "xn--"
    return len(label) >= 2 and not any(c.isdigit() for c in label)


def _is_address(text: str, start: int, at: int, stop: int) -> bool:
    local = text[start:at]
    before = text[start - 1] if start else ""
    if before == "$" or local in _CODE_LABELS:
        return False
    if local in _CODE_HOST_ACCOUNTS and text[stop : stop + 1] == ":" and not text[stop + 1 : stop + 2].isspace():
        return False
    if before in ("/", ":", "@") and _URL_USER.search(text[max(0, start - 128) : start]):
        return False
    if (
        before == "."
        or _MESSAGE_ID_LOCAL.fullmatch(local)
        or _MESSAGE_ID_BEFORE.search(text[max(0, start - 24) : start])
    ):
        return False
    return not (before in ("<", ",", " ", "\t", "\n") and _in_message_id_header(text, start))


def _in_message_id_header(text: str, at: int) -> bool:
    """Whether the header line around `at`, continuation lines included, names messages.

    Looks back 2,000 characters and 20 lines.
    """
    low = max(0, at - 2000)
    line = text.rfind("\n", low, at)
    for _ in range(20):
        if (
            line <= low
            or text[line + 1 : line + 2] not in (" ", "\t")
            or _HEADER.match(text, line + 1, min(at, line + 80))
        ):
            break
        line = text.rfind("\n", low, line)
    if line < 0 and low > 0:
        return False
    return _MESSAGE_ID_HEADER.match(text, line + 1, min(at, line + 80)) is not None
