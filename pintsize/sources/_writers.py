"""Float32 tables written chunk by chunk as ``.npy``, ``.npz`` and safetensors."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from typing import IO, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from pintsize.errors import TableError
from pintsize.table import EmbeddingTable

__all__ = ["write_npy", "write_npz", "write_safetensors"]


def write_npy(file: IO[bytes], table: EmbeddingTable) -> None:
    """One array, as `numpy.save` writes it."""
    shape = (table.num_embeddings, table.embedding_dim)
    npy_format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    _write_rows(file, table)


def write_npz(file: BinaryIO, tables: Mapping[str, EmbeddingTable]) -> None:
    """Arrays by name, stored as they are, as `numpy.savez` writes them: so they can be read in place."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, table in tables.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                write_npy(member, table)


def write_safetensors(file: BinaryIO, tables: Mapping[str, EmbeddingTable]) -> None:
    """Tensors by name: a JSON header, then the bytes in its order. The library itself writes from memory only."""
    header, end = {}, 0
    for name, table in tables.items():
        if name == "__metadata__":
            raise TableError("safetensors keeps '__metadata__' for itself; give the table another name")
        begin, end = end, end + table.nbytes_float32
        shape = [table.num_embeddings, table.embedding_dim]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for table in tables.values():
        _write_rows(file, table)


def _write_rows(file: IO[bytes], table: EmbeddingTable) -> None:
    for _, rows in table.chunks():
        file.write(rows.astype("<f4", copy=False).reshape(-1).view(np.uint8).data)
