"""``.npy`` and ``.npz``: every order, width and byte order; nothing pickled; nothing read before it is asked for."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pintsize.errors import TableError
from pintsize.sources import open_source
from pintsize.sources._numpy import open_npy, open_npz

tables = hnp.arrays(
    st.sampled_from(["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]),
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9).filter(lambda shape: shape[1] > 0),
    elements=st.integers(-100, 100),
)


def ramp(rows: int = 40, columns: int = 3, dtype: str = "f4") -> np.ndarray:
    return np.arange(rows * columns, dtype=dtype).reshape(rows, columns)


@settings(deadline=None)
@given(rows=tables, fortran=st.booleans(), data=st.data())
def test_npy_of_any_layout(tmp_path_factory, rows, fortran, data) -> None:
    path = tmp_path_factory.mktemp("npy") / "item.npy"
    np.save(path, np.asfortranarray(rows) if fortran else rows)
    table = open_source(path)["item"]
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    assert table.rows.shape == rows.shape
    assert table.rows.dtype == rows.dtype.newbyteorder("=")
    np.testing.assert_array_equal(table.read(start, stop), rows[start:stop].astype(np.float32))


@settings(deadline=None)
@given(rows=tables, fortran=st.booleans(), compressed=st.booleans(), data=st.data())
def test_npz_of_any_layout(tmp_path_factory, rows, fortran, compressed, data) -> None:
    path = tmp_path_factory.mktemp("npz") / "all.npz"
    save = np.savez_compressed if compressed else np.savez
    save(path, **{"user.weight": np.asfortranarray(rows) if fortran else rows, "other": ramp()})
    table = open_source(path, "user.*")["user.weight"]
    for _ in range(3):
        start = data.draw(st.integers(0, len(rows)))
        stop = data.draw(st.integers(start, len(rows)))
        np.testing.assert_array_equal(table.read(start, stop), rows[start:stop].astype(np.float32))
    np.testing.assert_array_equal(table.array(), rows.astype(np.float32))


def test_a_compressed_member_is_read_in_one_pass(tmp_path, monkeypatch) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, item=ramp(5000, 4))
    table, opened, real = open_source(path)["item"], [], zipfile.ZipFile.open
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *a, **k: opened.append(a) or real(*a, **k))
    assert sum(len(rows) for _, rows in table.chunks(100)) == 5000
    assert len(opened) == 1


def test_a_sparse_file_of_20_gigabytes_opens_and_slices(tmp_path) -> None:
    path, rows, columns = tmp_path / "big.npy", 5 * 2**20, 1024
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)})
    last = np.arange(columns, dtype="<f4").tobytes()
    with path.open("wb") as file:
        file.write(header.getvalue())
        file.truncate(len(header.getvalue()) + 4 * rows * columns)
        file.seek(-len(last), io.SEEK_END)
        file.write(last)
    table = open_source(path)["big"]
    assert table.nbytes_float32 == 20 * 2**30
    assert not table.read(rows // 2, rows // 2 + 2).any()
    np.testing.assert_array_equal(table.read(rows - 1, rows)[0], np.arange(columns))


def test_what_is_no_table_is_listed(tmp_path) -> None:
    path = tmp_path / "mixed.npz"
    np.savez(
        path, bias=np.zeros(3, "f4"), ids=np.zeros((2, 2), "i8"), names=np.array([["a"]], object), none=np.zeros((3, 0))
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(TableError) as caught:
        open_source(path)
    said = str(caught.value)
    assert "holds no table" in said
    for line in (
        "bias (3) float32: 1 dimension, not 2",
        "ids (2, 2) int64: int64 is not one of",
        "names (1, 1) object: pickled Python objects, which are never read",
        "none (3, 0) float64: no columns",
        "notes.txt not a .npy member",
    ):
        assert line in said


def test_no_match_lists_the_tables(tmp_path) -> None:
    np.savez(tmp_path / "x.npz", user=ramp(), item=ramp(7, 2, "f8"))
    with pytest.raises(
        TableError, match=r"no table matches 'a\*', 'b'\n(.|\n)*user \(40, 3\) float32(.|\n)*item \(7, 2\) float64"
    ):
        open_source(tmp_path / "x.npz", ["a*", "b"])
    assert list(open_source(tmp_path / "x.npz", ["it*", "nothing"])) == ["item"]


def test_an_object_array_is_refused_unread(tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(TableError, match="pickled Python objects, which are never read"):
        open_source(tmp_path / "x.npy")


@pytest.mark.parametrize("cut", [0, 3, 9, 60, 140, -1])
def test_a_cut_npy_is_refused_when_opened(tmp_path, cut) -> None:
    np.save(tmp_path / "x.npy", ramp())
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:cut])
    with pytest.raises(TableError, match=r"x\.npy: .*cut short"):
        open_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("shape", ["(-1, 3)", "(1 << 70, 3)", "('a', 3)", "(9999999999999999999999, 3)", "[40, 3]"])
def test_a_forged_shape_is_refused(tmp_path, shape) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    (tmp_path / "x.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + b"\0" * 480
    )
    with pytest.raises(TableError, match=r"x\.npy"):
        open_npy(tmp_path / "x.npy")


def test_a_file_that_changes_after_it_was_opened_is_an_error(tmp_path) -> None:
    np.save(tmp_path / "x.npy", ramp())
    table = open_source(tmp_path / "x.npy")["x"]
    np.save(tmp_path / "x.npy", ramp(50))
    with pytest.raises(TableError, match="changed after it was opened"):
        table.read(0, 1)
    (tmp_path / "x.npy").unlink()
    with pytest.raises(TableError, match=r"x\.npy: cannot be read: .*No such file"):
        table.read(0, 1)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_npz_is_refused(tmp_path, compressed) -> None:
    path = tmp_path / "x.npz"
    (np.savez_compressed if compressed else np.savez)(path, item=np.random.default_rng(0).standard_normal((300, 8)))
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(TableError, match=r"x\.npz: cannot be read"):
            open_npz(path)


def test_a_compressed_member_with_a_wrong_byte_is_an_error_when_read(tmp_path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, item=np.random.default_rng(0).standard_normal((3000, 8)))
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    table = open_source(path)["item"]
    for _ in range(2):
        with pytest.raises(TableError, match=r"x\.npz, member item\.npy: cannot be read"):
            table.array()


def test_rows_are_read_by_slices_of_step_one(tmp_path) -> None:
    np.save(tmp_path / "x.npy", ramp())
    rows = open_source(tmp_path / "x.npy")["x"].rows
    with pytest.raises(TableError, match="step 2"):
        rows[0:4:2]
    with pytest.raises(TableError, match="by slices; found int"):
        rows[0]  # type: ignore[index]
    assert rows[5:2].shape == (0, 3)
    assert rows[-2:].shape == (2, 3)
