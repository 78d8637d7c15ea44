"""A mixture one can see: its components as a tree, with fingerprints, tokens, shares and epochs.

```
mixture: 2.0M tokens in 7,812 sequences of 256 (weights count tokens)
├─ web: 1.5M tokens, 75.0%
│  ├─ english (c65cde2f01ab): 1.0M tokens, 50.0%, 2.00 epochs of 500.0K
│  └─ german (77aa01bc33f0): 500.0K tokens, 25.0%, 0.50 epochs of 1.0M
└─ code (0f0f0f0f0f0f): 500.0K tokens, 25.0%, 1.00 epochs of 500.0K
```
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def short_count(number: int) -> str:
    """`1_500_000 -> "1.5M"`; below 1,000 as it is."""
    for size, letter in _UNITS:
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return str(number)


def render_tree(mixture: Mapping[str, Any]) -> str:
    """The tree of a `mixture.json`. Slashes in component names are its branches."""
    root: dict[str, Any] = {}
    for component in mixture["components"]:
        node = root
        for word in filter(None, component["name"].split("/")):
            node = node.setdefault(word, {})
        node[""] = component
    head = (
        f"mixture: {short_count(mixture['budget_tokens'])} tokens in {mixture['num_sequences']:,} sequences of "
        f"{mixture['sequence_length']:,} (weights count {mixture['weight_unit']})"
    )
    return "\n".join([head, *_branches(root, mixture["budget_tokens"], "")])


def _branches(node: Mapping[str, Any], budget: int, indent: str) -> list[str]:
    lines = []
    words = [word for word in node if word]
    for word in words:
        last = word == words[-1]
        lines.append(f"{indent}{'└─' if last else '├─'} {word}{_describe(node[word], budget)}")
        lines += _branches(node[word], budget, indent + ("   " if last else "│  "))
    return lines


def _describe(node: Mapping[str, Any], budget: int) -> str:
    planned = _planned(node)
    text = f": {short_count(planned)} tokens, {100 * planned / budget:.1f}%"
    if "" not in node:
        return text
    own = node[""]
    epochs = f", {own['epochs']:.2f} epochs of {short_count(own['tokens'])}"
    return f" ({own['fingerprint'][:12]}){text}{epochs}{', capped' if own['capped'] else ''}"


def _planned(node: Mapping[str, Any]) -> int:
    own = node[""]["planned_tokens"] if "" in node else 0
    return int(own + sum(_planned(child) for word, child in node.items() if word))
