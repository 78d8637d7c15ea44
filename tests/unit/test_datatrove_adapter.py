"""datatrove's steps as stages: verdicts, reasons, rewriting, refusals, identity, and that no document leaves a trace."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter, LambdaFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters import PIIFormatter, SymbolLinesFormatter
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.text import split_into_sentences

from pipelines.adapters.datatrove import DatatroveFilter, DatatroveFormatter, EyasWords
from pipelines.errors import ConfigError
from pipelines.fingerprint import canonical, identity
from pipelines.stage import run_stages, stage_name
from tests.property import oracles
from tests.unit.test_heuristic_filters import GOOD, documents, prose


class RaisesOnBoom(BaseFilter):
    name = "raises"

    def filter(self, doc):
        if "boom" in doc.text:
            raise ValueError("it went off")
        return "bad" not in doc.text


class ReadsMetadata(BaseFilter):
    name = "metadata"

    def filter(self, doc):
        doc.text = "rewritten"
        return "url" not in doc.metadata and doc.metadata["source"] == "test" and doc.id == "0"


def test_verdicts_and_reasons_are_those_of_the_step():
    texts = [GOOD, prose(10), GOOD.replace("the of", "xx yy"), ""]
    stage = DatatroveFilter(step=GopherQualityFilter(language=EyasWords()))
    judged, failed = run_stages([stage], documents(texts[:3]))
    assert stage_name(stage) == "datatrove_gopher_quality_filter"
    assert not failed
    assert judged.signals.column("datatrove_gopher_quality_filter_reason").to_pylist() == [
        "",
        "gopher_short_doc",
        "gopher_enough_stop_words",
    ]
    assert judged.reasons.to_pylist() == [
        [],
        ["datatrove_gopher_quality_filter/dropped"],
        ["datatrove_gopher_quality_filter/dropped"],
    ]


def test_reasons_can_be_rules_of_their_own():
    stage = DatatroveFilter(
        step=GopherQualityFilter(language=EyasWords()),
        name="gopher",
        reasons=("gopher_short_doc", "gopher_enough_stop_words"),
    )
    judged, _ = run_stages([stage], documents([GOOD, prose(10)]))
    assert judged.reasons.to_pylist() == [[], ["gopher/gopher_short_doc"]]
    with pytest.raises(ConfigError, match=r"'gopher_too_many_hashes'.*add it"):
        run_stages([stage], documents([GOOD + " #" * 100]))


def test_a_step_that_raises_sets_that_document_aside_and_no_other():
    judged, failed = run_stages([DatatroveFilter(step=RaisesOnBoom())], documents(["a", "boom", "bad", "d", "boom!"]))
    assert sorted(failed) == [1, 4]
    assert failed[1] == ("datatrove_raises_on_boom", "ValueError: it went off")
    assert judged.reasons.to_pylist() == [[], ["datatrove_raises_on_boom/dropped"], []]


def test_the_step_sees_the_other_columns_and_rewrites_only_its_own_copy():
    batch = documents(["text"])
    judged, failed = run_stages([DatatroveFilter(step=ReadsMetadata())], batch)
    assert not failed
    assert judged.reasons.to_pylist() == [[]]
    assert judged.documents.equals(batch)


def test_formatter_rewrites_text_and_keeps_the_rest():
    batch = documents(["a\n***\n---\nb", "c", ""])
    after = DatatroveFormatter(step=SymbolLinesFormatter()).transform(batch)
    assert after.column("text").to_pylist() == ["a\nb", "c", ""]
    assert after.drop_columns("text").equals(batch.drop_columns("text"))
    assert after.schema.equals(batch.schema)


def test_formatter_does_not_carry_state_from_document_to_document():
    """PIIFormatter's replacements go round: alone or after another, a document must come out the same."""
    stage = DatatroveFormatter(step=PIIFormatter())
    texts = ["write to me@here.org", "and to you@there.org", "or them@there.org"]
    together = stage.transform(documents(texts)).column("text").to_pylist()
    alone = [stage.transform(documents([text])).column("text")[0].as_py() for text in texts]
    assert together == alone
    assert all("email@example.com" in text for text in together)


def test_empty_batch():
    empty = documents([])
    assert DatatroveFilter(step=RaisesOnBoom()).measure(empty, empty).num_rows == 0
    assert DatatroveFormatter(step=SymbolLinesFormatter()).transform(empty).num_rows == 0


def test_unfit_steps_are_refused_at_construction(tmp_path):
    with pytest.raises(ConfigError, match="expected an object of datatrove's BaseFilter"):
        DatatroveFilter(step=SymbolLinesFormatter())
    with pytest.raises(ConfigError, match="expected an object of datatrove's BaseFormatter"):
        DatatroveFormatter(step=RaisesOnBoom())
    with pytest.raises(ConfigError, match="exclusion_writer"):
        DatatroveFilter(step=GopherQualityFilter(exclusion_writer=JsonlWriter(str(tmp_path))))
    with pytest.raises(ConfigError, match="cannot be pickled"):
        DatatroveFilter(step=LambdaFilter(lambda document: True))


def test_identity_covers_the_fields_and_nothing_that_running_changes():
    stage = DatatroveFilter(step=GopherQualityFilter())
    before = canonical(identity(stage))
    for other in (
        DatatroveFilter(step=GopherQualityFilter(min_doc_words=51)),
        DatatroveFilter(step=GopherQualityFilter(stop_words=["the"])),
        DatatroveFilter(step=GopherQualityFilter(language=EyasWords())),
        DatatroveFilter(step=GopherQualityFilter(), reasons=("gopher_short_doc",)),
        DatatroveFilter(step=GopherRepetitionFilter()),
        DatatroveFilter(step=RaisesOnBoom()),
    ):
        assert canonical(identity(other)) != before
    filled = DatatroveFilter(step=RaisesOnBoom())
    unused = canonical(identity(filled))
    filled.measure(documents(["a", "bad"]), documents(["a", "bad"]))
    assert canonical(identity(filled)) == unused == canonical(identity(pickle.loads(pickle.dumps(filled))))  # noqa: S301
    assert json.loads(before)["datatrove"]


def test_identity_is_the_same_in_another_process():
    """Stop words are a set of strings: their order changes with the hash seed, the identity must not."""
    code = (
        "from datatrove.pipeline.filters import GopherQualityFilter as F, C4QualityFilter as C\n"
        "from datatrove.pipeline.formatters import PIIFormatter as P\n"
        "from pipelines.adapters.datatrove import DatatroveFilter, DatatroveFormatter, EyasWords\n"
        "from pipelines.fingerprint import canonical, identity\n"
        "print(canonical(identity([DatatroveFilter(step=F(language=EyasWords())), DatatroveFilter(step=C()),"
        " DatatroveFormatter(step=P())])))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_eyas_words_are_the_words_and_sentences_of_the_oracles():
    words = EyasWords()
    for text in ("It's 3 o'clock: 漢字が。 Yes! No... \"Maybe?\" 3.5", "", "...", " a.\nb。c", GOOD, "हिन्दी है। ok"):
        assert words.word_tokenize(text) == oracles.words(text)
        expected = oracles.sentences(text)
        assert len(words.sent_tokenize(text)) == len(expected)
        if expected:
            assert len(split_into_sentences(text, words)) == len(expected)


def test_c4_in_datatrove_with_our_words_agrees_on_sentences():
    text = "\n".join(["One two three. Four five six!"] * 2 + ["Seven eight nine."])
    assert DatatroveFilter(step=C4QualityFilter(language=EyasWords())).measure(
        documents([text]), documents([text])
    ).column(0).to_pylist() == [False]
    assert DatatroveFilter(step=C4QualityFilter(min_num_sentences=6, language=EyasWords())).measure(
        documents([text]), documents([text])
    ).column(0).to_pylist() == [True]


def test_signals_are_plain_columns():
    stage = DatatroveFilter(step=RaisesOnBoom(), name="mine")
    signals = stage.measure(documents(["a", "bad"]), documents(["a", "bad"]))
    assert signals.schema == pa.schema([("mine_dropped", pa.bool_()), ("mine_reason", pa.string())])
    assert signals.to_pylist() == [
        {"mine_dropped": False, "mine_reason": ""},
        {"mine_dropped": True, "mine_reason": "dropped"},
    ]
