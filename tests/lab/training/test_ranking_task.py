"""The two losses, against what their papers say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pintsize.errors import MethodError
from pintsize.lab.datasets.interactions import Interactions
from pintsize.lab.recommenders.bpr_mf import BprMf
from pintsize.lab.training import RankingTask
from pintsize.lab.training._softmax import batch_softmax

PAIRS = Interactions(np.array([0, 0, 1, 2, 2, 2], np.int32), np.array([1, 3, 0, 0, 1, 2], np.int32), 3, 5)


def test_softmax_is_a_cross_entropy_over_what_was_not_met():
    rng = np.random.default_rng(0)
    for n, m in ((3, 2), (700, 40), (1024, 9)):
        queries, items = (torch.from_numpy(rng.standard_normal((k, 6))).requires_grad_() for k in (n, m))
        target = torch.from_numpy(rng.integers(0, m, n))
        left_out = torch.from_numpy(rng.random((n, m)) < 0.2)
        left_out[torch.arange(n), target] = False
        rows, columns = left_out.nonzero(as_tuple=True)
        loss = batch_softmax(queries, items, target, rows, columns)
        found = torch.autograd.grad(3 * loss, (queries, items))
        scores = (queries @ items.T).masked_fill(left_out, -torch.inf)
        plain = torch.nn.functional.cross_entropy(scores, target)
        want = torch.autograd.grad(3 * plain, (queries, items))
        torch.testing.assert_close(loss, plain)
        torch.testing.assert_close(found, want)


def test_softmax_batches_leave_out_what_a_user_has_met():
    task = RankingTask(PAIRS, batch_size=6, ranking="softmax", temperature=0.5, decay=0.1)
    task.begin_epoch(0, 0)
    torch.manual_seed(0)
    model = BprMf.of(3, 5, 4)
    users, items = (v.detach().double().numpy() for v in model.vectors())
    items_of_batch = sorted(set(PAIRS.items.tolist()))
    met = set(zip(PAIRS.users.tolist(), PAIRS.items.tolist(), strict=True))
    total = 0.0
    for u, i in met:
        q = users[u] / np.linalg.norm(users[u]) / 0.5
        counts = np.bincount(PAIRS.items, minlength=5)
        scores = {j: q @ items[j] - np.log(counts[j]) for j in items_of_batch if j == i or (u, j) not in met}
        total += np.log(sum(np.exp(s) for s in scores.values())) - scores[i]
    decay = (users[PAIRS.users] ** 2).sum() + (items[items_of_batch] ** 2).sum()
    assert float(task.loss(model, 0).detach()) == pytest.approx(total / 6 + 0.1 / 12 * decay, rel=1e-5)


def test_bpr_draws_items_that_were_not_met():
    task = RankingTask(PAIRS, batch_size=6, decay=0)
    for epoch in range(30):
        task.begin_epoch(0, epoch)
        users = PAIRS.users[task.order].astype(np.int64)
        drawn = task.unmet(users, 0)
        assert not task.has_met(users, drawn).any()
        assert set(drawn.tolist()) <= set(range(5))
    model = BprMf.of(3, 5, 4)
    users_rows, items_rows = (v.detach().double().numpy() for v in model.vectors())
    chosen = task.order
    above, below = PAIRS.items[chosen], task.unmet(PAIRS.users[chosen].astype(np.int64), 0)
    margin = (users_rows[PAIRS.users[chosen]] * (items_rows[above] - items_rows[below])).sum(axis=1)
    assert float(task.loss(model, 0).detach()) == pytest.approx(np.log1p(np.exp(-margin)).mean(), rel=1e-5)


def test_a_user_who_met_everything_does_not_stop_the_draw():
    full = Interactions(np.zeros(4, np.int32), np.arange(4, dtype=np.int32), 1, 4)
    task = RankingTask(full, batch_size=4)
    task.begin_epoch(0, 0)
    assert torch.isfinite(task.loss(BprMf.of(1, 4, 2), 0))


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"k": 0}, {"temperature": 0.0}, {"decay": -1.0}, {"ranking": "hinge"}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(MethodError):
        RankingTask(PAIRS, **wrong)


def test_other_models_are_refused():
    task = RankingTask(PAIRS, PAIRS)
    task.begin_epoch(0, 0)
    with pytest.raises(MethodError, match="RankingModel"):
        task.loss(torch.nn.Linear(1, 1), 0)
    with pytest.raises(MethodError, match="RankingModel"):
        task.evaluate(torch.nn.Linear(1, 1))
