"""Timing of several sides in one process, by turns, so that whatever slows the machine slows them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["best", "by_turns", "ratio", "rows_of"]

Call = Callable[[int], Any]


def by_turns(sides: Mapping[str, Call], repeats: int) -> dict[str, list[float]]:
    """Seconds of every repeat of every side; call i gets the number of its repeat.

    The order is turned round at every repeat, and a first round (number -1) is not counted. Results are dropped before
    the next side runs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for repeat in range(-1, repeats):
        for name in order:
            start = time.perf_counter()
            result = sides[name](repeat)
            taken = time.perf_counter() - start
            del result
            if repeat >= 0:
                seconds[name].append(taken)
        order.reverse()
    return seconds


def best(seconds: Mapping[str, list[float]], names: list[str]) -> str:
    """The side with the lowest median among `names`."""
    return min(names, key=lambda name: statistics.median(seconds[name]))


def ratio(peer: list[float], ours: list[float]) -> dict[str, float]:
    """How many times faster ours is: medians, and quartiles over the repeats' own ratios."""
    each = np.asarray(peer) / np.asarray(ours)
    return {
        "ratio": statistics.median(peer) / statistics.median(ours),
        "low": float(np.quantile(each, 0.25)),
        "high": float(np.quantile(each, 0.75)),
    }


def rows_of(kind: str, rows: int, shape: tuple[int, ...], seed: int) -> NDArray[np.int64]:
    """Row numbers, ``uniform`` or ``zipf`` (exponent 1.05 over all rows, ranks scattered over the table)."""
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        return rng.integers(0, rows, shape)
    mass = np.cumsum(np.arange(1, rows + 1, dtype=np.float64) ** -1.05)
    ranks = np.searchsorted(mass, rng.random(shape) * mass[-1])
    return (ranks * 2_654_435_761 + 12_345) % rows
