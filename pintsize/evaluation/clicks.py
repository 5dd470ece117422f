"""Quality of predicted clicks: how well they are ordered, and how well they are calibrated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError

__all__ = ["auc", "logloss"]


def _checked(labels: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    labels, values = np.asarray(labels), np.asarray(values)
    if labels.ndim != 1 or labels.shape != values.shape or not len(labels):
        raise TableError(f"labels and predictions must be (n) each, n > 0; found {labels.shape} and {values.shape}")
    if not np.isin(labels, (0, 1)).all():
        raise TableError("labels must be 0 or 1; found others: turn ratings or counts into clicks first")
    if not np.isfinite(values).all():
        raise TableError("predictions must be finite; found NaN or infinity: look at how the model was trained")
    return labels.astype(bool), values.astype(np.float64)


def auc(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """Probability that a click scores above a non-click, ties counting one half (area under the ROC curve).

    Args:
        labels: (n) of 0 and 1.
        scores: (n) finite; only their order matters.

    Raises:
        TableError: Shapes differ, a value is out of range, or all labels are the same.
    """
    clicked, values = _checked(labels, scores)
    positives = int(clicked.sum())
    negatives = len(clicked) - positives
    if not positives or not negatives:
        raise TableError(f"AUC needs both labels; found {positives} clicks of {len(clicked)}: judge on more rows")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[place][clicked].sum() - positives * (positives + 1) / 2) / positives / negatives)


def logloss(labels: NDArray[Any], probabilities: NDArray[Any], *, clip: float = 1e-7) -> float:
    """Mean of ``-log p`` over clicks and ``-log(1 - p)`` over the others, in nats.

    Args:
        labels: (n) of 0 and 1; all may be the same.
        probabilities: (n) in [0, 1].
        clip: Probabilities are moved into ``[clip, 1 - clip]``, so that one sure mistake costs a finite amount.

    Raises:
        TableError: Shapes differ, or a value is out of range.
    """
    clicked, values = _checked(labels, probabilities)
    if not 0 < clip < 0.5:
        raise TableError(f"clip must lie between 0 and 0.5; found {clip}")
    if values.min() < 0 or values.max() > 1:
        raise TableError(f"probabilities must lie in [0, 1]; found {values.min()} to {values.max()}: apply a sigmoid")
    p = np.clip(values, clip, 1 - clip)
    return float(-np.where(clicked, np.log(p), np.log1p(-p)).mean())
