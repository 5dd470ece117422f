"""Rows spread over sub-tables of any format, by a row map of little more than a byte a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, dtype_name, namespace, to_numpy
from pintsize.errors import TableError
from pintsize.formats._addresses import shared_at
from pintsize.formats._device import fill_on_device
from pintsize.formats.base import PER_ROW, SHARED, CompressedTable
from pintsize.kernels import address, native

__all__ = ["RANK_BLOCK", "PartitionedTable", "damaged"]

RANK_BLOCK = 256
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class PartitionedTable(CompressedTable):
    """A part for each row. Within its part a row's place is its rank: how many earlier rows belong to the same part.

    The rank is the count up to the row's block of `RANK_BLOCK` rows, which is stored, plus a count inside the block: a
    byte a row and one integer a block and part, where a stored place would cost four bytes a row.

    Args:
        part: (num_embeddings,) uint8: the part of each row.
        before: (ceil(num_embeddings / RANK_BLOCK), parts) int32 or int64: rows of each part before each block.
        parts: The sub-tables, at most 256, of one embedding_dim; part p has as many rows as `part` holds p.
    """

    tag: ClassVar[str] = "partitioned"

    part: Array = field(metadata=PER_ROW)
    before: Array = field(default=None, kw_only=True, metadata=SHARED)
    parts: tuple[CompressedTable, ...] = ()

    @classmethod
    def from_parts(cls, part: NDArray[np.uint8], parts: Sequence[CompressedTable]) -> PartitionedTable:
        """The table whose row i is the next unused row of ``parts[part[i]]``."""
        return cls(np.ascontiguousarray(part, np.uint8), before=_ranks(part, len(parts)), parts=tuple(parts))

    @property
    def streams(self) -> bool:
        return False

    @property
    def num_embeddings(self) -> int:
        return int(self.part.shape[0])

    @property
    def embedding_dim(self) -> int:
        return self.parts[0].embedding_dim

    def check(self) -> None:
        if not isinstance(self.parts, tuple) or not 1 <= len(self.parts) <= 256:
            raise TableError("partitioned: 1 to 256 parts are needed")
        if (
            any(not isinstance(p, CompressedTable) for p in self.parts)
            or len({p.embedding_dim for p in self.parts}) > 1
        ):
            raise TableError("partitioned: the parts are tables of one embedding_dim")
        if self.part.ndim != 1 or dtype_name(self.part) != "uint8":
            raise TableError(f"partitioned: part is uint8 (n,); found {dtype_name(self.part)} {tuple(self.part.shape)}")
        shape = (-(-self.num_embeddings // RANK_BLOCK), len(self.parts))
        if (
            self.before is None
            or dtype_name(self.before) not in ("int32", "int64")
            or tuple(self.before.shape) != shape
        ):
            raise TableError(f"partitioned: before is int32 or int64 {shape}")
        if sum(p.num_embeddings for p in self.parts) != self.num_embeddings:
            raise TableError("partitioned: the parts do not have as many rows as the map")

    def validate(self) -> None:
        super().validate()
        part = to_numpy(self.part)
        if part.size and int(part.max()) >= len(self.parts):
            raise TableError(f"partitioned: a row belongs to part {int(part.max())} of {len(self.parts)}")
        sizes = np.bincount(part, minlength=len(self.parts))
        if [p.num_embeddings for p in self.parts] != sizes.tolist():
            raise TableError("partitioned: a part has another number of rows than the map gives it")
        if not np.array_equal(_ranks(part, len(self.parts)), to_numpy(self.before)):
            raise TableError("partitioned: the stored counts do not agree with the map")

    def _locate(self, rows: Array) -> tuple[Array, Array]:
        """The part and the place in it of each row."""
        xp = namespace(self.part)
        part = xp.take(self.part, rows, axis=0)
        if bool(xp.any(part >= len(self.parts))):
            raise damaged(1)
        block = rows // RANK_BLOCK
        window = xp.arange(RANK_BLOCK, device=rows.device)[None, :] + (block * RANK_BLOCK)[:, None]
        earlier = window < rows[:, None]
        inside = xp.reshape(xp.take(self.part, xp.reshape(xp.where(earlier, window, 0), (-1,)), axis=0), window.shape)
        count = xp.sum(xp.astype(earlier & (inside == part[:, None]), xp.int64), axis=1)
        return part, xp.astype(self.before[block, xp.astype(part, xp.int64)], xp.int64) + count

    def _gather(self, rows: Array) -> Array:
        xp = namespace(self.part)
        out = xp.empty((rows.shape[0], self.embedding_dim), dtype=xp.float32, device=rows.device)
        if rows.shape[0] == 0:
            return out
        part, place = self._locate(rows)
        self._spread(part, place, out, lambda table, inside: table._gather(inside))
        return out

    def _spread(self, part: Array, place: Array, out: Array, read: Callable[[CompressedTable, Array], Array]) -> None:
        """Writes what `read` says of each part's rows where they belong."""
        xp = namespace(self.part)
        for index, table in enumerate(self.parts):
            mine = xp.nonzero(part == index)[0]
            if mine.shape[0] == 0:
                continue
            inside = place[mine]
            if bool(xp.any((inside < 0) | (inside >= table.num_embeddings))):
                raise damaged(2)
            out[mine] = read(table, inside)

    def _gather_triton(self, kernels: Any, rows: Array, out: Array) -> bool:
        if not (self.part.is_contiguous() and self.before.is_contiguous()):
            return False

        def read(table: CompressedTable, inside: Array) -> Array:
            block = out.new_empty((inside.shape[0], self.embedding_dim))
            fill_on_device(table, inside, block)
            return block

        part, place = kernels.locate(rows, self.part, self.before, RANK_BLOCK)
        if bool((part >= len(self.parts)).any()):
            raise damaged(1)
        self._spread(part, place, out, read)
        return True

    def _gather_native(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> bool:
        if native() is None or self._layout is None:
            return False
        for start in range(0, len(rows), _BLOCK_ROWS):
            self._gather_block(rows[start : start + _BLOCK_ROWS], out[start : start + _BLOCK_ROWS])
        return True

    def _gather_block(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        kernels, count = native(), len(rows)
        begins = np.empty(len(self.parts) + 1, np.int64)
        stood, place = np.empty(count, np.int64), np.empty(count, np.int64)
        layout = self._layout[0]  # type: ignore[index]
        wrong = kernels.partition_rows(layout, address(rows), count, address(begins), address(stood), address(place))
        if wrong:
            raise damaged(wrong)
        for index in np.flatnonzero(np.diff(begins)):
            begin, end = int(begins[index]), int(begins[index + 1])
            if end - begin == count:
                self.parts[index]._fill(place, out)
                return
            block = np.empty((end - begin, out.shape[1]), np.float32)
            self.parts[index]._fill(place[begin:end], block)
            kernels.scatter_rows(address(block), out.shape[1], address(stood[begin:end]), end - begin, address(out))

    @cached_property
    def _layout(self) -> tuple[tuple[int, ...], list[NDArray[Any]]] | None:
        """What the kernels read, in the order of bind_tables.cpp, and the arrays made for that; None: not theirs."""
        if not (self.part.flags.c_contiguous and self.before.dtype.isnative):
            return None
        kept: list[NDArray[Any]] = [np.array([p.num_embeddings for p in self.parts], np.int64)]
        fields = (
            shared_at(self.part, kept), self.num_embeddings, len(self.parts), shared_at(self.before, kept),
            int(self.before.dtype == np.int64), address(kept[0]),
        )  # fmt: skip
        return fields, kept

    @classmethod
    def _concat(cls, parts: Sequence[Any]) -> CompressedTable:
        if any(len(p.parts) != len(parts[0].parts) for p in parts):
            raise TableError("only tables with the same number of parts can be put together")
        joined = [CompressedTable.concat(group) for group in zip(*(p.parts for p in parts), strict=True)]
        return cls.from_parts(np.concatenate([to_numpy(p.part) for p in parts]), joined)


def damaged(wrong: int) -> TableError:
    """The error of a row map that disagrees with the parts: 1, no such part; 2, a place outside its part."""
    what = "belongs to no part" if wrong == 1 else "lies outside its part"
    return TableError(f"partitioned: a row {what}; the table is damaged")


def _ranks(part: NDArray[np.uint8], parts: int) -> NDArray[np.int32] | NDArray[np.int64]:
    blocks = -(-len(part) // RANK_BLOCK)
    flat = (np.arange(len(part)) // RANK_BLOCK) * parts + np.minimum(part, parts - 1)
    counts = np.bincount(flat, minlength=blocks * parts)[: blocks * parts].reshape(blocks, parts)
    before = np.cumsum(counts, axis=0) - counts
    return before.astype(np.int32) if len(part) < 2**31 else before.astype(np.int64)
