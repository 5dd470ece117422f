"""Rows read from a file by their offsets, many reads at a time, and not through a mapping."""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.bundle._files import Directory
from pintsize.bundle._row_cache import RowCache
from pintsize.bundle._tensors import Placed
from pintsize.errors import BundleError
from pintsize.kernels import address, native

__all__ = ["BLOCK", "RowFile", "RowReader"]

BLOCK = 4096
"""Bytes that a read from the device begins with and ends on."""

_DIRECT = getattr(os, "O_DIRECT", 0)


class RowFile:
    """A file of a bundle, open for reading rows: one descriptor, and another that passes the page cache by.

    The descriptors live as long as the object.

    Args:
        directory: Where it lies.
        name: Its name there.

    Raises:
        BundleError: It cannot be opened.
    """

    def __init__(self, directory: Directory, name: str) -> None:
        self.where = f"{directory.path}/{name}"
        with directory.open(name) as (fd, size):
            self.plain = os.dup(fd)
            weakref.finalize(self, os.close, self.plain)
            self.size, self.status = size, os.fstat(fd)
        if hasattr(os, "posix_fadvise"):
            # Reading ahead would bring in what the next row is not in: megabytes a row, on some machines.
            os.posix_fadvise(self.plain, 0, 0, os.POSIX_FADV_RANDOM)
        self.direct = self._opened_directly(directory, name) if _DIRECT else -1
        self.ring = native() is not None and bool(native().has_ring())

    def _opened_directly(self, directory: Directory, name: str) -> int:
        """A descriptor whose reads come from the device, or -1: not every file system has them."""
        try:
            fd = directory.descriptor(name, _DIRECT)
        except OSError:
            return -1
        try:
            same = os.path.samestat(os.fstat(fd), self.status)
            os.preadv(fd, [mmap.mmap(-1, BLOCK)], 0)
        except OSError:
            same = False
        if not same:
            os.close(fd)
            return -1
        weakref.finalize(self, os.close, fd)
        return fd

    def read(self, begin: int, rows: NDArray[np.int64], out: NDArray[np.uint8], depth: int, *, uncached: bool) -> None:
        """Writes records to `out`, (len(rows), width), of an array at byte `begin`; `rows` rise and lie in it.

        `uncached` reads pass the page cache by, where the file system and the kernels let them.

        Raises:
            BundleError: The system cannot read it, or it has become shorter.
        """
        kernels = native()
        if kernels is None:
            place, error = _twin(self.plain, begin, rows, out, depth)
        else:
            place, error = kernels.read_rows(
                self.plain, self.direct if uncached else -1, begin, out.shape[1],
                address(rows), len(rows), address(out), depth, self.ring,
            )  # fmt: skip
        if place >= 0 and error:
            raise BundleError(f"{self.where}: it cannot be read at byte {place}: {os.strerror(error)}")
        if place >= 0:
            raise BundleError(
                f"{self.where}: {self.size} bytes are expected; it ends at byte {place}: it was cut after it was opened"
            )


class RowReader:
    """One array of a file, of which rows are read and, with a budget, kept.

    Args:
        file: The file.
        place: Where the array lies in it; its first axis is the rows.
        cache_bytes: How much of it may be kept; None leaves that to the page cache.
    """

    def __init__(self, file: RowFile, place: Placed, cache_bytes: int | None) -> None:
        self._file, self._place, self._uncached = file, place, cache_bytes is not None
        self._width = (place.end - place.begin) // max(1, place.shape[0])
        self.cache = RowCache(max(1, self._width), cache_bytes or 0)

    def take(self, rows: NDArray[np.int64], depth: int) -> NDArray[Any]:
        """(len(rows), ...) copies of these rows, each once, rising and in range; at most `depth` reads wait.

        Raises:
            BundleError: The file cannot be read any more.
        """
        records = np.empty((len(rows), self._width), np.uint8)
        if records.size:
            missing = self.cache.find(rows, records)
            if len(missing) == len(rows):
                self._file.read(self._place.begin, rows, records, depth, uncached=self._uncached)
                self.cache.keep(rows, records)
            elif len(missing):
                absent = np.empty((len(missing), self._width), np.uint8)
                self._file.read(self._place.begin, rows[missing], absent, depth, uncached=self._uncached)
                records[missing] = absent
                self.cache.keep(rows[missing], absent)
        return records.reshape(-1).view(self._place.dtype).reshape(len(rows), *self._place.shape[1:])


def _twin(fd: int, begin: int, rows: NDArray[np.int64], out: NDArray[np.uint8], depth: int) -> tuple[int, int]:
    """`read_rows` of the kernels in Python: the byte and errno of the first fault, or -1 and 0."""
    width = out.shape[1]
    places = (begin + rows * width).tolist()
    for index in range(-depth, len(rows)):
        if index + depth < len(rows) and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, places[index + depth], width, os.POSIX_FADV_WILLNEED)
        got = 0 if index >= 0 else width
        while got < width:
            try:
                count = os.preadv(fd, [out[index].data[got:]], places[index] + got)
            except OSError as error:
                return places[index] + got, error.errno or 0
            if count == 0:
                return places[index] + got, 0
            got += count
    return -1, 0
