"""What every stored table can do: look up, pool, score, count its bytes, take itself apart and come back."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, is_torch, like, namespace, to_numpy
from pintsize.errors import TableError
from pintsize.formats._bags import bags_of_decoded
from pintsize.formats._inputs import checked_offsets, checked_queries, checked_rows, checked_weights, output_for
from pintsize.formats._topk import Filter, Found, exact_topk

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PER_ROW", "SHARED", "CompressedTable"]

_TWIN_ROWS = 1 << 14

PER_ROW = {"rows": True}
"""Metadata of a field whose first axis is the rows: an array, or a nested table."""

SHARED = {"rows": False}
"""Metadata of an array or nested table that all rows share (codebooks, rotation, basis)."""


@dataclass(frozen=True, eq=False)
class CompressedTable(ABC):
    """Rows as they are stored. Immutable; a field is an array, a nested table (or a tuple of them), or a plain value.

    Arrays are NumPy arrays (also memory-mapped) or, after `to`, torch tensors on a device.
    """

    tag: ClassVar[str]

    def __post_init__(self) -> None:
        self.check()

    def __getstate__(self) -> dict[str, Any]:
        """The declared fields alone: what is cached beside them holds addresses, which a copy must not take over."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @property
    @abstractmethod
    def num_embeddings(self) -> int: ...

    @property
    @abstractmethod
    def embedding_dim(self) -> int: ...

    # -- reading ---------------------------------------------------------------------------------------------------

    def lookup(self, rows: Array, *, out: Array | None = None) -> Array:
        """The float32 rows at these positions.

        Args:
            rows: Integers of any shape, 0..num_embeddings-1: NumPy array, torch tensor or nested list.
            out: Where to write: float32, contiguous, of the result's shape and of the kind of `rows`.

        Returns:
            (*rows.shape, embedding_dim) float32, of the kind of `rows`.

        Raises:
            IndexError: A row out of range; the first is named.
            TableError: Rows that are not integers, or an `out` that does not fit.
        """
        flat, shape = checked_rows(rows, self.num_embeddings, self._device)
        result = output_for(out, (*shape, self.embedding_dim), rows, self._device)
        self._fill(flat, result if len(shape) == 1 else result.reshape(-1, self.embedding_dim))
        return out if out is not None else self._handed_back(result, rows)

    def bag(
        self,
        rows: Array,
        offsets: Array,
        *,
        mode: Literal["sum", "mean"] = "sum",
        weights: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Sums or means of rows, bag by bag, as ``torch.nn.functional.embedding_bag`` defines them.

        Args:
            rows: (num_rows,) integers.
            offsets: (num_bags,) integers: where each bag begins in `rows`; starts at 0, never falls. A bag ends where
                the next begins, the last at the end of `rows`.
            mode: ``"sum"`` or ``"mean"``. An empty bag is zeros.
            weights: (num_rows,) factors of the rows, with ``mode="sum"`` only.
            out: Where to write, as in `lookup`.

        Returns:
            (num_bags, embedding_dim) float32.

        Raises:
            IndexError: A row out of range.
            TableError: Offsets, weights or mode that do not fit.
        """
        flat, shape = checked_rows(rows, self.num_embeddings, self._device)
        starts = checked_offsets(offsets, shape)
        if mode not in ("sum", "mean"):
            raise TableError(f"mode is 'sum' or 'mean'; found {mode!r}")
        factors = checked_weights(weights, shape, mode)
        result = output_for(out, (len(starts), self.embedding_dim), rows, self._device)
        self._pool(flat, starts, mode == "mean", factors, result)
        return out if out is not None else self._handed_back(result, rows)

    def scores(self, queries: Array, rows: slice | None = None) -> Array:
        """Inner products of queries and rows.

        Args:
            queries: (num_queries, embedding_dim) floats.
            rows: A slice of rows with step 1; all of them by default.

        Returns:
            (num_queries, num_rows) float32, of the kind of `queries`.
        """
        q = checked_queries(queries, self.embedding_dim, self._device)
        start, stop, step = (rows or slice(None)).indices(self.num_embeddings)
        if step != 1:
            raise TableError("scores are taken over consecutive rows; the slice has a step")
        result = self._scores(q, start, max(start, stop))
        return self._handed_back(result, queries)

    def topk(
        self,
        queries: Array,
        k: int,
        *,
        exclude: Sequence[Array] | tuple[Array, Array] | None = None,
        min_recall: float = 1.0,
        within: Array | None = None,
    ) -> tuple[Array, Array]:
        """The k rows of largest inner product with each query.

        Args:
            queries: (num_queries, embedding_dim) floats.
            k: How many, 1..num_embeddings.
            exclude: Rows never to return, a query each: a sequence of row arrays, or CSR (indptr, rows).
            min_recall: The least acceptable share of the true top k, in (0, 1]. Below 1, rows of 1, 2 and 4 bits are
                ranked by rounded look-ups first; `pintsize.search.TwoStage` trades more recall for time, measured.
            within: The only rows that may be returned: integers, or a mask of one bool a row. All by default.

        Returns:
            scores (num_queries, k) float32, falling, and rows (num_queries, k) int64. Equal scores come in row order.
            Where fewer than k rows are left, -inf and -1 fill up.

        Raises:
            TableError: k or min_recall out of range, or `exclude` or `within` that does not fit.
            IndexError: An excluded row, or one of `within`, out of range.
        """
        asked = checked_queries(queries, self.embedding_dim, self._device)
        scores, found = exact_topk(self, asked, k, exclude, within, min_recall)
        return like(scores, queries), like(found, queries)

    # -- what a format writes --------------------------------------------------------------------------------------

    @abstractmethod
    def _gather(self, rows: Array) -> Array:
        """The twin: (len(rows), embedding_dim) float32 in array-API code, for rows already checked."""

    def _gather_native(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> bool:
        """Writes the rows by a kernel, or answers False where there is none for this table."""
        return False

    def _bag_native(
        self,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        mean: bool,
        weights: NDArray[np.float32] | None,
        out: NDArray[np.float32],
    ) -> bool:
        """Writes the bags by a kernel, or answers False where there is none; by default decodes rows and sums those."""
        return bags_of_decoded(self._fill, rows, starts, mean, weights, out)

    def _scores(self, queries: Array, start: int, stop: int) -> Array:
        """(len(queries), stop - start) inner products; the default goes through the rows block by block."""
        if self._device is not None:
            xp = namespace(queries)
            return queries @ self._gather(xp.arange(start, stop, device=queries.device)).T
        out = np.empty((len(queries), stop - start), np.float32)
        block = np.empty((min(_TWIN_ROWS, stop - start), self.embedding_dim), np.float32)
        for begin in range(start, stop, _TWIN_ROWS):
            end = min(begin + _TWIN_ROWS, stop)
            decoded = block[: end - begin]
            self._fill(np.arange(begin, end), decoded)
            out[:, begin - start : end - start] = queries @ decoded.T
        return out

    def _search(self, queries: Array, k: int, wanted: Filter) -> Found | None:
        """The k best rows of each query by a search of this format's own, or None where only scores can tell."""
        return None

    @abstractmethod
    def check(self) -> None:
        """Shapes and dtypes agree (no row is read). Raises TableError."""

    def validate(self) -> None:
        """Every stored value is one that a reader may follow: reads the whole table. Raises TableError."""
        self.check()
        for _, part in self.nested():
            part.validate()

    # -- derived from the declared fields --------------------------------------------------------------------------

    def _values(self) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
        for f in dataclasses.fields(self):
            yield f, getattr(self, f.name)

    def nested(self) -> Iterator[tuple[str, CompressedTable]]:
        """The tables inside this one, by name: ``basis``, ``parts.0``."""
        for f, value in self._values():
            if isinstance(value, CompressedTable):
                yield f.name, value
            elif isinstance(value, tuple):
                for index, part in enumerate(value):
                    yield f"{f.name}.{index}", part

    def arrays(self) -> dict[str, Array]:
        """This table's own arrays by field name, without those of nested tables."""
        return {f.name: v for f, v in self._values() if _is_array(v)}

    def tensors(self) -> dict[str, Array]:
        """Every array of the table and of the tables inside it, under dotted names."""
        found = self.arrays()
        for name, part in self.nested():
            found.update({f"{name}.{inner}": array for inner, array in part.tensors().items()})
        return found

    @property
    def streams(self) -> bool:
        """Whether a part of the rows is a part of every array in `row_tensors`, the rest being shared by all rows."""
        return all(v.streams for f, v in self._values() if f.metadata.get("rows") and isinstance(v, CompressedTable))

    def row_tensors(self) -> set[str]:
        """The names in `tensors` whose first axis is the rows of this table."""
        names = set()
        for f, value in self._values():
            if f.metadata.get("rows"):
                if isinstance(value, CompressedTable):
                    names |= {f"{f.name}.{inner}" for inner in value.row_tensors()}
                elif _is_array(value):
                    names.add(f.name)
        return names

    def header(self) -> dict[str, Any]:
        """The plain values, JSON-able: with `tensors`, all that `from_tensors` needs."""
        header: dict[str, Any] = {"format": self.tag}
        for f, value in self._values():
            if isinstance(value, CompressedTable):
                header[f.name] = value.header()
            elif isinstance(value, tuple):
                header[f.name] = [part.header() for part in value]
            elif not _is_array(value):
                header[f.name] = value
        return header

    @classmethod
    def from_tensors(cls, header: Mapping[str, Any], tensors: Mapping[str, Array]) -> CompressedTable:
        """The table that `header` and `tensors` describe; the format is the header's.

        Raises:
            TableError: An unknown format, a missing or superfluous value or array, or parts that do not agree.
        """
        from pintsize.formats import format_class

        if not isinstance(header, Mapping) or not isinstance(header.get("format"), str):
            raise TableError("the header names no format")
        kind = format_class(header["format"])
        fields: dict[str, Any] = {key: value for key, value in header.items() if key != "format"}
        own = {f.name for f in dataclasses.fields(kind)}
        groups: dict[str, dict[str, Array]] = {}
        for name, array in tensors.items():
            head, _, rest = name.partition(".")
            if not rest:
                if fields.get(head) is not None:
                    raise TableError(f"{kind.tag}: {head!r} is both an array and a value")
                fields[head] = array
            else:
                groups.setdefault(head, {})[rest] = array
        for head, inner in groups.items():
            fields[head] = _nested_from(fields.get(head), inner, f"{kind.tag}: {head}")
        unknown, missing = sorted(set(fields) - own), sorted(own - set(fields))
        if unknown or missing:
            raise TableError(f"{kind.tag}: unknown fields {unknown}, missing fields {missing}")
        try:
            return kind(**fields)
        except (TypeError, AttributeError) as error:
            raise TableError(f"{kind.tag}: a field has the wrong type: {error}") from error

    @property
    def nbytes(self) -> int:
        """All bytes that answer a look-up: codes, scales, codebooks, rotations, row maps."""
        return sum(int(a.nbytes) for a in self.tensors().values())

    def map_arrays(self, fn: Callable[[Array], Array]) -> Self:
        """The same table with `fn` applied to every array, nested ones included."""
        return cast("Self", self.from_tensors(self.header(), {name: fn(a) for name, a in self.tensors().items()}))

    def map_parts(self, fn: Callable[[CompressedTable], CompressedTable]) -> CompressedTable:
        """The same table with `fn` applied to each float part (a `DenseTable`, this one or one inside it)."""
        changes: dict[str, Any] = {}
        for f, value in self._values():
            if isinstance(value, CompressedTable):
                changes[f.name] = value.map_parts(fn)
            elif isinstance(value, tuple):
                changes[f.name] = tuple(part.map_parts(fn) for part in value)
        return dataclasses.replace(self, **changes) if changes else self

    def to(self, device: Any) -> Self:
        """The table on a torch device (``"cuda"``, a ``torch.device``); ``"cpu"`` brings it back to NumPy arrays."""
        if str(device) == "cpu":
            return self.map_arrays(to_numpy)
        import torch

        return self.map_arrays(
            lambda a: torch.as_tensor(np.array(a) if isinstance(a, np.ndarray) else a, device=device)
        )

    @classmethod
    def concat(cls, parts: Sequence[CompressedTable]) -> CompressedTable:
        """Tables of one format over the same shared arrays, one after the other."""
        if not parts:
            raise TableError("nothing to put together: no parts were given")
        if any(type(part) is not type(parts[0]) for part in parts):
            raise TableError("only tables of one format can be put together")
        return parts[0] if len(parts) == 1 else type(parts[0])._concat(parts)

    @classmethod
    def _concat(cls, parts: Sequence[CompressedTable]) -> CompressedTable:
        first = parts[0]
        fields: dict[str, Any] = {}
        for f, value in first._values():
            own = [getattr(part, f.name) for part in parts]
            if f.metadata.get("rows") and isinstance(value, CompressedTable):
                fields[f.name] = cls.concat(own)
            elif f.metadata.get("rows"):
                fields[f.name] = namespace(value).concat(own, axis=0)
            elif all(_same(value, other) for other in own[1:]):
                fields[f.name] = value
            else:
                raise TableError(f"{cls.tag}: the parts do not share {f.name!r}: they come from different encoders")
        return cls(**fields)

    # -- the common entrance ---------------------------------------------------------------------------------------

    @cached_property
    def _device(self) -> Any:
        """The torch device of the arrays, or None for NumPy arrays."""
        return next((a.device for a in self.tensors().values() if is_torch(a)), None)

    def _fill(self, rows: Array, out: Array) -> None:
        """Writes the rows, already checked, into `out`: by a kernel, or by the twin in bounded blocks."""
        if self._device is None and self._gather_native(rows, out):
            return
        for begin in range(0, out.shape[0], _TWIN_ROWS):
            out[begin : begin + _TWIN_ROWS] = self._gather(rows[begin : begin + _TWIN_ROWS])

    def _pool(self, rows: Array, starts: NDArray[np.int64], mean: bool, weights: Any, out: Array) -> None:
        """Writes the bags, already checked, into `out`: by a kernel, or by the twin."""
        if self._device is not None or not self._bag_native(rows, starts, mean, weights, out):
            self._bag(rows, starts, mean, weights, out)

    def _bag(self, rows: Array, starts: Array, mean: bool, weights: Any, out: Array) -> None:
        ends = np.append(starts[1:], rows.shape[0])
        total = np.zeros((len(starts), self.embedding_dim), np.float32)
        filled = ends > starts
        bag_of = np.repeat(np.arange(len(starts)), ends - starts)
        for begin in range(0, rows.shape[0], _TWIN_ROWS):
            values = to_numpy(self._gather(rows[begin : begin + _TWIN_ROWS]))
            if weights is not None:
                values = values * weights[begin : begin + _TWIN_ROWS, None]
            bags = bag_of[begin : begin + _TWIN_ROWS]
            first = np.flatnonzero(np.append(True, bags[1:] != bags[:-1]))
            total[bags[first]] += np.add.reduceat(values, first, axis=0)
        if mean:
            total[filled] /= (ends - starts)[filled, None].astype(np.float32)
        out[...] = like(total, out)

    def _handed_back(self, result: Array, asked: Any) -> Array:
        if is_torch(result):
            return result if is_torch(asked) else to_numpy(result)
        return like(result, asked)


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, CompressedTable):
        ours, theirs = a.tensors(), b.tensors()
        return a.header() == b.header() and all(_same(ours[name], theirs[name]) for name in ours)
    if _is_array(a):
        return _is_array(b) and a.shape == b.shape and bool((a == b).all())
    return bool(a == b)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or is_torch(value)


def _nested_from(header: Any, tensors: dict[str, Array], place: str) -> CompressedTable | tuple[CompressedTable, ...]:
    if isinstance(header, Mapping):
        return CompressedTable.from_tensors(header, tensors)
    if not isinstance(header, (list, tuple)):
        raise TableError(f"{place}: arrays without a header")
    groups: list[dict[str, Array]] = [{} for _ in header]
    for name, array in tensors.items():
        index, _, rest = name.partition(".")
        if not index.isdecimal() or int(index) >= len(groups) or not rest:
            raise TableError(f"{place}: an array {name!r} that belongs to no part")
        groups[int(index)][rest] = array
    return tuple(CompressedTable.from_tensors(h, g) for h, g in zip(header, groups, strict=True))
