"""Checkpoints in several files, with an index that says which tensor lies where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pintsize.errors import TableError
from pintsize.sources._found import Found, reading

__all__ = ["open_index", "open_together"]

_INDEX_BYTES = 100 << 20


def open_index(path: Path, open_one: Callable[[Path], Found]) -> Found:
    """The tensors that an ``*.index.json`` lists, out of the files beside it.

    Raises:
        TableError: The index is no index, names a file outside its directory, or a tensor that its file lacks.
    """
    with reading(path):
        if path.stat().st_size > _INDEX_BYTES:
            raise TableError(f"{path}: an index of {path.stat().st_size} bytes; at most {_INDEX_BYTES} are read")
        index = json.loads(path.read_text("utf-8"))
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise TableError(f"{path}: 'weight_map', from names of tensors to names of files, is missing")
    shards: dict[str, Found] = {}
    for file in dict.fromkeys(places.values()):
        if not file or Path(file).name != file:
            raise TableError(f"{path}: {file!r} is not the name of a file beside the index")
        if not (path.parent / file).is_file():
            raise TableError(f"{path}: the file {file!r} that it names is missing")
        shards[file] = open_one(path.parent / file)
    found = Found()
    for name, file in places.items():
        shard = shards[file]
        if name in shard.tables:
            found.put(name, shard.tables[name])
        elif name in shard.skipped:
            found.skip(name, shard.skipped[name])
        else:
            raise TableError(f"{path}: says that {name!r} is in {file!r}, which does not hold it")
    return found


def open_together(paths: list[Path], open_one: Callable[[Path], Found]) -> Found:
    """The tensors of several files without an index; a name stands in one of them."""
    found = Found()
    for path in paths:
        with reading(path):
            found.extend(open_one(path))
    return found
