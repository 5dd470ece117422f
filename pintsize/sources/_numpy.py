"""NumPy's own files: ``.npy`` and ``.npz``. Pickled objects are never read."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.sources._file_rows import bounds, file_rows
from pintsize.sources._found import Found, described, not_a_table, reading

__all__ = ["open_npy", "open_npz", "stored_at"]

_BLOCK_BYTES = 1 << 20

Header = tuple[tuple[int, ...], bool, np.dtype[Any]]


def open_npy(path: Path) -> Found:
    """The array of a ``.npy`` file, under the file's name without its suffix."""
    found = Found()
    with reading(path), path.open("rb") as file:
        shape, fortran, dtype = _header(file)
        if _noted(found, path.stem, shape, dtype):
            return found
        rows = file_rows(path, file.tell(), (shape[0], shape[1]), dtype, fortran=fortran)
    found.add(path.stem, rows, shape, dtype.name)
    return found


def open_npz(path: Path) -> Found:
    """The arrays of a ``.npz`` file, under their names.

    Members stored as they are (`numpy.savez`) are read in place, like a ``.npy`` file. Compressed ones can only be read
    from the front: going forward is one decompression, a step back begins again, and memory stays bounded; one that
    is compressed and in Fortran order is decompressed whole.
    """
    found = Found()
    with reading(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                found.skip(name, "not a .npy member")
                continue
            with reading(f"{path}, member {info.filename}"), archive.open(info) as member:
                shape, fortran, dtype = _header(member)
                begin = member.tell()
            if _noted(found, name, shape, dtype):
                continue
            size, needed = info.file_size - begin, shape[0] * shape[1] * dtype.itemsize
            if size < needed:
                raise TableError(f"{path}, member {info.filename}: {needed} bytes of rows expected, {size} found")
            if info.compress_type == zipfile.ZIP_STORED:
                rows: Any = file_rows(path, stored_at(file, info) + begin, (shape[0], shape[1]), dtype, fortran=fortran)
            else:
                rows = _CompressedRows(path, info.filename, begin, (shape[0], shape[1]), dtype, fortran)
            found.add(name, rows, shape, dtype.name)
    return found


def stored_at(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Where in the file the bytes of an uncompressed zip member begin."""
    file.seek(info.header_offset)
    local = file.read(30)
    if len(local) < 30 or local[:4] != b"PK\x03\x04":
        raise ValueError(f"member {info.filename} has no header")
    name, extra = int.from_bytes(local[26:28], "little"), int.from_bytes(local[28:30], "little")
    return info.header_offset + 30 + name + extra


def _header(file: IO[bytes]) -> Header:
    version = npy_format.read_magic(file)
    # Version 3 differs from 2 in how the names of a structured dtype are encoded, which no table has.
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if any(n < 0 for n in shape):
        raise ValueError(f"shape {shape} has a negative length")
    return shape, fortran, dtype


def _noted(found: Found, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    if dtype.hasobject:
        found.skip(name, f"{described(shape, 'object')}: pickled Python objects, which are never read")
    elif reason := not_a_table(shape, dtype.name):
        found.skip(name, f"{described(shape, dtype.name)}: {reason}")
    return name in found.skipped


class _CompressedRows:
    """Rows of a compressed member, read forward through one stream that is kept open between slices."""

    def __init__(
        self, path: Path, member: str, begin: int, shape: tuple[int, int], stored: np.dtype[Any], fortran: bool
    ) -> None:
        self.shape, self.dtype = shape, stored.newbyteorder("=")
        self._path, self._member, self._begin, self._stored, self._fortran = path, member, begin, stored, fortran
        self._lock = threading.Lock()
        self._stream: IO[bytes] | None = None
        self._next = 0
        self._whole: NDArray[Any] | None = None

    def __getitem__(self, key: slice) -> NDArray[Any]:
        start, stop = bounds(key, self.shape[0])
        with self._lock, reading(f"{self._path}, member {self._member}"):
            if self._fortran:
                if self._whole is None:
                    self._whole = self._take(0, self.shape[0]).reshape(-1).reshape(self.shape, order="F")
                return self._whole[start:stop]
            try:
                return self._take(start, stop)
            except BaseException:
                self._close()
                raise

    def _take(self, start: int, stop: int) -> NDArray[Any]:
        stream = self._at(start)
        out = np.empty((stop - start, self.shape[1]), self._stored)
        left = out.reshape(-1).view(np.uint8).data
        while left:
            block = stream.read(min(len(left), _BLOCK_BYTES))
            if not block:
                raise TableError(f"{self._path}, member {self._member}: ends before its rows do")
            left[: len(block)] = block
            left = left[len(block) :]
        self._next = stop
        if stop == self.shape[0]:
            # Only at the end of a member does the archive compare the checksum.
            while stream.read(_BLOCK_BYTES):
                pass
            self._close()
        return out

    def _at(self, row: int) -> IO[bytes]:
        if self._stream is None or row < self._next:
            self._close()
            with zipfile.ZipFile(self._path) as archive:
                self._stream = archive.open(self._member)
            self._skip(self._stream, self._begin)
            self._next = 0
        self._skip(self._stream, (row - self._next) * self.shape[1] * self._stored.itemsize)
        self._next = row
        return self._stream

    def _skip(self, stream: IO[bytes], count: int) -> None:
        while count > 0:
            read = len(stream.read(min(count, _BLOCK_BYTES)))
            if not read:
                raise TableError(f"{self._path}, member {self._member}: ends before its rows do")
            count -= read

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
