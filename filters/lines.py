"""Lines that a page says more than once: removed but for the first, and counted.

FineWeb's rule on duplicate lines (Penedo et al. 2024, arXiv 2406.17557; over 1% of the characters in its code, 10% as
printed) was set on text from which the extractor had removed repeated segments (trafilatura with `deduplicate=True`).
Captions, pull quotes and teasers that stand twice on a page would else drop the article around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from pipelines.errors import ConfigError
from pipelines.schema import DOCUMENT, set_column


@dataclass(frozen=True, kw_only=True)
class RemoveRepeatedLines:
    """Of equal lines, white space at their ends aside, the first one stays; lines under `min_chars` all stay.

    Adds `num_repeated_lines_removed` (int32). Short lines are left alone because they are cells of tables, verses,
    speakers and options more often than repetition. Blank lines that a removal leaves side by side become one.
    """

    min_chars: int = 15
    version: ClassVar[int] = 1
    adds: ClassVar[tuple[pa.Field, ...]] = (pa.field("num_repeated_lines_removed", pa.int32(), nullable=False),)
    tallies: ClassVar[tuple[str, ...]] = ("num_repeated_lines_removed",)

    def __post_init__(self) -> None:
        if self.min_chars < 1:
            raise ConfigError(f"min_chars = {self.min_chars}: give at least 1, so that blank lines stay")

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Texts that repeat no line are handed on as they are."""
        texts, removed = [], []
        for text in batch.column("text").to_pylist():
            shorter, count = without_repeated_lines(text, min_chars=self.min_chars)
            texts.append(shorter)
            removed.append(count)
        batch = set_column(batch, self.adds[0], pa.array(removed, pa.int32()))
        return set_column(batch, DOCUMENT.field("text"), pa.array(texts, pa.large_string()))


def without_repeated_lines(text: str, *, min_chars: int) -> tuple[str, int]:
    r"""The text and how many lines were removed.

    >>> without_repeated_lines("a long enough line\nb\nb\n\na long enough line \n\nend", min_chars=5)
    ('a long enough line\nb\nb\n\nend', 1)
    """
    lines = text.split("\n")
    stripped = [line.strip() for line in lines]
    if len(set(stripped)) == len(stripped):
        return text, 0
    seen: set[str] = set()
    kept: list[str] = []
    removed = 0
    after_removal = False
    for line, bare in zip(lines, stripped, strict=True):
        if len(bare) >= min_chars and bare in seen:
            removed += 1
            after_removal = True
            continue
        if after_removal and not bare and (not kept or not kept[-1].strip()):
            continue
        seen.add(bare)
        kept.append(line)
        after_removal = after_removal and not bare
    return ("\n".join(kept), removed) if removed else (text, 0)
