"""The functions that users call."""

from __future__ import annotations

import gc
from typing import Any, ClassVar

import numpy as np
import pytest

import pintsize as pz
from pintsize.methods import METHODS
from pintsize.methods.base import PairMethod, Traits


class Swapped(PairMethod):
    """A stand-in for a pair method: keeps a number of columns of both tables."""

    name: ClassVar[str] = "swapped"
    family: ClassVar[str] = "pair"
    paper: ClassVar[str] = "none"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    traits: ClassVar[Traits] = Traits()

    columns: int = 2

    def compress_pair(self, left, right, *, seed=0, progress=None):
        return tuple(pz.compress(table.array()[:, : self.columns], "full") for table in (left, right))


@pytest.fixture
def pair_method(monkeypatch):
    monkeypatch.setitem(METHODS, "swapped", "tests.test_api:Swapped")


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)


def test_compress_takes_arrays_tensors_and_tables(rows):
    torch = pytest.importorskip("torch")
    given = [rows, torch.from_numpy(rows), pz.EmbeddingTable(rows), rows.astype(np.float64)]
    for table in given:
        compressed = pz.compress(table, "integer:bits=8")
        assert all(isinstance(a, np.ndarray) for a in compressed.tensors().values())
        np.testing.assert_allclose(compressed.lookup(np.arange(40)), rows, atol=0.02)
    assert pz.compress(rows, pz.method("full")).lookup([3]).tolist() == rows[[3]].tolist()


def test_progress_is_told(rows):
    told = []
    pz.compress(rows, "float16", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (40, 40)


def test_a_pair_method_needs_a_pair(rows, pair_method):
    with pytest.raises(pz.MethodError, match="compress_pair"):
        pz.compress(rows, "swapped")
    users, items = pz.compress_pair(rows, rows[:7], "swapped:columns=3")
    assert (users.num_embeddings, items.num_embeddings, items.embedding_dim) == (40, 7, 3)
    with pytest.raises(pz.TableError, match="8 and 5"):
        pz.compress_pair(rows, rows[:, :5], "swapped")


def test_any_method_compresses_both_of_a_pair(rows):
    users, items = pz.compress_pair(rows, rows[:7], "float16")
    assert (users.num_embeddings, items.num_embeddings) == (40, 7)


def test_available_methods():
    found = {row.name: row for row in pz.available_methods()}
    assert list(found) == sorted(METHODS)
    assert found["integer"].kinds == ("after",)
    assert found["integer"].family == "quantization" and "2019" in found["integer"].paper


def test_a_source_becomes_a_bundle_on_disk(tmp_path, rows):
    tables = {"user": pz.EmbeddingTable(rows, ids=[f"u{i}" for i in range(40)]), "item": pz.EmbeddingTable(rows[:9])}
    bundle = pz.compress_source(tables, {"us*": "float16", "*": "full"}, out=tmp_path / "b")
    assert dict(bundle["item"].header())["dtype"] == "float32"
    np.testing.assert_allclose(bundle.lookup("user", ["u7"])[0], rows[7], atol=1e-2)
    assert bundle.manifest["tables"]["user"]["method"] == "float16"
    assert bundle.manifest["notes"]["source_columns"] == {"user": 8, "item": 8}
    assert set(pz.load(tmp_path / "b")) == {"user", "item"}


def test_a_file_becomes_a_bundle(tmp_path, rows):
    np.savez(tmp_path / "t.npz", user=rows, item=rows[:9], other=rows[:3])
    bundle = pz.compress_source(tmp_path / "t.npz", "integer:bits=8", tables="*er")
    assert set(bundle) == {"user", "other"}


def test_a_bundle_without_a_place_lives_as_long_as_it_is_used(rows):
    bundle = pz.compress_source({"item": pz.EmbeddingTable(rows)}, "full")
    path, table = bundle.path, bundle["item"]
    assert path.exists()
    del bundle
    gc.collect()
    assert not path.exists()
    assert table.lookup([5]).tolist() == rows[[5]].tolist()


def test_tables_that_no_pattern_matches_are_named(tmp_path, rows):
    tables = {name: pz.EmbeddingTable(rows) for name in ("user", "item", "shop")}
    with pytest.raises(pz.MethodError, match="no method for item, shop"):
        pz.compress_source(tables, {"user": "full"}, out=tmp_path / "b")
    assert not (tmp_path / "b").exists()
    with pytest.raises(pz.TableError, match="no table matches x"):
        pz.compress_source(tables, "full", tables="x")


def test_pairs_in_a_source(rows, pair_method):
    tables = {name: pz.EmbeddingTable(rows[:n]) for name, n in (("user", 40), ("item", 9), ("shop", 5))}
    bundle = pz.compress_source(tables, "swapped", pair=("user", "item"))
    assert list(bundle) == ["user", "item"] and bundle["item"].embedding_dim == 2
    mixed = pz.compress_source(tables, {"shop": "full", "*": "swapped"}, pair=("user", "item"))
    assert mixed["shop"].embedding_dim == 8 and mixed["user"].embedding_dim == 2
    with pytest.raises(pz.MethodError, match="user belongs to no pair"):
        pz.compress_source(tables, "swapped")
    with pytest.raises(pz.MethodError, match="two tables together; found full and full"):
        pz.compress_source(tables, "full", pair=("user", "item"))
    with pytest.raises(pz.TableError, match="user twice"):
        pz.compress_source(tables, "swapped", pair=("user", "user"))


def test_a_bad_row_leaves_nothing(tmp_path, rows):
    rows[11, 3] = np.nan
    with pytest.raises(pz.TableError, match="row 11"):
        pz.compress_source({"item": pz.EmbeddingTable(rows)}, "float16", out=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
