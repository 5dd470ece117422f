"""Full ranking and its measures against a slow, plain reference."""

import numpy as np
import pytest
import scipy.sparse as sp

from pintsize.evaluation.ranking import ndcg_at_k, rank, ranking_metrics, recall_at_k


def reference(users, items, k, exclude):
    out = []
    for u, row in enumerate(users):
        hidden = set(exclude.indices[exclude.indptr[u] : exclude.indptr[u + 1]])
        scores = items @ row
        order = sorted((i for i in range(len(items)) if i not in hidden), key=lambda i: (-scores[i], i))[:k]
        out.append(order + [-1] * (k - len(order)))
    return np.array(out)


def setting(users=70, items=150, seed=0):
    rng = np.random.default_rng(seed)
    # Small integers: sums are exact and ties many.
    tables = [rng.integers(-2, 3, (n, 6)).astype(np.float32) for n in (users, items)]
    train, test = (sp.random(users, items, share, "csr", random_state=rng) for share in (0.3, 0.05))
    for matrix in (train, test):
        matrix.sort_indices()
    return *tables, train, test


def rows(matrix):
    return matrix.indptr, matrix.indices


@pytest.mark.parametrize("k", [1, 20, 140])
def test_ranking_is_the_reference(k):
    users, items, train, _ = setting()
    np.testing.assert_array_equal(rank(users, items, k, exclude=rows(train)), reference(users, items, k, train))


def test_a_callable_ranks_as_the_arrays_do():
    users, items, train, _ = setting(users=1100)
    got = rank(lambda part: users[part] @ items.T, None, 10, num_users=1100, exclude=rows(train))
    np.testing.assert_array_equal(got, rank(users, items, 10, exclude=rows(train)))


def test_many_blocks_rank_as_one():
    users, items, train, _ = setting(users=600, items=9000)
    scores = users @ items.T
    for u in range(600):
        scores[u, train.indices[train.indptr[u] : train.indptr[u + 1]]] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(rank(users, items, 20, exclude=rows(train)), expected)


def test_measures_are_the_reference():
    users, items, train, test = setting()
    ranked = rank(users, items, 20, exclude=rows(train))
    recall, ndcg = recall_at_k(ranked, rows(test)), ndcg_at_k(ranked, rows(test))
    for u in range(70):
        wanted = set(test.indices[test.indptr[u] : test.indptr[u + 1]])
        if not wanted:
            assert np.isnan(recall[u]) and np.isnan(ndcg[u])
            continue
        hits = [int(i in wanted) for i in ranked[u]]
        best = sum(1 / np.log2(p + 2) for p in range(min(20, len(wanted))))
        assert recall[u] == pytest.approx(sum(hits) / len(wanted))
        assert ndcg[u] == pytest.approx(sum(h / np.log2(p + 2) for p, h in enumerate(hits)) / best)


def test_means_skip_users_without_test_items():
    users, items, train, test = setting()
    test = test.tolil()
    test[:10] = 0
    test = test.tocsr()
    test.eliminate_zeros()
    metrics = ranking_metrics(users, items, rows(test), exclude=rows(train), k=5)
    single = recall_at_k(rank(users, items, 5, exclude=rows(train)), rows(test))
    known = single[~np.isnan(single)]
    assert metrics.num_users == len(known) <= 60
    assert metrics.recall.mean == pytest.approx(known.mean())
    assert metrics.recall.standard_error == pytest.approx(known.std(ddof=1) / len(known) ** 0.5)


def test_no_test_items_at_all():
    users, items, _, _ = setting()
    empty = (np.zeros(71, np.int64), np.zeros(0, np.int32))
    metrics = ranking_metrics(users, items, empty)
    assert metrics.num_users == 0 and np.isnan(metrics.recall.mean)


@pytest.mark.parametrize("items", [None, np.zeros((4, 3), np.float32)])
def test_tables_that_do_not_meet_are_refused(items):
    with pytest.raises(ValueError, match="share d"):
        rank(np.zeros((2, 5), np.float32), items, 3)


def test_lists_of_other_users_are_refused():
    with pytest.raises(ValueError, match="n \\+ 1 offsets"):
        recall_at_k(np.zeros((3, 2), np.int64), (np.zeros(3, np.int64), np.zeros(0, np.int32)))
