"""How much recall unseen queries will have, from that of a sample."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["lower_bound"]

_DEVIATIONS = 2.33


def lower_bound(recalls: NDArray[np.float64]) -> float:
    """What the mean recall of unseen queries of the same kind exceeds with about 99% confidence.

    The mean less 2.33 standard errors, after one query that found half was added to the sample: a sample without a miss
    does not prove that there are none.

    Args:
        recalls: (num_queries,) share found of each query of the sample.
    """
    held = np.append(recalls, 0.5)
    return float(held.mean() - _DEVIATIONS * held.std() / math.sqrt(len(held)))
