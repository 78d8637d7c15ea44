"""What the user typed -> files: each once, in order, and a clear error for what names nothing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.readers import JsonlReader, ParquetReader, WarcReader, reader_for
from pipelines.readers.listing import inventory, list_inputs
from pipelines.records import SourceFile


@pytest.fixture
def folder(tmp_path):
    for name in ("b.warc.gz", "a.jsonl", "deep/er/c.warc.gz", "deep/d.parquet", "notes.txt", ".hidden/x.jsonl", "_tmp/y.jsonl",
                 ".tmp-12-z.jsonl", "deep/e[1].jsonl"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def below(folder, *patterns):
    return [uri.removeprefix(f"{folder}/") for uri in list_inputs([p.replace("@/", f"@{folder}/") for p in patterns])]


def test_a_folder_gives_what_readers_know(folder):
    assert below(folder, str(folder)) == [
        "a.jsonl",
        "b.warc.gz",
        "deep/d.parquet",
        "deep/e[1].jsonl",
        "deep/er/c.warc.gz",
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.warc.gz", ["b.warc.gz"]), ("**/*.warc.gz", ["b.warc.gz", "deep/er/c.warc.gz"]), 
        ("deep/**", ["deep/d.parquet", "deep/e[1].jsonl", "deep/er/c.warc.gz"]),
        ("?.jsonl", ["a.jsonl"]), ("[a-b].*", ["a.jsonl", "b.warc.gz"]), 
        ("[!a].warc.gz", ["b.warc.gz"]), ("d*/*.parquet", ["deep/d.parquet"]),
        ("notes.txt", ["notes.txt"]), ("./deep/../a.jsonl", ["a.jsonl"]), ("deep/e[1].jsonl", ["deep/e[1].jsonl"]),
    ],
)  # fmt: skip
def test_paths_and_globs(folder, pattern, expected):
    assert below(folder, f"{folder}/{pattern}") == expected


def test_relative_patterns_and_file_uris(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert list_inputs(["*.jsonl", "./a.jsonl"]) == ("a.jsonl",)
    assert list_inputs(["deep/**/*.gz"]) == ("deep/er/c.warc.gz",)
    assert "a.jsonl" in list_inputs(["."])
    assert list_inputs([f"file://{folder}/a.jsonl", f"{folder}//a.jsonl"]) == (f"{folder}/a.jsonl",)


def test_lists_are_relative_to_themselves_and_may_name_lists(folder):
    (folder / "deep" / "list").write_text(
        "# a comment\n\ner/*.gz\n../a.jsonl\r\n../a.jsonl\n@other\n", encoding="utf-8-sig"
    )
    (folder / "deep" / "other").write_text(f"{folder}/b.warc.gz\n")
    assert below(folder, "@/deep/list") == ["a.jsonl", "b.warc.gz", "deep/er/c.warc.gz"]


def test_memory_filesystem_globs():
    from pipelines import storage

    storage.write_bytes("memory://corpus/x/a.jsonl", b"1")
    storage.write_bytes("memory://corpus/b.jsonl", b"2")
    assert list_inputs(["memory://corpus/**/*.jsonl"]) == ("memory://corpus/b.jsonl", "memory://corpus/x/a.jsonl")
    assert list_inputs(["memory://corpus"]) == ("memory://corpus/b.jsonl", "memory://corpus/x/a.jsonl")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a.jsnol", r"a\.jsnol does not exist; did you mean .*a\.jsonl\?"), ("dep/d.parquet", r"did you mean .*/deep\?"),
        ("*.wrac.gz", "matches no file.*b.warc.gz"), ("nowhere/*.gz", "no folder"), 
        ("", "is empty"), ("@/nolist", "list does not exist"),
        ("@/broken", r"line 2: .*nix\.gz does not exist"), ("@/empty", "lists no file"), 
        ("@/loop", "names itself"), ("@/binary", "not UTF-8"),
        ("void", "no file to read in the folder.*jsonl"),
    ],
)  # fmt: skip
def test_what_names_nothing_is_an_error_with_a_cure(folder, pattern, message):
    (folder / "empty").write_text("# nothing\n")
    (folder / "broken").write_text("a.jsonl\nnix.gz\n")
    (folder / "loop").write_text("@loop\n")
    (folder / "binary").write_bytes(b"\xff\xfe\x00")
    (folder / "void").mkdir()
    whole = pattern.replace("@/", f"@{folder}/") if pattern.startswith("@") else pattern and f"{folder}/{pattern}"
    with pytest.raises(InputError, match=message):
        list_inputs([whole])


def test_no_input_at_all():
    with pytest.raises(InputError, match="no input given"):
        list_inputs([])


def test_inventory_is_of_the_content(folder):
    uri = f"{folder}/a.jsonl"
    assert inventory(uri) == SourceFile(uri=uri, size=7, checksum=hashlib.sha256(b"a.jsonl").hexdigest())


@pytest.mark.parametrize(
    ("uri", "reader"),
    [("x/a.warc.gz", WarcReader()), ("a.warc", WarcReader()), ("CC.warc.wet.gz", WarcReader()), ("a.jsonl.zst", JsonlReader()),
     ("s3://b/A.NDJSON.GZ", JsonlReader()), ("a.parquet", ParquetReader())],
)  # fmt: skip
def test_readers_are_chosen_by_suffix(uri, reader):
    assert reader_for(uri) == reader


@pytest.mark.parametrize("uri", ["a.csv", "a.parquet.gz", "a", "a.arc.gz"])
def test_other_suffixes_are_named(uri):
    with pytest.raises(InputError, match="no reader for this kind of file"):
        reader_for(uri)


def test_a_file_reached_by_links_is_one_file(folder):
    (folder / "self").symlink_to(folder)
    (folder / "deep" / "up").symlink_to("..")
    (folder / "deep" / "again.jsonl").symlink_to(folder / "a.jsonl")
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    expected = ["a.jsonl", "b.warc.gz", "deep/d.parquet", "deep/e[1].jsonl", "deep/er/c.warc.gz"]
    assert below(folder, str(folder)) == expected
    assert below(folder, f"{folder}/**/*.jsonl") == [
        ".hidden/x.jsonl",
        "_tmp/y.jsonl",
        "a.jsonl",
        "deep/e[1].jsonl",
    ]
    assert below(folder, f"{folder}/self/a.jsonl", f"{folder}/a.jsonl") == ["a.jsonl"]
    assert below(folder, f"{folder}/self/deep/again.jsonl") == ["self/deep/again.jsonl"]


def test_a_linked_folder_is_read_under_the_name_that_was_asked(folder):
    (folder / "latest").symlink_to(folder / "deep")
    assert below(folder, f"{folder}/latest/er/*.gz", f"{folder}/l*/*.parquet") == [
        "latest/d.parquet",
        "latest/er/c.warc.gz",
    ]


def test_a_glob_looks_no_deeper_than_it_says(folder):
    """Otherwise one folder that may not be read, anywhere below, would fail every pattern above it."""
    (folder / "deep" / "er" / "est").mkdir()
    assert below(folder, f"{folder}/*/*.parquet") == ["deep/d.parquet"]
    assert below(folder, f"{folder}/*/*/*.gz") == ["deep/er/c.warc.gz"]


def test_a_name_that_is_not_utf8_names_its_folder(folder):
    hidden = os.fsencode(folder / "deep") + b"/caf\xe9"
    Path(os.fsdecode(hidden + b".txt")).write_bytes(b"")
    assert "deep/d.parquet" in below(folder, str(folder))
    Path(os.fsdecode(hidden + b".jsonl")).write_bytes(b"{}")
    for pattern in (folder, f"{folder}/**/*.jsonl", os.fsdecode(hidden + b".jsonl")):
        with pytest.raises(InputError, match=r"the folder .*/deep holds a file whose name is not UTF-8 .*rename it"):
            list_inputs([str(pattern)])
    with pytest.raises(InputError, match="does not exist"):
        list_inputs([f"{folder}/deep/nothing"])
