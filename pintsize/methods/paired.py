"""Two tables that meet in inner products, compressed together so that the products survive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from pintsize.errors import MethodError
from pintsize.formats._packing import pack, packed_width
from pintsize.formats.base import CompressedTable
from pintsize.formats.dense import DenseTable
from pintsize.formats.factored import FactoredTable
from pintsize.formats.scalar import ScalarTable, grid_digits
from pintsize.methods._budget import Ratio
from pintsize.methods._paired_fit import PairedCodes, fit_pair
from pintsize.methods.base import Family, PairMethod, Progress, Traits, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Paired"]


class Paired(PairMethod):
    """Codes of both tables, fitted to all their products and, `weight` times as much, to each left row's best.

    Only products of a left with a right row mean anything afterwards, and they rank as the original ones did: those
    of one left row lack a constant, and without `scales` a factor of their own. Both tables have `columns` columns,
    which may be more or fewer than before. How it is fitted: `_paired_fit`.

    Takes, for n left and m right rows, ``n * ceil(columns / p) + m * ceil((columns + s) / p)`` bytes, with p codes a
    byte and s more for a right row's scale (2 levels: p 8, s 4; 3: 5, 3; 4: 4, 2), and ``2 * columns**2`` for the
    middle matrix; with `scales` two bytes more a left row.
    """

    name: ClassVar[str] = "paired"
    family: ClassVar[Family] = "pair"
    paper: ClassVar[str] = "this project; kin to Zhang et al. 2016 (discrete collaborative filtering)"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"columns": 28},
        {"columns": 29, "levels": 3, "middle": True, "relist": False},
        {"ratio": 8, "levels": 4, "scales": True},
    )
    traits: ClassVar[Traits] = Traits(by_rows=False)

    columns: int | None = Field(default=None, ge=1, le=65536, description="Codes in a row.")
    ratio: Ratio | None = None
    levels: Literal[2, 3, 4] = Field(default=2, description="Values of a code: -1 and 1; those and 0; ±1/2 and ±3/2.")
    middle: bool = Field(default=False, description="Fit a float16 matrix between the sides.")
    neighbours: int = Field(default=64, ge=0, description="Best right rows of each left one that count more.")
    weight: float = Field(default=100.0, ge=0, description="How much more; choose it on held-out pairs.")
    relist: bool = Field(default=True, description="Let what the codes rank highest count more as well.")
    rounds: int = Field(default=8, ge=0, description="Passes over both sides.")
    scales: bool = Field(default=False, description="Store a scale a left row, which rankings do not need.")

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(columns=self.columns, ratio=self.ratio)
        return self

    def compress_pair(
        self, left: EmbeddingTable, right: EmbeddingTable, *, seed: int = 0, progress: Progress | None = None
    ) -> tuple[CompressedTable, CompressedTable]:
        """Fits both tables; holds them in memory.

        Args:
            left: n >= 1 rows of d columns: users, queries.
            right: m >= 1 rows of d columns: items.
            seed: The same seed gives the same bytes.
            progress: Called with rounds done and rounds in all.

        Raises:
            MethodError: A table without rows or columns, tables of different width, or a ratio out of reach.
            TableError: A row that is not finite.
        """
        if left.embedding_dim != right.embedding_dim:
            raise MethodError(f"a pair shares its columns; found {left.embedding_dim} and {right.embedding_dim}")
        if 0 in (left.num_embeddings, right.num_embeddings, left.embedding_dim):
            raise MethodError(
                f"a pair needs rows on both sides, and columns; found {left.num_embeddings} and "
                f"{right.num_embeddings} rows of {left.embedding_dim} columns"
            )
        codes = fit_pair(
            left.array(),
            right.array(),
            columns=self._columns(left, right),
            levels=self.levels,
            middle=self.middle,
            neighbours=self.neighbours,
            weight=self.weight,
            relist=self.relist,
            rounds=self.rounds,
            num_scales=self.levels ** grid_digits(self.levels),
            seed=seed,
            progress=progress,
        )
        return _left_table(codes, scales=self.scales), _right_table(codes)

    def _nbytes(self, columns: int, left: int, right: int) -> int:
        digits = grid_digits(self.levels)
        shared: int = 4 * self.levels**digits + (2 * columns**2 if self.middle else 0)
        per_left: int = packed_width(columns, self.levels) + (2 if self.scales else 0)
        per_right: int = packed_width(columns + digits, self.levels)
        return left * per_left + right * per_right + shared

    def _columns(self, left: EmbeddingTable, right: EmbeddingTable) -> int:
        if self.ratio is None:
            return self.columns or 0
        most = int((left.nbytes_float32 + right.nbytes_float32) / self.ratio)
        rows = left.num_embeddings, right.num_embeddings
        columns = 0
        while self._nbytes(columns + 1, *rows) <= most:
            columns += 1
        if not columns:
            raise MethodError(f"ratio={self.ratio:g} leaves {most} bytes; one column takes {self._nbytes(1, *rows)}")
        return columns


def _bias(levels: int) -> float:
    """What brings codes from 0 up to values with mean 0."""
    return -(levels - 1) / 2


def _step(codes: PairedCodes) -> np.float32:
    """Between neighbouring levels; the format's is 1."""
    return np.float32(codes.levels[1] - codes.levels[0])


def _left_table(codes: PairedCodes, *, scales: bool) -> CompressedTable:
    columns, levels = codes.left_codes.shape[1], len(codes.levels)
    records, kind, unit = pack(codes.left_codes, levels), "none", 1.0
    if scales:
        steps = codes.left_scales * _step(codes)
        # float16 then holds the largest scale just below 2.
        unit = float(2.0 ** np.floor(np.log2(steps.max()))) if steps.max() > 0 else 1.0
        halves = (steps / np.float32(unit)).astype("<f2")
        records, kind = np.concatenate([records, halves[:, None].view(np.uint8)], axis=1), "float16"
    table = ScalarTable(records, columns, levels, columns, kind, False, _bias(levels), unit)
    return table if codes.middle is None else FactoredTable(table, basis=DenseTable(codes.middle, "float16"))


def _right_table(codes: PairedCodes) -> CompressedTable:
    columns, levels = codes.right_codes.shape[1], len(codes.levels)
    digits = [codes.right_scale_codes // levels**place % levels for place in range(grid_digits(levels))]
    records = pack(np.concatenate([codes.right_codes, np.stack(digits, 1).astype(np.uint8)], axis=1), levels)
    grid = codes.right_grid * _step(codes)
    return ScalarTable(records, columns, levels, columns, "grid", False, _bias(levels), 1.0, grid=grid)
