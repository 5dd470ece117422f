"""Binary and ternary codes against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pintsize.methods.binary import Binary
from pintsize.methods.ternary import Ternary
from pintsize.table import EmbeddingTable


def rows() -> Any:
    return np.random.default_rng(0).standard_normal((40, 33)).astype(np.float32)


def served(method: Any, values: Any) -> Any:
    return method.compress(EmbeddingTable(values)).lookup(np.arange(len(values)))


def test_binary_is_the_sign_times_the_mean() -> None:
    x = rows()
    x[0, 0] = 0
    expected = np.where(x >= 0, 1, -1) * np.abs(x).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(served(Binary(), x), expected, rtol=1e-3)


@pytest.mark.parametrize("packing", ["trits", "bits"])
def test_ternary_is_the_paper_s(packing: Any) -> None:
    x = rows()
    large = np.abs(x) > 0.7 * np.abs(x).mean(axis=1, keepdims=True)
    alpha = (np.abs(x) * large).sum(axis=1, keepdims=True) / large.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(served(Ternary(packing=packing), x), np.sign(x) * large * alpha, rtol=1e-3, atol=1e-7)


def test_packings_serve_the_same_at_their_sizes() -> None:
    x = rows()
    trits, bits = (Ternary(packing=p).compress(EmbeddingTable(x)) for p in ("trits", "bits"))
    np.testing.assert_array_equal(trits.lookup(np.arange(40)), bits.lookup(np.arange(40)))
    assert trits.nbytes == 40 * (7 + 2) and bits.nbytes == 40 * (9 + 2)
    assert Binary().compress(EmbeddingTable(x)).nbytes == 40 * (5 + 2)
