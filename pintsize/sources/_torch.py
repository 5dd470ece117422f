"""torch checkpoints, in and out. Only tensors in plain containers are read: unpickling objects would run their code."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError, require
from pintsize.sources._file_rows import FileRows, file_rows
from pintsize.sources._found import Found, first_line, reading
from pintsize.sources._memory import ONLY_NAME, leaves, open_mapping
from pintsize.sources._numpy import stored_at

__all__ = ["open_checkpoint", "write_checkpoint"]

_STORED = {"float16": "<f2", "float32": "<f4", "float64": "<f8", "bfloat16": "<u2"}


def open_checkpoint(path: Path) -> Found:
    """The tensors of a checkpoint, at any depth, under dotted names.

    A zip file (what torch has written since 1.6) is mapped, and its tables are read in place where this torch tells
    where they lie; an older file is read whole.

    Raises:
        TableError: The file holds pickled objects, or is no checkpoint.
        MissingExtra: torch is not installed.
    """
    torch = require("torch", "train")
    in_place = _little_endian_zip(path)
    loaded = _loaded(torch, path, mmap=in_place)
    tensors = dict(leaves(_contained(loaded)))
    places = _places(torch, path) if in_place else {}
    return open_mapping({name: places.get(name, value) for name, value in tensors.items()})


def write_checkpoint(file: BinaryIO, tables: Mapping[str, NDArray[np.float32]]) -> None:
    """A state dict of float32 tensors. torch writes from memory: the tables are held whole."""
    torch = require("torch", "train")
    try:
        torch.save({name: torch.from_numpy(rows) for name, rows in tables.items()}, file)
    except RuntimeError as error:
        # torch hides the disk's own error (no space, say) behind one of its writer's.
        raise error.__context__ if isinstance(error.__context__, OSError) else OSError(first_line(error)) from error


def _contained(loaded: Any) -> Any:
    return loaded if isinstance(loaded, (Mapping, list, tuple)) else {ONLY_NAME: loaded}


def _little_endian_zip(path: Path) -> bool:
    with reading(path):
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            orders = [name for name in archive.namelist() if name.endswith("/byteorder")]
            return all(archive.read(name) == b"little" for name in orders)


def _loaded(torch: Any, path: Path, *, mmap: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except MemoryError:
        raise
    except Exception as error:
        refused = re.search(r"(?:GLOBAL|class|function)\s+`?([\w.]+)", str(error))
        if not isinstance(error, pickle.UnpicklingError) or refused is None:
            raise TableError(f"{path}: is no torch checkpoint, or cut short or damaged: {first_line(error)}") from error
        raise TableError(
            f"{path}: holds pickled Python objects ({refused[1]}). Only tensors in dicts and lists are read, because "
            "unpickling objects runs code from the file. If you trust it, save its weights: "
            "torch.save(torch.load(p, weights_only=False).state_dict(), 'weights.pt'), or the dict of tensors in it"
        ) from error


def _places(torch: Any, path: Path) -> dict[str, FileRows]:
    """Where the tables lie in the file, for the tensors whose rows, or columns, lie there one after the other."""
    try:
        from torch._subclasses.fake_tensor import FakeTensorMode

        with FakeTensorMode():
            fakes = dict(leaves(_contained(torch.load(path, map_location="cpu", weights_only=True))))
    except Exception:
        # A torch that cannot load without data: the mapped tensors serve, at the price of counting as this process's.
        return {}
    with reading(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = {stored_at(file, info): info.file_size for info in archive.infolist()}
    places = {name: _place(path, fake, members) for name, fake in fakes.items() if isinstance(fake, torch.Tensor)}
    return {name: rows for name, rows in places.items() if rows is not None}


def _place(path: Path, fake: Any, members: dict[int, int]) -> FileRows | None:
    dtype = str(fake.dtype).removeprefix("torch.")
    if dtype not in _STORED or fake.dim() != 2 or str(fake.layout) != "torch.strided":
        return None
    begin = getattr(fake.untyped_storage(), "_checkpoint_offset", None)
    by_rows, by_columns = fake.is_contiguous(), fake.t().is_contiguous()
    stored = np.dtype(_STORED[dtype])
    inside = fake.storage_offset() * stored.itemsize
    if begin is None or not (by_rows or by_columns) or members.get(begin, -1) < inside + fake.numel() * stored.itemsize:
        return None
    shape = (int(fake.shape[0]), int(fake.shape[1]))
    return file_rows(path, begin + inside, shape, stored, bfloat16=dtype == "bfloat16", fortran=not by_rows)
