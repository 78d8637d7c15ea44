"""What `eyas whatif` refuses, and why; what it prints. That its answers are right is in tests/integration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from pipelines.cli.bounds import stages_of
from pipelines.cli.whatif import what_if
from pipelines.errors import BuildError, ConfigError
from pipelines.rules import Rule
from tests.unit.cli_corpus import STAGES, built, described, with_dedup, write_corpus


@pytest.fixture(scope="module")
def located(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whatif")
    return built(described(write_corpus(folder / "in")), str(folder / "root"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "sizes.fold=true",
            r"'fold' is no bound of a rule: it changes what 'sizes' measures.*bounds of 'sizes' are max_letters, ",
        ),
        ("sizes.min_leters=3", r"stage 'sizes' has no field 'min_leters'; bounds of 'sizes' are max_letters"),
        ("size.min_letters=3", r"fits no rule of birds-clean/\w+ .*sizes, stop_words"),
        ("too_few_leters=3", r"fits no rule"),
        ("trim.adds=3", r"'trim' has no bounds"),
        ("sizes.min_letters=eight", r"'eight' is not a int"),
        ("sizes.max_letters_per_word=nan", r"finite number"),
        ("sizes.max_letters_per_word=inf", r"finite number"),
        ("sizes.min_letters", r"expected stage.field=value"),
        ("sizes.min_letters[en]=3", r"does not depend on an attribute; leave \[en\] out"),
        (
            "stop_words.min_stops=3",
            r"depends on language; name a value, as in \[de\], or \[\*\] for the default; there are de, en",
        ),
        ("stop_words.unwanted=", r"name at least one value"),
        (
            "stop_words.half_of_max_owls=3",
            r"computed from 'half_of_max_owls', so only a rebuild.*stop_words/too_many_owls=value",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(located, setting, message):
    with pytest.raises(ConfigError, match=message):
        what_if(located, (setting,))


def test_a_computed_bound_can_be_moved_itself(located):
    answer = what_if(located, ("stop_words/too_many_owls=0",))["rejudged"]
    assert answer["after"]["held"]["stop_words/too_many_owls"] > answer["before"]["held"].get(
        "stop_words/too_many_owls", 0
    )
    assert answer["rules"] == [
        {
            "reason": "stop_words/too_many_owls",
            "before": "num_owls > half_of_max_owls = 4",
            "after": "num_owls > half_of_max_owls = 0",
        }
    ]


@dataclass(frozen=True, kw_only=True)
class Again:
    """A filter with a reason that another stage has too, and its name no field."""

    name: ClassVar[str] = "once_more"
    min_letters_again: int = 5

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({"num_letters": pc.utf8_length(batch.column("text")).cast(pa.int64())})

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("too_few_letters", "num_letters", "<", self.min_letters_again, field="min_letters_again"),)


def test_an_ambiguous_reason_is_refused_and_a_named_one_taken(tmp_path, root):
    located = built(described(write_corpus(tmp_path / "in"), stages=(*STAGES, Again())), root)
    with pytest.raises(
        ConfigError,
        match=r"several rules have the reason 'too_few_letters': sizes/too_few_letters, once_more/too_few_l",
    ):
        what_if(located, ("too_few_letters=3",))
    assert what_if(located, ("once_more/too_few_letters=50",))["rejudged"]["newly_dropped"]["documents"] > 0
    assert set(stages_of(located.manifest)) == {"trim", "sizes", "stop_words", "once_more"}


def test_stored_reasons_that_contradict_the_rules_are_an_error(tmp_path, root):
    located = built(described(write_corpus(tmp_path / "in")), root)
    part = located.parts("signals")[0].uri
    table = pq.read_table(part)
    letters = table.schema.get_field_index("num_letters")
    pq.write_table(table.set_column(letters, "num_letters", pa.array([999] * len(table), pa.int64())), part)
    with pytest.raises(BuildError, match=r"do not follow from its signals and the manifest's rules; run `eyas verify`"):
        what_if(located, ("sizes.min_words=3",))


def test_the_command_prints_both_ways(tmp_path, root, capsys):
    artifact = built(with_dedup(write_corpus(tmp_path / "in")), root)
    assert main(["whatif", artifact.directory, "--set", "sizes.min_letters=20", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["exact"] is False
    assert answer["rejudged"]["artifact"].startswith("birds-clean/")
    assert main(["whatif", artifact.directory, "--set", "sizes.min_letters=20"]) == 0
    text = capsys.readouterr().out
    assert "num_letters < min_letters = 8  ->  num_letters < min_letters = 20" in text
    assert f"{answer['interval']['at_least']:,} and {answer['interval']['at_most']:,}" in text
    assert main(["whatif", str(Path(root) / "birds-clean"), "--set", "sizes.fold=true"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "only a rebuild can tell" in captured.err
