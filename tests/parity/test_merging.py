"""Merges and vocabularies equal those of HF `tokenizers`' BpeTrainer, ties and respelled tokens included."""

from __future__ import annotations

import json
import random
from collections import Counter

import pyarrow as pa
import pytest
import zstandard
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
    texts: list[str], pattern: SplitPattern, vocab_size: int, reserved: list[str], **options: int
) -> tuple[list[list[str]], list[str]]:
    counter = PretokenCounter(pattern, max_bytes=1 << 30)  # HF does not cut long pre-tokens
    counter.add(pa.array(texts, pa.large_string()))
    learned = learn_merges(counter.to_batch(), vocab_size=vocab_size, reserved=reserved, **options)
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


def texts_of(file: str, num_bytes: int) -> list[str]:
    """Strings of a shared JSONL file, each up to 20,000 characters, `num_bytes` of them in all."""
    texts: list[str] = []
    size = 0
    with zstandard.open(shared_path(file), "rt", encoding="utf-8") as lines:
        for line in lines:
            for value in json.loads(line).values():
                if isinstance(value, str) and len(value) > 40:
                    texts.append(value[:20_000])
                    size += len(texts[-1].encode())
            if size > num_bytes:
                break
    return texts


LANGUAGES = ["ar", "cs", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ro", "ru", "sv", "ur", "zh"]
OTHERS = ("code/sample_programs", "code/real_files", "code/notebooks", "math/latex_sources", "math/gsm8k_train")
RESERVED = ["<|pad|>", "<|endoftext|>", "\\alpha", "\\frac"]
"""Two of them LaTeX commands, which merges will spell."""


@pytest.mark.shared
@pytest.mark.parametrize("name", [*(f"multilingual/{language}" for language in LANGUAGES), *OTHERS])
def test_same_merges_on_real_text(name):
    """23 corpora, each to 3,000 and to 8,000 entries out of one run, frequent pairs first or all at once."""
    texts = texts_of(f"{name}.jsonl.zst", 400_000)
    theirs = {size: hf_merges(texts, SplitPattern(), size, RESERVED) for size in (3000, 8000)}
    assert len(theirs[8000][0]) > 2000
    assert our_merges(texts, SplitPattern(), 8000, RESERVED) == theirs[8000]
    assert our_merges(texts, SplitPattern(), 8000, RESERVED, complete_slots=0) == theirs[8000]
    assert our_merges(texts, SplitPattern(), 3000, RESERVED, complete_slots=0) == theirs[3000]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("names", "num_bytes"),
    [(("multilingual/parallel_ntrex", "multilingual/ja", "multilingual/ru"), 3_000_000), (OTHERS[:4], 3_000_000)],
    ids=["multilingual", "code-and-math"],
)
def test_same_merges_to_65536(names, num_bytes):
    texts = [text for name in names for text in texts_of(f"{name}.jsonl.zst", num_bytes)]
    theirs = hf_merges(texts, SplitPattern(), 65_536, RESERVED)
    assert our_merges(texts, SplitPattern(), 65_536, RESERVED, complete_slots=0) == theirs


@pytest.mark.parametrize("complete_slots", [0, 1 << 30])
def test_same_merges_where_thousands_of_counts_tie(complete_slots):
    """6,000 words of random letters, each once, and runs of one character, whose pairs overlap: aaaa, spaces."""
    source = random.Random(7)
    words = ["".join(source.choices("abcdefgh", k=source.randint(2, 9))) for _ in range(6000)]
    texts = [" ".join(words), *("a" * n for n in range(1, 40)), *(" " * n + "b" for n in range(1, 40))]
    texts += ["ab" * n for n in range(1, 30)]
    theirs = hf_merges(texts, SplitPattern(), 6000, [])
    counts = our_merges(texts, SplitPattern(), 6000, [], complete_slots=complete_slots)
    assert len(theirs[0]) > 5000
    assert counts == theirs


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
