"""Look-ups, bags and scores as torch operators, so that torch.compile and torch.export keep a graph in one piece.

Only traced calls and calls under a gradient come here: an operator written in Python costs more than a small look-up.
An operator is told which table to read in one of two ways.

- ``arrays`` empty: ``table`` names a table that lives in this process (`_graphs`). Nothing is copied or rebuilt. A
  graph that outlives its table or its process fails and says so.
- Otherwise ``arrays`` are the table's tensors and ``table`` describes them (`description`): the graph owns what it
  reads, which is what an exported program needs. The table is put together anew at each call, from shapes alone.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pintsize.arrays import to_numpy
from pintsize.errors import TableError
from pintsize.formats._graphs import alive, graph_name
from pintsize.formats.base import CompressedTable

__all__ = ["bag", "bag_op", "described_table", "description", "lookup", "lookup_op", "scores", "scores_op"]

_BLOCK_ROWS = 1 << 14
_SLICE = "SymInt? start, SymInt? stop, SymInt? step"


def description(table: CompressedTable) -> str:
    """The plain values of a table and the names of its arrays, as the operators read them."""
    return json.dumps({"header": table.header(), "arrays": list(table.tensors())}, sort_keys=True)


@lru_cache(maxsize=256)
def _described(text: str) -> tuple[dict[str, Any], list[str]]:
    found = json.loads(text)
    return found["header"], found["arrays"]


def described_table(arrays: list[Tensor], text: str) -> CompressedTable:
    """The table that `description` told of, over these arrays; in main memory as NumPy arrays, which kernels read.

    Raises:
        TableError: Arrays that do not agree with the description.
    """
    header, names = _described(text)
    if len(names) != len(arrays):
        raise TableError(f"a table of {len(names)} arrays is described; found {len(arrays)} arrays")
    here = all(type(a) is Tensor and a.device.type == "cpu" for a in arrays)
    found = {n: to_numpy(a) if here else a for n, a in zip(names, arrays, strict=True)}
    return CompressedTable.from_tensors(header, found)


def _table(arrays: list[Tensor], name: str) -> CompressedTable:
    if arrays:
        return described_table(arrays, name)
    table = alive(name)
    if table is None:
        raise TableError(
            "this graph reads a table of another process, or one that is gone; keep the table, or build the graph from "
            "pintsize.integrations.torch_modules.CompressedEmbedding, which puts the table's arrays into it"
        )
    return table


def _empty(shape: tuple[Any, ...], table: CompressedTable, asked: Tensor) -> Tensor:
    """What an operator returns, without its values; results lie where the table is, or else where the rows are."""
    elsewhere = table._device is not None and table._device.type != "cpu"
    return asked.new_empty(shape, dtype=torch.float32, device=table._device if elsewhere else asked.device)


@torch.library.custom_op(
    "pintsize::lookup",
    mutates_args=(),
    schema="(Tensor rows, Tensor[] arrays, str table) -> Tensor",
)
def lookup_op(rows: Tensor, arrays: list[Tensor], table: str) -> Tensor:
    """`CompressedTable.lookup`. No gradient: rows are integers, and a compressed table is not trained."""
    return _table(arrays, table).lookup(rows)  # type: ignore[no-any-return]


@lookup_op.register_fake
def _(rows: Tensor, arrays: list[Tensor], table: str) -> Tensor:
    found = _table(arrays, table)
    return _empty((*rows.shape, found.embedding_dim), found, rows)


@torch.library.custom_op(
    "pintsize::bag",
    mutates_args=(),
    schema="(Tensor rows, Tensor offsets, Tensor? weights, str mode, Tensor[] arrays, str table) -> Tensor",
)
def bag_op(
    rows: Tensor, offsets: Tensor, weights: Tensor | None, mode: str, arrays: list[Tensor], table: str
) -> Tensor:
    """`CompressedTable.bag`; differentiable in the weights."""
    factors = None if weights is None else weights.detach()
    return _table(arrays, table).bag(rows, offsets, mode=mode, weights=factors)  # type: ignore[arg-type, no-any-return]


@bag_op.register_fake
def _(rows: Tensor, offsets: Tensor, weights: Tensor | None, mode: str, arrays: list[Tensor], table: str) -> Tensor:
    found = _table(arrays, table)
    return _empty((offsets.shape[0], found.embedding_dim), found, rows)


@torch.library.custom_op(
    "pintsize::scores",
    mutates_args=(),
    schema=f"(Tensor queries, {_SLICE}, Tensor[] arrays, str table) -> Tensor",
)
def scores_op(
    queries: Tensor, start: int | None, stop: int | None, step: int | None, arrays: list[Tensor], table: str
) -> Tensor:
    """`CompressedTable.scores` of the rows of a slice; differentiable in the queries."""
    return _table(arrays, table).scores(queries.detach(), slice(start, stop, step))  # type: ignore[no-any-return]


@scores_op.register_fake
def _(
    queries: Tensor, start: int | None, stop: int | None, step: int | None, arrays: list[Tensor], table: str
) -> Tensor:
    found = _table(arrays, table)
    rows = range(found.num_embeddings)[start:stop:step]
    return _empty((queries.shape[0], len(rows)), found, queries)


@torch.library.custom_op(
    "pintsize::scores_gradient",
    mutates_args=(),
    schema=f"(Tensor gradient, {_SLICE}, Tensor[] arrays, str table) -> Tensor",
)
def _scores_gradient(
    gradient: Tensor, start: int | None, stop: int | None, step: int | None, arrays: list[Tensor], table: str
) -> Tensor:
    """Gradients of scores times the rows that they were taken over, block by block: (num_queries, embedding_dim)."""
    found = _table(arrays, table)
    rows = range(found.num_embeddings)[start:stop:step]
    total = gradient.new_zeros((gradient.shape[0], found.embedding_dim), dtype=torch.float32)
    for begin in range(0, len(rows), _BLOCK_ROWS):
        block = rows[begin : begin + _BLOCK_ROWS]
        decoded = torch.as_tensor(found.lookup(np.arange(block.start, block.stop)), device=gradient.device)
        total += gradient[:, begin : begin + len(block)].float() @ decoded
    return total


@_scores_gradient.register_fake
def _(
    gradient: Tensor, start: int | None, stop: int | None, step: int | None, arrays: list[Tensor], table: str
) -> Tensor:
    return gradient.new_empty((gradient.shape[0], _table(arrays, table).embedding_dim), dtype=torch.float32)


def _keep_scores(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    queries, *ctx.slice, arrays, ctx.table = inputs
    ctx.queries = queries.dtype, queries.device
    ctx.save_for_backward(*arrays)


def _scores_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    arrays = list(ctx.saved_tensors)
    dtype, device = ctx.queries
    found = torch.ops.pintsize.scores_gradient(gradient, *ctx.slice, arrays, ctx.table)
    return found.to(device=device, dtype=dtype), None, None, None, [None] * len(arrays), None


def _keep_bag(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    rows, offsets, weights, _, arrays, ctx.table = inputs
    ctx.weights = None if weights is None else (weights.dtype, weights.device)
    ctx.save_for_backward(rows, offsets, *arrays)


def _bag_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    rows, offsets, *arrays = ctx.saved_tensors
    weights = None
    if ctx.weights is not None:
        dtype, device = ctx.weights
        decoded = torch.ops.pintsize.lookup(rows, arrays, ctx.table)
        places = torch.arange(rows.shape[0], device=gradient.device)
        bags = torch.searchsorted(offsets.to(gradient.device).long(), places, right=True) - 1
        weights = (decoded.to(gradient.device) * gradient[bags]).sum(1).to(device=device, dtype=dtype)
    return None, None, weights, None, [None] * len(arrays), None


scores_op.register_autograd(_scores_backward, setup_context=_keep_scores)
bag_op.register_autograd(_bag_backward, setup_context=_keep_bag)


def lookup(table: CompressedTable, rows: Tensor, out: Tensor | None) -> Tensor:
    """What a traced `CompressedTable.lookup` is in a graph."""
    return _written(torch.ops.pintsize.lookup(rows, [], graph_name(table)), out)


def bag(table: CompressedTable, rows: Tensor, offsets: Any, mode: str, weights: Any, out: Tensor | None) -> Tensor:
    """What `CompressedTable.bag` is in a graph, or where its weights have a gradient."""
    starts = torch.as_tensor(offsets)
    factors = None if weights is None else torch.as_tensor(weights)
    return _written(torch.ops.pintsize.bag(rows, starts, factors, mode, [], graph_name(table)), out)


def scores(table: CompressedTable, queries: Tensor, rows: slice | None) -> Tensor:
    """What `CompressedTable.scores` is in a graph, or where its queries have a gradient."""
    start, stop, step = (None, None, None) if rows is None else (rows.start, rows.stop, rows.step)
    found: Tensor = torch.ops.pintsize.scores(queries, start, stop, step, [], graph_name(table))
    return found


def _written(result: Tensor, out: Tensor | None) -> Tensor:
    if out is None:
        return result
    if out.shape != result.shape or out.dtype != result.dtype:
        raise TableError(
            f"out is float32 of shape {tuple(result.shape)}; found {out.dtype} of shape {tuple(out.shape)}"
        )
    return out.copy_(result)
