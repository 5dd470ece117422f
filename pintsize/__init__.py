"""Small embedding tables for recommender systems: compress, keep, look up and search, with the loss measured."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pintsize.api import available_methods, compress, compress_pair, compress_source, method, open_source
    from pintsize.bundle import Bundle, load, save
    from pintsize.errors import BundleError, MethodError, MissingExtra, PintsizeError, TableError
    from pintsize.formats.base import CompressedTable
    from pintsize.swapping import swap
    from pintsize.table import EmbeddingTable, Ids

_HOME = {
    "Bundle": "bundle",
    "BundleError": "errors",
    "CompressedTable": "formats.base",
    "EmbeddingTable": "table",
    "Ids": "table",
    "MethodError": "errors",
    "MissingExtra": "errors",
    "PintsizeError": "errors",
    "TableError": "errors",
    "available_methods": "api",
    "compress": "api",
    "compress_pair": "api",
    "compress_source": "api",
    "load": "bundle",
    "method": "api",
    "open_source": "api",
    "save": "bundle",
    "swap": "swapping",
}

__version__ = "0.1.0"
__all__ = [
    "Bundle",
    "BundleError",
    "CompressedTable",
    "EmbeddingTable",
    "Ids",
    "MethodError",
    "MissingExtra",
    "PintsizeError",
    "TableError",
    "available_methods",
    "compress",
    "compress_pair",
    "compress_source",
    "load",
    "method",
    "open_source",
    "save",
    "swap",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"pintsize.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'pintsize' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
