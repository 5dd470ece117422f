"""Compressed tables as plain faiss indexes, and back.

Every index ranks by inner product. Where faiss has the same code, codes and codebooks are taken over as they are and
nothing is trained; where it has not, `build_ivf` and `to_rabitq` let faiss encode the decoded rows, and say so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError, require
from pintsize.formats._packing import unpack
from pintsize.formats._rotation import rotate
from pintsize.formats.base import CompressedTable
from pintsize.formats.codebook import CodebookTable
from pintsize.formats.dense import DenseTable
from pintsize.formats.scalar import ScalarTable

__all__ = ["binary_queries", "build_ivf", "from_faiss", "to_binary", "to_faiss", "to_pq_fast_scan", "to_rabitq"]

_BLOCK_ROWS = 1 << 16


def to_faiss(table: CompressedTable) -> Any:
    """The ``faiss.Index`` that stores the same values as this table.

    - `CodebookTable` of concatenated codebooks (pq, opq): ``IndexPQ`` with the same codebooks and codes, behind an
      ``IndexPreTransform`` where there is a rotation.
    - `DenseTable`: ``IndexFlat`` (float32), ``IndexScalarQuantizer`` (float16, bfloat16).
    - `ScalarTable` of 8 or 4 bits without scales of its rows: ``IndexScalarQuantizer`` with the uniform code; values
      are the same but for float rounding.

    Args:
        table: Of NumPy arrays.

    Raises:
        TableError: faiss has no such code: rows with scales of their own, codebooks that are summed, other widths.
        MissingExtra: faiss is not installed.
    """
    faiss = require("faiss", "search")
    if isinstance(table, CodebookTable):
        return _with_rotation(faiss, _pq(faiss, table), table.rotation)
    if isinstance(table, DenseTable):
        return _dense(faiss, table)
    if (
        isinstance(table, ScalarTable)
        and table.scale == "none"
        and table.levels in (16, 256)
        and table.rotation is None
    ):
        return _uniform(faiss, table)
    raise TableError(
        f"faiss stores no {table.tag} rows like these; to_binary, to_rabitq and build_ivf make indexes of related codes"
    )


def to_pq_fast_scan(table: CodebookTable) -> Any:
    """``IndexPQFastScan`` with the codebooks and codes of this table, behind a transform where there is a rotation.

    faiss rounds the look-up tables of a query to bytes, so that scores are approximate.

    Raises:
        TableError: Codes that are not of 4 bits, or as `to_faiss`.
        MissingExtra: faiss is not installed.
    """
    faiss = require("faiss", "search")
    if table.bits != 4:
        raise TableError(f"the fast scan takes codes of 4 bits; found {table.bits}")
    plain = _pq(faiss, table)
    return _with_rotation(faiss, faiss.IndexPQFastScan(plain), table.rotation)


def to_binary(table: ScalarTable) -> Any:
    """``IndexBinaryFlat`` over the bits of a 1-bit table, for queries made by `binary_queries`.

    It ranks by Hamming distance: the inner product of the signs, without the scales of rows.

    Raises:
        TableError: Not one bit a value.
        MissingExtra: faiss is not installed.
    """
    faiss = require("faiss", "search")
    bits = _bits(table)
    index = faiss.IndexBinaryFlat(8 * bits.shape[1])
    index.add(bits)
    return index


def binary_queries(table: ScalarTable, queries: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(num_queries, ceil(embedding_dim / 8)) bytes: the signs of queries, rotated like the rows of a 1-bit table."""
    turned = queries if table.rotation is None else rotate(np.ascontiguousarray(queries, np.float32), table.rotation)
    return np.packbits(turned >= 0, axis=1, bitorder="little")


def to_rabitq(table: ScalarTable) -> Any:
    """``IndexRaBitQ`` with the signs of a 1-bit table around the centre 0, behind the table's rotation.

    The rows are decoded and encoded by faiss, without training: the signs stay as they are, and faiss's own factors
    stand for the scales: for rows of one magnitude the same products but for the rounding of queries.

    Raises:
        TableError: Not one bit a value, or values that are not a magnitude with a sign.
        MissingExtra: faiss is not installed.
    """
    faiss = require("faiss", "search")
    if not isinstance(table, ScalarTable) or table.levels != 2 or table.offset or table.bias != -0.5:
        raise TableError("RaBitQ takes rows of one magnitude with signs: a ScalarTable of 2 levels about zero")
    index = faiss.IndexRaBitQ(table.columns, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.zeros(table.columns, np.float32), index.center)
    index.is_trained = True
    plain = table if table.rotation is None else table._unrotated
    for start in range(0, table.num_embeddings, _BLOCK_ROWS):
        index.add(plain.lookup(np.arange(start, min(start + _BLOCK_ROWS, table.num_embeddings))))
    if table.rotation is None:
        return index
    # What `rotate` does to a unit vector is a column of the matrix.
    matrix = rotate(np.eye(table.columns, dtype=np.float32), table.rotation).T
    return _transformed(faiss, index, np.ascontiguousarray(matrix))


def build_ivf(table: CompressedTable, nlist: int, *, seed: int = 0) -> Any:
    """An inverted-file index over the rows: faiss clusters the decoded rows into `nlist` lists.

    A `CodebookTable` of concatenated codebooks keeps its codebooks and codes (``IndexIVFPQ`` without residuals);
    any other table is decoded and encoded by faiss, one byte a value (``IndexIVFScalarQuantizer``): an error of its own
    on top of the table's. Set ``nprobe`` on the index (``faiss.extract_index_ivf`` finds it behind a rotation).

    Args:
        table: Of NumPy arrays.
        nlist: How many lists; about the root of the number of rows, up to 16 times as many.
        seed: Of the clustering.

    Raises:
        TableError: More lists than rows, or none.
        MissingExtra: faiss is not installed.
    """
    faiss = require("faiss", "search")
    n, rng = table.num_embeddings, np.random.default_rng(seed)
    if not 1 <= nlist <= n:
        raise TableError(f"nlist is 1 to the number of rows, {n}; found {nlist}")
    keeps = isinstance(table, CodebookTable) and table.combine == "concat"
    plain = table
    rotation = None
    if isinstance(table, CodebookTable) and keeps:
        rotation = table.rotation
        plain = CodebookTable(
            table.records, table.codes * table._width, table.codes, table.bits, table.combine, codebooks=table.codebooks
        )
    sample = plain.lookup(np.sort(rng.permutation(n)[: max(64 * nlist, 1 << 14)]))
    dim = plain.embedding_dim
    coarse = faiss.IndexFlatIP(dim)
    if isinstance(plain, CodebookTable) and keeps:
        index = faiss.IndexIVFPQ(coarse, dim, nlist, plain.codes, plain.bits, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = False
    else:
        kind = faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexIVFScalarQuantizer(coarse, dim, nlist, kind, faiss.METRIC_INNER_PRODUCT, False)
    index.cp.seed = seed
    index.cp.spherical = True
    index.train(sample)
    if isinstance(plain, CodebookTable) and keeps:
        faiss.copy_array_to_vector(_books(plain).reshape(-1), index.pq.centroids)
    for start in range(0, n, _BLOCK_ROWS):
        # A row of codewords is nearest to itself: it gets its own codes again.
        index.add(plain.lookup(np.arange(start, min(start + _BLOCK_ROWS, n))))
    return _with_rotation(faiss, index, rotation)


def from_faiss(index: Any) -> CompressedTable:
    """The table that stores the rows of a faiss index; nothing is trained.

    Args:
        index: ``IndexPQ``, also behind one ``LinearTransform`` (an ``OPQMatrix``) that keeps the number of columns;
            ``IndexFlat``; ``IndexScalarQuantizer`` of float16, or of the uniform 8-bit code, whose step and offset are
            then rounded to float16.

    Raises:
        TableError: Another kind of index.
        MissingExtra: faiss is not installed.
    """
    faiss = require("faiss", "search")
    index = faiss.downcast_index(index)
    rotation = None
    if isinstance(index, faiss.IndexPreTransform) and index.chain.size() == 1:
        step = faiss.downcast_VectorTransform(index.chain.at(0))
        inner = faiss.downcast_index(index.index)
        square = isinstance(step, faiss.LinearTransform) and not step.have_bias and step.d_in == step.d_out
        if square and isinstance(inner, faiss.IndexPQ):
            rotation = faiss.vector_to_array(step.A).reshape(step.d_out, step.d_in).copy()
            index = inner
    if isinstance(index, faiss.IndexPQ):
        m, bits = index.pq.M, index.pq.nbits
        records = faiss.vector_to_array(index.codes).reshape(index.ntotal, -1)
        books = faiss.vector_to_array(index.pq.centroids).reshape(m, 2**bits, -1)
        return CodebookTable(records, index.d, m, bits, "concat", codebooks=books, rotation=rotation)
    if isinstance(index, faiss.IndexFlat):
        return DenseTable(index.reconstruct_n(0, index.ntotal), "float32")
    if isinstance(index, faiss.IndexScalarQuantizer):
        kind, codes = index.sq.qtype, faiss.vector_to_array(index.codes).reshape(index.ntotal, -1)
        if kind == faiss.ScalarQuantizer.QT_fp16:
            return DenseTable(codes.view(np.float16), "float16")
        if kind == faiss.ScalarQuantizer.QT_8bit_uniform:
            low, width = faiss.vector_to_array(index.sq.trained)[:2]
            step = np.float32(width) / np.float32(255)
            meta = np.broadcast_to(np.array([step, low + step / 2], np.float16).view(np.uint8), (len(codes), 4))
            return ScalarTable(np.concatenate([codes, meta], axis=1), index.d, 256, index.d)
    raise TableError(f"no table stores the rows of a {type(index).__name__} as they are")


def _books(table: CodebookTable) -> NDArray[np.float32]:
    """(codes, 2**bits, width) codebooks; those that have fewer codewords are filled up with their last."""
    books = np.asarray(table.codebooks, np.float32)
    books = np.broadcast_to(books, (table.codes, *books.shape[1:]))
    short = 2**table.bits - books.shape[1]
    return np.ascontiguousarray(np.pad(books, ((0, 0), (0, short), (0, 0)), mode="edge"))


def _pq(faiss: Any, table: CodebookTable) -> Any:
    width = table.codes * table._width
    if table.combine != "concat" or not 1 <= table.bits <= 16 or width != table.columns:
        raise TableError(
            f"faiss takes concatenated codebooks of 1 to 16 bits that fill the row; found {table.combine!r}, "
            f"{table.bits} bits, {width} of {table.columns} columns"
        )
    index = faiss.IndexPQ(width, table.codes, table.bits, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(_books(table).reshape(-1), index.pq.centroids)
    faiss.copy_array_to_vector(np.ascontiguousarray(table.records).reshape(-1), index.codes)
    index.ntotal = table.num_embeddings
    index.is_trained = True
    return index


def _with_rotation(faiss: Any, index: Any, rotation: NDArray[np.float32] | None) -> Any:
    # The decoded row is multiplied by the rotation from the right: the query by its transpose.
    return index if rotation is None else _transformed(faiss, index, np.ascontiguousarray(rotation, np.float32))


def _transformed(faiss: Any, index: Any, matrix: NDArray[np.float32]) -> Any:
    """The index behind ``x -> matrix @ x``."""
    step = faiss.LinearTransform(matrix.shape[1], matrix.shape[0], False)
    faiss.copy_array_to_vector(matrix.reshape(-1), step.A)
    step.set_is_orthonormal()
    step.is_trained = True
    outer = faiss.IndexPreTransform(step, index)
    # faiss keeps pointers: their owners live as long as the index.
    outer.referenced_objects = [step, index]
    return outer


def _dense(faiss: Any, table: DenseTable) -> Any:
    kinds = {"float16": "QT_fp16", "bfloat16": "QT_bf16"}
    if table.dtype == "float32":
        index = faiss.IndexFlatIP(table.embedding_dim)
        index.add(np.ascontiguousarray(table.rows))
        return index
    if table.dtype not in kinds:
        raise TableError(f"faiss stores float32, float16 and bfloat16 rows; found {table.dtype}")
    kind = getattr(faiss.ScalarQuantizer, kinds[table.dtype])
    return _scalar_quantizer(faiss, table, kind, np.ascontiguousarray(table.rows).view(np.uint8), None)


def _uniform(faiss: Any, table: ScalarTable) -> Any:
    codes = unpack(np.ascontiguousarray(table.records[:, : table.code_bytes]), table.columns, table.levels)
    kind = faiss.ScalarQuantizer.QT_8bit_uniform if table.levels == 256 else faiss.ScalarQuantizer.QT_4bit_uniform
    if table.levels == 16:
        codes = np.pad(codes, ((0, 0), (0, table.columns % 2)))
        codes = np.ascontiguousarray(codes[:, ::2] | (codes[:, 1::2] << 4))
    # faiss reads a code c as low + (c + 1/2) / (levels - 1) * width.
    low, width = (table.bias - 0.5) * table.unit, (table.levels - 1) * table.unit
    return _scalar_quantizer(faiss, table, kind, codes, np.array([low, width], np.float32))


def _scalar_quantizer(
    faiss: Any, table: CompressedTable, kind: int, codes: NDArray[np.uint8], trained: NDArray[np.float32] | None
) -> Any:
    index = faiss.IndexScalarQuantizer(table.embedding_dim, kind, faiss.METRIC_INNER_PRODUCT)
    if trained is not None:
        faiss.copy_array_to_vector(trained, index.sq.trained)
    index.is_trained = True
    index.add_sa_codes(np.ascontiguousarray(codes).reshape(len(codes), -1))
    return index


def _bits(table: ScalarTable) -> NDArray[np.uint8]:
    """(rows, ceil(columns / 8)) bytes, low bit first, of a 1-bit table."""
    if not isinstance(table, ScalarTable) or table.levels != 2:
        raise TableError("binary indexes take a ScalarTable of one bit a value")
    codes = unpack(np.ascontiguousarray(table.records[:, : table.code_bytes]), table.columns, 2)
    return np.packbits(codes, axis=1, bitorder="little")
