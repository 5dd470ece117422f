"""The table as a product of two matrices of small integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pintsize.errors import MethodError
from pintsize.formats._packing import pack, packed_width
from pintsize.formats.base import CompressedTable
from pintsize.formats.factored import FactoredTable
from pintsize.formats.scalar import ScalarTable
from pintsize.methods._budget import Ratio, factored_rank
from pintsize.methods._grid_descent import BEST_STEP, descend, grid_rows, nearest_level
from pintsize.methods.base import Encoder, Family, PostTraining, Traits, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["IntegerFactorization"]

Doubles = NDArray[np.float64]

_ROUNDS = 6
_COLUMN_SWEEPS = 2
_SAMPLE_ROWS = 1 << 14
_SAMPLE_BYTES = 64 << 20
_LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class _IntegerFactors(Encoder):
    basis: Doubles
    levels: int
    unit: float

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        rank, columns = self.basis.shape
        codes, scales = grid_rows((rows / np.float32(self.unit)), self.basis, self.levels, _as_half)
        if (scales >= _LARGEST_HALF).any():
            raise MethodError(f"row {int(np.argmax(scales))} of these is too large for the scales of the rows fitted")
        records = np.concatenate(
            [_packed(codes, self.levels), scales.astype("<f2").reshape(-1, 1).view(np.uint8)], axis=1
        )
        bias = (1 - self.levels) / 2
        values = ScalarTable(records, rank, self.levels, rank, "float16", False, bias, self.unit)
        basis = ScalarTable(_packed(self.basis, self.levels), columns, self.levels, columns, "none", False, bias)
        return FactoredTable(values=values, basis=basis)


class IntegerFactorization(PostTraining):
    """``E ≈ diag(s) A B`` with A and B of small integers and a float scale a row.

    A (n × rank) and B (rank × d) hold `bits`-bit half-odd integers ±1/2, ±3/2, ...; s (n,) is float16. Row and query
    products therefore run in integers (twice the values), with one float factor at the end. Both halves are integer
    least squares under the bounds of the codes, solved by coordinate descent on the Gram matrix of the other half
    with rounding at every step, in turns. They start from the truncated SVD, its singular values shared evenly and
    one random rotation between the halves, which makes all codes alike in size. B is fitted to a sample of at most
    16384 rows; rows are then encoded one by one.

    The start is that of randomised low-rank and low-precision factorization with an exact in place of a sketched range
    (Saha, Srivastava & Pilanci 2023, 2310.11028), which rounds each half once.

    Takes ``n * (rank * bits / 8 + 2) + rank * d * bits / 8`` bytes, and spends a `ratio` on the rank.
    """

    name: ClassVar[str] = "integer_factorization"
    family: ClassVar[Family] = "decomposition"
    paper: ClassVar[str] = "against Saha, Srivastava & Pilanci 2023, arXiv:2310.11028"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"rank": 8},
        {"ratio": 8, "bits": 4},
        {"rank": 12, "bits": 2},
    )
    traits: ClassVar[Traits] = Traits()

    rank: int | None = Field(default=None, ge=1, description="Columns of A; at most min(rows, columns).")
    bits: int = Field(default=4, ge=1, le=8, description="Bits of an entry of A and of B.")
    ratio: Ratio | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(rank=self.rank, ratio=self.ratio)
        return self

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        n, d = table.num_embeddings, table.embedding_dim
        levels = 2**self.bits

        def nbytes(rank: int) -> int:
            return n * (packed_width(rank, levels) + 2) + rank * packed_width(d, levels)

        rank = factored_rank(table, self.rank, self.ratio, nbytes)
        rows = table.sample(max(rank, min(_SAMPLE_ROWS, _SAMPLE_BYTES // (4 * d))), seed)
        largest = float(np.abs(rows).max())
        if largest == 0:
            return _IntegerFactors(np.full((rank, d), 0.5), levels, 1.0)
        # Rows whose largest value is near 1 have scales well within the range of float16.
        unit = 2.0 ** math.frexp(largest)[1]
        return _IntegerFactors(_fitted_basis(rows / np.float32(unit), rank, levels, seed), levels, unit)


def _fitted_basis(rows: NDArray[np.float32], rank: int, levels: int, seed: int) -> Doubles:
    """B (rank, d) on the grid, by turns with the rows' own codes; the best of all rounds."""
    exact = rows.astype(np.float64)
    _, values, right = np.linalg.svd(exact, full_matrices=False)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((rank, rank)))[0]
    start = turn @ (np.sqrt(values[:rank, None]) * right[:rank])
    step = BEST_STEP[levels.bit_length() - 1] * np.sqrt(np.mean(start * start))
    place = _placing(levels)
    basis = place(start / step)
    best, best_loss = basis, np.inf
    for _ in range(_ROUNDS):
        codes, scales = grid_rows(rows, basis, levels, _as_half)
        factor = codes * scales[:, None]
        loss = float(np.square(exact - factor @ basis).sum())
        if loss < best_loss:
            best, best_loss = basis, loss
        basis = basis.copy()
        descend(basis, factor.T @ factor, factor.T @ exact, place, _COLUMN_SWEEPS)
    codes, scales = grid_rows(rows, basis, levels, _as_half)
    loss = float(np.square(exact - (codes * scales[:, None]) @ basis).sum())
    return basis if loss < best_loss else best


def _placing(levels: int) -> Callable[[Doubles], Doubles]:
    return lambda values: nearest_level(values, levels)


def _as_half(scales: Doubles) -> Doubles:
    return np.minimum(scales, _LARGEST_HALF).astype(np.float16).astype(np.float64)


def _packed(values: Doubles, levels: int) -> NDArray[np.uint8]:
    """Half-odd values as packed codes 0..levels-1."""
    return pack((values + (levels - 1) / 2).astype(np.uint8), levels)
