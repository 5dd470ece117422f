"""Embeddings of models that know nothing of this package, replaced, trained, frozen and put back."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pintsize as pz
from pintsize.errors import MethodError
from pintsize.swapping import BagSlot, RowSlot, Swapped

USERS, ITEMS, D = 40, 60, 8


class Pairs(nn.Module):
    """Users and items by rows, tags of an item by bags."""

    def __init__(self, **of_item: Any) -> None:
        super().__init__()
        self.user = nn.Embedding(USERS, D)
        self.item = nn.Embedding(ITEMS, D, **of_item)
        self.tags = nn.EmbeddingBag(30, D, mode="mean", padding_idx=0)
        self.top = nn.Linear(D, 1)

    def forward(self, users: torch.Tensor, items: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
        return self.top(self.user(users) * (self.item(items) + self.tags(tags)))[:, 0]


def batch(seed: int) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(n, shape, generator=g) for n, shape in ((USERS, (16,)), (ITEMS, (16,)), (30, (16, 3))))


def trained(model: nn.Module, swapped: Swapped | None, steps: int = 5, **more: Any) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), 0.01, **more)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = (model(*batch(step)) - 1).square().mean()
        (loss if swapped is None else loss + swapped.penalty()).backward()
        optimizer.step()
        if swapped is not None:
            swapped.after_step()
        losses.append(float(loss.detach()))
    return losses


def made(seed: int = 0, **of_item: Any) -> Pairs:
    torch.manual_seed(seed)
    return Pairs(**of_item)


def test_full_changes_nothing() -> None:
    plain, model = made(), made()
    swapped = pz.swap(model, "full")
    assert isinstance(model.user, RowSlot)
    assert isinstance(model.tags, BagSlot)
    assert trained(plain, None) == trained(model, swapped)
    assert torch.equal(plain.item.weight, model.item.weight)


def test_names_decide_and_the_first_pattern_counts(tmp_path: Any) -> None:
    model = made()
    swapped = pz.swap(model, {"item": "lsq:bits=4", "*e*": "float16"})
    assert list(swapped.tables) == ["user", "item"]
    assert isinstance(model.tags, nn.EmbeddingBag)
    trained(model, swapped)
    bundle = swapped.freeze(tmp_path / "b")
    assert set(bundle) == {"user", "item"}
    model.eval()
    rows = np.arange(ITEMS)
    with torch.no_grad():
        np.testing.assert_allclose(bundle["item"].lookup(rows), model.item(torch.from_numpy(rows)).numpy(), rtol=1e-5)
    pz.bundle.verify(tmp_path / "b")


def test_what_is_restored_is_what_would_be_served() -> None:
    model = made(padding_idx=3)
    swapped = pz.swap(model, {"item": "lsq:bits=4", "tags": "lsq:bits=8"})
    trained(model, swapped)
    model.eval()
    with torch.no_grad():
        before = model(*batch(9))
        swapped.restore()
        assert type(model.item) is nn.Embedding
        assert type(model.tags) is nn.EmbeddingBag
        torch.testing.assert_close(model(*batch(9)), before, rtol=1e-5, atol=1e-6)
    assert not model.item.weight[3].any()
    with pytest.raises(MethodError, match="no swapped"):
        Swapped(model)


def test_padding_reads_zeros_and_learns_nothing() -> None:
    model = made(padding_idx=3)
    pz.swap(model, {"item": "full"})
    rows = model.item(torch.tensor([[3, 5], [3, 3]]))
    assert not rows[0, 0].any()
    assert rows[0, 1].any()
    rows.sum().backward()
    gradient = next(model.item.table.parameters()).grad
    assert not gradient[3].any()
    assert gradient[5].any()


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("last", [False, True])
def test_bags_are_those_of_torch(mode: str, padding: int | None, last: bool) -> None:
    torch.manual_seed(0)
    holder = nn.ModuleDict({"b": nn.EmbeddingBag(20, 5, mode=mode, padding_idx=padding, include_last_offset=last)})
    peer = copy.deepcopy(holder["b"])
    pz.swap(holder, "full")
    rows, offsets = torch.tensor([1, 2, 2, 19, 0, 5]), torch.tensor([0, 3, 3, 5, 6] if last else [0, 3, 3, 5])
    weights = torch.randn(6) if mode == "sum" else None
    torch.testing.assert_close(holder["b"](rows, offsets, weights), peer(rows, offsets, weights))
    torch.testing.assert_close(holder["b"](rows.reshape(2, 3)), peer(rows.reshape(2, 3)))


def test_tied_weights_stay_tied() -> None:
    model = made()
    model.other = nn.Embedding(ITEMS, D)
    model.other.weight = model.item.weight
    model.same = model.item
    swapped = pz.swap(model, {"item": "lsq:bits=4"})
    assert model.same is model.item
    assert model.other.table is model.item.table
    assert list(swapped.tables) == ["item"]
    swapped.restore()
    assert model.other.weight is model.item.weight


def test_state_goes_into_a_model_swapped_anew() -> None:
    model, fresh = made(), made(5)
    specs = {"user": "lsq:bits=4", "item": "binary:kind=annealed,steps=9", "tags": "alpt"}
    swapped = pz.swap(model, specs)
    trained(model, swapped)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    again = pz.swap(fresh, specs)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    model.eval()
    fresh.eval()
    assert torch.equal(model(*batch(3)), fresh(*batch(3)))
    again.after_step()
    assert int(fresh.item.steps) == 6


def test_two_phases() -> None:
    model = made()
    swapped = pz.swap(
        model, {"item": "mixed_precision:ratio=4", "user": "full"}, counts={"item": np.arange(ITEMS, 0, -1)}
    )
    assert len(swapped.search_parameters()) == 1
    trained(model, swapped)
    swapped.retrain()
    assert swapped.search_parameters() == []
    trained(model, swapped)
    assert swapped.freeze()["item"].nbytes * 4 <= 4 * ITEMS * D
    with pytest.raises(MethodError, match="second phase"):
        swapped.retrain()


def test_a_forgotten_after_step_is_noticed() -> None:
    model = made()
    swapped = pz.swap(model, {"item": "binary:kind=annealed"})
    for step in range(99):
        model(*batch(step)).sum().backward()
    last = model(*batch(99)).sum()
    with pytest.warns(UserWarning, match="no after_step"):
        last.backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(model, swapped, 3)


@pytest.mark.parametrize(
    ("methods", "of_item", "says"),
    [
        ({"item": "rabitq"}, {}, "works after training only"),
        ({"nothing*": "full"}, {}, "matches no embedding; there are user, item, tags"),
        ({}, {}, "no method is given"),
        ({"item": "full"}, {"max_norm": 1.0}, "max_norm"),
        ({"item": "full"}, {"sparse": True}, "sparse=True"),
        ({"item": "full"}, {"scale_grad_by_freq": True}, "scale_grad_by_freq"),
        ({"item": "lsq:bits=4,group=99"}, {}, "item: group"),
    ],
)
def test_refusals_leave_the_model_as_it_was(methods: Any, of_item: Any, says: str) -> None:
    model = made(**of_item)
    with pytest.raises(MethodError, match=says):
        pz.swap(model, methods)
    assert type(model.item) is nn.Embedding


def test_a_layer_over_the_same_weight_is_refused() -> None:
    model = made()
    model.scores = nn.Linear(D, ITEMS, bias=False)
    model.scores.weight = model.item.weight
    with pytest.raises(MethodError, match=r"its weight is also scores\.weight of a Linear"):
        pz.swap(model, {"item": "full"})


# torch's own tracer makes an instance of autograd functions.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_autocast_compile_and_accumulation() -> None:
    model = made()
    swapped = pz.swap(model, {"user": "full", "item": "lsq:bits=4"})
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(*batch(0)).float().sum()
    loss.backward()
    once = model.item.table.weight.grad.clone()
    with torch.autocast("cpu", torch.bfloat16):
        model(*batch(0)).float().sum().backward()
    torch.testing.assert_close(model.item.table.weight.grad, 2 * once, rtol=0.05, atol=1e-3)
    model.eval()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*batch(1)), model(*batch(1)))
    swapped.after_step()


def test_copies_are_taken_up() -> None:
    model = made()
    pz.swap(model, {"item": "lsq:bits=4"})
    twin = copy.deepcopy(model)
    trained(twin, Swapped(twin))
    assert not torch.equal(twin.item.table.weight, model.item.table.weight)
