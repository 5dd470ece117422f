"""What every method that trains promises, over every registered one and each of its examples."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import pintsize as pz
from pintsize.errors import MethodError
from pintsize.methods import METHODS, method_class
from pintsize.methods.base import TrainTime
from pintsize.methods.spec import parse
from pintsize.methods.trainable import TrainableEmbedding
from tests.contracts.train_time_cases import Folded, Stepping

N, D = 200, 24

REGISTERED = [
    cls(**fields)
    for name in sorted(METHODS)
    if issubclass(cls := method_class(name), TrainTime)
    for fields in cls.examples
]
ALL = [*REGISTERED, Folded(), Stepping()]


def build(method: Any, n: int = N, d: int = D, seed: int = 0) -> TrainableEmbedding:
    torch.manual_seed(seed)
    return method.build(n, d, counts=np.arange(n, 0, -1) ** 2)


def kinds(chosen: Any) -> Any:
    found = [m for m in ALL if chosen(m, build(m))]
    return pytest.mark.parametrize("method", [pytest.param(m, id=str(m)) for m in found])


EACH = pytest.mark.parametrize("method", [pytest.param(m, id=str(m)) for m in ALL])
TWO_PHASES = kinds(lambda m, module: type(module).retrain is not TrainableEmbedding.retrain)
SMOOTH = kinds(lambda m, module: module.smooth)
SMALL = kinds(lambda m, module: m.traits.small_while_training)


def train(module: TrainableEmbedding, steps: int = 4, batch: int = 64) -> float:
    """Rows towards a target of lower rank; the number of the loss after the last step."""
    module.train()
    generator = torch.Generator().manual_seed(1)
    target = torch.randn(module.num_embeddings, 2, generator=generator) @ torch.randn(
        2, module.embedding_dim, generator=generator
    )
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, 0.01) if parameters else None
    loss = torch.zeros(())
    for step in range(1, steps + 1):
        rows = torch.randint(module.num_embeddings, (batch,), generator=generator)
        loss = (module(rows) - target[rows]).square().mean() + module.penalty()
        if optimizer is not None:
            optimizer.zero_grad()
        loss.backward()
        if optimizer is not None:
            optimizer.step()
        module.after_step(step)
    return float(loss.detach())


def every_row(module: TrainableEmbedding) -> np.ndarray:
    module.eval()
    with torch.no_grad():
        return module(torch.arange(module.num_embeddings)).float().numpy()


def assert_served(module: TrainableEmbedding, tolerance: float = 1e-5) -> None:
    rows, table = every_row(module), module.freeze()
    table.validate()
    served = table.lookup(np.arange(module.num_embeddings))
    assert np.isfinite(rows).all()
    scale = np.abs(rows).max(initial=1e-6)
    np.testing.assert_allclose(served, rows, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("method", [pytest.param(m, id=str(m)) for m in REGISTERED])
def test_spec_round_trip(method: TrainTime) -> None:
    assert parse(str(method)) == method
    assert type(method).model_validate_json(method.model_dump_json()) == method


@EACH
def test_what_is_served_is_what_was_trained(method: TrainTime, tmp_path: Any) -> None:
    module = build(method)
    train(module)
    assert_served(module)
    table = module.freeze()
    assert (table.num_embeddings, table.embedding_dim) == (N, D)
    assert table.nbytes == sum(a.nbytes for a in table.tensors().values())
    pz.save({"t": table}, tmp_path / "b", methods={"t": method})
    bundle = pz.load(tmp_path / "b")
    assert bundle["t"].nbytes == table.nbytes
    np.testing.assert_array_equal(bundle["t"].lookup([0, 5, N - 1]), table.lookup([0, 5, N - 1]))


@EACH
def test_a_backward_pass_moves_something(method: TrainTime) -> None:
    module = build(method)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.train()
    module(torch.arange(N)).square().sum().backward()
    if module.owns_update:
        module.after_step(1)
        assert any(not torch.equal(before[name], value) for name, value in module.state_dict().items())
    else:
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@SMOOTH
def test_gradients_are_those_of_finite_differences(method: TrainTime) -> None:
    module = build(method, 9, 4).double()
    factor = torch.randn(9, 4, dtype=torch.float64)

    def loss() -> torch.Tensor:
        return (module(torch.arange(9)) * factor).sum()

    loss().backward()
    for parameter in module.parameters():
        if parameter.grad is None or not parameter.numel():
            continue
        direction = torch.randn_like(parameter)
        said = float((parameter.grad * direction).sum())
        with torch.no_grad():
            parameter += 1e-4 * direction
            above = float(loss())
            parameter -= 2e-4 * direction
            below = float(loss())
            parameter += 1e-4 * direction
        assert (above - below) / 2e-4 == pytest.approx(said, rel=1e-3, abs=1e-4)


@EACH
def test_the_same_seed_gives_the_same_training(method: TrainTime) -> None:
    first, second = build(method), build(method)
    np.testing.assert_array_equal(every_row(first), every_row(second))
    torch.manual_seed(3)
    one = train(first)
    torch.manual_seed(3)
    assert train(second) == one
    np.testing.assert_array_equal(every_row(first), every_row(second))


@EACH
def test_state_copies_and_pickles(method: TrainTime) -> None:
    module = build(method)
    train(module)
    want, frozen = every_row(module), module.freeze().lookup(np.arange(N))
    fresh = build(method, seed=9)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    for other in (fresh, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: S301
        np.testing.assert_array_equal(every_row(other), want)
        np.testing.assert_array_equal(other.freeze().lookup(np.arange(N)), frozen)


@EACH
@pytest.mark.parametrize("mode", ["sum", "mean", "weights"])
def test_bags_are_pooled_rows(method: TrainTime, mode: Any) -> None:
    module = build(method)
    module.eval()
    rows, offsets = torch.tensor([3, 1, 3, 199, 0, 3, 7], dtype=torch.int32), torch.tensor([0, 2, 2, 5, 7])
    weights = torch.randn(7) if mode == "weights" else None
    peer = torch.from_numpy(every_row(module))
    for padding in (None, 3):
        with torch.no_grad():
            got = module.bag(rows, offsets, mode="mean" if mode == "mean" else "sum", weights=weights, padding=padding)
        want = []
        for begin, end in zip(offsets.tolist(), [*offsets.tolist()[1:], 7], strict=True):
            inside = [i for i in range(begin, end) if int(rows[i]) != padding]
            total = sum((peer[rows[i]] * (1 if weights is None else weights[i]) for i in inside), torch.zeros(D))
            want.append(total / max(1, len(inside)) if mode == "mean" else total)
        torch.testing.assert_close(got, torch.stack(want), rtol=1e-4, atol=1e-5)


@EACH
@pytest.mark.parametrize("shape", [(1, D), (2, D), (37, 13), (N, 1)])
def test_odd_shapes_train_or_are_refused(method: TrainTime, shape: tuple[int, int]) -> None:
    try:
        module = build(method, *shape)
    except MethodError as refusal:
        assert str(refusal)
        return
    train(module, 2, 8)
    assert_served(module)


@EACH
def test_rows_of_every_kind(method: TrainTime) -> None:
    module = build(method)
    module.train()
    assert module(torch.empty(0, dtype=torch.int64)).shape == (0, D)
    module.eval()
    assert module(torch.empty(3, 0, dtype=torch.int32)).shape == (3, 0, D)
    rows = torch.tensor([[[3, 1], [0, N - 1]]])
    assert module(rows).shape == (1, 2, 2, D)
    assert torch.equal(module(rows), module(rows.int()))
    for bad in (N, -1):
        with pytest.raises(IndexError, match=f"row {bad}"):
            module(torch.tensor([0, bad]))
    with pytest.raises(TypeError, match="integers"):
        module(torch.tensor([0.5]))


@EACH
def test_evaluation_repeats_itself(method: TrainTime) -> None:
    module = build(method)
    train(module)
    once = every_row(module)
    module.train()
    module.eval()
    np.testing.assert_array_equal(every_row(module), once)


@EACH
def test_schedules_run(method: TrainTime) -> None:
    module = build(method)
    train(module, 20)
    assert_served(module)


@TWO_PHASES
def test_the_second_phase_keeps_the_contract(method: TrainTime) -> None:
    module = build(method)
    train(module)
    following = module.retrain()
    assert (following.num_embeddings, following.embedding_dim) == (N, D)
    train(following)
    assert_served(following)


@SMALL
def test_memory_of_training(method: TrainTime) -> None:
    module = build(method, 20_000, 16)
    train(module, 1)
    held = [*module.parameters(), *module.buffers()]
    trained = [p for p in module.parameters() if p.requires_grad]
    size = sum(t.nbytes for t in held) + sum(p.grad.nbytes for p in trained if p.grad is not None)
    size += sum(2 * p.nbytes for p in trained)
    assert size < 20_000 * 16 * 4 / 2
    assert all(t.numel() < 20_000 * 16 for t in held if t.is_floating_point())
