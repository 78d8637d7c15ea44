"""Tail probabilities that verdicts and health need, in float64 and without further libraries.

Student's t by the regularized incomplete beta function (continued fraction, DLMF 8.17.22, modified Lentz), chi-square by
the regularized incomplete gamma function of torch.
"""

from __future__ import annotations

import math

import torch

_TINY = 1e-300


def beta_regularized(a: float, b: float, x: float, rest: float | None = None) -> float:
    """I_x(a, b) for a, b > 0 and 0 <= x <= 1. `rest` is 1 - x, where the caller knows it to more digits than x has."""
    rest = 1.0 - x if rest is None else rest
    if x <= 0 or rest <= 0:
        return float(rest <= 0)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_regularized(b, a, rest, x)
    front = a * math.log(x) + b * math.log(rest) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 500):
        for coefficient in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + coefficient * d)
            c = _away_from_zero(1.0 + coefficient / c)
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return math.exp(front) * fraction / a


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def t_two_sided(t: float, degrees: float) -> float:
    """P(|T| >= |t|) of Student's t.

    >>> round(t_two_sided(12.706, 1), 4), round(t_two_sided(2.776, 4), 4)
    (0.05, 0.05)
    """
    if math.isnan(t) or math.isinf(t):
        return 0.0 if math.isinf(t) else math.nan
    whole = degrees + t * t
    return beta_regularized(degrees / 2, 0.5, degrees / whole, t * t / whole)


def t_quantile(level: float, degrees: float) -> float:
    """The t that |T| exceeds with probability `level`: Newton's steps, kept inside a bracket that halves where they leave it.

    >>> round(t_quantile(0.05, 2), 3)
    4.303
    """
    low, high = 0.0, 2.0
    while t_two_sided(high, degrees) > level and high < 1e12:
        low, high = high, 2 * high
    t = (low + high) / 2
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    for _ in range(100):
        beyond = t_two_sided(t, degrees) - level
        low, high = (t, high) if beyond > 0 else (low, t)
        density = 2 * math.exp(scale - (degrees + 1) / 2 * math.log1p(t * t / degrees))
        following = t + beyond / density if density > 0 else high
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - t) <= 1e-11 * max(1.0, t):
            break
        t = following
    return t


def chi_square_tail(value: float, degrees: int) -> float:
    """P(X >= value) of chi-square.

    >>> round(chi_square_tail(3.841459, 1), 4)
    0.05
    """
    half = torch.tensor([degrees / 2, value / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))
