"""Non-negative factors."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pintsize.errors import MethodError, require
from pintsize.formats.base import CompressedTable
from pintsize.methods._budget import Ratio, factored_rank
from pintsize.methods._grid_descent import nonnegative_rows
from pintsize.methods._spectrum import factored
from pintsize.methods.base import Encoder, Family, PostTraining, Traits, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Nmf"]

_WHOLE_VALUES = 1 << 21
_SAMPLE_VALUES = 1 << 24


@dataclass(frozen=True)
class _NonNegative(Encoder):
    basis: NDArray[np.float32]

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        values = nonnegative_rows(rows, self.basis.astype(np.float64)).astype(np.float32)
        if not np.isfinite(values).all():
            raise MethodError("the coefficients of these rows do not fit float32: scale the table down first")
        return factored(values, self.basis)


class Nmf(PostTraining):
    """Each row as a sum, with weights that are not negative, of `rank` parts.

    A table with negative values is factored as ``[relu(E), relu(-E)]``: two columns for each, not negative. What is
    stored is the difference of the two halves of each part, so that the served row is its positive part less its
    negative one. scikit-learn finds the parts: `NMF` up to 2 million values, `MiniBatchNMF` on a sample of at most 16
    million beyond. The weights of every row, also of new ones, are then the non-negative least squares fit of the row
    that is served, which is never worse than the factorization's own.

    Takes ``4 * rank * (n + d)`` bytes. In a sum, the ratio is that of the float32 factors.
    """

    name: ClassVar[str] = "nmf"
    family: ClassVar[Family] = "decomposition"
    paper: ClassVar[str] = "Lee & Seung 1999 (Nature 401); Cichocki & Phan 2009 (IEICE E92-A)"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"rank": 8}, {"ratio": 4}, {"rank": 3})
    traits: ClassVar[Traits] = Traits(extra="compress")

    rank: int | None = Field(default=None, ge=1, description="Parts; at most min(rows, columns).")
    ratio: Ratio | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(rank=self.rank, ratio=self.ratio)
        return self

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        n, d = table.num_embeddings, table.embedding_dim
        rank = factored_rank(table, self.rank, self.ratio, lambda r: 4 * r * (n + d))
        rows = table.sample(max(rank, _SAMPLE_VALUES // d), seed).astype(np.float64)
        size = np.abs(rows).max()
        if size == 0:
            return _NonNegative(np.zeros((rank, d), np.float32))
        rows /= size
        signed = bool((rows < 0).any())
        if signed:
            rows = np.concatenate([np.maximum(rows, 0), np.maximum(-rows, 0)], axis=1)
        parts = _parts(rows, rank, seed)
        basis = parts[:, :d] - parts[:, d:] if signed else parts
        norms = np.linalg.norm(basis, axis=1, keepdims=True)
        return _NonNegative(np.divide(basis, norms, out=np.zeros_like(basis), where=norms > 1e-12).astype(np.float32))


def _parts(rows: NDArray[np.float64], rank: int, seed: int) -> NDArray[np.float64]:
    """(rank, columns) non-negative parts of non-negative rows whose largest value is 1."""
    decomposition: Any = require("sklearn.decomposition", "compress")
    settings = {"n_components": rank, "init": "nndsvda", "random_state": seed & 0xFFFFFFFF, "max_iter": 300}
    kind = decomposition.NMF if rows.size <= _WHOLE_VALUES else decomposition.MiniBatchNMF
    with warnings.catch_warnings():
        # Parts that have not settled after 300 sweeps are used as they are: the weights are fitted to them anyway.
        warnings.simplefilter("ignore")
        model = kind(**settings).fit(rows)
    parts: NDArray[np.float64] = model.components_
    return parts
