"""What a table is made of, said once by its fields: arrays, nested tables and plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from pintsize.arrays import Array, is_torch, namespace, to_numpy
from pintsize.errors import TableError

if TYPE_CHECKING:
    from typing_extensions import Self

    from pintsize.formats.base import CompressedTable

__all__ = ["PER_ROW", "SHARED", "StoredFields"]

PER_ROW = {"rows": True}
"""Metadata of a field whose first axis is the rows: an array, or a nested table."""

SHARED = {"rows": False}
"""Metadata of an array or nested table that all rows share (codebooks, rotation, basis)."""


@dataclass(frozen=True, eq=False)
class StoredFields:
    """Names, bytes, headers, copies and joins of a table, derived from the fields that its format declares."""

    tag: ClassVar[str]

    def __getstate__(self) -> dict[str, Any]:
        """The declared fields alone: what is cached beside them holds addresses, which a copy must not take over."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def _values(self) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
        for f in dataclasses.fields(self):
            yield f, getattr(self, f.name)

    def nested(self) -> Iterator[tuple[str, CompressedTable]]:
        """The tables inside this one, by name: ``basis``, ``parts.0``."""
        for f, value in self._values():
            if isinstance(value, StoredFields):
                yield f.name, cast("CompressedTable", value)
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
        return all(v.streams for f, v in self._values() if f.metadata.get("rows") and isinstance(v, StoredFields))

    def row_tensors(self) -> set[str]:
        """The names in `tensors` whose first axis is the rows of this table."""
        names = set()
        for f, value in self._values():
            if f.metadata.get("rows"):
                if isinstance(value, StoredFields):
                    names |= {f"{f.name}.{inner}" for inner in value.row_tensors()}
                elif _is_array(value):
                    names.add(f.name)
        return names

    def header(self) -> dict[str, Any]:
        """The plain values, JSON-able: with `tensors`, all that `from_tensors` needs."""
        header: dict[str, Any] = {"format": self.tag}
        for f, value in self._values():
            if isinstance(value, StoredFields):
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
            if isinstance(value, StoredFields):
                changes[f.name] = value.map_parts(fn)
            elif isinstance(value, tuple):
                changes[f.name] = tuple(part.map_parts(fn) for part in value)
        return cast("CompressedTable", dataclasses.replace(self, **changes) if changes else self)

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
            if f.metadata.get("rows") and isinstance(value, StoredFields):
                fields[f.name] = cls.concat(own)
            elif f.metadata.get("rows"):
                fields[f.name] = namespace(value).concat(own, axis=0)
            elif all(_same(value, other) for other in own[1:]):
                fields[f.name] = value
            else:
                raise TableError(f"{cls.tag}: the parts do not share {f.name!r}: they come from different encoders")
        return cast("CompressedTable", cls(**fields))


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, StoredFields):
        ours, theirs = a.tensors(), b.tensors()
        return a.header() == b.header() and all(_same(ours[name], theirs[name]) for name in ours)
    if _is_array(a):
        return _is_array(b) and a.shape == b.shape and bool((a == b).all())
    return bool(a == b)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or is_torch(value)


def _nested_from(header: Any, tensors: dict[str, Array], place: str) -> CompressedTable | tuple[CompressedTable, ...]:
    if isinstance(header, Mapping):
        return StoredFields.from_tensors(header, tensors)
    if not isinstance(header, (list, tuple)):
        raise TableError(f"{place}: arrays without a header")
    groups: list[dict[str, Array]] = [{} for _ in header]
    for name, array in tensors.items():
        index, _, rest = name.partition(".")
        if not index.isdecimal() or int(index) >= len(groups) or not rest:
            raise TableError(f"{place}: an array {name!r} that belongs to no part")
        groups[int(index)][rest] = array
    return tuple(StoredFields.from_tensors(h, g) for h, g in zip(header, groups, strict=True))
