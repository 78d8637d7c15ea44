"""What a `tokenizer.json` says as far as ids go: the model that the encoder of eyas runs, or what it does not understand.

Only a file whose every field is known, with values that change no id or that are done here, becomes a `Model`: one of
eyas' split patterns over bytes, BPE by rank with or without whole pre-tokens looked up first, placeholders matched as
they stand, control tokens never.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from pipelines.errors import InputError
from tokenizer_training.merging import byte_characters
from tokenizer_training.piece_merging import ID_BITS, RANK_BITS
from tokenizer_training.split_patterns import SplitPattern, cuts

MAX_PLACEHOLDERS: Final = 64


class NotUnderstoodError(Exception):
    """A tokenizer.json with something in it that the encoder of eyas does not do."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """What a tokenizer.json says, as far as ids go.

    `tokens` and `token_ids` are the vocabulary as bytes, sorted; empty where whole pre-tokens are not looked up.
    `byte_ids` int32 [256]. Merges, best first: `lefts`, `rights`, `results` int32. `widths` int32 [vocab_size]: bytes of
    each token. `placeholders` are (spelling, id), longer ones first.
    """

    pattern: SplitPattern
    vocab_size: int
    tokens: tuple[bytes, ...]
    token_ids: npt.NDArray[np.int32]
    byte_ids: npt.NDArray[np.int32]
    lefts: npt.NDArray[np.int32]
    rights: npt.NDArray[np.int32]
    results: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    placeholders: tuple[tuple[bytes, int], ...]


def read_model(content: bytes, *, where: str = "tokenizer.json") -> Model:
    """The model of a `tokenizer.json`. NotUnderstoodError names what is in it that could change an id."""
    try:
        data = json.loads(content)
    except ValueError as error:
        raise InputError(f"{where}: not a tokenizer.json ({error}); train the tokenizer again") from error
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        _not_understood("it has no model")
    _expect(data, "the file", {"version": "1.0", "normalizer": None, "post_processor": None},
            ("truncation", "padding", "added_tokens", "pre_tokenizer", "decoder", "model"))  # fmt: skip
    model = data["model"]
    _expect(model, "the model", {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
    }, ("ignore_merges", "vocab", "merges"))  # fmt: skip
    pattern = _pattern_of(data["pre_tokenizer"])
    vocab, merges, ignore_merges = model["vocab"], model["merges"], model["ignore_merges"]
    if not isinstance(vocab, dict) or not isinstance(merges, list) or not isinstance(ignore_merges, bool):
        _not_understood("its vocabulary, merges or ignore_merges are of another type")
    if any(type(number) is not int or not 0 <= number < 1 << ID_BITS for number in vocab.values()):
        _not_understood(f"an id is no integer below {1 << ID_BITS}")
    spelled = [(_bytes_of(token), number) for token, number in vocab.items()]
    known = sorted((token, number) for token, number in spelled if token)
    single = {token[0]: number for token, number in known if len(token) == 1}
    if len(single) < 256:
        _not_understood(f"{256 - len(single)} of the 256 bytes have no token")
    widths = np.zeros(max(vocab.values()) + 1, np.int32)
    for token, number in known:
        if widths[number] not in (0, len(token)):
            _not_understood(f"id {number} has two tokens")
        widths[number] = len(token)
    lefts, rights, results = _merges_of(merges, vocab)
    placeholders, control = _added_tokens(data["added_tokens"], vocab)
    _check_control(control, vocab, pattern, results)
    return Model(
        pattern=pattern,
        vocab_size=int(widths.size),
        tokens=tuple(token for token, _ in known) if ignore_merges else (),
        token_ids=np.array([number for _, number in known] if ignore_merges else [], np.int32),
        byte_ids=np.array([single[byte] for byte in range(256)], np.int32),
        lefts=lefts, rights=rights, results=results, widths=widths, placeholders=placeholders,
    )  # fmt: skip


def _not_understood(what: str) -> NoReturn:
    raise NotUnderstoodError(what)


def _expect(found: dict[str, Any], where: str, values: dict[str, Any], others: tuple[str, ...]) -> None:
    for key, value in values.items():
        if key not in found or type(found[key]) is not type(value) or found[key] != value:
            _not_understood(f"{where} has {key} = {json.dumps(found.get(key))[:60]}, not {json.dumps(value)}")
    for key in others:
        if key not in found:
            _not_understood(f"{where} has no {key}")
    if unknown := sorted(set(found) - set(values) - set(others)):
        _not_understood(f"{where} has {unknown[0]!r}")


@cache
def _patterns() -> dict[str, SplitPattern]:
    """Every split pattern by its expression; of those that cut alike, one."""
    made = [
        SplitPattern(digits=bool(n & 1), punctuation=bool(n & 2), contiguous=bool(n & 4), latex_commands=bool(n & 8))
        for n in range(16)
    ]
    return {pattern.regex: pattern for pattern in made}


def _pattern_of(found: Any) -> SplitPattern:
    """The split pattern of a `pre_tokenizer`, which is then to turn bytes into characters and no more."""
    steps = found.get("pretokenizers") if isinstance(found, dict) and found.get("type") == "Sequence" else None
    if not isinstance(steps, list) or len(steps) != 2 or not all(isinstance(step, dict) for step in steps):
        _not_understood("its pre_tokenizer is no sequence of a split and a byte level")
    split, byte_level = steps
    _expect(split, "the split", {"type": "Split", "behavior": "Isolated", "invert": False}, ("pattern",))
    plain = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    _expect(byte_level, "the byte level", plain, ("trim_offsets",))
    expression = split["pattern"].get("Regex") if isinstance(split["pattern"], dict) else None
    pattern = _patterns().get(expression) if isinstance(expression, str) else None
    if pattern is None:
        _not_understood("its split pattern is none of eyas, or of another version")
    return pattern


@cache
def _byte_values() -> dict[int, str]:
    """For `str.translate`: byte characters to the characters of latin-1, others in latin-1 to one that is not in it."""
    lost = {ordinal: "\U0010ffff" for ordinal in range(256)}
    return lost | {ord(character): chr(byte) for byte, character in enumerate(byte_characters())}


def _bytes_of(token: str) -> bytes:
    """The bytes that a token of byte characters spells, or none if it has other characters in it."""
    try:
        return token.translate(_byte_values()).encode("latin-1")
    except UnicodeEncodeError:
        return b""


def _merges_of(merges: list[Any], vocab: dict[str, int]) -> tuple[npt.NDArray[np.int32], ...]:
    """Left, right and resulting id of every merge; of a pair that is there twice, the last counts."""
    if len(merges) >= 1 << RANK_BITS:
        _not_understood(f"there are {len(merges)} merges")
    last: dict[tuple[int, int], tuple[int, int]] = {}
    for rank, pair in enumerate(merges):
        try:
            left, right = pair
            last[vocab[left], vocab[right]] = rank, vocab[left + right]
        except (ValueError, TypeError, KeyError):
            _not_understood(f"merge {rank} is no pair of two tokens that make a token")
    order = sorted(last, key=last.__getitem__)
    steps = np.array([(*pair, last[pair][1]) for pair in order], np.int32).reshape(-1, 3)
    return tuple(np.ascontiguousarray(steps[:, k]) for k in range(3))


def _added_tokens(found: Any, vocab: dict[str, int]) -> tuple[tuple[tuple[bytes, int], ...], tuple[str, ...]]:
    """Placeholders with their ids, longer ones first, and the spellings of control tokens."""
    if not isinstance(found, list) or not all(isinstance(token, dict) for token in found):
        _not_understood("its added tokens are no list")
    placeholders, control = [], []
    for token in found:
        content, special = token.get("content"), token.get("special")
        if not isinstance(content, str) or not content or vocab.get(content) != token.get("id"):
            _not_understood(f"added token {str(content)[:40]!r} has another id than the vocabulary")
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "special": special, "normalized": special}
        _expect(token, f"added token {content[:40]!r}", plain, ("id", "content"))
        if special:
            control.append(content)
        else:
            placeholders.append((content.encode(errors="replace"), vocab[content]))
    if len(placeholders) > MAX_PLACEHOLDERS or len({*control, *(s for s, _ in placeholders)}) < len(found):
        _not_understood(f"its added tokens repeat, or more than {MAX_PLACEHOLDERS} of them are no control tokens")
    return tuple(sorted(placeholders, key=lambda entry: (-len(entry[0]), entry[0]))), tuple(control)


def _check_control(
    control: Sequence[str], vocab: dict[str, int], pattern: SplitPattern, results: npt.NDArray[np.int32]
) -> None:
    """InputError where a control token's id could come out of text: by its spelling as a pre-token, or by a merge."""
    made = set(results.tolist())
    for token in control:
        spelled = _bytes_of(token)
        if vocab[token] in made or (_is_text(spelled) and len(cuts(spelled.decode(), pattern)) == 1):
            raise InputError(
                f"control token {token!r} (id {vocab[token]}) would come out of a text that spells it; "
                "train the tokenizer with other spellings"
            )


def _is_text(content: bytes) -> bool:
    try:
        return bool(content.decode())
    except UnicodeDecodeError:
        return False
