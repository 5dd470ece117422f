"""Cross-entropy over the items of a batch, block by block: the matrix of all scores is never held."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["batch_softmax"]

_BLOCK = 512


class _BatchSoftmax(torch.autograd.Function):
    """The gradient is known with the loss, so both come from one pass over blocks that stay in the cache."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, items: Tensor, target: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        n = len(queries)
        of_queries, of_items = torch.empty_like(queries), torch.zeros_like(items)
        total = queries.new_zeros(())
        bounds = torch.searchsorted(rows, torch.arange(0, n + _BLOCK, _BLOCK, device=rows.device)).tolist()
        for place, start in enumerate(range(0, n, _BLOCK)):
            block = queries[start : start + _BLOCK]
            wanted = target[start : start + _BLOCK, None]
            scores = block @ items.T
            left_out = slice(bounds[place], bounds[place + 1])
            scores[rows[left_out] - start, columns[left_out]] = -torch.inf
            sizes = torch.logsumexp(scores, dim=1, keepdim=True)
            total += (sizes - scores.gather(1, wanted)).sum()
            shares = scores.sub_(sizes).exp_()
            shares.scatter_add_(1, wanted, shares.new_full((1, 1), -1.0).expand_as(wanted))
            torch.mm(shares, items, out=of_queries[start : start + _BLOCK])
            of_items.addmm_(shares.T, block)
        ctx.save_for_backward(of_queries / n, of_items / n)
        return total / n

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        of_queries, of_items = ctx.saved_tensors
        return of_queries * gradient, of_items * gradient, None, None, None


def batch_softmax(queries: Tensor, items: Tensor, target: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Mean of ``logsumexp_j(q_i . v_j) - q_i . v_target(i)``; differentiable once, in queries and items.

    Args:
        queries: (n, d).
        items: (m, d).
        target: (n) int64 in [0, m).
        rows: (left_out) int64, rising: with `columns`, pairs that are no candidates. None of them is a target.
        columns: (left_out) int64.
    """
    loss: Tensor = _BatchSoftmax.apply(queries, items, target, rows, columns)  # type: ignore[no-untyped-call]
    return loss
