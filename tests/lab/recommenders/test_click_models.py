"""Factorization machines, Wide & Deep, DeepFM and DLRM: their equations, and that methods fit into them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import pintsize as pz
from pintsize.errors import MethodError
from pintsize.lab.datasets.clicks import Clicks
from pintsize.lab.recommenders.deepfm import DeepFm
from pintsize.lab.recommenders.dlrm import Dlrm
from pintsize.lab.recommenders.fields import FieldEmbeddings
from pintsize.lab.recommenders.fm import FactorizationMachine
from pintsize.lab.recommenders.ftrl import Ftrl
from pintsize.lab.recommenders.wide_and_deep import Crosses, WideAndDeep
from pintsize.lab.training import ClickTask, train

NAMES, SIZES = ("user", "item.kind", "hour"), (6, 7, 4)


def fields(dim: int, deviation: float = 0.3) -> FieldEmbeddings:
    return FieldEmbeddings(NAMES, SIZES, dim, deviation=deviation)


def build(kind: str, numbers: int = 2) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "fm":
        return FactorizationMachine(fields(5), fields(1), numbers)
    if kind == "deepfm":
        return DeepFm(fields(5), fields(1), numbers, hidden=(8,))
    if kind == "dlrm":
        return Dlrm(fields(5), numbers, bottom=(8,), top=(8,))
    return WideAndDeep(fields(5), fields(1), Crosses(SIZES, [(0, 1), (1, 2)], 20), numbers, hidden=(8,))


def batch(n: int = 9, numbers: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows = torch.stack([torch.randint(size, (n,), generator=generator) for size in SIZES], dim=1)
    return rows, torch.randn(n, numbers, generator=generator)


KINDS = pytest.mark.parametrize("kind", ["fm", "deepfm", "dlrm", "wide_and_deep"])


def test_fm_is_the_sum_over_pairs():
    model = build("fm").double()
    torch.nn.init.normal_(model.linear.numbers)
    rows, numbers = batch()
    numbers = numbers.double()
    want = []
    for one, values in zip(rows, numbers, strict=True):
        vectors = [table.weight[row] for table, row in zip(model.embeddings.tables.values(), one, strict=True)]
        vectors += [value * weight for value, weight in zip(values, model.number_embeddings.weight, strict=True)]
        linear = sum(t.weight[row, 0] for t, row in zip(model.linear.fields.tables.values(), one, strict=True))
        pairs = sum(a @ b for a, b in itertools.combinations(vectors, 2))
        want.append(model.linear.bias + linear + values @ model.linear.numbers + pairs)
    torch.testing.assert_close(model(rows, numbers), torch.stack(want))


def test_dlrm_has_every_inner_product():
    model = build("dlrm")
    rows, numbers = batch()
    seen = []
    model.top[0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    model(rows, numbers)
    vectors = [model.bottom(numbers), *model.embeddings(rows).unbind(dim=1)]
    products = [(a * b).sum(dim=1) for a, b in itertools.combinations(vectors, 2)]
    torch.testing.assert_close(seen[0], torch.cat([vectors[0], torch.stack(products, dim=1)], dim=1))


def test_crosses_have_a_weight_a_combination_or_are_hashed():
    crosses = Crosses((5, 5, 1000), [(0, 1), (0, 2)], buckets=64)
    every = torch.tensor(list(itertools.product(range(5), range(5), range(40))))
    assert crosses.bucket(0, every).unique().tolist() == list(range(25))
    hashed = crosses.bucket(1, every)
    assert 0 <= int(hashed.min()) <= int(hashed.max()) < 64
    pairs = torch.stack([every[:, 0], every[:, 2]], dim=1).unique(dim=0)
    spread = torch.bincount(
        crosses.bucket(1, torch.stack([pairs[:, 0], pairs[:, 0], pairs[:, 1]], dim=1)), minlength=64
    )
    assert int(spread.max()) <= 12  # 200 pairs in 64 buckets
    for wrong in ([(0, 0)], [(0, 3)], [(-1, 1)]):
        with pytest.raises(MethodError, match="two of 3 fields"):
            Crosses((5, 5, 5), wrong)


@KINDS
@pytest.mark.parametrize("numbers", [0, 2])
def test_empty_batches_and_shapes(kind, numbers):
    model = build(kind, numbers)
    assert model(*batch(0, numbers)).shape == (0,)
    assert model(*batch(3, numbers)).shape == (3,)
    with pytest.raises(MethodError, match="3 fields"):
        model(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, numbers))


@KINDS
def test_interactions_are_learned(kind):
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, size, 3000) for size in SIZES], axis=1).astype(np.int32)
    labels = ((rows[:, 0] + rows[:, 1]) % 2).astype(np.uint8)
    log = Clicks(rows, labels, NAMES, SIZES, np.zeros((3000, 0), np.float32))
    model = build(kind, 0)
    task = ClickTask(log.pick(slice(2500)), log.pick(slice(2500, None)), batch_size=100)
    history = train(model, task, torch.optim.Adam(model.parameters(), 0.02), epochs=6)
    assert history.best > 0.95


@KINDS
def test_methods_fit_in(kind):
    model = build(kind)
    rows, numbers = batch()
    before = model(rows, numbers)
    swapped = pz.swap(model, {"*": "full"})
    assert torch.equal(model(rows, numbers), before)
    swapped.restore()
    swapped = pz.swap(model, {"embeddings.*": "lsq:bits=8", "*": "full"})
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    model(rows, numbers).square().sum().backward()
    optimizer.step()
    swapped.after_step()
    served = swapped.freeze()["embeddings.tables.item_kind"].lookup(np.arange(7))
    np.testing.assert_allclose(served, model.embeddings.tables["item_kind"].weight.detach().numpy(), atol=1e-6)


def test_wide_and_deep_has_two_groups():
    model = build("wide_and_deep")
    wide, deep = model.wide_parameters(), model.deep_parameters()
    assert {id(p) for p in wide} | {id(p) for p in deep} == {id(p) for p in model.parameters()}
    assert len(wide) + len(deep) == len(list(model.parameters()))
    optimizers = [Ftrl(wide, 0.1, l1=0.01), torch.optim.Adagrad(deep, 0.05)]
    rows, numbers = batch()
    losses = []
    for _ in range(20):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(rows, numbers), (rows[:, 0] > 2).float())
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


def test_ftrl_is_the_algorithm_of_the_paper():
    alpha, beta, l1, l2 = 0.3, 1.0, 0.05, 0.1
    weight = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = Ftrl([weight], alpha, beta=beta, l1=l1, l2=l2)
    rng = np.random.default_rng(0)
    w, z, n = np.zeros(4), np.zeros(4), np.zeros(4)
    for _ in range(15):
        gradient = rng.standard_normal(4) * (rng.random(4) < 0.6)
        for i in range(4):
            if gradient[i]:
                sigma = (np.sqrt(n[i] + gradient[i] ** 2) - np.sqrt(n[i])) / alpha
                z[i] += gradient[i] - sigma * w[i]
                n[i] += gradient[i] ** 2
                shrunk = z[i] - np.sign(z[i]) * l1
                w[i] = 0 if abs(z[i]) <= l1 else -shrunk / ((beta + np.sqrt(n[i])) / alpha + l2)
        weight.grad = torch.from_numpy(gradient)
        optimizer.step()
        np.testing.assert_allclose(weight.detach().numpy(), w, atol=1e-12)
    with pytest.raises(MethodError, match="above 0"):
        Ftrl([weight], 0.0)


def test_ftrl_begins_where_a_weight_stands():
    weight = torch.nn.Parameter(torch.tensor([0.5, -2.0, 0.1], dtype=torch.float64))
    optimizer = Ftrl([weight], 0.1, l1=0.01, l2=0.1)
    weight.grad = torch.tensor([1e-12, 0.0, -1e-12], dtype=torch.float64)
    optimizer.step()
    np.testing.assert_allclose(weight.detach().numpy(), [0.5, -2.0, 0.1], atol=1e-9)


def test_fields_need_names_of_their_own():
    for names, sizes in ((("a", "a"), (1, 2)), (("a.b", "a_b"), (1, 2)), (("a",), (1, 2)), ((), ())):
        with pytest.raises(MethodError, match="names of their own"):
            FieldEmbeddings(names, sizes, 3)
