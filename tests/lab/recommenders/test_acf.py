"""Attentive collaborative filtering, against the paper's equations written as loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pintsize as pz
from pintsize.lab.datasets.interactions import Interactions
from pintsize.lab.recommenders.acf import Acf
from pintsize.lab.training import RankingTask, train

rng = np.random.default_rng(0)
MET = rng.random((6, 8)) < 0.5
MET[2] = False
MET[4] = np.arange(8) == 3
HISTORY = Interactions(*(place.astype(np.int32) for place in np.nonzero(MET)), 6, 8)
COMPONENTS = torch.tensor([[0, 1], [1, -1], [-1, -1], [2, 0], [2, -1], [1, 2], [0, -1], [0, 2]])


def build(content: bool) -> Acf:
    torch.manual_seed(0)
    return Acf.of(HISTORY, 4, components=COMPONENTS if content else None, deviation=1.0, attention=3).double()


def plain(model: Acf, user: int, without: int | None = None) -> np.ndarray:
    """The user's side of the score, item by item."""
    weight = {name: value.detach().numpy() for name, value in model.named_parameters()}
    u, v, p = (weight[f"{name}_embedding.weight"] for name in ("user", "item", "history"))
    logits, rows = [], []
    for item in np.flatnonzero(MET[user]):
        if item == without:
            continue
        hidden = weight["of_user.weight"] @ u[user] + weight["of_user.bias"]
        hidden += weight["of_item.weight"] @ v[item] + weight["of_past.weight"] @ p[item]
        if model.components is not None:
            x = weight["component_embedding.weight"][[c for c in COMPONENTS[item].tolist() if c >= 0]]
            content = np.zeros(4)
            if len(x):
                inner = weight["user_of_component.weight"] @ u[user] + weight["user_of_component.bias"]
                b = np.maximum(inner + x @ weight["of_component.weight"].T, 0) @ weight["weigh_component.weight"][0]
                beta = np.exp(b - b.max()) / np.exp(b - b.max()).sum()
                content = beta @ x
            hidden += weight["of_content.weight"] @ content
        logits.append(weight["weigh.weight"][0] @ np.maximum(hidden, 0))
        rows.append(p[item])
    if not rows:
        return u[user]
    alpha = np.exp(np.array(logits) - max(logits))
    return u[user] + (alpha / alpha.sum()) @ np.array(rows)


@pytest.mark.parametrize("content", [False, True])
def test_vectors_are_those_of_the_paper(content):
    model = build(content)
    users, items = (v.detach().numpy() for v in model.vectors())
    np.testing.assert_allclose(users, [plain(model, user) for user in range(6)], atol=1e-10)
    np.testing.assert_array_equal(items, model.item_embedding.weight.detach().numpy())


@pytest.mark.parametrize("content", [False, True])
def test_margins_leave_the_scored_item_out(content):
    model = build(content)
    users, above = (torch.from_numpy(part.astype(np.int64)) for part in (HISTORY.users, HISTORY.items))
    below = torch.randint(8, (len(users),))
    v = model.item_embedding.weight.detach().numpy()
    want = [
        plain(model, u, without=a) @ (v[a] - v[b])
        for u, a, b in zip(users.tolist(), above.tolist(), below.tolist(), strict=True)
    ]
    np.testing.assert_allclose(model.margins(users, above, below).detach().numpy(), want, atol=1e-8)


@pytest.mark.parametrize("content", [False, True])
def test_gradients(content):
    model = build(content)
    users, above = (torch.from_numpy(part.astype(np.int64)) for part in (HISTORY.users, HISTORY.items))
    below = torch.randint(8, (len(users),))
    parameters = list(model.parameters())
    model.margins(users, above, below).square().sum().backward()
    for parameter in parameters:
        direction = torch.randn_like(parameter)
        said = float((parameter.grad * direction).sum())
        with torch.no_grad():
            parameter += 1e-6 * direction
            high = float(model.margins(users, above, below).square().sum())
            parameter -= 2e-6 * direction
            low = float(model.margins(users, above, below).square().sum())
            parameter += 1e-6 * direction
        assert (high - low) / 2e-6 == pytest.approx(said, rel=1e-4, abs=1e-4)


def test_trains_with_methods():
    model = build(True).float()
    swapped = pz.swap(model, {"item*": "lsq:bits=4", "*": "full"})
    task = RankingTask(HISTORY, HISTORY, batch_size=4, k=2)
    history = train(model, task, torch.optim.Adam(model.parameters(), 0.01), epochs=3, swapped=swapped)
    assert len(history.epochs) == 3
    assert set(swapped.freeze()) == {
        "component_embedding", "history_embedding", "item_embedding", "user_embedding",
    }  # fmt: skip
