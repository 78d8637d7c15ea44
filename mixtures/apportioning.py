"""The arithmetic of a mixture: from weights to planned tokens, epochs, and whether repetition is memorized.

Repetition follows Falcon-H1 (arXiv 2507.22448): a source of D unique tokens with weight p is seen again after its epoch
size D / p of trained tokens; it may repeat freely while that is at least the model's memorization window.

TII's example: D = 0.85 GT at p = 50% has an epoch size of 1.7 GT, and a run of 6 GT reads it about 3.5 times.

>>> mixture = Mixture(components=(
...     MixtureComponent(name="a", artifact="a", weight=0.5), MixtureComponent(name="b", artifact="b", weight=0.5),
... ), budget_tokens=6_000_000_000)
>>> a, _ = apportion(mixture, {"a": Available(tokens=850_000_000), "b": Available(tokens=9_000_000_000)})
>>> a.planned_tokens, a.epoch_size_tokens, round(a.epochs, 2)
(3000000000, 1700000000, 3.53)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from mixtures.mixture import Mixture, MixtureComponent
from pipelines.errors import ConfigError

# About 100 GT (optimistic) and 500 GT (strict) at 7B, linear in parameters: one measurement, contested.
WINDOW_TOKENS_AT_7B = 100_000_000_000
STRICT_WINDOW_TOKENS_AT_7B = 500_000_000_000


@dataclass(frozen=True, kw_only=True)
class Available:
    """What a component has to read: trained documents only, without those held out."""

    tokens: int
    documents: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What a component gives. `token_share` is of all trained tokens; `epoch_size_tokens` (D / p) counts trained tokens
    of the whole run between two readings of the same document; None where the component is not read."""

    name: str
    token_share: float
    planned_tokens: int
    epochs: float
    epoch_size_tokens: int | None
    capped: bool


def apportion(mixture: Mixture, available: Mapping[str, Available]) -> tuple[Planned, ...]:
    """Divide `budget_tokens` among the components, by name in `available`, in their order.

    Whole tokens, by largest remainders, so the parts sum to the budget. Raises ConfigError, naming the component and
    the figures, where one has a weight but no tokens, or would exceed its `max_epochs` and may not be redistributed.
    """
    weights = [
        _token_weight(component, available[component.name], mixture.weight_unit) for component in mixture.components
    ]
    caps = [_cap(component, available[component.name]) for component in mixture.components]
    budget = Fraction(mixture.budget_tokens)
    exact = [budget * weight / sum(weights) for weight in weights]
    over = [position for position, cap in enumerate(caps) if cap is not None and exact[position] > cap]
    if over and mixture.over_max_epochs == "error":
        component, tokens = mixture.components[over[0]], available[mixture.components[over[0]].name].tokens
        raise ConfigError(
            f"component {component.name!r}: {float(exact[over[0]]):,.0f} planned of {tokens:,} tokens are "
            f"{float(exact[over[0]] / tokens):.2f} epochs, above max_epochs = {component.max_epochs}; lower its weight or "
            "budget_tokens, raise max_epochs, or set over_max_epochs = 'redistribute'"
        )
    exact, capped = _redistribute(budget, weights, caps)
    planned = _whole(exact, mixture.budget_tokens)
    return tuple(
        Planned(
            name=component.name,
            token_share=part / mixture.budget_tokens,
            planned_tokens=part,
            epochs=part / available[component.name].tokens if part else 0.0,
            epoch_size_tokens=available[component.name].tokens * mixture.budget_tokens // part if part else None,
            capped=position in capped,
        )
        for position, (component, part) in enumerate(zip(mixture.components, planned, strict=True))
    )


def memorization_window_tokens(mixture: Mixture) -> int | None:
    """The window that repetition is judged by, optimistic where it follows from the model; None where nothing is said."""
    if mixture.model_parameters is not None:
        return WINDOW_TOKENS_AT_7B * mixture.model_parameters // 7_000_000_000
    return mixture.memorization_window_tokens


def repetition_warnings(planned: tuple[Planned, ...], window_tokens: int | None) -> tuple[str, ...]:
    """A sentence for each component that is read again within the memorization window."""
    if window_tokens is None:
        return ()
    return tuple(
        f"component {part.name!r} repeats every {part.epoch_size_tokens:,} tokens ({part.epochs:.2f} epochs), within the "
        f"memorization window of {window_tokens:,}: expect it to be memorized; lower its weight or find more of it"
        for part in planned
        if part.epochs > 1 and part.epoch_size_tokens is not None and part.epoch_size_tokens < window_tokens
    )


def _token_weight(component: MixtureComponent, available: Available, unit: str) -> Fraction:
    """The weight in trained tokens: what its unit counts, times the component's tokens per unit."""
    weight = Fraction(component.weight)
    if weight and not available.tokens:
        raise ConfigError(
            f"component {component.name!r}: weight {component.weight}, but {component.artifact!r} is empty"
        )
    if not weight or unit == "tokens":
        return weight
    if unit == "epochs":
        return weight * available.tokens
    units = available.bytes if unit == "bytes" else available.documents
    if not units:
        raise ConfigError(
            f"component {component.name!r}: its weight counts {unit}, and {component.artifact!r} has none"
        )
    return weight * available.tokens / units


def _cap(component: MixtureComponent, available: Available) -> Fraction | None:
    return None if component.max_epochs is None else Fraction(component.max_epochs) * available.tokens


def _redistribute(
    budget: Fraction, weights: list[Fraction], caps: list[Fraction | None]
) -> tuple[list[Fraction], frozenset[int]]:
    """Parts in proportion to the weights, none above its cap: what a cap cuts off goes to the others by their weights."""
    parts: list[Fraction] = [Fraction(0)] * len(weights)
    free, capped, left = [p for p, weight in enumerate(weights) if weight], set[int](), budget
    while free:
        total = sum((weights[p] for p in free), Fraction(0))
        over = [p for p in free if (cap := caps[p]) is not None and left * weights[p] / total > cap]
        if not over:
            for p in free:
                parts[p] = left * weights[p] / total
            return parts, frozenset(capped)
        for p in over:
            cap = caps[p]
            parts[p] = cap if cap is not None else Fraction(0)
            capped.add(p)
            free.remove(p)
        left = budget - sum((parts[p] for p in capped), Fraction(0))
    if left > 0:
        raise ConfigError(
            f"budget_tokens = {int(budget):,}, but every component is at its max_epochs with {int(budget - left):,} tokens; "
            "lower the budget or raise max_epochs"
        )
    return parts, frozenset(capped)


def _whole(exact: list[Fraction], total: int) -> list[int]:
    parts = [int(value) for value in exact]
    order = sorted(range(len(exact)), key=lambda p: (parts[p] - exact[p], p))
    for position in order[: total - sum(parts)]:
        parts[position] += 1
    return parts
