"""Merging within a stated memory, in 64 bits, and as prefixes: the same merges whatever is indexed and in whatever order."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigError, InputError
from tokenizer_training.counting import COUNTS_SCHEMA, PretokenCounter
from tokenizer_training.merge_loop import AGAIN, BELOW, DONE, Run, merge_pairs
from tokenizer_training.merging import BASE_BYTES, byte_characters, learn_merges
from tokenizer_training.pair_index import index_pairs
from tokenizer_training.split_patterns import split_pattern
from tokenizer_training.words import compact, read_words, weighted_sum

WORDS = st.dictionaries(
    st.text(alphabet="abcd", min_size=1, max_size=12).map(str.encode),
    st.integers(1, 40) | st.integers(1, 10**7) | st.sampled_from([2**31, 2**33, 2**40]),
    max_size=40,
)


def batch_of(counts):
    rows = [{"pretoken": word, "count": count} for word, count in counts.items()]
    return pa.RecordBatch.from_pylist(rows, COUNTS_SCHEMA)


def spelled(learned):
    return [learned.vocab[left] + learned.vocab[right] for left, right in learned.merges]


def wrap_32(count):
    return (count + 2**31) % 2**32 - 2**31


def oracle(counts, num_merges, count_of=int):
    """Byte pair encoding as Sennrich et al. 2016 write it: count all pairs anew for every merge.

    `count_of` is applied to every sum: `wrap_32` makes it a trainer with 32-bit counts.
    """
    rank = {character: position for position, character in enumerate(sorted(byte_characters()))}
    words = {tuple(byte_characters()[b] for b in word): count for word, count in counts.items()}
    merges = []
    for _ in range(num_merges):
        pairs = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] = count_of(pairs[pair] + count)
        pairs = {pair: count for pair, count in pairs.items() if count > 0}
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], rank[pair[0]], rank[pair[1]]))
        joined = best[0] + best[1]
        rank.setdefault(joined, len(rank))
        merges.append(joined)
        rewritten = {}
        for word, count in words.items():
            parts, position = [], 0
            while position < len(word):
                both = word[position : position + 2] == best
                parts.append(joined if both else word[position])
                position += 2 if both else 1
            rewritten[tuple(parts)] = rewritten.get(tuple(parts), 0) + count
        words = rewritten
    return merges


@settings(max_examples=150)
@given(counts=WORDS, num_merges=st.integers(1, 60))
def test_merges_are_those_of_the_definition(counts, num_merges):
    """Where no merge spells a token that exists; there HF's rule differs from the textbook's (see the parity test)."""
    learned = learn_merges(batch_of(counts), vocab_size=256 + num_merges)
    if len(learned.history) == len(learned.vocab) - 256:
        assert spelled(learned) == oracle(counts, num_merges)


@settings(max_examples=150)
@given(
    counts=WORDS, num_merges=st.integers(1, 80), spare=st.integers(0, 400), min_pair_count=st.sampled_from([1, 2, 50])
)
@example(counts={b"abab": 10**7, b"aaaa": 10**4, b"ba": 3, b"aab": 1}, num_merges=60, spare=0, min_pair_count=1)
def test_what_is_indexed_changes_no_merge(counts, num_merges, spare, min_pair_count):
    """Everything at once, in falling thresholds, and in as little memory as will do: `spare` bytes for lists."""
    learn = partial(learn_merges, vocab_size=256 + num_merges, min_pair_count=min_pair_count)
    whole = learn(batch_of(counts))
    byte_ids = np.arange(256, dtype=np.int32)
    words = read_words([counts], byte_ids)
    fixed = BASE_BYTES + words.slots.nbytes * 3 // 2 + 1
    fixed += Run.begin([b"x"] * 256, 256 + num_merges, byte_ids).nbytes
    for memory in (8 * 10**9, fixed + spare):
        steps = learn(batch_of(counts), complete_slots=0, memory_bytes=memory)
        if len(whole.history) == len(whole.vocab) - 256:
            assert (steps.vocab, steps.merges) == (whole.vocab, whole.merges)
            assert steps.history.tolist() == whole.history.tolist()
        assert steps.exhausted == whole.exhausted


def learn_indexing_again(counts, vocab_size, *, no_room, after_every_merge):
    """The driver's loop, with lists that have no room to grow, or as if every merge spelled a token that stands."""
    byte_ids = np.arange(256, dtype=np.int32)
    words = read_words([counts], byte_ids)
    run = Run.begin([bytes([b]) for b in range(256)], vocab_size, byte_ids)
    threshold, statuses = None, []
    while True:
        compact(words)
        index = index_pairs(words, threshold=threshold, floor=2, merged=run.merged(), max_places=10**6, max_pairs=10**6)
        if no_room:
            index.places = index.places[: index.top].copy()
        run.occurs[:] = after_every_merge
        statuses.append(merge_pairs(words, index, run, 2))
        threshold = index.threshold
        if statuses[-1] == DONE or (statuses[-1] == BELOW and threshold <= 2):
            return run, statuses
        if statuses[-1] == BELOW:
            threshold = max(2, threshold // 8)
        run.keep_merged(index)


@settings(max_examples=100)
@given(counts=WORDS, num_merges=st.integers(1, 60))
@example(counts={b"abcabcab": 10**7, b"cabc": 10**6, b"aaaa": 10**5, b"bca": 10**4}, num_merges=20)
@pytest.mark.parametrize("forced", [(True, False), (False, True)])
def test_indexing_again_in_the_middle_changes_no_merge(forced, counts, num_merges):
    no_room, after_every_merge = forced
    run, statuses = learn_indexing_again(counts, 256 + num_merges, no_room=no_room, after_every_merge=after_every_merge)
    vocab_ids = learn_by_byte(counts, 256 + num_merges)
    assert run.history().tolist() == vocab_ids
    if after_every_merge:
        assert statuses.count(AGAIN) >= len(vocab_ids) - 1


def learn_by_byte(counts, vocab_size):
    """The history of one index of everything, with the byte's value as its id."""
    byte_ids = np.arange(256, dtype=np.int32)
    words = read_words([counts], byte_ids)
    run = Run.begin([bytes([b]) for b in range(256)], vocab_size, byte_ids)
    index = index_pairs(words, threshold=1, floor=2, merged=run.merged(), max_places=10**6, max_pairs=10**6)
    merge_pairs(words, index, run, 2)
    return run.history().tolist()


@settings(max_examples=60)
@given(counts=WORDS, order=st.randoms(use_true_random=False), cut=st.integers(0, 40))
def test_order_and_batches_change_nothing(counts, order, cut):
    rows = list(counts.items())
    order.shuffle(rows)
    parts = [batch_of(dict(rows[:cut])), batch_of(dict(rows[cut:]))]
    shuffled = learn_merges(lambda: iter(parts), vocab_size=300)
    assert shuffled.history.tolist() == learn_merges(batch_of(counts), vocab_size=300).history.tolist()


@settings(max_examples=100)
@given(counts=WORDS, sizes=st.lists(st.integers(256, 330), min_size=2, max_size=4, unique=True).map(sorted))
@example(counts={b"aaaa": 5, b"aaaaaaa": 3, b"abab": 2}, sizes=[256, 258, 300])
def test_a_smaller_vocabulary_is_a_prefix(counts, sizes):
    largest = learn_merges(batch_of(counts), vocab_size=sizes[-1], reserved=["aa"])
    for size in sizes[1:]:
        alone = learn_merges(batch_of(counts), vocab_size=size, reserved=["aa"])
        rung = largest.first(size)
        assert (rung.vocab, rung.merges, rung.exhausted) == (alone.vocab, alone.merges, alone.exhausted)
        assert rung.pair_counts.tolist() == alone.pair_counts.tolist()


def test_32_bits_go_wrong_where_64_do_not():
    """`ab` stands 2.2 billion times, once as a single word and once as the sum of two; `cd` a thousand times.

    HF `tokenizers` casts a word's count to 32 bits and adds in 32 bits, and takes text only, so that 4.4 GB of it would
    be needed to see it fail; the same algorithm with such counts finds that of `ab` negative and merges another first.
    """
    for counts in ({b"ab": 2_200_000_000, b"cd": 1000}, {b"ab": 1_100_000_000, b"ab1": 1_100_000_000, b"cd": 1000}):
        learned = learn_merges(batch_of(counts), vocab_size=256 + 2)
        assert spelled(learned)[0] == "ab"
        assert learned.largest_pair_count == 2_200_000_000
        assert oracle(counts, 2) == spelled(learned)
        assert oracle(counts, 2, count_of=wrap_32)[0] != "ab"


def test_counts_up_to_2_to_the_63_hold_and_beyond_are_refused():
    learned = learn_merges(batch_of({b"ab": 2**63 - 3, b"ba": 2}), vocab_size=258)
    assert learned.pair_counts.tolist() == [2**63 - 3, 2]
    with pytest.raises(InputError, match=r"more than 64 bits count"):
        learn_merges(batch_of({b"ab": 2**63 - 3, b"ba": 3}), vocab_size=258)
    with pytest.raises(InputError, match=r"more than 64 bits count"):
        learn_merges(batch_of({b"abc": 2**62}), vocab_size=258)


@pytest.mark.parametrize("count", [0, -5])
def test_counts_below_one_are_refused(count):
    with pytest.raises(InputError, match=rf"has the count {count}"):
        learn_merges(batch_of({b"ab": count}), vocab_size=258)


def test_nulls_are_refused():
    schema = pa.schema([("pretoken", pa.large_binary()), ("count", pa.int64())])
    with pytest.raises(InputError, match=r"hold a null"):
        learn_merges(pa.RecordBatch.from_pydict({"pretoken": [b"ab", None], "count": [1, 1]}, schema), vocab_size=258)


def test_too_little_memory_is_an_error_with_a_cure():
    with pytest.raises(InputError, match=r"needs? \d+ bytes of memory.*drop_pretokens_below"):
        learn_merges(batch_of({b"ab": 1}), vocab_size=258, memory_bytes=1000)


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**63 - 1) | st.sampled_from([2**63 - 1, 2**31, 2**32 - 1]),
            st.integers(0, 2000) | st.integers(0, 2**31 - 1),
        )
    )
)
def test_weighted_sums_are_exact(rows):
    weights, times = (np.array([row[i] for row in rows], np.int64) for i in range(2))
    assert weighted_sum(weights, times) == sum(weight * times for weight, times in rows)


@pytest.mark.parametrize("complete_slots", [0, 1 << 30])
@pytest.mark.parametrize(
    ("counts", "num_merges"),
    [({}, 0), ({b"": 3, b"a": 9}, 0), ({b"ab": 1}, 1), ({bytes(range(256)): 1}, 255), ({b"\xff\xfe\x00": 2}, 2)],
)
def test_a_vocabulary_larger_than_the_counts_allow(counts, num_merges, complete_slots):
    learned = learn_merges(batch_of(counts), vocab_size=100_000, complete_slots=complete_slots)
    assert learned.exhausted
    assert len(learned.merges) == num_merges == len(learned.vocab) - 256


def test_reserved_tokens_that_do_not_fit():
    with pytest.raises(ConfigError, match=r"need 259"):
        learn_merges(batch_of({}), vocab_size=258, reserved=["<a>", "<b>", "<c>"])


def test_fifty_megabytes_of_one_character():
    """No pair of more than MAX_PRETOKEN_BYTES is ever looked at, so this is quick; the gigabyte is a benchmark."""
    counter = PretokenCounter(split_pattern("both"))
    counter.add(pa.array(["a" * 50_000_000], pa.large_string()))
    learned = learn_merges(counter.to_batch(), vocab_size=65_536)
    assert learned.exhausted
    assert spelled(learned)[:3] == ["aa", "aaaa", "a" * 8]
    assert learned.largest_pair_count == counter.num_cuts * 1023 + 50_000_000 % 1024 - 1
