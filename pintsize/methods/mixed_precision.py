"""More bits for the rows that matter more, under a byte budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pintsize.errors import MethodError
from pintsize.formats._packing import packed_width
from pintsize.formats._rotation import random_rotation
from pintsize.formats.base import CompressedTable
from pintsize.formats.codebook import CodebookTable
from pintsize.formats.partitioned import PartitionedTable
from pintsize.methods._bit_allocation import allocate_bits, mixed_bytes
from pintsize.methods._scalar_codes import REACH, unit_for
from pintsize.methods._step_search import Rotation, StepEncoder, searched_steps
from pintsize.methods.base import Allocate, Family, Progress, TrainTime, Traits, WholeTable, one_of
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from pintsize.methods.trainable import TrainableEmbedding

__all__ = ["MixedPrecision"]

_WIDTHS = 9  # 0 to 8 bits
_SAMPLED = 256  # rows of a group whose error is measured at every width


@dataclass(frozen=True, eq=False)
class _Survey:
    """What one pass over the table finds: per row its energy and largest value, and the mean row."""

    energy: NDArray[np.float64]
    largest: NDArray[np.float32]
    mean: NDArray[np.float64]

    @classmethod
    def of(cls, table: EmbeddingTable) -> _Survey:
        n = table.num_embeddings
        energy, largest = np.empty(n, np.float64), np.empty(n, np.float32)
        total = np.zeros(table.embedding_dim, np.float64)
        for start, rows in table.chunks():
            stop = start + len(rows)
            energy[start:stop] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
            largest[start:stop] = np.abs(rows).max(axis=1)
            total += rows.sum(axis=0, dtype=np.float64)
        return cls(energy, largest, total / n)


@dataclass(frozen=True, eq=False)
class _Coding:
    """How the rows of each width are coded: `rabitq` codes of the least error, and the mean for no bits at all."""

    columns: int
    rotation: Rotation

    def encoder(self, bits: int, largest: float) -> StepEncoder:
        return StepEncoder(self.columns, bits, unit_for(largest, REACH), self.rotation, searched_steps(bits))

    def row_bytes(self) -> NDArray[np.int64]:
        return np.array([0] + [packed_width(self.columns, 2**bits) + 2 for bits in range(1, _WIDTHS)], np.int64)

    def total(self, held: NDArray[np.int64]) -> int:
        """The bytes of a table of which ``held[bits]`` rows have so many bits: row map, rotations and mean included."""
        return mixed_bytes(held, self.row_bytes(), self.columns, int(self.rotation.nbytes))


class MixedPrecision(WholeTable, TrainTime):
    """Groups of rows in 0 to 8 bits: popular rows, and rows that lose more by it, in more.

    Rows are sorted by use (by energy where the table has no counts) and cut into groups of equal size. The error of
    each group at each width is measured on a sample and weighted by the group's mean count to the power `alpha`; bits
    go where they save most a byte until the budget is used. Rows without bits are the mean of all such rows. After
    training the widths follow from the table alone. While training, as in the paper, each group has a softmax over 0,
    2, 3, 4, 6 and 8 bits that is learned with the model, under a penalty on bytes beyond the budget; `retrain` then
    fixes the widths and learns a step for each row. Rows are grouped by use there, too, or in their order without
    counts; nothing is rotated.

    With `ratio` the result takes at most the table's float32 bytes divided by it, everything counted. With `bits` there
    are as many groups as widths, and no search.
    """

    name: ClassVar[str] = "mixed_precision"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Li et al. 2024 (MPE), arXiv:2409.20305"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"ratio": 6.0}, {"bits": (4, 2, 0)})
    traits: ClassVar[Traits] = Traits(by_rows=False)

    ratio: float | None = Field(None, ge=1, description="Times smaller than float32, at least.")
    bits: tuple[int, ...] | None = Field(
        None, min_length=1, max_length=256, description="Bits of each group of rows, the most used rows first."
    )
    groups: int = Field(128, ge=1, le=4096, description="Groups of rows that share a width, with ratio.")
    alpha: float = Field(0.5, ge=0, le=1, description="Weight of a row's error: its count to this power.")

    weight: float = Field(10.0, ge=0, description="Factor of the penalty on bytes beyond the budget, while training.")

    @model_validator(mode="after")
    def _one_budget(self) -> MixedPrecision:
        one_of(ratio=self.ratio, bits=self.bits)
        if self.bits is not None and not all(0 <= bits < _WIDTHS for bits in self.bits):
            raise MethodError(f"bits are 0 to 8; found {list(self.bits)}")
        return self

    def compress(
        self,
        table: EmbeddingTable,
        *,
        seed: int = 0,
        allocate: Allocate | None = None,
        progress: Progress | None = None,
    ) -> CompressedTable:
        """As `PostTraining.compress`. Raises MethodError where `ratio` cannot be reached, and says what can."""
        if table.num_embeddings == 0:
            return StepEncoder(table.embedding_dim, 1, 1.0).encode(table.array())
        coding = _Coding(table.embedding_dim, random_rotation(table.embedding_dim, seed))
        survey = _Survey.of(table)
        groups = self._groups(table, survey)
        chosen = self.bits if self.bits is not None else self._searched(table, survey, coding, groups, seed)
        bits_of_row = np.empty(table.num_embeddings, np.uint8)
        for group, bits in zip(groups, chosen, strict=False):
            bits_of_row[group] = bits
        return _encoded(table, survey, coding, bits_of_row, progress)

    def build(
        self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None
    ) -> TrainableEmbedding:
        """As `TrainTime.build`: with `ratio` the search, with `bits` a table at these widths."""
        from pintsize.methods._precision_training import PrecisionSearch, PrecisionTable

        use = np.zeros(num_embeddings) if counts is None else -np.asarray(counts, np.float64)
        if use.shape != (num_embeddings,):
            raise MethodError(f"counts are one a row, ({num_embeddings},); found {use.shape}")
        order = np.argsort(use, kind="stable")
        count = min(self.groups, max(1, num_embeddings)) if self.bits is None else len(self.bits)
        group_of_row = np.empty(num_embeddings, np.int32)
        for index, rows in enumerate(np.array_split(order, count)):
            group_of_row[rows] = index
        if self.bits is not None:
            return PrecisionTable(num_embeddings, embedding_dim, np.array(self.bits, np.uint8)[group_of_row])
        budget = 4 * num_embeddings * embedding_dim / (self.ratio or 1.0)
        return PrecisionSearch(num_embeddings, embedding_dim, group_of_row, budget, self.weight)

    def _groups(self, table: EmbeddingTable, survey: _Survey) -> list[NDArray[np.int64]]:
        order = np.argsort(-survey.energy, kind="stable") if table.counts is None else table.order_by_count
        count = self.groups if self.bits is None else len(self.bits)
        return np.array_split(order, min(count, len(order)) if self.bits is None else count)

    def _searched(
        self, table: EmbeddingTable, survey: _Survey, coding: _Coding, groups: list[NDArray[np.int64]], seed: int
    ) -> NDArray[np.int64]:
        ratio = self.ratio or 1.0
        sizes = np.array([len(group) for group in groups], np.int64)
        errors = np.stack([_errors(table, survey, coding, group, seed) for group in groups])
        errors *= sizes[:, None]
        if table.counts is not None and table.counts.any():
            use = np.array([table.counts[group].mean() for group in groups])
            errors *= (use / use.max())[:, None] ** self.alpha
        found = allocate_bits(sizes, errors, coding.row_bytes(), coding.total, table.nbytes_float32 / ratio)
        if found is None:
            uniform = np.eye(_WIDTHS, dtype=np.int64) * table.num_embeddings
            least = min(coding.total(held) for held in uniform)
            reachable = np.floor(100 * table.nbytes_float32 / least) / 100
            raise MethodError(
                f"a ratio of {ratio:g} leaves {table.nbytes_float32 / ratio:.0f} bytes for this table, and its "
                f"smallest form takes {least}; ask for at most ratio={reachable:.2f}"
            )
        return found


def _errors(
    table: EmbeddingTable, survey: _Survey, coding: _Coding, group: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """(widths,) mean squared error of a row of this group, measured on a sample of it."""
    if len(group) > _SAMPLED:
        group = np.random.default_rng(seed).choice(group, _SAMPLED, replace=False)
    picked = np.sort(group)
    rows = table.take(picked)
    largest = float(survey.largest[picked].max())
    mean = survey.mean.astype(np.float32)
    served = [np.broadcast_to(mean, rows.shape)]
    every = np.arange(len(rows))
    served += [coding.encoder(bits, largest).encode(rows).lookup(every) for bits in range(1, _WIDTHS)]
    return np.array([((rows.astype(np.float64) - guess) ** 2).sum(axis=1).mean() for guess in served])


def _encoded(
    table: EmbeddingTable, survey: _Survey, coding: _Coding, bits_of_row: NDArray[np.uint8], progress: Progress | None
) -> CompressedTable:
    widths = np.unique(bits_of_row)
    part = np.searchsorted(widths, bits_of_row).astype(np.uint8)
    encoders = {int(b): coding.encoder(int(b), float(survey.largest[bits_of_row == b].max())) for b in widths if b}
    pieces: dict[int, list[CompressedTable]] = {bits: [] for bits in encoders}
    dropped = np.zeros(table.embedding_dim, np.float64)
    for start, rows in table.chunks():
        bits_here = bits_of_row[start : start + len(rows)]
        for bits, encoder in encoders.items():
            pieces[bits].append(encoder.encode(rows[bits_here == bits]))
        dropped += rows[bits_here == 0].sum(axis=0, dtype=np.float64)
        if progress is not None:
            progress(start + len(rows), table.num_embeddings)
    parts = [CompressedTable.concat(pieces[int(b)]) if b else _mean(dropped, bits_of_row) for b in widths]
    return parts[0] if len(parts) == 1 else PartitionedTable.from_parts(part, parts)


def _mean(total: NDArray[np.float64], bits_of_row: NDArray[np.uint8]) -> CodebookTable:
    count = int((bits_of_row == 0).sum())
    mean = (total / count).astype(np.float32).reshape(1, 1, -1)
    return CodebookTable(np.empty((count, 0), np.uint8), mean.shape[2], 1, 0, codebooks=mean)
