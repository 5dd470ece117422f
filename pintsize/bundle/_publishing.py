"""A directory that appears in one step.

It is written as ``.NAME.PID.N.tmp`` beside its target and renamed. Over an existing bundle, Linux exchanges the two
names in one step (``renameat2`` with ``RENAME_EXCHANGE``). Where the system or the file system cannot do that, the old
bundle is moved aside (``.NAME.PID.N.old``), the new one put in place, and the old one removed: a process killed between
the two renames leaves no bundle under the name, and the next save puts the old one back first.

A writer locks its directory, so that what dead processes left behind can be told from what others write at the moment,
even where process numbers mean nothing (containers that share a disk).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pintsize.errors import BundleError

__all__ = ["Draft", "os_errors"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_LONGEST_NAME = 200


@contextlib.contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turns what the system refuses (a full disk, a missing right) into a BundleError that names the target."""
    try:
        yield
    except OSError as error:
        place = f" ({error.filename})" if error.filename is not None else ""
        raise BundleError(
            f"{path}: cannot be written: {error.strerror or error}{place}; nothing was changed"
        ) from error


class Draft:
    """The temporary directory of a target, held locked until it is closed. Raises OSError."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._prefix = f".{_short(target.name)}"
        self._recover()
        self.path = self._made()
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _try_lock(self._lock)

    def _made(self) -> Path:
        for number in itertools.count():
            path = self.target.parent / f"{self._prefix}.{os.getpid()}.{number}.tmp"
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Removes what lies under the temporary name: the draft, or after `publish` the bundle that it replaced.

        What cannot be removed is left to the next save. Readers of the old bundle keep what they have mapped.
        """
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def publish(self) -> None:
        """Puts the directory, whose files are already on the disk, in the place of its target."""
        os.fsync(self._lock)
        if os.path.lexists(self.target) and os.listdir(self.target):
            if not _exchange(self.path, self.target):
                aside = self.path.with_suffix(".old")
                os.rename(self.target, aside)
                try:
                    os.rename(self.path, self.target)
                except OSError:
                    os.rename(aside, self.target)
                    raise
                self.path = aside
        else:
            os.rename(self.path, self.target)
        _sync(self.target.parent)

    def _recover(self) -> None:
        """Removes what dead processes left beside the target, and puts back a bundle that one had moved aside."""
        pattern = re.compile(re.escape(self._prefix) + r"\.(\d+)\.\d+\.(tmp|old)")
        for name in sorted(os.listdir(self.target.parent)):
            match = pattern.fullmatch(name)
            left = self.target.parent / name
            if match is None or not _is_dead(left, int(match[1])):
                continue
            if match[2] == "old" and not os.path.lexists(self.target) and self._prefix == f".{self.target.name}":
                os.rename(left, self.target)
            else:
                shutil.rmtree(left, ignore_errors=True)


def _short(name: str) -> str:
    raw = os.fsencode(name)
    if len(raw) <= _LONGEST_NAME:
        return name
    return os.fsdecode(raw[:80]) + "-" + hashlib.sha256(raw).hexdigest()[:16]


def _is_dead(path: Path, pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        pass
    except (OSError, OverflowError):
        return False
    else:
        return False
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _try_lock(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks: the process number has to do.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names in one step, or answers False where that cannot be done."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
