"""Write `case_folding.npy` from the running Python: `python3.11 -m pipelines.kernels.generate_case_folding`.

Needs no rerun for a newer Python: Unicode's stability policy freezes the folding of every assigned character.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.errors import ConfigError
from pipelines.kernels.case_folding import UNICODE_VERSION


def fold(character: str) -> str:
    """Simple folding (statuses C and S of CaseFolding.txt): one character to one character."""
    folded = character.casefold()
    if len(folded) != 1:
        folded = character.lower()
    return folded if len(folded) == 1 else character


def generate() -> npt.NDArray[np.uint32]:
    """Pairs of a code point and what it folds to, where they differ: uint32 [num_pairs, 2].

    Raises ConfigError where the running Python knows another Unicode version.
    """
    if unicodedata.unidata_version != UNICODE_VERSION:
        raise ConfigError(
            f"this Python knows Unicode {unicodedata.unidata_version}, the table is {UNICODE_VERSION}; run Python 3.11"
        )
    every = (c for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    return np.array([(c, ord(fold(chr(c)))) for c in every if fold(chr(c)) != chr(c)], np.uint32)


if __name__ == "__main__":
    np.save(Path(__file__).with_name("case_folding.npy"), generate(), allow_pickle=False)
