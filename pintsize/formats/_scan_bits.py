"""Ranking rows of 1, 2 or 4 bits by table look-ups: candidates for a finer table.

Half a byte of codes indexes a table of sixteen sums of query values, rounded to six bits; a row's score is the sum of
its entries, times its scale. The plain twin sums the same entries in the same order of operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pintsize import kernels
from pintsize.formats._chosen import scores_of
from pintsize.formats._packing import BLOCK, bits_of, packed_width

if TYPE_CHECKING:
    from pintsize.formats._topk import Filter, Found
    from pintsize.formats.scalar import ScalarTable

__all__ = ["likely_finds", "likely_rows", "nearly_topk"]

_MOST_ENTRY = 63
_MOST_TABLES = 512
_MIN_ROWS_A_PART = 1 << 15
_BLOCK_QUERIES = 1024
_MOST_SHARE = 8  # more candidates than one row in eight are no shortcut
_DEVIATIONS = 4
_FINITE = np.float32(1e30)


@dataclass(frozen=True)
class _Entries:
    """Queries as tables: score = scale * (step * sum of entries + base) + offset * total."""

    entries: NDArray[np.uint8]  # (num_queries, 2 * code bytes, 16)
    step: NDArray[np.float32]
    base: NDArray[np.float32]
    total: NDArray[np.float32]


def likely_rows(
    table: ScalarTable, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None
) -> NDArray[np.int64] | None:
    """The `count` rows of largest rounded score of each query, best first; None where this is not a table for it.

    As `likely_finds`, without the scores.
    """
    found = likely_finds(table, queries, count, allowed)
    return None if found is None else found[1]


def likely_finds(
    table: ScalarTable, queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None
) -> Found | None:
    """The `count` largest rounded scores of each query, falling, and their rows; None where this is no table for it.

    Args:
        table: Of 1, 2 or 4 bits, one float16 scale a row.
        queries: (num_queries, columns) float32, rotated like the rows.
        count: How many; -1 fills up where fewer are allowed.
        allowed: (num_embeddings,) bool, or None for all rows.
    """
    records = table.records
    fits = table.levels in (2, 4, 16) and table.scale == "float16" and table.groups == 1
    if not fits or 2 * table.code_bytes > _MOST_TABLES or not np.abs(queries).max(initial=0) < _FINITE:
        return None
    if not isinstance(records, np.ndarray) or not records.flags.c_contiguous:
        return None
    best, out = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
    for first in range(0, len(queries), _BLOCK_QUERIES):
        part = slice(first, first + _BLOCK_QUERIES)
        asked = _entries(table, queries[part])
        search = _by_twin if kernels.native() is None else _by_kernel
        scores, rows = search(table, asked, count, allowed)
        order = np.lexsort((rows, -scores), axis=1)
        best[part], out[part] = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
    return best, out


def nearly_topk(
    table: ScalarTable, queries: NDArray[np.float32], k: int, wanted: Filter
) -> tuple[Found, NDArray[np.bool_]] | None:
    """The k best of the likely rows by their true scores, and which queries may have missed one.

    The scores of the likely rows show how far rounding moves a score. A query is sure enough where its k-th best stands
    four standard deviations of that above the last of the likely rows: a row left out would have had to move so far.

    Args:
        table: Of any kind; None for one that `likely_finds` does not take.
        queries: (num_queries, columns) float32, rotated like the rows.
        k: How many are asked for.
        wanted: Rows that may not be returned.
    """
    count = 3 * k + 100 + wanted.widest
    if count * _MOST_SHARE > table.num_embeddings:
        return None
    likely = likely_finds(table, queries, count, wanted.allowed)
    if likely is None:
        return None
    rounded, rows = likely
    plain = table if table.rotation is None else table._unrotated
    hidden = rows < 0
    for q in range(len(rows)) if wanted.hidden.size else ():
        hidden[q] |= np.isin(rows[q], wanted.hidden[wanted.starts[q] : wanted.starts[q + 1]])
    exact = scores_of(plain, queries, rows)
    moved = np.where(rows < 0, 0, exact - np.where(rows < 0, 0, rounded))
    exact[hidden] = -np.inf
    order = np.lexsort((rows, -exact), axis=1)[:, :k]
    scores, found = np.take_along_axis(exact, order, 1), np.take_along_axis(rows, order, 1)
    found[np.isneginf(scores)] = -1
    shift = moved.mean(axis=1) + _DEVIATIONS * moved.std(axis=1)
    unsure = (rows[:, -1] >= 0) & ~(scores[:, -1] >= rounded[:, -1] + shift)
    return (scores, found), unsure


def _digits(columns: int, levels: int) -> NDArray[np.int64]:
    """(code bytes, digits a byte): the column of each digit, low digit first; `columns` where there is none."""
    per_byte = 8 // bits_of(levels)
    whole = columns // (BLOCK * per_byte)
    places = []
    for block in range(whole):
        first = block * BLOCK * per_byte
        places.append(first + np.arange(BLOCK)[:, None] + BLOCK * np.arange(per_byte))
    width = packed_width(columns, levels) - whole * BLOCK
    places.append(whole * BLOCK * per_byte + np.arange(width)[:, None] + width * np.arange(per_byte))
    return np.minimum(np.concatenate(places), columns)


def _entries(table: ScalarTable, queries: NDArray[np.float32]) -> _Entries:
    digits, bits = _digits(table.columns, table.levels), bits_of(table.levels)
    half = digits.reshape(2 * len(digits), -1)  # (tables, digits of half a byte)
    codes = (np.arange(16)[None, :] >> (bits * np.arange(half.shape[1])[:, None])) & (table.levels - 1)
    padded = np.concatenate([queries, np.zeros((len(queries), 1), np.float32)], axis=1)
    sums = padded[:, half] @ codes.astype(np.float32)
    low = sums.min(axis=2)
    reach = (sums.max(axis=2) - low).max(axis=1, initial=0)
    step = np.where(reach > 0, reach / np.float32(_MOST_ENTRY), 1).astype(np.float32)
    entries = np.rint((sums - low[:, :, None]) / step[:, None, None]).astype(np.uint8)
    total = queries.sum(axis=1, dtype=np.float64)
    base = low.sum(axis=1, dtype=np.float64)
    if not table.offset:
        base += table.bias * total
    return _Entries(np.ascontiguousarray(entries), step, base.astype(np.float32), total.astype(np.float32))


def _by_kernel(
    table: ScalarTable, asked: _Entries, count: int, allowed: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    native, at, n = kernels.native(), kernels.address, table.num_embeddings
    queries, tables = asked.entries.shape[:2]
    scores, rows = np.empty((queries, count), np.float32), np.empty((queries, count), np.int64)
    native.scan_bits(
        at(table.records), table.record_bytes, n, table.code_bytes, table.offset, table.unit,
        at(asked.entries), queries, tables, at(asked.step), at(asked.base), at(asked.total),
        0 if allowed is None else at(allowed), count, at(scores), at(rows),
        max(1, min(native.threads(), n // _MIN_ROWS_A_PART)),
    )  # fmt: skip
    return scores, rows


def _by_twin(
    table: ScalarTable, asked: _Entries, count: int, allowed: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    records, width = table.records, table.code_bytes
    meta = np.ascontiguousarray(records[:, width:]).view(np.float16).astype(np.float32) * np.float32(table.unit)
    halves = np.stack([records[:, :width] & 15, records[:, :width] >> 4], axis=2).reshape(len(records), 2 * width)
    found = np.full((len(asked.step), count), -np.inf, np.float32), np.full((len(asked.step), count), -1, np.int64)
    rows = np.arange(len(records)) if allowed is None else np.flatnonzero(allowed)
    for q, entries in enumerate(asked.entries):
        sums = np.zeros(len(rows), np.float32)
        for place, entry in enumerate(entries):
            sums += entry[halves[rows, place]]
        scores = meta[rows, 0] * (asked.step[q] * sums + asked.base[q])
        if table.offset:
            scores += meta[rows, 1] * asked.total[q]
        best = np.lexsort((rows, -scores))[:count]
        found[0][q, : len(best)], found[1][q, : len(best)] = scores[best], rows[best]
    return found
