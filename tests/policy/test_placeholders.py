"""The spellings that redaction writes are the ones the tokenizer has ids for."""

from __future__ import annotations

import filters.pii
from tokenizer_training.special_tokens import PLACEHOLDERS


def test_every_placeholder_of_redaction_is_a_token():
    written = (
        set(filters.pii.PLACEHOLDERS.values())
        if isinstance(filters.pii.PLACEHOLDERS, dict)
        else set(filters.pii.PLACEHOLDERS)
    )
    assert written
    assert written <= set(PLACEHOLDERS)
