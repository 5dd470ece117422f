"""torch checkpoints: nested dicts, views, both file layouts, and objects that must not be run."""

from __future__ import annotations

import os
from collections import OrderedDict

import numpy as np
import pytest

from pintsize.errors import MissingExtra, TableError
from pintsize.sources import open_source
from pintsize.sources._file_rows import FileRows

torch = pytest.importorskip("torch")


class RunsWhenUnpickled:
    def __init__(self, path, call=os.mkdir) -> None:
        self.call, self.path = call, str(path)

    def __reduce__(self):
        return self.call, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_tables_at_any_depth_under_dotted_names(tmp_path, zipped) -> None:
    path = tmp_path / "model.pt"
    rows = torch.arange(60, dtype=torch.float32).reshape(20, 3)
    saved = {
        "epoch": 3,
        "state_dict": OrderedDict(
            {"item.weight": rows, "bias": torch.zeros(4), "ids": torch.zeros(2, 2, dtype=torch.int64)}
        ),
        "half": torch.nn.Parameter(rows.half()),
        "brain": rows.bfloat16(),
        "double": rows.double(),
        "turned": rows.T,
        "tail": rows[5:],
        "strided": rows[::2],
        "none": rows[:0],
        "list": [rows, {"deep": rows + 1}],
        "optimizer": {"state": {0: {"exp_avg": rows}}, "param_groups": []},
    }
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    found = open_source(path)
    expected = rows.numpy()
    wanted = {
        "state_dict.item.weight": expected,
        "half": expected,
        "brain": expected,
        "double": expected,
        "turned": expected.T,
        "tail": expected[5:],
        "strided": expected[::2],
        "none": expected[:0],
        "list.0": expected,
        "list.1.deep": expected + 1,
    }
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name].array(), array, err_msg=name)
        np.testing.assert_array_equal(found[name].read(1, 2), array[1:2], err_msg=name)
    with pytest.raises(
        TableError, match=r"(?s)bias \(4\).*ids \(2, 2\) int64.*optimizer.state the state of an optimizer"
    ):
        open_source(path, "nothing")


def test_tables_of_a_zip_file_are_read_in_place(tmp_path) -> None:
    rows = torch.randn(1000, 4)
    torch.save({"w": rows, "turned": rows.T.contiguous().T, "brain": rows.bfloat16()}, tmp_path / "x.ckpt")
    found = open_source(tmp_path / "x.ckpt")
    assert all(isinstance(table.rows, FileRows) for table in found.values())
    np.testing.assert_array_equal(found["turned"].array(), rows.numpy())
    np.testing.assert_array_equal(found["brain"].array(), rows.bfloat16().float().numpy())


def test_a_torch_that_does_not_tell_where_tensors_lie_maps_them(tmp_path, monkeypatch) -> None:
    rows = torch.randn(10, 4)
    torch.save({"w": rows}, tmp_path / "x.pth")
    monkeypatch.setattr("pintsize.sources._torch._places", lambda *_: {})
    np.testing.assert_array_equal(open_source(tmp_path / "x.pth")["w"].array(), rows.numpy())


def test_a_lone_tensor(tmp_path) -> None:
    torch.save(torch.ones(2, 2), tmp_path / "x.bin")
    assert list(open_source(tmp_path / "x.bin")) == ["table"]


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_objects_are_refused_and_not_run(tmp_path, zipped) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "trace"
    torch.save({"w": torch.ones(2, 2), "x": RunsWhenUnpickled(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(TableError, match=r"evil\.pt: holds pickled Python objects \(\w+\.mkdir\).*torch\.save"):
        open_source(path)
    assert not trace.exists()


def test_a_builtin_that_would_be_called_is_named_too(tmp_path) -> None:
    torch.save([RunsWhenUnpickled("text", print)], tmp_path / "x.pt")
    with pytest.raises(TableError, match=r"holds pickled Python objects \(\S*print\)"):
        open_source(tmp_path / "x.pt")


def test_a_whole_module_is_refused_with_the_way_to_save_it(tmp_path) -> None:
    torch.save(torch.nn.Embedding(3, 2), tmp_path / "x.pt")
    with pytest.raises(TableError, match=r"objects \(torch\.nn\.modules\.sparse\.Embedding\).*state_dict\(\)"):
        open_source(tmp_path / "x.pt")


def test_a_cut_or_foreign_file_is_refused(tmp_path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": torch.ones(200, 4)}, path)
    whole = path.read_bytes()
    for content in (b"", b"junk" * 100, b"PK\x03\x04" + b"x" * 100, whole[: len(whole) // 2], whole[:-3], b"\x80\x02."):
        path.write_bytes(content)
        with pytest.raises(TableError, match=r"x\.pt: (is no torch checkpoint|cannot be read)"):
            open_source(path)


def test_several_files_with_an_index(tmp_path) -> None:
    torch.save({"a.weight": torch.ones(2, 2)}, tmp_path / "pytorch_model-1.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a.weight": "pytorch_model-1.bin"}}')
    assert list(open_source(tmp_path)) == ["a.weight"]


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch) -> None:
    torch.save({"w": torch.ones(2, 2)}, tmp_path / "x.pt")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"pip install 'pintsize\[train\]'"):
        open_source(tmp_path / "x.pt")
