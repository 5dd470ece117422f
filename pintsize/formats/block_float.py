"""Small floats of 4 or 6 bits whose blocks of 16 or 32 columns share a scale of 8 bits: MX4, MX6 and NVFP4."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, dtype_name, like, namespace, to_numpy
from pintsize.errors import TableError
from pintsize.formats._packing import packed_width, unpack
from pintsize.formats.base import PER_ROW, CompressedTable

__all__ = ["KINDS", "BlockFloatTable", "Kind", "scale_values"]


@dataclass(frozen=True)
class Kind:
    """A block float.

    Attributes:
        levels: Codes: the highest bit is the sign, the others count the magnitudes.
        block: Columns that share a scale.
        scale: ``"e8m0"``, powers of two, or ``"e4m3"``, small floats.
        magnitudes: (levels / 2) values without sign, ascending.
    """

    levels: int
    block: int
    scale: str
    magnitudes: tuple[float, ...]


def _small_floats(mantissa: int) -> tuple[float, ...]:
    """The magnitudes of a float with two exponent bits of bias 1 and no infinity."""
    steps = 1 << mantissa
    normal = [2.0**e * (1 + m / steps) for e in range(3) for m in range(steps)]
    return (*(m / steps for m in range(steps)), *normal)


KINDS = {
    "mx4": Kind(16, 32, "e8m0", _small_floats(1)),
    "mx6": Kind(64, 32, "e8m0", _small_floats(3)),
    "nvfp4": Kind(16, 16, "e4m3", _small_floats(1)),
}
_NAN = {"e8m0": 255, "e4m3": 127}


@lru_cache
def scale_values(scale: str) -> NDArray[np.float32]:
    """The float32 values of the scales' bytes, up to the first that is not a number; negative ones are not used."""
    codes = np.arange(_NAN[scale])
    if scale == "e8m0":
        return np.ldexp(np.float32(1), codes - 127).astype(np.float32)
    exponent, mantissa = codes >> 3, codes & 7
    return np.where(exponent > 0, np.ldexp(1 + mantissa / 8, exponent - 7), np.ldexp(mantissa / 8, -6)).astype(
        np.float32
    )


@lru_cache
def _code_values(kind: str) -> NDArray[np.float32]:
    magnitudes = np.array(KINDS[kind].magnitudes, np.float32)
    return np.concatenate([magnitudes, -magnitudes])


@dataclass(frozen=True, eq=False)
class BlockFloatTable(CompressedTable):
    """A record a row: the packed codes (`_packing`), then a byte a block with its scale.

    The value of a column is ``magnitude * sign * scale * unit``, as the OCP Microscaling Formats specification 1.0
    (section 6; MX4 with E2M1 elements, MX6 with E2M3) and NVIDIA's NVFP4 define it, in float32.

    Args:
        records: (num_embeddings, record bytes) uint8.
        columns: The embedding_dim. The last block may be shorter.
        kind: ``"mx4"``, ``"mx6"`` or ``"nvfp4"``.
        unit: Factor of the whole table, a power of two; 1 where scales are powers of two.
    """

    tag: ClassVar[str] = "block_float"

    records: Array = field(metadata=PER_ROW)
    columns: int
    kind: str
    unit: float = 1.0

    @property
    def num_embeddings(self) -> int:
        return int(self.records.shape[0])

    @property
    def embedding_dim(self) -> int:
        return self.columns

    @property
    def code_bytes(self) -> int:
        """Bytes of a record before the scales."""
        return packed_width(self.columns, KINDS[self.kind].levels)

    @property
    def record_bytes(self) -> int:
        """Bytes of a record."""
        return self.code_bytes + -(-self.columns // KINDS[self.kind].block)

    def check(self) -> None:
        if self.kind not in KINDS:
            raise TableError(f"block float: kinds are {', '.join(KINDS)}; found {self.kind!r}")
        if not isinstance(self.columns, int) or self.columns < 1:
            raise TableError(f"block float: one column or more is needed; found {self.columns!r}")
        if not math.isfinite(self.unit) or math.frexp(self.unit)[0] != 0.5:
            raise TableError(f"block float: the unit is a power of two; found {self.unit!r}")
        if self.records.ndim != 2 or dtype_name(self.records) != "uint8" or self.records.shape[1] != self.record_bytes:
            raise TableError(
                f"block float: records are uint8 (n, {self.record_bytes}); "
                f"found {dtype_name(self.records)} {tuple(self.records.shape)}"
            )

    def validate(self) -> None:
        self.check()
        last = _NAN[KINDS[self.kind].scale] - 1
        for start in range(0, self.num_embeddings, 1 << 16):
            scales = to_numpy(self.records[start : start + (1 << 16), self.code_bytes :])
            bad = np.flatnonzero((scales > last).any(axis=1))
            if bad.size:
                raise TableError(f"block float: row {start + bad[0]} has a scale that is not a number of this kind")

    def _gather(self, rows: Array) -> Array:
        xp = namespace(self.records)
        kind = KINDS[self.kind]
        records = xp.take(self.records, rows, axis=0)
        codes = xp.astype(unpack(records[:, : self.code_bytes], self.columns, kind.levels), xp.int64)
        places = xp.astype(records[:, self.code_bytes :], xp.int64)
        # A byte that is no number reads as the largest scale: `validate` reports it, and nothing is read out of range.
        places = xp.clip(places, None, _NAN[kind.scale] - 1)
        values = xp.take(like(_code_values(self.kind), self.records), xp.reshape(codes, (-1,)), axis=0)
        scales = xp.take(like(scale_values(kind.scale), self.records), xp.reshape(places, (-1,)), axis=0)
        scales = xp.reshape(scales * self.unit, (records.shape[0], places.shape[1]))
        spread = xp.repeat(scales, kind.block, axis=1)[:, : self.columns]
        return xp.reshape(values, (records.shape[0], self.columns)) * spread
