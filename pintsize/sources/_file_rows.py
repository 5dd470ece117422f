"""Rows that lie in a file at an offset, read when a slice asks for them.

Plain reads, not a memory map: pages of a map count as the process's own memory once touched, and a file that shrinks
under a map kills the process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.sources._found import reading

__all__ = ["FileRows", "bounds", "file_rows", "widened"]

Identity = tuple[int, int, int, int]


def bounds(key: slice, num_rows: int) -> tuple[int, int]:
    """The start and stop of a slice of consecutive rows."""
    if not isinstance(key, slice):
        raise TableError(f"rows of a file are read by slices; found {type(key).__name__}")
    start, stop, step = key.indices(num_rows)
    if step != 1:
        raise TableError(f"rows of a file are read in a row; found a slice with step {step}")
    return start, max(start, stop)


def widened(bits: NDArray[Any]) -> NDArray[np.float32]:
    """bfloat16 bits, as uint16 of any byte order, as the float32 values they stand for."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _identity(stat: os.stat_result) -> Identity:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


@dataclass(frozen=True)
class FileRows:
    """A two-dimensional array of floats inside a file; holds no open file and no data.

    Args:
        path: The file.
        offset: Where the first element lies, in bytes.
        shape: (num_rows, num_columns).
        stored: The elements as they lie in the file, in either byte order; uint16 for bfloat16.
        dtype: The dtype's name, or a NumPy dtype in native byte order: what the table is said to hold.
        fortran: Columns lie one after the other, not rows.
        identity: Which file this was when it was opened: a changed file is an error, not another table.
    """

    path: Path
    offset: int
    shape: tuple[int, int]
    stored: np.dtype[Any]
    dtype: Any
    fortran: bool
    identity: Identity

    def __getitem__(self, key: slice) -> NDArray[Any]:
        """The rows of a slice with step 1, as a new array; float32 for bfloat16.

        Raises:
            TableError: The file is gone, was changed since it was opened, or cannot be read.
        """
        start, stop = bounds(key, self.shape[0])
        with reading(self.path), FileIO(self.path) as file:
            if _identity(os.fstat(file.fileno())) != self.identity:
                raise TableError(f"{self.path}: the file was changed after it was opened; open it again")
            out = self._columns(file, start, stop) if self.fortran else self._rows(file, start, stop)
        return widened(out) if self.dtype == "bfloat16" else out

    def _rows(self, file: FileIO, start: int, stop: int) -> NDArray[Any]:
        out = np.empty((stop - start, self.shape[1]), self.stored)
        self._read(file, start * self.shape[1], out)
        return out

    def _columns(self, file: FileIO, start: int, stop: int) -> NDArray[Any]:
        out = np.empty((stop - start, self.shape[1]), self.stored, order="F")
        for column in range(self.shape[1]):
            self._read(file, column * self.shape[0] + start, out[:, column])
        return out

    def _read(self, file: FileIO, element: int, out: NDArray[Any]) -> None:
        if out.size == 0:
            return
        file.seek(self.offset + element * self.stored.itemsize)
        left = out.reshape(-1).view(np.uint8).data
        while left:
            count = file.readinto(left)
            if not count:
                raise TableError(f"{self.path}: the file ends before its rows do")
            left = left[count:]


def file_rows(
    path: Path,
    offset: int,
    shape: tuple[int, int],
    stored: np.dtype[Any],
    *,
    bfloat16: bool = False,
    fortran: bool = False,
) -> FileRows:
    """Rows at an offset of a file, once it is known that the file is long enough to hold them.

    Raises:
        TableError: The file ends before the rows do.
    """
    stat = path.stat()
    end = offset + prod(shape) * stored.itemsize
    if end > stat.st_size:
        raise TableError(
            f"{path}: {shape[0]} rows of {shape[1]} columns end at byte {end}, and the file has {stat.st_size} bytes; "
            "it was cut short: copy it again"
        )
    dtype = "bfloat16" if bfloat16 else stored.newbyteorder("=")
    return FileRows(path, offset, shape, stored, dtype, fortran, _identity(stat))
