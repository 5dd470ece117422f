"""Opening what others wrote: regular files inside one directory, mapped or read into huge pages."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import BundleError

__all__ = ["Directory", "mapped", "read_consistently", "resident", "sha256_of"]

T = TypeVar("T")

_HUGE_PAGE = 2 << 20
_CHUNK = 1 << 20
# Python before 3.13 keeps a descriptor open for every mapping: a bundle of a thousand tables would use them up.
_NO_DESCRIPTOR: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class Directory:
    """A directory held open, so that all files come from the same one even if its path is replaced meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise BundleError(
                f"{path}: a bundle is a directory with a manifest.json; it cannot be opened: {_reason(error)}"
            ) from error

    def close(self) -> None:
        os.close(self._fd)

    def names(self) -> list[str]:
        """Everything that lies in the directory."""
        return sorted(os.listdir(self._fd))

    def descriptor(self, name: str, flags: int = 0) -> int:
        """Opens whatever has this plain name for reading; links are not followed. Raises OSError."""
        # Without O_NONBLOCK a named pipe in the place of a file would wait for ever.
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, dir_fd=self._fd)

    @contextmanager
    def open(self, name: str) -> Iterator[tuple[int, int]]:
        """The descriptor and the size of a regular file of this plain name; links are not followed.

        Raises:
            BundleError: It is missing, not a regular file, or cannot be read, now or inside the ``with`` block.
        """
        place = f"{self.path}/{name}"
        try:
            fd = self.descriptor(name)
        except OSError as error:
            raise BundleError(f"{place}: a regular file is expected; it cannot be opened: {_reason(error)}") from error
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{place}: a regular file is expected; found another kind of file")
            yield fd, status.st_size
        except OSError as error:
            raise BundleError(f"{place}: it cannot be read: {_reason(error)}") from error
        finally:
            os.close(fd)

    def was_replaced(self) -> bool:
        """Whether the path now leads elsewhere."""
        try:
            now, then = os.stat(self.path), os.fstat(self._fd)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino)


def read_consistently(path: Path, read: Callable[[Directory], T]) -> T:
    """`read` on the directory at `path`, again if it was replaced, and so emptied, while it was read."""
    for attempts_left in reversed(range(16)):
        directory = Directory(path)
        try:
            return read(directory)
        except BundleError:
            if not attempts_left or not directory.was_replaced():
                raise
        finally:
            directory.close()
    raise BundleError(f"{path}: it is replaced faster than it can be read")


def mapped(fd: int, size: int) -> NDArray[np.uint8]:
    """The `size` bytes of a file, mapped and read-only: nothing is read until it is touched."""
    if size == 0:
        return np.frombuffer(b"", np.uint8)
    return np.frombuffer(mmap.mmap(fd, size, access=mmap.ACCESS_READ, **_NO_DESCRIPTOR), np.uint8)


def resident(fd: int, size: int) -> NDArray[np.uint8]:
    """The `size` bytes of a file, read into private memory that begins on, and asks for, huge pages; read-only."""
    # Shared anonymous memory, the default, belongs to tmpfs, where huge pages are usually off.
    block = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            block.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # a kernel without huge pages serves from small ones
    whole = np.frombuffer(block, np.uint8)
    start = -whole.__array_interface__["data"][0] % _HUGE_PAGE
    data = whole[start : start + size]
    done = 0
    while done < size:
        count = os.preadv(fd, [data.data[done : done + 64 * _CHUNK]], done)
        if count == 0:
            raise BundleError(f"a file of {size} bytes ended at byte {done}: it was cut while it was read")
        done += count
    data.flags.writeable = False
    return data


def sha256_of(fd: int) -> str:
    """The digest of a whole file, in hexadecimal."""
    digest, position = hashlib.sha256(), 0
    block = bytearray(_CHUNK)
    while count := os.preadv(fd, [block], position):
        digest.update(memoryview(block)[:count])
        position += count
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
