"""Product quantization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from pintsize.methods._budget import Ratio
from pintsize.methods._codewords import Codewords, PiecewiseEncoder, framed_sample, kmeans, number_of_codebooks, pieces
from pintsize.methods.base import Encoder, Family, PostTraining, Traits, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Pq"]


class Pq(PostTraining):
    """Columns in `codebooks` pieces, each piece of a row replaced by the nearest of `codewords` centroids.

    faiss finds the centroids of a sample of at most 256 rows a codeword. Columns that do not divide are filled up with
    zeros, which are cut again when rows are read. A table with no more rows than codewords becomes its own codebook and
    is served exactly. The same seed gives the same bytes on one machine with one build of faiss.

    Takes ``n * ceil(codebooks * log2(codewords) / 8)`` bytes of codes and ``4 * d * codewords`` of codewords.
    """

    name: ClassVar[str] = "pq"
    family: ClassVar[Family] = "codebooks"
    paper: ClassVar[str] = "Jégou, Douze & Schmid 2011 (TPAMI 33)"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"codebooks": 6, "codewords": 16},
        {"codebooks": 5, "codewords": 64},
        {"ratio": 6, "codewords": 16},
    )
    traits: ClassVar[Traits] = Traits(extra="compress")

    codebooks: int | None = Field(default=None, ge=1, description="Pieces that a row is cut into.")
    codewords: Codewords = 256
    ratio: Ratio | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(codebooks=self.codebooks, ratio=self.ratio)
        return self

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        m = number_of_codebooks(table, self.codewords, self.codebooks, self.ratio, whole_rows=False)
        rows, frame = framed_sample(table, self.codewords, seed)
        books = [kmeans(piece, self.codewords, seed + j) for j, piece in enumerate(pieces(rows, m))]
        return PiecewiseEncoder(table.embedding_dim, np.stack(books), frame)
