"""Tables larger than memory: look-ups that read their rows from the bundle's file, many at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, is_torch, like
from pintsize.bundle._depth import measured_depth
from pintsize.bundle._row_reads import RowFile, RowReader
from pintsize.bundle._tensors import Placed
from pintsize.errors import TableError
from pintsize.formats._inputs import checked_rows
from pintsize.formats.base import CompressedTable
from pintsize.formats.partitioned import PartitionedTable, damaged

__all__ = ["ColdTable"]

_DEEPEST = 4096


class ColdTable:
    """A table whose rows stay on disk. Made by `Bundle.cold`; may be used by several threads at once.

    A mapped table waits for one page after the other, each as soon as a row touches it. Here the rows of a call are
    sorted, each is read once, and many reads are in flight. The rows that came are a small table of the same format,
    and that answers: every format, bit and error is that of the mapped table. It is no `CompressedTable` itself, since
    scores and top-k go through all rows in order, which the mapped table does well from any storage.

    Rows are read into the page cache of the system, which is told ahead what will be read and keeps it as long as
    memory allows; or, with `cache_bytes`, past it into a cache of rows of our own, by io_uring where the kernel has it,
    else by threads that do nothing but read (`PINTSIZE_NUM_THREADS` does not count those). The first needs no setting
    and shares its memory with everything else. The second keeps dozens of times as many scattered rows in the same
    bytes, never more of them than it was given, and costs less for a row that is read only once. Whatever all rows
    share (codebooks, rotations, a basis), and the row map of a partitioned table, is held in memory.

    A file that can no longer be read is a `BundleError`, where a mapping would end the process with SIGBUS.

    Attributes:
        depth: Reads in flight, at most.
        cache_bytes: The budget, or None for the page cache.
    """

    def __init__(
        self,
        table: CompressedTable,
        file: RowFile,
        placed: Mapping[str, Placed],
        *,
        cache_bytes: int | None,
        depth: int | None,
    ) -> None:
        if cache_bytes is not None and (not isinstance(cache_bytes, int) or cache_bytes < 0):
            raise TableError(f"cache_bytes is a number of bytes from 0 on, or None; found {cache_bytes!r}")
        if depth is not None and (not isinstance(depth, int) or not 1 <= depth <= _DEEPEST):
            raise TableError(f"depth is 1 to {_DEEPEST} reads in flight, or None; found {depth!r}")
        read = _read_from_file(table)
        tensors = table.tensors()
        whole = sum(tensors[name].nbytes for name in read) or 1
        self._readers = {
            name: RowReader(
                file, placed[name], None if cache_bytes is None else cache_bytes * tensors[name].nbytes // whole
            )
            for name in sorted(read)
        }
        self._table = CompressedTable.from_tensors(
            table.header(), {name: a if name in read else np.array(a) for name, a in tensors.items()}
        )
        self.cache_bytes = cache_bytes
        self.depth = measured_depth(file) if depth is None else depth

    @property
    def num_embeddings(self) -> int:
        """Rows of the table."""
        return self._table.num_embeddings

    @property
    def embedding_dim(self) -> int:
        """Columns of a row."""
        return self._table.embedding_dim

    @property
    def nbytes(self) -> int:
        """The bytes of the table, as `CompressedTable.nbytes` counts them."""
        return self._table.nbytes

    def lookup(self, rows: Array, *, out: Array | None = None) -> Array:
        """The float32 rows at these positions: as `CompressedTable.lookup`, whose arguments and errors it has.

        Raises:
            BundleError: The file can no longer be read, or was cut.
        """
        table, places = self._fetched(rows)
        return table.lookup(places, out=out)

    def bag(
        self,
        rows: Array,
        offsets: Array,
        *,
        mode: Literal["sum", "mean"] = "sum",
        weights: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Sums or means of rows, bag by bag: as `CompressedTable.bag`, whose arguments and errors it has.

        Raises:
            BundleError: The file can no longer be read, or was cut.
        """
        table, places = self._fetched(rows)
        return table.bag(places, offsets, mode=mode, weights=weights, out=out)

    def __repr__(self) -> str:
        return f"ColdTable({self.num_embeddings} x {self.embedding_dim}, {self.nbytes} bytes, depth {self.depth})"

    def _fetched(self, rows: Array) -> tuple[CompressedTable, Array]:
        """A small table of the rows asked for, each once, and where each of those asked for is in it."""
        flat, shape = checked_rows(rows, self.num_embeddings, None)
        distinct, places = np.unique(flat, return_inverse=True)
        places = places.reshape(shape)
        return self._part(self._table, distinct, ""), like(places, rows) if is_torch(rows) else places

    def _part(self, table: CompressedTable, rows: NDArray[np.int64], name: str) -> CompressedTable:
        """`table`, whose arrays are called `name`..., with only these rows of it; they rise, each once."""
        if isinstance(table, PartitionedTable):
            # The place in a part rises with the row: places taken out of a part are still in the order of their rows.
            part, place = table._locate(rows)
            parts = []
            for index, inner in enumerate(table.parts):
                inside = place[part == index]
                if inside.size and not (inside[0] >= 0 and inside[-1] < inner.num_embeddings and _rising(inside)):
                    raise damaged(2)
                parts.append(self._part(inner, inside, f"{name}parts.{index}."))
            return PartitionedTable.from_parts(part, parts)
        fields: dict[str, Any] = {}
        for field in dataclasses.fields(table):
            value = getattr(table, field.name)
            if field.metadata.get("rows"):
                if isinstance(value, CompressedTable):
                    fields[field.name] = self._part(value, rows, f"{name}{field.name}.")
                else:
                    fields[field.name] = self._readers[name + field.name].take(rows, self.depth)
        return dataclasses.replace(table, **fields)


def _rising(places: NDArray[np.int64]) -> bool:
    return bool((places[1:] > places[:-1]).all())


def _read_from_file(table: CompressedTable) -> set[str]:
    """The names in `tensors` of the arrays that are read row by row.

    Raises:
        TableError: A row of it is not a row of its arrays.
    """
    if isinstance(table, PartitionedTable):
        return {f"parts.{i}.{name}" for i, part in enumerate(table.parts) for name in _read_from_file(part)}
    names: set[str] = set()
    for field in dataclasses.fields(table):
        value = getattr(table, field.name)
        if field.metadata.get("rows"):
            nested = isinstance(value, CompressedTable)
            names |= {f"{field.name}.{name}" for name in _read_from_file(value)} if nested else {field.name}
    if not names:
        raise TableError(
            f"{table.tag}: a row does not lie at a place that its number tells, so that it cannot be read alone; "
            "use the mapped table, or load the bundle with resident=True"
        )
    return names
