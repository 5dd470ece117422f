"""AUC and log loss against scikit-learn, and what they refuse."""

import numpy as np
import pytest

from pintsize.errors import TableError
from pintsize.evaluation.clicks import auc, logloss

metrics = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [2, 7, 1000])
def test_agrees_with_scikit_learn_with_ties(seed, levels):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 300)
    p = rng.integers(0, levels + 1, 300) / levels  # 0 and 1 are among them
    assert auc(labels, p) == pytest.approx(metrics.roc_auc_score(labels, p), abs=1e-9)
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    assert logloss(labels, p) == pytest.approx(metrics.log_loss(labels, clipped), abs=1e-9)


def test_one_class_has_a_loss_and_no_auc():
    assert logloss(np.ones(4), np.full(4, 0.5)) == pytest.approx(np.log(2), abs=1e-12)
    for labels in (np.ones(4), np.zeros(4)):
        with pytest.raises(TableError, match="both labels"):
            auc(labels, np.arange(4))


@pytest.mark.parametrize(
    ("labels", "values", "message"),
    [([0, 1], [0.5], "n > 0"), ([], [], "n > 0"), ([0, 2], [0.1, 0.2], "0 or 1"), ([0, 1], [0.1, np.nan], "finite")],
)
def test_refuses(labels, values, message):
    for metric in (auc, logloss):
        with pytest.raises(TableError, match=message):
            metric(np.array(labels), np.array(values))


def test_loss_refuses_scores_and_clips():
    with pytest.raises(TableError, match="sigmoid"):
        logloss(np.array([0, 1]), np.array([-1.0, 2.0]))
    with pytest.raises(TableError, match="clip"):
        logloss(np.array([0, 1]), np.array([0.1, 0.2]), clip=0.5)
