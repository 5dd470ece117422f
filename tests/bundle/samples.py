"""A small table of every format, and bundles whose manifests lie convincingly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pintsize.bundle import _json
from pintsize.formats.base import CompressedTable
from tests.contracts.format_cases import CASES

EVERY_FORMAT = [
    "dense-float32",
    "dense-bfloat16",
    "scalar-4-rotated",
    "scalar-3-grid",
    "codebook-4-shared",
    "codebook-10",
    "factored",
    "sparse",
    "partitioned-deep",
    "block-float-nvfp4",
]
IDS: dict[str, Any] = {
    "dense-float32": np.random.default_rng(7).permutation(40) - 7,
    "scalar-3-grid": [f"item {i % 7} {i}" for i in range(40)],
}


def table(case: str, n: int = 40, d: int = 17, seed: int = 0) -> CompressedTable:
    return CASES[case](n, d, np.random.default_rng(seed))


def every_format(n: int = 40, seed: int = 0) -> dict[str, CompressedTable]:
    """A table or two of every format, nested ones among them."""
    return {case: table(case, n, seed=seed) for case in EVERY_FORMAT}


def same(one: CompressedTable, other: CompressedTable) -> bool:
    """Whether two tables are the same to the last bit."""
    left, right = one.tensors(), other.tensors()
    return left.keys() == right.keys() and all(
        a.dtype == right[n].dtype and a.shape == right[n].shape and a.tobytes() == right[n].tobytes()
        for n, a in left.items()
    )


def reseal(path: Path, edit: Callable[[dict[str, Any]], Any] = lambda manifest: None) -> None:
    """Changes a manifest, and makes its sizes and digests agree with what is there: what only an attacker would do."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    for name, entry in manifest["files"].items():
        if (path / name).is_file():
            data = (path / name).read_bytes()
            entry["bytes"], entry["sha256"] = len(data), hashlib.sha256(data).hexdigest()
    edit(manifest)
    said = {key: value for key, value in manifest.items() if key != "sha256"}
    if "sha256" in manifest:
        manifest["sha256"] = hashlib.sha256(_json.canonical(said)).hexdigest()
    (path / "manifest.json").write_bytes(_json.canonical(manifest))


def rewrite_header(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the header of a safetensors file and leaves the rest as it is."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header = edit(header) or header
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
