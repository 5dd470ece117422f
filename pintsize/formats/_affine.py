"""From floats to scalar records between the least and the largest value of each group: the encoder that streams.

``offset = float16(min / unit)``, ``scale = float16((max - offset * unit) / (levels - 1) / unit)``, and a code is
``clip(rint((x - offset * unit) / (scale * unit)), 0, levels - 1)``, or 0 where the scale is 0; all in float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.formats._packing import pack, packed_width
from pintsize.kernels import address, native

__all__ = ["absmax", "encode_affine"]


def encode_affine(
    rows: NDArray[np.float32],
    levels: int,
    group: int,
    unit: float = 1.0,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The records of a `ScalarTable` with float16 scales and offsets.

    Args:
        rows: (n, columns) float32.
        levels: Code values 0..levels-1.
        group: Columns that share a scale.
        unit: The power of two that scales and offsets are stored in.
        out: Where to write, (n, record bytes) uint8 and contiguous; a new array by default.

    Returns:
        (n, record bytes) uint8: codes, scales, offsets.

    Raises:
        TableError: A row, named, that holds NaN or infinity, or whose scale or offset is too large for float16.
    """
    rows = np.ascontiguousarray(rows, np.float32)
    n, columns = rows.shape
    groups, code_bytes = -(-columns // group), packed_width(columns, levels)
    shape = (n, code_bytes + 4 * groups)
    records = np.empty(shape, np.uint8) if out is None else out
    if records.shape != shape or records.dtype != np.uint8 or not records.flags.c_contiguous:
        raise TableError(f"records are contiguous uint8 {shape}; found {records.dtype} {records.shape}")
    kernels = native()
    if kernels is None:
        wrong = _encode_twin(rows, levels, group, np.float32(unit), records, code_bytes)
    else:
        wrong = kernels.encode_affine(
            address(rows), n, columns, group, levels, unit, code_bytes, shape[1], address(records)
        )
    if wrong >= 0:
        what = "a scale or offset that float16 cannot hold" if wrong % 2 else "NaN or infinity"
        raise TableError(f"row {wrong // 2} has {what}")
    return records


def absmax(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) float32: the largest magnitude in each of (n, columns) rows."""
    rows = np.ascontiguousarray(rows, np.float32)
    kernels = native()
    largest = np.empty(len(rows), np.float32)
    if kernels is None:
        np.max(np.abs(rows), axis=1, initial=0, out=largest)
    else:
        kernels.absmax(address(rows), *rows.shape, address(largest))
    return largest


def _encode_twin(
    rows: NDArray[np.float32],
    levels: int,
    group: int,
    unit: np.float32,
    records: NDArray[np.uint8],
    code_bytes: int,
) -> int:
    """Writes the records; -1, or 2 * row for the first row not finite, 2 * row + 1 for one that overflows float16."""
    starts = np.arange(0, rows.shape[1], group)
    top = np.float32(levels - 1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # Adding 0 makes a zero positive, whichever of the two a minimum met first.
        offsets = (np.minimum.reduceat(rows, starts, axis=1) / unit + np.float32(0)).astype(np.float16)
        low = _spread(offsets.astype(np.float32) * unit, rows.shape[1], group)
        span = np.maximum.reduceat(rows, starts, axis=1) - low[:, ::group]
        scales = (span / top / unit).astype(np.float16)
        step = _spread(scales.astype(np.float32) * unit, rows.shape[1], group)
        codes = np.where(step == 0, np.float32(0), np.clip(np.rint((rows - low) / step), 0, top))
    broken = np.logical_not(np.isfinite(rows).all(axis=1))
    too_large = ~(np.isfinite(offsets) & np.isfinite(scales)).all(axis=1)
    wrong = np.flatnonzero(broken | too_large)
    if wrong.size:
        return int(2 * wrong[0] + (not broken[wrong[0]]))
    records[:, :code_bytes] = pack(codes.astype(np.uint8), levels)
    records[:, code_bytes:] = np.concatenate([scales, offsets], axis=1).view(np.uint8)
    return -1


def _spread(per_group: NDArray[np.float32], columns: int, group: int) -> NDArray[np.float32]:
    return np.repeat(per_group, group, axis=1)[:, :columns]
