"""Many threads on the same tables at once, each call with threads of its own: what the thread sanitizer watches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pintsize as pz
from pintsize.formats.base import CompressedTable
from tests.contracts.format_cases import CASES
from tests.kernels.agreement import NATIVE, threads

SHARED = ["dense-float16", "scalar-256", "scalar-4-rotated", "codebook-8", "factored-scalars", "partitioned-deep"]

pytestmark = pytest.mark.skipif(NATIVE is None, reason="installed without compiled kernels")


def everything(table: CompressedTable, rows: np.ndarray, queries: np.ndarray) -> list[np.ndarray]:
    starts = np.arange(0, len(rows), 7)
    weights = np.linspace(-1, 1, len(rows), dtype=np.float32)
    scores, found = table.topk(queries, 5)
    return [
        table.lookup(rows),
        table.bag(rows, starts),
        table.bag(rows, starts, weights=weights),
        table.scores(queries),
        scores,
        found,
    ]


@pytest.mark.parametrize("name", SHARED)
def test_threads_share_a_table(name: str) -> None:
    rng = np.random.default_rng(0)
    table = CASES[name](3000, 40, rng)
    asked = [(rng.integers(0, 3000, 15_000), rng.standard_normal((9, 40)).astype(np.float32)) for _ in range(8)]
    with threads(2):
        wanted = [everything(table, *each) for each in asked]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda each: everything(table, *each), asked))
    for ours, theirs in zip(found, wanted, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * float(np.abs(other).max()))


def test_threads_encode_at_once() -> None:
    rows = np.random.default_rng(1).standard_normal((20_000, 24)).astype(np.float32)
    specs = ["integer:bits=4", "integer:bits=3,clip=mse", "rotated:bits=2", "rabitq:bits=2"] * 2
    with threads(2):
        wanted = [pz.compress(rows, spec).records for spec in specs]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda spec: pz.compress(rows, spec).records, specs))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
