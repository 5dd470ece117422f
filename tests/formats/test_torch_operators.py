"""Tables inside graphs that torch traces, and under gradients."""

from __future__ import annotations

import copy
import gc

import numpy as np
import pytest
import torch

from pintsize.errors import TableError
from pintsize.formats import _torch_operators as operators
from pintsize.formats._graphs import PROCESS, alive, graph_name
from pintsize.formats.base import CompressedTable
from tests.contracts.format_cases import CASES, scalar

N, D = 120, 12
NAMES = ["scalar-16", "dense-bfloat16", "codebook-8-rotated", "factored-scalars", "partitioned", "sparse"]


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


def made(name: str) -> CompressedTable:
    return CASES[name](N, D, np.random.default_rng(2))


def traced(function, dynamic=None):
    return torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=dynamic)


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_stays_whole_and_gives_what_eager_gives(name: str) -> None:
    table = made(name)
    rows, offsets, weights = torch.tensor([3, 1, N - 1, 3]), torch.tensor([0, 0, 3]), torch.tensor([1.0, 2, -1, 0.5])
    queries = torch.randn(3, D, generator=torch.Generator().manual_seed(0))

    def model(rows, offsets, weights, queries):
        pooled = (
            table.bag(rows, offsets),
            table.bag(rows, offsets, mode="mean"),
            table.bag(rows, offsets, weights=weights),
        )
        return table.lookup(rows).relu(), *pooled, table.scores(queries), table.scores(queries, rows=slice(5, -3))

    for got, want in zip(
        traced(model)(rows, offsets, weights, queries), model(rows, offsets, weights, queries), strict=True
    ):
        assert torch.equal(got, want)


def test_tables_that_hold_tensors_are_traced_too() -> None:
    there = made("scalar-16").map_arrays(lambda a: torch.from_numpy(np.array(a)))
    rows = torch.tensor([[3, 1], [0, 0]])
    assert torch.equal(traced(lambda r: there.lookup(r) + 1)(rows), there.lookup(rows) + 1)


def test_batches_of_any_size_share_a_graph() -> None:
    table, graphs = made("scalar-16"), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    model = torch.compile(
        lambda r, o: (table.lookup(r) * 2, table.bag(r, o)), fullgraph=True, backend=backend, dynamic=True
    )
    for size in (3, 5, 33):
        rows, offsets = torch.arange(size), torch.tensor([0, 1])
        found, pooled = model(rows, offsets)
        assert torch.equal(found, table.lookup(rows) * 2)
        assert torch.equal(pooled, table.bag(rows, offsets))
    assert len(graphs) == 1


def test_rows_of_32_bits_and_of_any_shape() -> None:
    table = made("scalar-16")
    model = traced(table.lookup)
    for rows in (
        torch.tensor([1, 2], dtype=torch.int32),
        torch.tensor([[[5]]]),
        torch.tensor(7),
        torch.empty(0, 3).long(),
    ):
        got = model(rows)
        assert got.shape == (*rows.shape, D)
        assert torch.equal(got, table.lookup(rows))


def test_errors_of_a_graph_are_those_of_eager_calls() -> None:
    table = made("scalar-16")
    with pytest.raises(IndexError, match=f"row {N} is out of range: the table has rows 0 to {N - 1}"):
        traced(table.lookup)(torch.tensor([0, N]))
    with pytest.raises(IndexError, match="row -1 is out of range"):
        traced(table.bag)(torch.tensor([0, -1]), torch.tensor([0]))
    with pytest.raises(TableError, match="rows are integers"):
        traced(table.lookup)(torch.tensor([0.5]))
    with pytest.raises(TableError, match="offsets start at 0"):
        traced(table.bag)(torch.tensor([0, 1]), torch.tensor([1]))


def test_a_graph_writes_into_a_given_output() -> None:
    table = made("scalar-16")
    rows, out = torch.tensor([4, 2]), torch.zeros(2, D)
    traced(lambda r, o: table.lookup(r, out=o))(rows, out)
    assert torch.equal(out, table.lookup(rows))
    traced(lambda r, o: table.bag(r, torch.tensor([0, 1]), out=o))(rows, out)
    assert torch.equal(out, table.bag(rows, torch.tensor([0, 1])))


def test_another_table_in_the_same_place_is_read() -> None:
    class Model(torch.nn.Module):
        def forward(self, rows):
            return self.table.lookup(rows)

    model, rows = Model(), torch.tensor([1, 2])
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for name in ("scalar-16", "codebook-8"):
        model.table = made(name)
        assert torch.equal(compiled(rows), made(name).lookup(rows))


# Inductor's own imports.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_inductor_keeps_the_graph_whole() -> None:
    table, rows = made("scalar-16"), torch.tensor([1, 2, 7])
    queries = torch.ones(2, D, requires_grad=True)
    model = torch.compile(lambda r, q: table.scores(q * 2) + table.lookup(r).sum(), fullgraph=True, backend="inductor")
    got = model(rows, queries)
    torch.testing.assert_close(got, table.scores(queries * 2) + table.lookup(rows).sum())
    got.sum().backward()
    torch.testing.assert_close(
        queries.grad, 2 * table.lookup(torch.arange(N)).sum(0).expand(2, D), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_queries_and_weights(name: str, compiled: bool) -> None:
    table = made(name)
    every = table.lookup(torch.arange(N))
    queries = torch.randn(3, D, requires_grad=True, generator=torch.Generator().manual_seed(0))
    upstream = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
    scores = traced(table.scores) if compiled else table.scores
    got = scores(queries, slice(10, 50))
    assert got.requires_grad
    got.backward(upstream)
    torch.testing.assert_close(queries.grad, upstream @ every[10:50], rtol=1e-5, atol=1e-5)

    rows, offsets = torch.tensor([3, 1, N - 1, 3]), torch.tensor([0, 0, 3, 4])
    weights = torch.tensor([1.0, 2, -1, 0.5], requires_grad=True)
    bag = traced(table.bag) if compiled else table.bag
    upstream = torch.randn(4, D, generator=torch.Generator().manual_seed(2))
    bag(rows, offsets, weights=weights).backward(upstream)
    torch.testing.assert_close(weights.grad, (every[rows] * upstream[[1, 1, 1, 2]]).sum(1), rtol=1e-5, atol=1e-5)
    assert not table.lookup(rows).requires_grad


def test_no_gradient_is_kept_where_none_is_wanted() -> None:
    table, queries = made("scalar-16"), torch.ones(2, D, requires_grad=True)
    with torch.no_grad():
        assert not table.scores(queries).requires_grad
    assert not table.scores(queries.detach()).requires_grad
    half = torch.ones(2, D, requires_grad=True, dtype=torch.bfloat16)
    table.scores(half).sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("named", [False, True], ids=["by-arrays", "by-name"])
@pytest.mark.parametrize("name", ["scalar-16", "factored", "partitioned"])
def test_operators_keep_the_rules_of_torch(name: str, named: bool) -> None:
    table = made(name)
    arrays = [] if named else [torch.from_numpy(np.array(a)) for a in table.tensors().values()]
    which = graph_name(table) if named else operators.description(table)
    rows, offsets = torch.tensor([3, 1, N - 1]), torch.tensor([0, 2])
    queries, weights = torch.randn(2, D, requires_grad=True), torch.ones(3, requires_grad=True)
    torch.library.opcheck(operators.lookup_op, (rows, arrays, which))
    torch.library.opcheck(operators.bag_op, (rows, offsets, None, "mean", arrays, which))
    torch.library.opcheck(operators.bag_op, (rows.int(), offsets, weights, "sum", arrays, which))
    torch.library.opcheck(operators.scores_op, (queries, None, None, None, arrays, which))
    torch.library.opcheck(operators.scores_op, (queries, 3, -5, None, arrays, which))
    assert torch.equal(torch.ops.pintsize.lookup(rows, arrays, which), table.lookup(rows))


def test_a_graph_of_a_table_that_is_gone_says_so() -> None:
    table, rows = made("scalar-16"), torch.tensor([1])
    name = graph_name(table)
    assert alive(name) is table
    del table
    gc.collect()
    assert alive(name) is None
    for wrong in (name, f"{'0' * 16}:{name.partition(':')[2]}", f"{PROCESS}:x"):
        with pytest.raises(TableError, match="another process, or one that is gone"):
            torch.ops.pintsize.lookup(rows, [], wrong)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_copies_can_be_traced(again) -> None:
    table = again(scalar(16)(N, D, np.random.default_rng(0)))
    assert alive(graph_name(table)) is table
    rows = torch.tensor([1, 5])
    assert torch.equal(traced(table.lookup)(rows), table.lookup(rows))


def test_export_in_this_process() -> None:
    table = made("scalar-16")

    class Model(torch.nn.Module):
        def forward(self, rows):
            return table.lookup(rows).sum(0)

    rows = torch.tensor([1, 2, 3])
    program = torch.export.export(Model(), (rows,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = torch.tensor([5, 6, 7, 8])
    assert torch.equal(program.module()(more), table.lookup(more).sum(0))
