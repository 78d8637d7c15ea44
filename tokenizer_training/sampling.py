"""Sampling weights: how often one pre-token of a (source, language) counts when a tokenizer is trained.

A source's weight is a factor on its text: 2 counts every pre-token of it twice, 0.5 every other one, 0 leaves it out.
Languages are then tempered: with q_l the share of language l in the weighted bytes, its text is counted as if its share
were p_l = q_l**(1/T) / sum q_k**(1/T), all in all as much as before. That is the sampling of Conneau et al. 2020 (XLM-R,
arXiv 1911.02116, section 3.1) with their exponent alpha = 1 / T (they use 0.3, about T = 3.3); T = 1 changes nothing.

Counts stay integers. Where a weight or a temperature is set, a group's factor is a fixed-point number, rounded half to even to
a multiple of 1 / SCALE, and counts are kept in units of 1 / SCALE: nothing is rounded after that, so no order of shards can
change a sum. Powers and quotients are decimal with 50 digits, the same on every machine.

>>> factors({"web": {"en": 900, "sv": 100}}, weights=(), temperature=2.0)[("web", "sv")] / SCALE
2.5
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.counting import add_counts
from pipelines.errors import ConfigError, InputError
from pipelines.shards import PartShard, ShardOutput

SCALE: Final = 1 << 20
"""Factors are exact to one part in a million at 1; 64 bits then hold 8.8e12 pre-tokens."""
MAX_FACTOR: Final = 1 << 20
NO_LANGUAGE: Final = "none"
"""The language of a document whose language is null or that has no such column."""
_DECIMAL = Context(prec=50, rounding=ROUND_HALF_EVEN)

Groups = Mapping[str, Mapping[str, int]]
"""Bytes of text by source, then language."""
Factors = Mapping[tuple[str, str], int]
"""Factor of each (source, language), in units of 1 / SCALE."""


def check_sampling(weights: tuple[tuple[str, float], ...], temperature: float) -> None:
    """Raises ConfigError where weights or temperature are not usable."""
    names = [name for name, _ in weights]
    if len(set(names)) != len(names):
        raise ConfigError(f"weights name a source twice: {names}")
    for name, weight in weights:
        if not 0 <= weight <= MAX_FACTOR:
            raise ConfigError(f"weight of source {name!r} = {weight}; give a number from 0 (left out) to {MAX_FACTOR}")
    if not 1 <= temperature <= 100:
        raise ConfigError(f"temperature = {temperature}; give 1 (languages as they are) to 100 (all but equal)")


def measure_groups(shard: PartShard, out: ShardOutput) -> dict[str, Any]:
    """The bytes of one shard's texts by source and language, as counts."""
    groups: dict[str, Any] = {}
    for batch in storage.read_batches(shard.uri, columns=group_columns(shard.uri)):
        sizes = pc.binary_length(batch.column("text"))
        table = pa.table({"source": batch.column("source"), "language": languages_of(batch), "bytes": sizes})
        for row in table.group_by(["source", "language"], use_threads=False).aggregate([("bytes", "sum")]).to_pylist():
            groups = add_counts(groups, {row["source"]: {row["language"]: row["bytes_sum"]}})
    return {"groups": groups}


def group_columns(uri: str) -> list[str]:
    """The columns of the documents at `uri` that say to which group each belongs, and the text."""
    names = storage.read_schema(uri).names
    return ["text", "source", *(["language"] if "language" in names else [])]


def languages_of(batch: pa.RecordBatch) -> pa.Array:
    """The language of each document; NO_LANGUAGE where none is known."""
    if batch.schema.get_field_index("language") < 0:
        return pa.array([NO_LANGUAGE] * batch.num_rows, pa.string())
    return batch.column("language").cast(pa.string()).fill_null(NO_LANGUAGE)


def factors(
    groups: Groups, *, weights: tuple[tuple[str, float], ...], temperature: float
) -> dict[tuple[str, str], int]:
    """The factor of every group that has text, in units of 1 / SCALE.

    Raises InputError for a weight of a source that has no document, where nothing is left, and for a factor that
    is too large or rounds to zero.
    """
    weight_of = {name: Decimal(weight) for name, weight in weights}
    if unknown := sorted(weight_of.keys() - groups.keys()):
        raise InputError(f"weights name {unknown}; the sources of the documents are {sorted(groups)}")
    weighted = {
        (source, language): Decimal(num_bytes) * weight_of.get(source, Decimal(1))
        for source, languages in sorted(groups.items())
        for language, num_bytes in sorted(languages.items())
        if num_bytes
    }
    total = _sum(weighted.values())
    if not total:
        raise InputError("weights leave no text to count; give at least one source a weight above 0")
    by_language: dict[str, Decimal] = {}
    for (_, language), amount in weighted.items():
        by_language[language] = _DECIMAL.add(by_language.get(language, Decimal(0)), amount)
    shares = {language: _DECIMAL.divide(amount, total) for language, amount in by_language.items() if amount}
    tempered = {language: _tempered(share, temperature) for language, share in shares.items()}
    norm = _sum(tempered.values())
    found: dict[tuple[str, str], int] = {}
    for source, language in weighted:
        weight = weight_of.get(source, Decimal(1))
        if not weight:
            found[source, language] = 0
            continue
        boost = _DECIMAL.divide(_DECIMAL.divide(tempered[language], norm), shares[language])
        factor = _DECIMAL.multiply(weight, boost)
        units = int(_DECIMAL.to_integral_value(_DECIMAL.multiply(factor, Decimal(SCALE))))
        if not 1 <= units <= MAX_FACTOR * SCALE:
            raise InputError(
                f"{source}/{language} would count {float(factor):.3g} times; factors go from {1 / SCALE:.1g} to "
                f"{MAX_FACTOR}: weigh less strongly"
            )
        found[source, language] = units
    return found


def _tempered(share: Decimal, temperature: float) -> Decimal:
    if temperature == 1:
        return share
    return _DECIMAL.power(share, _DECIMAL.divide(Decimal(1), Decimal(temperature)))


def _sum(values: Any) -> Decimal:
    total = Decimal(0)
    for value in values:
        total = _DECIMAL.add(total, value)
    return total
