"""95% intervals of the certificate contain the truth: simulated populations of clusters, through the estimator itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.makers.certificate.intervals import clopper_pearson, incomplete_beta, ratio_interval, student

NUM_SEEDS = 100
NUM_POPULATIONS = 5


def heavy_tail(rng, number):
    """Cluster sizes of 2 to 200 by a power law: most pairs lie in few clusters."""
    return np.clip((2 * (1 - rng.random(number)) ** (-1 / 1.1)).astype(int), 2, 200)


SIZES = {
    "many pairs": lambda rng: np.full(5000, 2),
    "few pairs": lambda rng: np.full(100, 2),
    "ten pairs": lambda rng: np.full(10, 2),
    "clusters of 12": lambda rng: np.full(500, 12),
    "heavy tail": lambda rng: heavy_tail(rng, 1000),
    "heavy tail, few": lambda rng: heavy_tail(rng, 100),
    "clusters of 200": lambda rng: np.full(40, 200),
    "five of 200 among pairs": lambda rng: np.concatenate([np.full(1000, 2), np.full(5, 200)]),
}


def population(rng, num_documents, sizes, missed, model):
    """Pairs and resolved pairs of every document: int64 [num_documents] each. `missed` is the share of pairs missed.

    "pair": each pair by itself; "cluster": all pairs of a cluster or none; "kept": documents stay, each by itself, and
    the pairs among those that stay are missed, as in a dedup.
    """
    totals, hits, at = np.zeros(num_documents, np.int64), np.zeros(num_documents, np.int64), 0
    for size in sizes:
        members = slice(at, at + size)
        totals[members] = size - 1
        if model == "pair":
            above = np.triu(rng.random((size, size)) >= missed, 1)
            hits[members] = (above | above.T).sum(1)
        elif model == "cluster":
            hits[members] = 0 if rng.random() < missed else size - 1
        else:
            stays = rng.random(size) < math.sqrt(missed)
            hits[members] = size - 1 - np.where(stays, stays.sum() - 1, 0)
        at += size
    return totals, hits


def simulate(totals, hits, cells, number, rng):
    """The interval of one stratified sample of at least `number` documents, at least 4 a cell."""
    size = np.bincount(cells)
    taken = np.minimum(size, np.maximum(4, -(-number * size // cells.size)))
    chosen = np.concatenate(
        [rng.choice(np.flatnonzero(cells == c), n, replace=False) for c, n in enumerate(taken) if n]
    )
    return ratio_interval(hits[chosen], totals[chosen], cells[chosen], size)


def coverage(sizes, missed, model, *, num_documents=12_000, number=1000):
    """How many of NUM_SEEDS intervals contain the truth, and their median width."""
    rng = np.random.default_rng(20)
    contained, widths = 0, []
    for seed in range(NUM_SEEDS):
        if seed % (NUM_SEEDS // NUM_POPULATIONS) == 0:
            totals, hits = population(rng, num_documents, sizes(rng), missed, model)
            cells = np.minimum(rng.integers(0, 5, num_documents), rng.integers(0, 5, num_documents))
        interval = simulate(totals, hits, cells, number, rng)
        truth = hits.sum() / totals.sum()
        contained += interval.low - 1e-9 <= truth <= interval.high + 1e-9
        widths.append(interval.high - interval.low)
    return contained, float(np.median(widths))


@pytest.mark.parametrize("missed", [0.0, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("model", ["pair", "cluster", "kept"])
@pytest.mark.parametrize("name", SIZES)
def test_at_least_90_of_100_seeds_contain_the_truth(name, model, missed):
    contained, _ = coverage(SIZES[name], missed, model)
    assert contained >= 90


@pytest.mark.parametrize(
    ("name", "model", "missed", "widest"),
    [
        ("many pairs", "cluster", 0.0, 0.006),  # 833 of 1,000 queries have a pair: rule of three
        ("many pairs", "cluster", 0.01, 0.018),
        ("many pairs", "pair", 0.3, 0.07),
        ("clusters of 12", "kept", 0.05, 0.03),
        ("heavy tail", "pair", 0.01, 0.01),
        ("heavy tail", "kept", 0.05, 0.05),
        ("heavy tail, few", "kept", 0.0, 0.15),
        ("few pairs", "pair", 0.01, 0.3),  # 17 queries with a pair say no more
        ("clusters of 200", "cluster", 0.3, 0.12),
    ],
)
def test_intervals_are_no_wider_than_their_samples_ask(name, model, missed, widest):
    assert coverage(SIZES[name], missed, model)[1] <= widest


@pytest.mark.parametrize("missed_size", [2, 200])
@pytest.mark.parametrize("number", [500, 6000])
def test_misses_that_sit_in_clusters_of_one_size(missed_size, number):
    """All pairs of the clusters of one size are missed, none of the others': recall depends on the size of a cluster."""
    rng = np.random.default_rng(7)
    sizes = np.concatenate([np.full(1000, 2), np.full(20, 200)])
    totals = np.zeros(12_000, np.int64)
    totals[: sizes.sum()] = np.repeat(sizes - 1, sizes)
    hits = np.where(totals == missed_size - 1, 0, totals)
    truth = hits.sum() / totals.sum()
    cells = rng.integers(0, 3, totals.size)
    found = [simulate(totals, hits, cells, number, rng) for _ in range(NUM_SEEDS)]
    assert sum(i.low <= truth <= i.high for i in found) >= 90
    assert np.median([i.high - i.low for i in found]) < 0.05


def test_strata_that_differ_are_weighted():
    """A tiny cell, sampled ten times as densely and missed throughout, weighs what it is."""
    rng = np.random.default_rng(3)
    cells = np.repeat([0, 1], [10_000, 100])
    totals = np.ones(10_100, np.int64)
    hits = (cells == 0).astype(np.int64)
    chosen = np.concatenate([rng.choice(10_000, 500, replace=False), 10_000 + rng.choice(100, 50, replace=False)])
    found = ratio_interval(hits[chosen], totals[chosen], cells[chosen], np.array([10_000, 100]))
    assert found.estimate == pytest.approx(10_000 / 10_100)
    assert found.low < found.estimate < found.high


def test_a_census_is_a_point_and_no_total_is_no_estimate():
    ones = np.ones(4, np.int64)
    cells = np.zeros(4, np.int64)
    census = ratio_interval(np.array([1, 1, 1, 0]), ones, cells, np.array([4]))
    assert (census.estimate, census.low, census.high, census.effective) == (0.75, 0.75, 0.75, None)
    nothing = ratio_interval(0 * ones, 0 * ones, cells, np.array([100]))
    assert (nothing.estimate, nothing.low, nothing.high) == (None, 0.0, 1.0)
    empty = np.zeros(0, np.int64)
    assert ratio_interval(empty, empty, empty, empty).estimate is None


@given(st.integers(0, 300), st.integers(1, 300))
def test_clopper_pearson_is_the_binomial_tail(hits, number):
    """At the lower end, `hits` or more of `number` have a chance of 2.5%; at the upper end, `hits` or fewer."""
    hits = min(hits, number)
    low, high = clopper_pearson(hits, number)

    def chance(p, values):
        terms = (math.lgamma(number + 1) - math.lgamma(k + 1) - math.lgamma(number - k + 1) for k in values)
        logs = (term + k * math.log(p) + (number - k) * math.log1p(-p) for term, k in zip(terms, values, strict=True))
        return sum(map(math.exp, logs))

    assert 0.0 <= low <= hits / number <= high <= 1.0
    assert low == 0.0 if hits == 0 else chance(low, range(hits, number + 1)) == pytest.approx(0.025, rel=1e-6)
    assert high == 1.0 if hits == number else chance(high, range(hits + 1)) == pytest.approx(0.025, rel=1e-6)


@given(st.floats(0.5, 1e5), st.floats(0.5, 1e5), st.floats(0.001, 0.999))
def test_incomplete_beta_is_symmetric_and_rises(a, b, x):
    value = incomplete_beta(a, b, x)
    assert -1e-9 <= value <= 1.0 + 1e-9
    assert value == pytest.approx(1.0 - incomplete_beta(b, a, 1.0 - x), abs=1e-9)
    assert value <= incomplete_beta(a, b, min(1.0, x * 1.001)) + 1e-9


def test_student_quantiles_of_the_tables():
    for degrees, quantile in ((1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)):
        assert student(degrees) == pytest.approx(quantile, rel=0.01)
