"""What every method of the family that trains must keep: served rows, odd shapes, and a model that learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pintsize.errors import TableError
from pintsize.methods.spec import parse

SPECS = [
    "alpt",
    "alpt:bits=4",
    "alpt:bits=2",
    "binary",
    "binary:kind=annealed,steps=100",
    "l2q",
    "l2q_anl:steps=100",
    "lsq",
    "lsq:bits=1",
    "lsq:bits=3,group=5",
    "lsq:bits=8",
    "mixed_precision:bits=[8,3,1,0]",
    "mixed_precision:ratio=8.0",
    "ternary",
    "ternary:packing=bits,kind=annealed,steps=100",
]
EACH = pytest.mark.parametrize("spec", SPECS)


def build(spec: str, n: int, d: int) -> Any:
    method: Any = parse(spec)
    assert str(method) == spec
    return method.build(n, d, counts=np.arange(n, 0, -1))


def step(modules: list[Any], optimizer: Any, loss: Tensor, number: int) -> float:
    optimizer.zero_grad()
    (loss + sum(module.penalty() for module in modules)).backward()
    optimizer.step()
    for module in modules:
        module.after_step(number)
    return loss.item()


def optimizer_of(modules: list[Any], rate: float = 0.02) -> Any:
    # A parameter of no use, since what updates itself has none.
    own = [torch.nn.Parameter(torch.zeros(()))]
    return torch.optim.Adam([p for module in modules for p in module.parameters()] or own, rate)


def assert_served(module: Any) -> None:
    module.eval()
    with torch.no_grad():
        rows = module.all_rows().numpy()
    table = module.freeze()
    table.validate()
    np.testing.assert_array_equal(table.lookup(np.arange(module.num_embeddings)), rows)


@EACH
@pytest.mark.parametrize("shape", [(60, 12), (1, 5), (7, 37)])
@pytest.mark.parametrize("deviation", [1.0, 1e-3, 1e-8])
def test_served_is_trained_to_the_bit(spec: str, shape: tuple[int, int], deviation: float) -> None:
    torch.manual_seed(1)
    if shape[0] < 60 and "ratio" in spec:
        spec = "mixed_precision:ratio=1.5"
    module = build(spec, *shape)
    module.start(deviation)
    assert_served(module)
    module.train()
    optimizer = optimizer_of([module], 0.1 * deviation)
    for number in range(1, 6):
        rows = torch.randint(shape[0], (20,))
        step([module], optimizer, (module(rows) * torch.linspace(-1, 2, shape[1])).sum(), number)
    assert_served(module)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec != "alpt:bits=2"])
def test_a_model_learns(spec: str) -> None:
    """Regression of a matrix of rank 4 by inner products of two such tables."""
    torch.manual_seed(0)
    users, items, d = 80, 60, 16
    truth = torch.randn(users, 4) @ torch.randn(4, items) / 2
    modules = [build(spec, n, d) for n in (users, items)]
    for module in modules:
        module.start(0.3)
    for phase in range(2 if "ratio" in spec else 1):
        modules = [module.retrain() for module in modules] if phase else modules
        optimizer = optimizer_of(modules)
        for number in range(1, 251):
            u, i = torch.randint(users, (256,)), torch.randint(items, (256,))
            guess = (modules[0](u) * modules[1](i)).sum(dim=1)
            step(modules, optimizer, (guess - truth[u, i]).square().mean(), number)
    for module in modules:
        module.eval()
    with torch.no_grad():
        error = (modules[0].all_rows() @ modules[1].all_rows().T - truth).square().mean() / truth.square().mean()
    coarse = any(part in spec for part in ("binary", "l2q", "bits=1", "bits=2", "ratio", "[8,3,1,0]", "ternary"))
    assert error < (0.55 if coarse else 0.25)


@EACH
def test_batches_of_any_kind(spec: str) -> None:
    module = build(spec, 40, 12)
    empty = module(torch.empty(0, 3, dtype=torch.int32))
    assert empty.shape == (0, 3, 12)
    module.eval()
    rows = torch.tensor([[3, 3], [39, 0]], dtype=torch.int32)
    with torch.autocast("cpu", torch.bfloat16):
        assert module(rows).dtype == torch.float32
    torch.testing.assert_close(module(rows), module.all_rows()[rows.long()], rtol=0, atol=0)
    bags = module.bag(rows.reshape(-1), torch.tensor([0, 3]))
    torch.testing.assert_close(bags[0], module(torch.tensor([3, 3, 39])).sum(dim=0))
    with pytest.raises(IndexError, match="row 40"):
        module(torch.tensor([40]))


@EACH
def test_a_state_is_all_there_is(spec: str) -> None:
    module, other = build(spec, 40, 12), build(spec, 40, 12)
    module(torch.arange(40)).square().sum().backward()
    module.after_step(3)
    other.load_state_dict(module.state_dict())
    a, b = module.freeze().tensors(), other.freeze().tensors()
    assert all(np.array_equal(a[name], b[name]) for name in a)
    with torch.no_grad():
        torch.testing.assert_close(module.all_rows(), other.all_rows(), rtol=0, atol=0)


@EACH
def test_an_empty_table(spec: str) -> None:
    module = build(spec, 0, 12)
    assert module.freeze().num_embeddings == 0
    assert module(torch.empty(0, dtype=torch.long)).shape == (0, 12)


@pytest.mark.parametrize("spec", ["lsq", "binary", "ternary", "l2q"])
def test_a_training_that_diverged_is_not_stored(spec: str) -> None:
    module = build(spec, 5, 12)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter[3] = torch.nan
    with pytest.raises(TableError, match="row 3"):
        module.freeze()
