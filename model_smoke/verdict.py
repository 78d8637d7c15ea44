"""Does A model held-out text in fewer bits per byte than B? A difference with an interval, or an honest "not decided".

In: bits of the same held-out documents under runs of A and of B, [runs, documents] each. Out: for all documents, each domain
and each language: the difference in bits per byte (BPB) with its interval, a p-value, and one of better, worse, not decided.

Two things vary: which run one happens to train (seeds of weights and of the order of data) and which documents one happens
to judge by. The hierarchical bootstrap draws both again. Documents are paired: each is judged by both. Runs are paired too where
run s of A and run s of B share a seed, hence initial weights and order of sequences, which takes most of the variation out;
else they are drawn apart. With S runs, redrawn ones vary by (S - 1) / S too little; run deviations are widened by
sqrt(S / (S - 1)). The half-width of the interval is the root of the sum of squares of two half-widths: that of the runs, by
Student's t with the degrees of freedom that so few runs give, and that of the documents, with theirs. (One t over both, with
Satterthwaite's degrees, called 10% of equal pairs different.) Fewer than MIN_RUNS runs a side decide nothing.

All documents together are the primary question, at `level`. The domains are a family, the languages another, each under
Holm's correction at `level`. Where seeds may be added after a look, the level is divided by the number of looks
(Bonferroni), so that looking more than once decides falsely no more often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model_smoke.distributions import t_quantile
from model_smoke.held_out import HeldOutDocument
from pipelines.errors import ConfigError, InputError

FORMAT = 1
BETTER, WORSE, NOT_DECIDED = "better", "worse", "not decided"
REPLICATES = 1000
MIN_RUNS = 3
"""Of two runs the spread is a guess: Student's t asks for 12.7 standard errors, and nobody would be the wiser."""
MIN_DOCUMENTS = 8
"""A domain or language of fewer held-out documents is shown without a judgement."""
MAX_MORE_SEEDS = 99
POWER_Z = 0.8416
"""Normal quantile of 80%: the seeds asked for would decide in 4 of 5 repetitions, were the difference what it seems."""
LIMITS = (
    (
        "A run this small sees what a small model learns first. DataDecide (arXiv 2504.11393) found that rankings of data "
        "recipes at 150M parameters agree with those at 1B for about 80% of pairs: a decided verdict here is about this "
        "size and this length of run."
    ),
    (
        "Bits per byte of held-out text reward text like the held-out text. They say nothing on instruction following, on "
        "factual recall or on domains without held-out documents."
    ),
    (
        "Measured at level 0.05 on planted mixtures (runs of 26,000 parameters and 40 steps, 45 held-out documents): the same "
        "mixture under other seeds was called different in 4 of 100 comparisons of 3 runs a side and 6 of 100 of 5 runs. 10% of "
        "documents shuffled by word (0.023 BPB) were seen by 3 runs a side in every comparison; 5% (0.007 BPB) by 3 runs "
        "in 32%, by 5 runs in every one."
    ),
)

Bits = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One comparison. `difference` = BPB of B - BPB of A: above 0, A is better. `low` and `high` bound it at 1 - level.

    `p` and `p_adjusted` (Holm) are two-sided; NaN where nothing could be estimated. `seed_error` (with its `degrees` of
    freedom) and `document_error` are the standard errors from runs and from documents. `seed_sd` is the standard deviation
    of the difference between a run of B and its pair of A, or where runs are not paired of one run's BPB. `more_seeds`: how
    many more a side would decide, None where decided or where seeds alone will not.
    """

    name: str
    outcome: str
    bits_per_byte_a: float
    bits_per_byte_b: float
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    degrees: float
    seed_error: float
    document_error: float
    seed_sd: float
    documents: int
    bytes: int
    more_seeds: int | None = None
    note: str = ""

    @property
    def half_width(self) -> float:
        """The number after the +-."""
        return (self.high - self.low) / 2

    def as_json(self) -> dict[str, Any]:
        """Plain JSON: what is not finite is null."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`overall` first; `domains` and `languages` in order of name. `seeds` are the runs of A and of B."""

    a: str
    b: str
    level: float
    looks: int
    paired: bool
    seeds: tuple[int, int]
    overall: Finding
    domains: tuple[Finding, ...] = ()
    languages: tuple[Finding, ...] = ()
    limits: tuple[str, ...] = field(default=LIMITS)

    @property
    def outcome(self) -> str:
        """Of all documents together."""
        return self.overall.outcome

    def sentence(self) -> str:
        """`A better than B by 0.012 +- 0.004 BPB`, or how many more seeds it would take."""
        return sentence_of(self.overall, self.a, self.b)

    def as_json(self) -> dict[str, Any]:
        """The form of `verdict.json`."""
        return {
            "format": FORMAT,
            "a": self.a,
            "b": self.b,
            "outcome": self.outcome,
            "sentence": self.sentence(),
            "level": self.level,
            "looks": self.looks,
            "paired": self.paired,
            "seeds": {"a": self.seeds[0], "b": self.seeds[1]},
            "overall": self.overall.as_json(),
            "domains": [finding.as_json() for finding in self.domains],
            "languages": [finding.as_json() for finding in self.languages],
            "limits": list(self.limits),
        }


def sentence_of(finding: Finding, a: str, b: str) -> str:
    """One finding in words."""
    if finding.outcome != NOT_DECIDED:
        return f"{a} {finding.outcome} than {b} by {abs(finding.difference):.4f} +- {finding.half_width:.4f} BPB"
    if not math.isfinite(finding.half_width):
        return f"{a} against {b}: not decided: {finding.note}"
    so_far = f"so far {finding.difference:+.4f} +- {finding.half_width:.4f} BPB, above 0 for {a}"
    if finding.more_seeds is None:
        return f"{a} against {b}: not decided ({so_far}): {finding.note}"
    upper = "more than " if finding.more_seeds > MAX_MORE_SEEDS else "about "
    return f"{a} against {b}: not decided: {upper}{min(finding.more_seeds, MAX_MORE_SEEDS)} more seeds ({so_far})"


def compare(
    a: Bits,
    b: Bits,
    documents: Sequence[HeldOutDocument],
    *,
    names: tuple[str, str] = ("A", "B"),
    level: float = 0.05,
    looks: int = 1,
    paired: bool = False,
    seed: int = 0,
) -> Verdict:
    """Judge runs `a` [runs, documents] against runs `b`; `paired` where run s of both has one seed. Deterministic for a `seed`.

    Raises ConfigError for an impossible level, InputError where shapes disagree or bits are not finite.
    """
    if not 0 < level < 1 or looks < 1:
        raise ConfigError(f"level = {level}, looks = {looks}: give a level in (0, 1) and at least one look")
    for name, bits in zip(names, (a, b), strict=True):
        if bits.ndim != 2 or bits.shape[1] != len(documents) or not bits.shape[0] or not len(documents):
            raise InputError(
                f"{name}: bits {bits.shape} of {len(documents)} documents; give [runs, documents], none empty"
            )
        if not np.isfinite(bits).all():
            runs = sorted(set(np.nonzero(~np.isfinite(bits))[0].tolist()))
            raise InputError(f"{name}: bits are not finite in runs {runs}; these runs failed, see their health")
    if paired and a.shape != b.shape:
        raise InputError(f"{names[0]} has {a.shape[0]} runs and {names[1]} {b.shape[0]}: they cannot be paired")
    sizes = np.array([document.num_bytes for document in documents], np.float64)
    spent = level / looks
    runs = [a.shape[0]] if paired else [a.shape[0], b.shape[0]]

    def judged(name: str, rows: npt.NDArray[np.bool_], number: int) -> Finding:
        return _measure(name, a[:, rows], b[:, rows], sizes[rows], paired=paired, seed=[seed, number])

    overall = judged("all", np.ones(len(documents), np.bool_), 0)
    families = []
    for labels in ([document.domain for document in documents], [document.language for document in documents]):
        known = sorted({label for label in labels if label is not None})
        families.append([judged(n, np.array([x == n for x in labels]), i) for i, n in enumerate(known, 1)])
    domains, languages = (_holm(family, spent, runs) for family in families)
    return Verdict(
        a=names[0],
        b=names[1],
        level=level,
        looks=looks,
        paired=paired,
        seeds=(a.shape[0], b.shape[0]),
        overall=_holm([overall], spent, runs)[0],
        domains=domains,
        languages=languages,
    )


def _measure(name: str, a: Bits, b: Bits, sizes: Bits, *, paired: bool, seed: Sequence[int]) -> Finding:
    """Estimate, standard errors, degrees of freedom, p; the interval comes when the level is known."""
    total = sizes.sum()
    of_a, of_b = a.sum(axis=1) / total, b.sum(axis=1) / total
    difference = float(of_b.mean() - of_a.mean())
    runs = a.shape[0], b.shape[0]
    common: dict[str, Any] = {
        "name": name, "outcome": NOT_DECIDED, "bits_per_byte_a": float(of_a.mean()), "bits_per_byte_b": float(of_b.mean()),
        "difference": difference, "documents": len(sizes), "bytes": int(total),
    }  # fmt: skip
    nothing: dict[str, Any] = {
        "low": -math.inf, "high": math.inf, "p": math.nan, "p_adjusted": math.nan, "degrees": 0.0, "seed_sd": math.nan,
        "seed_error": math.nan, "document_error": math.nan,
    }  # fmt: skip
    if min(runs) < MIN_RUNS:
        note = f"{min(runs)} runs a side say too little on how runs vary; train at least {MIN_RUNS} seeds"
        return Finding(**common, **nothing, more_seeds=MIN_RUNS - min(runs), note=note)
    if len(sizes) < MIN_DOCUMENTS:
        note = f"{len(sizes)} held-out documents, at least {MIN_DOCUMENTS} are needed"
        return Finding(**common, **nothing, note=note)
    sides = (b - a,) if paired else (-a, b)
    variances = [float((side.sum(axis=1) / total).var(ddof=1)) for side in sides]
    parts = [spread / len(side) for spread, side in zip(variances, sides, strict=True)]
    by_seeds = sum(parts)
    by_documents = max(0.0, float(_replicates(sides, sizes, seed=seed).var(ddof=1)) - by_seeds)
    found = Finding(
        **common, low=-math.inf, high=math.inf, p=math.nan, p_adjusted=math.nan, degrees=_degrees(parts, runs),
        seed_error=math.sqrt(by_seeds), document_error=math.sqrt(by_documents),
        seed_sd=math.sqrt(sum(variances) / len(variances)),
    )  # fmt: skip
    return replace(found, p=_p_of(found))


def _degrees(parts: Sequence[float], runs: Sequence[int]) -> float:
    """Welch's, of the variances that the sides' runs contribute; for paired runs their number less one."""
    squares = sum(part**2 / (number - 1) for part, number in zip(parts, runs, strict=False))
    return sum(parts) ** 2 / squares if squares > 0 else float(min(runs) - 1)


def _half(finding: Finding, level: float) -> float:
    """Half the width of the interval at 1 - `level`."""
    by_seeds = t_quantile(level, finding.degrees) * finding.seed_error
    return math.hypot(by_seeds, t_quantile(level, finding.documents - 1) * finding.document_error)


def _p_of(finding: Finding) -> float:
    """The level at which the interval just touches 0."""
    size = abs(finding.difference)
    if not size or finding.seed_error + finding.document_error == 0:
        return 0.0 if size else 1.0
    low, high = 1e-15, 1.0
    if size >= _half(finding, low):
        return low
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _half(finding, middle) > size else (low, middle)
    return math.sqrt(low * high)


def _replicates(sides: Sequence[Bits], sizes: Bits, *, seed: Sequence[int]) -> Bits:
    """The sum over `sides` of their mean over runs, in bits per byte, drawn again REPLICATES times over runs and documents."""
    random = np.random.default_rng(list(seed))
    number = len(sizes)
    widened = [side.mean(0) + (side - side.mean(0)) * math.sqrt(len(side) / (len(side) - 1)) for side in sides]
    found = np.empty(REPLICATES)
    at_once = max(1, min(REPLICATES, (1 << 22) // number))
    for start in range(0, REPLICATES, at_once):
        count = min(at_once, REPLICATES - start)
        drawn = random.integers(0, number, (count, number)) + number * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * number).reshape(count, number).astype(np.float64)
        total = np.zeros(count)
        for side in widened:
            runs = random.multinomial(len(side), np.full(len(side), 1 / len(side)), size=count) / len(side)
            total += ((weights @ side.T) * runs).sum(axis=1)
        found[start : start + count] = total / (weights @ sizes)
    return found


def _holm(family: Sequence[Finding], level: float, runs: Sequence[int]) -> tuple[Finding, ...]:
    """Holm's step-down over the findings that have a p; intervals at the level that each is tested at."""
    tested = sorted((f for f in family if math.isfinite(f.p)), key=lambda f: (f.p, f.name))
    adjusted: dict[str, tuple[float, float]] = {}
    highest = 0.0
    for rank, finding in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * finding.p))
        adjusted[finding.name] = highest, level / (len(tested) - rank)
    return tuple(
        _decide(finding, *adjusted[finding.name], level, runs) if finding.name in adjusted else finding
        for finding in family
    )


def _decide(finding: Finding, p_adjusted: float, own_level: float, level: float, runs: Sequence[int]) -> Finding:
    """The finding with its interval and outcome at the level it is tested at."""
    half = _half(finding, own_level)
    decided = p_adjusted <= level
    outcome = NOT_DECIDED if not decided else BETTER if finding.difference > 0 else WORSE
    more, note = (None, "") if decided else _more_seeds(finding, own_level, runs)
    low, high = finding.difference - half, finding.difference + half
    return replace(
        finding, outcome=outcome, low=low, high=high, p_adjusted=p_adjusted, more_seeds=more, note=note
    )  # fmt: skip


def _more_seeds(finding: Finding, level: float, runs: Sequence[int]) -> tuple[int | None, str]:
    """The fewest more seeds a side that would decide with 80% power were the difference the one estimated."""
    if finding.difference == 0 and finding.seed_error + finding.document_error == 0:
        return None, "every run of A gave the bits of its pair of B: to the model the two are the same"
    if abs(finding.difference) < (t_quantile(level, finding.documents - 1) + POWER_Z) * finding.document_error:
        return None, "more seeds alone will not decide; the held-out documents are too few for a difference this small"
    low, high = 0, MAX_MORE_SEEDS + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _would_decide(finding, level, [n + middle for n in runs]) else (middle, high)
    return high, ""


def _would_decide(finding: Finding, level: float, runs: Sequence[int]) -> bool:
    parts = [finding.seed_sd**2 / number for number in runs]
    later = replace(finding, seed_error=math.sqrt(sum(parts)), degrees=_degrees(parts, runs))
    spread = math.hypot(later.seed_error, later.document_error)
    return abs(finding.difference) >= _half(later, level) + POWER_Z * spread
