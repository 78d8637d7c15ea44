"""fastText model files written by hand, byte for byte: training a tiny model ends in NaN now and then."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

SUPERVISED, SKIPGRAM = 3, 2
SOFTMAX = 3


def write_model(path: Path, words: dict[str, tuple[str, ...]], *, kind: int = SUPERVISED, scale: float = 20.0) -> str:
    """A model that knows the words of each label, `{"ceb_Latn": ("ang", "mga")}`, and nothing else; returns its path.

    The vector of a word is 1 at its label's place; outputs are `scale` times that, so that one known word is enough.
    The format is version 12 of fastText's `.bin`: arguments, dictionary, input matrix, output matrix.
    """
    known = [(word, place) for place, own in enumerate(words.values()) for word in own]
    dim = len(words)
    content = struct.pack("<2i", 793712314, 12)
    # dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate, t
    content += struct.pack("<12id", dim, 5, 1, 1, 5, 1, SOFTMAX, kind, 0, 0, 0, 100, 1e-4)
    content += struct.pack("<3i2q", len(known) + dim, len(known), dim, len(known), -1)
    for word, _ in known:
        content += word.encode() + b"\0" + struct.pack("<qb", 1, 0)
    for label in words:
        content += b"__label__" + label.encode() + b"\0" + struct.pack("<qb", 1, 1)
    inputs = np.zeros((len(known), dim), "<f4")
    inputs[np.arange(len(known)), [place for _, place in known]] = 1
    for matrix in (inputs, scale * np.eye(dim, dtype="<f4")):
        content += struct.pack("<?2q", False, *matrix.shape) + matrix.astype("<f4").tobytes()
    path.write_bytes(content)
    return str(path)
