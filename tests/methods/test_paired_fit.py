"""The fit of `paired`: it keeps rankings, repeats itself, and takes any table."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from pintsize import kernels
from pintsize.evaluation.ranking import rank
from pintsize.methods import _paired_fit
from pintsize.methods._paired_fit import LEVELS, fit_pair
from pintsize.methods._paired_lists import union

USUAL = {"columns": 24, "levels": 2, "middle": False, "neighbours": 16, "weight": 30.0, "relist": False, "rounds": 4}


def tables(users=400, items=300, columns=16, seed=0):
    rng = np.random.default_rng(seed)
    decay = 0.85 ** np.arange(columns)
    left = rng.standard_normal((users, columns)) * decay
    right = rng.standard_normal((items, columns)) * decay + 0.3
    return left.astype(np.float32), right.astype(np.float32)


def overlap(left, right, codes, k=10):
    true, got = rank(left, right, k), rank(codes.left_values(), codes.right_values(), k)
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(true, got, strict=True)])


def fit(left, right, **changes):
    return fit_pair(left, right, seed=0, **{**USUAL, **changes})


def values(codes):
    return [v for v in dataclasses.astuple(codes) if v is not None]


def test_rounds_improve_the_ranking():
    left, right = tables()
    start, end = overlap(left, right, fit(left, right, rounds=0)), overlap(left, right, fit(left, right))
    assert end > start + 0.1


def test_listed_pairs_and_the_middle_matrix_help():
    left, right = tables()
    plain = overlap(left, right, fit(left, right, weight=0.0, columns=12))
    listed = overlap(left, right, fit(left, right, weight=3.0, columns=12))
    middle = overlap(left, right, fit(left, right, weight=3.0, columns=12, middle=True, relist=True))
    assert plain < listed < middle


@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("columns", [5, 16, 40])
def test_any_width_and_levels(levels, columns):
    left, right = tables()
    codes = fit(left, right, levels=levels, columns=columns, middle=True, relist=True, rounds=2)
    assert codes.left_codes.shape == (400, columns) and codes.right_codes.shape == (300, columns)
    assert codes.left_codes.max() < levels and codes.right_codes.max() < levels
    assert codes.right_scale_codes.max() < 16 and codes.right_grid.shape == (16,)
    assert codes.middle.shape == (columns, columns) and codes.middle.dtype == np.float16
    np.testing.assert_array_equal(codes.levels, np.array(LEVELS[levels], np.float32))


def test_products_come_near_those_of_the_centred_tables():
    left, right = tables()
    codes = fit(left, right, levels=4, columns=64, weight=1.0, rounds=6)
    true = left @ (right - right.mean(0)).T
    got = codes.left_values() @ codes.right_values().T
    assert np.linalg.norm(got - true) < 0.2 * np.linalg.norm(true)


def test_a_seed_repeats_and_another_differs():
    left, right = tables()
    first, again = values(fit(left, right, relist=True)), values(fit(left, right, relist=True))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    other = fit_pair(left, right, seed=1, **{**USUAL, "relist": True})
    assert not np.array_equal(first[0], other.left_codes)


def test_scale_of_either_table_changes_no_code():
    left, right = tables()
    plain, scaled = fit(left, right), fit(left * 2**60, right * 2.0**-60)
    np.testing.assert_array_equal(plain.left_codes, scaled.left_codes)
    np.testing.assert_array_equal(plain.right_codes, scaled.right_codes)


def test_the_twins_reach_the_same_quality():
    left, right = tables(60, 50)
    native = fit(left, right, middle=True, relist=True)
    before = kernels.use(None)
    try:
        twin = fit(left, right, middle=True, relist=True)
    finally:
        kernels.use(before)
    assert overlap(left, right, twin) == pytest.approx(overlap(left, right, native), abs=0.03)


def rank_deficient(left, right):
    left[:, 5:] = left[:, :11]
    right[:, 8:] = 0


def constant_columns(left, right):
    left[:, 3] = 1
    right[:, 4] = 2


def zero_rows(left, right):
    left[::7] = 0
    right[::5] = 0


def equal_items(left, right):
    right[:] = right[0]


def all_zero(left, right):
    left[:] = 0
    right[:] = 0


def huge_spread(left, right):
    left[::2] *= 1e-18
    right[::3] *= 1e-12


@pytest.mark.parametrize(
    "spoil", [rank_deficient, constant_columns, zero_rows, equal_items, all_zero, huge_spread], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.filterwarnings("error")
def test_degenerate_tables_give_finite_codes(spoil, levels):
    left, right = tables(50, 40)
    spoil(left, right)
    codes = fit(left, right, levels=levels, columns=20, middle=True, relist=True, rounds=2)
    assert all(np.isfinite(value).all() for value in values(codes))
    assert np.isfinite(codes.left_values() @ codes.right_values().T).all()
    assert np.all(codes.left_values()[~left.any(1)] == 0)


@pytest.mark.parametrize(("users", "items"), [(1, 1), (1, 30), (30, 1), (5, 3)])
@pytest.mark.filterwarnings("error")
def test_few_rows(users, items):
    left, right = tables(users, items)
    codes = fit(left, right, middle=True, relist=True, rounds=2)
    assert len(codes.left_codes) == users and len(codes.right_codes) == items
    assert all(np.isfinite(value).all() for value in values(codes))


def test_progress_is_told():
    seen = []
    fit(*tables(30, 20), rounds=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_union_lists_each_row_once():
    lists = np.array([0, 2, 5, 5]), np.array([4, 2, 0, 1, 3], np.int32)
    more = np.array([[2, 9, 4], [7, 8, 5], [6, 0, 2]], np.int32)
    indptr, ids = union(*lists, more)
    assert indptr.tolist() == [0, 3, 9, 12]
    assert ids.tolist() == [2, 4, 9, 0, 1, 3, 5, 7, 8, 0, 2, 6]


def test_what_was_listed_stays_listed(monkeypatch):
    lengths = []
    real = _paired_fit.listed
    monkeypatch.setattr(_paired_fit, "listed", lambda *a: lengths.append(np.diff(a[2])) or real(*a))
    fit(*tables(40, 200), rounds=8, neighbours=5, relist=True)
    assert len(lengths) == 4
    assert all((after >= before).all() for before, after in pairwise(lengths))
