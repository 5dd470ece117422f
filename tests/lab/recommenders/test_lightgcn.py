"""LightGCN, against the paper's equation on dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pintsize as pz
from pintsize.lab.datasets.interactions import Interactions
from pintsize.lab.recommenders.lightgcn import LightGcn, normalised_adjacency
from pintsize.lab.training import RankingTask, train

rng = np.random.default_rng(0)
MET = rng.random((7, 5)) < 0.4
MET[3] = False  # a user and an item without pairs
MET[:, 2] = False
GRAPH = Interactions(*(place.astype(np.int32) for place in np.nonzero(MET)), 7, 5)


def dense() -> np.ndarray:
    whole = np.zeros((12, 12))
    whole[:7, 7:], whole[7:, :7] = MET, MET.T
    degree = np.maximum(whole.sum(axis=1), 1)
    return whole / np.sqrt(np.outer(degree, degree))


def test_adjacency():
    found = normalised_adjacency(GRAPH)
    assert found.crow_indices().dtype == found.col_indices().dtype == torch.int32
    np.testing.assert_allclose(found.to_dense().numpy(), dense(), atol=1e-7)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_vectors_and_their_gradient(layers):
    torch.manual_seed(0)
    model = LightGcn.of(GRAPH, 4, layers=layers)
    start = torch.cat([model.user_embedding.weight, model.item_embedding.weight]).detach().double()
    matrix = torch.from_numpy(dense())
    start.requires_grad_()
    want = sum(torch.linalg.matrix_power(matrix, layer) @ start for layer in range(layers + 1)) / (layers + 1)
    found = torch.cat(model.vectors())
    np.testing.assert_allclose(found.detach().numpy(), want.detach().numpy(), atol=1e-6)
    factor = torch.randn(12, 4, dtype=torch.float64)
    (want * factor).sum().backward()
    (found * factor.float()).sum().backward()
    gradient = torch.cat([model.user_embedding.weight.grad, model.item_embedding.weight.grad])
    np.testing.assert_allclose(gradient.numpy(), start.grad.numpy(), atol=1e-5)
    mean = torch.stack(model.smoothed()).mean(dim=0)
    np.testing.assert_allclose(found.detach().numpy(), mean.detach().numpy(), atol=1e-6)


def test_the_graph_is_not_part_of_the_state():
    assert set(LightGcn.of(GRAPH, 4).state_dict()) == {"user_embedding.weight", "item_embedding.weight"}


@pytest.mark.parametrize("spec", ["full", "lsq:bits=4", "l2q", "l2q_anl:steps=5"])
def test_methods_fit_in(spec):
    torch.manual_seed(0)
    model = LightGcn.of(GRAPH, 4, layers=2)
    before = torch.cat(model.vectors()).detach()
    swapped = pz.swap(model, spec if isinstance(spec, dict) else {"*": spec})
    if spec == "full":
        assert torch.equal(torch.cat(model.vectors()).detach(), before)
    task = RankingTask(GRAPH, GRAPH, batch_size=4, k=2)
    train(model, task, torch.optim.Adam(model.parameters(), 0.01), epochs=3, swapped=swapped)
    users, _ = model.vectors()
    assert users.shape == (7, 12 if spec.startswith("l2q") else 4)
    if spec.startswith("l2q"):
        layers = [layer[:7] for layer in model.smoothed()]
        served = model.user_embedding.table.freeze_layers(layers).lookup(np.arange(7))
        np.testing.assert_allclose(served, users.detach().numpy(), atol=1e-6)
