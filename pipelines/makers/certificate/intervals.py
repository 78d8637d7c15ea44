"""95% intervals for ratios from weighted samples: sums of hits and totals of sampled documents in, an interval out.

The estimand is `sum of hits / sum of totals` over a finite population of documents, such as resolved pairs over true
pairs. Documents are drawn without replacement from strata; the estimate is the ratio of Horvitz-Thompson sums. Most
documents have no pair, a few have hundreds, and often *every* sampled pair is a hit, where a bootstrap or a
linearized variance says "certainly 1". So, after Korn and Graubard (Survey Methodology 24, 1998): an *effective sample
size* goes into the interval of Clopper and Pearson (Biometrika 26, 1934), which is honest at 0 and 1.

Two effective sizes; the smaller counts:

- of the weights (Kish, Survey Sampling, 1965): `(sum wT)**2 / sum (wT)**2`, all pairs of one document taken as one
  observation, as if they were all hits or none;
- of the spread: `p (1 - p) / v`, with v the linearized variance of the ratio (Cochran, Sampling Techniques, 1977,
  ch. 6), stratified, finite population corrected, and with Student's t for the few documents it comes from. Used
  alone once misses *and* hits come from documents worth MIN_EFFECTIVE each, since then v is known well.

A stratum of which all is in the sample adds nothing to either; where that holds of all, the interval is a point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Z95: Final = 1.959963984540054
MIN_EFFECTIVE: Final = 25.0
"""Where misses sit in few large clusters, 95% intervals held the truth in 92% of simulations with 0, in 95% with 25."""
CAUTION: Final = 0.85
"""The variance is an estimate too: with 1, 94% of 1,000 simulated intervals held the truth in the worst regimes."""
_BISECTIONS: Final = 60
_TERMS: Final = 500
_TINY: Final = 1e-300

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """`estimate` (None without a total), its 95% interval, the effective sample size (None where all was seen)."""

    estimate: float | None
    low: float
    high: float
    effective: float | None
    total: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, rounded to 6 digits."""
        rounded = [None if x is None else round(x, 6) for x in (self.estimate, self.low, self.high)]
        effective = None if self.effective is None else round(self.effective, 1)
        return dict(zip(("estimate", "low", "high"), rounded, strict=True)) | {"effective": effective}


NOTHING: Final = Interval(estimate=None, low=0.0, high=1.0, effective=0.0, total=0.0)


def ratio_interval(hits: I64, totals: I64, cells: I64, population: I64) -> Interval:
    """Interval of the ratio over the population; see the module.

    `hits` <= `totals` and `cells` are int64 [num_sampled]; every sampled document counts, also those of total 0. Cell
    c has `population[c]` documents, of which `(cells == c).sum()` are in the sample.
    """
    sampled = np.bincount(cells, minlength=population.size)
    fractions = sampled / np.maximum(population, 1)
    fraction = fractions[cells]
    weights = 1.0 / np.maximum(fraction, _TINY)
    total = float(np.sum(weights * totals))
    if total <= 0.0:
        is_census = bool(np.all(sampled >= population))
        return Interval(estimate=None, low=0.0, high=1.0, effective=None if is_census else 0.0, total=0.0)
    estimate = min(float(np.sum(weights * hits)) / total, 1.0)
    if bool(np.all(sampled >= population)):
        return Interval(estimate=estimate, low=estimate, high=estimate, effective=None, total=total)
    size = effective_of_weights(totals, weights, fraction)
    misses = totals - hits
    variance = _variance((hits - estimate * totals) / total, cells, sampled, fractions)
    if variance > 0.0 and 0.0 < estimate < 1.0:
        degrees = max(effective_of_weights(totals, weights, np.zeros(totals.size)) - 1.0, 1.0)
        of_spread = CAUTION * estimate * (1.0 - estimate) / variance * (Z95 / student(degrees)) ** 2
        smallest = min(effective_of_weights(x, weights, np.zeros(totals.size)) for x in (hits, misses))
        size = of_spread if smallest >= MIN_EFFECTIVE else min(size, of_spread)
    low, high = clopper_pearson(estimate * size, size)
    return Interval(estimate=estimate, low=min(low, estimate), high=max(high, estimate), effective=size, total=total)


def effective_of_weights(totals: I64, weights: npt.NDArray[np.float64], fraction: npt.NDArray[np.float64]) -> float:
    """Kish's effective number of documents, each worth `weights * totals`; of a sampled `fraction` of its cell.

    The correction for a finite population is that of "none missed among n": a share m of the cell is missed by the
    whole sample with probability `(1 - f)**(m * N)`, not `(1 - m)**n`, so n counts as `n * -ln(1 - f) / f`.
    """
    worth = weights * totals
    inside = np.clip(fraction, 1e-12, 1.0 - 1e-12)
    correction = np.where(fraction > 0.0, inside / -np.log1p(-inside), 1.0)
    correction = np.where(fraction >= 1.0, 0.0, correction)
    square = float(np.sum(worth * worth * correction))
    return float(np.sum(worth)) ** 2 / square if square > 0.0 else 0.0


def _variance(
    residuals: npt.NDArray[np.float64], cells: I64, sampled: I64, fractions: npt.NDArray[np.float64]
) -> float:
    """Linearized variance of the ratio; a cell with one sampled document stands with its square."""
    worth = residuals / np.maximum(fractions[cells], _TINY)
    sums = np.bincount(cells, worth, minlength=sampled.size)
    squares = np.bincount(cells, worth * worth, minlength=sampled.size)
    n = np.maximum(sampled, 1)
    spread = np.where(sampled > 1, (squares - sums * sums / n) * n / np.maximum(n - 1, 1), squares)
    return float(np.sum(np.maximum(spread, 0.0) * (1.0 - np.minimum(fractions, 1.0))))


def student(degrees: float) -> float:
    """The 97.5% quantile of Student's t, within 1%: interpolated up to 3 degrees of freedom, then an expansion
    in their inverse (Abramowitz and Stegun 26.7.5).

    >>> round(student(10.0), 2)
    2.23
    """
    if degrees < 3.0:
        return float(np.interp(degrees, [1.0, 2.0, 3.0], [12.706, 4.303, 3.182]))
    z = Z95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / degrees ** (k + 1) for k, term in enumerate(terms))


def clopper_pearson(hits: float, number: float) -> tuple[float, float]:
    """The 95% interval of a share of which `hits` of `number` were seen; neither needs to be whole.

    >>> [round(x, 4) for x in clopper_pearson(10, 10)]
    [0.6915, 1.0]
    """
    if number <= 0.0:
        return 0.0, 1.0
    hits = min(max(hits, 0.0), number)
    low = 0.0 if hits <= 0.0 else _quantile(0.025, hits, number - hits + 1.0)
    high = 1.0 if hits >= number else _quantile(0.975, hits + 1.0, number - hits)
    return low, high


def _quantile(probability: float, a: float, b: float) -> float:
    """Where the distribution function of Beta(a, b) is `probability`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if incomplete_beta(a, b, middle) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularized incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22, Lentz 1976)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - incomplete_beta(b, a, 1.0 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    c, d = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 / _away(1.0 + term * d)
            c = _away(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return front * value / a


def _away(x: float) -> float:
    return x if abs(x) > _TINY else _TINY
