"""What users have, in and out: NumPy files, safetensors, torch checkpoints, Parquet, modules and arrays in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pintsize.errors import TableError
from pintsize.sources._memory import is_module, open_mapping, open_module, open_value
from pintsize.sources._paths import open_path
from pintsize.sources.export import load_into, write_source
from pintsize.table import EmbeddingTable

__all__ = ["load_into", "open_source", "write_source"]


def open_source(
    path_or_module: Any,
    tables: str | Sequence[str] = "*",
    *,
    id_column: str | None = None,
    vector_column: str | None = None,
) -> dict[str, EmbeddingTable]:
    """The embedding tables of a file, a directory, a module or a mapping. No row is read yet (ids of Parquet are).

    A table is a two-dimensional array of floats. Its name is the tensor's (``embedding.weight``; nested dicts give
    dotted names); a module's is the dotted name of the embedding in it; a ``.npy`` file's is the file name without
    suffix; a Parquet table's is its column; a lone array is called ``table``.

    Args:
        path_or_module: A path to ``.npy``, ``.npz``, ``.safetensors``, a torch checkpoint (``.pt``, ``.pth``, ``.bin``,
            ``.ckpt``), the ``*.index.json`` of one in several files, or Parquet (a file, a directory, a pattern with
            ``*``); or what is in memory: a torch module, a mapping from names to arrays, tensors or tables (a bundle
            too), an array, a tensor, an `EmbeddingTable`. Weights of modules are views, not copies.
        tables: A pattern of names (``*``, ``?``, ``[...]``; case counts), or several; what matches one is taken.
        id_column: The column of ids of a Parquet table, where it cannot be told by type and name.
        vector_column: The column of vectors of a Parquet table; all columns of lists of floats by default.

    Returns:
        Tables by name, in the order of the source; at least one.

    Raises:
        TableError: Nothing there, nothing that can be read, a damaged file, pickled objects, or no table that matches:
            then the message lists the tables found, and what else was found and why it is no table.
        MissingExtra: A torch checkpoint, and torch is not installed.
    """
    if isinstance(path_or_module, (str, os.PathLike)):
        found = open_path(path_or_module, id_column, vector_column)
        return found.select(tables, str(path_or_module))
    if id_column is not None or vector_column is not None:
        raise TableError("id_column and vector_column are for Parquet; tables= picks by name everywhere")
    if is_module(path_or_module):
        found = open_module(path_or_module)
    elif isinstance(path_or_module, Mapping):
        found = open_mapping(path_or_module)
    else:
        found = open_value(path_or_module)
    return found.select(tables, type(path_or_module).__name__)
