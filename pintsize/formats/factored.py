"""Narrow rows times a small basis."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from pintsize.arrays import Array, namespace
from pintsize.errors import TableError
from pintsize.formats.base import PER_ROW, SHARED, CompressedTable

__all__ = ["FactoredTable"]


@dataclass(frozen=True, eq=False)
class FactoredTable(CompressedTable):
    """Rows of width r, in any format, times an (r, embedding_dim) basis, in any format.

    Args:
        values: The (num_embeddings, r) table of coefficients.
        basis: The (r, embedding_dim) table of directions.
    """

    tag: ClassVar[str] = "factored"

    values: CompressedTable = field(metadata=PER_ROW)
    basis: CompressedTable = field(kw_only=True, metadata=SHARED)

    @property
    def num_embeddings(self) -> int:
        return self.values.num_embeddings

    @property
    def embedding_dim(self) -> int:
        return self.basis.embedding_dim

    def check(self) -> None:
        if not isinstance(self.values, CompressedTable) or not isinstance(self.basis, CompressedTable):
            raise TableError("factored: values and basis are tables")
        if self.values.embedding_dim != self.basis.num_embeddings:
            raise TableError(
                f"factored: values of width {self.values.embedding_dim} "
                f"do not fit a basis of {self.basis.num_embeddings} rows"
            )

    @cached_property
    def _basis(self) -> Array:
        """The decoded basis: it is small, and every look-up needs all of it."""
        xp = namespace(next(iter(self.basis.tensors().values())))
        return self.basis._gather(xp.arange(self.basis.num_embeddings, device=self.basis._device or "cpu"))

    def _gather(self, rows: Array) -> Array:
        return self.values._gather(rows) @ self._basis

    def _scores(self, queries: Array, start: int, stop: int) -> Array:
        return self.values._scores(queries @ self._basis.T, start, stop)
