"""Wide & Deep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from pintsize.errors import MethodError
from pintsize.lab.recommenders._mlp import mlp
from pintsize.lab.recommenders.fields import FieldEmbeddings, LinearTerms, NumberEmbeddings

__all__ = ["Crosses", "WideAndDeep"]

_MIX = -0x61C8864680B583EB  # 2^64 over the golden ratio, as a signed integer


def _mixed(key: Tensor) -> Tensor:
    """A 64-bit mix of int64 keys (the finalizer of MurmurHash3), all bits of which depend on all of the key's."""
    for factor in (-0xAE502812AA7333, -0x3B314601E57A13AD):
        key = key ^ ((key >> 33) & 0x7FFFFFFF)
        key = key * factor
    return key ^ ((key >> 33) & 0x7FFFFFFF)


class Crosses(nn.Module):
    """A weight for each pair of values of two fields: the wide part's cross-product transformations.

    A pair whose fields have few rows in product has a weight for each combination; larger ones are hashed into
    `buckets` weights.

    Args:
        cardinalities: Rows of each field.
        pairs: Which fields are crossed, as (column, column).
        buckets: Weights of a pair at most.

    Raises:
        MethodError: A pair names no two fields.
    """

    def __init__(self, cardinalities: Sequence[int], pairs: Iterable[tuple[int, int]], buckets: int = 10_000) -> None:
        super().__init__()
        self.pairs = [tuple(pair) for pair in pairs]
        self.cardinalities = tuple(cardinalities)
        self.buckets = buckets
        for one, two in self.pairs:
            if one == two or not 0 <= min(one, two) <= max(one, two) < len(cardinalities):
                raise MethodError(f"a cross is of two of {len(cardinalities)} fields; found {(one, two)}")
        sizes = [min(buckets, cardinalities[one] * cardinalities[two]) for one, two in self.pairs]
        self.tables = nn.ModuleList(nn.Embedding(size, 1) for size in sizes)
        for table in self.tables:
            nn.init.zeros_(table.weight)  # type: ignore[arg-type]

    def bucket(self, pair: int, fields: Tensor) -> Tensor:
        """(b) which weight of a pair each impression has."""
        one, two = self.pairs[pair]
        key = fields[:, one].long() * self.cardinalities[two] + fields[:, two]
        if self.cardinalities[one] * self.cardinalities[two] <= self.buckets:
            return key
        return torch.remainder(_mixed(key + pair * _MIX), self.buckets)

    def forward(self, fields: Tensor) -> Tensor:
        """(b) sums of the weights of (b, fields) rows."""
        found = fields.new_zeros(len(fields), dtype=torch.float32)
        for pair, table in enumerate(self.tables):
            found = found + table(self.bucket(pair, fields))[:, 0]
        return found


class WideAndDeep(nn.Module):
    """A linear model of features and crosses, and dense layers over embeddings, trained jointly (Cheng et al. 2016).

    The paper trains the wide part by FTRL with an L1 term and the deep part by AdaGrad: `wide_parameters` and
    `deep_parameters` are the two groups, and `pintsize.lab.recommenders.ftrl.Ftrl` is that optimizer.

    Args:
        embeddings: Vectors of the fields, of the deep part.
        linear: Weights of the fields, of the wide part: `FieldEmbeddings` of one column.
        crosses: The wide part's crosses; None for none.
        numbers: Numeric columns that come in, to both parts.
        hidden: Widths of the dense layers.
        dropout: Share of hidden values dropped in training.
    """

    def __init__(
        self,
        embeddings: FieldEmbeddings,
        linear: FieldEmbeddings,
        crosses: Crosses | None = None,
        numbers: int = 0,
        *,
        hidden: Sequence[int] = (64, 64, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embeddings, self.linear, self.crosses = embeddings, LinearTerms(linear, numbers), crosses
        self.number_embeddings = NumberEmbeddings(numbers, embeddings.embedding_dim)
        width = (len(embeddings) + numbers) * embeddings.embedding_dim
        self.deep = mlp(width, hidden, 1, dropout=dropout)

    def wide_parameters(self) -> list[nn.Parameter]:
        """Those of the linear model."""
        crosses = [] if self.crosses is None else list(self.crosses.parameters())
        return [*self.linear.parameters(), *crosses]

    def deep_parameters(self) -> list[nn.Parameter]:
        """All others."""
        wide = {id(parameter) for parameter in self.wide_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in wide]

    def forward(self, fields: Tensor, numbers: Tensor) -> Tensor:
        """Logits (b) of (b, fields) rows and (b, numbers) values."""
        wide = self.linear(fields, numbers)
        if self.crosses is not None:
            wide = wide + self.crosses(fields)
        vectors = torch.cat([self.embeddings(fields), self.number_embeddings(numbers)], dim=1)
        deep: Tensor = self.deep(vectors.flatten(start_dim=1))[:, 0]
        logits: Tensor = wide + deep
        return logits
