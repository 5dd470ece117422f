"""How many reads a device wants in flight: measured, once a device and process."""

from __future__ import annotations

import time

import numpy as np

from pintsize.bundle._row_reads import BLOCK, RowFile
from pintsize.kernels import native

__all__ = ["UNMEASURED", "measured_depth"]

UNMEASURED = 32
"""Where nothing can be measured: no kernels, a file of few blocks, or no reads but through the page cache."""

_DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PASSES = 2
_SECONDS = 1.0
_NEAR_ENOUGH = 0.9
_known: dict[int, int] = {}


def measured_depth(file: RowFile) -> int:
    """The least number of reads in flight that brings nine tenths of the most blocks a second.

    Random blocks of 4 KiB of this file are read past the page cache, at 1 to 256 at a time: about 12,000 reads, or what
    fits into a second. Deeper queues than that would only make others wait.
    """
    device = file.status.st_dev
    if device not in _known:
        blocks = file.size // BLOCK
        if file.direct < 0 or native() is None or blocks < 8 * _DEPTHS[-1]:
            return UNMEASURED
        _known[device] = _measured(file, blocks)
    return _known[device]


def _measured(file: RowFile, blocks: int) -> int:
    rng = np.random.default_rng()
    rates: dict[int, float] = {}
    begun = time.perf_counter()
    for _ in range(_PASSES):
        for depth in _DEPTHS:
            rows = np.sort(rng.integers(0, blocks, max(128, 8 * depth)))
            into = np.empty((len(rows), BLOCK), np.uint8)
            started = time.perf_counter()
            file.read(0, rows, into, depth, uncached=True)
            rates[depth] = max(rates.get(depth, 0.0), len(rows) / (time.perf_counter() - started))
            if time.perf_counter() - begun > _SECONDS:
                break
    enough = _NEAR_ENOUGH * max(rates.values())
    return next(depth for depth in _DEPTHS if rates[depth] >= enough)
