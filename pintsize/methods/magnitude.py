"""Only the largest values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pintsize.errors import MethodError
from pintsize.formats.base import CompressedTable
from pintsize.formats.sparse import VALUES_A_ROW, SparseTable
from pintsize.methods._budget import Ratio, budget, largest
from pintsize.methods.base import Allocate, Encoder, Family, PostTraining, Progress, Traits, assemble, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Magnitude"]


@dataclass(frozen=True)
class _RowEncoder(Encoder):
    each: int

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        kept = rows != 0
        if self.each < rows.shape[1]:
            chosen = np.zeros_like(kept)
            largest_first = np.argsort(-np.abs(rows), axis=1, kind="stable")
            np.put_along_axis(chosen, largest_first[:, : self.each], True, axis=1)
            kept &= chosen
        return SparseTable.from_kept(rows, kept)


@dataclass(frozen=True)
class _Threshold(Encoder):
    """Keeps magnitudes whose float32 bits, read as an integer, pass `bits`; the bits order as the magnitudes do."""

    bits: int

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        return SparseTable.from_kept(rows, _magnitude_bits(rows) >= self.bits)


class Magnitude(PostTraining):
    """The largest values by magnitude, of the whole table or of each row; the others are served as zeros.

    Over the table the number kept is exact: two passes of histograms over the bits of the magnitudes find the threshold
    in bounded memory, and of values that equal it the first in row order are kept. Zeros are never kept, so that a
    sparse table may come out smaller than asked. An encoder from `fit` keeps what reaches the threshold.

    Takes 4 bytes a value, 1 byte (4 beyond 256 columns) for its column and 4 a row; ``ratio`` counts all of them. In a
    sum, the ratio is that of the float32 values.
    """

    name: ClassVar[str] = "magnitude"
    family: ClassVar[Family] = "dimension"
    paper: ClassVar[str] = "Han, Pool, Tran & Dally 2015, arXiv:1506.02626"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"keep": 0.1}, {"ratio": 4}, {"keep": 0.25, "scope": "row"})
    traits: ClassVar[Traits] = Traits(by_rows=False)

    keep: float | None = Field(default=None, gt=0, le=1, description="Share of the values that are kept.")
    ratio: Ratio | None = None
    scope: Literal["table", "row"] = Field(
        default="table", description="Whether values compete over the table or a row."
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        one_of(keep=self.keep, ratio=self.ratio)
        return self

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        n, d = table.num_embeddings, table.embedding_dim
        if self.scope == "table":
            return _Threshold(max(1, _threshold(table, self._kept(table))[0]))
        if self.ratio is not None:
            return _RowEncoder(largest("values a row", d, lambda k: _nbytes(n * k, n, d), table, self.ratio))
        return _RowEncoder(max(1, round(d * (self.keep or 0))))

    def compress(
        self,
        table: EmbeddingTable,
        *,
        seed: int = 0,
        allocate: Allocate | None = None,
        progress: Progress | None = None,
    ) -> CompressedTable:
        if self.scope == "row" or table.num_embeddings == 0:
            return super().compress(table, seed=seed, allocate=allocate, progress=progress)
        bits, ties = _threshold(table, self._kept(table))
        return assemble(_sparse_chunks(table, bits, ties, progress), table.num_embeddings, allocate)

    def _kept(self, table: EmbeddingTable) -> int:
        """Values that are kept of the whole table."""
        n, d = table.num_embeddings, table.embedding_dim
        if self.ratio is None:
            return round(n * d * (self.keep or 0))
        most, low, high = budget(table, self.ratio), 0, n * d
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if _nbytes(middle, n, d) <= most else (low, middle - 1)
        if low == 0:
            raise MethodError(
                f"ratio={self.ratio:g} leaves {most} bytes for {n} rows of {d} columns; "
                f"a single kept value takes {_nbytes(1, n, d)}"
            )
        return low


def _nbytes(kept: int, rows: int, columns: int) -> int:
    starts = (rows + 1) * (4 if kept < 2**31 else 8)
    return kept * (1 if columns <= 256 else 4) + starts + -(-kept // VALUES_A_ROW) * VALUES_A_ROW * 4


def _magnitude_bits(rows: NDArray[np.float32]) -> NDArray[np.uint32]:
    return rows.view(np.uint32) & np.uint32(0x7FFFFFFF)


def _threshold(table: EmbeddingTable, kept: int) -> tuple[int, int]:
    """The bits of the `kept`-th largest magnitude, and how many values that equal it are kept."""
    if kept == 0:
        return 0x7FFFFFFF, 0
    high = np.zeros(1 << 15, np.int64)
    for _, rows in table.chunks():
        high += np.bincount((_magnitude_bits(rows) >> 16).reshape(-1), minlength=1 << 15)
    upper, above = _place(high, kept)
    low = np.zeros(1 << 16, np.int64)
    for _, rows in table.chunks():
        bits = _magnitude_bits(rows)
        low += np.bincount(bits[bits >> 16 == upper] & 0xFFFF, minlength=1 << 16)
    lower, above_too = _place(low, kept - above)
    return upper << 16 | lower, kept - above - above_too


def _place(histogram: NDArray[np.int64], kept: int) -> tuple[int, int]:
    """The bin of the `kept`-th largest value, and how many values lie in higher bins."""
    from_top = np.cumsum(histogram[::-1])
    index = int(np.searchsorted(from_top, kept))
    return len(histogram) - 1 - index, int(from_top[index - 1]) if index else 0


def _sparse_chunks(table: EmbeddingTable, bits: int, ties: int, progress: Progress | None) -> Iterator[CompressedTable]:
    for start, rows in table.chunks():
        magnitudes = _magnitude_bits(rows)
        kept = magnitudes > bits
        equal = np.flatnonzero(magnitudes == bits)[:ties] if bits and ties else np.empty(0, np.int64)
        kept.reshape(-1)[equal] = True
        ties -= len(equal)
        yield SparseTable.from_kept(rows, kept)
        if progress is not None:
            progress(start + len(rows), table.num_embeddings)
