"""Rows read from a file that are kept, in a bounded number of bytes."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowCache"]

_WAYS = 8
_AT_A_TIME = 1 << 14
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class RowCache:
    """Records by row: sets of eight places, of which a new row takes the one that was used longest ago.

    Rows are kept and not blocks of the file: where popular rows lie scattered, a block of 4 KiB would spend a hundred
    records on each. The sets are those of the caches of processors, and of embedding tables on GPUs (FBGEMM).

    Args:
        width: Bytes a record.
        budget: Bytes that all arrays of the cache take together, at most.
    """

    def __init__(self, width: int, budget: int) -> None:
        sets = budget // (_WAYS * (width + np.dtype(np.int64).itemsize + np.dtype(np.uint32).itemsize))
        self._sets = sets
        self._rows = np.full((sets, _WAYS), -1, np.int64)
        self._used = np.zeros((sets, _WAYS), np.uint32)
        self._records = np.empty((sets * _WAYS, width), np.uint8)
        self._clock = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """What the cache takes when it is full."""
        return self._rows.nbytes + self._used.nbytes + self._records.nbytes

    def find(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Writes the records that are kept to their places in `out`; the positions of the others."""
        if not self._sets:
            return np.arange(len(rows))
        missing = []
        with self._lock:
            self._clock = (self._clock + 1) % 2**32
            for start in range(0, len(rows), _AT_A_TIME):
                asked = rows[start : start + _AT_A_TIME]
                own = self._set_of(asked)
                match = self._rows[own] == asked[:, None]
                hit = np.flatnonzero(match.any(axis=1))
                place = own[hit] * _WAYS + match[hit].argmax(axis=1)
                out[start + hit] = self._records[place]
                self._used.reshape(-1)[place] = self._clock
                missing.append(start + np.flatnonzero(~match.any(axis=1)))
        return np.concatenate(missing) if missing else np.arange(0)

    def keep(self, rows: NDArray[np.int64], records: NDArray[np.uint8]) -> None:
        """Takes in records of different rows; of those too many for their set, some."""
        if not self._sets:
            return
        with self._lock:
            for start in range(0, len(rows), _AT_A_TIME):
                self._put(rows[start : start + _AT_A_TIME], records[start : start + _AT_A_TIME])

    def _put(self, rows: NDArray[np.int64], records: NDArray[np.uint8]) -> None:
        own = self._set_of(rows)
        # Another thread may have brought the same row meanwhile: twice in a set, it would waste a place.
        fresh = np.flatnonzero((self._rows[own] != rows[:, None]).all(axis=1))
        order = fresh[np.argsort(own[fresh], kind="stable")]
        sets = own[order]
        turn = np.arange(len(sets)) - np.searchsorted(sets, sets)
        order, sets, turn = order[turn < _WAYS], sets[turn < _WAYS], turn[turn < _WAYS]
        oldest = np.argsort(self._used[sets], axis=1, kind="stable")
        place = sets * _WAYS + oldest[np.arange(len(sets)), turn]
        self._rows.reshape(-1)[place] = rows[order]
        self._used.reshape(-1)[place] = self._clock
        self._records[place] = records[order]

    def _set_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        mixed = (rows.astype(np.uint64) * _SPREAD) >> np.uint64(32)
        return (mixed % np.uint64(self._sets)).astype(np.int64)
