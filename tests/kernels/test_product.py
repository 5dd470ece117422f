"""The product of narrow rows with a small matrix."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pintsize.kernels import address
from tests.kernels.agreement import NATIVE, at_level, each_level


@each_level
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(count=st.integers(0, 11), inner=st.integers(1, 20), columns=st.integers(1, 100), seed=st.integers(0, 9))
def test_products_of_odd_shapes(level, count, inner, columns, seed):
    rng = np.random.default_rng(seed)
    left, right = rng.standard_normal((count, inner), np.float32), rng.standard_normal((inner, columns), np.float32)
    out = np.full((count + 1, columns), 7, np.float32)
    with at_level(level):
        NATIVE.narrow_product(address(left), count, inner, address(right), columns, address(out))
    np.testing.assert_allclose(out[:count], left.astype(np.float64) @ right, atol=1e-5)
    assert (out[count] == 7).all()
