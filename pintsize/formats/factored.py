"""Narrow rows times a small basis."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, namespace
from pintsize.errors import TableError
from pintsize.formats._device import fill_on_device, pool_on_device
from pintsize.formats.base import PER_ROW, SHARED, CompressedTable
from pintsize.kernels import address, native

__all__ = ["FactoredTable"]

_BLOCK_ROWS = 1 << 14
_SMALL_BASIS = 1 << 14  # values that lie in the first cache level beside a few rows
_DEVICE_ROWS = 1 << 18


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

    def _gather_native(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> bool:
        if native() is None:
            return False
        values = np.empty((min(len(rows), _BLOCK_ROWS), self.values.embedding_dim), np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            self.values._fill(block, values[: len(block)])
            self._multiply(values[: len(block)], out[start : start + len(block)])
        return True

    def _multiply(self, values: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """(n, r) float32 values times the basis; a large basis is left to NumPy, which blocks it for the caches."""
        kernels, basis = native(), np.ascontiguousarray(self._basis, np.float32)
        if basis.size > _SMALL_BASIS or not out.flags.c_contiguous:
            np.matmul(values, basis, out=out)
            return
        kernels.narrow_product(address(values), len(values), len(basis), address(basis), basis.shape[1], address(out))

    def _bag_native(
        self,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        mean: bool,
        weights: NDArray[np.float32] | None,
        out: NDArray[np.float32],
    ) -> bool:
        if native() is None:
            return False
        # The basis is linear: narrow rows are summed, and each sum is multiplied once.
        sums = np.empty((len(out), self.values.embedding_dim), np.float32)
        self.values._pool(rows, starts, mean, weights, sums)
        self._multiply(sums, out)
        return True

    def _gather_triton(self, kernels: Any, rows: Array, out: Array) -> bool:
        for start in range(0, rows.shape[0], _DEVICE_ROWS):
            block = out[start : start + _DEVICE_ROWS]
            values = block.new_empty((block.shape[0], self.values.embedding_dim))
            fill_on_device(self.values, rows[start : start + _DEVICE_ROWS], values)
            block[...] = values @ self._basis
        return True

    def _bag_triton(
        self, kernels: Any, rows: Array, bounds: NDArray[np.int64], mean: bool, weights: Array | None, out: Array
    ) -> bool:
        sums = out.new_empty((out.shape[0], self.values.embedding_dim))
        pool_on_device(self.values, rows, bounds, mean, weights, sums)
        out[...] = sums @ self._basis
        return True

    def _scores(self, queries: Array, start: int, stop: int) -> Array:
        return self.values._scores(queries @ self._basis.T, start, stop)
