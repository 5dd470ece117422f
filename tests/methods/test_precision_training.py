"""Widths searched in training: the budget holds, penalties press, and what is retrained is what was found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pintsize.errors import MethodError
from pintsize.methods._precision_training import CANDIDATES
from pintsize.methods.mixed_precision import MixedPrecision


def searched(ratio: float, n: int = 400, d: int = 16, steps: int = 60) -> Any:
    """Rows of which the most used quarter alone must be told apart, to three digits."""
    torch.manual_seed(0)
    counts = np.arange(n, 0, -1) ** 2
    module = MixedPrecision(ratio=ratio, groups=8).build(n, d, counts=counts)
    target = torch.randn(n, d)
    module.start_from(target)
    optimizer = torch.optim.Adam(module.search_parameters(), 0.1)
    weights = torch.zeros(n, 1)
    weights[: n // 4] = 1
    for _ in range(steps):
        optimizer.zero_grad()
        error = ((module.all_rows() - target).square() * weights).mean()
        (100 * error + module.penalty()).backward()
        optimizer.step()
    return module


@pytest.mark.parametrize("ratio", [4.5, 8, 16])
def test_bits_go_where_the_loss_is_and_keep_the_budget(ratio: float) -> None:
    module = searched(ratio)
    bits = module.bits().numpy()
    assert bits[:100].mean() > 2 * bits[100:].mean()
    found = module.retrain()
    for each in (module, found):
        table = each.freeze()
        assert table.nbytes * ratio <= 4 * 400 * 16
    assert np.array_equal(found.bits.numpy(), bits)
    assert set(bits.tolist()) <= set(CANDIDATES)


def test_the_penalty_is_the_expected_excess() -> None:
    module = MixedPrecision(ratio=8, groups=4, weight=3).build(100, 16)
    costs = np.array([0, 4 + 2, 6 + 2, 8 + 2, 12 + 2, 16 + 2])
    expected = 3 * max(0, 100 * costs.mean() / (4 * 100 * 16 / 8) - 1)
    assert expected > 0
    assert module.penalty().item() == pytest.approx(expected, rel=1e-5)
    module.penalty().backward()
    assert (module.logits.grad[:, 0] < 0).all() and (module.logits.grad[:, -1] > 0).all()


def test_training_mixes_by_the_softmax() -> None:
    module = MixedPrecision(ratio=4, groups=2).build(10, 16)
    with torch.no_grad():
        module.logits[:, 5] = 50
        module.shared.fill_(3)
    near = (module.all_rows() - module.weight).abs().max()
    assert near < 0.5
    with torch.no_grad():
        module.logits[:, 0] = 100
    torch.testing.assert_close(module.all_rows(), torch.full((10, 16), 3.0))


def test_given_bits_are_those_of_the_rows_by_use() -> None:
    counts = np.random.default_rng(0).permutation(12)
    module: Any = MixedPrecision(bits=(8, 2, 0)).build(12, 16, counts=counts)
    order = np.argsort(-counts)
    assert module.bits.numpy()[order].tolist() == [8] * 4 + [2] * 4 + [0] * 4
    target = torch.randn(12, 16)
    module.start_from(target)
    served = module.freeze().lookup(order)
    np.testing.assert_allclose(served[:4], target.numpy()[order[:4]], atol=0.3)
    np.testing.assert_allclose(
        served[8:], np.tile(target.numpy()[order[8:]].mean(axis=0), (4, 1)), rtol=1e-4, atol=1e-6
    )


def test_a_budget_below_the_smallest_form_is_refused_with_what_can_be_had() -> None:
    with pytest.raises(MethodError, match="ratio=") as error:
        MixedPrecision(ratio=100).build(20, 16)
    reachable = float(str(error.value).rpartition("ratio=")[2])
    MixedPrecision(ratio=reachable).build(20, 16)


def test_counts_of_another_length_are_refused() -> None:
    with pytest.raises(MethodError, match="counts are one a row"):
        MixedPrecision(ratio=4).build(20, 16, counts=np.ones(19, np.int64))
