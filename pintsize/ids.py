"""The user's own names for the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pintsize.errors import TableError

__all__ = ["Ids"]

_FEW = 128
"""Fewer look-ups than one in so many ids go by bisection."""


@cache
def _compute() -> Any:
    """Arrow's kernels: their import takes longer than opening a bundle, and look-ups of integer ids need none."""
    import pyarrow.compute

    return pyarrow.compute


def _as_arrow(values: Any) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        array = values if isinstance(values, pa.Array) else pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TableError(f"ids are all integers or all strings: {error}") from error
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type) and len(array) == 0:
        array = array.cast(pa.int64())
    if array.null_count:
        missing = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise TableError(f"the id of row {missing} is missing; every row needs one")
    if pa.types.is_integer(array.type):
        try:
            return array.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise TableError(f"integer ids must fit int64: {error}") from error
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return array.cast(pa.large_string())
    raise TableError(f"ids are int64 or strings; found {array.type}")


class Ids:
    """Unique names of rows 0..n-1, either all int64 or all strings, held in Arrow.

    Args:
        values: Integers or strings in row order: sequence, NumPy array, tensor or Arrow array.

    Raises:
        TableError: Neither integers nor strings, a missing id, or one that stands twice.
    """

    def __init__(self, values: Any) -> None:
        self.arrow = _as_arrow(values)
        if not self._unique():
            raise TableError(self._first_duplicate())

    @classmethod
    def trusted(cls, arrow: pa.Array, *, order: NDArray[np.integer] | None = None, rising: bool = False) -> Ids:
        """Ids whose uniqueness was checked when they were written: opening a bundle must not read them all.

        Args:
            arrow: int64 or large_string, without nulls.
            order: (n,) `order`, if it is stored; sorted at the first look-up otherwise.
            rising: The ids rise from row to row, which makes `order` 0..n-1.
        """
        ids = cls.__new__(cls)
        ids._unread, ids._saved_order, ids._rising = arrow, order, rising
        return ids

    _unread: pa.Array = None
    _saved_order: NDArray[np.integer] | None = None
    _rising: bool = False

    @cached_property
    def arrow(self) -> pa.Array:
        """The ids in row order, int64 or large_string."""
        try:
            # Arrow's kernels follow offsets blindly: those of a file are checked once, before the first use.
            self._unread.validate(full=True)
        except pa.ArrowInvalid as error:
            raise TableError(f"the stored ids are damaged: {error}") from error
        return self._unread

    def validate(self) -> None:
        """Reads all ids. Raises TableError unless they are unique and `order` sorts them."""
        ordered = self._sorted if self.is_integer else self.arrow.take(pa.array(self.order))
        if self.is_integer:
            rises = bool((ordered[1:] > ordered[:-1]).all())
        else:
            rises = len(self) < 2 or bool(_compute().all(_compute().less(ordered[:-1], ordered[1:])).as_py())
        if not rises:
            raise TableError("the stored order of the ids does not sort them, or an id stands twice")

    def __len__(self) -> int:
        return len(self.arrow)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ids) and bool(self.arrow.equals(other.arrow))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ids({len(self)} x {'int64' if self.is_integer else 'string'})"

    @property
    def is_integer(self) -> bool:
        return bool(pa.types.is_integer(self.arrow.type))

    def rows(self, ids: Any) -> NDArray[np.int64]:
        """The rows that these ids name, in the order asked, as int64 of the same length.

        Raises:
            KeyError: An id that the table does not have; the first is named.
            TableError: Integers asked of string ids, or the other way round.
        """
        wanted = self._wanted(ids)
        if len(wanted) == 0:
            return np.empty(0, np.int64)
        rows = self._find_integers(wanted) if self.is_integer else self._find_strings(wanted)
        missing = np.flatnonzero(rows < 0)
        if missing.size:
            raise KeyError(wanted[int(missing[0])].as_py())
        return rows

    def take(self, rows: NDArray[np.int64]) -> Ids:
        """The ids of these rows, in their order."""
        return Ids(self.arrow.take(pa.array(rows)))

    def to_list(self) -> list[int] | list[str]:
        """The ids as Python values."""
        return self.arrow.to_pylist()  # type: ignore[no-any-return]

    def _wanted(self, ids: Any) -> pa.Array:
        if isinstance(ids, (str, bytes)) or not isinstance(ids, (Iterable, Sequence)):
            ids = [ids]
        wanted = _as_arrow(list(ids) if not hasattr(ids, "__array__") and not isinstance(ids, pa.Array) else ids)
        if len(wanted) and pa.types.is_integer(wanted.type) != self.is_integer:
            have, asked = ("integers", "strings") if self.is_integer else ("strings", "integers")
            raise TableError(f"the ids of this table are {have}; {asked} were asked for")
        return wanted

    @cached_property
    def order(self) -> NDArray[np.integer]:
        """(n,) rows in the order of their ids: int32, or int64 from 2**31 rows on. Strings are ordered by UTF-8."""
        kind = np.int32 if len(self) < 2**31 else np.int64
        if self._rising:
            return np.arange(len(self), dtype=kind)
        saved = self._saved_order
        if saved is None:
            sort = (
                np.argsort(self.arrow.to_numpy()) if self.is_integer else _compute().sort_indices(self.arrow).to_numpy()
            )
            return sort.astype(kind)
        if saved.shape != (len(self),) or (saved.size and (int(saved.min()) < 0 or int(saved.max()) >= len(self))):
            raise TableError("the stored order of the ids is damaged: it names rows that do not exist")
        return saved

    @cached_property
    def _sorted(self) -> NDArray[np.int64]:
        return self.arrow.to_numpy()[self.order]  # type: ignore[no-any-return]

    def _find_integers(self, wanted: pa.Array) -> NDArray[np.int64]:
        if len(self) == 0:
            return np.full(len(wanted), -1, np.int64)
        values = wanted.to_numpy()
        if _FEW * len(wanted) < len(self):
            places = self._places(values)
            rows = self.order[places]
            return np.where(self.arrow.to_numpy()[rows] == values, rows, -1).astype(np.int64)
        places = np.minimum(np.searchsorted(self._sorted, values), len(self) - 1)
        return np.where(self._sorted[places] == values, self.order[places], -1).astype(np.int64)

    def _places(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the integers stand in `order`, by bisection that leaves the rest of the ids unread."""
        ids = self.arrow.to_numpy()
        low, high = np.zeros(len(values), np.int64), np.full(len(values), len(ids) - 1)
        while (low < high).any():
            middle = (low + high) // 2
            below = ids[self.order[middle]] < values
            low, high = np.where(below, np.minimum(middle + 1, high), low), np.where(below, high, middle)
        return low

    def _find_strings(self, wanted: pa.Array) -> NDArray[np.int64]:
        # One hash of all ids serves a large batch; for a few ids a binary search leaves the rest unread.
        if _FEW * len(wanted) >= len(self):
            found = _compute().index_in(wanted, value_set=self.arrow)
            return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]
        return np.array([self._bisect(value) for value in wanted.to_pylist()], np.int64)

    def _bisect(self, value: str) -> int:
        key, low, high = value.encode(), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.arrow[int(self.order[middle])].as_py().encode() < key:
                low = middle + 1
            else:
                high = middle
        if low < len(self) and self.arrow[int(self.order[low])].as_py() == value:
            return int(self.order[low])
        return -1

    def _unique(self) -> bool:
        if not self.is_integer:
            return len(_compute().unique(self.arrow)) == len(self.arrow)
        # A sort takes 8 bytes an id, a hash table some 250.
        values = self.arrow.to_numpy()
        if (values[1:] > values[:-1]).all():
            return True
        values = np.sort(values)
        return bool((values[1:] != values[:-1]).all())

    def _first_duplicate(self) -> str:
        counts = _compute().value_counts(self.arrow)
        value = counts.field("values").filter(_compute().greater(counts.field("counts"), 1))[0]
        rows = _compute().indices_nonzero(_compute().equal(self.arrow, value)).to_pylist()
        return f"the id {value.as_py()!r} stands twice, at rows {rows[0]} and {rows[1]}; ids must be unique"
