"""Substring dedup: documents in; the same documents out, less what earlier ones say token for token (`substring_dedup`).

ExactSubstr of Lee et al. 2022, *Deduplicating Training Data Makes Language Models Better*, by hashes of windows where
they use a suffix array, so that no machine holds the corpus. What is cut, exactly:

- Documents are in the order of `prefer`, then source, then id. Tokens, and when two are equal, are those of
  `kernels.windows`: words with their punctuation; `compare="text"` heeds all but white space, `"words"` the words alone.
- A window is `min_tokens` tokens in a row. It is *repeated* if an equal window comes before it: in an earlier document, or in its
  own without overlapping it. (Overlapping, a run of one word would leave one word of itself; so it leaves `min_tokens`.)
- With `keep_first=False` it is repeated if an equal window lies anywhere, itself apart: all copies go, as in the paper.
- A token that lies in a repeated window is cut. So of all that is said twice one copy stays, though not always in one place.

A document of fewer than `min_tokens` tokens is never changed; exact and near dedup are for those. "Equal" means by 96 bits:
of 10**12 windows two unlike ones are taken for equal with a chance of 6e-6, unless two of their words share a 64-bit hash.
Hashes do not resist one who seeks collisions.

| pass | shards | does | moves, for English text and 50 tokens |
|---|---|---|---|
| `keys` | parts | the least hash of runs of 8 tokens, window by window, each once a part | 0.05 keys a token |
| `shared` | buckets of keys | keys that occur twice, back to their parts | nothing of text that occurs once |
| `items` | parts | 96-bit names of windows of shared keys, equal ones of a part as one | 14 bytes a shared window |
| `stays` | buckets of windows | which windows come first | intervals |
| final | parts | `kept/`, `dropped/`, `signals/`, `spans/` (`makers.substring.rewriting`) | the text |

Keys lose nothing (see `kernels.windows`): an unshared key proves that its windows occur once. Memory of a task is bounded by
`Sizes` and does not depend on the corpus, on how often one text recurs, or on how long a document is (its text apart).

`action="remove"` cuts from the first byte of a span's first token to the last byte of its last and keeps one of the two
stretches of white space around it (`kernels.cutting`); `"mask"` puts `mask` in its place. A document with fewer than
`min_kept_tokens` tokens left is dropped as `all_repeated`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pipelines.artifact import Artifact, Built
from pipelines.errors import ConfigError
from pipelines.kernels.windows import COMPARE, MAX_MIN_TOKENS
from pipelines.makers.keepers import Prefer, check_prefer
from pipelines.makers.outcome import DROPPED_TEXT
from pipelines.makers.substring.items import Windows
from pipelines.makers.substring.rewriting import Cutting, Sizes, cut_repeated, described_rule
from pipelines.passes import Passes

STAGE: Final = "substring_dedup"
ACTIONS: Final = ("remove", "mask")


@dataclass(frozen=True, kw_only=True)
class SubstringDedup:
    """Maker of `dedup_substrings`. Several inputs are deduplicated as one; near duplicates are best removed before.

    `min_tokens` (1 to MAX_MIN_TOKENS; the paper has 50, of its tokenizer) is the shortest span that is cut. `dropped_text`
    (all, sample or none) says whose text `dropped/` stores. Raises ConfigError at construction for what cannot be.
    """

    min_tokens: int = 50
    compare: str = "text"
    action: str = "remove"
    mask: str = "[repeated]"
    keep_first: bool = True
    min_kept_tokens: int = 1
    prefer: Prefer = ()
    dropped_text: str = "sample"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_prefer(self.prefer)
        if not 1 <= self.min_tokens <= MAX_MIN_TOKENS:
            raise ConfigError(f"min_tokens = {self.min_tokens}; a window has 1 to {MAX_MIN_TOKENS} tokens, 50 is usual")
        if self.min_kept_tokens < 0:
            raise ConfigError(f"min_kept_tokens = {self.min_kept_tokens}; give 0 to drop no document, or more")
        for name, value, known in (
            ("compare", self.compare, COMPARE),
            ("action", self.action, ACTIONS),
            ("dropped_text", self.dropped_text, DROPPED_TEXT),
        ):
            if value not in known:
                raise ConfigError(f"{name} = {value!r}; expected one of {', '.join(known)}")
        if self.action == "mask" and not self.mask:
            raise ConfigError("mask is empty, so what is masked would be lost without a trace; use action='remove'")

    def described_rules(self) -> list[dict[str, Any]]:
        """For the manifest: a document is dropped where `is_all_repeated` holds."""
        return [described_rule(STAGE)]

    def make(self, inputs: tuple[Built, ...], passes: Passes) -> None:
        """The passes of the module's table."""
        self.run(inputs, passes, Sizes())

    def run(self, inputs: tuple[Built, ...], passes: Passes, sizes: Sizes) -> None:
        """As `make`, with other bounds on memory."""
        cutting = Cutting(
            name=STAGE,
            size_name="num_tokens",
            mask=self.mask if self.action == "mask" else None,
            tidy=True,
            min_left=self.min_kept_tokens,
            dropped_text=self.dropped_text,
        )
        windows = Windows(min_tokens=self.min_tokens, compare=self.compare, keep_first=self.keep_first)
        cut_repeated(inputs, passes, kind=windows, prefer=self.prefer, cutting=cutting, sizes=sizes)


def dedup_substrings(artifact: Artifact, *more: Artifact, name: str = "", **options: Any) -> Artifact:
    """Describe `artifact` (and `more`, as one) less repeated spans; `options` are the fields of SubstringDedup."""
    return Artifact(
        name=name or f"{artifact.name}-substring", maker=SubstringDedup(**options), inputs=(artifact, *more)
    )
