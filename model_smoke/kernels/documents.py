"""Where each token's document starts: document numbers [batch, length] -> the position of each document's first token.

Every kernel asks one question, `s >= start[t]` ("does token s belong to t's document, or is it before its start?"), so a
document number that comes back after another document counts as a new document, and state never leaks through it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class DocumentStarts:
    """`positions[b, t]`, int32 [batch, length]: where in row b the document of token t starts; 0 <= positions[b, t] <= t."""

    positions: torch.Tensor


def document_starts(document: torch.Tensor | DocumentStarts) -> DocumentStarts:
    """The starts of documents numbered per token, [batch, length] of any integer type; computed once, good for all layers.

    >>> document_starts(torch.tensor([[7, 7, 3, 3, 3, 7]])).positions.tolist()
    [[0, 0, 2, 2, 2, 5]]

    Raises ValueError for another shape or type.
    """
    if isinstance(document, DocumentStarts):
        return document
    if document.ndim != 2 or document.dtype not in (torch.int32, torch.int64, torch.int16, torch.uint8):
        raise ValueError(
            f"document has shape {tuple(document.shape)} and type {document.dtype}; give integers of shape [batch, length]"
        )
    batch, length = document.shape
    position = torch.arange(length, device=document.device, dtype=torch.int32).expand(batch, length)
    if length < 2:
        return DocumentStarts(positions=position.contiguous())
    changes = torch.nn.functional.pad(document[:, 1:] != document[:, :-1], (1, 0), value=False)
    positions = torch.where(changes, position, torch.zeros_like(position)).cummax(dim=1).values
    return DocumentStarts(positions=positions.contiguous())
