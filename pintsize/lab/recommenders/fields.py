"""Rows of many categorical fields at once, a table a field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pintsize.errors import MethodError
from pintsize.lab.datasets.clicks import Clicks

__all__ = ["FieldEmbeddings", "LinearTerms", "NumberEmbeddings"]


class FieldEmbeddings(nn.Module):
    """A table for each field, by its name: `pintsize.swap` finds them as ``...tables.NAME``.

    Args:
        names: Fields, in the order of the columns that come in; a dot becomes an underscore in the module's name.
        cardinalities: Rows of each.
        embedding_dim: Columns of all.
        deviation: Standard deviation of the normal draw; 1e-4 is FuxiCTR's.

    Raises:
        MethodError: Names and cardinalities do not go together.
    """

    def __init__(
        self, names: Sequence[str], cardinalities: Sequence[int], embedding_dim: int, *, deviation: float = 1e-4
    ) -> None:
        super().__init__()
        keys = [name.replace(".", "_") for name in names]
        if len(set(keys)) != len(keys) or len(keys) != len(cardinalities) or not keys:
            raise MethodError(f"one or more fields with names of their own, a cardinality each; found {list(names)}")
        self.embedding_dim = embedding_dim
        self.tables = nn.ModuleDict()
        for key, rows in zip(keys, cardinalities, strict=True):
            table = nn.Embedding(rows, embedding_dim)
            nn.init.normal_(table.weight, std=deviation)
            self.tables[key] = table

    @classmethod
    def of(cls, clicks: Clicks, embedding_dim: int, *, deviation: float = 1e-4) -> FieldEmbeddings:
        """Tables for the fields of a click log."""
        return cls(clicks.names, clicks.cardinalities, embedding_dim, deviation=deviation)

    def __len__(self) -> int:
        """Fields."""
        return len(self.tables)

    def forward(self, fields: Tensor) -> Tensor:
        """(b, fields) rows to (b, fields, embedding_dim)."""
        columns = fields.unbind(dim=1)
        if len(columns) != len(self.tables):
            raise MethodError(f"{len(self.tables)} fields are expected; found {len(columns)} columns")
        return torch.stack([table(rows) for table, rows in zip(self.tables.values(), columns, strict=True)], dim=1)


class NumberEmbeddings(nn.Module):
    """A learned vector for each numeric column, times its value.

    Args:
        numbers: Columns that come in; may be 0.
        embedding_dim: Columns of each vector.
        deviation: Of the normal draw.
    """

    def __init__(self, numbers: int, embedding_dim: int, *, deviation: float = 1e-4) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(numbers, embedding_dim))
        nn.init.normal_(self.weight, std=deviation)

    def forward(self, numbers: Tensor) -> Tensor:
        """(b, numbers) values to (b, numbers, embedding_dim)."""
        return numbers[:, :, None] * self.weight


class LinearTerms(nn.Module):
    """``w0 + sum_i w_i x_i`` over fields and numbers.

    Args:
        fields: w of the fields: `FieldEmbeddings` of one column.
        numbers: Numeric columns that come in; their weights start at 0.
    """

    def __init__(self, fields: FieldEmbeddings, numbers: int) -> None:
        super().__init__()
        self.fields = fields
        self.numbers = nn.Parameter(torch.zeros(numbers))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, fields: Tensor, numbers: Tensor) -> Tensor:
        """(b) sums of (b, fields) rows and (b, numbers) values."""
        found: Tensor = self.bias + self.fields(fields).sum(dim=(1, 2)) + numbers @ self.numbers
        return found
