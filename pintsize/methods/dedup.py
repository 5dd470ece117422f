"""Blocks of rows that are alike, stored once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pintsize.errors import MethodError
from pintsize.formats.codebook import CodebookTable, code_width, pack_codes
from pintsize.methods._budget import Ratio, budget
from pintsize.methods._near_duplicates import exact_groups, near_groups
from pintsize.methods.base import Allocate, Family, Progress, Traits, WholeTable, assemble, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

    from pintsize.formats.base import CompressedTable

__all__ = ["Dedup"]

_STEPS = 12


class Dedup(WholeTable):
    """Rows cut into `blocks` pieces; pieces that are the same, or nearly so, point at one that is stored.

    With ``tolerance=0`` equal pieces are shared and every row is served exactly. Otherwise a piece may stand in for
    others no farther away than `tolerance` times the root mean square norm of the table's pieces. `ratio` takes the
    least tolerance, by bisection, that keeps the budget. Columns that do not divide are filled up with zeros.

    The whole table is held in memory. A table without enough repetition to become smaller is refused.
    """

    name: ClassVar[str] = "dedup"
    family: ClassVar[Family] = "sharing"
    paper: ClassVar[str] = "Datar, Immorlica, Indyk & Mirrokni 2004 (SoCG); block sharing: Zhou et al. 2022 (VLDB 15)"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"blocks": 4, "tolerance": 1.0},
        {"blocks": 6, "ratio": 3},
        {"blocks": 12, "tolerance": 0.7},
    )
    traits: ClassVar[Traits] = Traits(by_rows=False)

    blocks: int = Field(default=8, ge=1, description="Pieces that a row is cut into.")
    tolerance: float | None = Field(
        default=None, ge=0, description="Farthest stand-in, in root mean square norms of a piece."
    )
    ratio: Ratio | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(tolerance=self.tolerance, ratio=self.ratio)
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
        if self.blocks > d:
            raise MethodError(f"{self.blocks} blocks for {d} columns: each needs at least one column")
        pieces = _cut(table, self.blocks)
        first, group = exact_groups(pieces, seed)
        books = pieces[first] if n else np.zeros((1, pieces.shape[1]), np.float32)
        if n and (self.ratio is not None or self.tolerance):
            leader = self._leaders(table, books, np.bincount(group), pieces, seed)
            kept, of_leader = np.unique(leader, return_inverse=True)
            books, group = books[kept], of_leader.reshape(-1)[group]
        taken = _nbytes(n, self.blocks, *books.shape)
        if n and taken >= table.nbytes_float32:
            shared = 1 - len(books) / len(pieces)
            raise MethodError(
                f"{shared:.1%} of the blocks repeat others, too few: sharing takes {taken} bytes, "
                f"float32 {table.nbytes_float32}; try more blocks, a larger tolerance, or another method"
            )
        bits = (len(books) - 1).bit_length()
        records = pack_codes(group.reshape(n, self.blocks), bits)
        result = CodebookTable(records, d, self.blocks, bits, "concat", codebooks=books[None])
        if progress is not None:
            progress(n, n)
        return assemble([result], n, allocate)

    def _leaders(
        self, table: EmbeddingTable, books: NDArray[np.float32], sizes: NDArray[np.int64], pieces: Any, seed: int
    ) -> NDArray[np.int64]:
        """What stands in for each of the distinct pieces."""
        norms = np.linalg.norm(books.astype(np.float64), axis=1)
        unit = float(np.sqrt((sizes * norms**2).sum() / len(pieces)))
        if unit == 0:
            return np.arange(len(books))
        if self.ratio is None:
            return near_groups(books, sizes, (self.tolerance or 0) * unit, seed)
        return _least_merging(table, self, books, sizes, 2 * float(norms.max()), seed)


def _least_merging(
    table: EmbeddingTable, method: Dedup, books: NDArray[np.float32], sizes: NDArray[np.int64], far: float, seed: int
) -> NDArray[np.int64]:
    """Leaders at the least radius up to `far` that bisection finds within the method's budget."""
    most = budget(table, method.ratio or 1.0)

    def taken(leader: NDArray[np.int64]) -> int:
        return _nbytes(table.num_embeddings, method.blocks, len(np.unique(leader)), books.shape[1])

    best = np.arange(len(books))
    if taken(best) <= most:
        return best
    best, low, high = near_groups(books, sizes, far, seed), 0.0, far
    if taken(best) > most:
        raise MethodError(
            f"ratio={method.ratio} leaves {most} bytes; {method.blocks} blocks take at least {taken(best)}"
        )
    for _ in range(_STEPS):
        radius = (low + high) / 2
        found = near_groups(books, sizes, radius, seed)
        if taken(found) <= most:
            best, high = found, radius
        else:
            low = radius
    return best


def _nbytes(rows: int, blocks: int, entries: int, width: int) -> int:
    return rows * code_width(blocks, (entries - 1).bit_length()) + 4 * entries * width


def _cut(table: EmbeddingTable, blocks: int) -> NDArray[np.float32]:
    """(rows * blocks, width) pieces, the last of each row filled up with zeros."""
    d = table.embedding_dim
    width = -(-d // blocks)
    wide = np.zeros((table.num_embeddings, blocks * width), np.float32)
    for start, rows in table.chunks():
        wide[start : start + len(rows), :d] = rows
    return wide.reshape(-1, width)
