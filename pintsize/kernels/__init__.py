"""Native kernels by operation, and the choice between them and their plain twins.

``PINTSIZE_KERNELS=twin`` or ``native`` forces either; ``PINTSIZE_NUM_THREADS`` bounds the threads of a call.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import PintsizeError

__all__ = ["address", "first_nonfinite", "first_outside", "native", "rising_from_zero", "use"]


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
