"""Whether the kernel and HF `tokenizers` cut real files alike: every text of every file, under every named pattern.

`python -m tests.parity.split_pattern_files FOLDER [PATTERN ...]` reads all of a folder, prints a line per file and a table per
pattern, and exits 1 at a difference, which it shows. `test_split_patterns_files.py` does the same with the start of each file.

JSON Lines give every string in them, keys too; anything else is decompressed and read as UTF-8 with U+FFFD for what is
none, so the markup and the compressed payloads of crawls are cut as well.
"""

from __future__ import annotations

import io
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard
from tokenizers import Regex, pre_tokenizers

from tokenizer_training.split_patterns import NAMED, SplitPattern, cut_ends

TEXT_CHARACTERS = 1 << 19
"""Longer texts are cut here before either side sees them, and short ones joined by U+0000: memory, and speed."""


def texts_of(path: Path, *, max_bytes: int | None = None) -> Iterator[str]:
    """Texts of about TEXT_CHARACTERS; together the whole file, or what its first `max_bytes` decompressed bytes hold."""
    if path.name.endswith(".jsonl.zst"):
        yield from _gathered(_strings_of_lines(path, max_bytes))
        return
    content = _decompressed(path, max_bytes).decode(errors="replace")
    for start in range(0, len(content), TEXT_CHARACTERS):
        yield content[start : start + TEXT_CHARACTERS]


def first_difference(text: str, pattern: SplitPattern, split: pre_tokenizers.Split) -> str | None:
    """Where the two sides part, or None."""
    content = np.frombuffer(text.encode(), np.uint8)
    if not content.size:
        return None
    ours = np.cumsum((content & 0xC0) != 0x80)[cut_ends(content, pattern) - 1]
    theirs = np.array([stop for _, (_, stop) in split.pre_tokenize_str(text)])
    if ours.size == theirs.size and (ours == theirs).all():
        return None
    shared = min(ours.size, theirs.size)
    apart = int(np.argmax(np.append(ours[:shared] != theirs[:shared], True)))
    at = int(ours[apart - 1]) if apart else 0
    return f"after {text[max(0, at - 20) : at]!r}: {text[at : at + 40]!r}"


def splitter(pattern: SplitPattern) -> pre_tokenizers.Split:
    """The pattern in HF `tokenizers`."""
    return pre_tokenizers.Split(Regex(pattern.regex), "isolated")


def _strings_of_lines(path: Path, max_bytes: int | None) -> Iterator[str]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader:
        done = 0
        for line in io.BufferedReader(reader):
            done += len(line)
            yield from _strings(json.loads(line))
            if max_bytes is not None and done >= max_bytes:
                return


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.encode(errors="replace").decode()  # JSON can spell lone surrogates, which are no text
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _gathered(strings: Iterator[str]) -> Iterator[str]:
    held: list[str] = []
    size = 0
    for text in strings:
        held.append(text)
        size += len(text) + 1
        if size >= TEXT_CHARACTERS:
            yield "\0".join(held)
            held, size = [], 0
    yield "\0".join(held)


def _decompressed(path: Path, max_bytes: int | None) -> bytes:
    if path.suffix == ".gz":
        return _gunzipped(path.read_bytes(), max_bytes)
    if path.suffix == ".lz4":
        with pa.CompressedInputStream(pa.OSFile(str(path)), "lz4") as stream:
            return bytes(stream.read(max_bytes) if max_bytes is not None else stream.read())
    return path.read_bytes()[:max_bytes]


def _gunzipped(content: bytes, max_bytes: int | None) -> bytes:
    """All members; of one that is cut off or damaged, what comes before."""
    found, size = [], 0
    while content and (max_bytes is None or size < max_bytes):
        member = zlib.decompressobj(wbits=31)
        try:
            found.append(member.decompress(content))
        except zlib.error:
            break
        size += len(found[-1])
        content = member.unused_data
    return b"".join(found)[:max_bytes]


def main(arguments: list[str]) -> int:
    """Cut a folder; 1 where anything differs."""
    folder = Path(arguments[0])
    patterns = {name: NAMED[name] for name in (arguments[1:] or NAMED)}
    splits = {name: splitter(pattern) for name, pattern in patterns.items()}
    totals = dict.fromkeys(patterns, 0)
    num_bytes = num_files = num_different = 0
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        size = 0
        for text in texts_of(path):
            content = np.frombuffer(text.encode(), np.uint8)
            size += content.size
            for name, pattern in patterns.items():
                totals[name] += cut_ends(content, pattern).size
                different = first_difference(text, pattern, splits[name])
                if different is not None:
                    num_different += 1
                    print(f"{path}: {name}: {different}", flush=True)
        print(f"{size:>12,} bytes  {path.relative_to(folder)}", flush=True)
        num_bytes += size
        num_files += 1
    print(f"{num_files} files, {num_bytes:,} bytes, {num_different} texts cut differently")
    for name, total in totals.items():
        print(f"{name:>24} {total:>12,} pre-tokens, {num_bytes / max(total, 1):.3f} bytes each")
    return int(num_different > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
