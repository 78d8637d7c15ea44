"""Input and root on S3: a real S3 server on loopback, through Arrow's own client."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from pipelines import storage
from pipelines.artifact import Source, build
from pipelines.errors import InputError, StorageError
from pipelines.makers.exact_dedup import dedup_exact
from pipelines.makers.process import process
from pipelines.readers import JsonlReader, ParquetReader, WarcReader
from pipelines.readers.listing import inventory, list_inputs
from pipelines.records import FileShard
from tests.integration.line_corpus import described, write_corpus
from tests.unit.test_engine import DiesAfter
from tests.warc_files import member, read_all, response

pytestmark = [
    pytest.mark.cluster,
    # werkzeug and botocore, which the server is made of
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def endpoint():
    server_module = pytest.importorskip("moto.server", reason="needs moto[server], which the dev extra installs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch, request):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = "b" + hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    client = pafs.S3FileSystem(
        endpoint_override=endpoint,
        access_key="key",
        secret_key="secret",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    client.create_dir(name)
    return f"s3://{name}"


def shard(uri, start=None, stop=None):
    return FileShard(name="shard", file=inventory(uri), source="web", start=start, stop=stop)


def test_bytes_and_tables_go_round(bucket):
    uri = f"{bucket}/root/a b/é%20+x.bin"
    storage.write_bytes(uri, b"123")
    assert (storage.read_bytes(uri), storage.size(uri), storage.exists(uri)) == (b"123", 3, True)
    assert storage.list_files(bucket) == (uri,)
    assert storage.list_directories(f"{bucket}/root") == (f"{bucket}/root/a b",)
    table = pa.table({"a": list(range(100_000))})
    storage.write_table(f"{bucket}/t.parquet", table)
    assert storage.read_table(f"{bucket}/t.parquet").equals(table)
    storage.delete_dir(f"{bucket}/root")
    assert storage.list_files(bucket) == (f"{bucket}/t.parquet",)
    storage.check_writable(f"{bucket}/new/root")


def test_a_block_that_raises_puts_nothing(bucket):
    def fail():
        with storage.open_output(f"{bucket}/x") as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not storage.exists(f"{bucket}/x")


def test_inputs_are_listed_and_read_whole_and_in_ranges(bucket):
    warc = b"".join(member(response(f"<p>{i}".encode() * 99, name=f"r{i}")) for i in range(50))
    storage.write_bytes(f"{bucket}/crawl/2024/a.warc.gz", warc)
    storage.write_bytes(f"{bucket}/crawl/b.jsonl.gz", gzip.compress(json.dumps({"text": "x"}).encode()))
    storage.write_table(f"{bucket}/crawl/c.parquet", pa.table({"text": ["y"]}))
    storage.write_bytes(f"{bucket}/crawl/list", b"2024/*.gz\n")
    everything = list_inputs([f"{bucket}/crawl"])
    assert [storage.basename(uri) for uri in everything] == ["a.warc.gz", "b.jsonl.gz", "c.parquet"]
    (uri,) = list_inputs([f"{bucket}/**/*.warc.gz"])
    assert list_inputs([f"@{bucket}/crawl/list"]) == (uri,)
    whole, quarantined, _ = read_all(WarcReader(), shard(uri))
    assert (len(whole), quarantined) == (50, [])
    ranges = WarcReader().cut(inventory(uri), len(warc) // 4)
    assert len(ranges) >= 4
    assert [row for start, stop in ranges for row in read_all(WarcReader(), shard(uri, start, stop))[0]] == whole
    assert read_all(JsonlReader(), shard(everything[1]))[0][0]["text"] == "x"
    assert read_all(ParquetReader(), shard(everything[2]))[0][0]["text"] == "y"


def test_what_is_not_there_is_named(bucket):
    storage.write_bytes(f"{bucket}/corpus/pages.warc.gz", b"x")
    with pytest.raises(InputError, match=r"did you mean s3://.*/corpus/pages\.warc\.gz"):
        list_inputs([f"{bucket}/corpus/pages.wrac.gz"])
    with pytest.raises(InputError, match="does not exist"):
        list_inputs(["s3://no-such-bucket-at-all/x"])
    with pytest.raises(InputError, match="does not exist"):
        storage.read_bytes(f"{bucket}/nothing")
    with pytest.raises(StorageError, match="cannot write the root s3://no-such-bucket-at-all/root"):
        storage.check_writable("s3://no-such-bucket-at-all/root")


def test_a_build_from_and_to_s3_is_the_local_one(bucket, tmp_path):
    inputs = write_corpus(tmp_path, files=4)
    for path in inputs.iterdir():
        storage.write_bytes(f"{bucket}/in/{path.name}", path.read_bytes())
    artifact = dedup_exact(described(inputs))
    local = build(artifact, root=str(tmp_path / "root"))
    source = Source(name="lines", inputs=(f"{bucket}/in/*.jsonl",))
    remote = dedup_exact(process(source, through=artifact.inputs[0].maker.pipeline))
    root = f"{bucket}/root"
    with pytest.raises(KeyboardInterrupt):
        build(remote, root=root, executor=DiesAfter(2))
    resumed = build(remote, root=root)
    assert (resumed["fingerprint"], resumed["root_hash"]) == (local["fingerprint"], local["root_hash"])
    left = [uri for uri in storage.list_files(root) if "/work/" in uri or storage.TEMPORARY_PREFIX in uri]
    assert not left
    assert build(remote, root=root)["root_hash"] == local["root_hash"]
