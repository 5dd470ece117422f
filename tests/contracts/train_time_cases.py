"""Small methods that only tests know: every hook that a method may have, and none of their files."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from pintsize.formats.dense import DenseTable
from pintsize.methods.base import TrainTime, Traits
from pintsize.methods.trainable import TrainableEmbedding


class FoldedRows(TrainableEmbedding):
    """Shared rows times a gate; the gate is searched, fades in by a schedule, and is fixed in the second phase."""

    smooth = True

    def __init__(self, num_embeddings, embedding_dim, buckets, searching=True):
        super().__init__(num_embeddings, embedding_dim)
        self.shared = nn.Parameter(torch.empty(buckets, embedding_dim))
        self.gate = nn.Parameter(torch.ones(embedding_dim), requires_grad=searching)
        self.register_buffer("strength", torch.zeros(()))
        self.start(1.0)

    @torch.no_grad()
    def start(self, deviation):
        self.shared.normal_(0, deviation)

    def factors(self):
        return 1 + self.strength * (self.gate - 1)

    def _rows(self, rows):
        return nn.functional.embedding(rows % len(self.shared), self.shared) * self.factors()

    def penalty(self):
        return 0.01 * self.gate.square().sum()

    def after_step(self, step):
        self.strength.fill_(min(1.0, step / 10))

    def search_parameters(self):
        return [self.gate] if self.gate.requires_grad else []

    def retrain(self):
        following = FoldedRows(self.num_embeddings, self.embedding_dim, len(self.shared), searching=False)
        following.gate.data.copy_(self.gate.detach())
        following.strength.copy_(self.strength)
        return following

    def freeze(self):
        rows = torch.arange(self.num_embeddings, device=self.shared.device)
        return DenseTable(self._rows(rows).detach().cpu().numpy())


class Folded(TrainTime):
    """For tests."""

    name: ClassVar[str] = "folded"
    family: ClassVar[str] = "sharing"
    paper: ClassVar[str] = "none"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    traits: ClassVar[Traits] = Traits(small_while_training=True)

    buckets: int = 7

    def build(self, num_embeddings, embedding_dim, *, counts=None):
        return FoldedRows(num_embeddings, embedding_dim, self.buckets)


class _Descend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, ticket, codes, rows):
        ctx.codes, ctx.rows = codes, rows
        return codes[rows].float() / 16

    @staticmethod
    def backward(ctx, gradient):
        ctx.codes.index_add_(0, ctx.rows, -gradient.sign().to(torch.int16))
        return None, None, None


class SteppingRows(TrainableEmbedding):
    """Integers that step against the sign of their gradient, in the backward pass."""

    owns_update = True

    def __init__(self, num_embeddings, embedding_dim):
        super().__init__(num_embeddings, embedding_dim)
        self.register_buffer("codes", torch.empty(num_embeddings, embedding_dim, dtype=torch.int16))
        self.start(1.0)

    def start(self, deviation):
        self.codes.copy_((16 * deviation * torch.randn(self.codes.shape)).round())

    def _rows(self, rows):
        return _Descend.apply(torch.zeros((), requires_grad=True), self.codes, rows)

    def freeze(self):
        return DenseTable(self.codes.cpu().float().numpy() / 16)


class Stepping(TrainTime):
    """For tests."""

    name: ClassVar[str] = "stepping"
    family: ClassVar[str] = "quantization"
    paper: ClassVar[str] = "none"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    traits: ClassVar[Traits] = Traits()

    def build(self, num_embeddings, embedding_dim, *, counts=None):
        return SteppingRows(num_embeddings, embedding_dim)
