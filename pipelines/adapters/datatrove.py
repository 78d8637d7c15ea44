"""datatrove's filters and formatters as stages, and eyas' words for datatrove. The only module that imports datatrove.

`DatatroveFilter(step=...)` measures what a datatrove filter says of each document, `DatatroveFormatter(step=...)`
rewrites the text with a formatter. The step gets a Document of its own for every row, with `text`, `id` and the other
columns as `metadata`; a filter that rewrites `text`, as C4QualityFilter does, rewrites that Document only. A formatter
runs on a fresh copy of itself for every document, since PIIFormatter's replacements go round from one call to the next.
What a step raises is not caught here: the engine sets that document aside.

Not for steps that need other documents (dedup), that write (exclusion writers are refused), or filters with state that
builds up from document to document (SamplerFilter's generator): their verdicts would depend on how rows were batched.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import pickle
import re
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from itertools import accumulate
from typing import Any, ClassVar

import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter, get_filter_result
from datatrove.pipeline.formatters.base import BaseFormatter
from datatrove.utils.word_tokenizers import WordTokenizer

from pipelines.errors import ConfigError, StageError
from pipelines.kernels.sentences import sentences_of
from pipelines.kernels.unicode_classes import UNICODE_VERSION
from pipelines.kernels.words import words_of
from pipelines.rules import Rule
from pipelines.schema import set_column

_UNTYPED_REASON = "dropped"
# Bookkeeping that every step has and that changes nothing of its verdicts
_NOT_CONFIGURATION = frozenset({"stats", "exclusion_writer", "batch_size"})


class EyasWords(WordTokenizer):  # type: ignore[misc]
    """Words and sentences as eyas counts them, for a datatrove step's `language=`: one splitter for both sides."""

    def word_tokenize(self, text: str) -> list[str]:
        """Words, in order."""
        return words_of(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """Sentences, in order."""
        return sentences_of(text)

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of each sentence, in characters."""
        ends = list(accumulate(len(sentence) for sentence in sentences_of(text)))
        return list(zip([0, *ends], ends, strict=False))


def _check_step(step: object, kind: type, stage: str) -> None:
    if not isinstance(step, kind):
        raise ConfigError(f"{stage}: step is {type(step).__name__}, expected an object of datatrove's {kind.__name__}")
    if getattr(step, "exclusion_writer", None) is not None:
        raise ConfigError(
            f"{stage}: {type(step).__name__} has an exclusion_writer; eyas writes dropped documents itself"
        )
    try:
        pickle.dumps(step)
    except Exception as error:
        raise ConfigError(
            f"{stage}: {type(step).__name__} cannot be pickled ({error}), so it cannot be sent to workers"
        ) from error


def _default_name(step: object) -> str:
    """`GopherQualityFilter` -> `datatrove_gopher_quality_filter`."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(step).__name__)
    return f"datatrove_{name.lower()}"


def _identity(step: object, stage: str, version: int, reasons: tuple[str, ...]) -> str:
    fields = {name: value for name, value in vars(step).items() if name not in _NOT_CONFIGURATION}
    return json.dumps(
        {
            "stage": stage,
            "version": version,
            "reasons": list(reasons),
            "step": f"{type(step).__module__}.{type(step).__qualname__}",
            "source": _own_source(step),
            "fields": {name: _describe(value) for name, value in sorted(fields.items())},
            "datatrove": installed_version("datatrove"),
            "unicode_classes": UNICODE_VERSION,
        },
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )


def _own_source(step: object) -> str:
    """sha256 of the class's source where it is not datatrove's, whose version says enough; "" for datatrove's."""
    if type(step).__module__.split(".")[0] == "datatrove":
        return ""
    try:
        return hashlib.sha256(inspect.getsource(type(step)).encode()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"the source of {type(step).__qualname__} cannot be read, so no fingerprint can say what it does; "
            "put the class into a file"
        ) from error


def _describe(value: object) -> Any:
    """A value as JSON that says the same in every process: sets sorted, other objects by class and fields."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_describe(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted((_describe(item) for item in value), key=repr)}
    if isinstance(value, dict):
        return {"dict": sorted(([_describe(k), _describe(v)] for k, v in value.items()), key=repr)}
    if hasattr(value, "pattern") and hasattr(value, "flags"):
        return {"pattern": value.pattern, "flags": int(value.flags)}
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "__dict__") and not callable(value):
        return {"class": name, "fields": {k: _describe(v) for k, v in sorted(vars(value).items())}}
    return {"class": name, "pickle": hashlib.sha256(pickle.dumps(value, protocol=4)).hexdigest()}


def _documents(batch: pa.RecordBatch) -> list[Document]:
    """One Document a row: text, id, the other columns (less nulls) as metadata."""
    return [
        Document(
            text=row.pop("text"),
            id=row.pop("id"),
            metadata={name: value for name, value in row.items() if value is not None},
        )
        for row in batch.to_pylist()
    ]


@dataclass(frozen=True, kw_only=True)
class DatatroveFilter:
    """A datatrove filter as a filter here: it measures, the engine judges.

    Signals are named after `name`, by default `datatrove_` and the step's class in snake_case: `<name>_dropped`, a flag,
    and `<name>_reason`, what the step gave as its reason ("" for a kept document, "dropped" where it gave none). With
    `reasons`, each of those is a rule of its own and any other reason is an error; without, the one rule is "dropped".
    Raises ConfigError for a step that is no filter, writes, or cannot be pickled.
    """

    version: ClassVar[int] = 1
    wants: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("datatrove",)

    step: BaseFilter
    name: str = ""
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_step(self.step, BaseFilter, "DatatroveFilter")
        if not self.name:
            object.__setattr__(self, "name", _default_name(self.step))
        # taken now: a step may load a model into itself when it is first used
        object.__setattr__(self, "_identity", _identity(self.step, self.name, self.version, self.reasons))

    def identity(self) -> dict[str, object]:
        """JSON of the step as constructed: class, fields, reasons, versions of datatrove and of the words."""
        return dict(json.loads(vars(self)["_identity"]))

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        """`<name>_dropped` (bool) and `<name>_reason` (string), one row a document."""
        results = [get_filter_result(result) for result in self.step.filter_batch(_documents(batch))]
        if len(results) != batch.num_rows:
            raise StageError(f"stage {self.name!r}: {len(results)} verdicts for {batch.num_rows} documents")
        dropped = [not kept for kept, _ in results]
        reasons = [(str(reason) if reason else _UNTYPED_REASON) if not kept else "" for kept, reason in results]
        unknown = sorted(set(reasons) - {"", *self.reasons}) if self.reasons else []
        if unknown:
            raise ConfigError(f"stage {self.name!r}: reason {unknown[0]!r} is not among reasons={self.reasons}; add it")
        return pa.RecordBatch.from_arrays(
            [pa.array(dropped, pa.bool_()), pa.array(reasons, pa.string())],
            names=[f"{self.name}_dropped", f"{self.name}_reason"],
        )

    def rules(self) -> tuple[Rule, ...]:
        """One rule a reason, or the one rule "dropped"."""
        if self.reasons:
            return tuple(Rule(reason, f"{self.name}_reason", "==", reason) for reason in self.reasons)
        return (Rule(_UNTYPED_REASON, f"{self.name}_dropped", "==", True),)


@dataclass(frozen=True, kw_only=True)
class DatatroveFormatter:
    """A datatrove formatter as a transform here: `text` becomes what its `format` returns.

    Raises ConfigError for a step that is no formatter or cannot be pickled.
    """

    version: ClassVar[int] = 1
    rewrites_text: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("datatrove",)

    step: BaseFormatter
    name: str = ""

    def __post_init__(self) -> None:
        _check_step(self.step, BaseFormatter, "DatatroveFormatter")
        if not self.name:
            object.__setattr__(self, "name", _default_name(self.step))
        object.__setattr__(self, "_identity", _identity(self.step, self.name, self.version, ()))

    def identity(self) -> dict[str, object]:
        """JSON of the step as constructed: class, fields, versions of datatrove and of the words."""
        return dict(json.loads(vars(self)["_identity"]))

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`text` rewritten, row by row."""
        texts = [copy.deepcopy(self.step).format(text) for text in batch.column("text").to_pylist()]
        return set_column(batch, batch.schema.field("text"), pa.array(texts, pa.large_string()))
