"""What stands in a model where an ``nn.Embedding`` or ``nn.EmbeddingBag`` stood, over a table that is being trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pintsize.methods.base import TrainTime
from pintsize.methods.trainable import TrainableEmbedding
from pintsize.swapping._watch import Watch

__all__ = ["BagSlot", "RowSlot", "Slot"]


class Slot(nn.Module):
    """A table in a place of a model, with the attributes that other code reads of what stood there.

    Several slots may share one table: tied weights stay tied.

    Args:
        old: The embedding that stood there; it is not kept.
        table: What is trained instead.
        method: What built the table.
    """

    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    sparse: bool = False
    steps: Tensor
    _like: Tensor

    def __init__(self, old: nn.Embedding | nn.EmbeddingBag, table: TrainableEmbedding, method: TrainTime) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = table.num_embeddings, table.embedding_dim
        self.padding_idx = old.padding_idx
        self.method = method
        self.table = table
        self.watch: Watch | None = None
        # Steps are part of a checkpoint: schedules go on where they were. The number beside the buffer saves a wait for
        # the device at each step.
        self._done = 0
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=old.weight.device))
        # Remembers the dtype of results, through later calls of `to` as well.
        self.register_buffer("_like", old.weight.detach().new_empty(0), persistent=False)
        self.train(old.training)

    @property
    def weight(self) -> Tensor:
        """(num_embeddings, embedding_dim): every row, for models that propagate whole tables.

        Each reading computes the whole table, unless the method is ``full``, whose parameter it is. Otherwise it is no
        parameter, and writing into it changes nothing.
        """
        rows = self.table.all_rows()
        if self.padding_idx is not None:
            every = torch.arange(self.num_embeddings, device=rows.device)
            rows = rows.masked_fill((every == self.padding_idx).unsqueeze(-1), 0)
        return self._given(rows)

    def _given(self, result: Tensor) -> Tensor:
        if self.watch is not None and self.training and not torch.compiler.is_compiling():
            self.watch.forward(result)
        return result.to(self._like.dtype)

    @property
    def result_dtype(self) -> torch.dtype:
        """What the results are given in: the dtype of the weight that stood there."""
        return self._like.dtype

    def count(self) -> int:
        """One step more; how many that makes."""
        self._done += 1
        self.steps.fill_(self._done)
        return self._done

    def restart(self) -> None:
        """Steps count from zero again."""
        self._done = 0
        self.steps.zero_()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._done = int(self.steps)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}, method={str(self.method)!r}"

    def restored(self, weight: nn.Parameter) -> nn.Module:
        """The module of torch that this stands for, over a weight."""
        raise NotImplementedError


class RowSlot(Slot):
    """Stands for an ``nn.Embedding``."""

    def forward(self, input: Tensor) -> Tensor:
        """The rows at (*shape) int32 or int64 positions, as (*shape, embedding_dim); rows of padding are zeros.

        Raises:
            IndexError: A row out of range (on CPU).
        """
        rows = self.table(input)
        if self.padding_idx is not None:
            rows = rows.masked_fill((input == self.padding_idx).unsqueeze(-1), 0)
        return self._given(rows)

    def restored(self, weight: nn.Parameter) -> nn.Module:
        made = nn.Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx, _weight=weight.detach())
        made.weight = weight
        return made.train(self.training)


class BagSlot(Slot):
    """Stands for an ``nn.EmbeddingBag``."""

    def __init__(self, old: nn.EmbeddingBag, table: TrainableEmbedding, method: TrainTime) -> None:
        super().__init__(old, table, method)
        self.mode: Any = old.mode
        self.include_last_offset = bool(old.include_last_offset)

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Pooled rows, as ``nn.EmbeddingBag`` takes and gives them.

        Args:
            input: (num_rows,) rows with `offsets`, or (num_bags, size) without.
            offsets: (num_bags,) where each bag begins, or (num_bags + 1,) with ``include_last_offset``.
            per_sample_weights: Factors of the shape of `input`, with ``mode="sum"`` only.

        Returns:
            (num_bags, embedding_dim).

        Raises:
            ValueError: Rows, offsets and weights that do not go together.
            IndexError: A row out of range (on CPU).
        """
        starts = self._starts(input, offsets)
        if per_sample_weights is not None:
            if self.mode != "sum":
                raise ValueError(f"weights of rows go with mode='sum'; found mode={self.mode!r}")
            if per_sample_weights.shape != input.shape:
                shapes = f"{tuple(input.shape)} and {tuple(per_sample_weights.shape)}"
                raise ValueError(f"rows and their weights have one shape; found {shapes}")
            per_sample_weights = per_sample_weights.reshape(-1)
        pooled = self.table.bag(
            input.reshape(-1), starts, mode=self.mode, weights=per_sample_weights, padding=self.padding_idx
        )
        return self._given(pooled)

    def _starts(self, rows: Tensor, offsets: Tensor | None) -> Tensor:
        if rows.ndim == 2:
            if offsets is not None:
                raise ValueError("rows of two dimensions are bags already; found offsets beside them")
            return torch.arange(len(rows), device=rows.device) * rows.shape[1]
        if rows.ndim != 1 or offsets is None or offsets.ndim != 1:
            raise ValueError("bags are (num_rows,) rows with (num_bags,) offsets, or (num_bags, size) rows without")
        if not self.include_last_offset:
            return offsets
        if not len(offsets):
            raise ValueError("with include_last_offset there is at least one offset; found none")
        if offsets.device.type == "cpu" and not torch.compiler.is_compiling() and int(offsets[-1]) != len(rows):
            raise ValueError(f"the last offset is the number of rows, {len(rows)}; found {int(offsets[-1])}")
        return offsets[:-1]

    def restored(self, weight: nn.Parameter) -> nn.Module:
        made = nn.EmbeddingBag(
            self.num_embeddings,
            self.embedding_dim,
            mode=self.mode,
            _weight=weight.detach(),
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )
        made.weight = weight
        return made.train(self.training)
