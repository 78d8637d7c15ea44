"""A mixture on disk, opened for training: `mixture.json` and the token artifacts that it names.

In: the directory of a mixture artifact. Out: components with their sources and weights, and a loader for a seed. A document
whose key is below `held_out` x 2**64 is never read by the loader.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import InputError
from pipelines.tokens import Component, MixtureLoader, TokenSource

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class OpenMixture:
    """What `mixture.json` says, with its sources open. `held_out` is the share of documents kept back by hash."""

    directory: Path
    sequence_length: int
    seed: int | None
    held_out: float
    components: tuple[Component, ...]

    @property
    def vocab_size(self) -> int:
        """Of the one tokenizer of all components."""
        return self.components[0].source.vocab_size

    @property
    def tokenizer(self) -> str:
        """The tokenizer's fingerprint."""
        return self.components[0].source.tokenizer

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text a trained token stands for, on average over the weights; an estimate for live figures."""
        weight = sum(part.weight for part in self.components)
        rates = (
            part.weight * part.source.num_bytes / max(1, sum(int(s["num_tokens"]) for s in part.source.shards))
            for part in self.components
        )
        return sum(rates) / weight if weight else 0.0

    def loader(self, seed: int = 0) -> MixtureLoader:
        """The order of sequences of run `seed`. Run 0 has the mixture's own order, every other starts elsewhere."""
        return MixtureLoader(
            self.components, sequence_length=self.sequence_length, seed=loader_seed(self.seed, seed)
        )  # fmt: skip


def loader_seed(mixture_seed: int | None, run_seed: int) -> int | None:
    """The loader's seed of a run; another run, another order of documents, the same over mixtures of equal seed."""
    if run_seed == 0:
        return mixture_seed
    digest = hashlib.sha256(f"smoke\x00{mixture_seed}\x00{run_seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def open_mixture(directory: str | Path) -> OpenMixture:
    """Open the mixture in `directory`. InputError naming the file for anything missing or damaged."""
    folder = Path(directory)
    record = _read(folder / "mixture.json")
    try:
        components = tuple(
            Component(
                name=str(entry["name"]),
                source=TokenSource(folder / entry["directory"], held_out=float(record["held_out"])),
                weight=float(entry["planned_tokens"]),
            )
            for entry in record["components"]
        )
        opened = OpenMixture(
            directory=folder,
            sequence_length=int(record["sequence_length"]),
            seed=None if record["seed"] is None else int(record["seed"]),
            held_out=float(record["held_out"]),
            components=components,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / 'mixture.json'}: not as a mixture should be ({type(error).__name__}: {error}); mix again"
        ) from error
    if not components:
        raise InputError(f"{folder / 'mixture.json'}: a mixture without components; mix again")
    opened.loader()  # refuses different tokenizers, empty sources and impossible weights
    return opened


def _read(path: Path) -> dict[str, Any]:
    try:
        mixture = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: no mixture here ({error.strerror}); make one with mix") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); mix again") from error
    if not isinstance(mixture, dict) or mixture.get("format") != FORMAT:
        raise InputError(f"{path}: not a mixture of format {FORMAT}; mix again")
    return mixture
