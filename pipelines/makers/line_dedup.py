"""Line dedup: documents in; the same documents out, less lines or paragraphs that earlier ones have (`line_dedup`).

After CCNet (Wenzek et al. 2020, section 3.2), which compares every paragraph of a shard, normalized, and keeps the first. Here
the whole input is compared, and "first" does not depend on files: documents are in the order of `prefer`, then source, then
id. A unit (`kernels.units` says what a line and a paragraph are, and when two are equal) is *repeated*, and cut with its line
end, if

- it stands in its own document before, or
- `max_documents` earlier documents have it.

Units of which nothing is compared are never cut: blank lines, and with `normalize="ccnet"` lines of punctuation alone; nor are
those of fewer than `min_characters` compared characters. A document that is cut and has no unit left in which anything is
compared is dropped as `all_repeated`. Where the end of a text is cut, the line end before it stays.

Passes are those of substring dedup, each unit its own key: only units that occur twice go further than a 64-bit hash.
96 bits decide; `ccnet` compares no symbols, so that `x + y` and `x - y` are one line: give math and code `"whitespace"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pipelines.artifact import Artifact, Built
from pipelines.errors import ConfigError
from pipelines.kernels.units import NORMALIZE, UNITS
from pipelines.makers.keepers import Prefer, check_prefer
from pipelines.makers.outcome import DROPPED_TEXT
from pipelines.makers.substring.items import Units
from pipelines.makers.substring.rewriting import Cutting, Sizes, cut_repeated, described_rule
from pipelines.passes import Passes

STAGE: Final = "line_dedup"


@dataclass(frozen=True, kw_only=True)
class LineDedup:
    """Maker of `dedup_lines`. `unit` is "line" or "paragraph", `normalize` "ccnet" or "whitespace".

    Several inputs are deduplicated as one. `dropped_text` (all, sample or none) says whose text `dropped/` stores.
    Raises ConfigError at construction for what cannot be.
    """

    unit: str = "line"
    normalize: str = "ccnet"
    max_documents: int = 1
    min_characters: int = 1
    prefer: Prefer = ()
    dropped_text: str = "sample"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_prefer(self.prefer)
        for name, value, known in (
            ("unit", self.unit, UNITS),
            ("normalize", self.normalize, NORMALIZE),
            ("dropped_text", self.dropped_text, DROPPED_TEXT),
        ):
            if value not in known:
                raise ConfigError(f"{name} = {value!r}; expected one of {', '.join(known)}")
        for name, number in (("max_documents", self.max_documents), ("min_characters", self.min_characters)):
            if number < 1:
                raise ConfigError(f"{name} = {number}; give 1 or more")

    def described_rules(self) -> list[dict[str, Any]]:
        """For the manifest: a document is dropped where `is_all_repeated` holds."""
        return [described_rule(STAGE)]

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """The passes of `makers.substring`."""
        self.run(inputs, passes, Sizes())

    def run(self, inputs: tuple[Built, ...], passes: Passes, sizes: Sizes) -> None:
        """As `make`, with other bounds on memory."""
        cutting = Cutting(
            name=STAGE, size_name="num_units", mask=None, tidy=False, min_left=1, dropped_text=self.dropped_text
        )
        units = Units(
            unit=self.unit,
            normalize=self.normalize,
            min_characters=self.min_characters,
            max_documents=self.max_documents,
        )
        cut_repeated(inputs, passes, kind=units, prefer=self.prefer, cutting=cutting, sizes=sizes)


def dedup_lines(artifact: Artifact, *more: Artifact, name: str = "", **options: Any) -> Artifact:
    """Describe `artifact` (and `more`, as one) less repeated lines; `options` are the fields of LineDedup."""
    return Artifact(name=name or f"{artifact.name}-lines", maker=LineDedup(**options), inputs=(artifact, *more))
