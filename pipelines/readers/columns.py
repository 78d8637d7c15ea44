"""Which fields of a JSON object or Parquet row become which columns of a document, and how their values are converted."""

from __future__ import annotations

import calendar
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipelines.errors import ConfigError
from pipelines.schema import DOCUMENT

TYPES = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
Value = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Column:
    """An attribute column to carry along: `name` is ours, `field` theirs ("" is the same), `type` one of TYPES.

    A missing or null value is null; one of another type is a fault of its row.
    """

    name: str
    field: str = ""
    type: str = "string"

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ConfigError(f"Column {self.name!r}: unknown type {self.type!r}; expected one of {', '.join(TYPES)}")
        if not self.name or self.name in DOCUMENT.names:
            raise ConfigError(f"Column name {self.name!r} is empty or a core column of documents; choose another")

    @property
    def source_field(self) -> str:
        """The name it has in the input."""
        return self.field or self.name

    def convert(self, value: Any) -> Value:
        """`value` as this column's type; TypeError where it is of another. Whole floats are integers, NaN is null."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if self.type == "string" and isinstance(value, str):
            return replace_surrogates(value)
        if self.type == "bool" and isinstance(value, bool):
            return value
        if self.type == "float64" and isinstance(value, int | float) and not isinstance(value, bool):
            return _finite_float(value)
        if self.type == "int64" and isinstance(value, int | float) and not isinstance(value, bool):
            whole = int(value)
            if whole == value and -(2**63) <= whole < 2**63:
                return whole
        raise TypeError(f"{type(value).__name__} is no {self.type}")


def _finite_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise TypeError("too large for float64") from error


def document_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The core columns and `columns` after them. ConfigError for a name that repeats."""
    names = [column.name for column in columns]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"column {repeated[0]!r} is named twice")
    return pa.schema([*DOCUMENT, *(pa.field(column.name, TYPES[column.type]) for column in columns)])


def id_of(value: Any) -> str | None:
    """A string or whole number as an id; None for anything else, and for ""."""
    if isinstance(value, str):
        return replace_surrogates(value) or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def replace_surrogates(text: str) -> str:
    """Lone surrogates, which JSON may escape but UTF-8 cannot hold, become U+FFFD.

    >>> replace_surrogates("a\\ud800b") == "a\\ufffdb"
    True
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def seconds_of(value: Any) -> int | None:
    """A date as seconds since 1970 in UTC: ISO 8601 text or a number of seconds; None for anything else.

    >>> seconds_of("1970-01-02T00:00:01Z"), seconds_of("1970-01-02 02:00:00+02:00"), seconds_of(5.9), seconds_of("?")
    (86401, 86400, 5, None)
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return int(value) if math.isfinite(value) and abs(value) < 2**40 else None
    if not isinstance(value, str | datetime) or (isinstance(value, str) and len(value) > 40):
        return None
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
        return calendar.timegm((when.astimezone(UTC) if when.tzinfo else when).timetuple())
    except (ValueError, OverflowError):
        return None
