"""Verdicts: right on what is planted, silent on what is not there, honest about how much it would take."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from model_smoke.distributions import chi_square_tail, t_quantile, t_two_sided
from model_smoke.held_out import HeldOutDocument, choose_held_out
from model_smoke.sources import open_mixture
from model_smoke.training import train
from model_smoke.verdict import BETTER, MIN_RUNS, NOT_DECIDED, WORSE, compare
from pipelines.errors import ConfigError, InputError
from tests.planted_mixtures import CONFIG, OPTIONS, write_mixture


def documents(number, domains=("web", "code"), sizes=None):
    return [
        HeldOutDocument(
            key=n, domain=domains[n % len(domains)], num_bytes=sizes[n] if sizes else 200, places={},
            language=("en", "de", None)[n % 3],
        )
        for n in range(number)
    ]  # fmt: skip


def simulate(random, runs, docs, *, seed_sd, document_sd=0.02, shift=0.0):
    """Bits of runs whose BPB differ by a run's own luck, each document's, and `shift`."""
    sizes = np.array([document.num_bytes for document in docs])
    luck = random.normal(0, seed_sd, (runs, 1)) + random.normal(0, document_sd, (runs, len(docs)))
    return (2.5 + shift + luck) * sizes


@given(t=st.floats(-50, 50), degrees=st.floats(0.5, 1e6))
@settings(max_examples=60)
def test_students_t_agrees_with_scipy(t, degrees):
    assert t_two_sided(t, degrees) == pytest.approx(2 * scipy.stats.t.sf(abs(t), degrees), rel=1e-7, abs=1e-12)


@given(level=st.floats(1e-4, 0.5), degrees=st.floats(1, 1e4))
@settings(max_examples=30)
def test_quantiles_agree_with_scipy(level, degrees):
    assert t_quantile(level, degrees) == pytest.approx(scipy.stats.t.isf(level / 2, degrees), rel=1e-6)


@given(value=st.floats(0, 200), degrees=st.integers(1, 40))
@settings(max_examples=30)
def test_chi_square_agrees_with_scipy(value, degrees):
    assert chi_square_tail(value, degrees) == pytest.approx(scipy.stats.chi2.sf(value, degrees), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("paired", [True, False])
def test_a_clear_difference_is_called_by_its_name_and_size(paired):
    random, docs = np.random.default_rng(1), documents(60)
    a, b = (simulate(random, 5, docs, seed_sd=0.003, shift=shift) for shift in (0.0, 0.05))
    better, worse = compare(a, b, docs, paired=paired), compare(b, a, docs, paired=paired)
    assert (better.outcome, worse.outcome) == (BETTER, WORSE)
    assert better.overall.low < 0.05 < better.overall.high
    assert better.overall.difference == pytest.approx(-worse.overall.difference)
    assert better.sentence().startswith("A better than B by 0.0")
    assert {finding.name: finding.outcome for finding in better.domains} == {"code": BETTER, "web": BETTER}
    assert [finding.name for finding in better.languages] == ["de", "en"]


def test_the_difference_is_of_sums_over_bytes():
    """Two documents of 100 and 300 bytes: 100 bits saved on the long one are 0.25 bits per byte of all."""
    docs = documents(8, sizes=[100, 300] * 4)
    b = np.tile([200.0, 600.0], 4) + np.arange(3)[:, None]
    a = b - np.tile([0.0, 100.0], 4)
    verdict = compare(a, b, docs, paired=True)
    assert verdict.overall.difference == pytest.approx(0.25)
    assert verdict.overall.bits_per_byte_b == pytest.approx((800 * 4 + 8) / 1600)


def test_few_runs_or_documents_decide_nothing():
    random, docs = np.random.default_rng(2), documents(20)
    a, b = (simulate(random, 2, docs, seed_sd=0.001, shift=shift) for shift in (0.0, 1.0))
    verdict = compare(a, b, docs)
    assert verdict.outcome == NOT_DECIDED
    assert verdict.overall.more_seeds == MIN_RUNS - 2
    a, b = (simulate(random, 4, docs[:5], seed_sd=0.001, shift=shift) for shift in (0.0, 1.0))
    few = compare(a, b, docs[:5])
    assert few.outcome == NOT_DECIDED
    assert "5 held-out documents" in few.sentence()
    assert json.loads(json.dumps(few.as_json(), allow_nan=False))["overall"]["p"] is None


def test_seeds_asked_for_decide_mostly_when_they_come():
    """Not decided with 4 runs; with as many more as it asks for, at least half of repetitions decide (80% intended)."""
    docs, decided, asked = documents(40), 0, []
    random = np.random.default_rng(3)
    for _ in range(30):
        a, b = (simulate(random, 4, docs, seed_sd=0.03, shift=shift) for shift in (0.0, 0.03))
        verdict = compare(a, b, docs)
        if verdict.outcome == NOT_DECIDED and verdict.overall.more_seeds:
            asked.append(verdict.overall.more_seeds)
    assert asked
    more = int(np.median(asked))
    for _ in range(20):
        a, b = (simulate(random, 4 + more, docs, seed_sd=0.03, shift=shift) for shift in (0.0, 0.03))
        decided += compare(a, b, docs).outcome == BETTER
    assert decided >= 10


def test_more_seeds_do_not_help_where_documents_are_too_few():
    docs = documents(10)
    random = np.random.default_rng(4)
    effect = random.normal(0.0, 0.3, 10) * 200
    a = simulate(random, 4, docs, seed_sd=1e-5, document_sd=1e-5)
    b = simulate(random, 4, docs, seed_sd=1e-5, document_sd=1e-5) + effect - effect.mean() + 2.0
    verdict = compare(a, b, docs)
    assert verdict.outcome == NOT_DECIDED
    assert verdict.overall.more_seeds is None
    assert "held-out documents are too few" in verdict.sentence()


@pytest.mark.parametrize(("paired", "runs"), [(True, 3), (True, 5), (False, 3)])
def test_equal_mixtures_are_seldom_called_different(paired, runs):
    """100 simulated pairs at level 0.05: 5 are expected at most, and 12 would come by chance once in 250 times."""
    docs, called, in_domains = documents(30), 0, 0
    for number in range(100):
        random = np.random.default_rng([5, number])
        a, b = (simulate(random, runs, docs, seed_sd=0.01) for _ in range(2))
        verdict = compare(a, b, docs, paired=paired, seed=number)
        called += verdict.outcome != NOT_DECIDED
        in_domains += any(finding.outcome != NOT_DECIDED for finding in verdict.domains)
    assert called < 12
    assert in_domains < 12


def test_holm_is_stricter_than_each_alone_and_keeps_order():
    random, docs = np.random.default_rng(6), documents(80, domains=tuple("abcdefgh"))
    a, b = (simulate(random, 5, docs, seed_sd=0.01, shift=shift) for shift in (0.0, 0.01))
    found = sorted(compare(a, b, docs, paired=True).domains, key=lambda finding: finding.p)
    adjusted = [finding.p_adjusted for finding in found]
    assert adjusted == sorted(adjusted)
    assert found[0].p_adjusted == pytest.approx(min(1.0, 8 * found[0].p))
    assert all(finding.p_adjusted >= finding.p for finding in found)
    for finding in found:
        assert (finding.outcome != NOT_DECIDED) == (finding.p_adjusted <= 0.05)


def test_the_same_runs_are_the_same():
    docs = documents(12)
    runs = simulate(np.random.default_rng(9), 3, docs, seed_sd=0.01)
    verdict = compare(runs, runs.copy(), docs, paired=True)
    assert (verdict.outcome, verdict.overall.p, verdict.overall.more_seeds) == (NOT_DECIDED, 1.0, None)
    assert "the two are the same" in verdict.sentence()


def test_looks_share_the_level():
    random, docs = np.random.default_rng(7), documents(40)
    a, b = (simulate(random, 4, docs, seed_sd=0.01, shift=shift) for shift in (0.0, 0.02))
    once, often = compare(a, b, docs), compare(a, b, docs, looks=4)
    assert often.overall.half_width > once.overall.half_width
    assert often.overall.p == once.overall.p


def test_a_verdict_repeats_itself_and_refuses_what_it_cannot_judge():
    random, docs = np.random.default_rng(8), documents(12)
    a, b = (simulate(random, 3, docs, seed_sd=0.01) for _ in range(2))
    assert compare(a, b, docs).as_json() == compare(a, b, docs).as_json()
    with pytest.raises(InputError, match="not finite in runs \\[1\\]"):
        compare(np.where(np.arange(3)[:, None] == 1, math.nan, a), b, docs)
    with pytest.raises(InputError, match=r"bits \(3, 11\) of 12 documents"):
        compare(a[:, 1:], b, docs)
    with pytest.raises(InputError, match="cannot be paired"):
        compare(a[:2], b, docs, paired=True)
    with pytest.raises(ConfigError, match="level"):
        compare(a, b, docs, level=0.0)


def test_planted_and_equal_mixtures(tmp_path):
    """Real runs: 20% of documents shuffled by word is called worse; the same mixture against itself, 40 pairs of three runs
    with seeds of their own each, is called different at most 4 times.
    """
    clean, shuffled = (open_mixture(write_mixture(tmp_path / str(share), shuffled=share)) for share in (0.0, 0.2))
    held_out = choose_held_out([clean, shuffled], max_tokens=1 << 20)
    assert held_out.left_out["two_versions"] > 0

    def runs(mixture, seeds):
        found = [
            train(mixture, dataclasses.replace(OPTIONS, seed=seed), held_out.documents, config=CONFIG)[0].bits_after
            for seed in seeds
        ]
        return np.stack(found)

    of_clean = runs(clean, range(10))
    verdict = compare(runs(shuffled, range(3)), of_clean[:3], held_out.documents, paired=True)
    assert verdict.outcome == WORSE
    assert {finding.outcome for finding in verdict.domains} == {WORSE}
    triples = itertools.combinations(range(10), 3)
    pairs = [(a, b) for a in triples for b in itertools.combinations(range(10), 3) if a < b and not set(a) & set(b)]
    chosen = np.random.default_rng(0).permutation(len(pairs))[:40]
    called = 0
    for number in chosen:
        first, second = pairs[number]
        found = compare(
            of_clean[list(first)], of_clean[list(second)], held_out.documents, paired=True, seed=int(number)
        )
        called += found.outcome != NOT_DECIDED
    assert called <= 4
