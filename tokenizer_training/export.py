"""A trained vocabulary as the files that `tokenizers` and `transformers.AutoTokenizer` load.

`tokenizer.json` cannot say that control tokens are never matched in text: `encode_special_tokens` is not serialized.
`tokenizer_config.json` says it to transformers by `split_special_tokens`; `load_tokenizer` sets it for `tokenizers`.
Who loads the bare file otherwise gets `<|endoftext|>` of a hostile page as the real one, and so does who pickles a
tokenizer, which goes by the same file: load it where it is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from pipelines.errors import ConfigError, InputError
from tokenizer_training.special_tokens import EOS, EOS_ID, PAD, is_control
from tokenizer_training.split_patterns import SplitPattern

# transformers' own marker for "no limit is known"
NO_LENGTH_LIMIT = 10**30
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""A placeholder until instruction tuning decides on turns. It is plain text because control tokens that a template
spells are split like any others; a template with such tokens wants `split_special_tokens=False`."""


def tokenizer_files(
    vocab: Sequence[str],
    merges: Sequence[tuple[int, int]],
    *,
    reserved: Sequence[str],
    pattern: SplitPattern,
    padded_vocab_size: int | None = None,
) -> dict[str, bytes]:
    """File name -> content: tokenizer.json, tokenizer_config.json, special_tokens_map.json. The same bytes each time.

    `vocab[i]` is token i in byte characters, `merges` pairs of ids. `ignore_merges` looks a whole pre-token up first:
    that makes the LaTeX commands of the vocabulary one id each, though no merge leads to them. `padded_vocab_size`, the
    rows of the embedding, is a field of tokenizer_config.json and changes no id; by default it is the vocabulary's size.

    Raises ConfigError where the padded size is below the vocabulary's.
    """
    rows = len(vocab) if padded_vocab_size is None else padded_vocab_size
    if rows < len(vocab):
        raise ConfigError(f"padded_vocab_size = {rows}: the vocabulary has {len(vocab)} entries; give at least as many")
    added = [_added_token(number, token) for number, token in enumerate(reserved)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": pattern.regex}, "behavior": "Isolated", "invert": False}
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
        "vocab": {token: number for number, token in enumerate(vocab)},
        "merges": [[vocab[left], vocab[right]] for left, right in merges],
    }  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None, "decoder": byte_level, "model": model,
    }  # fmt: skip
    special = {"eos_token": EOS, "pad_token": PAD}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": NO_LENGTH_LIMIT,
        "clean_up_tokenization_spaces": False, "split_special_tokens": True, "add_prefix_space": False,
        "chat_template": CHAT_TEMPLATE, "padded_vocab_size": rows, **special,
    }  # fmt: skip
    return {
        "tokenizer.json": _json(tokenizer),
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(special),
    }


def _added_token(number: int, token: str) -> dict[str, Any]:
    """An entry of `added_tokens`.

    Those that are not `normalized` are looked for first, and what was looked at is passed over even where it was not
    taken: had control tokens the same turn, `<|pad|>>KEY<<` would hide the placeholder that redaction wrote.
    """
    control = is_control(token)
    return {
        "id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": control,
        "special": control,
    }  # fmt: skip


def load_tokenizer(content: bytes, *, where: str = "tokenizer.json") -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, told never to find control tokens in text. InputError where it is none."""
    try:
        tokenizer = Tokenizer.from_str(content.decode())
    except Exception as error:  # the library raises bare Exception for whatever its parser meets
        raise InputError(f"{where}: not a tokenizer.json ({error}); train the tokenizer again") from error
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = tokenizer.token_to_id(EOS)
    if found != EOS_ID:
        raise InputError(
            f"{where}: {EOS} has id {found}, eyas ends documents with id {EOS_ID}; train the tokenizer again"
        )
    return tokenizer


def _json(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()
