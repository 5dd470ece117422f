"""Tables of every format, alone and nested, that the format contracts run over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pintsize.formats._packing import pack
from pintsize.formats._rotation import random_rotation
from pintsize.formats.base import CompressedTable
from pintsize.formats.block_float import KINDS, BlockFloatTable, scale_values
from pintsize.formats.codebook import CodebookTable, pack_codes
from pintsize.formats.dense import DenseTable, bfloat16_bits
from pintsize.formats.factored import FactoredTable
from pintsize.formats.partitioned import PartitionedTable
from pintsize.formats.scalar import LEVELS, ScalarTable, grid_digits
from pintsize.formats.sparse import SparseTable

Build = Callable[[int, int, np.random.Generator], CompressedTable]


def floats(n: int, d: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.standard_normal((n, d)).astype(np.float32)


def dense(dtype: str) -> Build:
    def build(n: int, d: int, rng: np.random.Generator) -> CompressedTable:
        rows = floats(n, d, rng)
        return DenseTable(bfloat16_bits(rows) if dtype == "bfloat16" else rows.astype(dtype), dtype)

    return build


def scalar(
    levels: int, scale: str = "float16", offset: bool = True, groups: int = 1, rotated: bool = False, unit: float = 1.0
) -> Build:
    def build(n: int, d: int, rng: np.random.Generator) -> CompressedTable:
        group = -(-d // groups)
        digits = d + (grid_digits(levels) if scale == "grid" else 0)
        packed = pack(rng.integers(0, levels, (n, digits)).astype(np.uint8), levels)
        if scale == "float16":
            per_row = -(-d // group) * (2 if offset else 1)
            meta = rng.uniform(0.01, 2, (n, per_row)).astype(np.float16)
            packed = np.concatenate([packed, meta.view(np.uint8).reshape(n, 2 * per_row)], axis=1)
        grid = None
        if scale == "grid":
            grid = np.geomspace(0.1, 3, levels ** grid_digits(levels)).astype(np.float32)
        rotation = random_rotation(d, 7) if rotated else None
        bias = 0.0 if offset else 0.5 - levels / 2
        return ScalarTable(packed, d, levels, group, scale, offset, bias, unit, grid=grid, rotation=rotation)

    return build


def block_float(kind: str, unit: float = 1.0) -> Build:
    def build(n: int, d: int, rng: np.random.Generator) -> CompressedTable:
        codes = pack(rng.integers(0, KINDS[kind].levels, (n, d)).astype(np.uint8), KINDS[kind].levels)
        middle = len(scale_values(KINDS[kind].scale)) // 2
        scales = rng.integers(middle - 4, middle + 4, (n, -(-d // KINDS[kind].block))).astype(np.uint8)
        return BlockFloatTable(np.concatenate([codes, scales], axis=1), d, kind, unit)

    return build


def codebook(codes: int, bits: int, combine: str = "concat", rotated: bool = False, shared: bool = False) -> Build:
    def build(n: int, d: int, rng: np.random.Generator) -> CompressedTable:
        words = min(2**bits, 300)
        width = -(-d // codes) if combine == "concat" else d
        records = pack_codes(rng.integers(0, words, (n, codes)), bits)
        books = rng.standard_normal((1 if shared else codes, words, width)).astype(np.float32)
        decoded = width * codes if combine == "concat" else d
        rotation = np.linalg.qr(rng.standard_normal((decoded, decoded)))[0].astype(np.float32) if rotated else None
        return CodebookTable(records, d, codes, bits, combine, codebooks=books, rotation=rotation)

    return build


def factored(values: Build, basis: Build, rank: int = 5) -> Build:
    def build(n: int, d: int, rng: np.random.Generator) -> CompressedTable:
        return FactoredTable(values(n, rank, rng), basis=basis(rank, d, rng))

    return build


def sparse(n: int, d: int, rng: np.random.Generator) -> CompressedTable:
    rows = floats(n, d, rng)
    return SparseTable.from_kept(rows, np.abs(rows) > 1)


def sparse_of_scalars(n: int, d: int, rng: np.random.Generator) -> CompressedTable:
    return sparse(n, d, rng).map_parts(lambda part: scalar(16)(part.num_embeddings, part.embedding_dim, rng))


def partitioned(*kinds: Build) -> Build:
    def build(n: int, d: int, rng: np.random.Generator) -> CompressedTable:
        part = rng.integers(0, len(kinds), n).astype(np.uint8)
        return PartitionedTable.from_parts(part, [k(int((part == i).sum()), d, rng) for i, k in enumerate(kinds)])

    return build


CASES: dict[str, Build] = {
    "block-float-mx4": block_float("mx4"),
    "block-float-mx6": block_float("mx6"),
    "block-float-nvfp4": block_float("nvfp4", unit=0.125),
    **{f"dense-{dtype}": dense(dtype) for dtype in ("float32", "float16", "bfloat16")},
    **{f"scalar-{levels}": scalar(levels) for levels in LEVELS},
    **{f"scalar-{levels}-no-offset": scalar(levels, offset=False) for levels in (2, 3, 4, 16)},
    **{f"scalar-{levels}-grid": scalar(levels, "grid", offset=False) for levels in (2, 3, 4, 8, 16, 256)},
    **{f"scalar-{levels}-none": scalar(levels, "none", offset=False) for levels in (2, 3, 4)},
    "scalar-16-groups": scalar(16, groups=3),
    "scalar-8-groups-no-offset": scalar(8, offset=False, groups=4),
    "scalar-4-rotated": scalar(4, offset=False, rotated=True),
    "scalar-256-rotated-groups": scalar(256, groups=2, rotated=True),
    "scalar-256-unit": scalar(256, unit=2.0**-20),
    "codebook-8": codebook(4, 8),
    "codebook-4-shared": codebook(3, 4, shared=True),
    "codebook-10": codebook(3, 10),
    "codebook-0": codebook(1, 0),
    "codebook-8-rotated": codebook(4, 8, rotated=True),
    "codebook-8-sum": codebook(3, 8, "sum"),
    "codebook-12-sum-rotated": codebook(2, 12, "sum", rotated=True),
    "factored": factored(dense("float32"), dense("float32")),
    "factored-scalars": factored(scalar(16, offset=False), scalar(256)),
    "factored-none-and-middle": factored(scalar(2, "none", offset=False), dense("float16")),
    "sparse": sparse,
    "sparse-scalars": sparse_of_scalars,
    "partitioned": partitioned(dense("float32"), scalar(16), codebook(1, 0)),
    "partitioned-deep": partitioned(scalar(256), factored(scalar(4, offset=False), dense("float32")), sparse),
    "partitioned-one": partitioned(scalar(4)),
}
