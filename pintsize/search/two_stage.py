"""Two-stage search: a small table picks candidates, a finer table of the same rows ranks them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, like
from pintsize.errors import TableError
from pintsize.formats._chosen import best_of
from pintsize.formats._inputs import checked_queries
from pintsize.formats._topk import Filter, exact_topk, filter_of
from pintsize.formats.base import CompressedTable
from pintsize.search._confidence import lower_bound

__all__ = ["Plan", "TwoStage"]

_SAMPLE = 512
_LEAST_SAMPLE = 64
_REPEATS = 3
_MOST_SHARE = 8  # rescoring more than one row in eight is no second stage


@dataclass(frozen=True)
class Plan:
    """What calibration decided for one k and recall.

    Args:
        candidates: Rows that the coarse table hands to the fine one, a query; 0: the exact scan is used.
        recall: What unseen queries exceed in the mean, by a lower confidence bound; 1.0 for the exact scan.
        coarse_seconds: A query of the sample by both stages; NaN where that was not timed.
        exact_seconds: A query of the sample by the exact scan; NaN where that was not timed.
        reason: Why this was decided, in a sentence.
    """

    candidates: int
    recall: float
    coarse_seconds: float
    exact_seconds: float
    reason: str

    @property
    def exact(self) -> bool:
        """Whether the fine table is scanned whole."""
        return self.candidates == 0


class TwoStage:
    """Top-k of `fine`, with candidates from `coarse` where that keeps the recall asked for and is faster.

    ``topk`` with ``min_recall`` below 1 follows the plan for that k and recall: the one that `calibrate` made, or makes
    from the first batch of 64 queries or more. Until there is one, and at ``min_recall=1``, the answer is exact.

    Args:
        coarse: Rows in 1 or 2 bits, or any table; scanned whole for every query.
        fine: The same rows, in the same order. Recall is counted against the exact top k of this table.

    Raises:
        TableError: Two tables of different shape, or not of NumPy arrays.
    """

    def __init__(self, coarse: CompressedTable, fine: CompressedTable) -> None:
        ours = (fine.num_embeddings, fine.embedding_dim)
        if (coarse.num_embeddings, coarse.embedding_dim) != ours:
            raise TableError(
                f"both tables hold the same rows; found {coarse.num_embeddings} x {coarse.embedding_dim} "
                f"and {ours[0]} x {ours[1]}"
            )
        if coarse._device is not None or fine._device is not None:
            raise TableError('two-stage search takes tables of NumPy arrays: use table.to("cpu")')
        self.coarse, self.fine = coarse, fine
        self.plans: dict[tuple[int, float], Plan] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of both tables."""
        return self.coarse.nbytes + self.fine.nbytes

    def topk(
        self,
        queries: Array,
        k: int,
        *,
        exclude: Sequence[Array] | tuple[Array, Array] | None = None,
        within: Array | None = None,
        min_recall: float = 1.0,
    ) -> tuple[Array, Array]:
        """The k rows of largest inner product with each query, by the scores of the fine table.

        Args:
            queries: (num_queries, embedding_dim) floats.
            k: How many, 1..num_embeddings.
            exclude: Rows never to return, a query each: a sequence of row arrays, or CSR (indptr, rows).
            within: The only rows that may be returned: integers, or a mask of one bool a row. All by default.
            min_recall: The least acceptable mean share of the true top k, in (0, 1].

        Returns:
            scores (num_queries, k) float32, falling, and rows (num_queries, k) int64, as `CompressedTable.topk`.

        Raises:
            TableError: k or min_recall out of range, or `exclude` or `within` that does not fit.
            IndexError: An excluded row, or one of `within`, out of range.
        """
        asked = checked_queries(queries, self.fine.embedding_dim, None)
        if not 0 < min_recall <= 1:
            raise TableError(f"min_recall lies in (0, 1]; found {min_recall!r}")
        if min_recall < 1 and (k, min_recall) not in self.plans and len(asked) >= _LEAST_SAMPLE:
            self.calibrate(asked, k, min_recall)
        plan = self.plans.get((k, min_recall))
        if plan is None or plan.exact:
            scores, found = exact_topk(self.fine, asked, k, exclude, within)
        else:
            wanted = filter_of(exclude, within, len(asked), self.fine.num_embeddings)
            # The coarse table may rank hidden rows first: as many more candidates are asked of it.
            count = plan.candidates + wanted.widest
            narrow = wanted.allowed is not None and np.count_nonzero(wanted.allowed) * _MOST_SHARE < len(wanted.allowed)
            if narrow or count * _MOST_SHARE > self.fine.num_embeddings:
                scores, found = exact_topk(self.fine, asked, k, exclude, within)
            else:
                scores, found = self._both(asked, k, count, wanted)
        return like(scores, queries), like(found, queries)

    def calibrate(self, queries: Array, k: int, min_recall: float, *, seed: int = 0) -> Plan:
        """Measures recall and time on a sample of the queries, and remembers what `topk` is to do.

        The number of candidates is the least at which the mean recall of unseen queries of the same kind exceeds
        `min_recall` with about 99% confidence (`Plan.recall`), and a tenth more. Where the coarse table needs too many,
        or both stages together take no less time than the exact scan of the fine table, the plan is the exact scan.

        Args:
            queries: (num_queries, embedding_dim) floats, 64 or more, like those to come; 512 of them are used at most.
            k: How many rows will be asked for.
            min_recall: The least acceptable mean share of the true top k, in (0, 1].
            seed: Which queries are taken.

        Raises:
            TableError: Too few queries, or k or min_recall out of range.
        """
        asked = checked_queries(queries, self.fine.embedding_dim, None)
        if len(asked) < _LEAST_SAMPLE:
            raise TableError(f"calibration takes {_LEAST_SAMPLE} queries or more; found {len(asked)}")
        if len(asked) > _SAMPLE:
            asked = asked[np.random.default_rng(seed).permutation(len(asked))[:_SAMPLE]]
        if not 0 < min_recall <= 1:
            raise TableError(f"min_recall lies in (0, 1]; found {min_recall!r}")
        _, truth = exact_topk(self.fine, asked, k)
        self.plans[k, min_recall] = plan = self._planned(asked, k, min_recall, truth)
        return plan

    def _planned(self, asked: NDArray[np.float32], k: int, min_recall: float, truth: NDArray[np.int64]) -> Plan:
        none = float("nan")
        if min_recall == 1:
            return Plan(0, 1.0, none, none, "every row of the true top k is asked for: only the exact scan has them")
        count, recall = self._least(asked, k, min_recall, truth)
        if count == 0:
            most = self.fine.num_embeddings // _MOST_SHARE
            return Plan(
                0, 1.0, none, none, f"the coarse table would have to hand on more than {most} rows to keep {min_recall}"
            )
        wanted = filter_of(None, None, len(asked), self.fine.num_embeddings)
        coarse, exact = _timed(lambda: self._both(asked, k, count, wanted), lambda: exact_topk(self.fine, asked, k))
        coarse, exact = coarse / len(asked), exact / len(asked)
        if coarse >= exact:
            return Plan(
                0, 1.0, coarse, exact,
                f"both stages take {coarse * 1e6:.0f} microseconds a query with {count} candidates, "
                f"the exact scan {exact * 1e6:.0f}",
            )  # fmt: skip
        return Plan(
            count, recall, coarse, exact,
            f"{count} candidates keep a recall of {recall:.4f} or more, {exact / coarse:.2f} times as fast as the "
            "exact scan",
        )  # fmt: skip

    def _least(
        self, asked: NDArray[np.float32], k: int, min_recall: float, truth: NDArray[np.int64]
    ) -> tuple[int, float]:
        """The least number of candidates that keeps the recall, and the bound there; 0 where too many are needed."""
        most = self.fine.num_embeddings // _MOST_SHARE
        wanted = filter_of(None, None, len(asked), self.fine.num_embeddings)
        count = min(8 * k, most)
        while count >= k:
            places = _places(self._candidates(asked, count, wanted), truth)
            if _bound(places, count) >= min_recall:
                low, high = k, count
                while low < high:
                    middle = (low + high) // 2
                    low, high = (low, middle) if _bound(places, middle) >= min_recall else (middle + 1, high)
                taken = min(most, high + -(-high // 10))
                return taken, _bound(places, min(taken, count))
            if count == most:
                break
            count = min(most, 4 * count)
        return 0, 0.0

    def _candidates(self, asked: NDArray[np.float32], count: int, wanted: Filter) -> NDArray[np.int64]:
        """(num_queries, count) rows of largest coarse score, best first, whether hidden from the query or not."""
        likely: Any = getattr(self.coarse, "_likely", None)
        found: NDArray[np.int64] | None = None if likely is None else likely(asked, count, wanted.allowed)
        return exact_topk(self.coarse, asked, count, within=wanted.allowed)[1] if found is None else found

    def _both(
        self, asked: NDArray[np.float32], k: int, count: int, wanted: Filter
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        rows = self._candidates(asked, count, wanted)
        if wanted.hidden.size:
            for q in range(len(rows)):
                hidden = wanted.hidden[wanted.starts[q] : wanted.starts[q + 1]]
                rows[q, np.isin(rows[q], hidden)] = -1
        return best_of(self.fine, asked, rows, k)


def _places(candidates: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """(num_queries, k): where each true row stands among the candidates; their number where it does not."""
    count = candidates.shape[1]
    places = np.full(truth.shape, count, np.int64)
    for q, rows in enumerate(candidates):
        order = np.argsort(rows)
        at = np.minimum(np.searchsorted(rows[order], truth[q]), count - 1)
        hit = rows[order[at]] == truth[q]
        places[q, hit] = order[at[hit]]
    return places


def _bound(places: NDArray[np.int64], count: int) -> float:
    return lower_bound((places < count).mean(axis=1))


def _timed(*calls: Callable[[], Any]) -> list[float]:
    """Median seconds of each call, taken in turn."""
    seconds = np.zeros((_REPEATS, len(calls)))
    for repeat in range(_REPEATS):
        for index, call in enumerate(calls):
            start = time.perf_counter()
            call()
            seconds[repeat, index] = time.perf_counter() - start
    return [float(s) for s in np.median(seconds, axis=0)]
