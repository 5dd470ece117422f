"""Kernels for GPUs in Triton, of the formats that have kernels for CPUs, and held to the same twins.

The checks of this project run them under Triton's interpreter and compile them for GPUs without running them there: no
GPU was at hand, so nothing here has been timed or tuned. Hence `trial`: before kernels are trusted with a device, they
read a few rows there whose values are known.
"""

from __future__ import annotations

from pintsize.kernels.triton.codebook import CodebookLayout, bag_codebook, gather_codebook
from pintsize.kernels.triton.partition import locate
from pintsize.kernels.triton.scalar import ScalarLayout, bag_scalar, gather_scalar
from pintsize.kernels.triton.tiles import INTERPRETED, widest_rotation

__all__ = [
    "INTERPRETED",
    "CodebookLayout",
    "ScalarLayout",
    "bag_codebook",
    "bag_scalar",
    "gather_codebook",
    "gather_scalar",
    "locate",
    "widest_rotation",
]
