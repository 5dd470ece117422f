"""Running the same call by every instruction set and by the twin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from pintsize import kernels
from pintsize.formats.base import CompressedTable

NATIVE = kernels.native()
LEVELS = [] if NATIVE is None else list(range(len(NATIVE.levels())))

each_level = pytest.mark.parametrize(
    "level", LEVELS or [pytest.param(0, marks=pytest.mark.skip(reason="installed without compiled kernels"))]
)


@contextmanager
def at_level(level: int) -> Iterator[None]:
    """Kernels of this instruction set."""
    before = NATIVE.levels().index(NATIVE.level())
    NATIVE.force_level(level)
    try:
        yield
    finally:
        NATIVE.force_level(before)


@contextmanager
def twin() -> Iterator[None]:
    """The plain twins, whatever is installed."""
    before = kernels.use(None)
    try:
        yield
    finally:
        kernels.use(before)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """At most this many threads a call."""
    before = NATIVE.threads()
    NATIVE.set_threads(count)
    try:
        yield
    finally:
        NATIVE.set_threads(before)


def asked_rows(rng: np.random.Generator, num_embeddings: int, count: int = 45) -> NDArray[np.int64]:
    """The last row, the first, and others with repetitions; none of an empty table."""
    if num_embeddings == 0:
        return np.empty(0, np.int64)
    return np.concatenate([[num_embeddings - 1, 0], rng.integers(0, num_embeddings, count - 2)]).astype(np.int64)


def assert_agrees(table: CompressedTable, level: int, rng: np.random.Generator, exact: bool = True) -> None:
    """Look-ups equal the twin's bit for bit (1e-6 of the largest value otherwise), bags to 1e-6 of what they add up."""
    rows = asked_rows(rng, table.num_embeddings)
    n = len(rows)
    starts = np.array([0, 0, n // 4, n // 2, n // 2, n], np.int64)
    weights = rng.standard_normal(n).astype(np.float32)
    with twin():
        wanted = table.lookup(rows)
        bags = [table.bag(rows, starts), table.bag(rows, starts, mode="mean"), table.bag(rows, starts, weights=weights)]
    assert np.isfinite(wanted).all()
    with at_level(level):
        out = np.full((n, table.embedding_dim), np.nan, np.float32)
        found = table.lookup(rows, out=out)
        found_bags = [
            table.bag(rows, starts),
            table.bag(rows, starts, mode="mean"),
            table.bag(rows, starts, weights=weights),
        ]
    largest = float(np.abs(wanted).max(initial=0))
    if exact:
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * table.embedding_dim**0.5 * largest)
    added = float(np.abs(wanted).sum(axis=0).max(initial=0)) * max(1.0, float(np.abs(weights).max(initial=0)))
    for bag, wanted_bag in zip(found_bags, bags, strict=True):
        np.testing.assert_allclose(bag, wanted_bag, rtol=0, atol=1e-6 * added)
