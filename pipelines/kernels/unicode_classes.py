"""Classes of code points, from one generated and versioned table: never from the running Python's `unicodedata`.

`class_table()` gives one byte of flags for each of the 0x110000 code points. Python 3.11 knows Unicode 14 and 3.12
knows Unicode 15; the table is Unicode `UNICODE_VERSION` on both, so counts and fingerprints agree. It is stored run by
run in `unicode_classes.npy` (uint32 [num_runs]: first code point * 256 + flags); `generate_unicode_classes.py` writes it.

A *word*, wherever eyas counts words, is a longest run of letters, numbers and marks (general categories L, N, M),
except that a character of Han, Hiragana or Katakana (`SINGLE`) is a word of its own, with the marks that follow it:

>>> import numpy as np
>>> flags = class_table()[[ord(c) for c in "a1 漢"]]
>>> [bool(f & WORD) for f in flags], bool(flags[3] & SINGLE), bool(flags[1] & ALPHA)
([True, True, False, True], True, False)

Thai, Lao, Khmer and Burmese write no spaces: there a run of letters is one "word", since no dictionary is used.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

UNICODE_VERSION: Final = "18.0.0"

WORD: Final = 1
"""Letters, numbers, marks: general categories L*, N*, M*."""
ALPHA: Final = 2
"""Letters (L*), what `str.isalpha` says; implies WORD."""
SINGLE: Final = 4
"""A word by itself: WORD but not MARK, script Han, Hiragana or Katakana (and the shared prolonged sound marks)."""
SPACE: Final = 8
"""What `str.isspace` says: White_Space and U+001C to U+001F."""
BREAK: Final = 16
"""What `str.splitlines` breaks at: LF VT FF CR U+001C U+001D U+001E U+0085 U+2028 U+2029; implies SPACE."""
TERMINAL: Final = 32
"""Ends a sentence: Sentence_Terminal, and U+17D6 U+17D9 U+17DA, which FineWeb's list has beside it."""
MARK: Final = 64
"""Combining marks (M*); implies WORD."""
DIGIT: Final = 128
"""Decimal digits (Nd), what `\\d` of `re` matches; implies WORD."""

NUM_CODE_POINTS: Final = 0x110000


@cache
def class_table() -> npt.NDArray[np.uint8]:
    """Flags of every code point: uint8 [0x110000], read-only, shared by all callers of this process."""
    runs = np.load(Path(__file__).with_name("unicode_classes.npy"), allow_pickle=False)
    lengths = np.diff(np.append(runs >> 8, NUM_CODE_POINTS))
    table = np.repeat((runs & 255).astype(np.uint8), lengths)
    table.setflags(write=False)
    return table
