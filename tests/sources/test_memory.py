"""Sources in memory: modules, mappings, arrays; and paths that lead nowhere."""

from __future__ import annotations

import numpy as np
import pytest

from pintsize.errors import TableError
from pintsize.formats.dense import DenseTable
from pintsize.sources import open_source
from pintsize.table import EmbeddingTable, Ids

torch = pytest.importorskip("torch")
nn = torch.nn


class Recommender(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Embedding(5, 3)
        self.tower = nn.ModuleDict(
            {"goods": nn.EmbeddingBag(7, 3), "copy": nn.Embedding(7, 3), "head": nn.Linear(3, 2)}
        )
        self.tower["copy"].weight = self.tower["goods"].weight


def test_all_embeddings_of_a_module_and_shared_weights_once() -> None:
    model = Recommender()
    found = open_source(model)
    assert list(found) == ["users", "tower.goods"]
    np.testing.assert_array_equal(found["users"].array(), model.users.weight.detach().numpy())
    with torch.no_grad():
        model.users.weight[0] = 9
    assert (found["users"].read(0, 1) == 9).all()
    assert list(open_source(model, "tower.*")) == ["tower.goods"]
    with pytest.raises(TableError) as caught:
        open_source(model, "x")
    assert "tower.copy (7, 3) float32: the same weights as 'tower.goods'" in str(caught.value)
    assert "tower.head.weight (2, 3) float32: not the weights of an nn.Embedding" in str(caught.value)


def test_a_lone_embedding_is_called_table() -> None:
    assert list(open_source(nn.Embedding(3, 2))) == ["table"]


def test_a_module_that_is_reached_twice_comes_once() -> None:
    inner = nn.Embedding(3, 2)
    assert list(open_source(nn.ModuleList([inner, inner]))) == ["0"]


def test_weights_without_values_are_no_table() -> None:
    with pytest.raises(TableError, match="on the meta device"):
        open_source(nn.Embedding(3, 2, device="meta"))
    with pytest.raises(TableError, match="sparse or quantized"):
        open_source({"w": torch.eye(3).to_sparse()})
    with pytest.raises(TableError, match=r"(?s)Linear: holds no table.*weight \(2, 3\)"):
        open_source(nn.Linear(3, 2))


def test_a_state_dict_and_mixed_mappings() -> None:
    assert list(open_source(Recommender().state_dict())) == [
        "users.weight",
        "tower.goods.weight",
        "tower.copy.weight",
        "tower.head.weight",
    ]
    table = EmbeddingTable(np.ones((2, 2), np.float32), [8, 9])
    found = open_source(
        {"a": {"b": np.zeros((2, 2))}, 3: torch.ones(1, 1), "t": table, "n": 7, "flag": np.zeros((2, 2), bool)}
    )
    assert list(found) == ["a.b", "3", "t"]
    assert found["t"] is table


def test_compressed_tables_are_decoded_when_read_and_keep_their_ids() -> None:
    class Kept(dict):
        ids = {"item": Ids(["x", "y", "z"])}

    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = open_source(Kept(item=DenseTable(rows), user=DenseTable(rows.astype(np.float16), "float16")))
    np.testing.assert_array_equal(found["item"].read(1, 3), rows[1:])
    assert found["item"].ids == Ids(["x", "y", "z"])
    assert found["user"].ids is None


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">f8", "f2"])
def test_arrays_of_any_byte_order(dtype) -> None:
    rows = np.arange(6).reshape(3, 2).astype(dtype)
    np.testing.assert_array_equal(open_source(rows)["table"].array(), np.arange(6).reshape(3, 2))


def test_lone_arrays_tensors_and_lists() -> None:
    for source in (np.ones((2, 2)), torch.ones(2, 2), nn.Parameter(torch.ones(2, 2)), [[1, 1], [1, 1]]):
        np.testing.assert_array_equal(open_source(source)["table"].array(), np.ones((2, 2)))
    with pytest.raises(TableError, match=r"(?s)holds no table.*table \(3\) float64: 1 dimension"):
        open_source(np.ones(3))
    with pytest.raises(TableError, match=r"a source is a path.*found int"):
        open_source(3)
    with pytest.raises(TableError, match="no table matches 'x'"):
        open_source(np.ones((2, 2)), "x")
    with pytest.raises(TableError, match="for Parquet"):
        open_source(np.ones((2, 2)), id_column="id")


def test_endless_nesting_is_refused() -> None:
    loop: dict = {}
    loop["x"] = loop
    with pytest.raises(TableError, match="nested more than"):
        open_source(loop)


def test_paths_that_lead_nowhere(tmp_path) -> None:
    (tmp_path / "x.csv").write_text("1,2")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    (tmp_path / "bundle" / "item.safetensors").write_bytes(b"")
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    readable = r"what can be read: \.npy, \.npz, \.safetensors, torch"
    for path, said in (
        (tmp_path / "gone.npy", f"no such file; {readable}"),
        (tmp_path / "*.parquet", f"no such file; {readable}"),
        (tmp_path / "x.csv", f"suffix '.csv' is unknown; {readable}"),
        (tmp_path / "empty", rf"nothing that can be read \(empty\); {readable}"),
        (tmp_path, rf"nothing that can be read \(bundle, empty, x.csv, x.npy\); {readable}"),
        (tmp_path / "bundle", "looks like a bundle.*pintsize.load"),
        (f"{tmp_path}/x.n*", "a pattern stands for the parts of one Parquet table; found x.npy"),
    ):
        with pytest.raises(TableError, match=said):
            open_source(path)
    with pytest.raises(TableError, match="for Parquet"):
        open_source(tmp_path / "x.npy", id_column="id")
