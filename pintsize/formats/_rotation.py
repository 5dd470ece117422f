"""Random orthogonal matrices that cost a few bytes.

Two kinds, told apart by their dtype. Dense: a (columns, columns) float32 matrix R. Hadamard: (rounds, ceil(columns/8))
uint8, the signs of each round as bits, low bit first; a round flips signs, then applies the orthonormal Walsh-Hadamard
transform to the widest block whose width is a power of two: the first columns in even rounds, the last in odd ones.
Where the number of columns is a power of two, one round mixes all of them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, dtype_name, namespace
from pintsize.errors import TableError
from pintsize.kernels import address, native

__all__ = ["check_rotation", "random_rotation", "rotate", "rotate_back"]

_DENSE_BELOW = 16


def random_rotation(columns: int, seed: int) -> NDArray[np.float32] | NDArray[np.uint8]:
    """A random rotation for rows of this width: dense for fewer than 16 columns, Hadamard from there on."""
    rng = np.random.default_rng(seed)
    if columns < _DENSE_BELOW:
        q, r = np.linalg.qr(rng.standard_normal((columns, columns)))
        return (q * np.sign(np.diag(r))).astype(np.float32)
    rounds = 1 if columns & (columns - 1) == 0 else 4
    return np.packbits(rng.integers(0, 2, (rounds, columns), np.uint8), axis=1, bitorder="little")


def check_rotation(rotation: Array, columns: int) -> None:
    """Raises TableError unless the rotation fits rows of this width."""
    kind = dtype_name(rotation)
    shape = tuple(rotation.shape)
    if kind == "float32" and shape == (columns, columns):
        return
    if kind == "uint8" and len(shape) == 2 and shape[1] == -(-columns // 8) and columns >= 2:
        return
    raise TableError(f"a rotation of {columns} columns cannot be {kind} of shape {shape}")


def rotate(rows: Array, rotation: Array) -> Array:
    """(n, columns) float32 rows times the rotation: what is quantized, or a query's view of it."""
    if rotation.dtype != namespace(rotation).uint8:
        return rows @ rotation.T
    if _native_applies(rows):
        return _rotated(rows, rotation, backward=False)
    for index, signs in enumerate(_signs(rotation, rows.shape[1])):
        rows = _hadamard(rows * signs, index % 2 == 1)
    return rows


def rotate_back(rows: Array, rotation: Array) -> Array:
    """The inverse of `rotate`."""
    if rotation.dtype != namespace(rotation).uint8:
        return rows @ rotation
    if _native_applies(rows):
        return _rotated(rows, rotation, backward=True)
    every = list(enumerate(_signs(rotation, rows.shape[1])))
    for index, signs in reversed(every):
        rows = _hadamard(rows, index % 2 == 1) * signs
    return rows


def _native_applies(rows: Array) -> bool:
    return native() is not None and isinstance(rows, np.ndarray) and rows.dtype == np.float32


def _rotated(rows: NDArray[np.float32], rotation: Array, backward: bool) -> NDArray[np.float32]:
    out = np.array(rows, order="C")
    packed = np.ascontiguousarray(rotation)
    native().rotate_rows(address(out), *out.shape, address(packed), len(packed), backward)
    return out


def _signs(rotation: Array, columns: int) -> list[Array]:
    xp = namespace(rotation)
    bits = xp.stack([(rotation >> b) & 1 for b in range(8)], axis=2)
    flat = xp.reshape(bits, (rotation.shape[0], 8 * rotation.shape[1]))[:, :columns]
    signs = xp.astype(flat, xp.float32) * 2.0 - 1.0
    return [signs[r, :] for r in range(rotation.shape[0])]


def _hadamard(rows: Array, at_end: bool) -> Array:
    xp = namespace(rows)
    n, columns = rows.shape
    width = 1 << (columns.bit_length() - 1)
    start = columns - width if at_end else 0
    block, half = rows[:, start : start + width], 1
    while half < width:
        pairs = xp.reshape(block, (n, width // (2 * half), 2, half))
        a, b = pairs[:, :, 0, :], pairs[:, :, 1, :]
        block = xp.reshape(xp.stack([a + b, a - b], axis=2), (n, width))
        half *= 2
    block = block * float(np.float32(1 / math.sqrt(width)))
    return xp.concat([rows[:, :start], block, rows[:, start + width :]], axis=1)
