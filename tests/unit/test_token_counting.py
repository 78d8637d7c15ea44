"""Counts over a disk shuffle: the same whatever the shards, their order, workers and memory; sampling weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifact import Artifact, build
from pipelines.errors import ConfigError, InputError
from pipelines.executors.local import Local
from pipelines.executors.ray import OnRay
from pipelines.makers.outcome import number_buckets
from pipelines.makers.shuffle import SUFFIX
from pipelines.shards import PartShard, ShardOutput, run_shard
from pipelines.storage import read_bytes, read_table, write_table
from tests.documents import Written, documents
from tokenizer_training.aggregate import add_bucket, count_inputs, count_part
from tokenizer_training.counting import COUNTS_SCHEMA, PretokenCounter
from tokenizer_training.sampling import SCALE, factors
from tokenizer_training.split_patterns import cuts, split_pattern
from tokenizer_training.train import TrainTokenizer

BOTH = split_pattern("both")
TEXTS = [
    f"{'word' * (n % 5)}{n} the falcon {chr(0x4E00 + n % 900)}{'x' * (n % 40)} \\alpha_{n % 7}" for n in range(3000)
]


def wanted_counts(texts, weight=1):
    found = Counter()
    for text in texts:
        for piece in cuts(text, BOTH):
            found[piece.encode()] += weight
    return dict(found)


def shuffled_counts(folder, shards, *, num_buckets=3, memory_bytes=1 << 30, **options):
    """Both passes by hand: pre-token -> count, and the bytes of the final files."""
    uris = []
    for number, texts in enumerate(shards):
        uri = str(folder / f"texts-{number}.parquet")
        write_table(uri, pa.table({"text": pa.array(texts, pa.large_string())}))

        def work(shard, out):
            return count_part(
                shard, out, pattern=BOTH, max_bytes=1024, num_buckets=num_buckets, memory_bytes=memory_bytes
            )

        commit = run_shard(PartShard(name=f"shard-{number}", uri=uri), directory=str(folder / "count"), work=work)
        uris.append(commit.path("pretokens", SUFFIX))
    found, files, totals = {}, [], Counter()
    for bucket in number_buckets(num_buckets):

        def add(shard, out):
            return add_bucket(shard, out, uris=uris, num_buckets=num_buckets, memory_bytes=memory_bytes, **options)

        commit = run_shard(bucket, directory=str(folder / "add"), work=add)
        totals.update(commit.counts)
        table = read_table(commit.path("pretokens"))
        assert not found.keys() & set(table.column("pretoken").to_pylist())
        found |= dict(zip(table.column("pretoken").to_pylist(), table.column("count").to_pylist(), strict=True))
        files.append(Path(commit.path("pretokens")).read_bytes())
    return found, files, totals


@pytest.mark.parametrize("memory_bytes", [1 << 30, 300_000])
def test_the_shuffle_adds_up_to_a_dictionary(tmp_path, memory_bytes):
    """With 300 kB the counter spills many times and a bucket is added up in parts; the same counts."""
    found, _, totals = shuffled_counts(tmp_path, [TEXTS[:1000], [], TEXTS[1000:]], memory_bytes=memory_bytes)
    wanted = wanted_counts(TEXTS)
    assert found == wanted
    assert (totals["distinct"], totals["pretokens"]) == (len(wanted), sum(wanted.values()))
    assert totals["pretoken_bytes"] == sum(map(len, wanted))


def test_the_files_do_not_depend_on_shards_or_memory(tmp_path):
    arrangements = [
        ([TEXTS], 1 << 30), ([TEXTS[2000:], TEXTS[:500], TEXTS[500:2000]], 1 << 30), ([TEXTS[::2], TEXTS[1::2]], 300_000),
    ]  # fmt: skip
    written = []
    for number, (shards, memory_bytes) in enumerate(arrangements):
        folder = tmp_path / str(number)
        folder.mkdir()
        written.append(shuffled_counts(folder, shards, memory_bytes=memory_bytes)[1])
    assert written[0] == written[1] == written[2]


def test_dropping_rare_pretokens_is_reported(tmp_path):
    found, _, totals = shuffled_counts(tmp_path, [TEXTS], min_count=3)
    wanted = wanted_counts(TEXTS)
    assert found == {piece: count for piece, count in wanted.items() if count >= 3}
    assert totals["dropped_distinct"] == sum(count < 3 for count in wanted.values()) > 100
    assert totals["dropped"] == sum(count for count in wanted.values() if count < 3)


@settings(max_examples=30)
@given(st.lists(st.text(max_size=300), max_size=20))
def test_a_counter_that_spills_loses_nothing(texts):
    spilled = []
    counter = PretokenCounter(BOTH, memory_bytes=1, spill=spilled.append)
    counter.add(pa.array(texts * 3, pa.large_string()))
    counter.flush()
    total = Counter()
    for batch in spilled:
        for row in batch.to_pylist():
            total[row["pretoken"]] += row["count"]
    assert total == wanted_counts(texts, 3)


def test_a_counter_stays_within_its_memory():
    sizes = []
    counter = PretokenCounter(BOTH, memory_bytes=1 << 20, spill=lambda batch: sizes.append(batch.num_rows))
    for start in range(0, 200_000, 2_000):
        texts = [
            " ".join(
                f"{chr(97 + n % 26)}{'z' * (n % 11)}{chr(0x4E00 + n // 20_000)}{chr(0x3400 + n % 6000)}"
                for n in range(start, start + 2_000)
            )
        ]
        counter.add(pa.array(texts, pa.large_string()))
        assert counter.nbytes <= 1 << 20
    assert len(sizes) > 3


def test_weights_multiply_counts():
    counter = PretokenCounter(BOTH)
    counter.add(pa.array(["falcon falcon", "a long pretoken"], pa.large_string()), weight=3)
    counter.add(pa.array([" falcon"], pa.large_string()), weight=2**40)
    assert dict(zip(*counter.to_batch().to_pydict().values(), strict=True))[b" falcon"] == 3 + 2**40
    with pytest.raises(InputError, match=r"more than 64 bits count"):
        counter.add(pa.array(["falcon"], pa.large_string()), weight=2**62)


def invalid_utf8(content=b"ab\xff\xfecd"):
    offsets = pa.py_buffer(np.array([0, 2, len(content)], np.int64))
    return pa.Array.from_buffers(pa.large_string(), 2, [None, offsets, pa.py_buffer(content)])


@pytest.mark.parametrize("content", [b"ab\xff\xfecd", b"ab\xf7\xbf\xbf\xbf", b"abc\xe6", b"ab\xed\xa0\x80"])
def test_invalid_utf8_is_refused(content):
    """A stray byte, a code point beyond Unicode, a text that ends in mid-character, a surrogate."""
    with pytest.raises(InputError, match=r"a text is not UTF-8"):
        PretokenCounter(BOTH).add(invalid_utf8(content))


def test_invalid_utf8_in_a_document_names_its_rows(tmp_path):
    uri = str(tmp_path / "bad.parquet")
    write_table(uri, pa.table({"text": invalid_utf8()}))
    out = ShardOutput(str(tmp_path), "x")
    with pytest.raises(InputError, match=r"bad\.parquet, rows 0 to 1: .*UTF8"):
        count_part(PartShard(name="x", uri=uri), out, pattern=BOTH, max_bytes=1024, num_buckets=1)


def test_tempered_languages_are_those_of_the_formula():
    """Conneau et al. 2020: p ~ q ** (1 / T). With T = 2 and shares 0.9 and 0.1, p = 0.75 and 0.25 exactly."""
    found = factors({"web": {"en": 900, "sv": 100}}, weights=(), temperature=2.0)
    assert {k: Fraction(v, SCALE) for k, v in found.items()} == {
        ("web", "en"): Fraction(round(Fraction(75, 90) * SCALE), SCALE), ("web", "sv"): Fraction(5, 2),
    }  # fmt: skip


@given(
    sizes=st.lists(st.integers(10**6, 10**9), min_size=4, max_size=4), temperature=st.floats(1, 10),
    weight=st.sampled_from([0, 0.25, 1, 3]),
)  # fmt: skip
def test_factors_follow_the_formula(sizes, temperature, weight):
    groups = {"web": {"en": sizes[0], "sv": sizes[1]}, "wiki": {"en": sizes[2], "ur": sizes[3]}}
    found = factors(groups, weights=(("wiki", weight),), temperature=temperature)
    weighted = {(s, lang): n * (weight if s == "wiki" else 1) for s, by in groups.items() for lang, n in by.items()}
    language = {lang: sum(n for (_, k), n in weighted.items() if k == lang) for lang in ("en", "sv", "ur")}
    shares = {lang: (n / sum(language.values())) ** (1 / temperature) for lang, n in language.items()}
    for (source, lang), units in found.items():
        own = weight if source == "wiki" else 1
        if not own:
            assert units == 0
            continue
        boost = shares[lang] / sum(shares.values()) * sum(language.values()) / language[lang]
        assert units == pytest.approx(own * boost * SCALE, rel=1e-6, abs=1)
    assert list(found) == sorted(found)


MIXED = Written(
    source="web",
    shards=(
        (("en", "the falcon and the heron and the kestrel " * 40), ("sv", "falken och hägern " * 3)),
        (("sv", "tornfalken flyger "), ("en", "the falcon again " * 20)),
    ),
)
BASE = {"vocab_size": 700, "num_reserved": 32, "latex": False}


def trained(tmp_path, name, shards, workers=1, **fields):
    corpus = Artifact(name="web", maker=Written(source="web", shards=shards), inputs=())
    extra = documents("wiki", ("herons wade " * 30,))
    artifact = Artifact(name="tokenizer", maker=TrainTokenizer(**BASE | fields), inputs=(corpus, extra))
    return build(artifact, root=str(tmp_path / name), executor=Local(workers=workers))


@pytest.mark.parametrize("fields", [{}, {"weights": (("wiki", 0.5), ("web", 3.0)), "temperature": 3.3}])
def test_training_does_not_depend_on_shards_or_workers(tmp_path, fields):
    first = trained(tmp_path, "a", MIXED.shards, **fields)
    rows = [row for shard in MIXED.shards for row in shard]
    for name, workers, shards in (("b", 2, MIXED.shards), ("c", 1, tuple((row,) for row in reversed(rows)))):
        again = trained(tmp_path, name, shards, workers, **fields)
        assert again["root_hash"] == first["root_hash"]
        assert again["notes"] == first["notes"]


def test_temperature_and_weights_change_what_is_learned(tmp_path):
    plain = trained(tmp_path, "plain", MIXED.shards)["notes"]["tokenizer"]
    tempered = trained(tmp_path, "tempered", MIXED.shards, temperature=5.0, weights=(("wiki", 0.0),))
    note = tempered["notes"]["tokenizer"]
    assert plain["num_documents_left_out"] == 0
    assert note["num_documents_left_out"] == 1
    assert (plain["count_scale"], note["count_scale"]) == (1, SCALE)
    by_group = {(f["source"], f["language"]): f["factor"] for f in note["sampling"]["factors"]}
    assert by_group["wiki", "en"] == 0 < by_group["web", "en"] < 1 < by_group["web", "sv"]
    assert note["largest_pair_count"] < plain["largest_pair_count"]


def test_a_weight_of_one_and_no_temperature_learn_the_same(tmp_path):
    plain = trained(tmp_path, "plain", MIXED.shards)
    weighed = trained(tmp_path, "weighed", MIXED.shards, weights=(("web", 1.0),))
    assert weighed["root_hash"] == plain["root_hash"]
    assert weighed["notes"]["tokenizer"]["largest_pair_count"] == plain["notes"]["tokenizer"]["largest_pair_count"]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"weights": (("wbe", 2.0),)}, InputError, r"weights name \['wbe'\]; .*'web', 'wiki'"),
        ({"weights": (("web", 0.0), ("wiki", 0.0))}, InputError, "leave no text"),
        ({"weights": (("web", 1e-9),)}, InputError, "weigh less strongly"),
        ({"weights": (("web", -1.0),)}, ConfigError, "weight of source 'web' = -1"),
        ({"weights": (("web", float("nan")),)}, ConfigError, "weight of source 'web' = nan"),
        ({"weights": (("web", 1.0), ("web", 2.0))}, ConfigError, "twice"),
        ({"temperature": 0.3}, ConfigError, r"temperature = 0\.3"),
        ({"temperature": float("nan")}, ConfigError, "temperature = nan"),
    ],
)
def test_weights_that_cannot_be_applied(tmp_path, fields, error, message):
    with pytest.raises(error, match=message):
        trained(tmp_path, "x", MIXED.shards, **fields)


def test_counts_schema_is_what_counters_give():
    assert PretokenCounter(BOTH).to_batch().schema.equals(COUNTS_SCHEMA)


@dataclass(frozen=True, kw_only=True)
class CountsOnly:
    """The counts of its inputs, in many buckets, as files of the artifact."""

    version: ClassVar[int] = 1

    def make(self, inputs, passes):
        counted, notes = count_inputs(
            inputs, passes, pattern=BOTH, max_pretoken_bytes=64, temperature=2.0, bytes_per_bucket=400
        )
        passes.note("counts", notes)
        for commit in counted:
            passes.put(f"pretokens-{commit.shard}", read_bytes(commit.path("pretokens")))


@pytest.mark.cluster
def test_executors_count_the_same_bytes(tmp_path):
    corpus = Artifact(name="web", maker=MIXED, inputs=())
    found = []
    try:
        for name, executor in {"one": Local(), "two": Local(workers=2), "ray": OnRay(workers=2)}.items():
            manifest = build(
                Artifact(name="counts", maker=CountsOnly(), inputs=(corpus,)),
                root=str(tmp_path / name),
                executor=executor,
            )
            found.append((manifest["root_hash"], manifest["notes"]))
            folder = tmp_path / name / "counts" / manifest["fingerprint"][:12]
            found[-1] += ({p.name: p.read_bytes() for p in folder.glob("pretokens-*")},)
    finally:
        ray.shutdown()
    assert len(found[0][2]) > 3
    assert found[0] == found[1] == found[2]
