"""Only the values that were kept, with their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, dtype_name, namespace, to_numpy
from pintsize.errors import TableError
from pintsize.formats.base import CompressedTable
from pintsize.formats.dense import DenseTable

__all__ = ["VALUES_A_ROW", "SparseTable"]

VALUES_A_ROW = 64


@dataclass(frozen=True, eq=False)
class SparseTable(CompressedTable):
    """Kept values and positions, row after row (compressed sparse rows).

    Args:
        positions: (kept,) columns of the values: uint8 up to 256 columns, int32 beyond; rising within a row.
        starts: (num_embeddings + 1,) int32 or int64: where each row begins in `positions`.
        columns: The embedding_dim.
        values: The kept values in their order, cut into a table of `VALUES_A_ROW` columns whose last row is filled up
            with zeros: a table, so that values may be stored in any format.
    """

    tag: ClassVar[str] = "sparse"

    positions: Array
    starts: Array
    columns: int
    values: CompressedTable

    @classmethod
    def from_kept(cls, rows: NDArray[np.float32], kept: NDArray[np.bool_]) -> SparseTable:
        """The table of the values of `rows` where `kept`; both (n, d)."""
        columns = rows.shape[1]
        counts = kept.sum(axis=1)
        starts = np.concatenate([[0], np.cumsum(counts)])
        positions = np.nonzero(kept)[1].astype(np.uint8 if columns <= 256 else np.int32)
        return cls(positions, _narrow(starts), columns, _cut(rows[kept]))

    @property
    def streams(self) -> bool:
        return False

    @property
    def num_embeddings(self) -> int:
        return int(self.starts.shape[0]) - 1

    @property
    def embedding_dim(self) -> int:
        return self.columns

    def check(self) -> None:
        if not isinstance(self.values, CompressedTable) or not isinstance(self.columns, int) or self.columns < 1:
            raise TableError("sparse: values are a table and columns a positive integer")
        kinds = dtype_name(self.positions), dtype_name(self.starts)
        wanted = "uint8" if self.columns <= 256 else "int32"
        if (
            kinds[0] != wanted
            or kinds[1] not in ("int32", "int64")
            or self.positions.ndim != 1
            or self.starts.ndim != 1
        ):
            raise TableError(f"sparse: positions are {wanted} (kept,), starts int32 or int64 (n + 1,); found {kinds}")
        kept, width = int(self.positions.shape[0]), self.values.embedding_dim
        if self.starts.shape[0] < 1 or self.values.num_embeddings != -(-kept // width):
            raise TableError(f"sparse: {kept} positions and {self.values.num_embeddings} x {width} values do not fit")

    def validate(self) -> None:
        super().validate()
        starts, positions = to_numpy(self.starts).astype(np.int64), to_numpy(self.positions)
        if starts[0] != 0 or starts[-1] != len(positions) or (np.diff(starts) < 0).any():
            raise TableError(f"sparse: starts must rise from 0 to {len(positions)}")
        if positions.size and (int(positions.max()) >= self.columns or int(positions.min()) < 0):
            raise TableError(f"sparse: a position lies outside the {self.columns} columns")

    def _gather(self, rows: Array) -> Array:
        xp = namespace(self.starts)
        begin = xp.astype(xp.take(self.starts, rows, axis=0), xp.int64)
        count = xp.astype(xp.take(self.starts, rows + 1, axis=0), xp.int64) - begin
        kept = int(self.positions.shape[0])
        out = xp.zeros((rows.shape[0], self.columns), dtype=xp.float32, device=rows.device)
        if rows.shape[0] == 0 or kept == 0:
            return out
        if bool(xp.any((begin < 0) | (count < 0) | (count > self.columns) | (begin + count > kept))):
            raise TableError("sparse: starts point outside the values; the table is damaged")
        owner = xp.repeat(xp.arange(rows.shape[0], device=rows.device), count)
        first = xp.repeat(xp.cumulative_sum(count) - count, count)
        place = xp.repeat(begin, count) + xp.arange(owner.shape[0], device=rows.device) - first
        column = xp.astype(xp.take(self.positions, place, axis=0), xp.int64)
        if bool(xp.any((column < 0) | (column >= self.columns))):
            raise TableError("sparse: a position lies outside the columns; the table is damaged")
        width = self.values.embedding_dim
        blocks = xp.unique_values(place // width)
        values = self.values._gather(blocks)
        index = xp.searchsorted(blocks, place // width)
        out[owner, column] = values[index, place % width]
        return out

    @classmethod
    def _concat(cls, parts: Sequence[Any]) -> CompressedTable:
        if any(p.columns != parts[0].columns for p in parts):
            raise TableError("only sparse tables of one width can be put together")
        if any(type(p.values) is not DenseTable for p in parts):
            raise TableError("sparse tables are put together before their values are compressed")
        values = [to_numpy(p.values.rows).reshape(-1)[: p.positions.shape[0]] for p in parts]
        counts = np.concatenate([np.diff(to_numpy(p.starts).astype(np.int64)) for p in parts])
        starts = np.concatenate([[0], np.cumsum(counts)])
        positions = np.concatenate([to_numpy(p.positions) for p in parts])
        return cls(positions, _narrow(starts), parts[0].columns, _cut(np.concatenate(values)))


def _cut(values: NDArray[np.float32]) -> DenseTable:
    rows = -(-len(values) // VALUES_A_ROW)
    table = np.zeros(rows * VALUES_A_ROW, np.float32)
    table[: len(values)] = values
    return DenseTable(table.reshape(rows, VALUES_A_ROW))


def _narrow(starts: NDArray[np.int64]) -> NDArray[np.int32] | NDArray[np.int64]:
    return starts.astype(np.int32) if starts[-1] < 2**31 else starts
