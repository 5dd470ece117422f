"""Compressed tables as torch modules for inference: what stands in a model where an embedding stood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from pintsize.arrays import is_torch, to_numpy
from pintsize.errors import TableError, require
from pintsize.formats.base import CompressedTable

torch = require("torch", "train")

from pintsize.formats._torch_operators import (  # noqa: E402  (torch is asked for first, with the extra that brings it)
    bag_op,
    described_table,
    description,
    lookup_op,
    scores_op,
)

__all__ = ["CompressedEmbedding", "CompressedEmbeddingBag"]


# Before torch 2.7, what is exported and what is compiled look alike.
_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class _Frozen(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A table whose arrays are buffers, so that `to`, `state_dict` and exported programs carry them.

    An exported program gets the buffers (`pintsize.formats._torch_operators` says how); any other call, in a compiled
    graph or not, goes to the table over them. Codes keep their dtype: ``half()`` changes the device at most.
    """

    def __init__(self, table: CompressedTable) -> None:
        super().__init__()
        if not isinstance(table, CompressedTable):
            raise TableError(f"a compressed table is needed; found {type(table).__name__}")
        for name, array in table.tensors().items():
            self.register_buffer(name.replace(".", "__"), _buffer(array))
        self._description = description(table)
        self._rebuild()

    def _rebuild(self) -> None:
        """The buffers are others than before, or have other values: caches of the table over them must go."""
        self.table: CompressedTable = described_table(list(self._buffers.values()), self._description)

    @property
    def num_embeddings(self) -> int:
        return self.table.num_embeddings

    @property
    def embedding_dim(self) -> int:
        return self.table.embedding_dim

    def scores(self, queries: Any) -> Any:
        """(num_queries, num_embeddings) inner products with all rows; differentiable in the queries."""
        if _exporting():
            return scores_op(queries, None, None, None, list(self._buffers.values()), self._description)
        return self.table.scores(queries)

    def extra_repr(self) -> str:
        table = self.table
        return f"{table.num_embeddings}, {table.embedding_dim}, format={table.tag!r}, nbytes={table.nbytes}"

    def get_extra_state(self) -> str:
        """The plain values of the table: without them the buffers are only bytes."""
        return self._description

    def set_extra_state(self, state: str) -> None:
        """Takes over what `get_extra_state` gave.

        Raises:
            TableError: The values belong to another format, or to arrays that do not agree with the buffers.
        """
        self.table, self._description = described_table(list(self._buffers.values()), state), state

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        # The arrays may be those of a table that others read, and a table does not change.
        for name, buffer in self._buffers.items():
            self._buffers[name] = buffer.clone()
        super()._load_from_state_dict(*args, **kwargs)
        self._rebuild()

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        def moved(buffer: Any) -> Any:
            changed = fn(buffer)
            return changed if changed.dtype == buffer.dtype else buffer.to(changed.device)

        super()._apply(moved, recurse)
        self._rebuild()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "table"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy's table reads the copy's buffers.
        super().__setstate__(state)
        self._rebuild()


class CompressedEmbedding(_Frozen):
    """Stands in for ``torch.nn.Embedding`` once it is trained.

    Args:
        table: Any compressed table. Read-only arrays (those of a bundle that is mapped into memory) are copied.
    """

    def forward(self, rows: Any) -> Any:
        """(*rows.shape, embedding_dim) float32; no gradient.

        Raises:
            IndexError: A row out of range, also from within a compiled graph.
        """
        if _exporting():
            return lookup_op(rows, list(self._buffers.values()), self._description)
        return self.table.lookup(rows)


class CompressedEmbeddingBag(_Frozen):
    """Stands in for ``torch.nn.EmbeddingBag`` once it is trained.

    Args:
        table: As for `CompressedEmbedding`.
        mode: ``"sum"`` or ``"mean"``.
        include_last_offset: Whether offsets end with the number of rows, as of ``torch.nn.EmbeddingBag``.
    """

    def __init__(
        self, table: CompressedTable, mode: Literal["sum", "mean"] = "mean", include_last_offset: bool = False
    ) -> None:
        super().__init__(table)
        if mode not in ("sum", "mean"):
            raise TableError(f"mode is 'sum' or 'mean'; found {mode!r}")
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(self, rows: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        """(num_bags, embedding_dim) float32; differentiable in the weights.

        Args:
            rows: (num_rows,) integers with offsets, or (num_bags, bag size) integers without.
            offsets: (num_bags,) integers, where each bag begins; one more with `include_last_offset`.
            per_sample_weights: Factors in the shape of `rows`, with ``mode="sum"`` only.

        Raises:
            IndexError: A row out of range.
            TableError: Offsets or weights that do not fit.
        """
        weights = None if per_sample_weights is None else per_sample_weights.reshape(-1)
        if offsets is None:
            if rows.ndim != 2:
                raise TableError(f"without offsets, rows are (num_bags, bag size); found shape {tuple(rows.shape)}")
            offsets = torch.arange(rows.shape[0], device=rows.device) * rows.shape[1]
            rows = rows.reshape(-1)
        elif self.include_last_offset:
            offsets = offsets[:-1]
        if _exporting():
            return bag_op(rows, offsets, weights, self.mode, list(self._buffers.values()), self._description)
        return self.table.bag(rows, offsets, mode=self.mode, weights=weights)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}"


def _buffer(array: Any) -> Any:
    if is_torch(array):
        return array
    own = np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])
    return torch.from_numpy(to_numpy(own))
