"""The table that a user has: rows, the user's own names for them, and how often each is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import dtype_name, is_torch, to_numpy
from pintsize.errors import TableError
from pintsize.ids import Ids
from pintsize.kernels import first_nonfinite

__all__ = ["EmbeddingTable", "Ids", "Rows", "chunk_rows"]

Floats = NDArray[np.float32]


class Rows(Protocol):
    """Anything two-dimensional that hands out contiguous rows: an array, a tensor, a memory map, a Parquet column."""

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, key: slice) -> Any: ...


_FLOATS = {"float16", "float32", "float64", "bfloat16"}
_CHUNK_BYTES = 32 << 20


def chunk_rows(embedding_dim: int) -> int:
    """How many float32 rows of this width make a chunk that fits the cache of a disk, not the memory of a machine."""
    return max(1, _CHUNK_BYTES // (4 * max(1, embedding_dim)))


def _as_float32(block: Any) -> Floats:
    if is_torch(block):
        block = block.detach().float().cpu().numpy()
    return np.ascontiguousarray(block, dtype=np.float32)


def _checked_rows(rows: Any) -> Rows:
    if isinstance(rows, (list, tuple)):
        try:
            rows = np.asarray(rows)
        except ValueError as error:
            raise TableError(f"rows of a table must all have the same length: {error}") from error
        if rows.dtype.kind in "iu":
            rows = rows.astype(np.float32)
    if not hasattr(rows, "shape") or not hasattr(rows, "dtype"):
        raise TableError(f"a table is a two-dimensional array, tensor or memory map; found {type(rows).__name__}")
    if len(rows.shape) != 2:
        raise TableError(
            f"a table has two dimensions (rows, columns); found shape {tuple(rows.shape)}; reshape it first"
        )
    # NumPy's name of a dtype leaves the byte order out; a read brings any order into the machine's.
    if getattr(rows.dtype, "name", dtype_name(rows)) not in _FLOATS:
        raise TableError(
            f"a table holds floats ({', '.join(sorted(_FLOATS))}); found {dtype_name(rows)}; convert it first"
        )
    if rows.shape[1] == 0:
        raise TableError("a table has at least one column; found none")
    return rows  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """A table of float rows, read in chunks, so that it may be larger than memory.

    Args:
        rows: (num_embeddings, embedding_dim) floats: array, tensor, memory map, or anything that answers ``shape``,
            ``dtype`` and a slice of rows.
        ids: The user's names for the rows, in row order: `Ids`, or a sequence of int64 or of strings. Unique.
        counts: (num_embeddings,) how often each row is used; not negative.
        on_nonfinite: ``"raise"``, or ``"zero"`` to read NaN and infinity as 0.

    Raises:
        TableError: Wrong dimensions or dtype, ids or counts of another length, duplicate ids, negative counts.
    """

    rows: Rows
    ids: Ids | None = None
    counts: NDArray[np.float64] | None = None
    on_nonfinite: Literal["raise", "zero"] = field(default="raise", kw_only=True)

    def __post_init__(self) -> None:
        if self.on_nonfinite not in ("raise", "zero"):
            raise TableError(f"on_nonfinite is 'raise' or 'zero'; found {self.on_nonfinite!r}")
        rows = _checked_rows(self.rows)
        object.__setattr__(self, "rows", rows)
        n = int(rows.shape[0])
        if self.ids is not None:
            ids = self.ids if isinstance(self.ids, Ids) else Ids(self.ids)
            if len(ids) != n:
                raise TableError(f"{len(ids)} ids for {n} rows; one id a row is needed")
            object.__setattr__(self, "ids", ids)
        if self.counts is not None:
            counts = np.asarray(to_numpy(self.counts), dtype=np.float64)
            if counts.shape != (n,):
                raise TableError(f"counts have shape {counts.shape}; ({n},) is needed, one a row")
            if not np.isfinite(counts).all() or (counts < 0).any():
                raise TableError(f"counts must be finite and not negative; row {_first_bad_count(counts)} is not")
            object.__setattr__(self, "counts", counts)

    @property
    def num_embeddings(self) -> int:
        return int(self.rows.shape[0])

    @property
    def embedding_dim(self) -> int:
        return int(self.rows.shape[1])

    @property
    def nbytes_float32(self) -> int:
        """What the rows take as float32, in bytes: the number that ratios divide."""
        return 4 * self.num_embeddings * self.embedding_dim

    def with_rows(self, rows: Rows) -> EmbeddingTable:
        """The same ids and counts over other rows."""
        return replace(self, rows=rows)

    def zero_nonfinite(self) -> EmbeddingTable:
        """The same table, with NaN and infinity read as 0."""
        return replace(self, on_nonfinite="zero")

    def read(self, start: int, stop: int) -> Floats:
        """Rows start..stop as (stop - start, embedding_dim) float32, checked to be finite.

        Raises:
            TableError: A row holds NaN or infinity, or is too large for float32; the first is named.
        """
        raw = self.rows[start:stop]
        with np.errstate(over="ignore"):
            block = _as_float32(raw)
        bad = first_nonfinite(block)
        if bad < 0:
            return block
        if self.on_nonfinite == "zero":
            return np.where(np.isfinite(block), block, np.float32(0))
        value = block[bad][~np.isfinite(block[bad])][0]
        raise TableError(
            f"row {start + bad} holds {value}; clean the table, or ask for such values to be read as 0 "
            "(EmbeddingTable.zero_nonfinite(), --on-nan zero)"
        )

    def chunks(self, size: int | None = None) -> Iterator[tuple[int, Floats]]:
        """(start, rows) in order: float32 blocks of at most `size` rows."""
        size = size or chunk_rows(self.embedding_dim)
        for start in range(0, self.num_embeddings, size):
            yield start, self.read(start, min(start + size, self.num_embeddings))

    def take(self, rows: NDArray[np.int64]) -> Floats:
        """The rows at increasing positions, as (len(rows), embedding_dim) float32, read in the runs they form."""
        out = np.empty((len(rows), self.embedding_dim), np.float32)
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for begin, end in zip([0, *breaks], [*breaks, len(rows)], strict=True):
            if end > begin:
                out[begin:end] = self.read(int(rows[begin]), int(rows[end - 1]) + 1)
        return out

    def sample(self, size: int, seed: int = 0) -> Floats:
        """Up to `size` rows in short runs, drawn without replacement over the whole table, in row order."""
        n = self.num_embeddings
        if size >= n:
            return self.array()
        run = 16 if n >= 32 * size else 1
        starts = np.random.default_rng(seed).choice(n // run, size=min(-(-size // run), n // run), replace=False)
        rows = (np.sort(starts)[:, None] * run + np.arange(run)).reshape(-1)[:size]
        return self.take(rows.astype(np.int64))

    def array(self) -> Floats:
        """The whole table as one float32 array: for methods that need it whole."""
        return self.read(0, self.num_embeddings)

    @cached_property
    def order_by_count(self) -> NDArray[np.int64]:
        """Rows from the most to the least used; ties keep row order.

        Raises:
            TableError: The table has no counts.
        """
        if self.counts is None:
            raise TableError("this needs counts: EmbeddingTable(rows, counts=...)")
        return np.argsort(-self.counts, kind="stable").astype(np.int64)


def _first_bad_count(counts: NDArray[np.float64]) -> int:
    return int(np.flatnonzero(~np.isfinite(counts) | (counts < 0))[0])
