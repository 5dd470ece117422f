"""Compressed tables as usearch indexes, and back: float16, bytes and bits. The keys are the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError, require
from pintsize.formats._packing import pack, unpack
from pintsize.formats.base import CompressedTable
from pintsize.formats.dense import DenseTable
from pintsize.formats.scalar import ScalarTable

__all__ = ["from_usearch", "to_usearch"]

_BLOCK_ROWS = 1 << 16


def to_usearch(table: CompressedTable, dtype: str = "f16", **settings: Any) -> Any:
    """A ``usearch.index.Index`` over the rows; ``index.save(path)`` writes its file.

    Args:
        table: Of NumPy arrays.
        dtype: ``"f16"``: the rows as float16, by inner product. ``"i8"``: the rows in steps of their largest magnitude
            / 127, by inner product in those steps. ``"b1"``: the bits of a 1-bit `ScalarTable`, by Hamming distance,
            for queries made by `pintsize.integrations.faiss.binary_queries`.
        settings: For ``usearch.index.Index``, e.g. ``connectivity``.

    Raises:
        TableError: Another dtype, or bits of a table that has more than one a value.
        MissingExtra: usearch is not installed.
    """
    usearch = require("usearch.index", "search")
    if dtype not in ("f16", "i8", "b1"):
        raise TableError(f"dtype is 'f16', 'i8' or 'b1'; found {dtype!r}")
    n, bits = table.num_embeddings, None
    if dtype == "b1":
        if not isinstance(table, ScalarTable) or table.levels != 2:
            raise TableError("a usearch index of bits takes a ScalarTable of one bit a value")
        codes = unpack(np.ascontiguousarray(table.records[:, : table.code_bytes]), table.columns, 2)
        bits = np.packbits(codes, axis=1, bitorder="little")
    width = table.embedding_dim if bits is None else 8 * bits.shape[1]
    index = usearch.Index(ndim=width, metric="ip" if bits is None else "hamming", dtype=dtype, **settings)
    peak = max((float(np.abs(rows).max(initial=0)) for rows in _blocks(table)), default=0.0) if dtype == "i8" else 1.0
    step = peak / 127 if peak > 0 else 1.0
    first = 0
    for rows in _blocks(table) if bits is None else iter([bits]):
        if dtype == "f16":
            rows = rows.astype(np.float16)
        elif dtype == "i8":
            rows = np.rint(rows / step).astype(np.int8)
        index.add(np.arange(first, first + len(rows)), rows)
        first += len(rows)
    if first != n:
        raise TableError(f"usearch took {first} of {n} rows")
    return index


def from_usearch(index: Any) -> CompressedTable:
    """The table that stores the rows of a usearch index, or of the file of one.

    Float32 and float16 rows become a `DenseTable`; bytes a `ScalarTable` of ``byte / 128``; bits one of -1 and 1.

    Args:
        index: ``usearch.index.Index`` with the keys 0 to n - 1, or the path of its file.

    Raises:
        TableError: Other keys, or values of another kind.
        MissingExtra: usearch is not installed.
    """
    usearch = require("usearch.index", "search")
    if isinstance(index, (str, Path)):
        index = usearch.Index.restore(str(index))
        if index is None:
            raise TableError("the file is not one of a usearch index")
    n, kind = len(index), str(index.dtype).rpartition(".")[2].lower()
    if sorted(int(key) for key in index.keys) != list(range(n)):
        raise TableError(f"rows are positions: the keys must be 0 to {n - 1}")
    if kind not in ("f32", "f16", "i8", "b1"):
        raise TableError(f"usearch rows of f32, f16, i8 or b1 can be kept; found {kind}")
    width = index.ndim // 8 if kind == "b1" else index.ndim
    rows: NDArray[Any] = np.stack(index.get(np.arange(n))) if n else np.empty((0, width), np.uint8)
    if kind in ("f32", "f16"):
        return DenseTable(
            rows.astype(np.float32 if kind == "f32" else np.float16), "float32" if kind == "f32" else "float16"
        )
    if kind == "i8":
        codes = (rows.astype(np.int16) + 128).astype(np.uint8)
        return ScalarTable(codes, index.ndim, 256, index.ndim, "none", False, -128.0, 2.0**-7)
    codes = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little")
    return ScalarTable(pack(codes, 2), index.ndim, 2, index.ndim, "none", False, -0.5, 2.0)


def _blocks(table: CompressedTable) -> Any:
    for start in range(0, table.num_embeddings, _BLOCK_ROWS):
        yield table.lookup(np.arange(start, min(start + _BLOCK_ROWS, table.num_embeddings)))
