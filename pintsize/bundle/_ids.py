"""Ids as an Arrow IPC file of one batch: column ``id``, and ``order`` unless the ids rise from row to row.

``order`` holds the rows in the order of their ids. With it, the first look-up in ten million string ids takes
milliseconds, where sorting them takes seconds.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pintsize.errors import BundleError, TableError
from pintsize.ids import Ids

__all__ = ["KINDS", "check_ids", "kind_of", "read_ids", "write_ids"]

KINDS = {"int64": pa.int64(), "string": pa.large_string()}


def kind_of(ids: Ids) -> str:
    """``"int64"`` or ``"string"``."""
    return "int64" if ids.is_integer else "string"


def write_ids(path: str, ids: Ids) -> None:
    """Writes the ids to a new file. Raises OSError."""
    columns = {"id": ids.arrow}
    order = ids.order
    if not (order[1:] > order[:-1]).all():
        columns["order"] = pa.array(order)
    batch = pa.record_batch(columns)
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def read_ids(data: NDArray[np.uint8], kind: str, num_embeddings: int, where: str) -> Ids:
    """The ids in `data`, the whole file, of which only the ends are read.

    Raises:
        BundleError: Not such a file, or ids of another kind or number.
    """
    try:
        batch = _only_batch(data, where)
        batch.validate()
    except (pa.ArrowException, ValueError, TypeError, LookupError, OSError, MemoryError, OverflowError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{where}: an Arrow file of ids is expected; found: {str(error)[:200]}") from error
    names = batch.schema.names
    wanted = [KINDS[kind], pa.int32() if num_embeddings < 2**31 else pa.int64()][: len(names)]
    if names not in (["id"], ["id", "order"]) or batch.schema.types != wanted:
        raise BundleError(f"{where}: {kind} ids, and int order, are expected; found {_text(batch.schema)}")
    if batch.num_rows != num_embeddings:
        raise BundleError(f"{where}: {num_embeddings} ids are expected, one a row; found {batch.num_rows}")
    if any(column.buffers()[0] is not None or column.offset for column in batch.columns):
        raise BundleError(f"{where}: every row needs an id; found a map of missing ones")
    rising = len(names) == 1
    return Ids.trusted(batch.column(0), order=None if rising else batch.column(1).to_numpy(), rising=rising)


def check_ids(ids: Ids, where: str) -> None:
    """Reads all ids. Raises BundleError unless they are unique and their order is right."""
    try:
        ids.validate()
    except TableError as error:
        raise BundleError(f"{where}: {error}") from error


def _only_batch(data: NDArray[np.uint8], where: str) -> pa.RecordBatch:
    with pa.ipc.open_file(pa.BufferReader(pa.py_buffer(data))) as reader:
        if reader.num_record_batches != 1:
            raise BundleError(f"{where}: one batch of ids is expected; found {reader.num_record_batches}")
        batch = reader.get_batch(0)
    low = data.__array_interface__["data"][0]
    for column in batch.columns:
        for buffer in column.buffers():
            if buffer is not None and buffer.size and not low <= buffer.address <= low + len(data) - buffer.size:
                raise BundleError(f"{where}: ids as they lie in the file are expected; found compressed ones")
    return batch


def _text(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name[:40]}: {str(field.type)[:40]}" for field in list(schema)[:4])
