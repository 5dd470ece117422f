"""The learned step against the equations of Esser et al., in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pintsize.errors import MethodError
from pintsize.methods._straight_through import to_half
from pintsize.methods.lsq import Lsq


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("group", [6, 5, 2])
def test_values_and_gradients_are_the_paper_s(bits: int, group: int) -> None:
    torch.manual_seed(bits)
    n, d = 9, 6
    module = Lsq(bits=bits, group=group).build(n, d)
    with torch.no_grad():
        size = module._grouped(module.weight).abs().mean(dim=2)
        module.step.copy_(to_half(1.3 * size / (1 if bits == 1 else 2 ** (bits - 1) - 1)))
    weights = torch.randn(n, d)
    rows = torch.tensor([4, 2, 4])
    served = module(rows)
    (served * weights[: len(rows)]).sum().backward()

    x, s = module.weight.detach().double().numpy(), module.step.detach().double().numpy()
    g = np.zeros((n, d))
    np.add.at(g, rows.numpy(), weights[: len(rows)].double().numpy())
    low, high = (-1, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    ratio = x / np.repeat(s, group, axis=1)[:, :d]
    q = np.where(ratio >= 0, 1, -1) if bits == 1 else np.round(np.clip(ratio, low, high))
    inside = (ratio >= low) & (ratio <= high)
    assert inside.any() and not inside.all()
    slope = np.where(inside, q - ratio, np.clip(q, low, high))
    starts = np.arange(0, d, group)
    step_gradient = np.add.reduceat(g * slope, starts, axis=1) / math.sqrt(group * high)
    expected: Any = (q * np.repeat(s, group, axis=1)[:, :d])[rows.numpy()]
    np.testing.assert_allclose(served.detach().numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(module.weight.grad.numpy(), g * inside, rtol=1e-6)
    np.testing.assert_allclose(module.step.grad.numpy(), step_gradient, rtol=1e-4, atol=1e-5)


def test_the_first_steps_are_the_paper_s_and_a_copy_is_near() -> None:
    weight = torch.randn(50, 20)
    module = Lsq(bits=4).build(50, 20)
    module.start_from(weight)
    torch.testing.assert_close(module.step, 2 * weight.abs().mean(1, keepdim=True) / math.sqrt(7))
    error = (module.all_rows() - weight).square().mean()
    assert error < 0.04


def test_sizes_are_codes_and_steps() -> None:
    assert Lsq(bits=4).build(100, 24).freeze().nbytes == 100 * (12 + 2)
    assert Lsq(bits=3, group=8).build(100, 24).freeze().nbytes == 100 * (9 + 6)


def test_steps_that_fall_below_zero_come_back() -> None:
    module = Lsq(bits=4).build(1, 8)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(0.5, 1, 8)[None])
        module.step.fill_(-0.1)
    optimizer = torch.optim.SGD([module.step], 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (module(torch.tensor([0])) - module.weight.detach()).square().sum().backward()
        optimizer.step()
    assert module.step.item() > 0.05


def test_a_group_wider_than_the_table_is_refused() -> None:
    with pytest.raises(MethodError, match="at most the 8 columns"):
        Lsq(group=9).build(3, 8)
