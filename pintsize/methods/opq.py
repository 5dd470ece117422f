"""Optimised product quantization: a rotation before the pieces are cut."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import require
from pintsize.methods._codewords import (
    CodebookMethod,
    PiecewiseEncoder,
    bits_for,
    framed_sample,
    kmeans,
    number_of_codebooks,
    padded,
    pieces,
)  # fmt: skip
from pintsize.methods.base import Encoder
from pintsize.table import EmbeddingTable

__all__ = ["Opq"]

_ROTATION_ROWS = 64
_ROUNDS = 20


class Opq(CodebookMethod):
    """Product quantization of rows that are rotated first, so that the pieces share their variance.

    faiss alternates between codewords and rotation on a sample of at most 64 rows a codeword, then the codewords are
    found as for `pq`. The rotation is stored: ``4 * d * d`` bytes beside those of `pq`, and look-ups multiply by it. A
    table with no more rows than codewords becomes its own codebook, without a rotation. The same seed gives the same
    bytes on one machine with one build of faiss and one number of threads; codes do not hang on the threads.
    """

    name: ClassVar[str] = "opq"
    paper: ClassVar[str] = "Ge, He, Ke & Sun 2013 (CVPR)"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"codebooks": 6, "codewords": 16},
        {"codebooks": 5, "codewords": 16},
        {"ratio": 3, "codewords": 16},
    )

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        turns = int(table.num_embeddings > self.codewords)
        m = number_of_codebooks(table, self.codewords, self.codebooks, self.ratio, whole_rows=False, rotations=turns)
        rows, frame = framed_sample(table, self.codewords, seed)
        rotation = None
        if turns:
            rows = padded(rows, m * -(-table.embedding_dim // m))
            rotation = _rotation(rows, m, self.codewords, seed)
            rows = rows @ rotation
        books = [kmeans(piece, self.codewords, seed + j) for j, piece in enumerate(pieces(rows, m))]
        return PiecewiseEncoder(table.embedding_dim, np.stack(books), frame, rotation)


def _rotation(rows: NDArray[np.float32], codebooks: int, codewords: int, seed: int) -> NDArray[np.float32]:
    """(columns, columns) orthogonal: what rows are multiplied by from the right."""
    faiss: Any = require("faiss", "compress")
    columns = rows.shape[1]
    start = np.linalg.qr(np.random.default_rng(seed).standard_normal((columns, columns)))[0]
    if len(rows) > _ROTATION_ROWS * codewords:
        chosen = np.random.default_rng(seed).choice(len(rows), _ROTATION_ROWS * codewords, replace=False)
        rows = rows[np.sort(chosen)]
    if len(rows) < columns:
        # faiss starts from principal components, and fewer rows than columns have too few of them.
        return start.astype(np.float32)
    quantizer = faiss.ProductQuantizer(columns, codebooks, bits_for(codewords))
    quantizer.cp.min_points_per_centroid = 1
    quantizer.cp.seed = seed & 0x7FFFFFFF
    opq = faiss.OPQMatrix(columns, codebooks, columns)
    opq.pq = quantizer
    opq.niter = _ROUNDS
    opq.max_train_points = len(rows)
    faiss.copy_array_to_vector(start.astype(np.float32).reshape(-1), opq.A)
    opq.train(np.ascontiguousarray(rows))
    # faiss works in float32 and lets its matrix drift; the nearest orthogonal one is what can be undone.
    left, _, right = np.linalg.svd(faiss.vector_to_array(opq.A).reshape(columns, columns).astype(np.float64))
    return np.ascontiguousarray((left @ right).T, np.float32)
