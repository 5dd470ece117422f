"""Who clicked on what: the form that every click log is brought to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError

__all__ = ["Clicks"]


@dataclass(frozen=True)
class Clicks:
    """Impressions: a row number in each categorical field, numbers, and whether there was a click.

    Attributes:
        fields: (n, fields) int32; column f lies in ``[0, cardinalities[f])``.
        labels: (n) uint8, 0 or 1.
        names: Name of each field; all different.
        cardinalities: Rows that each field has, whether they occur or not.
        numbers: (n, numbers) float32, finite; (n, 0) where a log has none.
        number_names: Name of each column of `numbers`.

    Raises:
        TableError: Shapes differ, a value is out of range, or a name stands twice.
    """

    fields: NDArray[np.int32]
    labels: NDArray[np.uint8]
    names: tuple[str, ...]
    cardinalities: tuple[int, ...]
    numbers: NDArray[np.float32]
    number_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.labels)
        wanted = {"labels": (n,), "fields": (n, len(self.names)), "numbers": (n, len(self.number_names))}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise TableError(f"{name} must have shape {shape}; found {getattr(self, name).shape}")
        if len(self.cardinalities) != len(self.names):
            raise TableError(f"{len(self.names)} fields need as many cardinalities; found {len(self.cardinalities)}")
        if len(set(self.names + self.number_names)) != len(self.names + self.number_names):
            raise TableError(f"names must be all different; found {', '.join(self.names + self.number_names)}")
        if n:
            self._check_values()

    def _check_values(self) -> None:
        if self.labels.max() > 1:
            raise TableError(f"labels must be 0 or 1; found {self.labels.max()}")
        low, high = self.fields.min(axis=0), self.fields.max(axis=0)
        for name, first, last, limit in zip(self.names, low, high, self.cardinalities, strict=True):
            if first < 0 or last >= limit:
                raise TableError(f"rows of {name} must lie in [0, {limit}); found {first} to {last}")
        if not np.isfinite(self.numbers).all():
            raise TableError("numbers must be finite; found NaN or infinity: fill what is missing first")

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, chosen: NDArray[Any] | slice) -> Clicks:
        """The chosen impressions (a mask, positions or a slice), with the same fields."""
        return Clicks(
            self.fields[chosen],
            self.labels[chosen],
            self.names,
            self.cardinalities,
            self.numbers[chosen],
            self.number_names,
        )

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """How often each row of each field occurs: an array of its cardinality, by name."""
        columns = zip(self.names, self.fields.T, self.cardinalities, strict=True)
        return {name: np.bincount(column, minlength=size).astype(np.int64) for name, column, size in columns}
