"""Tables written back: every kind round trips, in chunks, whole or not at all."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from pintsize.errors import TableError
from pintsize.formats.dense import DenseTable
from pintsize.sources import load_into, open_source, write_source
from pintsize.table import EmbeddingTable, Ids

torch = pytest.importorskip("torch")

KINDS = [".npy", ".npz", ".safetensors", ".pt", ".pth", ".parquet"]


def ramp(rows: int = 30, columns: int = 3) -> np.ndarray:
    return np.arange(rows * columns, dtype=np.float32).reshape(rows, columns) / 7


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(30, 3), (0, 4), (1, 1), (5, 1)])
@pytest.mark.parametrize("compressed", [False, True])
def test_round_trip(tmp_path, monkeypatch, kind, shape, compressed) -> None:
    monkeypatch.setattr("pintsize.table._CHUNK_BYTES", 64)
    rows, path = ramp(*shape), tmp_path / f"item{kind}"
    write_source({"item": DenseTable(rows) if compressed else EmbeddingTable(rows)}, path)
    back = open_source(path)["item"]
    assert back.rows.shape == shape
    np.testing.assert_array_equal(back.array(), rows)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", [".npz", ".safetensors", ".pt"])
def test_several_tables_of_any_width(tmp_path, kind) -> None:
    half = EmbeddingTable(ramp(4, 5).astype(np.float16))
    write_source({"user.weight": EmbeddingTable(ramp()), "item": half}, tmp_path / f"x{kind}")
    back = open_source(tmp_path / f"x{kind}")
    assert list(back) == ["user.weight", "item"]
    np.testing.assert_array_equal(back["user.weight"].array(), ramp())
    np.testing.assert_array_equal(back["item"].array(), half.array())


def test_the_libraries_of_others_read_what_is_written(tmp_path) -> None:
    from safetensors.numpy import load_file

    tables = {"a": EmbeddingTable(ramp()), "b": EmbeddingTable(ramp(2, 9))}
    for name in ("x.npz", "x.safetensors", "x.pt"):
        write_source(tables, tmp_path / name)
    write_source({"a": tables["a"]}, tmp_path / "a.npy")
    write_source({"a": tables["a"]}, tmp_path / "a.parquet")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), ramp())
    np.testing.assert_array_equal(np.stack(pq.read_table(tmp_path / "a.parquet")["a"].to_pylist()).astype("f4"), ramp())
    for back in (np.load(tmp_path / "x.npz"), load_file(tmp_path / "x.safetensors"), torch.load(tmp_path / "x.pt")):
        np.testing.assert_array_equal(np.asarray(back["b"]), ramp(2, 9))


@pytest.mark.parametrize("ids", [list(range(0, 90, 3)), [f"i{n}" for n in range(30)]])
def test_parquet_keeps_ids(tmp_path, monkeypatch, ids) -> None:
    monkeypatch.setattr("pintsize.table._CHUNK_BYTES", 64)

    class Kept(dict):
        ids = None

    bundle = Kept(item=DenseTable(ramp()))
    bundle.ids = {"item": Ids(ids)}
    path = tmp_path / "x.parquet"
    for tables, given in (
        ({"item": EmbeddingTable(ramp(), ids)}, None),
        ({"item": DenseTable(ramp())}, ids),
        ({"item": EmbeddingTable(ramp())}, {"item": ids}),
        (bundle, None),
    ):
        write_source(tables, path, ids=given)
        assert open_source(path)["item"].ids == Ids(ids)
    with pytest.raises(TableError, match="2 ids for 30 rows"):
        write_source({"item": DenseTable(ramp())}, path, ids=[1, 2])
    assert open_source(path)["item"].ids == Ids(ids)
    write_source({"id": EmbeddingTable(ramp(), ids)}, path)
    assert open_source(path)["id"].ids == Ids(ids)


def test_wrong_use_is_answered_before_anything_is_written(tmp_path) -> None:
    one, two = {"a": EmbeddingTable(ramp())}, {"a": EmbeddingTable(ramp()), "b": EmbeddingTable(ramp())}
    for tables, name, ids, said in (
        (one, "x.csv", None, r"suffix '.csv' is unknown; what can be written: \.npy"),
        (two, "x.npy", None, r"\.npy holds one table, found 2: a, b"),
        (two, "x.parquet", None, r"\.parquet holds one table"),
        (one, "x.npz", [1], r"\.npz cannot keep ids; write \.parquet"),
        ({}, "x.npz", None, "at least one"),
        (ramp(), "x.npy", None, "tables by name"),
        ({"a": ramp()}, "x.npy", None, "'a' is a CompressedTable or an EmbeddingTable; found ndarray"),
        ({"__metadata__": one["a"]}, "x.safetensors", None, "another name"),
        (one, "gone/x.npy", None, "cannot be written: No such file or directory"),
    ):
        with pytest.raises(TableError, match=said):
            write_source(tables, tmp_path / name, ids=ids)
    (tmp_path / "d.npy").mkdir()
    with pytest.raises(TableError, match="is a directory"):
        write_source(one, tmp_path / "d.npy")
    assert [file.name for file in tmp_path.iterdir()] == ["d.npy"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, kind) -> None:
    monkeypatch.setattr("pintsize.table._CHUNK_BYTES", 64)
    path = tmp_path / f"x{kind}"
    write_source({"x": EmbeddingTable(ramp())}, path)
    before, bad = path.read_bytes(), ramp()
    bad[25, 1] = np.nan
    with pytest.raises(TableError, match="row 25 holds nan"):
        write_source({"x": EmbeddingTable(bad)}, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", [".npy", ".npz", ".safetensors", ".pt", ".parquet"])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, kind) -> None:
    code = f"""
import resource, numpy as np
from pintsize.errors import TableError
from pintsize.sources import write_source
from pintsize.table import EmbeddingTable
table = EmbeddingTable(np.random.default_rng(0).standard_normal((4096, 16)).astype("f4"))
if {kind!r} == ".pt":
    import torch
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_source({{"x": table}}, "{tmp_path}/x{kind}")
except TableError as error:
    assert "cannot be written" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_source_may_be_written_over_itself(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("pintsize.table._CHUNK_BYTES", 64)
    np.save(tmp_path / "x.npy", ramp().astype(np.float64))
    write_source(open_source(tmp_path / "x.npy"), tmp_path / "x.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), ramp())


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = torch.nn.Embedding(30, 3, dtype=torch.float16), torch.nn.EmbeddingBag(6, 2)


def test_rows_are_copied_into_a_module_in_place(monkeypatch) -> None:
    monkeypatch.setattr("pintsize.table._CHUNK_BYTES", 64)
    model = Model()
    weight, items = model.users.weight, model.items.weight.detach().clone()
    load_into(model, {"users": DenseTable(ramp())})
    assert model.users.weight is weight
    assert weight.requires_grad
    np.testing.assert_array_equal(weight.detach().numpy(), ramp().astype(np.float16))
    assert torch.equal(model.items.weight, items)
    lone = torch.nn.Embedding(30, 3)
    load_into(lone, {"table": EmbeddingTable(ramp())})
    np.testing.assert_array_equal(lone.weight.detach().numpy(), ramp())


def test_a_module_stays_as_it_was_when_something_does_not_fit() -> None:
    model, bad = Model(), ramp(6, 2)
    bad[5, 0] = np.inf
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for tables, said in (
        ({"users": ramp(), "x": ramp()}, "no embedding 'x'; it has users, items"),
        (
            {"users": ramp(), "items": ramp(6, 3)},
            r"'items' of the module has shape \(6, 2\), and the table has \(6, 3\)",
        ),
        ({"users": ramp(), "items": bad}, "row 5 holds inf"),
    ):
        with pytest.raises(TableError, match=said):
            load_into(model, {name: EmbeddingTable(rows) for name, rows in tables.items()})
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(TableError, match="torch module; found dict"):
        load_into({}, {"x": EmbeddingTable(ramp())})
