"""Merging blocks of scores into best lists: native against twin, ties, and what is never taken."""

import numpy as np
import pytest

from pintsize.kernels.toplists import merge_top, merge_top_twin


def merged(merge, blocks, k):
    best = np.full((len(blocks[0]), k), -np.inf, np.float32)
    ids = np.full((len(blocks[0]), k), -1, np.int64)
    first = 0
    for block in blocks:
        merge(np.ascontiguousarray(block), first, best, ids)
        first += block.shape[1]
    return best, ids


@pytest.mark.parametrize("k", [1, 7, 200])
def test_native_equals_twin(k):
    rng = np.random.default_rng(0)
    blocks = [rng.integers(-9, 9, (37, width)).astype(np.float32) for width in (64, 1, 130, 63, 0)]
    blocks[2][:, ::5] = np.nan
    blocks[0][3] = np.nan
    blocks[1][5] = -np.inf
    native, twin = merged(merge_top, blocks, k), merged(merge_top_twin, blocks, k)
    np.testing.assert_array_equal(native[0], twin[0])
    np.testing.assert_array_equal(native[1], twin[1])


@pytest.mark.parametrize("merge", [merge_top, merge_top_twin])
def test_equal_scores_keep_the_lower_row(merge):
    best, ids = merged(merge, [np.ones((2, 70), np.float32), np.ones((2, 9), np.float32)], 4)
    assert ids.tolist() == [[0, 1, 2, 3]] * 2 and (best == 1).all()


@pytest.mark.parametrize("merge", [merge_top, merge_top_twin])
def test_what_cannot_be_had_stays_empty(merge):
    block = np.full((1, 80), np.nan, np.float32)
    block[0, 17], block[0, 66] = -np.inf, 3
    best, ids = merged(merge, [block], 3)
    assert ids.tolist() == [[66, -1, -1]] and best[0, 0] == 3 and np.isneginf(best[0, 1:]).all()
