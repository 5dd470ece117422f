"""Factorization machine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pintsize.lab.recommenders.fields import FieldEmbeddings, LinearTerms, NumberEmbeddings

__all__ = ["FactorizationMachine", "pairwise"]


def pairwise(vectors: Tensor) -> Tensor:
    """``sum_{i<j} <v_i, v_j>`` of (b, n, d) vectors, as (b): half the square of the sum less the sum of squares."""
    return 0.5 * (vectors.sum(dim=1).square() - vectors.square().sum(dim=1)).sum(dim=1)


class FactorizationMachine(nn.Module):
    """``w0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j`` (Rendle 2010, eq. 1), in linear time (lemma 3.1).

    Args:
        embeddings: v of the fields.
        linear: w of the fields: `FieldEmbeddings` of one column.
        numbers: Numeric columns that come in.
    """

    def __init__(self, embeddings: FieldEmbeddings, linear: FieldEmbeddings, numbers: int = 0) -> None:
        super().__init__()
        self.embeddings, self.linear = embeddings, LinearTerms(linear, numbers)
        self.number_embeddings = NumberEmbeddings(numbers, embeddings.embedding_dim)

    def forward(self, fields: Tensor, numbers: Tensor) -> Tensor:
        """Logits (b) of (b, fields) rows and (b, numbers) values."""
        vectors = torch.cat([self.embeddings(fields), self.number_embeddings(numbers)], dim=1)
        logits: Tensor = self.linear(fields, numbers) + pairwise(vectors)
        return logits
