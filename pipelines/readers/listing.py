"""What the user typed -> the files meant: paths, folders, globs and `@list` files, local or remote.

A name that matches nothing is an error at once, with the nearest name there is; nothing waits or retries.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence

import pyarrow.fs as pafs

from pipelines import storage
from pipelines.errors import EyasError, InputError
from pipelines.readers.suffixes import COMPRESSIONS, SUFFIXES, kind_of
from pipelines.records import SourceFile

MAX_LIST_DEPTH = 8
MAX_LIST_BYTES = 256 << 20
GLOB = re.compile(r"[*?\[]")


def list_inputs(patterns: Sequence[str]) -> tuple[str, ...]:
    """URIs of all files that `patterns` name, each once, sorted. A local file reached by several links is one file.

    | pattern | means |
    |---|---|
    | a file | that file, whatever its suffix |
    | a folder | all files under it with a suffix that a reader knows |
    | `s3://b/**/*.warc.gz` | a glob: `*` and `?` within a part of the path, `**` across parts, `[ab]` sets |
    | `@files.txt` | one pattern a line, relative to the list's own folder; blank lines and `#` lines do not count |

    Raises InputError for a pattern that names nothing, a folder without a readable file, a list that names itself.
    """
    if not patterns:
        raise InputError("no input given; name at least one path, folder, glob or @list file with --input")
    found: dict[str, None] = {}
    for pattern in patterns:
        found.update(dict.fromkeys(_expand(pattern, ())))
    return _each_once(found)


def inventory(uri: str) -> SourceFile:
    """Size and sha256 of the file's content, read once in blocks."""
    checksum, size = storage.sha256_and_size(uri)
    return SourceFile(uri=uri, size=size, checksum=checksum)


def _each_once(found: Iterable[str]) -> tuple[str, ...]:
    """`found` sorted, of the local names that lead to one file the one a reader knows, with the fewest parts."""
    folders: dict[str, str] = {}
    chosen: dict[str, str] = {}
    for uri in sorted(found, key=lambda uri: (kind_of(uri) not in SUFFIXES, uri.count("/"), uri)):
        chosen.setdefault(_real(uri, folders) if storage.is_local(uri) else uri, uri)
    return tuple(sorted(chosen.values()))


def _real(path: str, folders: dict[str, str]) -> str:
    """`os.path.realpath` of a file, that of its folder looked up once."""
    if os.path.islink(path):
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)


def _expand(pattern: str, lists: tuple[str, ...]) -> Sequence[str]:
    if not pattern.strip():
        raise InputError("an input is empty; name a path, folder, glob or @list file")
    _check_name(pattern)
    if pattern.startswith("@"):
        return _expand_list(pattern[1:], lists)
    info = storage.file_info(pattern)
    if info.type == pafs.FileType.File:
        return (_normal(pattern),)
    if info.type == pafs.FileType.Directory:
        return _expand_folder(pattern)
    if GLOB.search(storage.path_of(pattern)):
        return _expand_glob(pattern)
    raise InputError(f"{pattern} does not exist{_nearest(pattern)}; check the spelling")


def _expand_list(uri: str, lists: tuple[str, ...]) -> list[str]:
    uri = _normal(uri)
    if uri in lists or len(lists) >= MAX_LIST_DEPTH:
        raise InputError(f"@{uri} names itself, by way of {' > '.join((*lists, uri))}; take that line out")
    if not storage.exists(uri):
        raise InputError(f"@{uri}: the list does not exist{_nearest(uri)}; check the spelling")
    if storage.size(uri) > MAX_LIST_BYTES:
        raise InputError(f"@{uri} is larger than {MAX_LIST_BYTES} bytes: it is no list; leave the @ out")
    try:
        lines = storage.read_bytes(uri).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"@{uri} is not UTF-8 text ({error}): it is no list; leave the @ out") from error
    folder = storage.parent(uri)
    files: list[str] = []
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        at = "@" if entry.startswith("@") else ""
        path = entry.removeprefix("@")
        whole = path if "://" in path or path.startswith(("/", "~")) else storage.join(folder, path)
        try:
            files.extend(_expand(at + whole, (*lists, uri)))
        except InputError as error:
            raise InputError(f"@{uri}, line {number}: {error}") from error
    if not files:
        raise InputError(f"@{uri} lists no file; write one path, glob or URI a line")
    return files


def _expand_folder(uri: str) -> list[str]:
    files = [found for found in _files_under(uri) if kind_of(found) in SUFFIXES and not _is_hidden(uri, found)]
    if not files:
        raise InputError(
            f"no file to read in the folder {uri}; suffixes known are {_known()}: name other files themselves, or by a glob"
        )
    for found in files:
        _check_name(found)
    return [_normal(found) for found in files]


def _files_under(uri: str, *, depth: int | None = None) -> tuple[str, ...]:
    """URIs of the files under a folder, sorted, down to `depth` folders (None: all). Temporaries are left out.

    Local links are followed, but not into a folder one is in already: two such loops would be 2^40 names.
    """
    if not storage.is_local(uri):
        return storage.list_files(uri, recursive=depth != 1)
    top = storage.path_of(uri)
    files: list[str] = []
    waiting: list[tuple[str, frozenset[str]]] = [(top, frozenset({os.path.realpath(top)}))]
    while waiting:
        folder, inside = waiting.pop()
        level = 1 if folder == top else 1 + len(os.path.relpath(folder, top).split("/"))
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        real = os.path.realpath(entry.path)
                        if real not in inside and (depth is None or level < depth):
                            waiting.append((entry.path, inside | {real}))
                    elif entry.is_file() and not entry.name.startswith(storage.TEMPORARY_PREFIX):
                        files.append(entry.path)
        except OSError as error:
            raise InputError(
                f"cannot list the folder {folder} ({error.strerror}): change its permissions, or name files by a pattern"
            ) from error
    return tuple(sorted(files))


def _check_name(uri: str) -> None:
    try:
        uri.encode()
    except UnicodeEncodeError as error:
        folder, name = os.path.split(uri.encode(errors="backslashreplace").decode())
        raise InputError(
            f"the folder {folder or '.'} holds a file whose name is not UTF-8 ({name}); rename it, or move it away"
        ) from error


def _known() -> str:
    return ", ".join(sorted(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)) + (
        f", and these with {', '.join(COMPRESSIONS)}"
    )


def _is_hidden(folder: str, uri: str) -> bool:
    """Whether a part of the path below `folder` starts with `.` or `_`, as editors and engines name what is not data."""
    return any(part[:1] in (".", "_") for part in _below(uri, folder).split("/"))


def _expand_glob(pattern: str) -> list[str]:
    scheme = pattern.split("://", 1)[0] + "://" if "://" in pattern else ""
    path = pattern[len(scheme) :]
    if not scheme:
        path = os.path.normpath(os.path.expanduser(path))
    parts = path.split("/")
    fixed = next(number for number, part in enumerate(parts) if GLOB.search(part))
    folder = scheme + ("/".join(parts[:fixed]) or ("/" if path.startswith("/") else "." if not scheme else ""))
    if not storage.is_directory(folder):
        raise InputError(
            f"{pattern} matches nothing: there is no folder {folder}{_nearest(folder)}; check the spelling"
        )
    rest = parts[fixed:]
    files = _files_under(folder, depth=None if "**" in path else len(rest))
    matcher = re.compile(_translate("/".join(rest)))
    matched = [found for found in files if matcher.fullmatch(_below(found, folder))]
    if not matched:
        near = difflib.get_close_matches(rest[-1], [storage.basename(found) for found in files], n=1, cutoff=0.4)
        hint = f"; {folder} holds {near[0]!r}, for one" if near else f"; {folder} holds {len(files)} files"
        raise InputError(f"{pattern} matches no file{hint}; check the pattern, and quote it in the shell")
    for found in matched:
        _check_name(found)
    return [_normal(found) for found in matched]


def _below(uri: str, folder: str) -> str:
    """The part of the path of `uri` that lies below `folder`."""
    if storage.is_local(uri):
        return os.path.relpath(storage.path_of(uri), storage.path_of(folder))
    return storage.path_of(uri)[len(storage.path_of(folder)) :].lstrip("/")


def _translate(glob: str) -> str:
    r"""A glob as a regular expression.

    >>> bool(re.fullmatch(_translate("**/a?.[gz]*"), "x/y/a1.gz")), bool(re.fullmatch(_translate("*.gz"), "x/a.gz"))
    (True, False)
    """
    out = []
    position = 0
    while position < len(glob):
        rest = glob[position:]
        if rest.startswith("**/"):
            out.append(r"(?:.*/)?")
            position += 3
        elif rest.startswith("**"):
            out.append(".*")
            position += 2
        elif rest[0] == "*":
            out.append("[^/]*")
            position += 1
        elif rest[0] == "?":
            out.append("[^/]")
            position += 1
        elif match := re.match(r"\[(!?)([^\]/]+)\]", rest):
            out.append(_character_set(match[2], negated=bool(match[1])))
            position += match.end()
        else:
            out.append(re.escape(rest[0]))
            position += 1
    return "".join(out)


def _character_set(body: str, *, negated: bool) -> str:
    """`a-cx` -> `[a-cx]` with every character escaped; a range that runs backwards is its three characters."""
    out = []
    position = 0
    while position < len(body):
        piece = body[position : position + 3]
        is_range = len(piece) == 3 and piece[1] == "-" and piece[0] <= piece[2]
        out.append(f"{re.escape(piece[0])}-{re.escape(piece[2])}" if is_range else re.escape(body[position]))
        position += 3 if is_range else 1
    return f"[{'^/' if negated else ''}{''.join(out)}]"


def _nearest(uri: str) -> str:
    """`; did you mean ...?` for the nearest name in the deepest folder of the path that exists."""
    folder, name = storage.parent(uri), storage.basename(uri)
    for _ in range(64):
        if folder in (uri, "") or folder.endswith((":/", "://")):
            return ""
        try:
            if storage.is_directory(folder):
                names = [storage.basename(found) for found in storage.list_files(folder, recursive=False)]
                names += [storage.basename(found) for found in storage.list_directories(folder)]
                near = difflib.get_close_matches(name, names, n=1)
                return (
                    f"; did you mean {storage.join(folder, near[0])}?"
                    if near
                    else f" (there is no {name!r} in {folder})"
                )
        except (EyasError, OSError, UnicodeError):
            return ""
        uri, name, folder = folder, storage.basename(folder), storage.parent(folder)
    return ""


def _normal(uri: str) -> str:
    """One spelling for one file, so that naming it twice counts once: local paths lose `./`, `//`, `~` and `file://`."""
    return os.path.normpath(storage.path_of(uri)) if storage.is_local(uri) else uri
