"""Rows as floats of 32, 16 or 16 brain bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, dtype_name, namespace, to_numpy
from pintsize.errors import TableError
from pintsize.formats._addresses import rows_at
from pintsize.formats.base import PER_ROW, CompressedTable
from pintsize.kernels import address, native

__all__ = ["DenseTable", "bfloat16_bits"]

_STORED = {"float32": "float32", "float16": "float16", "bfloat16": "int16"}


def bfloat16_bits(rows: NDArray[np.float32]) -> NDArray[np.int16]:
    """The upper halves of float32 values, rounded to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(rows), quiet, rounded).astype(np.uint16).view(np.int16)


@dataclass(frozen=True, eq=False)
class DenseTable(CompressedTable):
    """Float rows.

    Args:
        rows: (num_embeddings, embedding_dim) float32 or float16, or int16 that hold the bits of bfloat16.
        dtype: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
    """

    tag: ClassVar[str] = "dense"

    rows: Array = field(metadata=PER_ROW)
    dtype: str = "float32"

    @property
    def num_embeddings(self) -> int:
        return int(self.rows.shape[0])

    @property
    def embedding_dim(self) -> int:
        return int(self.rows.shape[1])

    def check(self) -> None:
        stored = _STORED.get(self.dtype)
        found = dtype_name(self.rows)
        if stored is None:
            raise TableError(f"dense: dtype is one of {', '.join(_STORED)}; found {self.dtype!r}")
        if self.rows.ndim != 2 or self.rows.shape[1] < 1 or found != stored:
            raise TableError(f"dense: {self.dtype} rows are {stored} (n, d); found {found} {tuple(self.rows.shape)}")

    def validate(self) -> None:
        self.check()
        for start in range(0, self.num_embeddings, 1 << 16):
            block = to_numpy(_to_float32(self.rows[start : start + (1 << 16)], self.dtype))
            bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
            if bad.size:
                raise TableError(f"dense: row {start + bad[0]} holds a value that is not finite")

    def map_parts(self, fn: Callable[[CompressedTable], CompressedTable]) -> CompressedTable:
        return fn(self)

    def _gather(self, rows: Array) -> Array:
        return _to_float32(namespace(self.rows).take(self.rows, rows, axis=0), self.dtype)

    def _gather_native(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> bool:
        kernels = native()
        if kernels is None or self._layout is None:
            return False
        kernels.dense_gather(self._layout, address(rows), len(rows), address(out))
        return True

    def _bag_native(
        self,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        mean: bool,
        weights: NDArray[np.float32] | None,
        out: NDArray[np.float32],
    ) -> bool:
        kernels = native()
        if kernels is None or self._layout is None:
            return False
        factors = 0 if weights is None else address(weights)
        kernels.dense_bag(
            self._layout, address(rows), len(rows), address(starts), len(starts), mean, factors, address(out)
        )
        return True

    @cached_property
    def _layout(self) -> tuple[int, int, int, int] | None:
        """What the kernels read, in the order of bind_tables.cpp; None where they cannot."""
        place = rows_at(self.rows)
        return None if place is None else (*place, self.embedding_dim, tuple(_STORED).index(self.dtype))


def _to_float32(rows: Array, dtype: str) -> Any:
    xp = namespace(rows)
    if dtype != "bfloat16":
        return xp.astype(rows, xp.float32)
    return (xp.astype(rows, xp.int32) << 16).view(xp.float32)
