"""Every format case in odd calls: strides, int32 rows, lists, repeated rows, empty bags, by each instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.format_cases import CASES
from tests.kernels.agreement import at_level, each_level, twin


def odd(rows: np.ndarray, form: str) -> object:
    """The same row numbers in another form."""
    if form == "int32":
        return rows.astype(np.int32)
    if form == "strided":
        return np.repeat(rows, 3)[::3]
    if form == "backwards":
        return rows[::-1].copy()[::-1]
    if form == "bytes apart":
        held = np.zeros(len(rows), [("pad", np.uint8), ("row", np.int64)])
        held["row"] = rows
        return held["row"]
    return rows.tolist() if form == "list" and len(rows) else rows


@each_level
@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_odd_calls_agree(level: int, name: str, data: st.DataObject) -> None:
    n, d = data.draw(st.sampled_from([1, 2, 17, 300]), label="n"), data.draw(st.integers(1, 90), label="d")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    table = CASES[name](n, d, rng)
    count = data.draw(st.integers(0, 70), label="rows")
    rows = np.concatenate([rng.integers(0, n, count), [n - 1] * min(count, 3)]).astype(np.int64)
    asked = odd(
        rows, data.draw(st.sampled_from(["int32", "strided", "backwards", "bytes apart", "list"]), label="form")
    )
    starts = np.sort(rng.integers(0, len(rows) + 1, data.draw(st.integers(0, 6), label="bags")))
    starts[:1] = 0
    if len(rows) and not len(starts):
        starts = np.zeros(1, np.int64)
    if data.draw(st.booleans(), label="starts of int32"):
        starts = starts.astype(np.int32)
    queries = np.asfortranarray(rng.standard_normal((data.draw(st.integers(0, 5), label="queries"), d)))
    part = slice(n // 3, n)

    def calls() -> list[np.ndarray]:
        return [table.lookup(asked), table.bag(asked, starts, mode="mean"), table.scores(queries, part)]

    with twin():
        wanted = calls()
    with at_level(level):
        found = calls()
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.shape == theirs.shape
        bound = 1e-5 * float(np.abs(theirs).max(initial=0)) * max(1.0, d**0.5)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)
