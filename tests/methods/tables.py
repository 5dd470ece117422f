"""Tables that the tests of methods share, and what they measure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pintsize.formats.base import CompressedTable
from pintsize.methods.base import Encoder

Floats = NDArray[np.float32]


def decaying(rows: int = 300, columns: int = 24, decay: float = 0.85, seed: int = 0) -> Floats:
    """A table whose singular values fall by `decay`, in a random orientation."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((columns, columns)))[0]
    made: Floats = ((rng.standard_normal((rows, columns)) * decay ** np.arange(columns)) @ turn).astype(np.float32)
    return made


def served(table: CompressedTable) -> Floats:
    rows: Floats = table.lookup(np.arange(table.num_embeddings))
    return rows


def squared_error(table: CompressedTable, rows: Floats) -> float:
    return float(np.square(served(table).astype(np.float64) - rows).sum())


def optimum(rows: Floats, rank: int) -> float:
    """The least squared error of any table of this rank (Eckart & Young)."""
    return float(np.square(np.linalg.svd(rows.astype(np.float64), compute_uv=False)[rank:]).sum())


def in_pieces(encoder: Encoder, rows: Floats, size: int) -> Floats:
    """What is served when rows are encoded `size` at a time."""
    return np.concatenate([served(encoder.encode(rows[start : start + size])) for start in range(0, len(rows), size)])
