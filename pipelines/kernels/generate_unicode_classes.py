"""Write `unicode_classes.npy` from the properties of the `regex` package: `python -m pipelines.kernels.generate_unicode_classes`.

The Unicode version is that of the `regex` release named below; another release is refused, so that the table changes
only when somebody means it to (raise `UNICODE_VERSION`, the version of the statistics, and regenerate the golden files).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped,unused-ignore]

from pipelines.errors import ConfigError
from pipelines.kernels.unicode_classes import (
    ALPHA,
    BREAK,
    DIGIT,
    MARK,
    NUM_CODE_POINTS,
    SINGLE,
    SPACE,
    TERMINAL,
    UNICODE_VERSION,
    WORD,
)

# https://pypi.org/project/regex/2026.11.15 says: "This module supports Unicode 18.0.0."
GENERATED_WITH = {"regex": "2026.11.15", "unicode": "18.0.0"}

PROPERTIES = (
    (WORD, r"[\p{L}\p{N}\p{M}]"),
    (ALPHA, r"\p{L}"),
    # U+30FC U+FF70 U+FF9E U+FF9F are sound marks of the script Common that stand between kana like letters
    (SINGLE, r"(?=[\p{L}\p{N}])[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\uff70\uff9e\uff9f]"),
    (SPACE, r"[\p{White_Space}\x1c-\x1f]"),
    (BREAK, r"[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]"),
    (TERMINAL, r"[\p{Sentence_Terminal}\u17d6\u17d9\u17da]"),
    (MARK, r"\p{M}"),
    (DIGIT, r"\p{Nd}"),
)


def generate() -> npt.NDArray[np.uint32]:
    """Runs of equal flags: uint32 [num_runs], first code point * 256 + flags.

    Raises ConfigError for another `regex` or Unicode version.
    """
    if (regex.__version__, UNICODE_VERSION) != (GENERATED_WITH["regex"], GENERATED_WITH["unicode"]):
        raise ConfigError(
            f"regex {regex.__version__} with UNICODE_VERSION {UNICODE_VERSION}: the class table is made with "
            f"{GENERATED_WITH}; change GENERATED_WITH when the table is meant to change"
        )
    everything = "".join(chr(c) for c in range(NUM_CODE_POINTS) if not 0xD800 <= c < 0xE000)
    flags = np.zeros(NUM_CODE_POINTS, np.uint32)
    for flag, pattern in PROPERTIES:
        found = [ord(match.group()) for match in regex.finditer(pattern, everything)]
        flags[found] |= flag
    starts = np.flatnonzero(np.diff(flags, prepend=~flags[:1]))
    return np.asarray(starts.astype(np.uint32) << 8 | flags[starts], np.uint32)


def main() -> None:
    """Write the table beside this module."""
    np.save(Path(__file__).with_name("unicode_classes.npy"), generate(), allow_pickle=False)


if __name__ == "__main__":
    main()
