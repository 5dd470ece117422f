"""From a path to the file that reads it."""

from __future__ import annotations

import glob
import os
from functools import partial
from pathlib import Path

from pintsize.errors import TableError
from pintsize.sources._found import Found
from pintsize.sources._sharded import open_index, open_together

__all__ = ["READABLE", "open_path"]

READABLE = (
    ".npy, .npz, .safetensors, torch checkpoints (.pt, .pth, .bin, .ckpt), an *.index.json of a checkpoint in several "
    "files, .parquet; a directory or a pattern (*, ?) of .parquet files, and a directory with a checkpoint"
)
_TORCH = {".pt", ".pth", ".bin", ".ckpt"}
_PARQUET = {".parquet", ".pq"}


def open_path(given: str | os.PathLike[str], id_column: str | None, vector_column: str | None) -> Found:
    """What lies at a path, by its suffix; directories by what they hold.

    Raises:
        TableError: Nothing is there, or nothing of a known kind.
    """
    path = Path(given)
    parquet = partial(open_parquet_files, id_column=id_column, vector_column=vector_column)
    if not path.exists():
        matches = (
            sorted(Path(match) for match in glob.glob(str(given), recursive=True)) if glob.has_magic(str(given)) else []
        )
        if not matches:
            raise TableError(f"{path}: no such file; what can be read: {READABLE}")
        if any(match.suffix.lower() not in _PARQUET for match in matches):
            raise TableError(f"{given}: a pattern stands for the parts of one Parquet table; found {_some(matches)}")
        return parquet(matches)
    parts = _parquet_parts(path) if path.is_dir() else [path] if path.suffix.lower() in _PARQUET else []
    if path.is_dir() and (found := _open_checkpoint_directory(path)) is not None:
        parts = []
    elif parts:
        return parquet(parts)
    elif path.is_dir():
        raise _unknown_directory(path)
    else:
        found = _open_one(path)
    if id_column is not None or vector_column is not None:
        raise TableError(f"{path}: id_column and vector_column are for Parquet; tables= picks by name everywhere")
    return found


def open_parquet_files(paths: list[Path], *, id_column: str | None, vector_column: str | None) -> Found:
    """Parquet files, with Arrow's reader imported only now."""
    from pintsize.sources._parquet import open_parquet

    return open_parquet(paths, id_column, vector_column)


def _open_one(path: Path) -> Found:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        from pintsize.sources._numpy import open_npy

        return open_npy(path)
    if suffix == ".npz":
        from pintsize.sources._numpy import open_npz

        return open_npz(path)
    if suffix == ".safetensors":
        from pintsize.sources._safetensors import open_safetensors

        return open_safetensors(path)
    if suffix in _TORCH:
        from pintsize.sources._torch import open_checkpoint

        return open_checkpoint(path)
    if path.name.lower().endswith(".index.json"):
        return open_index(path, _open_one)
    raise TableError(f"{path}: the suffix {suffix!r} is unknown; what can be read: {READABLE}")


def _open_checkpoint_directory(path: Path) -> Found | None:
    for names in ("*.safetensors.index.json", "*.safetensors", "*.bin.index.json", "pytorch_model.bin"):
        files = sorted(path.glob(names))
        if names.endswith(".index.json") and len(files) > 1:
            raise TableError(f"{path}: holds several checkpoints, {_some(files)}; name the one to read")
        if files and not (path / "manifest.json").exists():
            return open_together(files, _open_one)
    return None


def _parquet_parts(path: Path) -> list[Path]:
    """The Parquet files below a directory, without those that writers hide (``_SUCCESS``, ``.part-0.crc``)."""
    files = (file for file in path.rglob("*") if file.suffix.lower() in _PARQUET and file.is_file())
    return sorted(f for f in files if not any(part.startswith((".", "_")) for part in f.relative_to(path).parts))


def _unknown_directory(path: Path) -> TableError:
    if (path / "manifest.json").exists():
        return TableError(f"{path}: looks like a bundle, which is compressed already; open it with pintsize.load")
    held = sorted(path.iterdir())
    return TableError(
        f"{path}: a directory with nothing that can be read ({_some(held) or 'empty'}); what can be read: {READABLE}"
    )


def _some(paths: list[Path]) -> str:
    return ", ".join(file.name for file in paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
