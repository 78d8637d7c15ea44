"""The maker that tokenizes: what is in its files, the same with either encoder, and what it says of input that is bad."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.artifact import Artifact, BuildOptions, Built, build, build_all
from pipelines.errors import InputError, UserError
from pipelines.executors.local import Local
from pipelines.passes import Passes
from pipelines.shards import PartShard, run_shard
from pipelines.tokens import TokenSource, npy_bytes
from tests.documents import documents
from tests.tokenizer_files import TEXTS, changed, small_tokenizer, tokenizer_of
from tokenizer_training.encoding import LibraryEncoder
from tokenizer_training.export import load_tokenizer
from tokenizer_training.tokenize import GROUP_BYTES, Tokenize, tokenize_part

SHARDS = (TEXTS, ("", "x", "after >>KEY<< <|endoftext|>"), ())


@dataclass(frozen=True, kw_only=True)
class GivenTokenizer:
    """Hands on a `tokenizer.json` that something else made."""

    version: ClassVar[int] = 1
    content: str

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        passes.final(_nothing, [PartShard(name="none", uri="")])
        passes.put("tokenizer/tokenizer.json", self.content.encode())


def _nothing(shard: PartShard, out: Any) -> dict[str, Any]:
    return {}


def tokenized(root: Path, content: bytes, *shards: tuple[str, ...], workers: int = 1) -> tuple[Built, TokenSource]:
    given = Artifact(name="given", maker=GivenTokenizer(content=content.decode()), inputs=())
    artifact = Artifact(name="tokens", maker=Tokenize(), inputs=(documents("corpus", *shards), given))
    (built,) = build_all((artifact,), BuildOptions(root=str(root), executor=Local(workers=workers)))
    return built, TokenSource(built.uri)


def files_of(built: Built) -> dict[str, bytes]:
    return {str(p.relative_to(built.uri)): p.read_bytes() for p in sorted(Path(built.uri).rglob("*.npy"))}


def test_every_document_is_the_library_s_ids_and_the_end_of_text(tmp_path):
    built, source = tokenized(tmp_path, small_tokenizer(), *SHARDS)
    assert built.manifest["notes"]["tokens"]["encoder"] == "eyas"
    tokenizer = load_tokenizer(small_tokenizer())
    texts = [text for shard in SHARDS for text in shard]
    for ordinal, text in enumerate(texts):
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        assert source.document(ordinal).tolist() == [*expected, 11]
    source.verify()
    assert source.num_bytes == sum(len(text.encode()) for text in texts)


def test_the_library_gives_the_same_files_and_the_manifest_says_why_it_was_used(tmp_path):
    """A post-processor that changes no id is enough for eyas not to trust itself."""
    ours, _ = tokenized(tmp_path / "ours", small_tokenizer(), *SHARDS)
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    with pytest.warns(UserWarning, match="given: HF tokenizers encodes, many times slower, since .* post_processor"):
        theirs, _ = tokenized(tmp_path / "theirs", changed(small_tokenizer(), post_processor=level), *SHARDS)
    note = theirs.manifest["notes"]["tokens"]
    assert note["encoder"] == "tokenizers"
    assert "post_processor" in note["encoder_reason"]
    assert files_of(ours) == files_of(theirs)


def test_workers_change_no_byte(tmp_path):
    alone, _ = tokenized(tmp_path / "1", small_tokenizer(), *SHARDS)
    many, _ = tokenized(tmp_path / "2", small_tokenizer(), *SHARDS, workers=2)
    assert alone.manifest["root_hash"] == many.manifest["root_hash"]


def test_the_largest_id_decides_between_16_and_32_bits(tmp_path):
    data = json.loads(small_tokenizer())
    last = max(data["model"]["vocab"], key=data["model"]["vocab"].__getitem__)
    for largest, dtype in ((65_535, "<u2"), (65_536, "<u4")):
        data["model"]["vocab"][last] = largest
        built, source = tokenized(tmp_path / dtype, json.dumps(data).encode(), TEXTS)
        index = json.loads((Path(built.uri) / "index.json").read_text())
        assert (index["dtype"], index["vocab_size"]) == (dtype, largest + 1)
        (path,) = (Path(built.uri) / "tokens").iterdir()
        assert np.load(path).dtype.str == dtype
        source.verify()


def test_a_shard_of_several_groups_is_one_array(tmp_path):
    """Texts beyond one group, one of them longer than a group, without ever being held together."""
    content = tokenizer_of([("a", "a"), ("aa", "aa")], ignore_merges=True)
    texts = ["a" * (GROUP_BYTES // 2), "b a", "a" * (GROUP_BYTES + 3), "a"]
    columns = {"id": list("wxyz"), "source": ["s"] * 4, "text": pa.array(texts, pa.large_string())}
    pq.write_table(pa.table(columns), tmp_path / "part.parquet")
    (tmp_path / "tokenizer.json").write_bytes(content)
    work_uri = str(tmp_path / "tokenizer.json")
    commit = run_shard(
        PartShard(name="part", uri=str(tmp_path / "part.parquet")),
        directory=str(tmp_path / "out"),
        work=_Work(tokenizer_uri=work_uri),
    )
    ids, ends = LibraryEncoder(load_tokenizer(content)).encode(pa.array(["a", "b a"], pa.large_string()), end_id=11)
    a, four = int(ids[0]), load_tokenizer(content).token_to_id("aaaa")
    expected = [four] * (GROUP_BYTES // 8) + [11, *ids[ends[0] :], *[four] * (GROUP_BYTES // 4)]
    assert load_tokenizer(content).token_to_id("aa") not in (a, four)
    tail = [load_tokenizer(content).token_to_id("aa"), a, 11, a, 11]
    tokens = np.array([*expected, *tail], "<u2")
    assert (tmp_path / "out" / "tokens" / "part.npy").read_bytes() == npy_bytes(tokens)
    assert commit.counts["tokens"] == tokens.size


@dataclass(frozen=True, kw_only=True)
class _Work:
    tokenizer_uri: str

    def __call__(self, shard: PartShard, out: Any) -> dict[str, Any]:
        return tokenize_part(shard, out, tokenizer_uri=self.tokenizer_uri)


def test_text_that_is_no_utf8_is_named(tmp_path):
    broken = pa.array([b"good", b"\xff\xfe"], pa.large_binary())
    text = pa.Array.from_buffers(pa.large_string(), 2, broken.buffers())
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "source": ["s", "s"], "text": text}), path)
    (tmp_path / "tokenizer.json").write_bytes(small_tokenizer())
    with pytest.raises(InputError, match=r"part\.parquet, rows 0 to 1: a text is not UTF-8"):
        run_shard(
            PartShard(name="part", uri=str(path)),
            directory=str(tmp_path / "out"),
            work=_Work(tokenizer_uri=str(tmp_path / "tokenizer.json")),
        )
    assert not list(tmp_path.glob("out/tokens/*.npy"))


def test_a_tokenizer_without_the_end_of_text_id(tmp_path):
    data = json.loads(small_tokenizer())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["id"] != 11]
    data["model"]["vocab"] = {("other|" if n == 11 else token): n for token, n in data["model"]["vocab"].items()}
    given = Artifact(name="given", maker=GivenTokenizer(content=json.dumps(data)), inputs=())
    with pytest.raises(UserError, match=r"<\|endoftext\|> has id None, eyas ends documents with id 11"):
        build(Artifact(name="t", maker=Tokenize(), inputs=(documents("corpus", TEXTS), given)), root=str(tmp_path))


def test_eyas_own_tokenizers_warn_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built, _ = tokenized(tmp_path, small_tokenizer("punctuation"), TEXTS)
    assert built.manifest["notes"]["tokens"]["encoder"] == "eyas"
