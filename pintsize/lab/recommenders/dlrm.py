"""DLRM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pintsize.lab.recommenders._mlp import mlp
from pintsize.lab.recommenders.fields import FieldEmbeddings

__all__ = ["Dlrm"]


class Dlrm(nn.Module):
    """Inner products of all pairs of vectors, and the numbers' own, into dense layers (Naumov et al. 2019, section 2).

    Args:
        embeddings: Vectors of the fields.
        numbers: Numeric columns that come in; without any, there is no bottom part.
        bottom: Widths of the layers that turn numbers into one more vector.
        top: Widths of the layers over that vector and the inner products.
        dropout: Share of hidden values of the top dropped in training.
    """

    upper: Tensor

    def __init__(
        self,
        embeddings: FieldEmbeddings,
        numbers: int = 0,
        *,
        bottom: Sequence[int] = (64,),
        top: Sequence[int] = (64, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        d = embeddings.embedding_dim
        self.embeddings = embeddings
        self.bottom = nn.Sequential(mlp(numbers, bottom, d), nn.ReLU()) if numbers else None
        vectors = len(embeddings) + (numbers > 0)
        self.register_buffer("upper", torch.triu_indices(vectors, vectors, offset=1), persistent=False)
        self.top = mlp(self.upper.shape[1] + (d if numbers else 0), top, 1, dropout=dropout)

    def forward(self, fields: Tensor, numbers: Tensor) -> Tensor:
        """Logits (b) of (b, fields) rows and (b, numbers) values."""
        vectors = self.embeddings(fields)
        told: list[Tensor] = []
        if self.bottom is not None:
            told.append(self.bottom(numbers))
            vectors = torch.cat([told[0][:, None], vectors], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))[:, self.upper[0], self.upper[1]]
        logits: Tensor = self.top(torch.cat([*told, products], dim=1))[:, 0]
        return logits
