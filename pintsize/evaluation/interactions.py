"""Interactions from Parquet files, as rows of two tables."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.ids import Ids

__all__ = ["compressed_rows", "read_interactions"]

Rows = tuple[NDArray[np.int64], NDArray[np.int64]]


def read_interactions(
    path: str | os.PathLike[str],
    num_users: int,
    num_items: int,
    *,
    user_ids: Ids | None = None,
    item_ids: Ids | None = None,
) -> Rows:
    """The columns ``user`` and ``item`` of a Parquet file, each pair once, user by user.

    Args:
        path: The file.
        num_users: Rows of the users' table.
        num_items: Rows of the items' table.
        user_ids: What ``user`` speaks of, if not of rows.
        item_ids: What ``item`` speaks of, if not of rows.

    Returns:
        ``(indptr, indices)``: (num_users + 1) offsets, and the items of each user, rising.

    Raises:
        TableError: No such file or columns, or a user or an item that the tables do not have.
    """
    try:
        columns = pq.read_table(Path(path), columns=["user", "item"])
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path}: a Parquet file with columns user and item is needed ({error})") from error
    if columns.column_names != ["user", "item"]:
        raise TableError(f"{path}: columns user and item are needed; found {', '.join(columns.column_names)}")
    users = _numbered(columns["user"], num_users, user_ids, f"{path}: user")
    items = _numbered(columns["item"], num_items, item_ids, f"{path}: item")
    return compressed_rows(users, items, num_users, num_items)


def compressed_rows(users: NDArray[np.int64], items: NDArray[np.int64], num_users: int, num_items: int) -> Rows:
    """Pairs as ``(indptr, indices)``: each once, user by user, items rising."""
    pairs = np.unique(users.astype(np.int64) * num_items + items)
    indptr = np.searchsorted(pairs, np.arange(num_users + 1) * num_items)
    return indptr.astype(np.int64), pairs % max(num_items, 1)


def _numbered(column: pa.ChunkedArray, limit: int, ids: Ids | None, where: str) -> NDArray[np.int64]:
    if column.null_count:
        raise TableError(f"{where}: {column.null_count} values are missing")
    if ids is not None:
        try:
            return ids.rows(column)
        except KeyError as error:
            raise TableError(f"{where}: the table has no id {error.args[0]!r}") from None
    if not pa.types.is_integer(column.type):
        raise TableError(f"{where}: the table has no ids, so row numbers are needed; found {column.type}")
    rows: NDArray[np.int64] = column.to_numpy().astype(np.int64)
    if len(rows) and (rows.min() < 0 or rows.max() >= limit):
        bad = rows[(rows < 0) | (rows >= limit)][0]
        raise TableError(f"{where}: row {bad} is outside the table of {limit} rows")
    return rows
