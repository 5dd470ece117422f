"""What is in memory already: modules, state dicts, arrays, tensors, tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import is_torch
from pintsize.errors import TableError
from pintsize.formats.base import CompressedTable
from pintsize.sources._file_rows import bounds
from pintsize.sources._found import Found, described
from pintsize.table import EmbeddingTable, Ids

__all__ = ["CompressedRows", "embeddings", "is_module", "leaves", "open_mapping", "open_module", "open_value"]

_MAX_DEPTH = 32
ONLY_NAME = "table"


@dataclass(frozen=True)
class CompressedRows:
    """The rows of a compressed table as floats, decoded when a slice asks for them."""

    table: CompressedTable
    dtype: ClassVar[str] = "float32"

    @property
    def shape(self) -> tuple[int, int]:
        return self.table.num_embeddings, self.table.embedding_dim

    def __getitem__(self, key: slice) -> NDArray[np.float32]:
        start, stop = bounds(key, self.shape[0])
        return np.asarray(self.table.lookup(np.arange(start, stop)))


def is_module(value: Any) -> bool:
    """Whether this is a torch module; never imports torch (a module cannot exist before somebody has)."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def embeddings(module: Any) -> Iterator[tuple[str, Any]]:
    """Every ``nn.Embedding`` and ``nn.EmbeddingBag`` in a module, by dotted name; ``table`` for the module itself."""
    nn = sys.modules["torch"].nn
    for name, inner in module.named_modules(remove_duplicate=False):
        if isinstance(inner, (nn.Embedding, nn.EmbeddingBag)):
            yield name or ONLY_NAME, inner


def open_module(module: Any) -> Found:
    """The embeddings in a module, as views of their weights. Weights that several share come once, first name."""
    found = Found()
    seen: dict[int, str] = {}
    for name, inner in embeddings(module):
        weight = inner.weight
        if id(weight) in seen:
            found.skip(name, f"{_of(weight)}: the same weights as {seen[id(weight)]!r}")
            continue
        seen[id(weight)] = name
        _add_array(found, name, weight)
    for name, parameter in module.named_parameters():
        if id(parameter) not in seen:
            found.skip(name, f"{_of(parameter)}: not the weights of an nn.Embedding or nn.EmbeddingBag")
    return found


def open_mapping(values: Mapping[Any, Any]) -> Found:
    """The tables in a mapping, nested ones under dotted names; ids come from an ``ids`` of the mapping (a bundle)."""
    found = Found()
    known = getattr(values, "ids", None)
    for name, value in leaves(values):
        _add_value(found, name, value, known.get(name) if isinstance(known, Mapping) else None)
    return found


def open_value(value: Any) -> Found:
    """One array, tensor or table, under the name ``table``."""
    found = Found()
    if isinstance(value, (list, tuple)):
        value = EmbeddingTable(value)  # type: ignore[arg-type]
    if not _add_value(found, ONLY_NAME, value, None):
        raise TableError(
            "a source is a path, a torch module, a mapping from names to arrays, an array, a tensor or a table; "
            f"found {type(value).__name__}"
        )
    return found


def leaves(values: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of all that is not itself a mapping, a list or a tuple."""
    if depth > _MAX_DEPTH:
        raise TableError(f"{prefix.rstrip('.')}: nested more than {_MAX_DEPTH} deep")
    if isinstance(values, Mapping) and set(values) == {"state", "param_groups"}:
        yield f"{prefix}state", _OPTIMIZER
        return
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
    for key, value in pairs:
        if isinstance(value, (Mapping, list, tuple)):
            yield from leaves(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value


class _Optimizer:
    """Stands for the state of an optimizer, whose moments look like tables and are none."""


_OPTIMIZER = _Optimizer()


def _add_value(found: Found, name: str, value: Any, ids: Ids | None) -> bool:
    if value is _OPTIMIZER:
        found.skip(name, "the state of an optimizer")
    elif isinstance(value, EmbeddingTable):
        found.put(name, value)
    elif isinstance(value, CompressedTable):
        found.put(name, EmbeddingTable(CompressedRows(value), ids))
    elif hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__"):
        _add_array(found, name, value)
    else:
        return False
    return True


def _add_array(found: Found, name: str, value: Any) -> None:
    if is_torch(value):
        value = value.detach()
        if value.is_meta:
            found.skip(name, f"{_of(value)}: on the meta device, so it holds no values")
            return
        if str(value.layout) != "torch.strided" or value.is_quantized:
            found.skip(
                name, f"{_of(value)}: sparse or quantized, not dense rows; call to_dense() or dequantize() first"
            )
            return
    found.add(name, value, tuple(value.shape), _dtype(value))


def _dtype(value: Any) -> str:
    return str(getattr(value.dtype, "name", value.dtype)).removeprefix("torch.")


def _of(value: Any) -> str:
    return described(tuple(value.shape), _dtype(value))
