"""Codebooks that faiss trains, and rows as codes into them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from pintsize.errors import MethodError, require
from pintsize.formats.base import CompressedTable
from pintsize.formats.codebook import CodebookTable, code_width, pack_codes
from pintsize.methods._budget import Ratio, largest
from pintsize.methods.base import Encoder, Family, PostTraining, Traits, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "CodebookMethod", "Frame", "PiecewiseEncoder", "bits_for", "framed_sample", "kmeans", "number_of_codebooks",
    "padded", "pieces",
]  # fmt: skip

Floats: TypeAlias = NDArray[np.float32]

_ROWS_A_CODEWORD = 256
_SAMPLE_BYTES = 128 << 20
_SMALL = 1 << 24
"""Multiplications of one step, below which a second thread does not pay."""


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("codewords are a power of two, so that codes are whole bits")
    return value


Codewords: TypeAlias = Annotated[
    int, Field(ge=2, le=65536, description="Entries of each codebook: a power of two."), AfterValidator(_power_of_two)
]


class CodebookMethod(PostTraining):
    """What methods that code rows into codebooks are told: their number, or a ratio that sets it, and their length."""

    family: ClassVar[Family] = "codebooks"
    traits: ClassVar[Traits] = Traits(extra="compress")

    codebooks: int | None = Field(default=None, ge=1, description="Pieces that a row is cut into.")
    codewords: Codewords = 256
    ratio: Ratio | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(codebooks=self.codebooks, ratio=self.ratio)
        return self


def bits_for(codewords: int) -> int:
    """Bits of a code into this many codewords; 0 for one codeword."""
    return (codewords - 1).bit_length()


@dataclass(frozen=True)
class Frame:
    """What rows are brought into before faiss sees them: ``(rows - centre) / unit``.

    faiss expands distances as ``x² - 2xy + y²`` in float32, which a common offset drowns and large values overflow.

    Args:
        centre: (columns,) the mean row.
        unit: A power of two near the largest value.
    """

    centre: Floats
    unit: np.float32

    def enter(self, rows: Floats) -> Floats:
        """(n, columns) rows as faiss sees them."""
        return (rows - self.centre) / self.unit


def framed_sample(table: EmbeddingTable, codewords: int, seed: int) -> tuple[Floats, Frame]:
    """(sample, columns) rows to train on, in their frame."""
    fits = max(codewords, _SAMPLE_BYTES // (4 * table.embedding_dim))
    rows = table.sample(min(_ROWS_A_CODEWORD * codewords, max(fits, 4 * codewords)), seed)
    centre = rows.sum(axis=0, dtype=np.float64) / max(1, len(rows))
    farthest = np.abs(rows - centre).max(initial=0.0)
    unit = np.ldexp(np.float32(1), max(-120, int(np.frexp(farthest)[1]))) if farthest > 0 else np.float32(1)
    frame = Frame(centre.astype(np.float32), unit)
    return frame.enter(rows), frame


def padded(rows: Floats, columns: int) -> Floats:
    """Rows with columns of zeros behind, up to `columns`."""
    if rows.shape[1] == columns:
        return np.ascontiguousarray(rows)
    out = np.zeros((len(rows), columns), np.float32)
    out[:, : rows.shape[1]] = rows
    return out


def pieces(rows: Floats, codebooks: int) -> list[Floats]:
    """The columns of rows cut into pieces of equal width, the last filled up with zeros."""
    width = -(-rows.shape[1] // codebooks)
    wide = padded(rows, width * codebooks)
    return [np.ascontiguousarray(wide[:, j * width : (j + 1) * width]) for j in range(codebooks)]


@contextmanager
def _one_thread_if_small(faiss: Any, products: int) -> Iterator[None]:
    """Threads of faiss wait for each other by spinning: where a step is short, that takes longer than the step."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if products < _SMALL else before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def kmeans(rows: Floats, codewords: int, seed: int) -> Floats:
    """(codewords, columns) centroids of rows by faiss; rows that are no more than codewords are their own centroids."""
    if len(rows) <= codewords:
        return rows if len(rows) else np.zeros((1, rows.shape[1]), np.float32)
    faiss: Any = require("faiss", "compress")
    clustering = faiss.Clustering(rows.shape[1], codewords)
    clustering.seed = seed & 0x7FFFFFFF
    clustering.min_points_per_centroid = 1
    clustering.max_points_per_centroid = max(_ROWS_A_CODEWORD, -(-len(rows) // codewords))
    with _one_thread_if_small(faiss, len(rows) * codewords * rows.shape[1]):
        clustering.train(rows, faiss.IndexFlatL2(rows.shape[1]))
    centroids: Floats = faiss.vector_to_array(clustering.centroids).reshape(codewords, rows.shape[1])
    return centroids


def number_of_codebooks(
    table: EmbeddingTable,
    codewords: int,
    codebooks: int | None,
    ratio: float | None,
    *,
    whole_rows: bool,
    rotations: int = 0,
) -> int:
    """The codebooks that are asked for, or as many as the ratio leaves room for.

    Args:
        table: What is compressed.
        codewords: Entries of a codebook.
        codebooks: As many, or None.
        ratio: Times smaller than float32, or None.
        whole_rows: Whether codewords are as wide as the rows (and summed), or a piece of them.
        rotations: 1 where a square rotation of the padded columns is stored too.

    Raises:
        MethodError: More codebooks than columns, or a ratio out of reach.
    """
    n, d = table.num_embeddings, table.embedding_dim
    entries = max(1, min(codewords, n))

    def nbytes(m: int) -> int:
        width = d if whole_rows else -(-d // m)
        return n * code_width(m, bits_for(entries)) + 4 * m * entries * width + rotations * 4 * (m * width) ** 2

    if ratio is not None:
        return largest("codebooks", d, nbytes, table, ratio)
    if codebooks is None or (not whole_rows and codebooks > d):
        raise MethodError(f"{codebooks} codebooks for {d} columns: each needs at least one column")
    return codebooks


@dataclass(frozen=True)
class PiecewiseEncoder(Encoder):
    """Each piece of a row becomes the number of its nearest codeword.

    Args:
        columns: The embedding_dim.
        books: (m, K, width) codewords of rows in the frame.
        frame: What rows are brought into first.
        rotation: (m * width, m * width) that rows in the frame are multiplied by, or None.
    """

    columns: int
    books: Floats
    frame: Frame
    rotation: Floats | None = None

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        m, codewords, width = self.books.shape
        bits = bits_for(codewords)
        wide = padded(self.frame.enter(rows), m * width)
        shift = padded(self.frame.centre[None, :], m * width)
        if self.rotation is not None:
            wide, shift = wide @ self.rotation, shift @ self.rotation
        return CodebookTable(
            self._records(wide, bits), self.columns, m, bits, "concat",
            codebooks=self.books * self.frame.unit + shift.reshape(m, 1, width),
            rotation=None if self.rotation is None else np.ascontiguousarray(self.rotation.T),
        )  # fmt: skip

    def _records(self, wide: Floats, bits: int) -> NDArray[np.uint8]:
        """The codes of (n, m * width) rows in the frame, packed."""
        m, codewords, width = self.books.shape
        codes = np.zeros((len(wide), m), np.int64)
        if not len(wide) or codewords == 1:
            return pack_codes(codes, bits)
        faiss: Any = require("faiss", "compress")
        with _one_thread_if_small(faiss, len(wide) * codewords * width):
            if codewords == 256:  # a byte a code, as our records hold them
                quantizer = faiss.ProductQuantizer(m * width, m, 8)
                faiss.copy_array_to_vector(np.ascontiguousarray(self.books).reshape(-1), quantizer.centroids)
                found: NDArray[np.uint8] = quantizer.compute_codes(np.ascontiguousarray(wide))
                return found
            for j, piece in enumerate(pieces(wide, m)):
                codes[:, j] = faiss.knn(piece, np.ascontiguousarray(self.books[j]), 1)[1][:, 0]
        return pack_codes(codes, bits)
