"""A few rows of known values, read on a device before its kernels are trusted."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from pintsize.kernels.triton.scalar import ScalarLayout, bag_scalar, gather_scalar

__all__ = ["wrong_on"]

_ROWS, _COLUMNS = 5, 8


def wrong_on(device: Any) -> str:
    """What is wrong with look-ups and bags of rotated 8-bit rows on this torch device; empty if nothing is."""
    torch: Any = sys.modules["torch"]
    codes = np.arange(_ROWS * _COLUMNS, dtype=np.uint8).reshape(_ROWS, _COLUMNS)
    scales = np.array([[0.5, -1.0]], np.float16).repeat(_ROWS, axis=0)
    records = torch.as_tensor(np.concatenate([codes, scales.view(np.uint8)], axis=1), device=device)
    # One sign bit set: minus the first column of the transform, plus nothing; small numbers, so that sums are exact.
    signs = torch.as_tensor(np.array([[0b11111110]], np.uint8), device=device)
    layout = ScalarLayout(
        records, _COLUMNS, 256, _COLUMNS, "float16", True, 0.0, 1.0, _COLUMNS, _COLUMNS, 0, None, signs
    )
    rows = torch.tensor([4, 0, 2], device=device)
    found, bags = torch.empty(3, _COLUMNS, device=device), torch.empty(2, _COLUMNS, device=device)
    gather_scalar(layout, rows, found)
    bag_scalar(layout, rows, np.array([0, 2, 3]), False, None, bags)
    pairs = np.array([[1]], np.float32)
    while len(pairs) < _COLUMNS:
        pairs = np.block([[pairs, pairs], [pairs, -pairs]])
    turned = (codes * np.float32(0.5) - 1) @ pairs * np.float32(_COLUMNS**-0.5) * np.array([-1] + [1] * 7, np.float32)
    wanted = turned[[4, 0, 2]]
    if not np.allclose(found.cpu().numpy(), wanted, rtol=1e-6, atol=1e-5):
        return "a look-up gives other rows than the plain code"
    if not np.allclose(bags.cpu().numpy(), [wanted[0] + wanted[1], wanted[2]], rtol=1e-6, atol=1e-5):
        return "a bag gives another sum than the plain code"
    return ""
