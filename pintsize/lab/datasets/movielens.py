"""MovieLens 100K (Harper & Konstan 2015): 100,000 ratings of 1,682 films by 943 people.

It may not be redistributed, so it is fetched: from GroupLens's own archive where the user has it, else from the wheel
of RecBole on PyPI, which carries it. That wheel is opened as an archive and never installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.lab.datasets.interactions import Interactions

__all__ = ["MovieLens", "cache_directory", "fetch_wheel", "read_movielens"]

_WHEEL = "recbole-1.2.1-py3-none-any.whl"
_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_INSIDE = "recbole/dataset_example/ml-100k/ml-100k"


@dataclass(frozen=True)
class MovieLens:
    """The ratings, and what is known of people and films.

    Attributes:
        pairs: Users and items in the order of the file.
        ratings: (pairs) float32, 1 to 5.
        times: (pairs) int64, seconds since 1970.
        user_ids: The data's own name of each user number.
        item_ids: The same of items.
        user_fields: Columns by name (age, gender, ...), one string a user; empty where the source has none.
        item_fields: The same of items (movie_title, release_year, class).
    """

    pairs: Interactions
    ratings: NDArray[np.float32]
    times: NDArray[np.int64]
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    user_fields: Mapping[str, tuple[str, ...]]
    item_fields: Mapping[str, tuple[str, ...]]


def cache_directory() -> Path:
    """Where downloads are kept: ``$PINTSIZE_CACHE``, else ``~/.cache/pintsize``."""
    return Path(os.environ.get("PINTSIZE_CACHE") or Path.home() / ".cache" / "pintsize")


def _verified(wheel: Path) -> Path:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != _SHA256:
        raise TableError(f"{wheel}: expected sha256 {_SHA256}, found {found}; delete it to fetch it again")
    return wheel


def fetch_wheel(cache: Path | None = None) -> Path:
    """The wheel that carries the data, from the cache or from PyPI, its checksum verified.

    Raises:
        TableError: It cannot be downloaded, or is not the expected file.
    """
    folder = cache_directory() if cache is None else cache
    wheel = folder / _WHEEL
    if not wheel.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        done = subprocess.run([*command, "recbole==1.2.1"], capture_output=True, text=True, check=False)
        if done.returncode or not wheel.exists():
            raise TableError(
                f"could not download recbole==1.2.1, which carries MovieLens 100K: {done.stderr.strip()[-500:]}; "
                "give the path of that wheel, or of GroupLens's ml-100k.zip or its directory"
            )
    return _verified(wheel)


def _open(path: Path) -> dict[str, str]:
    """The texts ``inter``, ``user`` and ``item`` in RecBole's form, or ``u.data`` alone in GroupLens's."""
    if path.is_dir():
        data = path / "u.data"
        if not data.is_file():
            raise TableError(f"{path}: expected a directory with u.data; there is none")
        return {"u.data": data.read_text("latin-1")}
    if not path.is_file():
        raise TableError(f"{path}: expected a wheel of recbole, ml-100k.zip or its directory; there is none")
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "ml-100k/u.data" in names:
                return {"u.data": archive.read("ml-100k/u.data").decode("latin-1")}
            wanted = {kind: f"{_INSIDE}.{kind}" for kind in ("inter", "user", "item")}
            if missing := sorted(set(wanted.values()) - names):
                raise TableError(f"{path}: expected {missing[0]} or ml-100k/u.data inside; found neither")
            return {kind: archive.read(name).decode("utf-8") for kind, name in wanted.items()}
    except zipfile.BadZipFile as error:
        raise TableError(f"{path}: expected a zip archive: {error}") from None


def _columns(text: str) -> dict[str, tuple[str, ...]]:
    """Columns by name of a tab-separated text whose header says ``name:type``."""
    header, *lines = text.rstrip("\n").split("\n")
    names = [name.partition(":")[0] for name in header.split("\t")]
    rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise TableError(f"line {number + 2}: expected {len(names)} fields ({', '.join(names)}); found {len(row)}")
    return {name: tuple(row[c] for row in rows) for c, name in enumerate(names)}


def _fields(table: dict[str, tuple[str, ...]], key: str, ids: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    place = {name: row for row, name in enumerate(table[key])}
    return {
        name: tuple(column[place[i]] if i in place else "" for i in ids)
        for name, column in table.items()
        if name != key
    }


def _numbered(names: tuple[str, ...]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    known = sorted(set(names), key=lambda name: (len(name), name))  # numbers in the order of numbers
    place = {name: row for row, name in enumerate(known)}
    return np.array([place[name] for name in names], np.int32), tuple(known)


def read_movielens(path: str | Path | None = None) -> MovieLens:
    """All ratings of MovieLens 100K.

    Args:
        path: RecBole's wheel, GroupLens's ``ml-100k.zip``, or the directory it unpacks to. None downloads the wheel
            into `cache_directory` once.

    Raises:
        TableError: Nothing usable is there, or the download failed or was altered.
    """
    texts = _open(fetch_wheel() if path is None else Path(path))
    if "u.data" in texts:
        inter = _columns("user_id\titem_id\trating\ttimestamp\n" + texts["u.data"])
    else:
        inter = _columns(texts["inter"])
    users, user_ids = _numbered(inter["user_id"])
    items, item_ids = _numbered(inter["item_id"])
    return MovieLens(
        pairs=Interactions(users, items, len(user_ids), len(item_ids)),
        ratings=np.array(inter["rating"], np.float32),
        times=np.array(inter["timestamp"], np.float64).astype(np.int64),
        user_ids=user_ids,
        item_ids=item_ids,
        user_fields=_fields(_columns(texts["user"]), "user_id", user_ids) if "user" in texts else {},
        item_fields=_fields(_columns(texts["item"]), "item_id", item_ids) if "item" in texts else {},
    )
