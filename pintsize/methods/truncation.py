"""Some of the columns, the rest read as zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pintsize.errors import MethodError
from pintsize.formats._packing import pack, packed_width
from pintsize.formats.base import CompressedTable
from pintsize.formats.dense import DenseTable
from pintsize.formats.factored import FactoredTable
from pintsize.formats.scalar import ScalarTable
from pintsize.methods._budget import Ratio, largest
from pintsize.methods.base import Encoder, Family, PostTraining, Traits, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Truncation"]


@dataclass(frozen=True)
class _Selection(Encoder):
    kept: NDArray[np.int64]
    columns: int

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        places = np.zeros((len(self.kept), self.columns), np.uint8)
        places[np.arange(len(self.kept)), self.kept] = 1
        # One bit an entry, and no float part: what follows in a sum compresses the values and leaves the places alone.
        basis = ScalarTable(pack(places, 2), self.columns, 2, self.columns, "none", False)
        return FactoredTable(values=DenseTable(np.ascontiguousarray(rows[:, self.kept])), basis=basis)


class Truncation(PostTraining):
    """The first columns, or those of largest energy, exactly; the others are served as zeros.

    Tables whose columns are in order of weight (nested or "Matryoshka" training, a spectral method) lose little. Takes
    ``4 * n * columns`` bytes, and one bit for each kept column and column of the table to say where they belong.
    """

    name: ClassVar[str] = "truncation"
    family: ClassVar[Family] = "dimension"
    paper: ClassVar[str] = "Kusupati et al. 2022, arXiv:2205.13147"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"columns": 8}, {"ratio": 4}, {"columns": 6, "choose": "energy"})
    traits: ClassVar[Traits] = Traits()

    columns: int | None = Field(default=None, ge=1, description="Columns that are kept.")
    ratio: Ratio | None = None
    choose: Literal["first", "energy"] = Field(
        default="first", description="The first columns, or those with most energy."
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(columns=self.columns, ratio=self.ratio)
        return self

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        n, d = table.num_embeddings, table.embedding_dim
        kept = self.columns or 0
        if self.ratio is not None:
            kept = largest("columns", d, lambda k: 4 * n * k + k * packed_width(d, 2), table, self.ratio)
        if kept > d:
            raise MethodError(f"the table has {d} columns; columns={kept} was asked for")
        if self.choose == "first":
            return _Selection(np.arange(kept), d)
        energy = np.zeros(d)
        for _, rows in table.chunks():
            energy += np.square(rows, dtype=np.float64).sum(axis=0)
        return _Selection(np.sort(np.argsort(-energy, kind="stable")[:kept]), d)
