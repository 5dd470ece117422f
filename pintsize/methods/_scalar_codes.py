"""What the methods that end in `ScalarTable` share: the unit of the scales, sums in a fixed order, records.

The one thing that these methods learn from a table is `unit`, a power of two that brings scales and offsets into the
range of float16. Rows are divided by it first, which is exact, and everything else happens on the quotients: squares of
1e30 or of 1e-30 then neither overflow nor vanish.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.formats._packing import pack, packed_width
from pintsize.formats.base import CompressedTable
from pintsize.methods.base import Allocate, Encoder, PostTraining, Progress, encode_table
from pintsize.table import EmbeddingTable

__all__ = [
    "REACH",
    "ScalarMethod",
    "ScaleOverflow",
    "encode_blocks",
    "half",
    "limit",
    "row_sums",
    "too_large",
    "unit_for",
]

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Code = Callable[[Floats], tuple[NDArray[np.uint8], list[Halves]]]

REACH = 14
"""A table whose largest value is known puts it just below 2**14: twice that, a scale's bound, is finite in float16."""
LIMIT = 30000.0
"""Values up to this many units are encoded; twice that is still finite in float16."""
_SAMPLED = 8  # The sample's largest value lies just below 2**8: room for rows 100 times larger that it missed.
_SAMPLE_ROWS = 65536
_SAMPLE_VALUES = 1 << 24
_LARGEST = 2.0**112  # Decoding adds up to 2**14 columns before it scales them; the sum must stay finite.
_BLOCK_VALUES = 1 << 18


class ScaleOverflow(TableError):
    """Rows too large for the unit that an encoder was fitted with. `ScalarMethod.compress` fits again and goes on."""


def unit_for(largest: float, exponent: int) -> float:
    """The power of two that brings `largest` to just below 2**exponent; 1 for a table of zeros."""
    if largest == 0:
        return 1.0
    return math.ldexp(1.0, min(max(math.frexp(largest)[1] - exponent, -126), 126))


def largest_value(rows: Floats) -> float:
    """The largest absolute value, 0 where there is none."""
    return max(float(rows.max(initial=0.0)), -float(rows.min(initial=0.0)))


class ScalarMethod(PostTraining):
    """Learns a unit from a sample, and from the whole table only if a row of it turns out to be too large for that."""

    @abstractmethod
    def _encoder(self, columns: int, unit: float, seed: int) -> Encoder:
        """The encoder for rows of this width and scales in this unit."""

    def _reach(self, columns: int) -> int:
        """The exponent below which a table's largest value must lie for every scale to be finite."""
        return REACH

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        """Reads a sample of the rows. Raises TableError where one of them is not finite."""
        rows = min(_SAMPLE_ROWS, max(1024, _SAMPLE_VALUES // table.embedding_dim))
        return self._encoder(table.embedding_dim, unit_for(largest_value(table.sample(rows, seed)), _SAMPLED), seed)

    def compress(
        self,
        table: EmbeddingTable,
        *,
        seed: int = 0,
        allocate: Allocate | None = None,
        progress: Progress | None = None,
    ) -> CompressedTable:
        try:
            return super().compress(table, seed=seed, allocate=allocate, progress=progress)
        except ScaleOverflow:
            largest = max(largest_value(rows) for _, rows in table.chunks())
            unit = unit_for(largest, self._reach(table.embedding_dim))
            encoder = self._encoder(table.embedding_dim, unit, seed)
            return encode_table(encoder, table, allocate=allocate, progress=progress)


def limit(unit: float) -> float:
    """The largest value, in units, that an encoder takes."""
    return min(LIMIT, _LARGEST / unit)


def too_large(rows: Floats, unit: float) -> TableError:
    """The error of an encoder that met larger rows than it was fitted for, or than any encoder takes."""
    largest = largest_value(rows)
    if largest > _LARGEST:
        return TableError(f"values up to {largest:.3g} cannot be coded, at most {_LARGEST:.3g} can; scale the table")
    return ScaleOverflow(
        f"values up to {largest:.3g} are too large for an encoder whose scales are in units of {unit:g}; "
        "fit the method again on a table that holds such rows"
    )


def scaled(rows: Floats, unit: float) -> Floats:
    """The rows in units: exact, as the unit is a power of two.

    Raises:
        ScaleOverflow: A value is more than `LIMIT` units.
        TableError: A value is more than any encoder takes.
    """
    if largest_value(rows) > limit(unit) * unit:
        raise too_large(rows, unit)
    return rows * np.float32(1 / unit)


def half(values: Floats) -> Halves:
    """As float16, rounded to nearest even.

    Raises:
        ScaleOverflow: One does not fit.
    """
    with np.errstate(over="ignore", under="ignore"):
        stored = values.astype(np.float16)
    if not np.isfinite(stored).all():
        raise ScaleOverflow("a scale does not fit float16; fit the method again on a table that holds such rows")
    return stored


def row_sums(columns: Floats) -> Floats:
    """The sums of (columns, rows) over the columns, in an order that neither blocks nor instruction sets change.

    Four partial sums, of the columns whose place is 0, 1, 2, 3 modulo 4, each in column order; then
    ``(s0 + s1) + (s2 + s3)``.
    """
    count, n = columns.shape
    partial = np.zeros((4, n), np.float32)
    for start in range(0, count, 4):
        piece = columns[start : start + 4]
        partial[: len(piece)] += piece
    total: Floats = (partial[0] + partial[1]) + (partial[2] + partial[3])
    return total


def encode_blocks(rows: Floats, unit: float, levels: int, groups: int, code: Code) -> NDArray[np.uint8]:
    """The records of rows, block by block.

    Args:
        rows: (n, columns) float32.
        unit: What rows are divided by before `code` sees them.
        levels: Levels of a code.
        groups: float16 numbers behind the codes of a row.
        code: From (m, columns) rows in units to (m, columns) codes and the (m, k) float16 arrays that follow them.

    Returns:
        (n, record bytes) uint8.
    """
    n, columns = rows.shape
    width = packed_width(columns, levels)
    out = np.empty((n, width + 2 * groups), np.uint8)
    step = max(1, _BLOCK_VALUES // columns)
    for start in range(0, n, step):
        block = out[start : start + step]
        codes, numbers = code(scaled(rows[start : start + step], unit))
        block[:, :width] = pack(codes, levels)
        tail = np.concatenate(numbers, axis=1).astype("<f2", copy=False)
        block[:, width:] = tail.view(np.uint8)
    return out
