"""The deterministic loader: packs several token sources into one global order of sequences. Numpy only.

Nothing is merged or shuffled beforehand: every source is read sequentially with its own cursor and wraps into
epochs at its own pace, and the weights choose only which source the next sequence comes from (Falcon-H1's loader,
arXiv 2507.22448). 100% utilization: no padding; a document that does not fit goes on in its source's next sequence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.errors import ConfigError, InputError
from pipelines.tokens.shards import TokenSource

STATE_FORMAT = 1
WEIGHT_UNITS = 1 << 40
"""Weights are apportioned to integers of this sum, so that the order of sources never hangs on floating point."""


class Span(NamedTuple):
    """Tokens `start:stop` of one document. `document` is its ordinal in the source, over all shards."""

    source: str
    document: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Component:
    """A source in a mixture. `weight` is its share of *tokens*, relative to the other components' weights."""

    name: str
    source: TokenSource
    weight: float


@dataclass(frozen=True, kw_only=True)
class PackedSequence:
    """One packed training sequence of L tokens: full, documents contiguous.

    `tokens` int64 [L + 1]; `inputs` and `targets` are its two views of L. `seq_idx` int32 [L]: index of the input's
    document within the sequence. `position_ids` int32 [L]: restart at 0 with each document (and with the sequence: a
    document that was cut begins anew, since no state is carried over). `loss_mask` bool [L]: False where the
    target opens another document, which nothing before it could tell.
    """

    index: int
    component: int
    tokens: npt.NDArray[np.int64]
    seq_idx: npt.NDArray[np.int32]
    position_ids: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.bool_]
    spans: tuple[Span, ...]

    @property
    def inputs(self) -> npt.NDArray[np.int64]:
        """Tokens 0 to L - 1."""
        return self.tokens[:-1]

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Tokens 1 to L."""
        return self.tokens[1:]


class MixtureLoader:
    """The global order of packed sequences over several sources: a function of weights, length and seed alone.

    Sequence n comes from the component whose deficit (weight x sequences so far - its own sequences) is largest, the
    first listed among equals. A component's sequences advance its cursor by `sequence_length` and read one token more,
    so that each token of an epoch is the target of exactly one sequence. `reweight` starts a new
    count of deficits and touches no cursor. Ranks share the order: each takes its part of every global batch.

    `seed` None starts every source at its first document; an integer starts each at a document of its own.
    """

    def __init__(self, components: Sequence[Component], *, sequence_length: int, seed: int | None = None) -> None:
        if sequence_length < 1:
            raise ConfigError(f"sequence_length = {sequence_length}: give at least 1 token")
        names = [component.name for component in components]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"components {names}: give at least one, each name once")
        vocabularies = {
            component.name: (component.source.tokenizer, component.source.vocab_size) for component in components
        }
        if len(set(vocabularies.values())) > 1:
            raise ConfigError(f"components were made by different tokenizers: {vocabularies}; tokenize them with one")
        self.components, self.sequence_length, self.seed = tuple(components), sequence_length, seed
        self.sequence = 0
        self._cursors = [_first_cursor(component, seed) for component in components]
        self._units = _weight_units(components, {component.name: component.weight for component in components})
        self._credits = [0] * len(components)
        self._starts = list(self._cursors)
        self._history: list[tuple[int, list[int], list[int]]] = [(0, self._units, list(self._cursors))]

    def reweight(self, weights: Mapping[str, float]) -> None:
        """From the next sequence on, use these weights; every component is named. No source's order changes."""
        self._units = _weight_units(self.components, weights)
        self._credits = [0] * len(self.components)
        self._history.append((self.sequence, self._units, list(self._cursors)))

    def next_sequence(self) -> PackedSequence:
        """The next sequence of the global order."""
        chosen, cursor = self._advance()
        return self._pack(self.sequence - 1, chosen, cursor)

    def next_batch(self, batch_size: int, *, rank: int = 0, num_ranks: int = 1) -> list[PackedSequence]:
        """This rank's part of the next `batch_size` sequences of the global order: rank r of R has the r-th of R parts.

        Every rank moves by the whole batch, so states are equal on all ranks, and a run may change their number.
        """
        if batch_size < 1 or batch_size % num_ranks or not 0 <= rank < num_ranks:
            raise ConfigError(f"batch_size = {batch_size} for rank {rank} of {num_ranks}: give a multiple of the ranks")
        part = batch_size // num_ranks
        chosen = [(self.sequence, *self._advance()) for _ in range(batch_size)]
        return [self._pack(*entry) for entry in chosen[rank * part : (rank + 1) * part]]

    def epochs(self) -> dict[str, float]:
        """How often each source has been read so far."""
        return {
            component.name: (cursor - start) / component.source.num_tokens if component.source.num_tokens else 0.0
            for component, cursor, start in zip(self.components, self._cursors, self._starts, strict=True)
        }

    def trace(self, sequence: int) -> tuple[Span, ...]:
        """Which documents a sequence is made of: from a loss spike back to its pages. Costs a replay of the order."""
        if sequence < 0:
            raise ConfigError(f"sequence {sequence}: give 0 or more")
        start, units, cursors = next(entry for entry in reversed(self._history) if entry[0] <= sequence)
        replay = MixtureLoader(self.components, sequence_length=self.sequence_length, seed=self.seed)
        replay.sequence, replay._units, replay._cursors = start, units, list(cursors)
        chosen, cursor = replay._advance()
        for _ in range(sequence - start):
            chosen, cursor = replay._advance()
        return self._pack(sequence, chosen, cursor).spans

    def state(self) -> dict[str, Any]:
        """All that a later `from_state` needs, as JSON."""
        return {
            "format": STATE_FORMAT,
            "sequence": self.sequence,
            "sequence_length": self.sequence_length,
            "seed": self.seed,
            "components": [
                {"name": c.name, "fingerprint": c.source.fingerprint, "held_out": c.source.held_out}
                for c in self.components
            ],
            "cursors": list(self._cursors),
            "starts": list(self._starts),
            "credits": list(self._credits),
            "history": [{"sequence": n, "units": list(units), "cursors": list(c)} for n, units, c in self._history],
        }

    @classmethod
    def from_state(cls, components: Sequence[Component], state: Mapping[str, Any]) -> MixtureLoader:
        """Go on where `state` was taken. Weights come from the state; raises InputError where the sources differ."""
        if state.get("format") != STATE_FORMAT:
            raise InputError(
                f"loader state of format {state.get('format')!r}, this version of eyas reads {STATE_FORMAT}"
            )
        found = [
            {"name": c.name, "fingerprint": c.source.fingerprint, "held_out": c.source.held_out} for c in components
        ]
        if found != state["components"]:
            raise InputError(f"the state was taken over {state['components']}, these components are {found}")
        loader = cls(components, sequence_length=int(state["sequence_length"]), seed=state["seed"])
        loader.sequence = int(state["sequence"])
        loader._cursors, loader._credits = list(state["cursors"]), list(state["credits"])
        loader._starts = list(state["starts"])
        loader._history = [(int(h["sequence"]), list(h["units"]), list(h["cursors"])) for h in state["history"]]
        loader._units = loader._history[-1][1]
        return loader

    def _advance(self) -> tuple[int, int]:
        """Choose the component of the next sequence; return it and the cursor its sequence starts at."""
        for position, units in enumerate(self._units):
            self._credits[position] += units
        chosen = max((p for p, units in enumerate(self._units) if units), key=self._credits.__getitem__)
        self._credits[chosen] -= WEIGHT_UNITS
        cursor = self._cursors[chosen]
        self._cursors[chosen] = cursor + self.sequence_length
        self.sequence += 1
        return chosen, cursor

    def _pack(self, sequence: int, chosen: int, cursor: int) -> PackedSequence:
        component = self.components[chosen]
        tokens, spans = component.source.read(cursor, self.sequence_length + 1)
        sizes = [stop - start for _, start, stop in spans]
        document = np.repeat(np.arange(len(spans), dtype=np.int32), sizes)
        first = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
        return PackedSequence(
            index=sequence,
            component=chosen,
            tokens=tokens,
            seq_idx=document[:-1],
            position_ids=(np.arange(tokens.size) - first).astype(np.int32)[:-1],
            loss_mask=document[1:] == document[:-1],
            spans=tuple(Span(component.name, *span) for span in spans),
        )


def _first_cursor(component: Component, seed: int | None) -> int:
    """0, or with a seed the first token of the document that a hash of seed and name falls into."""
    if seed is None or not component.source.num_tokens:
        return 0
    digest = hashlib.sha256(f"loader\x00{seed}\x00{component.name}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") % component.source.num_tokens
    _, ((_, start, _),) = component.source.read(position, 1)
    return position - start


def _weight_units(components: Sequence[Component], weights: Mapping[str, float]) -> list[int]:
    """Integers proportional to `weights` that sum to WEIGHT_UNITS (largest remainders)."""
    names = [component.name for component in components]
    if set(weights) != set(names):
        raise ConfigError(f"weights name {sorted(weights)}, the components are {sorted(names)}")
    for component in components:
        weight = weights[component.name]
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"component {component.name!r}: weight {weight}; give a finite number of at least 0")
        if weight and not component.source.num_tokens:
            raise InputError(
                f"component {component.name!r}: weight {weight}, but {component.source.directory} has no tokens"
            )
    total = sum(float(weights[name]) for name in names)
    if not 0 < total < float("inf"):
        raise ConfigError(f"the weights {dict(weights)} sum to {total}; give at least one above 0")
    exact = [float(weights[name]) / total * WEIGHT_UNITS for name in names]
    units = [int(value) for value in exact]
    by_remainder = sorted(range(len(names)), key=lambda p: (units[p] - exact[p], p))
    for position in range(WEIGHT_UNITS - sum(units)):
        units[by_remainder[position % len(names)]] += 1
    return units
