"""Which values have a row of their own: those seen often enough; all others share row 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError

__all__ = ["Vocabulary"]


class Vocabulary:
    """Rows of values, the most frequent first, from row 1; row 0 is for every other value.

    Args:
        counts: How often each value was seen.
        minimum: A value seen less often gets no row.
        undercount: By how much a count may be too low at most; 0 where the counts are exact.

    Raises:
        TableError: `minimum` is below 1.
    """

    def __init__(self, counts: Counter[Any], *, minimum: int = 1, undercount: int = 0) -> None:
        if minimum < 1:
            raise TableError(f"minimum must be at least 1; found {minimum}")
        kept = sorted((-count, value) for value, count in counts.items() if count >= minimum)
        self.values: tuple[Any, ...] = tuple(value for _, value in kept)
        self.undercount = undercount
        self._rows = {value: row for row, value in enumerate(self.values, 1)}

    @classmethod
    def from_stream(cls, chunks: Iterable[Any], *, minimum: int = 1, limit: int | None = None) -> Vocabulary:
        """Counts a stream of arrays of values of one kind (numbers or strings).

        Args:
            chunks: One-dimensional arrays.
            minimum: A value counted less often gets no row.
            limit: Values counted at once between chunks; beyond it the rarest are forgotten until half of it is left
                at most, and `undercount` says how much a count may have lost. None counts exactly.

        Raises:
            TableError: `minimum` or `limit` is below 1.
        """
        if limit is not None and limit < 1:
            raise TableError(f"limit must be at least 1 or None; found {limit}")
        counts: Counter[Any] = Counter()
        lost = 0
        for chunk in chunks:
            values, seen = np.unique(np.asarray(chunk), return_counts=True)
            for value, count in zip(values.tolist(), seen.tolist(), strict=True):
                counts[value] += count
            if limit is not None and len(counts) > limit:
                threshold = sorted(counts.values(), reverse=True)[limit // 2]
                counts = Counter({value: count for value, count in counts.items() if count > threshold})
                lost += threshold  # a value forgotten each time loses at most the sum of the thresholds
        return cls(counts, minimum=minimum, undercount=lost)

    def __len__(self) -> int:
        """Rows, row 0 among them."""
        return len(self.values) + 1

    def rows(self, values: Any) -> NDArray[np.int32]:
        """(n) int32 rows of (n) values; 0 for what has no row."""
        distinct, place = np.unique(np.asarray(values), return_inverse=True)
        known = np.array([self._rows.get(value, 0) for value in distinct.tolist()], np.int32)
        return known[place]
