"""safetensors files, read in place; no torch, and no NumPy type for bfloat16 needed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pintsize.sources._file_rows import file_rows
from pintsize.sources._found import Found, reading

__all__ = ["open_safetensors"]

_NAMES = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}
_STORED = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}


def open_safetensors(path: Path) -> Found:
    """The tensors of a ``.safetensors`` file, under their names."""
    from safetensors import safe_open

    found = Found()
    with reading(path):
        # The library checks the header (sizes, overlaps, holes, the file's end) without reading a tensor.
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            shape, kind = tuple(entry["shape"]), entry["dtype"]
            if kind not in _NAMES or len(shape) != 2:
                found.add(name, None, shape, _NAMES.get(kind, kind))
                continue
            begin = 8 + length + entry["data_offsets"][0]
            rows = file_rows(path, begin, shape, np.dtype(_STORED[kind]), bfloat16=kind == "BF16")
            found.add(name, rows, shape, _NAMES[kind])
    return found
