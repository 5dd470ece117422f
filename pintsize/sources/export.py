"""Tables written back to what users have: files of the same kinds that are read, and modules in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.formats.base import CompressedTable
from pintsize.sources._atomic import replacing
from pintsize.sources._memory import CompressedRows, embeddings, is_module
from pintsize.sources._writers import write_npy, write_npz, write_safetensors
from pintsize.table import EmbeddingTable, Ids

__all__ = ["load_into", "write_source"]

Table = CompressedTable | EmbeddingTable
Blocks = Iterator[tuple[int, NDArray[np.float32]]]

_SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".parquet")
_ONE_TABLE = (".npy", ".parquet")


def write_source(tables: Mapping[str, Table], path: str | os.PathLike[str], *, ids: Any = None) -> None:
    """Writes tables as float32 rows, in chunks; the file appears whole or not at all.

    Only Parquet keeps ids: those given here, or else those of the table or bundle.

    Args:
        tables: Compressed tables (a bundle, too) or tables of floats, by name.
        path: Where to; the suffix says how: ``.npy`` (one table, whose name is lost), ``.npz``, ``.safetensors``,
            ``.pt`` or ``.pth`` (a state dict; torch needs all tables in memory at once), ``.parquet`` (one table: a
            column of lists under the table's name, and a column ``id`` where there are ids).
        ids: Names of the rows, for Parquet: `Ids` or a sequence, or a mapping from the table's name to them.

    Raises:
        TableError: An unknown suffix, no table, several where one fits, ids where none can be kept or of another
            length, rows that are not finite, or a file that cannot be written.
        MissingExtra: ``.pt``, and torch is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    _check(tables, path, suffix, ids)
    sources = {name: _floats(name, table) for name, table in tables.items()}
    (first, *_), known = sources, ids if ids is not None else getattr(tables, "ids", None)
    names = _ids_of(known.get(first) if isinstance(known, Mapping) else known, sources[first])
    with replacing(path) as file:
        _write(file, suffix, sources, names)


def load_into(module: Any, tables: Mapping[str, Table]) -> None:
    """Copies rows back into the embeddings of a torch module, in place; its other embeddings stay as they are.

    Args:
        module: The module; its weights keep their dtype and device.
        tables: By the dotted names that `open_source` gives the module's embeddings.

    Raises:
        TableError: A name that the module lacks, another shape, or rows that are not finite. The module is then
            unchanged: all is checked before anything is copied, for which the rows are read twice.
    """
    if not is_module(module):
        raise TableError(f"rows are copied into a torch module; found {type(module).__name__}")
    own = dict(embeddings(module))
    sources = {name: _floats(name, table) for name, table in tables.items()}
    for name, table in sources.items():
        if name not in own:
            raise TableError(f"the module has no embedding {name!r}; it has {', '.join(own) or 'none'}")
        here, there = tuple(own[name].weight.shape), (table.num_embeddings, table.embedding_dim)
        if here != there:
            raise TableError(f"embedding {name!r} of the module has shape {here}, and the table has {there}")
    for table in sources.values():
        for _ in table.chunks():
            pass
    import torch

    with torch.no_grad():
        for name, table in sources.items():
            for start, rows in table.chunks():
                own[name].weight[start : start + len(rows)].copy_(torch.from_numpy(rows))


def _check(tables: Mapping[str, Table], path: Path, suffix: str, ids: Any) -> None:
    if not isinstance(tables, Mapping) or not tables:
        raise TableError("write_source takes tables by name, at least one: {'item': table}")
    if suffix not in _SUFFIXES:
        raise TableError(f"{path}: the suffix {suffix!r} is unknown; what can be written: {', '.join(_SUFFIXES)}")
    if suffix in _ONE_TABLE and len(tables) > 1:
        raise TableError(
            f"{path}: {suffix} holds one table, found {len(tables)}: {', '.join(tables)}; write each apart"
        )
    if ids is not None and suffix != ".parquet":
        raise TableError(f"{path}: {suffix} cannot keep ids; write .parquet, or leave the ids out")
    if path.is_dir():
        raise TableError(f"{path}: is a directory; give the name of a file")


def _floats(name: str, table: Any) -> EmbeddingTable:
    if isinstance(table, CompressedTable):
        return EmbeddingTable(CompressedRows(table))
    if isinstance(table, EmbeddingTable):
        return table
    raise TableError(f"{name!r} is a CompressedTable or an EmbeddingTable; found {type(table).__name__}")


def _ids_of(given: Any, table: EmbeddingTable) -> Ids | None:
    if given is None:
        return table.ids
    return EmbeddingTable(table.rows, given).ids


def _write(file: BinaryIO, suffix: str, tables: Mapping[str, EmbeddingTable], ids: Ids | None) -> None:
    if suffix == ".npy":
        (table,) = tables.values()
        write_npy(file, table)
    elif suffix == ".npz":
        write_npz(file, tables)
    elif suffix == ".safetensors":
        write_safetensors(file, tables)
    elif suffix == ".parquet":
        from pintsize.sources._parquet import write_parquet

        ((name, table),) = tables.items()
        write_parquet(file, name, table.embedding_dim, table.chunks(), ids)
    else:
        from pintsize.sources._torch import write_checkpoint

        write_checkpoint(file, {name: table.array() for name, table in tables.items()})
