"""A changed byte anywhere is an answer or a TableError, never another error or a crash."""

from __future__ import annotations

import numpy as np
import pytest

from pintsize.errors import TableError
from pintsize.sources import open_source, write_source
from pintsize.table import EmbeddingTable

CHANGES = 150


@pytest.mark.parametrize("kind", ["npy", "npz", "compressed.npz", "safetensors", "parquet"])
def test_changed_bytes_raise_nothing_but_table_errors(tmp_path, kind) -> None:
    rng = np.random.default_rng(0)
    rows, path = rng.standard_normal((50, 4)).astype(np.float32), tmp_path / f"x.{kind}"
    if kind == "compressed.npz":
        np.savez_compressed(path, x=rows)
    else:
        write_source({"x": EmbeddingTable(rows, list(range(50)))}, path)
    whole, refused = path.read_bytes(), 0
    for place in (rng.random(CHANGES) * len(whole)).astype(int):
        changed = bytearray(whole)
        changed[place] ^= rng.integers(1, 256)
        path.write_bytes(changed)
        try:
            for table in open_source(path).values():
                table.array()
        except TableError as error:
            assert "x." in str(error) or "row" in str(error)
            refused += 1
    assert refused > 0
    if kind in ("compressed.npz", "parquet"):
        path.write_bytes(whole)
        np.testing.assert_array_equal(open_source(path)["x"].array(), rows)
