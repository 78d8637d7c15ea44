"""Which documents judge the runs: read by none of them, the same for all of them.

In: the mixtures to compare and, if one likes, token artifacts to judge by. Out: documents, each with its key, domain, bytes
and the place of its tokens under each tokenizer.

Without artifacts given, they are the documents whose key (sha256 of source and id) is below the *smaller* of the mixtures'
`held_out` shares: neither loader reads those, in whichever component they lie. A document that two mixtures hold in
two versions is left out and counted: either choice would favour one of them. Given artifacts are refused where one of their
documents is trained on. Smallest keys come first, so a larger budget only adds documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from model_smoke.sources import OpenMixture
from pipelines.errors import InputError
from pipelines.tokens import TokenSource, is_held_out

RULE = "the first 8 bytes of sha256(source, NUL, id), as a number, are below held_out x 2**64"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Document `ordinal` of the token artifact in `directory`."""

    directory: str
    ordinal: int
    num_tokens: int


@dataclass(frozen=True, kw_only=True)
class HeldOutDocument:
    """One document to judge by. `places` by the tokenizer's fingerprint; `language` and `name` where somebody filled them in."""

    key: int
    domain: str
    num_bytes: int
    places: Mapping[str, Place]
    language: str | None = None
    name: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The form `from_json` reads."""
        places = {
            tokenizer: {"directory": place.directory, "ordinal": place.ordinal, "num_tokens": place.num_tokens}
            for tokenizer, place in sorted(self.places.items())
        }
        return {
            "key": self.key, "domain": self.domain, "num_bytes": self.num_bytes, "places": places,
            "language": self.language, "name": self.name,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HeldOutDocument:
        """Back from `as_json`."""
        places = {tokenizer: Place(**place) for tokenizer, place in data["places"].items()}
        return cls(**{**data, "places": places})


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """`documents` in order of domain, then key; `left_out` counts the candidates that were not taken, by reason."""

    documents: tuple[HeldOutDocument, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class _Candidate:
    key: int
    domain: str
    num_bytes: int
    places: dict[str, list[tuple[TokenSource, Place]]]


def choose_held_out(
    mixtures: Sequence[OpenMixture], *, max_tokens: int, given: Sequence[tuple[str, TokenSource]] = ()
) -> HeldOut:
    """Documents to judge all `mixtures` by: whole ones, an equal part of `max_tokens` a domain and at least one each.

    `given` are (domain, token artifact), at least one for each tokenizer. Raises InputError where nothing is held out, or
    a given document is trained on.
    """
    wanted = sorted({mixture.tokenizer for mixture in mixtures})
    if given:
        _refuse_overlap(mixtures, given)
        listed = [(domain, source, 1.0) for domain, source in given if source.tokenizer in wanted]
    else:
        share = min(mixture.held_out for mixture in mixtures)
        listed = [(part.name, part.source, share) for mixture in mixtures for part in mixture.components]
    candidates = _gather(listed)
    left_out = {"without_text": 0, "not_in_every_tokenizer": 0, "two_versions": 0, "over_budget": 0}
    domains: dict[str, list[_Candidate]] = {}
    for candidate in sorted(candidates.values(), key=lambda each: each.key):
        if not candidate.num_bytes:
            left_out["without_text"] += 1
        elif sorted(candidate.places) != wanted:
            left_out["not_in_every_tokenizer"] += 1
        else:
            domains.setdefault(candidate.domain, []).append(candidate)
    chosen: list[HeldOutDocument] = []
    for _, members in sorted(domains.items()):
        used, taken = 0, 0
        for candidate in members:
            size = max(found[0][1].num_tokens for found in candidate.places.values())
            if taken and used + size > max_tokens // len(domains):
                left_out["over_budget"] += 1
            elif _has_two_versions(candidate):
                left_out["two_versions"] += 1
            else:
                used, taken = used + size, taken + 1
                chosen.append(_finished(candidate))
    if not chosen:
        counts = ", ".join(f"{name} {count}" for name, count in left_out.items() if count) or "no candidate at all"
        shares = ", ".join(f"{mixture.directory} holds out {mixture.held_out}" for mixture in mixtures)
        raise InputError(
            f"no held-out document with text to judge by ({counts}; {shares}); raise held_out in the mixture, or give a "
            "token artifact that no mixture trains on"
        )
    return HeldOut(documents=tuple(chosen), left_out={name: count for name, count in left_out.items() if count})


def _gather(listed: Sequence[tuple[str, TokenSource, float]]) -> dict[int, _Candidate]:
    found: dict[int, _Candidate] = {}
    for domain, source, share in listed:
        for key, ordinal, num_tokens, num_bytes in _rows(source, share):
            candidate = found.setdefault(key, _Candidate(key=key, domain=domain, num_bytes=num_bytes, places={}))
            place = Place(directory=str(source.directory), ordinal=ordinal, num_tokens=num_tokens)
            candidate.places.setdefault(source.tokenizer, []).append((source, place))
            if candidate.num_bytes != num_bytes:
                candidate.num_bytes = -1  # two texts of one name, whatever their tokens
    return found


def _has_two_versions(candidate: _Candidate) -> bool:
    if candidate.num_bytes < 0:
        return True
    for places in candidate.places.values():
        first = places[0][0].document(places[0][1].ordinal)
        for source, place in places[1:]:
            if not np.array_equal(first, source.document(place.ordinal)):
                return True
    return False


def _finished(candidate: _Candidate) -> HeldOutDocument:
    places = {tokenizer: found[0][1] for tokenizer, found in sorted(candidate.places.items())}
    return HeldOutDocument(
        key=candidate.key, domain=candidate.domain, num_bytes=candidate.num_bytes, places=places
    )  # fmt: skip


def _refuse_overlap(mixtures: Sequence[OpenMixture], given: Sequence[tuple[str, TokenSource]]) -> None:
    for mixture in mixtures:
        if all(source.tokenizer != mixture.tokenizer for _, source in given):
            raise InputError(
                f"{mixture.directory}: no held-out artifact given was made by its tokenizer {mixture.tokenizer[:12]}; "
                "tokenize the held-out documents with it too"
            )
        for part in mixture.components:
            if not part.weight:
                continue
            keys = np.concatenate([np.zeros(0, np.uint64), *_keys(part.source)])
            trained = keys[~is_held_out(keys, mixture.held_out)]
            for domain, source in given:
                held = np.concatenate([np.zeros(0, np.uint64), *_keys(source)])
                both = held[np.isin(held, trained)]
                if both.size:
                    raise InputError(
                        f"{source.directory}: {both.size} of the {held.size} held-out documents of {domain!r} are trained on "
                        f"in component {part.name!r} of {mixture.directory} (first key {int(both[0]):016x}); take them out "
                        "of one of the two"
                    )


def _keys(source: TokenSource) -> Iterator[npt.NDArray[np.uint64]]:
    for shard in source.shards:
        yield _array(source, "document_keys", str(shard["name"]), np.dtype("<u8"), int(shard["num_documents"]))


def _rows(source: TokenSource, share: float) -> Iterator[tuple[int, int, int, int]]:
    """(key, ordinal, tokens, bytes) of the documents whose key is below `share`, all where it is 1."""
    first = 0
    for shard, keys in zip(source.shards, _keys(source), strict=True):
        name, number = str(shard["name"]), int(shard["num_documents"])
        rows = np.flatnonzero(is_held_out(keys, share)) if share < 1 else np.arange(number)
        if rows.size:
            starts = _array(source, "documents", name, np.dtype("<i8"), number + 1)
            num_bytes = _array(source, "document_bytes", name, np.dtype("<i8"), number)
            for row in rows.tolist():
                yield int(keys[row]), first + row, int(starts[row + 1] - starts[row]), int(num_bytes[row])
        first += number


def _array(source: TokenSource, kind: str, name: str, dtype: np.dtype[Any], size: int) -> npt.NDArray[Any]:
    path = source.directory / kind / f"{name}.npy"
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable .npy file ({error}); tokenize again") from error
    if array.dtype != dtype or array.shape != (size,):
        raise InputError(f"{path}: {array.dtype.str} {array.shape}, expected {dtype.str} ({size},); tokenize again")
    return array
