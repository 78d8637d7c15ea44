"""Reserved ids at the front of every vocabulary, as Falcon-H1 has them (arXiv 2507.22448 and TII's tokenizers).

Two classes. *Control* tokens (padding, end of text, fill-in-the-middle, section marks, unused) never come out of text:
whoever tokenizes sets `encode_special_tokens`, which `tokenizer.json` cannot express. *Placeholders* stand in text where
redaction put them, and are ordinary added tokens that match there. A document that spelled one itself is to be escaped
before redaction (`filters.pii.EscapePlaceholders`); from then on a placeholder's id means that something was redacted.

Each spelling mixes letters with punctuation, so no pre-token of any split pattern is one: the vocabulary that holds
them is looked up for whole pre-tokens, and none is found there by accident.
"""

from __future__ import annotations

from pipelines.errors import ConfigError

PAD_ID, EOS_ID = 0, 11
PAD, EOS = "<|pad|>", "<|endoftext|>"
NUM_RESERVED = 1024
"""Falcon-H1 reserves about 1,024 ids; the 34B vocabulary is 259,841 merges, 256 bytes and 1,023 others."""
PLACEHOLDERS = (">>EMAIL_ADDRESS<<", ">>IP_ADDRESS<<", ">>PHONE_NUMBER<<", ">>PASSWORD<<", ">>KEY<<")
# 0, 1 and 11 are Falcon-H1's; the other spellings are its siblings', at places of our own.
_NAMED = {
    PAD_ID: PAD,
    1: ">>ABSTRACT<<",
    2: ">>INTRODUCTION<<",
    8: "<|prefix|>",
    9: "<|suffix|>",
    10: "<|middle|>",
    EOS_ID: EOS,
    **dict(enumerate(PLACEHOLDERS, start=EOS_ID + 1)),
}
MIN_RESERVED = max(_NAMED) + 1


def reserved_tokens(num_reserved: int = NUM_RESERVED) -> tuple[str, ...]:
    """Spelling of ids 0 to `num_reserved - 1`. Raises ConfigError where the named ones do not fit.

    >>> reserved_tokens(32)[11], reserved_tokens(32)[31]
    ('<|endoftext|>', '>>UNUSED_31<<')
    """
    if num_reserved < MIN_RESERVED:
        raise ConfigError(f"num_reserved = {num_reserved}: the named special tokens alone need {MIN_RESERVED}")
    return tuple(_NAMED.get(number, f">>UNUSED_{number}<<") for number in range(num_reserved))


def is_control(token: str) -> bool:
    """Whether a reserved token must never be matched in text."""
    return token not in PLACEHOLDERS
