"""Product quantization."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from pintsize.methods._codewords import (
    CodebookMethod,
    PiecewiseEncoder,
    framed_sample,
    kmeans,
    number_of_codebooks,
    pieces,
)
from pintsize.methods.base import Encoder
from pintsize.table import EmbeddingTable

__all__ = ["Pq"]


class Pq(CodebookMethod):
    """Columns in `codebooks` pieces, each piece of a row replaced by the nearest of `codewords` centroids.

    faiss finds the centroids of a sample of at most 256 rows a codeword. Columns that do not divide are filled up with
    zeros, which are cut again when rows are read. A table with no more rows than codewords becomes its own codebook and
    is served exactly. The same seed gives the same bytes on one machine with one build of faiss.

    Takes ``n * ceil(codebooks * log2(codewords) / 8)`` bytes of codes and ``4 * d * codewords`` of codewords.
    """

    name: ClassVar[str] = "pq"
    paper: ClassVar[str] = "Jégou, Douze & Schmid 2011 (TPAMI 33)"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"codebooks": 6, "codewords": 16},
        {"codebooks": 5, "codewords": 64},
        {"ratio": 6, "codewords": 16},
    )

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        m = number_of_codebooks(table, self.codewords, self.codebooks, self.ratio, whole_rows=False)
        rows, frame = framed_sample(table, self.codewords, seed)
        books = [kmeans(piece, self.codewords, seed + j) for j, piece in enumerate(pieces(rows, m))]
        return PiecewiseEncoder(table.embedding_dim, np.stack(books), frame)
