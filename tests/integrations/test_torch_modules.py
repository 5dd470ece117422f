"""Compressed tables where a model had embeddings."""

from __future__ import annotations

import copy
import io
import subprocess
import sys

import numpy as np
import pytest
import torch

from pintsize.errors import TableError
from pintsize.formats.base import CompressedTable
from pintsize.formats.dense import DenseTable
from pintsize.integrations.torch_modules import CompressedEmbedding, CompressedEmbeddingBag
from tests.contracts.format_cases import CASES

N, D = 90, 12
ROWS = torch.tensor([[3, 1, 89], [0, 0, 7]])


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


def made(name: str, seed: int = 2) -> CompressedTable:
    return CASES[name](N, D, np.random.default_rng(seed))


@pytest.mark.parametrize("name", sorted(CASES))
def test_gives_the_rows_of_its_table(name: str) -> None:
    table = made(name)
    module = CompressedEmbedding(table)
    assert torch.equal(module(ROWS), table.lookup(ROWS))
    assert (module.num_embeddings, module.embedding_dim) == (N, D)
    assert sum(b.nbytes for b in module.buffers()) == table.nbytes
    assert f"format={table.tag!r}" in repr(module)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(ROWS), table.lookup(ROWS))


@pytest.mark.parametrize("compiled", [False, True])
def test_bags_are_those_of_torch(compiled: bool) -> None:
    rows = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
    flat, offsets, weights = torch.tensor([3, 1, 89, 0, 5]), torch.tensor([0, 2, 2, 5]), torch.randn(5)
    for mode, last in (("sum", False), ("mean", True)):
        ours = CompressedEmbeddingBag(DenseTable(rows), mode, include_last_offset=last)
        theirs = torch.nn.EmbeddingBag.from_pretrained(torch.from_numpy(rows), mode=mode, include_last_offset=last)
        call = torch.compile(ours, fullgraph=True, backend="aot_eager") if compiled else ours
        torch.testing.assert_close(call(flat, offsets), theirs(flat, offsets))
        torch.testing.assert_close(call(ROWS), theirs(ROWS))
        if mode == "sum":
            mine, peer = weights.clone().requires_grad_(), weights.clone().requires_grad_()
            got, want = call(flat, offsets, mine), theirs(flat, offsets, per_sample_weights=peer)
            torch.testing.assert_close(got, want)
            got.square().sum().backward()
            want.square().sum().backward()
            torch.testing.assert_close(mine.grad, peer.grad)
    with pytest.raises(TableError, match="without offsets"):
        ours(flat)
    with pytest.raises(TableError, match="mode is"):
        CompressedEmbeddingBag(DenseTable(rows), "max")  # type: ignore[arg-type]


def test_scores_have_gradients() -> None:
    module = CompressedEmbedding(made("scalar-16"))
    queries = torch.randn(3, D, requires_grad=True)
    for call in (module.scores, torch.compile(module.scores, fullgraph=True, backend="aot_eager")):
        queries.grad = None
        call(queries).sum().backward()
        torch.testing.assert_close(queries.grad, module(torch.arange(N)).sum(0).expand(3, D), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["scalar-16", "factored-scalars", "codebook-8-rotated"])
def test_state_goes_from_one_module_to_another(name: str) -> None:
    table = made(name)
    source, other = CompressedEmbedding(table), CompressedEmbedding(made(name, seed=3))
    others = made(name, seed=3)
    shared = CompressedEmbedding(others)
    kept = io.BytesIO()
    torch.save(source.state_dict(), kept)
    for module in (other, shared, copy.deepcopy(shared)):
        before = module(ROWS)
        assert not torch.equal(before, source(ROWS))
        kept.seek(0)
        module.load_state_dict(torch.load(kept, weights_only=True))
        assert torch.equal(module(ROWS), source(ROWS))
    assert torch.equal(others.lookup(ROWS), before), "a table does not change under those who hold it"
    assert torch.equal(source(ROWS), table.lookup(ROWS))


def test_state_carries_the_plain_values() -> None:
    source, target = CompressedEmbedding(made("scalar-256-unit")), CompressedEmbedding(made("scalar-256"))
    assert not torch.equal(source(ROWS), target(ROWS))
    target.load_state_dict(source.state_dict())
    assert torch.equal(source(ROWS), target(ROWS))
    with pytest.raises(TableError):
        target.set_extra_state(CompressedEmbedding(made("scalar-16")).get_extra_state())
    assert torch.equal(source(ROWS), target(ROWS))


def test_codes_keep_their_dtype() -> None:
    module = CompressedEmbedding(made("codebook-8-rotated"))
    before = module(ROWS)
    assert torch.equal(module.half().double().to(torch.bfloat16)(ROWS), before)
    assert torch.equal(torch.nn.Sequential(module).half()(ROWS), before)


def test_moves_to_another_device() -> None:
    module = CompressedEmbedding(made("factored")).to("meta")
    assert {b.device.type for b in module.buffers()} == {"meta"}
    assert module.table._device.type == "meta"


def test_read_only_arrays_are_copied() -> None:
    table = made("scalar-16")
    table.records.flags.writeable = False  # type: ignore[attr-defined]
    module = CompressedEmbedding(table)
    assert torch.equal(module(ROWS), table.lookup(ROWS))


def test_rows_out_of_range_are_index_errors() -> None:
    module = CompressedEmbedding(made("scalar-16"))
    for call in (module, torch.compile(module, fullgraph=True, backend="aot_eager")):
        with pytest.raises(IndexError, match="row 90 is out of range"):
            call(torch.tensor([90]))
    with pytest.raises(TableError, match="a compressed table is needed"):
        CompressedEmbedding(torch.zeros(3, 4))  # type: ignore[arg-type]


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_holds_the_arrays(strict: bool) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.bags = CompressedEmbedding(made("scalar-16")), CompressedEmbeddingBag(made("codebook-8"))

        def forward(self, rows):
            return self.one(rows).sum(1) + self.bags(rows), self.one.scores(self.bags(rows))

    model = Model()
    program = torch.export.export(model, (ROWS,), strict=strict)
    held = {name for name in program.state_dict if not name.endswith("_extra_state")}
    assert held == {"one.records", "bags.records", "bags.codebooks"}
    for got, want in zip(program.module()(ROWS), model(ROWS), strict=True):
        assert torch.equal(got, want)


def test_an_exported_program_runs_in_another_process(tmp_path) -> None:
    module = torch.nn.Sequential(CompressedEmbedding(made("scalar-4-rotated")), torch.nn.ReLU())
    rows = torch.tensor([1, 2, 3])
    program = torch.export.export(module, (rows,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "model.pt2")
    code = (
        "import sys, torch, pintsize.integrations.torch_modules\n"
        "found = torch.export.load(sys.argv[1]).module()(torch.tensor([5, 6, 7, 8]))\n"
        "torch.save(found, sys.argv[2])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.pt2"), str(tmp_path / "found.pt")],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert torch.equal(torch.load(tmp_path / "found.pt"), module(torch.tensor([5, 6, 7, 8])))
