"""Triton kernels against the twin; run by test_triton.py in a process of its own, under the interpreter or on a GPU.

The interpreter has to be chosen before Triton is imported, and other tests may have imported it.
"""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize import kernels
from pintsize.errors import TableError
from pintsize.formats.base import CompressedTable
from pintsize.formats.codebook import CodebookTable
from pintsize.formats.partitioned import PartitionedTable
from pintsize.formats.scalar import ScalarTable
from tests.contracts.format_cases import CASES, Build, codebook, dense, factored, partitioned, scalar
from tests.kernels.agreement import asked_rows, twin

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
# A matrix product may be taken in another order; so may a rotation that torch undoes.
INEXACT = ("rotated", "factored", "deep")
# The rest have no Triton kernel: the twin reads them.
NAMES = sorted(name for name in CASES if name.startswith(("scalar", "codebook", "factored", "partitioned")))


def on_device(table: CompressedTable) -> CompressedTable:
    """The table with its arrays as tensors on the device of this run."""
    return table.map_arrays(lambda a: torch.as_tensor(np.array(a), device=DEVICE))


def kernels_used(table: CompressedTable, rows: torch.Tensor) -> bool:
    """Whether a kernel, and not the twin, reads these rows."""
    out = torch.empty(len(rows), table.embedding_dim, device=DEVICE)
    return table._gather_triton(kernels.on_device(table._device), rows, out)


def assert_agrees(table: CompressedTable, rng: np.random.Generator, exact: bool) -> None:
    """Look-ups equal the twin's (bit for bit, or to 1e-6 of the largest value), bags to 1e-6 of what they add up."""
    there, rows = on_device(table), asked_rows(rng, table.num_embeddings, 21)
    n = len(rows)
    starts = np.array([0, 0, n // 4, n // 2, n // 2, n - min(n, 1), n], np.int64)
    weights = rng.standard_normal(n).astype(np.float32)
    calls = [{}, {"mode": "mean"}, {"weights": weights}]
    with twin():
        wanted, bags = table.lookup(rows), [table.bag(rows, starts, **call) for call in calls]
    asked = torch.as_tensor(rows, device=DEVICE)
    assert kernels_used(there, asked)
    found = there.lookup(asked).cpu().numpy()
    largest = float(np.abs(wanted).max(initial=0))
    if exact:
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * table.embedding_dim**0.5 * largest)
    added = float(np.abs(wanted).sum(axis=0).max(initial=0)) * max(1.0, float(np.abs(weights).max(initial=0)))
    for call, wanted_bag in zip(calls, bags, strict=True):
        call = {key: torch.as_tensor(v, device=DEVICE) if key == "weights" else v for key, v in call.items()}
        bag = there.bag(asked, torch.as_tensor(starts, device=DEVICE), **call).cpu().numpy()
        np.testing.assert_allclose(bag, wanted_bag, rtol=0, atol=1e-6 * added)


def test_the_kernels_are_trusted_here() -> None:
    assert kernels.on_device(DEVICE) is not None


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_twin(name: str) -> None:
    rng = np.random.default_rng(5)
    assert_agrees(CASES[name](300, 37, rng), rng, not any(part in name for part in INEXACT))


@pytest.mark.parametrize("columns", [2, 16, 64, 128, 1024])
@pytest.mark.parametrize("levels", [2, 4, 256])
def test_rotations_of_a_power_of_two_are_undone_in_the_kernel(columns: int, levels: int) -> None:
    rng = np.random.default_rng(columns)
    table = scalar(levels, offset=False)(9, columns, rng)
    signs = np.packbits(rng.integers(0, 2, (1, columns), np.uint8), axis=1, bitorder="little")
    turned = ScalarTable(table.records, columns, levels, columns, offset=False, bias=table.bias, rotation=signs)
    assert on_device(turned)._tiles(kernels.on_device(DEVICE))[1]
    assert_agrees(turned, rng, exact=True)


WIDE: dict[str, Build] = {
    "integer": scalar(256),
    "ternary": scalar(3, offset=False),
    "three-bits": scalar(8, groups=2),
    "grid": scalar(4, "grid", offset=False),
    "rotated": scalar(16, offset=False, rotated=True),
    "codes": codebook(5, 8),
    "wide-codes": codebook(2, 31, "sum"),
    "shared-codes": codebook(3, 6, shared=True),
    "factored": factored(scalar(16), dense("float32")),
    "partitioned": partitioned(dense("float16"), scalar(2, "none", offset=False), codebook(2, 3)),
}


@pytest.mark.parametrize("name", WIDE)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(n=st.integers(1, 600), d=st.integers(2, 140), seed=st.integers(0, 2**16))
def test_odd_shapes(name: str, n: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert_agrees(WIDE[name](n, d, rng), rng, exact=name not in ("rotated", "factored"))


@pytest.mark.parametrize("name", ["three-bits", "codes", "wide-codes"])
def test_rows_wider_than_a_tile(name: str) -> None:
    rng = np.random.default_rng(0)
    assert_agrees(WIDE[name](50, 290, rng), rng, exact=True)


def test_records_that_lie_apart() -> None:
    rng = np.random.default_rng(1)
    table = scalar(16)(40, 19, rng)
    wide = torch.as_tensor(np.repeat(table.records, 2, axis=1), device=DEVICE)
    wide[:, : table.record_bytes] = torch.as_tensor(table.records, device=DEVICE)
    rows = torch.arange(40, device=DEVICE)
    apart = ScalarTable(wide[:, : table.record_bytes], 19, 16, 19)
    assert kernels_used(apart, rows)
    np.testing.assert_array_equal(apart.lookup(rows).cpu().numpy(), table.lookup(np.arange(40)))
    steps = ScalarTable(wide[:, :].t().contiguous().t()[:, : table.record_bytes], 19, 16, 19)
    assert not kernels_used(steps, rows)
    np.testing.assert_array_equal(steps.lookup(rows).cpu().numpy(), table.lookup(np.arange(40)))


def test_rows_out_of_range_are_named() -> None:
    table = on_device(scalar(16)(40, 19, np.random.default_rng(1)))
    for dtype in (torch.int32, torch.int64):
        with pytest.raises(IndexError, match="row 40 is out of range"):
            table.lookup(torch.tensor([[3, 40], [41, -1]], device=DEVICE, dtype=dtype))
        with pytest.raises(IndexError, match="row -1 is out of range"):
            table.bag(torch.tensor([3, -1], device=DEVICE, dtype=dtype), torch.tensor([0], device=DEVICE))
    assert table.lookup(torch.empty(0, 2, dtype=torch.int64, device=DEVICE)).shape == (0, 2, 19)


def test_rows_of_any_shape_and_of_the_host() -> None:
    table = scalar(4)(40, 19, np.random.default_rng(1))
    there, rows = on_device(table), np.array([[1, 2, 3], [39, 0, 1]])
    wanted = table.lookup(rows)
    np.testing.assert_array_equal(there.lookup(rows), wanted)
    np.testing.assert_array_equal(there.lookup(torch.as_tensor(rows, device=DEVICE)).cpu().numpy(), wanted)
    flipped = torch.as_tensor(rows, device=DEVICE).t()
    np.testing.assert_array_equal(there.lookup(flipped).cpu().numpy(), wanted.swapaxes(0, 1))
    out = torch.full((2, 3, 19), torch.nan, device=DEVICE)
    assert there.lookup(torch.as_tensor(rows, device=DEVICE), out=out) is out
    np.testing.assert_array_equal(out.cpu().numpy(), wanted)


def test_codes_past_their_codebook_are_reported() -> None:
    rng = np.random.default_rng(0)
    table = CodebookTable(
        np.array([[1, 2], [3, 4], [9, 0]], np.uint8), 6, 2, 8, codebooks=rng.random((2, 5, 3), np.float32)
    )
    there, starts = on_device(table), torch.tensor([0], device=DEVICE)
    sound, damaged = torch.tensor([0, 1, 0], device=DEVICE), torch.tensor([1, 2], device=DEVICE)
    np.testing.assert_array_equal(there.lookup(sound).cpu().numpy(), table.lookup(sound.cpu().numpy()))
    there.bag(sound, starts)
    with pytest.raises(TableError, match="past its codebook"):
        there.lookup(damaged)
    with pytest.raises(TableError, match="past its codebook"):
        there.bag(damaged, starts)


def test_rows_of_no_part_are_reported() -> None:
    table = partitioned(scalar(4), scalar(16))(300, 9, np.random.default_rng(0))
    there = on_device(table)
    object.__setattr__(there, "part", torch.full_like(there.part, 7))  # type: ignore[attr-defined]
    assert isinstance(there, PartitionedTable)
    with pytest.raises(TableError, match="belongs to no part"):
        there.lookup(torch.tensor([5], device=DEVICE))


@pytest.mark.parametrize("name", ["scalar-16", "codebook-8-rotated", "factored-scalars", "partitioned"])
def test_scores_and_bags_of_tables_without_a_kernel(name: str) -> None:
    table = CASES[name](300, 37, np.random.default_rng(0))
    queries = np.random.default_rng(1).standard_normal((4, 37)).astype(np.float32)
    wanted = table.scores(queries, slice(3, 200))
    found = on_device(table).scores(torch.as_tensor(queries, device=DEVICE), slice(3, 200)).cpu().numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * float(np.abs(wanted).max()))


def test_copies_read_the_same() -> None:
    table = on_device(scalar(16)(40, 19, np.random.default_rng(1)))
    rows = torch.arange(40, device=DEVICE)
    assert torch.equal(copy.deepcopy(table).lookup(rows), table.lookup(rows))
