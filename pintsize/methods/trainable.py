"""A compressed table that is being trained: a drop-in for ``torch.nn.Embedding``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from pintsize.errors import MethodError
from pintsize.formats.base import CompressedTable

__all__ = ["TrainableEmbedding", "checked"]


def checked(rows: Tensor, num_embeddings: int) -> Tensor:
    """Rows as int64, all of them in range.

    On accelerators the range is left to the gather, as ``nn.Embedding`` leaves it: looking would wait for the device.

    Raises:
        TypeError: Rows that are not integers.
        IndexError: A row out of range; the first is named.
    """
    if rows.dtype.is_floating_point or rows.dtype.is_complex or rows.dtype == torch.bool:
        raise TypeError(f"rows are integers; found {rows.dtype}")
    if rows.numel() and rows.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = torch.aminmax(rows)
        if low < 0 or high >= num_embeddings:
            first = rows[(rows < 0) | (rows >= num_embeddings)].reshape(-1)[0]
            raise IndexError(f"row {int(first)} is out of range: the table has {num_embeddings} rows")
    return rows.long()


class TrainableEmbedding(nn.Module, ABC):
    """Rows that are learned in their compressed form, and end as a stored table that serves exactly them.

    A training step is ``loss = task_loss + table.penalty()``, the optimizer's step, then ``table.after_step(step)``.

    Args:
        num_embeddings: Rows.
        embedding_dim: Columns.
    """

    owns_update: bool = False
    """Weights that an outside optimizer cannot hold (integers): the module updates itself in the backward pass."""

    smooth: bool = False
    """Rows are a smooth function of the parameters: gradients are those of finite differences."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        if num_embeddings < 0 or embedding_dim < 1:
            raise MethodError(
                f"a table has 0 or more rows and 1 or more columns; found {num_embeddings, embedding_dim}"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim

    # -- what a method writes --------------------------------------------------------------------------------------

    @abstractmethod
    def _rows(self, rows: Tensor) -> Tensor:
        """The (n, embedding_dim) rows at (n,) int64 positions that are in range; differentiable."""

    @abstractmethod
    def start(self, deviation: float) -> None:
        """Draws the parameters anew, so that values of rows have this standard deviation about zero."""

    @abstractmethod
    def freeze(self) -> CompressedTable:
        """What is served: its ``lookup(rows)`` equals ``forward(rows)`` in evaluation mode, to the stated tolerance."""

    def start_from(self, weight: Tensor) -> None:
        """Starts as near as the method can to an (num_embeddings, embedding_dim) table: at least in its deviation."""
        self.start(float(weight.detach().float().std(unbiased=False)) if weight.numel() else 1.0)

    def penalty(self) -> Tensor:
        """A scalar to be added to the loss; zero unless the method has one."""
        return torch.zeros((), device=self._device())

    def after_step(self, step: int) -> None:
        """Called after each optimizer step with the number of steps done: schedules, thresholds, sketches."""

    def search_parameters(self) -> list[nn.Parameter]:
        """The second parameter group of bilevel methods: trained on validation batches, and not with the rest."""
        return []

    def retrain(self) -> TrainableEmbedding:
        """The second phase of two-phase methods: a new module with what was found (widths, masks) held fixed.

        Raises:
            MethodError: The method has one phase.
        """
        raise MethodError(f"{type(self).__name__} has one phase: there is nothing to retrain")

    # -- what every table does -------------------------------------------------------------------------------------

    def forward(self, rows: Tensor) -> Tensor:
        """The rows at these positions.

        Args:
            rows: (*shape) int32 or int64.

        Returns:
            (*shape, embedding_dim).

        Raises:
            IndexError: A row out of range (on CPU).
        """
        flat = checked(rows.reshape(-1), self.num_embeddings)
        return self._rows(flat).reshape(*rows.shape, self.embedding_dim)

    def bag(
        self,
        rows: Tensor,
        offsets: Tensor,
        *,
        mode: Literal["sum", "mean", "max"] = "sum",
        weights: Tensor | None = None,
        padding: int | None = None,
    ) -> Tensor:
        """Pooled rows, as ``torch.nn.functional.embedding_bag`` defines them.

        Args:
            rows: (num_rows,) int32 or int64.
            offsets: (num_bags,): where each bag begins in `rows`.
            mode: How a bag's rows become one; an empty bag is zeros.
            weights: (num_rows,) factors, with ``mode="sum"`` only.
            padding: A row that counts for nothing in its bag.

        Returns:
            (num_bags, embedding_dim).
        """
        flat = checked(rows.reshape(-1), self.num_embeddings)
        # The bags are torch's own, over the distinct rows of this batch; how many these are, no graph can know.
        if torch.compiler.is_compiling():
            distinct, places = flat, torch.arange(len(flat), device=flat.device)
        else:
            distinct, places = torch.unique(flat, return_inverse=True)
        values = self._rows(distinct)
        if not len(flat):
            return values.sum() + values.new_zeros(len(offsets), self.embedding_dim)
        if padding is not None:
            # A row more, at which every row of padding points: torch leaves out one row, not several.
            places = torch.where(flat == padding, len(distinct), places)
            values = torch.cat([values, values.new_zeros(1, self.embedding_dim)])
        return nn.functional.embedding_bag(
            places,
            values,
            offsets.long(),
            mode=mode,
            per_sample_weights=None if weights is None else weights.to(values.dtype),
            padding_idx=None if padding is None else len(distinct),
        )

    def all_rows(self) -> Tensor:
        """(num_embeddings, embedding_dim): every row, for models that propagate whole tables."""
        return self._rows(torch.arange(self.num_embeddings, device=self._device()))

    def _device(self) -> torch.device:
        for tensor in (*self.parameters(), *self.buffers()):
            return tensor.device
        return torch.device("cpu")
