"""Opening bundles, which are not trusted: every size, type, name and place is checked before it is used."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, is_torch, like, to_numpy
from pintsize.bundle import _files, _manifest
from pintsize.bundle._files import Directory
from pintsize.bundle._tensors import read_layout, views
from pintsize.errors import BundleError, PintsizeError
from pintsize.formats.base import CompressedTable

if TYPE_CHECKING:
    from pintsize.bundle.cold import ColdTable
    from pintsize.ids import Ids

__all__ = ["Bundle", "load", "verify"]

_HOSTILE = (
    PintsizeError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    MemoryError,
    RecursionError,
)
"""What a format may raise when a header or rows that nobody sane wrote are put into it."""


class Bundle(Mapping[str, CompressedTable]):
    """Saved tables by name, in the order in which they were saved. Made by `load`.

    Attributes:
        path: Where the bundle was opened.
        manifest: What the bundle says of itself (see the package's ``_manifest``); not to be changed.
        ids: The names of rows, for the tables that have them.
    """

    def __init__(
        self,
        path: Path,
        manifest: Mapping[str, Any],
        tables: Mapping[str, CompressedTable],
        ids: Mapping[str, Ids],
        files: Mapping[str, os.stat_result],
    ) -> None:
        self.path = path
        self.manifest = MappingProxyType(dict(manifest))
        self.ids = MappingProxyType(dict(ids))
        self._tables = dict(tables)
        self._files = dict(files)

    def __getitem__(self, name: str) -> CompressedTable:
        if name not in self._tables:
            known = ", ".join(repr(n[:40]) for n in list(self._tables)[:20])
            raise KeyError(f"{name!r}: no such table in {self.path}; it has {known}")
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r}, {len(self)} tables, {self.nbytes} bytes)"

    @property
    def nbytes(self) -> int:
        """What the tables take together, in bytes; ids are not counted."""
        return sum(table.nbytes for table in self._tables.values())

    def lookup(self, table: str, ids: Any) -> Array:
        """The float32 rows of these ids.

        Args:
            table: The name of a table.
            ids: One id or an array of any shape: the user's own where the table has them, else rows.

        Returns:
            (*shape of ids, embedding_dim) float32; a torch tensor if `ids` is one.

        Raises:
            KeyError: An id that the table does not have, which is named; or no such table.
            IndexError: A row out of range, where the table has no ids.
            TableError: Strings asked of integer ids, or the other way round.
        """
        compressed = self[table]
        if table not in self.ids:
            return compressed.lookup(ids)
        asked = to_numpy(ids) if is_torch(ids) else ids
        shape = np.shape(asked) if not isinstance(asked, bytes) else ()
        flat = asked.reshape(-1) if isinstance(asked, np.ndarray) else asked
        if len(shape) > 1 and not isinstance(asked, np.ndarray):
            flat = np.asarray(asked).reshape(-1)
        found = compressed.lookup(self.ids[table].rows(flat)).reshape(*shape, compressed.embedding_dim)
        return like(found, ids) if is_torch(ids) else found

    def cold(self, table: str, *, cache_bytes: int | None = None, depth: int | None = None) -> ColdTable:
        """A table larger than memory, for look-ups and bags: its rows are read from the file, many at a time.

        Args:
            table: The name of a table. `ids` of it, if there are, give the rows of external ids.
            cache_bytes: Bytes of rows to keep in a cache of our own; 0 keeps none. By default the page cache of the
                system is the cache.
            depth: Reads in flight, at most. By default it is measured, once a device: that takes up to a second.

        Raises:
            KeyError: No such table.
            TableError: A format whose rows cannot be read one by one (sparse); a budget or depth that is none.
            BundleError: The file cannot be opened any more, or the bundle has been replaced since it was loaded.
        """
        from pintsize.bundle._row_reads import RowFile
        from pintsize.bundle.cold import ColdTable

        compressed, name = self[table], self.manifest["tables"][table]["file"]
        directory = Directory(self.path)
        try:
            file = RowFile(directory, name)
        finally:
            directory.close()
        if _identity(file.status) != _identity(self._files[table]):
            raise BundleError(f"{file.where}: it was changed or replaced after the bundle was loaded; load it again")
        placed = read_layout(_files.mapped(file.plain, file.size), file.where)
        return ColdTable(compressed, file, placed, cache_bytes=cache_bytes, depth=depth)


def load(path: str | os.PathLike[str], *, resident: bool = False) -> Bundle:
    """Opens a bundle.

    Only the manifest and the headers are read and checked, not the rows: those are mapped from the files, which must
    not be changed while the bundle is open (replacing it by `save` is fine). `verify` reads and checks every byte.

    Args:
        path: The directory.
        resident: Read everything into memory in huge pages: the fastest look-ups, from the first one on.

    Raises:
        BundleError: No bundle, or a broken one; the message says which file, what was expected and what was found.
    """
    return _files.read_consistently(Path(path), lambda directory: _opened(directory, resident))


def verify(path: str | os.PathLike[str]) -> None:
    """Reads a bundle whole and checks every byte: digests, values in range, ids unique, no file too many.

    Raises:
        BundleError: The first fault, with the file, what was expected and what was found.
    """
    _files.read_consistently(Path(path), _verified)


def _opened(directory: Directory, resident: bool) -> Bundle:
    manifest = _manifest.read_manifest(directory)
    tables, ids, files = {}, {}, {}
    for name, entry in manifest["tables"].items():
        data, where, files[name] = _content(directory, entry["file"], manifest, resident)
        tables[name] = _table(data, entry, where)
        if entry["ids"] is not None:
            from pintsize.bundle import _ids  # Arrow takes longer to import than a bundle without ids to open

            data, where, _ = _content(directory, entry["ids"]["file"], manifest, resident)
            ids[name] = _ids.read_ids(data, entry["ids"]["kind"], entry["num_embeddings"], where)
    return Bundle(directory.path, manifest, tables, ids, files)


def _content(
    directory: Directory, file: str, manifest: Mapping[str, Any], resident: bool
) -> tuple[NDArray[np.uint8], str, os.stat_result]:
    where = f"{directory.path}/{file}"
    with directory.open(file) as (fd, size):
        if size != manifest["files"][file]["bytes"]:
            raise BundleError(f"{where}: {manifest['files'][file]['bytes']} bytes are expected; found {size}")
        return (_files.resident if resident else _files.mapped)(fd, size), where, os.fstat(fd)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What tells a file from one that was put in its place; the number alone may be given again."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _table(data: NDArray[np.uint8], entry: Mapping[str, Any], where: str) -> CompressedTable:
    placed = read_layout(data, where)
    found = {name: _manifest.shape_entry(p.dtype, p.shape) for name, p in placed.items()}
    if found != entry["tensors"]:
        names = sorted(n for n in found.keys() | entry["tensors"].keys() if found.get(n) != entry["tensors"].get(n))
        name = names[0]
        raise BundleError(
            f"{where}: array {name[:80]!r}: the manifest gives {entry['tensors'].get(name)}, the file {found.get(name)}"
        )
    try:
        table = CompressedTable.from_tensors(entry["header"], views(data, placed))
        said = {name: entry[name] for name in ("num_embeddings", "embedding_dim", "nbytes")}
        held = {name: getattr(table, name) for name in said}
    except _HOSTILE as error:
        raise BundleError(f"{where}: {str(error)[:500]}") from error
    if said != held:
        raise BundleError(f"{where}: the manifest gives {said}; the table has {held}")
    return table


def _verified(directory: Directory) -> None:
    manifest = _manifest.read_manifest(directory)
    expected = {_manifest.MANIFEST, *manifest["files"]}
    if found := sorted(set(directory.names()) - expected):
        raise BundleError(
            f"{directory.path}/{found[0]}: a bundle holds only the files of its manifest; found {found[:5]}"
        )
    for file, entry in manifest["files"].items():
        with directory.open(file) as (fd, size):
            digest = _files.sha256_of(fd)
        if size != entry["bytes"] or digest != entry["sha256"]:
            raise BundleError(
                f"{directory.path}/{file}: {entry['bytes']} bytes of sha256 {entry['sha256']} are expected; "
                f"found {size} bytes of {digest}"
            )
    bundle = _opened(directory, resident=False)
    for name, entry in manifest["tables"].items():
        where = f"{directory.path}/{entry['file']}"
        try:
            bundle[name].validate()
        except _HOSTILE as error:
            raise BundleError(f"{where}: {str(error)[:500]}") from error
        if name in bundle.ids:
            from pintsize.bundle import _ids

            _ids.check_ids(bundle.ids[name], f"{directory.path}/{entry['ids']['file']}")
