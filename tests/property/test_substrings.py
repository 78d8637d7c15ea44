"""Substring and line dedup give what plain Python gives, on corpora made to repeat themselves, whatever the parts."""

import random
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.executors.local import Local
from pipelines.kernels.cutting import cut_spans
from pipelines.makers.line_dedup import LineDedup
from pipelines.makers.substring.first_copies import spread
from pipelines.makers.substring.items import Kind, Units, Windows
from pipelines.makers.substring.rewriting import Sizes
from pipelines.makers.substring_dedup import SubstringDedup
from pipelines.passes import Passes
from tests.dedup import Result, row, write_input
from tests.substrings import dedup_lines, dedup_substrings

TINY = Sizes(keys_per_bucket=3, keys_in_memory=5, items_per_bucket=4, items_in_memory=7, heavy_items=2)
# few words, so that windows repeat; words that grow together, stand alone, are ignored, are of one letter or of none
WORDS = [
    "a",
    "b",
    "B",
    "a",
    "b.",
    "(a",
    "-",
    "\u00ad",
    "\u200d",
    "漢",
    "字",
    "ก",
    "é",
    "e\u0301",
    "\u0301",
    "x" * 20,
    "…",
]
SPACES = ["", " ", " ", "  ", "\n", "\n\n", "\u3000", "\u2028"]
LINES = ["a b", "A, b!", "a  b", "1 a", "2 a", "", " ", "---", "漢字", "x", "\u00ad", "x - y", "x + y", "\r"]
MANY = settings(max_examples=200, deadline=None)
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def joined(words: list[str], spaces: list[str]) -> str:
    return "".join(w + s for w, s in zip(words, spaces, strict=True))


@st.composite
def repetitive_text(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    rng = random.Random(seed)
    alphabet = rng.sample(WORDS, rng.randint(1, 5))
    stock = [[rng.choice(alphabet) for _ in range(rng.randint(1, 9))] for _ in range(3)]
    words = [w for _ in range(draw(st.integers(0, 5))) for w in rng.choice([*stock, [rng.choice(WORDS)]])]
    return joined(words, [rng.choice(SPACES) for _ in words])


corpora = st.lists(st.one_of(repetitive_text(), st.text(max_size=30)), min_size=1, max_size=8)


def run(maker, texts: list[str], seed: int, sizes: Sizes) -> list[str | None]:
    """The texts that are kept, None for those dropped, in the order given, whose ids ascend."""
    rng = random.Random(seed)
    rows = [row(f"{i:04d}", text) for i, text in enumerate(texts)]
    rng.shuffle(rows)
    cuts = sorted(rng.randrange(len(rows) + 1) for _ in range(rng.randrange(3)))
    parts = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        built = write_input(Path(folder), parts)
        passes = Passes(artifact="output", directory=str(Path(folder) / "output"), executor=Local())
        maker.run((built,), passes, sizes)
        result = Result(Path(folder) / "output", passes)
        kept = {r["id"]: r["text"] for r in result.rows("kept")}
        dropped = {r["id"]: r["text"] for r in result.rows("dropped")}
        assert kept.keys() | dropped.keys() == {r["id"] for r in rows}
        assert not kept.keys() & dropped.keys()
        assert all(dropped[document] == texts[int(document)] for document in dropped)
        check_spans(result, texts)
        return [kept.get(f"{i:04d}") for i in range(len(texts))]


def check_spans(result: Result, texts: list[str]) -> None:
    """Spans are whole characters of the input, and signals are their sums."""
    cut_bytes = dict.fromkeys((f"{i:04d}" for i in range(len(texts))), 0)
    for span in result.rows("spans"):
        text = texts[int(span["id"])].encode()
        assert text[span["first_byte"] : span["stop_byte"]].decode()
        cut_bytes[span["id"]] += span["stop_byte"] - span["first_byte"]
    assert {r["id"]: r["repeated_bytes"] for r in result.rows("signals")} == cut_bytes


@FEW
@given(
    corpora, st.integers(1, 12), st.sampled_from(["text", "words"]), st.booleans(),
    st.sampled_from([None, "[cut]"]), st.booleans(), st.integers(0, 9),
)  # fmt: skip
def test_substrings_are_those_of_the_oracle(texts, size, compare, keep_first, mask, tiny, seed):
    expected, left = dedup_substrings(texts, size, compare, keep_first, mask)
    maker = SubstringDedup(
        min_tokens=size, compare=compare, keep_first=keep_first, dropped_text="all",
        **({} if mask is None else {"action": "mask", "mask": mask}),
    )  # fmt: skip
    found = run(maker, texts, seed, TINY if tiny else Sizes())
    whole = [None if n == 0 and e != t else e for e, n, t in zip(expected, left, texts, strict=True)]
    assert found == whole


def cut_in_memory(kind: Kind, texts: list[str], mask: str | None, tidy: bool) -> tuple[list[str], list[int]]:
    """The passes without files: texts in order of preference."""
    column = pa.array(texts, pa.large_string())
    keys = [runs for runs in kind.runs(column, None)]
    every = np.concatenate([np.zeros(0, np.uint64), *(runs.keys for runs in keys)])
    maybe = [runs.keys[kind.repeats(runs.counts)] for runs in keys]
    values, counts = np.unique(every, return_counts=True)
    shared = np.union1d(values[counts > 1], np.concatenate([np.zeros(0, np.uint64), *maybe]))
    found, stays = [np.zeros((0, 3), np.int64)], []
    items = [np.zeros((0, 2), np.int64)]
    highs, lows = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)]
    for runs in kind.runs(column, shared):
        found.append(np.stack([runs.documents, runs.starts, runs.counts], axis=1))
        items.append(np.stack([np.repeat(runs.documents, runs.counts), spread(runs.starts, runs.counts)], axis=1))
        highs.append(runs.high)
        lows.append(runs.low)
    rank, position = np.concatenate(items).T.copy()
    chosen = kind.stay(np.concatenate(highs), np.concatenate(lows), rank, position, evidence=False)
    stays = np.stack([rank[chosen], position[chosen], np.ones(chosen.sum(), np.int64)], axis=1)
    cuts = kind.spans(column, np.concatenate(found), stays)
    result = cut_spans(column, cuts.documents, cuts.spans, mask=mask, tidy=tidy)
    return result.to_pylist(), cuts.num_left.tolist()


@MANY
@given(
    corpora, st.integers(1, 12), st.sampled_from(["text", "words"]), st.booleans(), st.sampled_from([None, "[cut]"])
)  # fmt: skip
def test_kernels_cut_what_the_oracle_cuts(texts, size, compare, keep_first, mask):
    kind = Windows(min_tokens=size, compare=compare, keep_first=keep_first)
    expected, left = dedup_substrings(texts, size, compare, keep_first, mask)
    found, num_left = cut_in_memory(kind, texts, mask, True)
    assert found == expected
    assert all(n == m for n, m, e, t in zip(num_left, left, expected, texts, strict=True) if e != t)


@MANY
@given(st.lists(st.text(st.sampled_from("ab\u00adé漢ก1١.- \u3000\n\u0301\r"), max_size=30), min_size=1, max_size=4),
       st.sampled_from(["line", "paragraph"]), st.sampled_from(["ccnet", "whitespace"]), st.integers(1, 3))  # fmt: skip
def test_kernels_cut_the_lines_that_the_oracle_cuts(texts, unit, normalize, max_documents):
    kind = Units(unit=unit, normalize=normalize, min_characters=1, max_documents=max_documents)
    expected, left = dedup_lines(texts, unit, normalize, max_documents)
    found, num_left = cut_in_memory(kind, texts, None, False)
    assert found == expected
    assert all(n == m for n, m, e, t in zip(num_left, left, expected, texts, strict=True) if e != t)


@FEW
@given(
    st.lists(st.lists(st.sampled_from(LINES), max_size=8).map("\n".join), min_size=1, max_size=8),
    st.sampled_from(["line", "paragraph"]), st.sampled_from(["ccnet", "whitespace"]),
    st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 9),
)  # fmt: skip
def test_lines_are_those_of_the_oracle(texts, unit, normalize, max_documents, min_characters, tiny, seed):
    expected, left = dedup_lines(texts, unit, normalize, max_documents, min_characters)
    maker = LineDedup(
        unit=unit, normalize=normalize, max_documents=max_documents, min_characters=min_characters, dropped_text="all"
    )
    found = run(maker, texts, seed, TINY if tiny else Sizes())
    assert found == [None if n == 0 and e != t else e for e, n, t in zip(expected, left, texts, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_substrings_of_the_oracle_at_the_usual_length(seed):
    """Real lengths: windows of 50 tokens, documents over several blocks of the kernel, spans planted at random."""
    rng = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(50)]
    planted = [[rng.choice(vocabulary) for _ in range(rng.randint(40, 300))] for _ in range(6)]
    texts = []
    for _ in range(30):
        words = [rng.choice(vocabulary) for _ in range(rng.choice([0, 30, 500, 2000]))]
        for _ in range(rng.randint(0, 4)):
            at, span = rng.randint(0, len(words)), rng.choice(planted)
            cut = rng.randint(0, len(span) // 2)
            words[at:at] = span[cut:]
        texts.append(" ".join(words))
    texts.append(" ".join(["same"] * 20_000))
    expected, left = dedup_substrings(texts, 50)
    found = run(SubstringDedup(min_tokens=50, dropped_text="all"), texts, seed, Sizes(items_in_memory=1000))
    assert found == [None if n == 0 and e != t else e for e, n, t in zip(expected, left, texts, strict=True)]
    assert sum(text is None or len(text) < len(given) for text, given in zip(found, texts, strict=True)) > 15
