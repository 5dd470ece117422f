from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize.formats._packing import pack, unpack
from pintsize.formats._rotation import rotate, rotate_back
from pintsize.formats.scalar import LEVELS
from tests.kernels.agreement import at_level, each_level, twin

seeds = st.integers(0, 2**32)


@each_level
@pytest.mark.parametrize("levels", LEVELS)
@settings(max_examples=60, deadline=None)
@given(n=st.sampled_from([0, 1, 5]), digits=st.integers(1, 400), seed=seeds)
def test_packing(level: int, levels: int, n: int, digits: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, levels, (n, digits)).astype(np.uint8)
    with twin():
        wanted = pack(codes, levels)
    with at_level(level):
        packed = pack(codes, levels)
        np.testing.assert_array_equal(packed, wanted)
        np.testing.assert_array_equal(unpack(packed, digits, levels), codes)
    with twin():
        np.testing.assert_array_equal(unpack(packed, digits, levels), codes)


@each_level
@settings(max_examples=100, deadline=None)
@given(columns=st.integers(2, 700), rounds=st.integers(1, 4), seed=seeds)
def test_hadamard_rotations(level: int, columns: int, rounds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rotation = rng.integers(0, 256, (rounds, -(-columns // 8))).astype(np.uint8)
    rows = rng.standard_normal((3, columns)).astype(np.float32)
    kept = rows.copy()
    with twin():
        wanted = rotate(rows, rotation), rotate_back(rows, rotation)
    with at_level(level):
        found = rotate(rows, rotation), rotate_back(rows, rotation)
        restored = rotate_back(found[0], rotation)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])
    np.testing.assert_array_equal(rows, kept)
    np.testing.assert_allclose(restored, rows, atol=1e-5)
