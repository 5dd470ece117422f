"""What every stored table can do: look up, pool and score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, is_torch, like, to_numpy
from pintsize.errors import TableError
from pintsize.formats._bags import bags_by_plain_sums, bags_of_decoded
from pintsize.formats._device import fill_on_device, pool_on_device, scores_on_device
from pintsize.formats._fields import PER_ROW, SHARED, StoredFields
from pintsize.formats._graphs import remember, wants_operator
from pintsize.formats._inputs import checked_offsets, checked_queries, checked_rows, checked_weights
from pintsize.formats._outputs import output_for
from pintsize.formats._small import lookup_array, lookup_tensor
from pintsize.formats._topk import Filter, Found, exact_topk

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PER_ROW", "SHARED", "CompressedTable"]

_TWIN_ROWS = 1 << 14


@dataclass(frozen=True, eq=False)
class CompressedTable(StoredFields, ABC):
    """Rows as they are stored. Immutable; a field is an array, a nested table (or a tuple of them), or a plain value.

    Arrays are NumPy arrays (also memory-mapped) or, after `to`, torch tensors on a device.
    """

    def __new__(cls, *fields: Any, **more: Any) -> Self:
        # Here, and not after __init__: copies and unpickled tables are made without it.
        table = super().__new__(cls)
        remember(table)
        return table

    def __post_init__(self) -> None:
        self.check()

    @property
    @abstractmethod
    def num_embeddings(self) -> int: ...

    @property
    @abstractmethod
    def embedding_dim(self) -> int: ...

    # -- reading ---------------------------------------------------------------------------------------------------

    def lookup(self, rows: Array, *, out: Array | None = None) -> Array:
        """The float32 rows at these positions.

        Args:
            rows: Integers of any shape, 0..num_embeddings-1: NumPy array, torch tensor or nested list.
            out: Where to write: float32, contiguous, of the result's shape and of the kind of `rows`.

        Returns:
            (*rows.shape, embedding_dim) float32, of the kind of `rows`.

        Raises:
            IndexError: A row out of range; the first is named.
            TableError: Rows that are not integers, or an `out` that does not fit.
        """
        if type(rows) is not np.ndarray and wants_operator(rows):
            from pintsize.formats import _torch_operators

            return _torch_operators.lookup(self, rows, out)
        if out is None and self._device is None:
            small = lookup_array(self, rows) if type(rows) is np.ndarray else lookup_tensor(self, rows)
            if small is not None:
                return small
        flat, shape = checked_rows(rows, self.num_embeddings, self._device)
        result = output_for(out, (*shape, self.embedding_dim), rows, self._device)
        self._fill(flat, result if len(shape) == 1 else result.reshape(-1, self.embedding_dim))
        return out if out is not None else self._handed_back(result, rows)

    def bag(
        self,
        rows: Array,
        offsets: Array,
        *,
        mode: Literal["sum", "mean"] = "sum",
        weights: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Sums or means of rows, bag by bag, as ``torch.nn.functional.embedding_bag`` defines them.

        Args:
            rows: (num_rows,) integers.
            offsets: (num_bags,) integers: where each bag begins in `rows`; starts at 0, never falls. A bag ends where
                the next begins, the last at the end of `rows`.
            mode: ``"sum"`` or ``"mean"``. An empty bag is zeros.
            weights: (num_rows,) factors of the rows, with ``mode="sum"`` only. The result is differentiable in them
                where they are a tensor that requires a gradient.
            out: Where to write, as in `lookup`.

        Returns:
            (num_bags, embedding_dim) float32.

        Raises:
            IndexError: A row out of range.
            TableError: Offsets, weights or mode that do not fit.
        """
        if type(rows) is not np.ndarray and (wants_operator(rows) or wants_operator(weights, gradient=True)):
            from pintsize.formats import _torch_operators

            return _torch_operators.bag(self, rows, offsets, mode, weights, out)
        flat, shape = checked_rows(rows, self.num_embeddings, self._device)
        starts = checked_offsets(offsets, shape)
        if mode not in ("sum", "mean"):
            raise TableError(f"mode is 'sum' or 'mean'; found {mode!r}")
        factors = checked_weights(weights, shape, mode, self._device)
        result = output_for(out, (len(starts), self.embedding_dim), rows, self._device)
        self._pool(flat, starts, mode == "mean", factors, result)
        return out if out is not None else self._handed_back(result, rows)

    def scores(self, queries: Array, rows: slice | None = None) -> Array:
        """Inner products of queries and rows.

        Args:
            queries: (num_queries, embedding_dim) floats.
            rows: A slice of rows with step 1; all of them by default.

        Returns:
            (num_queries, num_rows) float32, of the kind of `queries`; differentiable in them where they are tensors
            that require a gradient.
        """
        if type(queries) is not np.ndarray and wants_operator(queries, gradient=True):
            from pintsize.formats import _torch_operators

            return _torch_operators.scores(self, queries, rows)
        q = checked_queries(queries, self.embedding_dim, self._device)
        start, stop, step = (rows or slice(None)).indices(self.num_embeddings)
        if step != 1:
            raise TableError("scores are taken over consecutive rows; the slice has a step")
        result = self._scores(q, start, max(start, stop))
        return self._handed_back(result, queries)

    def topk(
        self,
        queries: Array,
        k: int,
        *,
        exclude: Sequence[Array] | tuple[Array, Array] | None = None,
        min_recall: float = 1.0,
        within: Array | None = None,
    ) -> tuple[Array, Array]:
        """The k rows of largest inner product with each query.

        Args:
            queries: (num_queries, embedding_dim) floats.
            k: How many, 1..num_embeddings.
            exclude: Rows never to return, a query each: a sequence of row arrays, or CSR (indptr, rows).
            min_recall: The least acceptable share of the true top k, in (0, 1]. Below 1, rows of 1, 2 and 4 bits are
                ranked by rounded look-ups first; `pintsize.search.TwoStage` trades more recall for time, measured.
            within: The only rows that may be returned: integers, or a mask of one bool a row. All by default.

        Returns:
            scores (num_queries, k) float32, falling, and rows (num_queries, k) int64. Equal scores come in row order.
            Where fewer than k rows are left, -inf and -1 fill up.

        Raises:
            TableError: k or min_recall out of range, or `exclude` or `within` that does not fit.
            IndexError: An excluded row, or one of `within`, out of range.
        """
        asked = checked_queries(queries, self.embedding_dim, self._device)
        scores, found = exact_topk(self, asked, k, exclude, within, min_recall)
        return like(scores, queries), like(found, queries)

    # -- what a format writes --------------------------------------------------------------------------------------

    @abstractmethod
    def _gather(self, rows: Array) -> Array:
        """The twin: (len(rows), embedding_dim) float32 in array-API code, for rows already checked."""

    def _gather_native(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> bool:
        """Writes the rows by a kernel, or answers False where there is none for this table."""
        return False

    def _lookup_small(self, rows: int, count: int, out: int) -> bool:
        """Writes `count` int64 rows at an address, not checked yet, to another; False: not these rows or this table."""
        return False

    def _bag_native(
        self,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        mean: bool,
        weights: NDArray[np.float32] | None,
        out: NDArray[np.float32],
    ) -> bool:
        """Writes the bags by a kernel, or answers False where there is none; by default decodes rows and sums those."""
        return bags_of_decoded(self._fill, rows, starts, mean, weights, out)

    def _gather_triton(self, kernels: Any, rows: Array, out: Array) -> bool:
        """Writes rows on a GPU by `kernels`, which is `pintsize.kernels.triton`, or answers False where it has none."""
        return False

    def _bag_triton(
        self, kernels: Any, rows: Array, bounds: NDArray[np.int64], mean: bool, weights: Array | None, out: Array
    ) -> bool:
        """Writes the bags ``rows[bounds[b]:bounds[b + 1]]`` likewise; else rows are decoded and torch sums them."""
        return False

    def _scores(self, queries: Array, start: int, stop: int) -> Array:
        """(len(queries), stop - start) inner products; the default goes through the rows block by block."""
        if self._device is not None:
            return scores_on_device(self, queries, start, stop)
        out = np.empty((len(queries), stop - start), np.float32)
        block = np.empty((min(_TWIN_ROWS, stop - start), self.embedding_dim), np.float32)
        for begin in range(start, stop, _TWIN_ROWS):
            end = min(begin + _TWIN_ROWS, stop)
            decoded = block[: end - begin]
            self._fill(np.arange(begin, end), decoded)
            out[:, begin - start : end - start] = queries @ decoded.T
        return out

    def _search(self, queries: Array, k: int, wanted: Filter) -> Found | None:
        """The k best rows of each query by a search of this format's own, or None where only scores can tell."""
        return None

    @abstractmethod
    def check(self) -> None:
        """Shapes and dtypes agree (no row is read). Raises TableError."""

    def validate(self) -> None:
        """Every stored value is one that a reader may follow: reads the whole table. Raises TableError."""
        self.check()
        for _, part in self.nested():
            part.validate()

    # -- the common entrance ---------------------------------------------------------------------------------------

    @cached_property
    def _device(self) -> Any:
        """The torch device of the arrays, or None for NumPy arrays."""
        return next((a.device for a in self.tensors().values() if is_torch(a)), None)

    def _fill(self, rows: Array, out: Array) -> None:
        """Writes the rows, already checked, into `out`: by a kernel, or by the twin in bounded blocks."""
        if self._device is not None:
            fill_on_device(self, rows, out)
            return
        if self._gather_native(rows, out):
            return
        for begin in range(0, out.shape[0], _TWIN_ROWS):
            out[begin : begin + _TWIN_ROWS] = self._gather(rows[begin : begin + _TWIN_ROWS])

    def _pool(self, rows: Array, starts: NDArray[np.int64], mean: bool, weights: Any, out: Array) -> None:
        """Writes the bags, already checked, into `out`: by a kernel, or by the twin."""
        if self._device is not None:
            pool_on_device(self, rows, np.append(starts, rows.shape[0]), mean, weights, out)
        elif not self._bag_native(rows, starts, mean, weights, out):
            bags_by_plain_sums(self._gather, rows, starts, mean, weights, out)

    def _handed_back(self, result: Array, asked: Any) -> Array:
        if is_torch(result):
            return result if is_torch(asked) else to_numpy(result)
        return like(result, asked)
