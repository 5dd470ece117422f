"""Binary, ternary and layer-wise signs in training against their equations, in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from pintsize.errors import MethodError
from pintsize.methods._sign_training import HARDEST
from pintsize.methods.binary import Binary
from pintsize.methods.l2q import L2q
from pintsize.methods.l2q_anl import L2qAnl
from pintsize.methods.spec import parse
from pintsize.methods.ternary import Ternary


def gradients(module: Any, weights: Any) -> Any:
    module.zero_grad()
    (module.all_rows() * weights).sum().backward()
    return module.weight.grad.double().numpy()


def drawn(n: int = 12, d: int = 9) -> tuple[Any, Any]:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0)), torch.linspace(-1, 2, n * d).reshape(n, d)


@pytest.mark.parametrize("clip", [True, False])
def test_the_gradient_of_signs(clip: bool) -> None:
    rows, weights = drawn()
    module = (Binary() if clip else L2q()).build(12, 9)
    module.start_from(rows)
    x, g = rows.double().numpy(), weights.double().numpy()
    alpha = np.abs(x).mean(axis=1, keepdims=True)
    sign = np.where(x >= 0, 1, -1)
    passes = np.abs(x) <= alpha if clip else np.ones_like(x)
    expected = g * passes + (g * sign).sum(axis=1, keepdims=True) * sign / 9
    np.testing.assert_allclose(gradients(module, weights), expected, rtol=2e-3, atol=2e-3)


def test_the_gradient_of_trits() -> None:
    rows, weights = drawn()
    module = Ternary().build(12, 9)
    module.start_from(rows)
    x, g = rows.double().numpy(), weights.double().numpy()
    large = np.abs(x) > 0.7 * np.abs(x).mean(axis=1, keepdims=True)
    count = large.sum(axis=1, keepdims=True)
    alpha = (np.abs(x) * large).sum(axis=1, keepdims=True) / count
    codes = np.sign(x) * large
    np.testing.assert_allclose(module.all_rows().detach().numpy(), codes * alpha, rtol=1e-3)
    expected = g * (np.abs(x) <= alpha) + (g * codes).sum(axis=1, keepdims=True) * codes / count
    np.testing.assert_allclose(gradients(module, weights), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("done", [0, 5])
def test_annealed_signs_are_tanh(done: int) -> None:
    rows, _ = drawn()
    module = Binary(kind="annealed", steps=10).build(12, 9)
    module.start_from(rows)
    module.after_step(done)
    x = rows.double().numpy()
    alpha = np.abs(x).mean(axis=1, keepdims=True)
    expected = np.tanh(HARDEST ** (done / 10) * x / alpha) * alpha
    np.testing.assert_allclose(module.all_rows().detach().numpy(), expected, rtol=1e-3)


@pytest.mark.parametrize("method", [Binary, Ternary])
def test_annealing_ends_hard(method: Any) -> None:
    rows, _ = drawn(100, 20)
    module = method(kind="annealed", steps=10).build(100, 20)
    module.start_from(rows)
    hard = method().build(100, 20)
    hard.start_from(rows)
    distance = []
    for done in range(11):
        module.after_step(done)
        distance.append((module.all_rows() - hard.all_rows()).square().mean().item())
    assert all(later < earlier for earlier, later in itertools.pairwise(distance))
    assert distance[0] > 0.05 and distance[9] < 0.02 and distance[10] == 0
    module.after_step(0)
    module.eval()
    assert torch.equal(module.all_rows(), hard.all_rows())


@pytest.mark.parametrize("spec", ["binary", "ternary", "ternary:packing=bits"])
def test_training_serves_what_compression_after_it_serves(spec: str) -> None:
    rows, _ = drawn()
    method: Any = parse(spec)
    module = method.build(12, 9)
    module.start_from(rows)
    import pintsize as pz

    after = pz.compress(rows.numpy(), method)
    np.testing.assert_allclose(module.freeze().lookup(np.arange(12)), after.lookup(np.arange(12)), rtol=1e-3)
    assert module.freeze().nbytes == after.nbytes


@pytest.mark.parametrize("method", [L2q(), L2qAnl(steps=10)])
def test_layers_are_served_side_by_side(method: Any) -> None:
    torch.manual_seed(0)
    users, items = method.build(12, 9), method.build(7, 9)
    layers_u = [torch.randn(12, 9) / 4**layer for layer in range(3)]
    layers_i = [torch.randn(7, 9) / 4**layer for layer in range(3)]
    weights = [0.5, 0.3, 0.0]
    users.eval(), items.eval()
    tables = [users.freeze_layers(layers_u, weights), items.freeze_layers(layers_i, weights)]
    assert (tables[0].columns, tables[0].group, tables[0].levels) == (27, 9, 2)
    assert tables[0].nbytes == 12 * (4 + 3 * 2)
    served = [table.lookup(np.arange(table.num_embeddings)) for table in tables]
    np.testing.assert_array_equal(served[0], users.segments(layers_u, weights).numpy())
    products = 0
    for layer in range(3):
        u, i = (side[layer].double().numpy() for side in (layers_u, layers_i))
        coded = [np.where(e >= 0, 1, -1) * np.abs(e).sum(axis=1, keepdims=True) / 9 for e in (u, i)]
        products = products + weights[layer] * coded[0] @ coded[1].T
    np.testing.assert_allclose(served[0] @ served[1].T, products, rtol=3e-3, atol=1e-4)


def test_gradients_reach_through_layers_to_the_table() -> None:
    module = L2q().build(6, 8)
    first = module.all_rows()
    second = torch.full((6, 6), 1 / 6) @ first + module.shadow(torch.arange(6))
    module.segments([module.shadow(torch.arange(6)), second]).square().sum().backward()
    assert module.weight.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("shapes", "weights"), [([], None), ([(2, 3), (2, 4)], None), ([(2, 3)], [1, 2]), ([(2, 3)], [-1])]
)
def test_layers_that_do_not_fit(shapes: Any, weights: Any) -> None:
    with pytest.raises(MethodError):
        L2q().build(2, 3).freeze_layers([torch.ones(shape) for shape in shapes], weights)
