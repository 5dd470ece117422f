"""The safetensors layout: where arrays lie in a file, written once and read with suspicion.

Eight bytes of header length, a JSON header, then the arrays without a gap. Wide types come first and larger arrays
before smaller ones, and the header is filled up with spaces to a multiple of 64 bytes: every array is aligned for its
type, and the records of a table begin on a cache line in all usual cases.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.bundle._json import MAX_BYTES, parsed
from pintsize.errors import BundleError

__all__ = ["Placed", "Shapes", "layout", "read_layout", "views"]

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Names to shape and dtype."""

_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}
_NAMES = {np.dtype(name): tag for tag, name in _DTYPES.items()}
_MAX_DIMENSIONS = 8
_ALIGNMENT = 64


@dataclass(frozen=True)
class Placed:
    """An array in a file: bytes `begin` to `end`, counted from the start of the file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def layout(wanted: Shapes) -> tuple[bytes, dict[str, Placed], int]:
    """The first bytes of a file of these arrays, where each goes, and the size of the file.

    Raises:
        BundleError: A dtype that the format does not have.
    """
    sizes = {}
    for name, (shape, dtype) in wanted.items():
        if np.dtype(dtype) not in _NAMES:
            raise BundleError(f"array {name!r}: a bundle holds {', '.join(_DTYPES.values())}; found {dtype}")
        sizes[name] = math.prod(shape) * np.dtype(dtype).itemsize
    entries: dict[str, Any] = {}
    position = 0
    for name in sorted(wanted, key=lambda n: (-np.dtype(wanted[n][1]).itemsize, -sizes[n], n)):
        shape, dtype = wanted[name]
        offsets = [position, position + sizes[name]]
        entries[name] = {"dtype": _NAMES[np.dtype(dtype)], "shape": list(shape), "data_offsets": offsets}
        position = offsets[1]
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    start = 8 + len(text)
    placed = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        placed[name] = Placed(np.dtype(wanted[name][1]), tuple(wanted[name][0]), start + begin, start + end)
    return len(text).to_bytes(8, "little") + text, placed, start + position


def read_layout(data: NDArray[np.uint8], where: str) -> dict[str, Placed]:
    """Where the arrays of a file lie; of `data`, the whole file, only the header is read.

    Raises:
        BundleError: A header that is cut off, too large or no strict JSON; unknown dtypes; shapes that are negative,
            too large or disagree with their offsets; holes, overlaps, bytes out of bounds.
    """
    size = len(data)
    if size < 8:
        raise BundleError(f"{where}: a safetensors file has at least 8 bytes; found {size}")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(size - 8, MAX_BYTES):
        raise BundleError(f"{where}: a header of at most {min(size - 8, MAX_BYTES)} bytes is expected; found {length}")
    header = parsed(data[8 : 8 + length].tobytes(), where)
    found = {
        name: _placed(entry, 8 + length, f"{where}: array {name[:80]!r}")
        for name, entry in header.items()
        if name != "__metadata__"
    }
    position = 8 + length
    for name, place in sorted(found.items(), key=lambda item: (item[1].begin, item[1].end)):
        if place.begin != position:
            fault = "a hole" if place.begin > position else "an overlap"
            raise BundleError(
                f"{where}: array {name[:80]!r} begins at byte {place.begin}; {position} is expected ({fault})"
            )
        position = place.end
    if position != size:
        raise BundleError(f"{where}: the arrays end at byte {position}; the file has {size} bytes")
    return found


def _placed(entry: Any, start: int, where: str) -> Placed:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BundleError(f"{where}: dtype, shape and data_offsets are expected")
    tag, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(tag, str) or tag not in _DTYPES:
        raise BundleError(f"{where}: a dtype of {', '.join(_DTYPES)} is expected; found {str(tag)[:40]!r}")
    for values, what in ((shape, "shape"), (offsets, "data_offsets")):
        if not isinstance(values, list) or any(type(v) is not int or v < 0 for v in values):
            raise BundleError(f"{where}: {what} is a list of integers from 0 on; found {str(values)[:80]}")
    if len(offsets) != 2 or len(shape) > _MAX_DIMENSIONS:
        raise BundleError(f"{where}: two offsets and at most {_MAX_DIMENSIONS} dimensions are expected")
    dtype = np.dtype(_DTYPES[tag])
    if math.prod(max(v, 1) for v in shape) * dtype.itemsize >= 2**63:
        raise BundleError(f"{where}: a size below 2**63 bytes is expected; found shape {shape}")
    size = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != size:
        raise BundleError(
            f"{where}: {tag} of shape {shape} takes {size} bytes; the offsets {offsets} give {offsets[1] - offsets[0]}"
        )
    if (start + offsets[0]) % dtype.itemsize:
        raise BundleError(f"{where}: a place aligned to {dtype.itemsize} bytes is expected; found {start + offsets[0]}")
    return Placed(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def views(data: NDArray[np.uint8], placed: Mapping[str, Placed]) -> dict[str, NDArray[Any]]:
    """The arrays of a file, without a copy."""
    return {name: data[p.begin : p.end].view(p.dtype).reshape(p.shape) for name, p in placed.items()}
