"""Where results are written: the caller's `out`, or an array of its own, a large one over a recycled block.

A fresh array of many megabytes costs more in page faults and zeroing than the look-up that fills it. So large results
lie in blocks of huge pages which come back here when the last array over them is gone. Results are always written
whole: nothing of an earlier one can be seen.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, dtype_name, is_torch, to_numpy
from pintsize.errors import TableError

__all__ = ["output_for"]

_FLOAT32 = np.dtype(np.float32)
_HUGE_PAGE = 2 << 20
_SMALLEST = 1 << 20
_IDLE_BYTES = int(os.environ.get("PINTSIZE_IDLE_OUTPUT_BYTES", 128 << 20))

# Only single calls of list, which are atomic: whoever holds a lock may free a block, which would ask for it again.
_idle: list[mmap.mmap] = []


class _Block:
    """Memory of one result; whatever array lies over it keeps it alive."""

    def __init__(self, shape: tuple[int, ...], nbytes: int) -> None:
        self.memory = _taken(nbytes) or _mapped(nbytes)
        whole = np.frombuffer(self.memory, np.uint8)
        start = -whole.ctypes.data % _HUGE_PAGE
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": _FLOAT32.str,
            "data": (whole.ctypes.data + start, False),
        }

    def __del__(self, idle: list[mmap.mmap] = _idle) -> None:
        memory = getattr(self, "memory", None)
        if memory is not None and len(memory) + sum(map(len, tuple(idle))) <= _IDLE_BYTES:
            idle.append(memory)


def _mapped(nbytes: int) -> mmap.mmap:
    memory = mmap.mmap(-1, -(-nbytes // _HUGE_PAGE) * _HUGE_PAGE + _HUGE_PAGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError:  # a kernel without huge pages: ordinary ones do
            pass
    return memory


def _taken(nbytes: int) -> mmap.mmap | None:
    """An idle block of this size or up to twice it."""
    for memory in reversed(_idle.copy()):
        if nbytes + _HUGE_PAGE <= len(memory) <= 2 * nbytes + 2 * _HUGE_PAGE:
            try:
                _idle.remove(memory)
            except ValueError:  # another thread was faster
                continue
            return memory
    return None


def _new(shape: tuple[int, ...]) -> NDArray[np.float32]:
    nbytes = 4 * math.prod(shape)
    if nbytes < _SMALLEST or nbytes > _IDLE_BYTES:
        return np.empty(shape, np.float32)
    return np.asarray(_Block(shape, nbytes))


def output_for(out: Array | None, shape: tuple[int, ...], asked: Any, device: Any) -> Array:
    """Where a result of this shape is written: a new block, or the caller's `out` after a check."""
    if out is None:
        if device is not None:
            return sys.modules["torch"].empty(shape, dtype=sys.modules["torch"].float32, device=device)
        return _new(shape)
    ready = device is None and type(out) is np.ndarray and out.dtype == _FLOAT32 and out.flags.carray
    if ready and out.shape == shape and not is_torch(asked):
        return out
    wants_torch = device is not None or is_torch(asked)
    if is_torch(out) != wants_torch or tuple(out.shape) != shape:
        kind = "a torch tensor" if wants_torch else "a NumPy array"
        raise TableError(f"out is {kind} of shape {shape}; found {type(out).__name__} of shape {tuple(out.shape)}")
    if dtype_name(out) != "float32":
        raise TableError(f"out holds float32; found {out.dtype}")
    contiguous = out.is_contiguous() if is_torch(out) else out.flags.c_contiguous and out.flags.writeable
    if not contiguous or (device is not None and out.device != device):
        raise TableError("out must be contiguous, writable and on the device of the table")
    return out if device is not None else to_numpy(out)
