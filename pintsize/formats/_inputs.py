"""The one place where rows, offsets and queries are checked, before any kernel sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, dtype_name, is_torch, to_numpy
from pintsize.errors import TableError
from pintsize.kernels import first_outside, rising_from_zero

__all__ = ["checked_offsets", "checked_queries", "checked_rows", "checked_weights"]

_INT64 = np.dtype(np.int64)
_INTEGERS = ("int64", "int32", "int16", "int8", "uint8")


def checked_rows(rows: Array, limit: int, device: Any) -> tuple[Array, tuple[int, ...]]:
    """Flat contiguous int64 rows, on `device` if there is one, and the shape they came in.

    Raises:
        TableError: Not integers.
        IndexError: A row outside [0, limit); the first is named.
    """
    if device is None and type(rows) is np.ndarray and rows.dtype == _INT64 and rows.flags.carray:
        bad = first_outside(rows, limit)
        if bad >= 0:
            raise _out_of_range(int(rows.flat[bad]), limit)
        return rows if rows.ndim == 1 else rows.reshape(-1), rows.shape
    if device is not None and is_torch(rows) and rows.device == device and dtype_name(rows) in _INTEGERS:
        return _checked_in_place(rows, limit), tuple(rows.shape)
    array = to_numpy(rows) if is_torch(rows) else np.asarray(rows)
    shape = tuple(array.shape)
    if array.dtype != np.int64:
        if array.dtype.kind not in "iu" and array.size:
            raise TableError(f"rows are integers; found {array.dtype}")
        if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise _out_of_range(int(array.max()), limit)
        array = array.astype(np.int64)
    flat = np.ascontiguousarray(array).reshape(-1)
    bad = first_outside(flat, limit)
    if bad >= 0:
        raise _out_of_range(int(flat[bad]), limit)
    if device is not None:
        import torch

        return torch.as_tensor(flat, device=device), shape
    return flat, shape


def _checked_in_place(rows: Array, limit: int) -> Array:
    """Flat rows of a device, looked over there: one answer comes back, and a row only where it is at fault."""
    flat = rows.long().reshape(-1)
    outside = (flat < 0) | (flat >= limit)
    if bool(outside.any()):
        raise _out_of_range(int(flat[outside][0]), limit)
    return flat


def _out_of_range(row: int, limit: int) -> IndexError:
    have = f"the table has rows 0 to {limit - 1}" if limit else "the table has no rows"
    return IndexError(f"row {row} is out of range: {have}")


def checked_offsets(offsets: Array, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Where bags begin in rows of this (one-dimensional) shape, as int64.

    Raises:
        TableError: Rows of another dimension; offsets that do not start at 0, fall, or pass the end.
    """
    if len(shape) != 1:
        raise TableError(f"the rows of bags are one-dimensional; found shape {shape}")
    num_rows = shape[0]
    ready = type(offsets) is np.ndarray and offsets.dtype == _INT64 and offsets.flags.carray and offsets.ndim == 1
    if ready and offsets.size and rising_from_zero(offsets, num_rows):
        return offsets  # type: ignore[no-any-return]
    starts = np.ascontiguousarray(to_numpy(np.asarray(offsets) if isinstance(offsets, (list, tuple)) else offsets))
    if starts.ndim != 1 or (starts.size and starts.dtype.kind not in "iu"):
        raise TableError(f"offsets are one-dimensional integers; found shape {starts.shape}, {starts.dtype}")
    starts = starts.astype(np.int64)
    if not starts.size:
        if num_rows:
            raise TableError(f"{num_rows} rows and no bag to put them in: offsets are empty")
        return starts
    if starts[0] != 0 or starts[-1] > num_rows or (np.diff(starts) < 0).any():
        raise TableError(
            f"offsets start at 0, never fall and stay within the {num_rows} rows; found {starts[0]} to {starts[-1]}"
        )
    return starts


def checked_weights(weights: Array | None, shape: tuple[int, ...], mode: str, device: Any) -> Array | None:
    """One finite or infinite factor a row, as float32, on `device` if there is one; they go with sums only."""
    if weights is None:
        return None
    if mode != "sum":
        raise TableError("weights go with mode='sum' only")
    if device is not None:
        import torch

        factors: Array = torch.as_tensor(weights, device=device).detach().float().contiguous()
    else:
        factors = _floats(weights)
    if tuple(factors.shape) != shape:
        raise TableError(f"weights have shape {tuple(factors.shape)}; one a row is needed: {shape}")
    return factors


def _floats(values: Array) -> NDArray[np.float32]:
    """As contiguous float32; torch's bfloat16 has no NumPy array of its own."""
    return np.ascontiguousarray(to_numpy(values.float() if is_torch(values) else values), np.float32)


def checked_queries(queries: Array, embedding_dim: int, device: Any) -> Array:
    """(num_queries, embedding_dim) float32 queries, where the table's arrays are."""
    array = queries if is_torch(queries) else np.asarray(queries)
    if array.ndim != 2 or array.shape[1] != embedding_dim:
        raise TableError(f"queries have shape (num_queries, {embedding_dim}); found {tuple(array.shape)}")
    if device is not None:
        import torch

        return torch.as_tensor(array, device=device).float()
    return _floats(array)
