"""`paired` as a method: tables that hold exactly what was fitted, at exactly the size that was asked for."""

import numpy as np
import pytest

from pintsize.errors import MethodError
from pintsize.methods._paired_fit import fit_pair
from pintsize.methods.paired import Paired
from pintsize.table import EmbeddingTable


def tables(users=90, items=70, columns=12, seed=0):
    rng = np.random.default_rng(seed)
    return [EmbeddingTable(rng.standard_normal((n, columns)).astype(np.float32)) for n in (users, items)]


def looked_up(table):
    return table.lookup(np.arange(table.num_embeddings))


@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("middle", [False, True])
def test_tables_hold_what_was_fitted(levels, middle):
    left, right = tables()
    method = Paired(columns=13, levels=levels, middle=middle, scales=True, rounds=2)
    coded = method.compress_pair(left, right, seed=3)
    fitted = fit_pair(
        left.array(), right.array(), columns=13, levels=levels, middle=middle, neighbours=64, weight=100.0,
        relist=True, rounds=2, num_scales={2: 16, 3: 27, 4: 16}[levels], seed=3,
    )  # fmt: skip
    # The scales of the left side are stored in half precision.
    np.testing.assert_allclose(looked_up(coded[0]), fitted.left_values(), rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(looked_up(coded[1]), fitted.right_values(), rtol=1e-6)


def test_without_scales_only_a_factor_of_each_left_row_is_lost():
    left, right = tables()
    plain, _ = Paired(columns=16, rounds=2).compress_pair(left, right)
    scaled, _ = Paired(columns=16, rounds=2, scales=True).compress_pair(left, right)
    factors = looked_up(scaled) / looked_up(plain)
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape), rtol=1e-6)
    assert np.all(factors >= 0)


@pytest.mark.parametrize(
    ("levels", "columns", "left_bytes", "right_bytes"), [(2, 12, 2, 2), (3, 17, 4, 4), (4, 14, 4, 4)]
)
def test_scale_digits_fill_the_last_byte(levels, columns, left_bytes, right_bytes):
    left, right = tables()
    coded = Paired(columns=columns, levels=levels, rounds=0).compress_pair(left, right)
    assert coded[0].nbytes == 90 * left_bytes
    assert coded[1].nbytes == 70 * right_bytes + 4 * (27 if levels == 3 else 16)


@pytest.mark.parametrize("middle", [False, True])
def test_a_ratio_is_kept_and_used(middle):
    left, right = tables(400, 300)
    coded = Paired(ratio=8, middle=middle, rounds=1).compress_pair(left, right)
    whole, taken = 4 * 700 * 12, coded[0].nbytes + coded[1].nbytes
    assert 8 * taken <= whole < 8 * (taken + 700 + 200)


def test_tables_that_cannot_be_a_pair_are_refused():
    left, right = tables()
    narrow = EmbeddingTable(right.array()[:, :5])
    empty = EmbeddingTable(np.zeros((0, 12), np.float32))
    for pair, message in {
        (left, narrow): "12 and 5",
        (empty, right): "0 and 70 rows",
        (left, empty): "90 and 0",
    }.items():
        with pytest.raises(MethodError, match=message):
            Paired(columns=8).compress_pair(*pair)
    with pytest.raises(MethodError, match="leaves"):
        Paired(ratio=1000).compress_pair(left, right)
    with pytest.raises(ValueError, match="exactly one"):
        Paired(columns=3, ratio=3)
