"""What every recommender asks of a table, whether torch or a method holds it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["drawn", "every_row", "some_rows"]


def every_row(table: nn.Module) -> Tensor:
    """(rows, d), differentiable: the weight of ``nn.Embedding``, or all rows of what `pintsize.swap` put there."""
    rows: Tensor = table.weight  # type: ignore[assignment]
    return rows


def some_rows(table: nn.Module, rows: Tensor) -> Tensor:
    """(*rows.shape, d)."""
    found: Tensor = table(rows)
    return found


@torch.no_grad()
def drawn(rows: int, embedding_dim: int, deviation: float) -> nn.Embedding:
    """An ``nn.Embedding`` drawn from a normal distribution about zero, by torch's seed."""
    table = nn.Embedding(rows, embedding_dim)
    table.weight.normal_(0, deviation)
    return table
