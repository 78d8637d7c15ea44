"""Mixtures of a small made-up language, some with a share of their documents' words shuffled: effects of known direction.

Every word is two tokens; which word follows which is a Markov chain of few, uneven choices, so that there is something to
learn from the order of words and shuffling destroys just that.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from model_smoke.config import SIZES, FalconH1Config
from model_smoke.training import TrainOptions
from pipelines.tokens import document_key
from tests.token_shards import EOS, write_token_shards

VOCAB = 64
FIRST_ID = 20
NUM_WORDS = 40
SEQUENCE_LENGTH = 64
HELD_OUT = 0.2
DOMAINS = ("stories", "manuals")
CONFIG: FalconH1Config = dataclasses.replace(
    SIZES["tiny"], vocab_size=VOCAB, num_layers=1, hidden_size=32, num_heads=1, ssm_heads=2, mlp_size=64
)
OPTIONS = TrainOptions(steps=40, batch_size=4)


def write_mixture(folder: Path, *, shuffled: float, num_documents: int = 150) -> Path:
    """A mixture of two domains below `folder`, in which a share of the documents is shuffled by word; returns its directory.

    Which documents these are hangs on their key, and apart from order all documents are the same at every share.
    """
    components = []
    for domain in DOMAINS:
        documents = _documents(domain, num_documents, shuffled)
        sizes = [len(document) for document in documents]
        directory = write_token_shards(folder / domain / "t", [sizes], source=domain, vocab_size=VOCAB)
        np.save(directory / "tokens" / "s0.npy", np.concatenate(documents).astype("<u2"))
        components.append({"name": domain, "directory": f"../../{domain}/t", "planned_tokens": 1})
    record = {
        "format": 1, "sequence_length": SEQUENCE_LENGTH, "seed": 0, "held_out": HELD_OUT, "components": components
    }  # fmt: skip
    made = folder / "mixture" / "m"
    made.mkdir(parents=True)
    (made / "mixture.json").write_text(json.dumps(record))
    return made


def _documents(domain: str, number: int, shuffled: float) -> list[np.ndarray]:
    random = np.random.default_rng([DOMAINS.index(domain), 1])
    spelling = random.integers(FIRST_ID, VOCAB, (NUM_WORDS, 2))
    followers = np.array([random.permutation(NUM_WORDS)[:4] for _ in range(NUM_WORDS)])
    made = []
    for row in range(number):
        word, words = int(random.integers(NUM_WORDS)), []
        for _ in range(int(random.integers(15, 40))):
            words.append(word)
            word = int(followers[word, random.choice(4, p=[0.7, 0.15, 0.1, 0.05])])
        order = np.random.default_rng([DOMAINS.index(domain), 2, row]).permutation(len(words))
        # another part of the key than the one that holds documents out, so that the two choices are independent
        if document_key(domain, f"s0/{row}") % 1000 < 1000 * shuffled:
            words = [words[position] for position in order]
        made.append(np.concatenate([spelling[words].ravel(), [EOS]]))
    return made
