"""Kernel and engine agree on the start of every file of the shared data; the whole of it is `split_pattern_files`'s."""

from __future__ import annotations

import gzip
import json

import pytest
import zstandard

from tests.parity.split_pattern_files import first_difference, main, splitter, texts_of
from tests.shared import shared_path
from tokenizer_training.split_patterns import NAMED

SAMPLE_BYTES = 8_000


@pytest.mark.shared
def test_the_start_of_every_shared_file():
    folder = shared_path("")
    splits = {name: splitter(pattern) for name, pattern in NAMED.items()}
    num_files = 0
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        num_files += 1
        for text in texts_of(path, max_bytes=SAMPLE_BYTES):
            text = text[: 4 * SAMPLE_BYTES]
            for name, pattern in NAMED.items():
                assert first_difference(text, pattern, splits[name]) is None, (path.name, name)
    assert num_files > 100


def test_every_kind_of_file_is_read(tmp_path):
    """JSON Lines by its strings, a damaged gzip as far as it goes, anything else as text."""
    lines = "\n".join(json.dumps({"text": text, "more": {"lines": ["x", 3, None]}}) for text in ("a\n\tb", "\ud800 1"))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
    (tmp_path / "b.warc.gz").write_bytes(gzip.compress(b"first ") + gzip.compress(b"second \xff") + b"\x1f\x8b damaged")
    (tmp_path / "c.txt").write_text("\\frac{1}{2}")
    assert list(texts_of(tmp_path / "a.jsonl.zst")) == ["text\0a\n\tb\0more\0lines\0x\0text\0? 1\0more\0lines\0x"]
    assert list(texts_of(tmp_path / "b.warc.gz")) == ["first second \ufffd"]
    assert list(texts_of(tmp_path / "b.warc.gz", max_bytes=3)) == ["fir"]
    assert main([str(tmp_path)]) == 0


def test_a_difference_is_found_and_shown(tmp_path):
    """The engine with another pattern: the check must see it."""
    assert first_difference("abc 12", NAMED["both"], splitter(NAMED["none"])) == "after 'abc': ' 12'"
    assert first_difference("x 1", NAMED["both"], splitter(NAMED["both"])) is None
