"""Wide rows for what is used often, narrow rows for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pintsize.errors import MethodError
from pintsize.formats.base import CompressedTable
from pintsize.formats.dense import DenseTable
from pintsize.formats.partitioned import RANK_BLOCK, PartitionedTable
from pintsize.methods._budget import Ratio, budget
from pintsize.methods._spectrum import (
    GRAM_COLUMNS,
    Chunks,
    coefficients,
    directions_of_gram,
    factored,
    leading_directions,
)  # fmt: skip
from pintsize.methods.base import Allocate, Family, Progress, Traits, WholeTable, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MixedDimension", "popularity_blocks", "widths"]

Doubles = NDArray[np.float64]


class MixedDimension(WholeTable):
    """Rows in blocks of equal popularity; block i has rows of width ``base * (p_i / p_max)**alpha``.

    p_i is the mean popularity of a row of the block. Widths are rounded to the nearest power of two (by ratio) and kept
    within 1..embedding_dim. Each narrow block is its truncated SVD, coefficients and a projection of its own; a block
    is stored as it is, with no projection, where its width is the table's or where that takes no more bytes.

    Popularity is the table's counts. A table without them is ordered by the energy of its rows, ``||x||²``: rows that
    were trained often have usually grown, and large rows are what the error is made of. With ``ratio`` the base is the
    largest whose table, row map included, fits; in a sum, the ratio is that of the float32 parts.
    """

    name: ClassVar[str] = "mixed_dimension"
    family: ClassVar[Family] = "dimension"
    paper: ClassVar[str] = "Ginart, Naumov, Mudigere, Yang & Zou 2019, arXiv:1909.11810"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"base": 16, "blocks": 4},
        {"ratio": 3, "blocks": 3},
        {"base": 24, "alpha": 0.6, "blocks": 4},
    )
    traits: ClassVar[Traits] = Traits(by_rows=False)

    base: int | None = Field(default=None, ge=1, description="Width of the most popular block, before rounding.")
    alpha: float = Field(default=0.3, ge=0, le=1, description="Temperature: 0 gives all blocks one width.")
    blocks: int = Field(
        default=8, ge=1, le=256, description="Blocks of equal popularity that the rows are sorted into."
    )
    ratio: Ratio | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(base=self.base, ratio=self.ratio)
        return self

    def compress(
        self,
        table: EmbeddingTable,
        *,
        seed: int = 0,
        allocate: Allocate | None = None,
        progress: Progress | None = None,
    ) -> CompressedTable:
        n, d = table.num_embeddings, table.embedding_dim
        if n == 0:
            raise MethodError("a table of no rows has no popular ones to give more width")
        popularity = table.counts if table.counts is not None else _row_energies(table)
        part = popularity_blocks(popularity, self.blocks)
        sizes = np.bincount(part)
        means = np.bincount(part, popularity) / sizes
        base = float(self.base) if self.base is not None else self._largest_base(table, sizes, means)
        ranks = [
            _stored_rank(int(w), int(s), d) for w, s in zip(widths(means, base, self.alpha, d), sizes, strict=True)
        ]
        return PartitionedTable.from_parts(part, _factored_blocks(table, part, sizes, ranks, seed, progress))

    def _largest_base(self, table: EmbeddingTable, sizes: NDArray[np.int64], means: Doubles) -> float:
        """The largest base within the budget: only bases at which some block's width changes are tried."""
        n, d = table.num_embeddings, table.embedding_dim
        most, fixed = budget(table, self.ratio or 1.0), n + -(-n // RANK_BLOCK) * len(sizes) * 4
        relative = np.maximum(means / (means.max() or 1.0), 1e-30) ** self.alpha
        steps = 2.0 ** (np.arange(1, d.bit_length() + 1) - 0.5)
        tried = np.unique(np.concatenate([[1.0], (steps[None, :] / relative[:, None]).reshape(-1) * (1 + 1e-12)]))
        taken = [
            fixed + sum(map(_block_bytes, widths(means, b, self.alpha, d), sizes, [d] * len(sizes))) for b in tried
        ]
        fitting = [b for b, nbytes in zip(tried, taken, strict=True) if nbytes <= most]
        if not fitting:
            raise MethodError(
                f"ratio={self.ratio:g} leaves {most} bytes for {n} rows of {d} columns; "
                f"with {len(sizes)} blocks of width 1 they take {min(taken)}; fewer blocks take less"
            )
        return float(max(fitting))


def widths(popularity: Doubles, base: float, alpha: float, columns: int) -> NDArray[np.int64]:
    """Widths of blocks by the mean popularity of a row: ``base * (p / max p)**alpha`` as powers of two, 1..columns."""
    most = popularity.max()
    wanted = base * (popularity / most) ** alpha if most > 0 else np.full(len(popularity), base)
    with np.errstate(divide="ignore"):
        exponents = np.floor(np.log2(wanted) + 0.5)
    rounded: Doubles = np.exp2(np.clip(exponents, 0, 62))
    return np.minimum(rounded, columns).astype(np.int64)


def popularity_blocks(popularity: Doubles, blocks: int) -> NDArray[np.uint8]:
    """The block of each row, 0 for the most popular: blocks of equal popularity in all, none of them empty."""
    order = np.argsort(-popularity, kind="stable")
    total = popularity.sum()
    if total > 0:
        before = np.cumsum(popularity[order]) - popularity[order]
        block = np.minimum((before * (blocks / total)).astype(np.int64), blocks - 1)
    else:
        block = np.arange(len(order)) * blocks // max(1, len(order))
    part = np.empty(len(order), np.uint8)
    part[order] = np.unique(block, return_inverse=True)[1].reshape(-1)
    return part


def _row_energies(table: EmbeddingTable) -> Doubles:
    energies = np.empty(table.num_embeddings)
    for start, rows in table.chunks():
        energies[start : start + len(rows)] = np.square(rows, dtype=np.float64).sum(axis=1)
    return energies


def _stored_rank(width: int, rows: int, columns: int) -> int:
    """Columns of coefficients that a block keeps; all of its columns where it is stored as it is."""
    rank = min(width, rows)
    return rank if rank < columns and rank * (rows + columns) < rows * columns else columns


def _block_bytes(width: int, rows: int, columns: int) -> int:
    rank = _stored_rank(int(width), int(rows), columns)
    return 4 * int(rows) * columns if rank == columns else 4 * rank * (int(rows) + columns)


def _factored_blocks(
    table: EmbeddingTable,
    part: NDArray[np.uint8],
    sizes: NDArray[np.int64],
    ranks: list[int],
    seed: int,
    progress: Progress | None,
) -> list[CompressedTable]:
    """The blocks as tables: one pass for the directions (a pass a block beyond 2048 columns), one for the rows."""
    bases = _directions(table, part, sizes, ranks, seed)
    values = [np.empty((size, rank), np.float32) for size, rank in zip(sizes, ranks, strict=True)]
    filled = np.zeros(len(sizes), np.int64)
    for start, rows in table.chunks():
        mine = part[start : start + len(rows)]
        for b in np.unique(mine):
            own, basis = rows[mine == b], bases[b]
            done = slice(filled[b], filled[b] + len(own))
            values[b][done] = own if basis is None else coefficients(own, basis.T)
            filled[b] += len(own)
        if progress is not None:
            progress(start + len(rows), table.num_embeddings)
    return [DenseTable(v) if basis is None else factored(v, basis) for v, basis in zip(values, bases, strict=True)]


def _directions(
    table: EmbeddingTable, part: NDArray[np.uint8], sizes: NDArray[np.int64], ranks: list[int], seed: int
) -> list[NDArray[np.float32] | None]:
    """The (rank, d) projection of each block, None for blocks that are stored as they are."""
    d = table.embedding_dim
    narrow = [b for b, rank in enumerate(ranks) if rank < d]
    found: list[NDArray[np.float32] | None] = [None] * len(ranks)
    if d <= GRAM_COLUMNS:
        grams = {b: np.zeros((d, d)) for b in narrow}
        for start, rows in table.chunks() if narrow else ():
            mine = part[start : start + len(rows)]
            for b in narrow:
                own = rows[mine == b].astype(np.float64)
                grams[b] += own.T @ own
        for b in narrow:
            found[b] = np.ascontiguousarray(directions_of_gram(grams[b])[1][:, : ranks[b]].T, np.float32)
        return found
    for b in narrow:
        directions = leading_directions(_chunks_of(table, part, b), int(sizes[b]), d, ranks[b], seed)
        found[b] = np.ascontiguousarray(directions.T, np.float32)
    return found


def _chunks_of(table: EmbeddingTable, part: NDArray[np.uint8], block: int) -> Chunks:
    return lambda: (rows[part[start : start + len(rows)] == block] for start, rows in table.chunks())
