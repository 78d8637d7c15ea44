"""The one door to filesystems: all or nothing, clear errors, no leftovers."""

from __future__ import annotations

import errno
import os

import pyarrow as pa
import pytest

from pipelines import storage
from pipelines.errors import InputError, StorageError

ROOTS = ("local", "memory")


@pytest.fixture(params=ROOTS)
def root(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def test_bytes_go_round(root):
    uri = storage.join(root, "a", "b c%20é", "x.gz")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"123")
    assert (storage.read_bytes(uri), storage.size(uri)) == (b"123", 3)
    assert storage.list_files(root) == (uri,)
    assert storage.list_files(root, recursive=False) == ()
    assert storage.list_directories(root) == (storage.join(root, "a"),)
    storage.write_bytes(uri, b"4")
    assert storage.read_bytes(uri) == b"4"
    storage.delete_dir(storage.join(root, "a"))
    storage.delete_dir(storage.join(root, "a"))
    storage.delete_file(uri)
    assert storage.list_files(root) == ()


def test_a_block_that_raises_leaves_nothing_or_what_was_there(root):
    uri = storage.join(root, "x")

    def fail():
        with storage.open_output(uri) as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"whole")
    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert storage.read_bytes(uri) == b"whole"
    assert storage.clean_temporaries(root) == 0


def test_tables_go_round_in_the_order_of_columns_asked(root):
    uri = storage.join(root, "t.parquet")
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    storage.write_table(uri, table)
    assert storage.read_table(uri).equals(table)
    assert storage.read_schema(uri).names == ["a", "b"]
    batches = list(storage.read_batches(uri, ["b", "a"], batch_rows=2))
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert batches[0].schema.names == ["b", "a"]
    with pytest.raises(InputError, match="no column 'c'; the file has"):
        storage.read_table(uri, ["c"])
    storage.write_bytes(uri, b"not parquet")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        list(storage.read_batches(uri))


def test_temporaries_of_killed_processes_are_hidden_and_cleaned(tmp_path):
    storage.write_bytes(f"{tmp_path}/kept/a", b"1")
    (tmp_path / "kept" / f"{storage.TEMPORARY_PREFIX}0123-b").write_bytes(b"half")
    assert storage.list_files(str(tmp_path)) == (f"{tmp_path}/kept/a",)
    assert storage.clean_temporaries(str(tmp_path)) == 0, "another machine may still be writing it"
    os.utime(tmp_path / "kept" / f"{storage.TEMPORARY_PREFIX}0123-b", (0, 0))
    assert storage.clean_temporaries(str(tmp_path)) == 1
    assert os.listdir(tmp_path / "kept") == ["a"]


def test_what_is_not_there_is_named(root):
    for read in (storage.read_bytes, storage.size, storage.read_table):
        with pytest.raises(InputError, match=r"nothing.*(does not exist|not a file).*check the spelling"):
            read(storage.join(root, "nothing"))
    storage.check_writable(root)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="is a folder, not a file"):
        storage.read_bytes(str(tmp_path))


def test_a_root_that_cannot_be_written_is_named_with_the_cure(tmp_path):
    storage.check_writable(str(tmp_path / "new" / "root"))
    assert storage.list_files(str(tmp_path)) == ()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot write the root .*file/root.*is a file, not a folder"):
        storage.check_writable(str(tmp_path / "file" / "root"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, which Linux has")
def test_a_full_disk_is_named_with_the_cure(tmp_path):
    """Whatever of the block meets the full disk: the error says which output it was."""

    def fill():
        with storage.open_output(str(tmp_path / "x")), open("/dev/full", "wb", buffering=0) as full:
            full.write(b"1")

    with pytest.raises(StorageError, match="the disk is full: free space there"):
        fill()
    assert os.listdir(tmp_path) == []


def test_other_errors_of_the_block_pass(tmp_path):
    def read_something_else():
        with storage.open_output(str(tmp_path / "x")):
            raise FileNotFoundError(errno.ENOENT, "elsewhere")

    with pytest.raises(FileNotFoundError, match="elsewhere"):
        read_something_else()


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("s3://b/root/", "kept", "a"), "s3://b/root/kept/a"), (("/", "a"), "/a"), (("a", "", "/b/"), "a/b"),
        (("memory://", "x"), "memory://x"), ((".", "a"), "./a"),
    ],
)  # fmt: skip
def test_joining(parts, joined):
    assert storage.join(*parts) == joined


def test_parts_of_uris():
    assert [storage.parent(uri) for uri in ("s3://b/a/c", "/a", "a", "a/b/")] == ["s3://b/a", "/", ".", "a"]
    assert storage.basename("s3://b/a/c.gz") == "c.gz"
    assert storage.path_of("file:///a%20b") == "/a b"
    assert storage.path_of("s3://b/a%20b#c") == "b/a%20b#c"
    assert [storage.scheme_of(uri) for uri in ("GS://x", "gcs://x", "/s3://x", "a")] == ["gs", "gs", "file", "file"]


def test_unknown_schemes_are_named():
    with pytest.raises(InputError, match="cannot use foo://"):
        storage.exists("foo://bucket/key")


def test_the_root_of_a_filesystem_is_never_deleted():
    with pytest.raises(StorageError, match="refusing to delete"):
        storage.delete_dir("/")
