"""The engine on a tiny reader of its own: conservation, resume, identity, and every contract a stage can break."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.artifact import Artifact, Source, build, open_artifact
from pipelines.errors import BuildError, ConfigError, InputError, ShardsFailed, StorageError
from pipelines.executors import MAX_ATTEMPTS
from pipelines.executors.local import Local
from pipelines.makers.process import process
from pipelines.pipeline import Pipeline
from pipelines.records import FileShard, Quarantined, Skipped, SourceFile
from pipelines.rules import Rule
from pipelines.schema import DOCUMENT, set_column


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A document a line, `#` lines skipped, `!` lines quarantined; ids are `<first of checksum>-<line>`."""

    yields: ClassVar[str] = "document"
    id_prefix: str = ""

    def cut(self, file: SourceFile, shard_bytes: int) -> tuple[tuple[int | None, int | None], ...]:
        return ((None, None),)

    def read(self, shard: FileShard) -> Iterator[pa.RecordBatch | Quarantined | Skipped]:
        prefix = self.id_prefix or shard.file.checksum[:4]
        for number, line in enumerate(Path(shard.file.uri).read_text().splitlines()):
            if line.startswith("#"):
                yield Skipped(kind="comment", count=1)
            elif line.startswith("!"):
                yield Quarantined(reason="shouting", locator=f"{shard.file.checksum}:{number}:1", detail=line)
            else:
                row = [f"{prefix}-{number}", shard.source, line, None, None, f"{shard.file.checksum}:{number}:1"]
                yield pa.RecordBatch.from_arrays(
                    [pa.array([v], f.type) for v, f in zip(row, DOCUMENT, strict=True)], schema=DOCUMENT
                )


@dataclass(frozen=True, kw_only=True)
class LetterCount:
    """Drops short and long texts."""

    min_letters: int = 3
    max_letters: int = 30

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({"num_letters": pc.utf8_length(batch.column("text")).cast(pa.int64())})

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("too_few_letters", "num_letters", "<", self.min_letters, field="min_letters"),
            Rule("too_many_letters", "num_letters", ">", self.max_letters, field="max_letters"),
        )


@dataclass(frozen=True, kw_only=True)
class Upper:
    """Rewrites the text and says how many letters it changed."""

    adds: ClassVar[tuple[pa.Field, ...]] = (pa.field("num_raised", pa.int64()),)
    tallies: ClassVar[tuple[str, ...]] = ("num_raised",)

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        text = batch.column("text")
        raised = pc.binary_length(pc.replace_substring_regex(text, "[^a-z]", "")).cast(pa.int64())
        return set_column(set_column(batch, self.adds[0], raised), DOCUMENT.field("text"), pc.utf8_upper(text))


@dataclass(frozen=True, kw_only=True)
class Raises:
    """Fails on one text only."""

    on: str = "poison"

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self.on in batch.column("text").to_pylist():
            raise RuntimeError("bad luck")
        return batch


@dataclass(frozen=True, kw_only=True)
class MeasuresNaN:
    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({"ratio": pa.array([float("nan")] * batch.num_rows)})

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("low_ratio", "ratio", "<", 0.5),)


@dataclass(frozen=True, kw_only=True)
class LosesRows:
    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.slice(0, 0)


@dataclass(frozen=True, kw_only=True)
class NeedsLanguage:
    reads: ClassVar[tuple[str, ...]] = ("text", "language")

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        lines = ["# comment", "ab", "a fine document", f"number {number}", "x" * 40, "! broken", f"last of {number}"]
        (folder / f"{number}.txt").write_text("\n".join(lines[: 3 + number]))
    return folder


def described(files: Path, *stages: object, **options: object) -> Artifact:
    source = Source(name="lines", inputs=(str(files / "*.txt"),), reader=Lines())
    return process(source, through=Pipeline(name="clean", stages=stages or (Upper(), LetterCount())), **options)


def kept_texts(manifest: dict, root: str) -> list[str]:
    directory = Path(root) / manifest["name"] / manifest["fingerprint"][:12]
    return sorted(t for path in directory.glob("kept/*.parquet") for t in pq.read_table(path)["text"].to_pylist())


def test_everything_is_accounted_for(files, root):
    manifest = build(described(files), root=root)
    counts = manifest["counts"]
    assert counts["records"] == counts["documents"] + sum(counts["quarantined"].values())
    assert counts["documents"] == counts["kept"] + sum(counts["dropped"].values())
    assert counts["quarantined"] == {"shouting": 2}
    assert counts["skipped"] == {"comment": 5}
    assert counts["dropped"] == {"letter_count/too_few_letters": 5, "letter_count/too_many_letters": 3}
    assert "A FINE DOCUMENT" in kept_texts(manifest, root)
    assert counts["tallies"]["upper/num_raised"] > 100


def test_a_finished_artifact_is_not_made_again(files, root):
    first = build(described(files), root=root)
    stamp = {p: p.stat().st_mtime_ns for p in Path(root).rglob("*.parquet")}
    assert build(described(files), root=root)["root_hash"] == first["root_hash"]
    assert {p: p.stat().st_mtime_ns for p in Path(root).rglob("*.parquet")} == stamp


def test_workers_change_nothing(files, tmp_path):
    hashes = {
        build(described(files), root=str(tmp_path / str(n)), executor=Local(workers=n))["root_hash"] for n in (1, 2)
    }
    assert len(hashes) == 1


def test_renaming_a_file_rebuilds_nothing_and_editing_one_does(files, root):
    first = build(described(files), root=root)
    (files / "0.txt").rename(files / "renamed.txt")
    assert build(described(files), root=root)["fingerprint"] == first["fingerprint"]
    path = files / "1.txt"
    old = path.stat()
    path.write_text(path.read_text().replace("fine", "poor"))
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert build(described(files), root=root)["fingerprint"] != first["fingerprint"]


class DiesAfter:
    """An executor that is interrupted after some shards."""

    def __init__(self, shards: int):
        self.left = shards

    def map_shards(self, work, shards, *, needs=None):
        for outcome in Local().map_shards(work, shards):
            if getattr(work, "keywords", {}).get("directory") is not None:
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
            yield outcome


@pytest.mark.parametrize("shards", [0, 1, 3, 5])
def test_an_interrupted_build_resumes_to_the_same_bytes(files, tmp_path, shards):
    whole = build(described(files), root=str(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        build(described(files), root=str(tmp_path / "cut"), executor=DiesAfter(shards))
    resumed = build(described(files), root=str(tmp_path / "cut"))
    assert resumed["root_hash"] == whole["root_hash"]
    assert not list((tmp_path / "cut").rglob("work"))


def test_a_torn_output_file_is_made_again(files, tmp_path):
    whole = build(described(files), root=str(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        build(described(files), root=str(tmp_path / "cut"), executor=DiesAfter(3))
    torn = sorted((tmp_path / "cut").rglob("kept/*.parquet"))[0]
    torn.write_bytes(torn.read_bytes()[:-7])
    commit = sorted((tmp_path / "cut").rglob("counts/*.json"))[-1]
    commit.write_text(commit.read_text()[:20])
    assert build(described(files), root=str(tmp_path / "cut"))["root_hash"] == whole["root_hash"]


def test_check_finds_a_file_with_flipped_bytes_of_the_same_size(files, root):
    whole = build(described(files), root=root)
    victim = sorted(Path(root).rglob("kept/*.parquet"))[0]
    content = bytearray(victim.read_bytes())
    content[10] ^= 0xFF
    victim.write_bytes(content)
    assert build(described(files), root=root, rehash=True)["root_hash"] == whole["root_hash"]
    assert bytes(content) != victim.read_bytes()


def test_a_document_on_which_a_stage_raises_is_set_aside_alone(files, root):
    (files / "9.txt").write_text("good\npoison\nalso good")
    manifest = build(described(files, Raises(), LetterCount()), root=root)
    assert manifest["counts"]["quarantined"] == {"failed_in_raises": 1, "shouting": 2}
    assert "also good" in kept_texts(manifest, root)
    lines = [json.loads(x) for p in Path(root).rglob("quarantine/*.jsonl") for x in p.read_text().splitlines()]
    assert any(line["detail"] == "RuntimeError: bad luck" and line["id"].endswith("-1") for line in lines)


def test_nan_names_document_and_signal(files, root):
    with pytest.raises(ShardsFailed, match=r"measured ratio = NaN for document '[0-9a-f]{4}-\d'"):
        build(described(files, MeasuresNaN()), root=root)


def test_a_transform_that_loses_rows_is_refused(files, root):
    with pytest.raises(ShardsFailed, match="'loses_rows' returned 0 documents for 1"):
        build(described(files, LosesRows()), root=root)


class FailsOn:
    """Makes the work of one shard fail, always or a number of times."""

    def __init__(self, victim: int, times: int):
        self.victim, self.times = victim, times

    def map_shards(self, work, shards, *, needs=None):
        shards = list(shards)
        names = sorted(s.name for s in shards if isinstance(s, FileShard))
        failing = names[self.victim] if names else None

        def flaky(shard):
            if shard.name == failing and self.times > 0:
                self.times -= 1
                raise OSError("the disk said no")
            return work(shard)

        yield from Local().map_shards(flaky, shards)


def test_a_shard_that_fails_twice_succeeds_on_the_third_attempt(files, tmp_path):
    whole = build(described(files), root=str(tmp_path / "whole"))
    again = build(described(files), root=str(tmp_path / "again"), executor=FailsOn(2, MAX_ATTEMPTS - 1))
    assert again["root_hash"] == whole["root_hash"]


def test_a_shard_that_fails_three_times_is_named_and_the_rest_is_kept(files, root):
    with pytest.raises(
        ShardsFailed, match=r"1 of 5 shards failed[\s\S]*the disk said no[\s\S]*To resume: eyas build x"
    ):
        build(described(files), root=root, executor=FailsOn(2, 99), resume_command="eyas build x")
    assert len(list(Path(root).rglob("counts/*.json"))) == 4
    assert not list(Path(root).rglob("manifest.json"))
    partial = build(described(files), root=root, executor=FailsOn(0, 99), without_failed_shards=True)
    assert len(partial["missing"]) == 1
    whole = build(described(files), root=root)
    assert whole["fingerprint"] != partial["fingerprint"]
    assert not whole["missing"]
    opened = open_artifact(str(Path(root) / partial["name"] / partial["fingerprint"][:12]))
    assert len(opened.parts()) == 4
    assert all(Path(part.uri).exists() for part in opened.parts())


def test_a_repeated_id_names_both_places(tmp_path, root):
    (tmp_path / "a.txt").write_text("one fine line\nand two")
    (tmp_path / "b.txt").write_text("another line\nand three")
    source = Source(name="lines", inputs=(str(tmp_path / "*.txt"),), reader=Lines(id_prefix="same"))
    with pytest.raises(
        InputError, match=r"id 'same-0' of source 'lines' is repeated: at [0-9a-f]{64}:0:1 .* and at [0-9a-f]{64}:0:1"
    ):
        build(process(source, through=Pipeline(name="p", stages=(LetterCount(),))), root=root)


def test_two_files_of_one_content_are_refused(files, root):
    (files / "copy.txt").write_text((files / "0.txt").read_text())
    with pytest.raises(InputError, match=r"0.txt and .*copy.txt have the same content"):
        build(described(files), root=root)


def test_missing_input_and_unwritable_root(tmp_path, root):
    with pytest.raises(InputError, match=r"nothing-here"):
        build(described(tmp_path / "nothing-here"), root=root)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write the root"):
        build(described(tmp_path), root=str(tmp_path / "file" / "root"))


def test_an_unfinished_artifact_cannot_be_opened(tmp_path):
    with pytest.raises(BuildError, match=r"no manifest.json"):
        open_artifact(str(tmp_path))


def test_construction_fails_on_the_driver():
    with pytest.raises(ConfigError, match=r"'needs_language' reads \['language'\]"):
        Pipeline(name="p", stages=(NeedsLanguage(),))
    Pipeline(name="p", stages=(NeedsLanguage(),), expects=("language",))
    with pytest.raises(ConfigError, match="'letter_count' is taken"):
        Pipeline(name="p", stages=(LetterCount(), LetterCount()))
    with pytest.raises(ConfigError, match="no stage"):
        Pipeline(name="p", stages=("not a stage",))
    with pytest.raises(ConfigError, match="cannot be a directory"):
        Source(name="../up", inputs=("x",))


def test_settings_reach_their_field_and_misspelt_ones_are_refused():
    pipeline = Pipeline(name="p", stages=(LetterCount(),))
    changed = pipeline.with_settings(["letter_count.min_letters=5"]).stages[0]
    assert changed.min_letters == 5
    for wrong in (
        "letter_count.min_leters=5",
        "lettercount.min_letters=5",
        "letter_count.min_letters=five",
        "min_letters=5",
    ):
        with pytest.raises(ConfigError, match="--set"):
            pipeline.with_settings([wrong])


def test_dropped_text_is_stored_as_asked(files, tmp_path):
    for mode, stored in (("none", 0), ("all", 8), ("sample", 8)):
        manifest = build(described(files, dropped_text=mode), root=str(tmp_path / mode))
        directory = tmp_path / mode / manifest["name"] / manifest["fingerprint"][:12]
        dropped = pa.concat_tables([pq.read_table(p) for p in directory.glob("dropped/*.parquet")])
        assert len(dropped) == 8
        assert len(dropped) - dropped["text"].null_count == stored
