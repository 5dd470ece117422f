"""One byte record a row: packed codes of 1 to 8 bits or trits, with their scale and offset beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, dtype_name, namespace, to_numpy
from pintsize.errors import TableError
from pintsize.formats._addresses import rows_at, shared_at
from pintsize.formats._packing import packed_width, unpack
from pintsize.formats._rotation import check_rotation, rotate, rotate_back
from pintsize.formats._scan import byte_scores, scan_bytes
from pintsize.formats._scan_bits import likely_rows, nearly_topk
from pintsize.formats._topk import Filter, Found
from pintsize.formats.base import PER_ROW, SHARED, CompressedTable
from pintsize.kernels import address, native

__all__ = ["LEVELS", "SCALES", "ScalarTable", "grid_digits"]

LEVELS = (2, 3, 4, 8, 16, 32, 64, 128, 256)
SCALES = ("float16", "grid", "none")


def grid_digits(levels: int) -> int:
    """Digits behind the columns' codes that hold a row's place on the scale grid: at least four bits' worth."""
    return math.ceil(4 / math.log2(levels))


@dataclass(frozen=True, eq=False)
class ScalarTable(CompressedTable):
    """Scalar codes, a record a row.

    A record is the packed codes (`_packing`), then, with ``scale="float16"``, one little-endian float16 scale a group
    and, if `offset`, one float16 offset a group after the scales. With ``scale="grid"`` the row's scale is an entry of
    `grid`, whose index is written in base `levels`, low digit first, as `grid_digits(levels)` further digits behind the
    codes. With ``scale="none"`` every scale is 1.

    The value of a code q is ``(q + bias) * (scale * unit)``, or ``q * (scale * unit) + offset * unit`` where offsets
    are stored; then the rotation, if there is one, is undone. All of it in float32, rounded after each operation.

    Args:
        records: (num_embeddings, record bytes) uint8.
        columns: Codes in a row: the embedding_dim.
        levels: Code values 0..levels-1: a power of two up to 256, or 3 (five ternary digits a byte).
        group: Columns that share a scale; equal to `columns` for one scale a row. The last group may be shorter.
        scale: ``"float16"``, ``"grid"`` or ``"none"``.
        offset: Whether offsets are stored (with float16 scales only).
        bias: Added to a code where no offset is stored.
        unit: A power of two that brings scales into the range of float16.
        grid: (levels ** grid_digits(levels),) float32 scales, with ``scale="grid"``.
        rotation: What rows were multiplied by before they were coded (`_rotation`), or None.
    """

    tag: ClassVar[str] = "scalar"

    records: Array = field(metadata=PER_ROW)
    columns: int
    levels: int
    group: int
    scale: str = "float16"
    offset: bool = True
    bias: float = 0.0
    unit: float = 1.0
    grid: Array | None = field(default=None, kw_only=True, metadata=SHARED)
    rotation: Array | None = field(default=None, kw_only=True, metadata=SHARED)

    @property
    def num_embeddings(self) -> int:
        return int(self.records.shape[0])

    @property
    def embedding_dim(self) -> int:
        return self.columns

    @property
    def groups(self) -> int:
        """Scales a row."""
        return -(-self.columns // self.group)

    @property
    def code_bytes(self) -> int:
        """Bytes of a record before the scales."""
        return packed_width(self.columns + (grid_digits(self.levels) if self.scale == "grid" else 0), self.levels)

    @property
    def record_bytes(self) -> int:
        """Bytes of a record."""
        return self.code_bytes + (2 * self.groups * (2 if self.offset else 1) if self.scale == "float16" else 0)

    def check(self) -> None:
        if self.levels not in LEVELS or self.scale not in SCALES:
            raise TableError(f"scalar: levels {self.levels!r} of {LEVELS}, scale {self.scale!r} of {SCALES} are needed")
        if not (isinstance(self.columns, int) and isinstance(self.group, int) and 1 <= self.group <= self.columns):
            raise TableError(f"scalar: 1 <= group <= columns is needed; found {self.group!r}, {self.columns!r}")
        if self.scale != "float16" and (self.offset or self.group != self.columns):
            raise TableError(f"scalar: offsets and groups go with float16 scales; found scale {self.scale!r}")
        if not (math.isfinite(self.bias) and math.isfinite(self.unit) and math.frexp(self.unit)[0] == 0.5):
            raise TableError(f"scalar: a finite bias and a power of two as unit; found {self.bias!r}, {self.unit!r}")
        if self.records.ndim != 2 or dtype_name(self.records) != "uint8" or self.records.shape[1] != self.record_bytes:
            raise TableError(
                f"scalar: records are uint8 (n, {self.record_bytes}); "
                f"found {dtype_name(self.records)} {tuple(self.records.shape)}"
            )
        entries = self.levels ** grid_digits(self.levels)
        if (self.grid is not None) != (self.scale == "grid"):
            raise TableError("scalar: a grid is stored with scale='grid', and only then")
        if self.grid is not None and (dtype_name(self.grid) != "float32" or tuple(self.grid.shape) != (entries,)):
            raise TableError(f"scalar: the grid is float32 ({entries},); found {tuple(self.grid.shape)}")
        if self.rotation is not None:
            check_rotation(self.rotation, self.columns)

    def validate(self) -> None:
        self.check()
        for name in ("grid", "rotation"):
            array = getattr(self, name)
            if array is not None and not np.isfinite(to_numpy(array)).all():
                raise TableError(f"scalar: the {name} holds a value that is not finite")
        if self.scale != "float16":
            return
        for start in range(0, self.num_embeddings, 1 << 16):
            meta = to_numpy(self.records[start : start + (1 << 16), self.code_bytes :])
            bad = np.flatnonzero(~np.isfinite(np.ascontiguousarray(meta).view(np.float16)).all(axis=1))
            if bad.size:
                raise TableError(f"scalar: row {start + bad[0]} has a scale or offset that is not finite")

    def _gather(self, rows: Array) -> Array:
        decoded = self._decoded(namespace(self.records).take(self.records, rows, axis=0))
        return decoded if self.rotation is None else rotate_back(decoded, self.rotation)

    def _scores(self, queries: Array, start: int, stop: int) -> Array:
        if self.rotation is None:
            return super()._scores(queries, start, stop)
        return self._unrotated._scores(rotate(queries, self.rotation), start, stop)

    def _lookup_small(self, rows: int, count: int, out: int) -> bool:
        kernels = native()
        if kernels is None or self._layout is None or self._rotated_densely:
            return False
        return kernels.scalar_lookup(self._layout[0], rows, count, out) < 0  # type: ignore[no-any-return]

    def _gather_native(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> bool:
        kernels = native()
        if kernels is None or self._layout is None:
            return False
        kernels.scalar_gather(self._layout[0], address(rows), len(rows), address(out))
        self._rotate_densely(out)
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
        kernels.scalar_bag(
            self._layout[0], address(rows), len(rows), address(starts), len(starts), mean, factors, address(out)
        )
        self._rotate_densely(out)
        return True

    def _gather_triton(self, kernels: Any, rows: Array, out: Array) -> bool:
        layout, turned = self._tiles(kernels)
        if layout is None:
            return False
        kernels.gather_scalar(layout, rows, out)
        if not turned:
            self._rotate_in_blocks(out)
        return True

    def _bag_triton(
        self, kernels: Any, rows: Array, bounds: NDArray[np.int64], mean: bool, weights: Array | None, out: Array
    ) -> bool:
        layout, turned = self._tiles(kernels)
        if layout is None:
            return False
        kernels.bag_scalar(layout, rows, bounds, mean, weights, out)
        if not turned:
            self._rotate_in_blocks(out)
        return True

    def _tiles(self, kernels: Any) -> tuple[Any, bool]:
        """What the Triton kernels read, or None, and whether what they write is turned back already."""
        if self.records.stride(1) != 1 and self.record_bytes > 1:
            return None, False
        rotation = self.rotation
        whole = self.columns & (self.columns - 1) == 0 and self.columns <= kernels.widest_rotation()
        signs = rotation if rotation is not None and dtype_name(rotation) == "uint8" and whole else None
        signs = signs if signs is not None and len(signs) == 1 else None
        places = grid_digits(self.levels) if self.scale == "grid" else 0
        layout = kernels.ScalarLayout(
            self.records, self.columns, self.levels, self.group, self.scale, self.offset, self.bias, self.unit,
            self.code_bytes, self.columns + places, places, self.grid, signs,
        )  # fmt: skip
        return layout, rotation is None or signs is not None

    @cached_property
    def _rotated_densely(self) -> bool:
        return self.rotation is not None and bool(self.rotation.dtype == np.float32)

    def _rotate_densely(self, out: NDArray[np.float32]) -> None:
        """Undoes a dense rotation in place; kernels have undone any other."""
        if self.rotation is not None and self.rotation.dtype == np.float32:
            self._rotate_in_blocks(out)

    def _rotate_in_blocks(self, out: Array) -> None:
        for start in range(0, len(out), 1 << 14):
            out[start : start + (1 << 14)] = rotate_back(out[start : start + (1 << 14)], self.rotation)

    @cached_property
    def _layout(self) -> tuple[Any, list[NDArray[Any]]] | None:
        """What the kernels read, in the order of bind_rows.cpp, and the arrays made for that; None: not theirs."""
        kernels, place = native(), rows_at(self.records)
        if kernels is None or place is None:
            return None
        kept: list[NDArray[Any]] = []
        signs = self.rotation if self.rotation is not None and self.rotation.dtype == np.uint8 else None
        digits = self.columns + (grid_digits(self.levels) if self.scale == "grid" else 0)
        fields = (
            place[0], self.num_embeddings, place[1], self.record_bytes, self.code_bytes, digits,
            self.columns, self.levels, self.group, int(self.scale == "float16"), int(self.offset),
            self.bias, self.unit, shared_at(self.grid, kept), shared_at(signs, kept),
            0 if signs is None else len(signs),
        )  # fmt: skip
        return kernels.scalar_table(fields), kept

    def _search(self, queries: Array, k: int, wanted: Filter) -> Found | None:
        return scan_bytes(self, self._turned(queries), k, wanted) if self._device is None else None

    def _scores_of(self, queries: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        return byte_scores(self, self._turned(queries), rows)

    def _likely(
        self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64] | None:
        return likely_rows(self, self._turned(queries), count, allowed)

    def _nearly(self, queries: Array, k: int, wanted: Filter) -> tuple[Found, NDArray[np.bool_]] | None:
        return nearly_topk(self, self._turned(queries), k, wanted) if self._device is None else None

    def _turned(self, queries: Array) -> Array:
        """Queries for the rows as they are coded."""
        return queries if self.rotation is None else rotate(queries, self.rotation)

    @property
    def _unrotated(self) -> ScalarTable:
        return ScalarTable(
            self.records, self.columns, self.levels, self.group, self.scale, self.offset, self.bias, self.unit,
            grid=self.grid,
        )  # fmt: skip

    def _decoded(self, records: Array) -> Array:
        xp = namespace(records)
        digits = self.columns + (grid_digits(self.levels) if self.scale == "grid" else 0)
        codes = unpack(records[:, : self.code_bytes], digits, self.levels)
        values = xp.astype(codes[:, : self.columns], xp.float32)
        if self.scale == "none":
            return (values + self.bias) * self.unit
        if self.scale == "grid":
            place = sum(
                xp.astype(codes[:, self.columns + j], xp.int64) * self.levels**j
                for j in range(grid_digits(self.levels))
            )
            return (values + self.bias) * (xp.take(self.grid, place, axis=0) * self.unit)[:, None]
        # Flat, since a copy of one row of a tensor keeps the stride of the record, which may be odd.
        meta = xp.asarray(xp.reshape(records[:, self.code_bytes :], (-1,)), copy=True).view(xp.float16)
        meta = xp.reshape(xp.astype(meta, xp.float32), (records.shape[0], self.groups * (1 + self.offset))) * self.unit
        scales = self._spread(meta[:, : self.groups])
        if not self.offset:
            return (values + self.bias) * scales
        return values * scales + self._spread(meta[:, self.groups :])

    def _spread(self, per_group: Array) -> Array:
        if self.groups == 1:
            return per_group
        return namespace(per_group).repeat(per_group, self.group, axis=1)[:, : self.columns]
