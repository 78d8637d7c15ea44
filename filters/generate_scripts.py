"""Write `scripts.npz`, the Unicode script of every letter: `python -m filters.generate_scripts`.

Letters are general categories L*; names are ISO 15924 codes, as Unicode's PropertyValueAliases.txt gives them. The
Unicode version is that of the `regex` release that `unicode_classes.npy` is made with; another release is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped,unused-ignore]
from regex import _regex_core  # type: ignore[attr-defined,unused-ignore]

from pipelines.errors import ConfigError
from pipelines.kernels.generate_unicode_classes import GENERATED_WITH
from pipelines.kernels.unicode_classes import NUM_CODE_POINTS

NO_SCRIPT = ("Zyyy", "Zinh", "Zzzz", "Qaai")
"""Common, inherited, unknown: letters that belong to no script, such as mathematical bold."""


def generate() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bytes_]]:
    """Runs of one script, uint32 [num_runs]: first code point * 256 + script; names, S4 [num_scripts], "Zyyy" first.

    Raises ConfigError for another `regex` than the one the other Unicode table is made with.
    """
    if regex.__version__ != GENERATED_WITH["regex"]:
        raise ConfigError(f"regex {regex.__version__}: the script table is made with {GENERATED_WITH}")
    aliases = _regex_core.PROPERTIES["SCRIPT"][1]
    codes = sorted(name.capitalize() for name in aliases if len(name) == 4)
    everything = "".join(chr(c) for c in range(NUM_CODE_POINTS) if not 0xD800 <= c < 0xE000)
    names, seen = ["Zyyy"], np.zeros(NUM_CODE_POINTS, np.uint32)
    for code in codes:
        letters = [ord(m.group()) for m in regex.finditer(rf"(?=\p{{L}})\p{{Script={code}}}", everything)]
        # a second alias of a script (Qaac for Copt) finds letters that are taken; a script without letters finds none
        if code in NO_SCRIPT or not letters or seen[letters].any():
            continue
        seen[letters] = len(names)
        names.append(code)
    starts = np.flatnonzero(np.diff(seen, prepend=~seen[:1]))
    return np.asarray(starts.astype(np.uint32) << 8 | seen[starts], np.uint32), np.array(names, "S4")


def main() -> None:
    """Write the table beside this module."""
    runs, names = generate()
    np.savez(Path(__file__).with_name("scripts.npz"), runs=runs, names=names)


if __name__ == "__main__":
    main()
