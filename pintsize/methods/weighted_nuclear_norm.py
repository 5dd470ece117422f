"""Low rank by a penalty on singular values that spares the large ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pintsize.errors import MethodError
from pintsize.formats.base import CompressedTable
from pintsize.methods._budget import Ratio, factored_rank
from pintsize.methods._spectrum import coefficients, factored, whole_spectrum
from pintsize.methods.base import Encoder, Family, PostTraining, Traits, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["WeightedNuclearNorm", "shrunken"]

Doubles = NDArray[np.float64]


def shrunken(values: Doubles, penalty: float, epsilon: float) -> Doubles:
    """The fixed point of reweighted soft-thresholding of singular values (Gu et al. 2017, corollary 1).

    ``(c1 + sqrt(c2)) / 2`` with ``c1 = s - epsilon`` and ``c2 = (s + epsilon)**2 - 4 * penalty``; 0 where c2 < 0 or the
    result is negative. It solves ``x = s - penalty / (x + epsilon)``.

    Args:
        values: Singular values.
        penalty: C * sqrt(n).
        epsilon: What keeps the weight of a zero finite.
    """
    inside = (values + epsilon) ** 2 - 4 * penalty
    solved = (values - epsilon + np.sqrt(np.maximum(inside, 0))) / 2
    return np.where(inside < 0, 0.0, np.maximum(solved, 0.0))


@dataclass(frozen=True)
class _Shrinking(Encoder):
    onto: NDArray[np.float32]
    basis: NDArray[np.float32]

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        return factored(coefficients(rows, self.onto), self.basis)


class WeightedNuclearNorm(PostTraining):
    """``min ½||E - X||² + sum_i w_i s_i(X)`` with ``w_i = C sqrt(n) / (s_i(X) + epsilon)``.

    Solved in closed form at the fixed point of the weights. n is the number of rows, and C has the unit of a squared
    value times sqrt(n). The rank is the number of singular values that do not vanish; `ratio` takes the least C, by
    bisection, whose factors fit. Where all vanish the table is served as zeros. The directions and what each is
    shrunken by are fixed by `fit`, so that new rows follow.

    Takes ``4 * rank * (n + d)`` bytes. In a sum, the ratio is that of the float32 factors.
    """

    name: ClassVar[str] = "weighted_nuclear_norm"
    family: ClassVar[Family] = "decomposition"
    paper: ClassVar[str] = "Gu, Zhang, Zuo & Feng 2014 (CVPR); Gu et al. 2017 (IJCV 121)"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"ratio": 4}, {"ratio": 8}, {"C": 0.01})
    traits: ClassVar[Traits] = Traits()

    C: float | None = Field(default=None, gt=0, description="Strength of the penalty.")
    ratio: Ratio | None = None
    epsilon: float = Field(default=1e-16, gt=0, description="Added to singular values in the weights.")

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(C=self.C, ratio=self.ratio)
        return self

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        n, d = table.num_embeddings, table.embedding_dim
        if n == 0:
            raise MethodError("a table of no rows has no singular values")
        values, vectors = whole_spectrum(table)
        penalty = self.C * np.sqrt(n) if self.C is not None else 0.0
        if self.ratio is not None:
            rank = factored_rank(table, None, self.ratio, lambda r: 4 * r * (n + d))
            penalty = _least_penalty(values, rank, self.epsilon)
        kept = shrunken(values, penalty, self.epsilon)
        # Singular values that the Gram matrix cannot tell from zero would be divided by noise.
        kept[values <= values[0] * 1e-7] = 0.0
        width = max(1, int(np.count_nonzero(kept)))
        shrink = np.divide(kept, values, out=np.zeros_like(kept), where=values > 0)[:width]
        onto = np.ascontiguousarray(vectors[:, :width] * shrink, np.float32)
        return _Shrinking(onto, np.ascontiguousarray(vectors[:, :width].T, np.float32))


def _least_penalty(values: Doubles, rank: int, epsilon: float) -> float:
    """The least penalty, to the last bits, that leaves at most `rank` singular values."""

    def fits(penalty: float) -> bool:
        return int(np.count_nonzero(shrunken(values, penalty, epsilon))) <= rank

    if fits(0.0):
        return 0.0
    low, high = 0.0, float((values[0] + epsilon) ** 2)
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
