"""What a bundle says of itself.

``manifest.json``::

    {"format": "pintsize bundle", "version": 1, "creator": "pintsize 0.1.0", "notes": {...},
     "tables": {NAME: {"file": FILE, "method": SPEC or null, "num_embeddings": n, "embedding_dim": d, "nbytes": bytes,
                       "header": {"format": ..., ...}, "tensors": {NAME: {"dtype": "uint8", "shape": [...]}},
                       "ids": {"file": FILE, "kind": "int64" or "string"} or null}},
     "files": {FILE: {"bytes": size, "sha256": hexadecimal}},
     "sha256": of the canonical bytes of all that stands before it}

Tables stand in the order in which they were saved.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from pintsize.bundle._files import Directory
from pintsize.bundle._json import MAX_BYTES, canonical, parsed
from pintsize.errors import BundleError
from pintsize.formats.base import CompressedTable

__all__ = ["FORMAT", "ID_KINDS", "MANIFEST", "VERSION", "file_name", "read_manifest", "sealed", "table_entry"]

MANIFEST = "manifest.json"
FORMAT = "pintsize bundle"
VERSION = 1
ID_KINDS = ("int64", "string")

_PLAIN = re.compile(r"[0-9a-z][0-9a-z.-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SAID = {"format": str, "version": int, "creator": str, "notes": dict, "tables": dict, "files": dict, "sha256": str}
_SAID_OF_TABLE = {
    "file": str,
    "method": (str, type(None)),
    "num_embeddings": int,
    "embedding_dim": int,
    "nbytes": int,
    "header": dict,
    "tensors": dict,
    "ids": (dict, type(None)),
}


def file_name(index: int, table: str, ending: str) -> str:
    """The file of a table: its number, what of its name is harmless, and an ending."""
    slug = re.sub(r"[^0-9a-z]+", "-", table.lower()[:200])[:40].strip("-")
    return f"{index:04d}{'-' if slug else ''}{slug}{ending}"


def table_entry(table: CompressedTable, file: str, method: str | None, ids: dict[str, str] | None) -> dict[str, Any]:
    """What the manifest says of a table."""
    return {
        "file": file,
        "method": method,
        "num_embeddings": table.num_embeddings,
        "embedding_dim": table.embedding_dim,
        "nbytes": table.nbytes,
        "header": plain(table.header()),
        "tensors": {name: shape_entry(a.dtype, a.shape) for name, a in table.tensors().items()},
        "ids": ids,
    }


def shape_entry(dtype: Any, shape: Any) -> dict[str, Any]:
    """What the manifest says of an array."""
    return {"dtype": str(dtype).removeprefix("torch."), "shape": list(shape)}


def plain(value: Any) -> Any:
    """NumPy's numbers as Python's, in any nesting."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def sealed(creator: str, notes: Mapping[str, Any], tables: dict[str, Any], files: dict[str, Any]) -> bytes:
    """The bytes of a manifest.

    Raises:
        BundleError: Notes or a header that are no JSON, or more than a reader would read.
    """
    said: dict[str, Any] = {"format": FORMAT, "version": VERSION, "creator": creator}
    said |= {"notes": plain(notes), "tables": tables, "files": files}
    try:
        data = canonical({**said, "sha256": hashlib.sha256(canonical(said)).hexdigest()})
        same = canonical(parsed(data, MANIFEST)) == data
    except (TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"the manifest cannot be written as JSON: {error}") from error
    if len(data) > MAX_BYTES or not same:
        raise BundleError(f"the manifest has {len(data)} bytes of JSON; at most {MAX_BYTES} can be read back")
    return data


def read_manifest(directory: Directory) -> dict[str, Any]:
    """The manifest of a bundle, complete and consistent in itself; no other file is opened.

    Raises:
        BundleError: It is missing, too large, changed since it was written, of an unknown version, or says what cannot
            be.
    """
    where = f"{directory.path}/{MANIFEST}"
    with directory.open(MANIFEST) as (fd, size):
        if size > MAX_BYTES:
            raise BundleError(f"{where}: at most {MAX_BYTES} bytes are expected; found {size}")
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    manifest = parsed(data, where)
    if manifest.get("format") != FORMAT:
        raise BundleError(f"{where}: format {FORMAT!r} is expected; found {str(manifest.get('format'))[:80]!r}")
    if type(manifest.get("version")) is not int or manifest["version"] != VERSION:
        found = str(manifest.get("version"))[:80]
        raise BundleError(f"{where}: version {VERSION} is known; found {found}; a newer Pintsize may read it")
    _check_keys(manifest, _SAID, where)
    said = {key: value for key, value in manifest.items() if key != "sha256"}
    if canonical(manifest) != data or hashlib.sha256(canonical(said)).hexdigest() != manifest["sha256"]:
        raise BundleError(f"{where}: it is not as it was written: its own sha256 does not match")
    _check_files(manifest, where)
    for name, entry in manifest["tables"].items():
        _check_table(entry, manifest["files"], f"{where}: table {name[:80]!r}")
    named = [e["file"] for e in manifest["tables"].values()]
    named += [e["ids"]["file"] for e in manifest["tables"].values() if e["ids"] is not None]
    if sorted(named) != sorted(manifest["files"]):
        raise BundleError(
            f"{where}: every file belongs to one table; found {len(named)} uses of {len(manifest['files'])}"
        )
    return manifest


def _check_keys(entry: Any, wanted: Mapping[str, Any], where: str) -> None:
    if not isinstance(entry, dict) or set(entry) != set(wanted):
        found = ", ".join(sorted(entry))[:200] if isinstance(entry, dict) else type(entry).__name__
        raise BundleError(f"{where}: the keys {', '.join(wanted)} are expected; found {found}")
    for key, kind in wanted.items():
        if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
            raise BundleError(f"{where}: {key} has the wrong type, {type(entry[key]).__name__}")
        if kind is int and entry[key] < 0:
            raise BundleError(f"{where}: {key} is 0 or more; found {entry[key]}")


def _check_files(manifest: dict[str, Any], where: str) -> None:
    for name, entry in manifest["files"].items():
        if not _PLAIN.fullmatch(name) or name == MANIFEST:
            raise BundleError(f"{where}: files have plain names inside the bundle; found {name[:80]!r}")
        _check_keys(entry, {"bytes": int, "sha256": str}, f"{where}: file {name!r}")
        if not _SHA256.fullmatch(entry["sha256"]):
            raise BundleError(f"{where}: file {name!r}: a sha256 has 64 hexadecimal digits")


def _check_table(entry: Any, files: dict[str, Any], where: str) -> None:
    _check_keys(entry, _SAID_OF_TABLE, where)
    for name, tensor in entry["tensors"].items():
        _check_keys(tensor, {"dtype": str, "shape": list}, f"{where}: array {name[:80]!r}")
    used = [entry["file"]]
    if entry["ids"] is not None:
        _check_keys(entry["ids"], {"file": str, "kind": str}, f"{where}: ids")
        used.append(entry["ids"]["file"])
        if entry["ids"]["kind"] not in ID_KINDS:
            raise BundleError(f"{where}: ids are {' or '.join(ID_KINDS)}; found {entry['ids']['kind'][:80]!r}")
    for file in used:
        if file not in files:
            raise BundleError(f"{where}: its file {file[:80]!r} is not among the files of the manifest")
