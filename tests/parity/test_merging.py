"""Merges and vocabularies equal those of HF `tokenizers`' BpeTrainer, ties and respelled tokens included."""

from __future__ import annotations

import json
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from tests.shared import shared_path
from tokenizer_training.counting import COUNTS_SCHEMA, PretokenCounter
from tokenizer_training.merging import learn_merges
from tokenizer_training.split_patterns import NAMED, SplitPattern

ENGLISH = [
    "the falcon and the heron ",
    "thethe  the\n\n\nheron's 12 12 123",
    "aaaa aaaaa aaaaaaa",
    "    if x:\n        return x\n",
] * 3
MIXED = [
    "Der Falke fliegt über 漢字 und かな. 漢字!",
    "الصقر يطير فوق",
    "हिन्दी में बाज़",
    r"$\alpha+\beta\in\mathbb{R}$ \in\infty",
    "🙂🙂🙂 \u0301\u0301",
]


def hf_merges(
    texts: list[str], pattern: SplitPattern, vocab_size: int, reserved: list[str]
) -> tuple[list[list[str]], list[str]]:
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern.regex), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=reserved,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["merges"], sorted(model["vocab"], key=model["vocab"].get)


def our_merges(
    texts: list[str], pattern: SplitPattern, vocab_size: int, reserved: list[str]
) -> tuple[list[list[str]], list[str]]:
    counter = PretokenCounter(pattern)
    counter.add(pa.array(texts, pa.large_string()))
    learned = learn_merges(counter.to_batch(), vocab_size=vocab_size, reserved=reserved)
    return [[learned.vocab[a], learned.vocab[b]] for a, b in learned.merges], list(learned.vocab)


@pytest.mark.parametrize("name", sorted(NAMED))
@pytest.mark.parametrize("texts", [ENGLISH, MIXED, ENGLISH + MIXED], ids=["english", "mixed", "all"])
def test_same_merges_under_every_pattern(texts, name):
    reserved = ["<|pad|>", "<|endoftext|>"]
    theirs = hf_merges(texts, NAMED[name], 400, reserved)
    ours = our_merges(texts, NAMED[name], 400, reserved)
    assert len(theirs[0]) > 20
    assert ours == theirs


@settings(max_examples=120, deadline=None)
@given(
    texts=st.lists(st.text(alphabet="ab é\\", min_size=1, max_size=40), min_size=1, max_size=12),
    vocab_size=st.integers(259, 330),
    reserved=st.lists(st.sampled_from(["ab", "aa", "b", "<|x|>"]), unique=True, max_size=3),
)
@example(texts=["aaaa aaaaaaaa aa"], vocab_size=280, reserved=[])
@example(texts=["abab ab ba"], vocab_size=300, reserved=["ab"])
def test_same_merges_on_small_alphabets(texts, vocab_size, reserved):
    """Few characters, so that counts tie, runs overlap, and merges spell tokens that exist."""
    pattern = SplitPattern()
    assert our_merges(texts, pattern, vocab_size, reserved) == hf_merges(texts, pattern, vocab_size, reserved)


@pytest.mark.shared
@pytest.mark.parametrize(
    "file", ["code/sample_programs.jsonl.zst", "math/latex_sources.jsonl.zst", "multilingual/parallel_ntrex.jsonl.zst"]
)
def test_same_merges_on_real_text(file):
    import zstandard

    with zstandard.open(shared_path(file), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(400), lines, strict=False)]
    texts = [value[:20_000] for row in rows for value in row.values() if isinstance(value, str) and len(value) > 40]
    assert our_merges(texts, SplitPattern(), 3000, ["<|pad|>"]) == hf_merges(texts, SplitPattern(), 3000, ["<|pad|>"])


def test_a_pair_above_two_to_the_31_wins():
    """`ab` stands 2.2 billion times, `cd` 1,000 times: 32 bits would wrap and merge `cd` first."""
    rows = [{"pretoken": b"ab", "count": 2_200_000_000}, {"pretoken": b"cd", "count": 1000}]
    learned = learn_merges(pa.RecordBatch.from_pylist(rows, COUNTS_SCHEMA), vocab_size=258)
    assert [learned.vocab[a] + learned.vocab[b] for a, b in learned.merges] == ["ab", "cd"]
    assert learned.largest_pair_count == 2_200_000_000


def test_textbook_case():
    """Sennrich et al. 2016: low 5, lower 2, newest 6, widest 3.

    e-s and s-t both stand 9 times; the tie goes to the smaller left id, and e comes before s; then es-t 9, l-o 7, ...
    """
    rows = Counter({b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3})
    batch = pa.RecordBatch.from_pylist([{"pretoken": k, "count": n} for k, n in sorted(rows.items())], COUNTS_SCHEMA)
    learned = learn_merges(batch, vocab_size=260)
    assert [learned.vocab[a] + learned.vocab[b] for a, b in learned.merges] == ["es", "est", "lo", "low"]
    assert learned.pair_counts.tolist() == [9, 9, 7, 7]
