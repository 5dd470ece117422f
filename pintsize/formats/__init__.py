"""The storage formats by tag, imported on demand."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pintsize.errors import TableError

if TYPE_CHECKING:
    from pintsize.formats.base import CompressedTable

__all__ = ["FORMATS", "format_class"]

FORMATS = {
    "block_float": "pintsize.formats.block_float:BlockFloatTable",
    "codebook": "pintsize.formats.codebook:CodebookTable",
    "dense": "pintsize.formats.dense:DenseTable",
    "factored": "pintsize.formats.factored:FactoredTable",
    "partitioned": "pintsize.formats.partitioned:PartitionedTable",
    "scalar": "pintsize.formats.scalar:ScalarTable",
    "sparse": "pintsize.formats.sparse:SparseTable",
}


def format_class(tag: str) -> type[CompressedTable]:
    """The format with this tag.

    Raises:
        TableError: No format has it.
    """
    if tag not in FORMATS:
        raise TableError(f"unknown format {tag!r}; known are {', '.join(sorted(FORMATS))}")
    module, _, name = FORMATS[tag].partition(":")
    kind: Any = getattr(importlib.import_module(module), name)
    return kind  # type: ignore[no-any-return]
