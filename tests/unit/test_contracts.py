"""What stages, files and workers may not do, each once done by somebody: a clear error, and never a silent loss."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from pipelines import storage
from pipelines.artifact import Source, build
from pipelines.counting import count_outcome
from pipelines.errors import ConfigError, InputError, QuarantineCap, ShardsFailed, StorageError
from pipelines.executors import attempt
from pipelines.executors.local import Local
from pipelines.fingerprint import fingerprint
from pipelines.inventory import take_inventory
from pipelines.makers.process import Process, process
from pipelines.pipeline import Pipeline
from pipelines.rules import ByAttribute, Rule
from pipelines.schema import DOCUMENT, set_column
from tests.integration.line_corpus import write_corpus
from tests.unit.test_engine import LetterCount, Lines, Raises


def corpus(folder: Path, lines: int = 12, files: int = 1) -> Source:
    folder.mkdir(exist_ok=True)
    for number in range(files):
        (folder / f"{number}.txt").write_text("\n".join(f"document {n} of {number}" for n in range(lines)))
    return Source(name="lines", inputs=(str(folder / "*.txt"),), reader=Lines())


def built_with(tmp_path: Path, *stages: Any, **options: Any) -> dict[str, Any]:
    source = corpus(tmp_path / "in")
    return build(process(source, through=Pipeline(name="p", stages=stages), **options), root=str(tmp_path / "root"))


@dataclass(frozen=True, kw_only=True)
class Transforms:
    """Does `what` to a batch; declares one column."""

    what: str
    adds: ClassVar[tuple[pa.Field, ...]] = (pa.field("extra", pa.int64(), nullable=False),)

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        first = batch.num_rows and batch.column("id")[0].as_py().endswith("-0")
        extra = pa.array([1] * batch.num_rows, pa.int64())
        match self.what:
            case "adds late":
                return batch if first else batch.append_column("extra", extra)
            case "adds another":
                return batch.append_column("extra", extra).append_column("undeclared", extra)
            case "drops url":
                return batch.append_column("extra", extra).drop_columns(["url"])
            case "nulls":
                return batch.append_column("extra", pa.array([None] * batch.num_rows, pa.int64()))
            case "floats":
                return batch.append_column("extra", pa.array([1.5] * batch.num_rows, pa.float64()))
            case "nulls locator":
                nulls = pa.array([None] * batch.num_rows, pa.string())
                return set_column(batch.append_column("extra", extra), DOCUMENT.field("locator"), nulls)
        plain = pa.array([text.upper() for text in batch.column("text").to_pylist()])
        return set_column(batch.append_column("extra", extra), pa.field("text", plain.type), plain)


@pytest.mark.parametrize("what", ["adds late", "adds another", "drops url", "nulls", "floats", "nulls locator"])
def test_a_transform_keeps_to_what_it_declares(tmp_path, what):
    with pytest.raises(ShardsFailed, match="stage 'transforms' returned"):
        built_with(tmp_path, Transforms(what=what), LetterCount())


def test_plain_python_strings_become_large_strings(tmp_path):
    manifest = built_with(tmp_path, Transforms(what="upper"), LetterCount())
    part = next((tmp_path / "root").rglob("kept/*.parquet"))
    assert storage.read_schema(str(part)).field("text").type == pa.large_string()
    assert manifest["counts"]["kept"] == 12


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Measures `what`."""

    what: str
    bound: Any = 3

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        columns = {"size": pa.array([1] * batch.num_rows, pa.int64())}
        if self.what == "unruled NaN":
            columns["share"] = pa.array([float("nan")] * batch.num_rows)
        elif self.what == "lists":
            columns["words"] = pa.array([["a"]] * batch.num_rows)
        elif self.what not in ("size", "fine"):
            columns[self.what] = pa.array(["x"] * batch.num_rows)
        return pa.RecordBatch.from_pydict(columns)

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("small", "size", "<", self.bound),)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("id", "the signal name 'id' is taken"),
        ("reasons", "the signal name 'reasons' is taken"),
        ("text", "the signal name 'text' is taken"),
        ("lists", "the signal 'words' is list"),
        ("unruled NaN", "measured share = NaN for document"),
    ],
)
def test_signals_are_checked(tmp_path, what, said):
    with pytest.raises(ShardsFailed, match=said):
        built_with(tmp_path, Measures(what=what))


def test_a_rule_that_no_signal_type_fits_is_an_error_of_the_stage(tmp_path):
    with pytest.raises(ConfigError, match="stage 'measures': its rules cannot be judged"):
        built_with(tmp_path, Measures(what="fine", bound="three"))


def test_a_bound_beyond_64_bits_is_refused():
    with pytest.raises(ConfigError, match="does not fit 64 bits"):
        Rule("r", "s", "<", 10**23)


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """A bound keyed by a column that nobody adds."""

    wants: ClassVar[tuple[str, ...]] = ("num_words",)

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        return statistics.select(["num_words"])

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("short", "num_words", "<", ByAttribute(column="topic", bounds=(("a", 3.0),))),)


@dataclass(frozen=True, kw_only=True)
class WantsTheUnknown(Keyed):
    """Wants a statistic that is not computed."""

    wants: ClassVar[tuple[str, ...]] = ("num_wrods",)

    def rules(self) -> tuple[Rule, ...]:
        return ()


def test_columns_and_statistics_are_checked_at_construction_and_in_the_input(tmp_path):
    with pytest.raises(ConfigError, match=r"keyed by \['topic'\]"):
        Pipeline(name="p", stages=(Keyed(),))
    with pytest.raises(ConfigError, match=r"wants \['num_wrods'\]"):
        Pipeline(name="p", stages=(WantsTheUnknown(),))
    expecting = Pipeline(name="p", stages=(Keyed(),), expects=("topic",))
    with pytest.raises(InputError, match="no column 'topic', which the pipeline expects"):
        build(process(corpus(tmp_path / "in"), through=expecting), root=str(tmp_path / "root"))


def test_a_stage_that_always_raises_fails_the_build_even_over_small_shards(tmp_path):
    source = corpus(tmp_path / "in", lines=10, files=6)
    stages = (Raises(on="never"), AlwaysRaises(), LetterCount())
    with pytest.raises(
        QuarantineCap, match=r"60 of 60 records of lines-p could not be read \(failed_in_always_raises 60\)"
    ):
        build(process(source, through=Pipeline(name="p", stages=stages)), root=str(tmp_path / "root"))


@dataclass(frozen=True, kw_only=True)
class AlwaysRaises:
    """Fails on every document."""

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if batch.num_rows:
            raise RuntimeError("no")
        return batch


def test_the_quarantine_cap_is_no_part_of_identity():
    pipeline = Pipeline(name="p", stages=(LetterCount(),))
    loose = Process(pipeline=pipeline, max_quarantined_fraction=0.5)
    assert fingerprint(loose) == fingerprint(Process(pipeline=pipeline))
    assert fingerprint(Process(pipeline=pipeline, dropped_text="none")) != fingerprint(loose)
    with pytest.raises(ConfigError, match="max_quarantined_fraction = -1"):
        Process(pipeline=pipeline, max_quarantined_fraction=-1)


def test_two_empty_files_are_one_empty_shard(tmp_path):
    source = corpus(tmp_path / "in")
    (tmp_path / "in" / "a.txt").touch()
    (tmp_path / "in" / "b.txt").touch()
    artifact = process(source, through=Pipeline(name="p", stages=(LetterCount(),)))
    assert build(artifact, root=str(tmp_path / "root"))["counts"]["documents"] == 12


def test_a_worker_that_dies_between_builds_loses_nothing(tmp_path):
    inputs = write_corpus(tmp_path, files=4)
    source = Source(name="lines", inputs=(str(inputs / "*.jsonl"),))
    executor = Local(workers=2)
    first = build(
        process(source, through=Pipeline(name="a", stages=(LetterCount(),))),
        root=str(tmp_path / "r"),
        executor=executor,
    )
    pool = executor.pool.get(2)
    victim = next(iter(pool._processes.values()))
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    waiting = threading.Event()
    while not pool._broken and not waiting.wait(0.01):
        continue
    stages = (LetterCount(min_letters=1),)
    again = build(
        process(source, through=Pipeline(name="b", stages=stages)), root=str(tmp_path / "r"), executor=executor
    )
    assert again["counts"]["documents"] == first["counts"]["documents"]
    assert len(again["files"]) == len(first["files"])


class ChangesInputs:
    """Rewrites an input between the inventory and the reading of it."""

    def __init__(self, path: Path):
        self.path = path

    def map_shards(self, work, shards, *, needs=None):
        if "directory" in getattr(work, "keywords", {}):
            self.path.write_text(self.path.read_text().replace("document", "Document"))
        yield from Local().map_shards(work, shards)


def test_an_input_changed_after_it_was_listed_is_noticed(tmp_path):
    source = corpus(tmp_path / "in")
    artifact = process(source, through=Pipeline(name="p", stages=(LetterCount(),)))
    with pytest.raises(InputError, match=r"0\.txt changed after it was listed"):
        build(artifact, root=str(tmp_path / "root"), executor=ChangesInputs(tmp_path / "in" / "0.txt"))


def test_a_finished_artifact_whose_files_were_lost_is_made_again(tmp_path):
    first = built_with(tmp_path, LetterCount())
    victim = next((tmp_path / "root").rglob("kept/*.parquet"))
    content = victim.read_bytes()
    victim.unlink()
    assert built_with(tmp_path, LetterCount())["root_hash"] == first["root_hash"]
    assert victim.read_bytes() == content


def test_a_store_that_does_not_answer_is_asked_again():
    def work(shard: str) -> None:
        raise StorageError("timeout")

    assert not attempt(work, "a").final


def test_an_empty_root_is_refused():
    with pytest.raises(ConfigError, match="the root is empty"):
        storage.check_writable(" ")


def test_a_users_helpers_are_part_of_identity(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_helpers_of_test.py").write_text("BOUND = 3\n")
    (tmp_path / "my_stage_of_test.py").write_text(
        "from dataclasses import dataclass\nimport my_helpers_of_test\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Mine:\n    x: int = 1\n"
    )
    import my_stage_of_test

    before = fingerprint(my_stage_of_test.Mine())
    assert before == fingerprint(my_stage_of_test.Mine())
    (tmp_path / "my_helpers_of_test.py").write_text("BOUND = 4\n")
    assert fingerprint(my_stage_of_test.Mine()) != before


def test_temporaries_of_living_processes_stay(tmp_path):
    with storage.open_output(str(tmp_path / "out")) as file:
        file.write(b"x")
        (temporary,) = tmp_path.glob(".tmp-*")
        other = tmp_path / temporary.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
        other.touch()
    dead = tmp_path / temporary.name.replace(f"-{os.getpid()}-", "-999999999-")
    dead.touch()
    assert storage.clean_temporaries(str(tmp_path)) == 1
    assert other.exists()
    assert not dead.exists()


def test_a_store_without_timestamps_is_hashed_every_time(tmp_path):
    uri = f"memory://{tmp_path.name}/a.txt"
    checksums = set()
    for text in (b"one line", b"two line"):
        storage.write_bytes(uri, text)
        (file,) = take_inventory("m", (uri,), root=str(tmp_path), executor=Local())
        checksums.add(file.checksum)
    assert len(checksums) == 2


def test_a_language_column_that_is_no_string_is_counted():
    batch = pa.RecordBatch.from_pydict(
        {
            "source": ["s", "s"],
            "text": pa.array(["a", "b"], pa.large_string()),
            "language": pa.array([7, None], pa.int64()),
        }
    )
    reasons = pa.array([[], ["x/y"]], pa.list_(pa.string()))
    counts = count_outcome(batch, reasons, num_bytes=pa.array([1, 1], pa.int64()))
    assert {name: row["documents"] for name, row in counts["languages"].items()} == {"7": 1, "none": 1}
