"""Symmetric codes with one scale a row, of the least squared error: what `rotated` and `rabitq` store.

The levels are the odd multiples of half a scale, ``(k + 1/2) s`` for ``k`` in ``-levels/2 .. levels/2 - 1``. For a
given step the nearest levels are known, and for given levels the best scale is ``y.q / q.q``; what is searched is the
step.

The arithmetic below is float32 throughout, rounded after each operation, with sums in the order of `row_sums`; the
native kernel repeats it operation by operation, and its bytes are the same. Per row, with y the row in units, rotated,
and a = |y|:

1. two levels: ``s = half(2 * (sum(a) / d))``, or for the unbiased estimator ``half(2 * (sum(a * a) / sum(a)))``;
2. more: for each step t, ``r = 1 / t`` (0 where t <= 2**-100), ``m = floor(min(a * r, levels/2 - 1))``,
   ``q = m + 1/2``, ``p = sum(a * q)``, ``w = sum(q * q)``; the first t with the largest ``p * p / w`` wins, and
   ``s = half(p / w)``;
3. against the stored s: ``r = 1 / s`` (0 where s = 0), m as before; the code is ``levels/2 + m`` where y >= 0, else
   ``levels/2 - 1 - m``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pintsize import kernels
from pintsize.formats._packing import packed_width
from pintsize.formats._rotation import rotate
from pintsize.formats.base import CompressedTable
from pintsize.formats.scalar import ScalarTable
from pintsize.methods._scalar_codes import Floats, Halves, encode_blocks, half, limit, row_sums, too_large
from pintsize.methods.base import Encoder

__all__ = ["Rotation", "StepEncoder", "searched_steps"]

Rotation = NDArray[np.float32] | NDArray[np.uint8]

# Max 1960, table I: the step of the uniform quantizer of least squared error for a Gaussian of variance 1, by bits.
_GAUSSIAN_STEP = {2: 0.9957, 3: 0.5860, 4: 0.3352, 5: 0.1881, 6: 0.1041, 7: 0.0568, 8: 0.0308}
_SEARCHED = 12
# Where the best step lies, in multiples of max|y| / (levels / 2), found by exact search over Gaussian and heavy-tailed
# (Student t, 2.5 degrees of freedom) rows of 8 to 1024 columns.
_BETWEEN = {
    2: (0.25, 1.10),
    3: (0.50, 1.10),
    4: (0.65, 1.12),
    5: (0.75, 1.12),
    6: (0.88, 1.12),
    7: (0.93, 1.10),
    8: (0.95, 1.08),
}
_TINY = np.float32(2.0**-100)


def searched_steps(bits: int) -> tuple[float, ...]:
    """A dozen steps to try, in multiples of the row's largest value; none for one bit, whose scale is in closed form.

    With the final pass against the stored scale a dozen come within 0.1% of the squared error of the exact optimum at 2
    bits, 0.3% at 3 and 1% at 4 on Gaussian and heavy-tailed rows of 64 and more columns.
    """
    if bits == 1:
        return ()
    low, high = _BETWEEN[bits]
    return tuple(float(np.float32(m / 2 ** (bits - 1))) for m in np.linspace(low, high, _SEARCHED))


@dataclass(frozen=True, eq=False)
class StepEncoder(Encoder):
    """Symmetric codes of rows, rotated or not.

    Args:
        columns: Width of a row.
        bits: Bits a code, 1..8.
        unit: What scales are multiples of.
        rotation: What rows are multiplied by first, or None.
        steps: Steps to try, in multiples of the row's largest value; without any, one step for a Gaussian row.
        unbiased: With one bit: the scale whose inner products are unbiased, not that of the least error.
    """

    columns: int
    bits: int
    unit: float
    rotation: Rotation | None = None
    steps: tuple[float, ...] = ()
    unbiased: bool = False

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        levels = 2**self.bits
        records = self._records_native(rows)
        if records is None:
            records = encode_blocks(rows, self.unit, levels, 1, self._coded)
        return ScalarTable(
            records, self.columns, levels, self.columns, "float16", False, 0.5 - levels / 2, self.unit,
            rotation=self.rotation,
        )  # fmt: skip

    def _records_native(self, rows: Floats) -> NDArray[np.uint8] | None:
        native = kernels.native()
        if native is None:
            return None
        rows = np.ascontiguousarray(rows, np.float32)
        out = np.empty((len(rows), packed_width(self.columns, 2**self.bits) + 2), np.uint8)
        steps = np.array(self.steps, np.float32)
        turn = self.rotation
        place = 0 if turn is None else kernels.address(turn)
        rounds = 0 if turn is None else -1 if turn.dtype == np.float32 else len(turn)
        bad = native.encode_rotated(
            kernels.address(rows), len(rows), self.columns, self.bits, 1 / self.unit, limit(self.unit), place, rounds,
            _GAUSSIAN_STEP.get(self.bits, 0.0), kernels.address(steps), len(steps), self.unbiased,
            kernels.address(out), out.shape[1],
        )  # fmt: skip
        if bad >= 0:
            raise too_large(rows, self.unit)
        return out

    def _coded(self, rows: Floats) -> tuple[NDArray[np.uint8], list[Halves]]:
        y = np.ascontiguousarray(_rotated(rows, self.rotation).T)
        a = np.abs(y)
        top = 2 ** (self.bits - 1) - 1
        scale = half(self._scale(a, top))
        stored = scale.astype(np.float32)
        with np.errstate(divide="ignore"):
            inverse = np.where(stored > 0, np.float32(1) / stored, np.float32(0))
        m = np.floor(np.minimum(a * inverse, np.float32(top))).astype(np.uint8)
        codes = np.where(y >= 0, np.uint8(top + 1) + m, np.uint8(top) - m)
        return np.ascontiguousarray(codes.T), [scale[:, None]]

    def _scale(self, a: Floats, top: int) -> Floats:
        """(n,) scales before they are rounded to float16, from (columns, n) absolute values."""
        if self.bits == 1:
            total = row_sums(a)
            if not self.unbiased:
                return np.float32(2) * (total / np.float32(self.columns))
            total[total == 0] = 1
            return np.float32(2) * (row_sums(a * a) / total)
        largest = a.max(axis=0)
        if self.steps:
            tries = [np.float32(step) * largest for step in self.steps]
        else:
            rms = np.sqrt(row_sums(a * a) / np.float32(self.columns))
            tries = [np.minimum(np.float32(_GAUSSIAN_STEP[self.bits]) * rms, largest / np.float32(top + 1))]
        best = np.full(a.shape[1], -1, np.float32)
        chosen = np.zeros(a.shape[1], np.float32)
        for step in tries:
            inverse = np.where(step > _TINY, np.float32(1) / np.maximum(step, _TINY), np.float32(0))
            q = np.floor(np.minimum(a * inverse, np.float32(top))) + np.float32(0.5)
            p, w = row_sums(a * q), row_sums(q * q)
            score = p * p / w
            better = score > best
            best, chosen = np.where(better, score, best), np.where(better, p / w, chosen)
        return chosen.astype(np.float32, copy=False)


def _rotated(rows: Floats, rotation: Rotation | None) -> Floats:
    if rotation is None:
        return rows
    if rotation.dtype == np.uint8:
        turned: Floats = rotate(rows, rotation)
        return turned
    # A matrix product's order of sums depends on how many rows it is given; this one's does not.
    out = np.zeros((len(rows), rotation.shape[0]), np.float32)
    for j in range(rotation.shape[1]):
        out += rows[:, j : j + 1] * rotation[:, j]
    return out
