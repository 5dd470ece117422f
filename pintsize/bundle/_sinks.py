"""A safetensors file whose arrays are written piece by piece, by offset: the rows never stand in memory.

Written with ``pwrite`` and not through a writable mapping, in which a full disk would kill the process with SIGBUS.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, to_numpy
from pintsize.bundle._files import mapped
from pintsize.bundle._publishing import os_errors
from pintsize.bundle._tensors import Placed, Shapes, layout, views
from pintsize.errors import BundleError

__all__ = ["TensorFile"]

_PIECE = 32 << 20


class TensorFile:
    """A new file with a place for each array: ``file[name][a:b] = rows``, ``file[name][...] = array``, ``finish()``.

    Args:
        path: The file to make.
        wanted: Its arrays.
        target: The bundle to name in errors.

    Raises:
        BundleError: The file cannot be made, or the disk has no room for it; a dtype that a bundle does not hold; in
            `finish`, an array that was not written in full.
    """

    def __init__(self, path: Path, wanted: Shapes, target: Path) -> None:
        self.path = path
        header, self.placed, self._size = layout(wanted)
        self.arrays: dict[str, NDArray[Any]] = {}
        with os_errors(target):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                _reserve(self._fd, self._size)
                _write(self._fd, header, 0)
            except BaseException:
                self.close()
                raise
        self._sinks = {name: _Sink(self._fd, place, target) for name, place in self.placed.items()}

    def __getitem__(self, name: str, /) -> _Sink:
        return self._sinks[name]

    def finish(self) -> dict[str, NDArray[Any]]:
        """The arrays, mapped from the file, read-only."""
        for name, sink in self._sinks.items():
            if sink.written != sink.place.end - sink.place.begin:
                raise BundleError(f"{self.path.name}: array {name!r} was not written in full: shape {sink.place.shape}")
        self.arrays = views(mapped(self._fd, self._size), self.placed)
        self.close()
        return self.arrays

    def close(self) -> None:
        """Gives the descriptor back; nothing can be written any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Sink:
    """One array of a file, to write to."""

    def __init__(self, fd: int, place: Placed, target: Path) -> None:
        self._fd, self.place, self._target, self.written = fd, place, target, 0

    def __setitem__(self, key: slice | EllipsisType, value: Array) -> None:
        start, stop = (0, self._rows) if key is ... else self._bounds(key)
        shape = (stop - start, *self.place.shape[1:]) if self.place.shape else ()
        array = to_numpy(value)
        if array.shape != shape or array.dtype != self.place.dtype:
            raise BundleError(f"{self.place.dtype} of shape {shape} is expected; found {array.dtype} of {array.shape}")
        if array.size == 0:
            return
        width = array.nbytes // (stop - start)
        position, step = self.place.begin + start * width, max(1, _PIECE // width)
        for first in range(0, stop - start, step):
            piece = np.ascontiguousarray(array[first : first + step] if array.ndim else array)
            with os_errors(self._target):
                _write(self._fd, piece.reshape(-1).view(np.uint8).data, position + first * width)
        self.written += array.nbytes

    @property
    def _rows(self) -> int:
        return self.place.shape[0] if self.place.shape else 1

    def _bounds(self, key: slice) -> tuple[int, int]:
        start = 0 if key.start is None else int(key.start)
        stop = self._rows if key.stop is None else int(key.stop)
        if key.step not in (None, 1) or not 0 <= start <= stop <= self._rows or not self.place.shape:
            raise BundleError(
                f"rows {key.start} to {key.stop} of an array of shape {self.place.shape} cannot be written"
            )
        return start, stop


def _reserve(fd: int, size: int) -> None:
    """Room for the whole file, so that a disk too small is noticed before hours of work, where the system can tell."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    os.ftruncate(fd, size)


def _write(fd: int, data: bytes | memoryview, position: int) -> None:
    view = memoryview(data)
    while view.nbytes:
        count = os.pwrite(fd, view, position)
        view, position = view[count:], position + count
