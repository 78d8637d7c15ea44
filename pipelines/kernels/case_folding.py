"""Simple case folding, one code point to one code point, from a stored table: never from the running Python.

The table is Unicode `UNICODE_VERSION`, statuses C and S of CaseFolding.txt; `generate_case_folding.py` writes it.
Foldings that change the length (`ß` to `ss`) are left out, so a folded text has as many characters as the text.

>>> table = folding_table()
>>> "".join(chr(table[ord(c)]) for c in "STRASSE Straße ΣΊΣΥΦΟΣ Ж 漢")
'strasse straße σίσυφοσ ж 漢'
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

UNICODE_VERSION: Final = "14.0.0"
"""Later versions add cased letters and change none: case folding is covered by Unicode's stability policy."""


@cache
def folding_table() -> npt.NDArray[np.uint32]:
    """What every code point folds to: uint32 [0x110000], read-only, shared by all callers of this process."""
    table = np.arange(0x110000, dtype=np.uint32)
    pairs = np.load(Path(__file__).with_name("case_folding.npy"), allow_pickle=False)
    table[pairs[:, 0]] = pairs[:, 1]
    table.setflags(write=False)
    return table
