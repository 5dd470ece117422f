"""Truncated singular value decomposition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pintsize.errors import MethodError
from pintsize.formats.base import CompressedTable
from pintsize.methods._budget import Ratio, factored_rank
from pintsize.methods._spectrum import coefficients, factored, leading_directions, row_chunks
from pintsize.methods.base import Encoder, Family, PostTraining, Traits, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Svd"]


@dataclass(frozen=True)
class _Projection(Encoder):
    basis: NDArray[np.float32]

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        return factored(coefficients(rows, self.basis.T), self.basis)


class Svd(PostTraining):
    """Coefficients of each row in the `rank` directions that hold most of the table.

    The error is the least possible for the rank (Eckart & Young 1936): exactly so up to 2048 columns, to 1e-3 of it
    beyond, where the directions come from randomised block iteration. With ``weight="counts"`` a row's squared error
    counts as often as the row is used: the directions are those of the weighted table, and each row is projected on
    them.

    Takes ``4 * rank * (n + d)`` bytes. In ``svd:ratio=8 + float16`` the ratio is that of the float32 factors.
    """

    name: ClassVar[str] = "svd"
    family: ClassVar[Family] = "decomposition"
    paper: ClassVar[str] = "Halko, Martinsson & Tropp 2011, arXiv:0909.4061"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"rank": 8}, {"ratio": 4}, {"rank": 16})
    traits: ClassVar[Traits] = Traits()

    rank: int | None = Field(default=None, ge=1, description="Directions that are kept; at most min(rows, columns).")
    ratio: Ratio | None = None
    weight: Literal["none", "counts"] = Field(default="none", description="What a row's error is weighted by.")

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(rank=self.rank, ratio=self.ratio)
        return self

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        n, d = table.num_embeddings, table.embedding_dim
        rank = factored_rank(table, self.rank, self.ratio, lambda r: 4 * r * (n + d))
        weights = None
        if self.weight == "counts":
            if table.counts is None or not table.counts.any():
                raise MethodError(
                    "weight='counts' needs counts that are not all zero: EmbeddingTable(rows, counts=...)"
                )
            weights = table.counts / table.counts.max()
        basis = leading_directions(row_chunks(table, weights), n, d, rank, seed).T
        return _Projection(np.ascontiguousarray(basis, np.float32))
