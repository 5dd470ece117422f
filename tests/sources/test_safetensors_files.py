"""safetensors: all float types without torch, several files with an index, broken headers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from pintsize.errors import TableError
from pintsize.formats.dense import bfloat16_bits
from pintsize.sources import open_source


def written(path, header: dict, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@settings(deadline=None)
@given(
    rows=hnp.arrays(
        st.sampled_from(["f2", "f4", "f8"]),
        st.tuples(st.integers(0, 9), st.integers(1, 9)),
        elements=st.integers(-100, 100),
    )
)
def test_floats_of_any_shape(tmp_path_factory, rows) -> None:
    path = tmp_path_factory.mktemp("st") / "x.safetensors"
    save_file({"first": np.ones(3, "f4"), "embedding.weight": rows}, path)
    table = open_source(path)["embedding.weight"]
    assert table.rows.dtype == rows.dtype
    np.testing.assert_array_equal(table.array(), rows.astype(np.float32))


def test_bfloat16_comes_back_as_the_float32_it_stands_for(tmp_path) -> None:
    values = np.array([[1.0, -2.5, 3.0e38], [0.0, 1.5e-40, -0.15625]], np.float32)
    bits = bfloat16_bits(values)
    written(
        tmp_path / "x.safetensors", {"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}, bits.tobytes()
    )
    table = open_source(tmp_path / "x.safetensors")["w"]
    assert table.rows.dtype == "bfloat16"
    expected = (bits.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(table.array(), expected)
    np.testing.assert_array_equal(table.read(1, 2), expected[1:])


def test_other_dtypes_are_listed(tmp_path) -> None:
    save_file({"codes": np.zeros((4, 2), np.int8), "bias": np.zeros(4, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(
        TableError, match=r"(?s)holds no table.*bias \(4\) float32: 1 dimension.*codes \(4, 2\) I8: I8 is not one of"
    ):
        open_source(tmp_path / "x.safetensors")


def test_a_cut_or_forged_file_is_refused(tmp_path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": np.ones((50, 4), np.float32)}, path)
    whole = path.read_bytes()
    for cut in (0, 7, 30, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(TableError, match=r"x\.safetensors: cannot be read"):
            open_source(path)
    for shape, offsets in (([5, 4], [0, 64]), ([4, 4], [8, 72]), ([-4, 4], [0, 64]), ([1 << 62, 1 << 62], [0, 64])):
        written(path, {"w": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}, b"\0" * 64)
        with pytest.raises(TableError, match=r"x\.safetensors: cannot be read"):
            open_source(path)


@pytest.fixture
def sharded(tmp_path):
    a, b = np.ones((4, 2), np.float32), np.full((3, 5), 2, np.float32)
    save_file({"user.weight": a, "bias": np.zeros(3, np.float32)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"item.weight": b}, tmp_path / "model-00002-of-00002.safetensors")
    places = {
        "item.weight": "model-00002-of-00002.safetensors",
        "user.weight": "model-00001-of-00002.safetensors",
        "bias": "model-00001-of-00002.safetensors",
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return tmp_path


def test_several_files_with_an_index(sharded) -> None:
    for path in (sharded, sharded / "model.safetensors.index.json", str(sharded)):
        found = open_source(path)
        assert list(found) == ["item.weight", "user.weight"]
        np.testing.assert_array_equal(found["item.weight"].array(), np.full((3, 5), 2))


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"weight_map": {"w": "../x.safetensors"}}, "is not the name of a file beside the index"),
        ({"weight_map": {"w": "/etc/passwd"}}, "is not the name of a file beside the index"),
        ({"weight_map": {"w": ""}}, "is not the name of a file beside the index"),
        ({"weight_map": {"w": ".."}}, r"file '\.\.' that it names is missing"),
        ({"weight_map": {"w": "gone.safetensors"}}, "file 'gone.safetensors' that it names is missing"),
        ({"weight_map": {"w": "model-00002-of-00002.safetensors"}}, "does not hold it"),
        ({"weight_map": {"w": 3}}, "'weight_map'"),
        ([], "'weight_map'"),
    ],
)
def test_a_wrong_index_is_refused(sharded, index, said) -> None:
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(TableError, match=said):
        open_source(sharded)


def test_a_directory_of_files_without_an_index(sharded) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    assert sorted(open_source(sharded)) == ["item.weight", "user.weight"]
    save_file({"item.weight": np.ones((1, 1), np.float32)}, sharded / "other.safetensors")
    with pytest.raises(TableError, match=r"two tables are called 'item.weight'"):
        open_source(sharded)


def test_opening_needs_no_torch(sharded) -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['torch'] = None; from pintsize.sources import open_source;"
        f"assert len(open_source({str(sharded)!r})) == 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
