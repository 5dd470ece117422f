"""Saving tables, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from pintsize.arrays import dtype_name
from pintsize.bundle import _manifest
from pintsize.bundle._files import Directory, sha256_of
from pintsize.bundle._publishing import Draft, os_errors
from pintsize.bundle._sinks import TensorFile
from pintsize.bundle._tensors import Shapes
from pintsize.errors import BundleError, PintsizeError
from pintsize.formats.base import CompressedTable

if TYPE_CHECKING:
    from typing_extensions import Self

    from pintsize.ids import Ids

__all__ = ["BundleWriter", "save"]


def save(
    tables: Mapping[str, CompressedTable],
    path: str | os.PathLike[str],
    *,
    ids: Mapping[str, Any] | None = None,
    methods: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    overwrite: bool = True,
) -> None:
    """Writes tables as a bundle, which appears at `path` whole or not at all.

    Args:
        tables: Compressed tables by name; any string is a name.
        path: The directory to make. A bundle that is there is replaced in one step; readers keep what they have open.
        ids: The names of the rows of some tables: `Ids`, or int64s or strings in row order.
        methods: How tables were made, for the manifest: specs such as ``"rotated:bits=2"``, or methods.
        notes: Anything JSON-able that the manifest should keep: source, seed, command.
        overwrite: Whether a bundle at `path` may be replaced.

    Raises:
        BundleError: `path` holds something that is neither a bundle nor an empty directory; ids that do not fit; a
            table that `verify` would refuse; a disk that is full or may not be written. `path` is then as it was.
    """
    ids, methods = ids or {}, methods or {}
    for given, what in ((ids, "ids"), (methods, "methods")):
        if unknown := [name for name in given if name not in tables]:
            raise BundleError(f"{what} are given for {unknown[:5]}; the tables are {list(tables)[:20]}")
    with BundleWriter(path, overwrite=overwrite, notes=notes) as writer:
        for name, table in tables.items():
            writer.add(name, table, ids=ids.get(name), method=methods.get(name))


class BundleWriter:
    """Writes a bundle table by table; rows may go straight from a method into its file.

    ::

        with BundleWriter("shop") as writer:
            compressed = method.compress(table, allocate=writer.allocate("item"))
            writer.add("item", compressed, ids=table.ids, method=method)

    The bundle appears at the end of the ``with`` block. An exception in the block leaves `path` as it was, and nothing
    beside it. Arguments and errors are those of `save`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, overwrite: bool = True, notes: Mapping[str, Any] | None = None
    ) -> None:
        self.path = Path(os.path.realpath(path))
        self._overwrite, self._notes = overwrite, dict(notes or {})
        self._draft: Draft | None = None
        self._streams = 0
        self._streamed: list[TensorFile] = []
        self._tables: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._check_target()
            self._draft = Draft(self.path)
        return self

    def allocate(self, name: str) -> Callable[[Shapes], TensorFile]:
        """Where a method writes the table `name`: the ``allocate`` of `PostTraining.compress`."""

        def allocate(wanted: Shapes) -> TensorFile:
            self._streams += 1
            file = TensorFile(self._open_draft().path / f"streamed.{self._streams}", wanted, self.path)
            self._streamed.append(file)
            return file

        return allocate

    def add(self, name: str, table: CompressedTable, *, ids: Any = None, method: Any = None) -> None:
        """Adds a table under `name`. One that lies in a file of this writer already is not written again."""
        draft = self._open_draft()
        if not isinstance(name, str) or name in self._tables:
            raise BundleError(f"table {name!r}: the name of a table is a string, and no other table's")
        if not isinstance(table, CompressedTable):
            raise BundleError(f"table {name!r}: a compressed table is expected; found {type(table).__name__}")
        try:
            table.validate()
            names = None if ids is None else _named(ids)
        except PintsizeError as error:
            raise BundleError(f"table {name!r}: {error}") from error
        if names is not None and len(names) != table.num_embeddings:
            raise BundleError(f"table {name!r}: {table.num_embeddings} ids are expected, one a row; found {len(names)}")
        file = _manifest.file_name(len(self._tables), name, ".safetensors")
        ids_file = _manifest.file_name(len(self._tables), name, ".ids.arrow")
        with os_errors(self.path):
            self._place(table, draft.path / file)
            said = None if names is None else _write_ids(draft.path / ids_file, names)
        self._tables[name] = _manifest.table_entry(table, file, None if method is None else str(method), said)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        draft = self._open_draft()
        self._draft = None
        for file in self._streamed:
            file.close()
        try:
            if kind is None:
                with os_errors(self.path):
                    self._publish(draft)
        finally:
            draft.close()

    def _open_draft(self) -> Draft:
        if self._draft is None:
            raise BundleError("a BundleWriter is used inside its own with block")
        return self._draft

    def _place(self, table: CompressedTable, path: Path) -> None:
        """Makes `path` the file of the table: by a rename where a method has written it already."""
        tensors = table.tensors()
        for streamed in self._streamed:
            if streamed.arrays.keys() == tensors.keys() and all(streamed.arrays[n] is a for n, a in tensors.items()):
                self._streamed.remove(streamed)
                os.rename(streamed.path, path)
                return
        file = TensorFile(path, {n: (tuple(a.shape), np.dtype(dtype_name(a))) for n, a in tensors.items()}, self.path)
        try:
            for name, array in tensors.items():
                file[name][...] = array
        finally:
            file.close()

    def _publish(self, draft: Draft) -> None:
        if not self._tables:
            raise BundleError(f"{self.path}: a bundle has at least one table; none was added")
        for file in self._streamed:
            os.unlink(file.path)
        self._check_target()
        files = {name: _settled(draft.path / name) for name in sorted(os.listdir(draft.path))}
        from pintsize import __version__

        manifest = _manifest.sealed(f"pintsize {__version__}", self._notes, self._tables, files)
        with open(draft.path / _manifest.MANIFEST, "xb") as out:
            out.write(manifest)
            out.flush()
            os.fsync(out.fileno())
        draft.publish()

    def _check_target(self) -> None:
        """Refuses to replace anything but a bundle or an empty directory."""
        if not os.path.lexists(self.path):
            return
        if not self.path.is_dir():
            raise BundleError(f"{self.path}: a bundle is a directory; a file of that name is in the way")
        found = set(os.listdir(self.path))
        if not found:
            return
        directory = Directory(self.path)
        try:
            own = {_manifest.MANIFEST, *_manifest.read_manifest(directory)["files"]}
        except BundleError as error:
            raise BundleError(
                f"{self.path}: only a whole bundle is replaced; remove what is there first ({error})"
            ) from error
        finally:
            directory.close()
        if others := sorted(found - own):
            raise BundleError(f"{self.path}: it holds files that belong to no bundle, {others[:5]}; move them first")
        if not self._overwrite:
            raise BundleError(f"{self.path}: a bundle is there already, and overwrite is off")


def _named(ids: Any) -> Ids:
    from pintsize.ids import Ids  # Arrow takes longer to import than a bundle without ids to open

    return ids if isinstance(ids, Ids) else Ids(ids)


def _write_ids(path: Path, ids: Ids) -> dict[str, Any]:
    """Writes the file of ids; what the manifest says of it."""
    from pintsize.bundle import _ids

    _ids.write_ids(str(path), ids)
    return {"file": path.name, "kind": _ids.kind_of(ids)}


def _settled(path: Path) -> dict[str, Any]:
    """Size and digest of a file that has reached the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
        return {"bytes": os.fstat(fd).st_size, "sha256": sha256_of(fd)}
    finally:
        os.close(fd)
