"""Native kernels by operation, and the choice between them and their plain twins.

``PINTSIZE_KERNELS=twin`` or ``native`` forces either; ``PINTSIZE_NUM_THREADS`` bounds the threads of a call. Tables on
a GPU have kernels in Triton (`pintsize.kernels.triton`), where it is installed.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import PintsizeError

__all__ = ["address", "first_nonfinite", "first_outside", "native", "on_device", "rising_from_zero", "use"]


def _load() -> Any:
    wish = os.environ.get("PINTSIZE_KERNELS", "")
    if wish not in ("", "twin", "native"):
        raise PintsizeError(f"PINTSIZE_KERNELS is 'twin' or 'native'; found {wish!r}")
    if wish == "twin":
        return None
    try:
        from pintsize.kernels import _native
    except ImportError as error:
        if wish == "native":
            raise PintsizeError(
                f"PINTSIZE_KERNELS=native, and the compiled kernels cannot be loaded: {error}"
            ) from None
        warnings.warn(
            "Pintsize was installed without its compiled kernels and runs on NumPy: right, but slower. "
            "Install it again with a C++ compiler at hand to have them.",
            RuntimeWarning,
            stacklevel=3,
        )
        return None
    _native.set_threads(int(os.environ.get("PINTSIZE_NUM_THREADS", "0")) or _native.threads())
    return _native


_current: Any = _load()


def native() -> Any:
    """The compiled module, or None where the twins are in use."""
    return _current


def use(which: Any) -> Any:
    """Put another module (or None, for the twins) in use; returns the one before. For tests."""
    global _current
    before, _current = _current, which
    return before


@cache
def on_device(device: Any) -> Any:
    """The Triton kernels, for tensors on this torch device, or None where the twins serve them.

    Kernels serve GPUs, and main memory where ``TRITON_INTERPRET=1`` was set before they were imported. They are tried
    on a few rows first: where that fails, a warning says so, once a device.
    """
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if os.environ.get("PINTSIZE_KERNELS") == "twin" or not (device.type == "cuda" or interpreted):
        return None
    if importlib.util.find_spec("triton") is None:
        return None
    try:
        from pintsize.kernels import triton
        from pintsize.kernels.triton.trial import wrong_on

        fault = wrong_on(device)
    except Exception as error:  # A compiler, a driver and a GPU are involved, each with errors of its own.
        fault = f"{type(error).__name__}: {error}"
    if not fault:
        return triton
    warnings.warn(
        f"The Triton kernels do not work on {device} and are not used: {fault}. Look-ups there are right, but slower.",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def address(array: NDArray[Any]) -> int:
    """Where the first element of a contiguous array lies; the caller keeps the array alive."""
    if _current is not None:
        return _current.address(array)  # type: ignore[no-any-return]
    return int(array.__array_interface__["data"][0])


def first_outside(rows: NDArray[np.int64], limit: int) -> int:
    """Position of the first of contiguous int64 `rows` outside [0, limit), or -1."""
    if _current is not None:
        return int(_current.outside(address(rows), rows.size, limit))
    bad = np.flatnonzero((rows.reshape(-1) < 0) | (rows.reshape(-1) >= limit))
    return int(bad[0]) if bad.size else -1


def rising_from_zero(offsets: NDArray[np.int64], limit: int) -> bool:
    """Whether contiguous int64 `offsets` start at 0, never fall and stay within `limit`."""
    if _current is not None:
        return _current.rising(address(offsets), offsets.size, limit)  # type: ignore[no-any-return]
    return bool(offsets[0] == 0 and offsets[-1] <= limit and (np.diff(offsets) >= 0).all())


def first_nonfinite(block: NDArray[np.float32]) -> int:
    """The first row of a contiguous (rows, columns) block that holds NaN or infinity, or -1."""
    if _current is not None:
        return int(_current.nonfinite(address(block), block.shape[0], block.shape[1]))
    bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
    return int(bad[0]) if bad.size else -1
