"""How codes lie in bytes.

A code of 1, 2, 4 or 8 bits is a digit; ``8 // bits`` digits share a byte, and five ternary digits do. Digits are split
over blocks of 16 bytes: byte j of a block holds digits j, 16 + j, 32 + j, ..., so that shifts and table look-ups alone
bring 16 neighbouring columns out. The last, shorter block of w bytes holds digits j, w + j, ... in the same way. Widths
of 3, 5, 6 and 7 bits are planes of narrower digits, low bits first, each plane laid out like that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, namespace
from pintsize.kernels import address, native

__all__ = ["BLOCK", "bits_of", "pack", "packed_width", "planes_of", "unpack"]

BLOCK = 16
_PLANES = {1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,)}
_TRITS = 5


def bits_of(levels: int) -> int:
    """Bits of a code with this many levels; 0 for the ternary code, which has none of its own."""
    return 0 if levels == 3 else levels.bit_length() - 1


def planes_of(levels: int) -> tuple[int, ...]:
    """The digit widths of a code, low bits first; (0,) is the ternary digit."""
    return (0,) if levels == 3 else _PLANES[bits_of(levels)]


def _per_byte(bits: int) -> int:
    return 8 // bits if bits else _TRITS


def packed_width(digits: int, levels: int) -> int:
    """Bytes that hold `digits` codes of `levels` levels."""
    return sum(-(-digits // _per_byte(bits)) for bits in planes_of(levels))


def pack(codes: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    """(rows, digits) codes, each below `levels`, as (rows, packed_width) bytes."""
    kernels = native()
    if kernels is not None:
        whole = np.ascontiguousarray(codes, np.uint8)
        out = np.empty((len(whole), packed_width(whole.shape[1], levels)), np.uint8)
        kernels.pack(address(whole), *whole.shape, levels, out.shape[1], address(out))
        return out
    planes, shift = [], 0
    for bits in planes_of(levels):
        digits = codes if bits == 0 else (codes >> shift) & ((1 << bits) - 1)
        planes.append(_pack_plane(digits.astype(np.uint8), bits))
        shift += bits
    return np.concatenate(planes, axis=1)


def _pack_plane(digits: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    rows, count = digits.shape
    per_byte = _per_byte(bits)
    whole = count // (BLOCK * per_byte)
    head = digits[:, : whole * BLOCK * per_byte].reshape(rows, whole, per_byte, BLOCK)
    rest = digits[:, whole * BLOCK * per_byte :]
    width = -(-rest.shape[1] // per_byte)
    tail = np.zeros((rows, per_byte * width), np.uint8)
    tail[:, : rest.shape[1]] = rest
    packed = [_join(head, bits).reshape(rows, whole * BLOCK)]
    packed.append(_join(tail.reshape(rows, 1, per_byte, width), bits).reshape(rows, width))
    return np.concatenate(packed, axis=1)


def _join(digits: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    per_byte = digits.shape[2]
    if bits:
        shifts = (np.arange(per_byte, dtype=np.uint8) * bits)[:, None]
        joined: NDArray[np.uint8] = np.bitwise_or.reduce(digits << shifts, axis=2)
        return joined
    powers = (3 ** np.arange(_TRITS - 1, -1, -1, dtype=np.uint32))[:, None]
    value: NDArray[np.uint32] = (digits * powers).sum(axis=2, dtype=np.uint32)
    return ((256 * value + 242) // 243).astype(np.uint8)


def unpack(packed: Array, digits: int, levels: int) -> Array:
    """The (rows, digits) uint8 codes of (rows, packed_width) bytes, in array-API code."""
    kernels = native()
    if kernels is not None and isinstance(packed, np.ndarray) and packed.dtype == np.uint8:
        whole, out = np.ascontiguousarray(packed), np.empty((len(packed), digits), np.uint8)
        kernels.unpack(address(whole), len(whole), digits, levels, whole.shape[1], address(out))
        return out
    codes, shift, start = None, 0, 0
    for bits in planes_of(levels):
        width = -(-digits // _per_byte(bits))
        plane = _unpack_plane(packed[:, start : start + width], digits, bits)
        codes = plane if codes is None else codes | (plane << shift)
        shift, start = shift + bits, start + width
    return codes


def _unpack_plane(packed: Array, digits: int, bits: int) -> Array:
    xp = namespace(packed)
    rows = packed.shape[0]
    per_byte = _per_byte(bits)
    whole = digits // (BLOCK * per_byte)
    head = _split(xp.reshape(packed[:, : whole * BLOCK], (rows, whole, 1, BLOCK)), bits)
    tail = _split(xp.reshape(packed[:, whole * BLOCK :], (rows, 1, 1, packed.shape[1] - whole * BLOCK)), bits)
    flat = xp.concat(
        [xp.reshape(part, (rows, part.shape[1] * per_byte * part.shape[3])) for part in (head, tail)], axis=1
    )
    return flat[:, :digits]


def _split(packed: Array, bits: int) -> Array:
    xp = namespace(packed)
    if bits == 8:
        return packed
    if bits:
        return xp.concat([(packed >> (bits * g)) & ((1 << bits) - 1) for g in range(8 // bits)], axis=2)
    wide = xp.astype(packed, xp.int32)
    return xp.astype(xp.concat([(((wide * 3**g) & 255) * 3) >> 8 for g in range(_TRITS)], axis=2), xp.uint8)
