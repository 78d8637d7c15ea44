"""Pre-tokenizers: one named split, as a regular expression for HF `tokenizers` and as a Numba scan of UTF-8 bytes.

A text is cut into pre-tokens, and merges never cross a cut. The Falcon-H1 design (arXiv 2507.22448) splits digits
singly *and* punctuation; compression gets worse by it, code and math get better. Here it is the default, `both`:

>>> cuts("x\\\\in A, 12", split_pattern("both"))
['x', '\\\\in', ' A', ',', ' ', '1', '2']
>>> cuts("f(x)  == 12", split_pattern("none"))
['f', '(', 'x', ')', ' ', ' ==', ' 12']

| name | digits | punctuation |
|---|---|---|
| `none` (`none_contiguous`) | runs, with the space before | runs, with the space before |
| `digits` (`digits_contiguous`) | single | runs, with the space before |
| `punctuation`, `punctuation_contiguous` | runs, with the space before | single; runs |
| `both`, `both_contiguous` | single | single; runs |

Six of the eight differ: where punctuation is not split from the spaces before it, it stands in runs anyway, and the names
in parentheses mean the pattern beside them. docs/tokenizers.md has the evidence for each.

In all of them: letters and marks run together with the one space before them; a LaTeX command `\\name` is whole; a run
of white space stays together but for a last space that the next pre-token takes. Letters, marks and numbers are written
out in the expression as ranges of the project's one Unicode table: `\\p{L}` would follow the Unicode version of
whichever engine runs it (17,559 code points differ between `tokenizers` 0.23.3 and that table).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from pipelines.errors import ConfigError
from pipelines.kernels.unicode_classes import ALPHA, MARK, SPACE, WORD, class_table

OTHER, LETTER, NUMBER, WHITE = 0, 1, 2, 3
BACKSLASH, BLANK = 92, 32
Array = npt.NDArray[Any]
Int = Any  # an integer, as Numba types it


@dataclass(frozen=True, kw_only=True)
class SplitPattern:
    """What is cut. `contiguous` keeps runs of punctuation together where `punctuation` splits it from the rest.

    Without `punctuation` it changes nothing.
    """

    digits: bool = True
    punctuation: bool = True
    contiguous: bool = False
    latex_commands: bool = True

    @property
    def regex(self) -> str:
        """The expression whose matches are the pre-tokens: `Split(Regex(...), "isolated")` of HF `tokenizers`."""
        letters, numbers = _character_ranges()
        command = r"\\[A-Za-z]+|" if self.latex_commands else ""
        number = f"[{numbers}]" if self.digits else f" ?[{numbers}]+"
        one = rf"[^\s{letters}{numbers}]"
        # Only the last backslash of a run can begin a command, so one step back is all it takes. An alternation inside
        # the repeat would try again at every backslash, and the engine gives up, by a panic, after 10 million of these.
        run = rf"{one}+(?:(?<!\\)|(?![A-Za-z]))" if self.latex_commands else f"{one}+"
        mark = f" ?{run}" if not self.punctuation else run if self.contiguous else one
        return rf"{command} ?[{letters}]+|{number}|{mark}|\s+(?!\S)|\s+"

    @property
    def flags(self) -> int:
        """The fields as the kernel takes them."""
        return self.digits | self.punctuation << 1 | self.contiguous << 2 | self.latex_commands << 3


NAMED = {
    "none": SplitPattern(digits=False, punctuation=False),
    "digits": SplitPattern(punctuation=False),
    "punctuation": SplitPattern(digits=False),
    "punctuation_contiguous": SplitPattern(digits=False, contiguous=True),
    "both": SplitPattern(),
    "both_contiguous": SplitPattern(contiguous=True),
}

"""The patterns that differ from one another: what an ablation compares."""
SAME = {"none_contiguous": "none", "digits_contiguous": "digits"}


def split_pattern(name: str) -> SplitPattern:
    """The pattern of that name. Raises ConfigError for another."""
    found = SAME.get(name, name)
    if found not in NAMED:
        raise ConfigError(f"unknown split pattern {name!r}; expected one of {', '.join(NAMED)}")
    return NAMED[found]


@cache
def split_classes() -> npt.NDArray[np.uint8]:
    """OTHER, LETTER (marks too), NUMBER or WHITE of every code point: uint8 [0x110000], read-only.

    WHITE is White_Space, what `\\s` of the engines matches: without U+001C to U+001F, which `str.isspace` adds.
    """
    flags = class_table()
    letter = (flags & (ALPHA | MARK)) != 0
    classes = np.where(letter, LETTER, np.where((flags & WORD) != 0, NUMBER, OTHER)).astype(np.uint8)
    classes[(flags & SPACE) != 0] = WHITE
    classes[0x1C:0x20] = OTHER
    classes.setflags(write=False)
    return classes


@cache
def _character_ranges() -> tuple[str, str]:
    """Letters with marks, and numbers, as the inside of a bracket expression, spelled in plain characters."""
    classes = split_classes()
    spelled = []
    for kind in (LETTER, NUMBER):
        edges = np.flatnonzero(np.diff((classes == kind).astype(np.int8), prepend=0, append=0))
        pairs = zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)
        spelled.append("".join(chr(a) if a == b else f"{chr(a)}-{chr(b)}" for a, b in pairs))
    return spelled[0], spelled[1]


def cuts(text: str, pattern: SplitPattern) -> list[str]:
    """The pre-tokens of one text, by the kernel."""
    content = text.encode()
    ends = [0, *cut_ends(np.frombuffer(content, np.uint8), pattern).tolist()]
    return [content[start:stop].decode() for start, stop in itertools.pairwise(ends)]


def cut_ends(content: npt.NDArray[np.uint8], pattern: SplitPattern) -> npt.NDArray[np.int64]:
    """Byte offsets where the pre-tokens of `content`, which must be UTF-8, end; the last is its size."""
    return np.asarray(_all_cuts(content, split_classes(), pattern.flags))


@njit(cache=True, nogil=True)
def _decode(content: Array, i: Int) -> tuple[Int, Int]:
    """Code point at byte i of valid UTF-8, and its length in bytes."""
    b = np.int64(content[i])
    if b < 0x80:
        return b, 1
    if b < 0xE0:
        return ((b & 31) << 6) | (content[i + 1] & 63), 2
    if b < 0xF0:
        return ((b & 15) << 12) | ((content[i + 1] & 63) << 6) | (content[i + 2] & 63), 3
    c = ((b & 7) << 18) | ((content[i + 1] & 63) << 12)
    return c | ((content[i + 2] & 63) << 6) | (content[i + 3] & 63), 4


@njit(cache=True, nogil=True)
def _is_command(content: Array, i: Int, stop: Int) -> Any:
    """Whether byte i is a backslash with an ASCII letter after it."""
    if content[i] != BACKSLASH or i + 1 >= stop:
        return False
    b = content[i + 1] | 32
    return 97 <= b <= 122


@njit(cache=True, nogil=True)
def run_end(content: Array, classes: Array, i: Int, stop: Int, kind: Int, commands: bool) -> Int:
    """End of the run of characters of class `kind` from byte i; with `commands`, one of OTHER ends before a command."""
    while i < stop:
        if content[i] < 128:
            if classes[content[i]] != kind or (commands and kind == OTHER and _is_command(content, i, stop)):
                return i
            i += 1
        else:
            point, size = _decode(content, i)
            if classes[point] != kind:
                return i
            i += size
    return i


@njit(cache=True, nogil=True)
def next_cut(content: Array, classes: Array, i: Int, stop: Int, flags: Int) -> Int:
    """End of the pre-token that starts at byte i < stop: `content` is uint8, valid UTF-8 up to `stop`."""
    digits, punctuation, contiguous, commands = flags & 1, flags & 2, flags & 4, (flags & 8) != 0
    point, size = _decode(content, i)
    kind = classes[point]
    if kind == LETTER:
        return run_end(content, classes, i + size, stop, LETTER, commands)
    if kind == NUMBER:
        return i + size if digits else run_end(content, classes, i + size, stop, NUMBER, commands)
    if kind == OTHER:
        if commands and _is_command(content, i, stop):
            i += 2
            while i < stop and 97 <= (content[i] | 32) <= 122:
                i += 1
            return i
        return (
            i + size if punctuation and not contiguous else run_end(content, classes, i + size, stop, OTHER, commands)
        )
    last, end = i, i + size
    following, width = point, size
    while end < stop:
        following, width = _decode(content, end)
        if classes[following] != WHITE:
            break
        last = end
        end += width
    if end >= stop:
        return end
    if last > i:
        return last
    after = classes[following]
    takes_blank = after == LETTER or (after == NUMBER and not digits)
    if after == OTHER and not punctuation:
        takes_blank = not (commands and _is_command(content, end, stop))
    if content[i] == BLANK and takes_blank:
        return run_end(content, classes, end + width, stop, after, commands)
    return end


@njit(cache=True, nogil=True)
def _all_cuts(content: Array, classes: Array, flags: Int) -> Array:
    """The ends of all pre-tokens: int64. Counted first, so that nothing is grown."""
    ends = np.empty(0, np.int64)
    for storing in range(2):
        n = i = 0
        while i < content.size:
            i = next_cut(content, classes, i, content.size, flags)
            if storing:
                ends[n] = i
            n += 1
        if not storing:
            ends = np.empty(n, np.int64)
    return ends
