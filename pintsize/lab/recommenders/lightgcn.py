"""LightGCN: rows of users and items, smoothed over the graph of their interactions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pintsize.lab.datasets.interactions import Interactions
from pintsize.lab.recommenders._tables import drawn, every_row, some_rows
from pintsize.lab.training.ranking import RankingModel

__all__ = ["LightGcn", "normalised_adjacency"]


def normalised_adjacency(pairs: Interactions) -> Tensor:
    """``D^-1/2 A D^-1/2`` of the bipartite graph, users before items: a symmetric (n, n) CSR tensor, indices int32."""
    met = pairs.matrix()
    users, items = pairs.num_users, pairs.num_items
    degree_of_user = np.maximum(np.diff(met.indptr), 1)
    degree_of_item = np.maximum(np.bincount(met.indices, minlength=items), 1)
    met.data = (1 / np.sqrt(np.repeat(degree_of_user, np.diff(met.indptr)) * degree_of_item[met.indices])).astype(
        np.float32
    )
    back = met.T.tocsr()
    back.sort_indices()
    pointers = np.concatenate([met.indptr, met.indptr[-1] + back.indptr[1:]])
    columns = np.concatenate([met.indices + users, back.indices])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse", UserWarning)  # "in beta state", "checks are implicitly disabled"
        return torch.sparse_csr_tensor(
            torch.from_numpy(pointers.astype(np.int32)),
            torch.from_numpy(columns.astype(np.int32)),
            torch.from_numpy(np.concatenate([met.data, back.data])),
            (users + items, users + items),
        )


class _Smooth(torch.autograd.Function):
    """A product with a symmetric matrix, whose gradient is the same product: nothing is transposed or kept."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, rows: Tensor) -> Tensor:
        ctx.matrix = matrix
        return matrix @ rows

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, ctx.matrix @ gradient.contiguous()


class _Mean(torch.autograd.Function):
    """``mean_l A^l e`` by Horner's rule; a polynomial of a symmetric matrix is its own gradient."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, rows: Tensor, layers: int) -> Tensor:
        ctx.matrix, ctx.layers = matrix, layers
        found = rows
        for _ in range(layers):
            found = torch.addmm(rows, matrix, found)
        return found / (layers + 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        return None, _Mean.forward(ctx, ctx.matrix, gradient.contiguous(), ctx.layers), None


class LightGcn(RankingModel):
    """``e = mean_l A^l e_0`` for l = 0..layers, A the normalised adjacency (He et al. 2020, arXiv:2002.02126, eq. 8).

    Methods that quantize each layer (`l2q`) are asked for the segments of all layers instead of their mean.

    Args:
        graph: Training interactions.
        user_embedding: (num_users) rows of d columns: ``nn.Embedding``, or what `pintsize.swap` puts there.
        item_embedding: (num_items) rows of d columns.
        layers: How often rows are smoothed.
    """

    adjacency: Tensor

    def __init__(
        self, graph: Interactions, user_embedding: nn.Module, item_embedding: nn.Module, layers: int = 3
    ) -> None:
        super().__init__()
        self.user_embedding, self.item_embedding = user_embedding, item_embedding
        self.num_users, self.num_items, self.layers = graph.num_users, graph.num_items, layers
        self.register_buffer("adjacency", normalised_adjacency(graph), persistent=False)

    @classmethod
    def of(cls, graph: Interactions, embedding_dim: int = 64, layers: int = 3, deviation: float = 0.1) -> LightGcn:
        """With ``nn.Embedding`` tables, drawn from a normal distribution as the authors' code does."""
        users, items = (drawn(rows, embedding_dim, deviation) for rows in (graph.num_users, graph.num_items))
        return cls(graph, users, items, layers)

    def _start(self) -> Tensor:
        return torch.cat([every_row(self.user_embedding), every_row(self.item_embedding)]).float()

    def smoothed(self) -> list[Tensor]:
        """(num_users + num_items, d) of each layer, from 0."""
        layers = [self._start()]
        for _ in range(self.layers):
            layers.append(_Smooth.apply(self.adjacency, layers[-1]))  # type: ignore[no-untyped-call]
        return layers

    def vectors(self) -> tuple[Tensor, Tensor]:
        quantizers = [self._quantizer(table) for table in (self.user_embedding, self.item_embedding)]
        if all(quantizer is None for quantizer in quantizers):
            whole: Tensor = _Mean.apply(self.adjacency, self._start(), self.layers)  # type: ignore[no-untyped-call]
            return whole[: self.num_users], whole[self.num_users :]
        parts = [torch.split(layer, [self.num_users, self.num_items]) for layer in self.smoothed()]
        users, items = (
            torch.cat(list(rows), dim=1) if quantizer is None else quantizer.segments(list(rows))
            for quantizer, rows in zip(quantizers, zip(*parts, strict=True), strict=True)
        )
        return users, items

    @staticmethod
    def _quantizer(table: nn.Module) -> Any:
        inner = getattr(table, "table", table)
        return inner if hasattr(inner, "segments") else None

    def learned(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        return some_rows(self.user_embedding, users), some_rows(self.item_embedding, items)
