"""The symmetric codes of rotated and rabitq against the exact optimum, and RaBitQ's one-bit estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pintsize.methods.rabitq import Rabitq
from pintsize.methods.rotated import Rotated
from pintsize.table import EmbeddingTable


def least_errors(rows: Any, bits: int) -> Any:
    """The least ||y - c q||^2 over all scales and codes, by walking through every step at which a code changes."""
    found = []
    for a in np.abs(rows.astype(np.float64)):
        higher = np.arange(1, 2 ** (bits - 1))
        steps = (a[:, None] / higher).ravel()
        order = np.argsort(-steps)
        dots = 0.5 * a.sum() + np.concatenate([[0], np.cumsum(np.repeat(a, len(higher))[order])])
        squares = 0.25 * len(a) + np.concatenate([[0], np.cumsum(2.0 * np.tile(higher, len(a))[order])])
        found.append((a * a).sum() - (dots**2 / squares).max())
    return np.array(found)


def errors_of(method: Any, rows: Any) -> Any:
    served = method.compress(EmbeddingTable(rows)).lookup(np.arange(len(rows)))
    return ((served.astype(np.float64) - rows) ** 2).sum(axis=1)


@pytest.mark.parametrize(("bits", "excess"), [(2, 1.001), (3, 1.004), (4, 1.01), (6, 1.1)])
@pytest.mark.parametrize("tails", ["gaussian", "heavy"])
def test_a_dozen_steps_come_near_the_optimum(bits: int, excess: float, tails: str) -> None:
    rng = np.random.default_rng(bits)
    rows = (rng.standard_normal((100, 64)) if tails == "gaussian" else rng.standard_t(2.5, (100, 64))).astype(
        np.float32
    )
    least = least_errors(rows, bits)
    errors = errors_of(Rabitq(bits=bits, rotate=False), rows)
    assert (errors >= least * (1 - 1e-6)).all()
    assert errors.sum() <= excess * least.sum()


def test_rotated_comes_near_the_optimum_in_one_step() -> None:
    rows = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    assert errors_of(Rotated(bits=2), rows).sum() < 1.02 * errors_of(Rabitq(bits=2), rows).sum()


def test_one_bit_inner_products_are_unbiased() -> None:
    rng = np.random.default_rng(0)
    row, query = rng.standard_normal((2, 64)).astype(np.float32)
    row += query
    estimates = []
    for seed in range(400):
        table = Rabitq(bits=1).compress(EmbeddingTable(row[None]), seed=seed)
        estimates.append(float(table.lookup([0])[0] @ query))
    spread = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - row @ query) < 4 * spread
    shrunk = [
        float(Rotated(bits=1).compress(EmbeddingTable(row[None]), seed=s).lookup([0])[0] @ query) for s in range(50)
    ]
    assert np.mean(shrunk) < 0.75 * row @ query


def test_a_row_along_an_axis_keeps_its_unbiased_scale_past_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.zeros((20, 1024), np.float32)
    rows[:, 5] = 1e-3
    rows[19, 5] = 1e5
    monkeypatch.setattr(EmbeddingTable, "sample", lambda self, size, seed=0: rows[:10])
    served: Any = Rabitq(bits=1, rotate=False).compress(EmbeddingTable(rows)).lookup([19])
    assert served[0, 5] == pytest.approx(1e5, rel=1e-3)
