"""Ranking quality under full ranking: every item a user has not seen in training is a candidate.

The protocol of LightGCN (He et al. 2020) and its successors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.kernels.toplists import top_lists

__all__ = ["Estimate", "RankingMetrics", "ndcg_at_k", "rank", "ranking_metrics", "recall_at_k"]

Floats = NDArray[np.float32]
Rows = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Estimate:
    """A mean over users and its standard error."""

    mean: float
    standard_error: float


@dataclass(frozen=True)
class RankingMetrics:
    """Ranking quality at one length of list.

    Attributes:
        recall: Recall@k.
        ndcg: NDCG@k.
        num_users: Users with at least one test item, over whom both are averaged.
        k: Length of the lists.
    """

    recall: Estimate
    ndcg: Estimate
    num_users: int
    k: int


def rank(
    users: Floats | Callable[[slice], Floats],
    items: Floats | None,
    k: int,
    *,
    num_users: int | None = None,
    exclude: Rows | None = None,
) -> NDArray[np.int64]:
    """The `k` best items for each user, in blocks: scores of all pairs are never held at once.

    Args:
        users: (n, d) float32, or a callable that gives the (len, m) float32 scores of a slice of users over all items.
        items: (m, d) float32; None with a callable.
        k: Length of the lists.
        num_users: How many users there are; needed with a callable.
        exclude: ``(indptr, indices)`` of a compressed-row matrix: items a user must not get (those of training).

    Returns:
        (n, k) int64, best first; equal scores go to the lower item. Where a user has fewer than `k` candidates the
        rest is -1.

    Raises:
        ValueError: The arguments do not go together.
    """
    if callable(users):
        if items is not None or num_users is None:
            raise ValueError("with a callable that scores, pass items=None and num_users")
        scorer, num_items = users, _width(users)
        return top_lists(lambda q, _: scorer(q), num_users, num_items, k, exclude=exclude, row_block=max(num_items, 1))[
            1
        ]
    if items is None or users.ndim != 2 or items.ndim != 2 or users.shape[1] != items.shape[1]:
        found = None if items is None else items.shape
        raise ValueError(f"users (n, d) and items (m, d) must share d; found {users.shape} and {found}")
    columns = np.ascontiguousarray(items.T, np.float32)
    rows = np.ascontiguousarray(users, np.float32)
    return top_lists(lambda q, r: rows[q] @ columns[:, r], len(rows), len(items), k, exclude=exclude)[1]


def _width(scorer: Callable[[slice], Floats]) -> int:
    return int(scorer(slice(0, 1)).shape[1])


def _hits(ranked: NDArray[np.int64], test: Rows, num_items: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which ranked items are test items (n, k), and how many test items each user has (n)."""
    indptr, indices = test
    lengths = np.diff(indptr).astype(np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    wanted = np.sort(owner * num_items + indices.astype(np.int64))
    asked = np.arange(len(ranked))[:, None] * num_items + ranked
    place = np.minimum(np.searchsorted(wanted, asked), max(len(wanted) - 1, 0))
    found = wanted[place] == asked if len(wanted) else np.zeros(ranked.shape, bool)
    return found & (ranked >= 0), lengths


def _checked(ranked: NDArray[np.int64], test: Rows) -> int:
    if ranked.ndim != 2 or len(test[0]) != len(ranked) + 1:
        raise ValueError(f"ranked (n, k) needs test[0] of n + 1 offsets; found {ranked.shape} and {len(test[0])}")
    return int(max(ranked.max(initial=-1), test[1].max(initial=-1))) + 1


def recall_at_k(ranked: NDArray[np.int64], test: Rows) -> NDArray[np.float64]:
    """Share of each user's test items among the ranked ones.

    Args:
        ranked: (n, k) int64 as from `rank`.
        test: ``(indptr, indices)`` of the (n, items) matrix of test interactions, each once.

    Returns:
        (n) float64; NaN for a user without test items.
    """
    hits, lengths = _hits(ranked, test, _checked(ranked, test))
    return np.where(lengths > 0, hits.sum(1) / np.maximum(lengths, 1), np.nan)


def ndcg_at_k(ranked: NDArray[np.int64], test: Rows) -> NDArray[np.float64]:
    """Discounted gain of each user's list against the best possible one, gains being 0 or 1.

    Args:
        ranked: (n, k) int64 as from `rank`.
        test: As for `recall_at_k`. The ideal list holds ``min(k, test items)`` hits.

    Returns:
        (n) float64; NaN for a user without test items.
    """
    hits, lengths = _hits(ranked, test, _checked(ranked, test))
    k = ranked.shape[1]
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(lengths, k)]
    return np.where(ideal > 0, hits @ discounts / np.where(ideal > 0, ideal, 1), np.nan)


def _estimate(values: NDArray[np.float64]) -> Estimate:
    known = values[~np.isnan(values)]
    if not len(known):
        return Estimate(float("nan"), float("nan"))
    error = float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else float("nan")
    return Estimate(float(known.mean()), error)


def ranking_metrics(
    users: Floats | Callable[[slice], Floats],
    items: Floats | None,
    test: Rows,
    *,
    exclude: Rows | None = None,
    k: int = 20,
) -> RankingMetrics:
    """Recall@k and NDCG@k over all users that have test items.

    Args:
        users: (n, d) float32, or a callable that scores, as for `rank`.
        items: (m, d) float32, or None.
        test: ``(indptr, indices)`` of the (n, items) test interactions.
        exclude: The same of the training interactions.
        k: Length of the lists.

    Returns:
        Means and standard errors.
    """
    ranked = rank(users, items, k, num_users=len(test[0]) - 1, exclude=exclude)
    recall, ndcg = recall_at_k(ranked, test), ndcg_at_k(ranked, test)
    return RankingMetrics(_estimate(recall), _estimate(ndcg), int(np.sum(~np.isnan(recall))), k)
