"""Gowalla check-ins in the split on which LightGCN, NGCF and their successors publish."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pintsize.errors import TableError, require
from pintsize.lab.datasets.interactions import Interactions, Split

__all__ = ["NUM_ITEMS", "NUM_USERS", "read_gowalla"]

NUM_USERS, NUM_ITEMS = 29_858, 40_981


def _read(path: Path) -> Interactions:
    polars = require("polars", "lab")
    if not path.is_file():
        raise TableError(f"expected {path}, a Parquet file with int columns user and item; there is none")
    frame = polars.read_parquet(path)
    if missing := {"user", "item"} - set(frame.columns):
        raise TableError(
            f"{path}: expected columns user and item; {', '.join(sorted(missing))} not among {frame.columns}"
        )
    users, items = (frame[name].to_numpy().astype(np.int32) for name in ("user", "item"))
    return Interactions(users, items, NUM_USERS, NUM_ITEMS)


def read_gowalla(directory: str | Path) -> Split:
    """Training and test interactions: 810,128 and 217,242 pairs of 29,858 users and 40,981 items.

    Args:
        directory: Holds ``train.parquet`` and ``test.parquet``, each with int columns ``user`` and ``item`` from 0.

    Raises:
        TableError: A file is missing or is not this data.
        MissingExtra: polars is not installed.
    """
    folder = Path(directory)
    return Split(_read(folder / "train.parquet"), _read(folder / "test.parquet"))
