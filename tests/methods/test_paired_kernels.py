"""The native inner loops of `paired` against their twins."""

import numpy as np
import pytest

from pintsize import kernels
from pintsize.methods import _paired_kernels as loops
from pintsize.methods._paired_kernels import Lists

pytestmark = pytest.mark.skipif(kernels.native() is None, reason="there is nothing to compare without the extension")


def problem(rows=40, others=30, columns=21, levels=(-1.0, 1.0), seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 20, rows)
    lengths[0], lengths[1] = 0, 17
    lengths = np.minimum(lengths, others)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.concatenate([rng.permutation(others)[:n] for n in lengths]).astype(np.int32)
    other = rng.standard_normal((others, columns)).astype(np.float32)
    lists = Lists(indptr, ids, rng.standard_normal(len(ids)).astype(np.float32), rng.random(len(ids), np.float32))
    codes = rng.integers(0, len(levels), (rows, columns)).astype(np.uint8)
    scales = (0.5 + rng.random(rows)).astype(np.float32)
    aim = 10 * rng.standard_normal((rows, columns)).astype(np.float32)
    state = {"gram": other.T @ other, "aim": aim, "other": other, "lists": lists}
    return codes, scales, np.array(levels, np.float32), state


def objective(codes, scales, levels, state, alpha):
    q = (scales[:, None] * levels[codes]).astype(np.float64)
    lists = state["lists"]
    owner = np.repeat(np.arange(len(q)), np.diff(lists.indptr))
    error = (q[owner] * state["other"][lists.ids]).sum(1) - lists.targets
    spread = np.bincount(owner, lists.weights * error**2, minlength=len(q))
    return ((q @ state["gram"]) * q).sum(1) - 2 * (q * state["aim"]).sum(1) + alpha * spread


@pytest.mark.parametrize("levels", [(-1.0, 1.0), (-1.0, 0.0, 1.0), (-1.5, -0.5, 0.5, 1.5)])
@pytest.mark.parametrize("sweeps", [0, 1, 3])
def test_descent_equals_its_twin(levels, sweeps):
    results = []
    for run in (loops.descend, loops.descend_twin):
        codes, scales, values, state = problem(levels=levels)
        changes = run(
            codes, scales, values, **state, alpha=3.0, sweeps=sweeps, floor=1e-6, fit_before=True, fit_after=True
        )
        results.append((changes, codes, scales))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
    np.testing.assert_allclose(results[0][2], results[1][2], rtol=1e-4)


def test_descent_lowers_every_row_and_ends_where_no_code_helps():
    codes, scales, levels, state = problem(levels=(-1.0, 0.0, 1.0))
    before = objective(codes, scales, levels, state, 3.0)
    options = {"alpha": 3.0, "floor": 1e-6, "fit_before": False, "fit_after": False}
    assert loops.descend(codes, scales, levels, **state, sweeps=50, **options) > 0
    after = objective(codes, scales, levels, state, 3.0)
    assert np.all(after <= before + 1e-3)
    for column in (0, 7, 20):
        for code in range(3):
            other = codes.copy()
            other[:, column] = code
            assert np.all(objective(other, scales, levels, state, 3.0) >= after - 2e-3)


def test_descent_is_the_same_for_any_threads_and_instruction_set():
    native = kernels.native()
    threads, seen = native.threads(), []
    try:
        for count in (1, 2, 5):
            for level in range(len(native.levels())):
                native.set_threads(count)
                native.force_level(level)
                codes, scales, levels, state = problem(rows=300)
                state["gram"] = np.round(state["gram"], 2)
                loops.descend(
                    codes, scales, levels, **state, alpha=3.0, sweeps=2, floor=1e-6, fit_before=True, fit_after=True
                )
                seen.append((codes.tobytes(), scales.tobytes()))
    finally:
        native.set_threads(threads)
        native.force_level(len(native.levels()) - 1)
    assert len(set(seen)) == 1


def test_pair_loops_equal_their_twins():
    _, _, _, state = problem()
    left = np.random.default_rng(5).standard_normal((40, 21)).astype(np.float32)
    lists, other = state["lists"], state["other"]
    for name, arguments in {
        "pair_products": (left, other, lists.indptr, lists.ids),
        "pair_pull": (left, other, lists, 2.5),
    }.items():
        native, twin = getattr(loops, name)(*arguments), getattr(loops, f"{name}_twin")(*arguments)
        np.testing.assert_allclose(native, twin, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cap", [1, 3, 1000])
def test_transposed_lists_equal_their_twin(cap):
    lists = problem(rows=200, others=15)[3]["lists"]
    lists = Lists(lists.indptr, lists.ids, lists.targets)
    native, twin = loops.transpose_lists(lists, 15, cap), loops.transpose_lists_twin(lists, 15, cap)
    for field in ("indptr", "ids", "targets", "weights"):
        np.testing.assert_array_equal(getattr(native, field), getattr(twin, field))
    assert np.diff(native.indptr).max() <= cap
    # What is left out is stood for: the weights add up to all pairs.
    assert native.weights.sum() == pytest.approx(len(lists.ids))


def test_a_slice_of_lists_is_those_rows():
    lists = problem()[3]["lists"]
    part = lists.rows(slice(1, 5))
    assert part.indptr[0] == 0
    np.testing.assert_array_equal(part.ids, lists.ids[lists.indptr[1] : lists.indptr[5]])
    np.testing.assert_array_equal(np.diff(part.indptr), np.diff(lists.indptr)[1:5])
