"""Parquet, in and out: a column of ids, and columns of equally long lists of floats."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.sources._file_rows import bounds
from pintsize.sources._found import Found, reading
from pintsize.table import Ids

__all__ = ["open_parquet", "write_parquet"]

_BUFFER_BYTES = 1 << 20
_BATCH_BYTES = 4 << 20


def open_parquet(paths: Sequence[Path], id_column: str | None = None, vector_column: str | None = None) -> Found:
    """Columns of lists of floats in Parquet files of one schema, each a table under its column's name.

    The ids are read now, the rows when asked for. A step back within a row group reads that group again from its front.

    Args:
        paths: One file, or the parts of a table.
        id_column: The column of ids. By default the only column of integers or strings, or the only one of them that
            is called ``id`` or ends so (``item_id``); without such a column rows have no ids.
        vector_column: The column of vectors; by default every column of lists of floats.

    Raises:
        TableError: Schemas that differ, columns that are missing or of another type, several that may be the ids, ids
            that are missing or stand twice.
    """
    schema, groups = _schema(paths[0]), []
    for path in paths:
        with reading(path), closing(_file(path)) as file:
            if not file.schema_arrow.equals(schema):
                raise TableError(f"{path}: its columns differ from those of {paths[0]}:\n{file.schema_arrow}\n{schema}")
            groups += [(path, g, file.metadata.row_group(g).num_rows) for g in range(file.num_row_groups)]
    found = Found()
    vectors = _vector_columns(schema, vector_column, found, paths[0])
    key = _id_column(schema, id_column, paths[0])
    ids = _ids(paths, key) if key is not None and vectors else None
    for column in vectors:
        kind = schema.field(column).type
        width = kind.list_size if pa.types.is_fixed_size_list(kind) else _first_length(groups, column)
        if width is None:
            found.skip(column, f"{kind}: no rows, so the length of its lists is unknown")
            continue
        rows = _ParquetRows(groups, column, width, np.dtype(kind.value_type.to_pandas_dtype()))
        found.add(column, rows, rows.shape, rows.dtype.name, ids)
    return found


def write_parquet(
    file: BinaryIO, name: str, width: int, blocks: Iterator[tuple[int, NDArray[np.float32]]], ids: Ids | None
) -> None:
    """A column of float32 lists called `name`, and before it the ids, where there are any, as ``id``."""
    vector = pa.field(name, pa.list_(pa.float32(), width), nullable=False)
    key = "id" if name != "id" else "row_id"
    columns = [vector] if ids is None else [pa.field(key, ids.arrow.type, nullable=False), vector]
    with pq.ParquetWriter(file, pa.schema(columns), use_dictionary=False, write_page_checksum=True) as writer:
        for start, rows in blocks:
            arrays = [pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), width)]
            if ids is not None:
                arrays.insert(0, ids.arrow.slice(start, len(rows)))
            writer.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(columns)))


def _file(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)


def _schema(path: Path) -> pa.Schema:
    with reading(path), closing(_file(path)) as file:
        return file.schema_arrow


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_vector(kind: pa.DataType) -> bool:
    return _is_list(kind) and bool(pa.types.is_floating(kind.value_type))


def _is_id(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _checked_column(schema: pa.Schema, column: str, what: str, path: Path) -> None:
    if schema.get_field_index(column) < 0:
        raise TableError(f"{path}: no column {column!r} to take as {what}; its columns are {', '.join(schema.names)}")


def _vector_columns(schema: pa.Schema, wanted: str | None, found: Found, path: Path) -> list[str]:
    if wanted is not None:
        _checked_column(schema, wanted, "vectors", path)
        if not _is_vector(schema.field(wanted).type):
            raise TableError(f"{path}: column {wanted!r} is {schema.field(wanted).type}; lists of floats are needed")
        return [wanted]
    for field in schema:
        if not _is_vector(field.type):
            found.skip(field.name, f"{field.type}: not a list of floats")
    return [field.name for field in schema if _is_vector(field.type)]


def _id_column(schema: pa.Schema, wanted: str | None, path: Path) -> str | None:
    if wanted is not None:
        _checked_column(schema, wanted, "ids", path)
        if not _is_id(schema.field(wanted).type):
            raise TableError(f"{path}: column {wanted!r} is {schema.field(wanted).type}; ids are integers or strings")
        return wanted
    fits = [field.name for field in schema if _is_id(field.type)]
    called = [name for name in fits if name.lower() == "id" or name.endswith(("_id", "Id", "ID"))]
    if len(fits) > 1 and len(called) != 1:
        raise TableError(f"{path}: the ids may be in any of {', '.join(fits)}; say which: id_column=...")
    return called[0] if len(called) == 1 else fits[0] if fits else None


def _ids(paths: Sequence[Path], column: str) -> Ids:
    chunks: list[pa.Array] = []
    for path in paths:
        with reading(path), closing(_file(path)) as file:
            values = file.read(columns=[column]).column(column)
        kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        # Offsets of 64 bits first: more than 2 GiB of strings do not fit into one array otherwise.
        values = values.cast(kind).cast(pa.large_string() if not pa.types.is_integer(kind) else kind)
        chunks += values.chunks
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    try:
        return Ids(pa.concat_arrays(chunks) if chunks else [])
    except TableError as error:
        raise TableError(f"{where}: column {column!r}: {error}") from error


def _first_length(groups: Sequence[tuple[Path, int, int]], column: str) -> int | None:
    for path, group, count in groups:
        if count:
            with reading(path), closing(_file(path)) as file:
                batch = next(file.iter_batches(1, row_groups=[group], columns=[column]))
            length = pc.list_value_length(batch.column(column))[0].as_py()
            if length is None:
                raise TableError(f"{path}: column {column!r}: row 0 has no vector; every row needs one")
            return int(length)
    return None


class _ParquetRows:
    """The vectors of one column, read forward through one reader that is kept between slices."""

    def __init__(self, groups: Sequence[tuple[Path, int, int]], column: str, width: int, dtype: np.dtype[Any]) -> None:
        self._groups, self._column = groups, column
        self._starts = np.cumsum([0, *(count for _, _, count in groups)])
        self.shape, self.dtype = (int(self._starts[-1]), width), dtype
        self._lock = threading.Lock()
        self._group = -1
        self._batches: Iterator[tuple[int, NDArray[Any]]] = iter(())
        self._held: tuple[int, NDArray[Any]] = (0, np.empty((0, width), dtype))

    def __getitem__(self, key: slice) -> NDArray[Any]:
        start, stop = bounds(key, self.shape[0])
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        with self._lock:
            at = start
            while at < stop:
                first, rows = self._holding(at)
                until = min(stop, first + len(rows))
                out[at - start : until - start] = rows[at - first : until - first]
                at = until
        return out

    def _holding(self, row: int) -> tuple[int, NDArray[Any]]:
        """The batch that holds this row: the one at hand, a later one of the same group, or one of a new reader."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if group != self._group or row < self._held[0]:
            self._held = int(self._starts[group]), self._held[1][:0]
            self._batches = self._read(group)
        # Until the batch is at hand no group is: after an error the next slice begins anew.
        self._group = -1
        while row >= self._held[0] + len(self._held[1]):
            following = next(self._batches, None)
            if following is None:
                raise TableError(f"{self._groups[group][0]}: row group {group} ends before its rows do")
            self._held = following
        self._group = group
        return self._held

    def _read(self, index: int) -> Iterator[tuple[int, NDArray[Any]]]:
        path, group, _ = self._groups[index]
        size = max(1, _BATCH_BYTES // (self.shape[1] * self.dtype.itemsize))
        row = int(self._starts[index])
        with reading(path), closing(_file(path)) as file:
            for batch in file.iter_batches(size, row_groups=[group], columns=[self._column], use_threads=False):
                yield row, self._matrix(batch.column(self._column), row, path)
                row += len(batch)

    def _matrix(self, lists: pa.Array, first: int, path: Path) -> NDArray[Any]:
        width = self.shape[1]
        where = f"{path}: column {self._column!r}"
        if lists.null_count:
            row = first + int(np.flatnonzero(lists.is_null().to_numpy(zero_copy_only=False))[0])
            raise TableError(f"{where}: row {row} has no vector; every row needs one")
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        ragged = np.flatnonzero(lengths != width)
        if ragged.size:
            raise TableError(
                f"{where}: row {first + ragged[0]} has {lengths[ragged[0]]} values, and {width} are needed: "
                "all vectors have one length"
            )
        values = lists.flatten()
        if values.null_count:
            place = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
            raise TableError(f"{where}: row {first + place // width} has a missing value; every vector is whole")
        return values.to_numpy(zero_copy_only=False).reshape(-1, width)  # type: ignore[no-any-return]
