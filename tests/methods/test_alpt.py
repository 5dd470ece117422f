"""Integers trained as integers: the update against its equations, and what memory holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pintsize.methods._straight_through import to_half
from pintsize.methods.alpt import Alpt


def stepped(module: Any, rows: Any, gradient: Any) -> None:
    (module(rows) * gradient).sum().backward()


def test_the_update_is_the_stated_one_on_average() -> None:
    torch.manual_seed(0)
    d, repeats = 6, 4000
    module = Alpt(bits=4, rate=0.3, step_rate=0.02).build(repeats, d)
    # Every row is the same row: their mean shows what stochastic rounding does on average.
    module.codes.copy_(torch.tensor([0, 3, -8, 7, 1, -2]))
    module.step.fill_(0.25)
    gradient = torch.tensor([1.0, -0.4, 0.9, -1.0, 0.0, 0.2])
    stepped(module, torch.arange(repeats), gradient.expand(repeats, d))

    q, s, g = np.array([0, 3, -8, 7, 1, -2.0]), 0.25, gradient.double().numpy()
    normal = g / np.sqrt((g**2).mean())
    wanted = q * s - 0.3 * normal
    ratio = wanted / s
    inside = (ratio >= -8) & (ratio <= 7)
    assert not inside.all()
    slope = np.where(inside, np.round(ratio) - ratio, np.clip(ratio, -8, 7))
    new = s - 0.02 * (normal * slope).sum() / math.sqrt(d * 7)
    np.testing.assert_allclose(module.step.numpy(), new, rtol=1e-5)
    mean = module.all_rows().detach().double().mean(dim=0).numpy()
    used = float(to_half(torch.tensor(new, dtype=torch.float32)))
    np.testing.assert_allclose(mean, np.clip(wanted, -8 * used, 7 * used), atol=4 * used / math.sqrt(repeats))
    # Codes are on either side of what was wanted.
    wide = wanted / used
    assert set(module.codes[:, 1].tolist()) == {math.floor(wide[1]), math.ceil(wide[1])}


def test_only_touched_rows_change_and_repeats_are_summed() -> None:
    module, other = Alpt(rate=1).build(30, 5), Alpt(rate=1).build(30, 5)
    other.load_state_dict(module.state_dict())
    before = module.codes.clone()
    torch.manual_seed(1)
    stepped(module, torch.tensor([7, 3, 7]), torch.ones(3, 5) * torch.tensor([1.0, 5.0, 2.0])[:, None])
    torch.manual_seed(1)
    stepped(other, torch.tensor([3, 7]), torch.tensor([5.0, 3.0])[:, None] * torch.ones(2, 5))
    assert torch.equal(module.codes, other.codes)
    changed = (module.codes != before).any(dim=1).nonzero()[:, 0].tolist()
    assert changed == [3, 7]


def test_nothing_is_updated_without_training() -> None:
    module = Alpt().build(30, 5)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module(torch.arange(30))
    factor = torch.ones((), requires_grad=True)
    module.eval()
    (module(torch.arange(30)) * factor).sum().backward()
    module.train()
    with torch.no_grad():
        module(torch.arange(30))
    stepped(module, torch.arange(30), torch.full((30, 5), torch.nan))
    stepped(module, torch.arange(30), torch.zeros(30, 5))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_memory_is_that_of_the_integers() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    n, d = 50_000, 32
    module = Alpt().build(n, d)
    assert module.owns_update and not list(module.parameters())
    assert sum(b.numel() * b.element_size() for b in module.buffers()) == n * (d + 8)
    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            made = out if isinstance(out, tuple | list) else (out,)
            sizes.extend(v.numel() for v in made if isinstance(v, torch.Tensor) and v.is_floating_point())
            return out

    with Sizes():
        stepped(module, torch.randint(n, (64,)), torch.ones(64, d))
    assert max(sizes) <= max(n, 64 * d)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_start_has_the_deviation_that_was_asked(bits: int) -> None:
    module = Alpt(bits=bits).build(2000, 16)
    module.start(0.05)
    rows = module.all_rows().detach()
    assert rows.std().item() == pytest.approx(0.05, rel=0.25)
    assert Alpt(bits=bits).build(10, 16).freeze().nbytes == 10 * (2 * bits + 2)
