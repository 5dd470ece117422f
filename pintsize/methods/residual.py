"""Residual quantization: each codebook codes what the ones before it left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pintsize.errors import require
from pintsize.formats.base import CompressedTable
from pintsize.formats.codebook import CodebookTable, code_width
from pintsize.methods._codewords import (
    CodebookMethod,
    Frame,
    PiecewiseEncoder,
    bits_for,
    framed_sample,
    kmeans,
    number_of_codebooks,
)  # fmt: skip
from pintsize.methods.base import Encoder
from pintsize.table import EmbeddingTable

__all__ = ["Residual"]

_DISTANCE_BYTES = 256 << 20


@dataclass(frozen=True)
class _ResidualEncoder(Encoder):
    columns: int
    quantizer: Any
    books: NDArray[np.float32]
    frame: Frame

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        m, codewords, _ = self.books.shape
        bits = bits_for(codewords)
        records = np.empty((0, code_width(m, bits)), np.uint8)
        if len(rows):
            records = self.quantizer.compute_codes(self.frame.enter(rows))
        books = self.books * self.frame.unit
        books[0] += self.frame.centre
        return CodebookTable(records, self.columns, m, bits, "sum", codebooks=books)


class Residual(CodebookMethod):
    """Each row as the sum of one codeword from each of `codebooks` codebooks, found one after the other.

    faiss trains them on a sample of at most 256 rows a codeword and encodes by beam search, five beams wide. A table
    with no more rows than codewords becomes its own codebook, with a single code. The same seed gives the same bytes on
    one machine with one build of faiss and one number of threads; codes do not hang on the threads.

    Takes ``n * ceil(codebooks * log2(codewords) / 8)`` bytes of codes, ``4 * d * codewords * codebooks`` of codewords.
    """

    name: ClassVar[str] = "residual"
    paper: ClassVar[str] = "Chen, Guan & Wang 2010 (Sensors 10); beams: Liu, Lu & Ye 2015, arXiv:1509.05195"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"codebooks": 4, "codewords": 16},
        {"codebooks": 3, "codewords": 8},
        {"ratio": 4, "codewords": 16},
    )

    codebooks: int | None = Field(default=None, ge=1, le=256, description="Codewords that are added up for a row.")

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        m = number_of_codebooks(table, self.codewords, self.codebooks, self.ratio, whole_rows=True)
        rows, frame = framed_sample(table, self.codewords, seed)
        if table.num_embeddings <= self.codewords:
            return PiecewiseEncoder(table.embedding_dim, kmeans(rows, self.codewords, seed)[None], frame)
        faiss: Any = require("faiss", "compress")
        quantizer = faiss.ResidualQuantizer(table.embedding_dim, m, bits_for(self.codewords))
        quantizer.cp.min_points_per_centroid = 1
        quantizer.cp.seed = seed & 0x7FFFFFFF
        quantizer.max_mem_distances = _DISTANCE_BYTES
        if len(rows) <= table.embedding_dim:
            # faiss's progressive training starts from more principal components than so few rows have.
            quantizer.train_type = faiss.ResidualQuantizer.Train_default
        quantizer.train(np.ascontiguousarray(rows))
        books = faiss.vector_to_array(quantizer.codebooks).reshape(m, self.codewords, table.embedding_dim)
        return _ResidualEncoder(table.embedding_dim, quantizer, books, frame)
