"""How many bits each group of rows gets, so that the weighted error is small and the bytes keep to a budget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pintsize.formats.partitioned import RANK_BLOCK

__all__ = ["allocate_bits", "mixed_bytes"]

Bytes = Callable[[NDArray[np.int64]], int]
"""From the rows that have 0, 1, 2, ... bits to the bytes of the whole table."""


def allocate_bits(
    sizes: NDArray[np.int64], errors: NDArray[np.float64], row_bytes: NDArray[np.int64], total: Bytes, budget: float
) -> NDArray[np.int64] | None:
    """The bits of each group, at most `budget` bytes in all.

    Starting from no bits, groups are given more in the order of error saved a byte, along the lower convex hull of
    their error; every step is checked against the exact byte count. One width for all groups is tried as well: it needs
    no map of the rows.

    Args:
        sizes: (groups,) rows.
        errors: (groups, widths) weighted error of each group at 0, 1, 2, ... bits.
        row_bytes: (widths,) bytes of a row.
        total: The exact byte count.
        budget: Bytes.

    Returns:
        (groups,) bits, or None where no choice keeps to the budget.
    """
    groups, widths = errors.shape
    rows = int(sizes.sum())
    best, least = None, np.inf
    for bits in range(widths):
        if total(np.eye(widths, dtype=np.int64)[bits] * rows) <= budget and errors[:, bits].sum() < least:
            best, least = np.full(groups, bits, np.int64), float(errors[:, bits].sum())
    chosen = np.zeros(groups, np.int64)
    held = np.zeros(widths, np.int64)
    held[0] = rows
    if total(held) > budget:
        return best
    for _, group, low, high in sorted(_upgrades(sizes, errors, row_bytes)):
        if chosen[group] != low:
            continue
        moved = held.copy()
        moved[low] -= sizes[group]
        moved[high] += sizes[group]
        if total(moved) <= budget:
            chosen[group], held = high, moved
    return chosen if errors[np.arange(groups), chosen].sum() < least else best


def mixed_bytes(held: NDArray[np.int64], row_bytes: NDArray[np.int64], columns: int, shared: int) -> int:
    """The bytes of a table of which ``held[bits]`` rows have so many bits, row map and mean included.

    Args:
        held: (widths,) rows.
        row_bytes: (widths,) bytes of a row.
        columns: Columns of the mean.
        shared: Bytes that each width above 0 takes once.
    """
    rows, parts = int(held.sum()), int((held > 0).sum())
    once = int((held[1:] > 0).sum()) * shared + (4 * columns if held[0] else 0)
    ranks = parts * -(-rows // RANK_BLOCK) * (4 if rows < 2**31 else 8)
    return int(np.dot(held, row_bytes)) + once + (rows + ranks if parts > 1 else 0)


def _upgrades(
    sizes: NDArray[np.int64], errors: NDArray[np.float64], row_bytes: NDArray[np.int64]
) -> list[tuple[float, int, int, int]]:
    """(minus the error saved a byte, group, bits, more bits) along each group's lower convex hull."""
    found = []
    for group in range(len(sizes)):
        cost = sizes[group] * row_bytes
        low = 0
        while True:
            higher = np.flatnonzero((cost > cost[low]) & (errors[group] < errors[group, low]))
            if higher.size == 0:
                break
            saved = (errors[group, low] - errors[group, higher]) / (cost[higher] - cost[low])
            pick = int(saved.argmax())
            found.append((-float(saved[pick]), group, low, int(higher[pick])))
            low = int(higher[pick])
    return found
