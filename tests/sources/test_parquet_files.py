"""Parquet: columns found by type, parts of a table, and rows that are no vectors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pintsize.errors import TableError
from pintsize.sources import open_source


def vectors(rows: int, columns: int = 3, first: int = 0) -> np.ndarray:
    return np.arange(first, first + rows * columns, dtype=np.float32).reshape(rows, columns)


def column(rows: np.ndarray, kind: str = "fixed", value: pa.DataType | None = None) -> pa.Array:
    value = value or pa.float32()
    types = {"fixed": pa.list_(value, rows.shape[1]), "list": pa.list_(value), "large": pa.large_list(value)}
    return pa.array(rows.tolist(), types[kind])


@settings(deadline=None)
@given(
    rows=st.integers(0, 40),
    columns=st.integers(1, 5),
    kind=st.sampled_from(["fixed", "list", "large"]),
    value=st.sampled_from([pa.float16(), pa.float32(), pa.float64()]),
    group=st.integers(1, 15),
    strings=st.booleans(),
    data=st.data(),
)
def test_any_shape_and_slice(tmp_path_factory, rows, columns, kind, value, group, strings, data) -> None:
    path = tmp_path_factory.mktemp("pq") / "x.parquet"
    expected = vectors(rows, columns)
    ids = [f"i{n}" if strings else n * 7 for n in range(rows)]
    key = pa.array(ids, pa.string() if strings else pa.int32())
    pq.write_table(pa.table({"key": key, "vector": column(expected, kind, value)}), path, row_group_size=group)
    if rows == 0 and kind != "fixed":
        with pytest.raises(TableError, match="the length of its lists is unknown"):
            open_source(path)
        return
    table = open_source(path)["vector"]
    assert table.ids is not None
    assert table.ids.to_list() == ids
    assert table.rows.shape == expected.shape
    for _ in range(4):
        start = data.draw(st.integers(0, rows))
        stop = data.draw(st.integers(start, rows))
        np.testing.assert_array_equal(table.read(start, stop), expected[start:stop])


def test_small_batches_are_put_together(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("pintsize.sources._parquet._BATCH_BYTES", 100)
    pq.write_table(pa.table({"v": column(vectors(200))}), tmp_path / "x.parquet", row_group_size=70)
    table = open_source(tmp_path / "x.parquet")["v"]
    np.testing.assert_array_equal(table.array(), vectors(200))
    np.testing.assert_array_equal(table.read(65, 150), vectors(200)[65:150])
    np.testing.assert_array_equal(table.read(3, 9), vectors(200)[3:9])
    assert table.ids is None


def test_parts_in_a_directory_or_by_a_pattern(tmp_path) -> None:
    for part in range(3):
        where = tmp_path / "data" / f"day={part}"
        where.mkdir(parents=True)
        ids = pa.array([f"{part}-{n}" for n in range(5)]).dictionary_encode()
        pq.write_table(
            pa.table({"item_id": ids, "clicks": pa.array([1] * 5), "v": column(vectors(5, first=15 * part))}),
            where / "p.parquet",
        )
    (tmp_path / "data" / "_SUCCESS").touch()
    (tmp_path / "data" / "_metadata.parquet").write_bytes(b"not a table")
    for source in (tmp_path / "data", f"{tmp_path}/data/*/p.parquet"):
        table = open_source(source)["v"]
        np.testing.assert_array_equal(table.array(), vectors(15))
        assert table.ids is not None
        assert table.ids.to_list()[4:6] == ["0-4", "1-0"]


def test_parts_of_another_schema_are_refused(tmp_path) -> None:
    pq.write_table(pa.table({"v": column(vectors(2))}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"v": column(vectors(2, 4))}), tmp_path / "b.parquet")
    with pytest.raises(TableError, match=r"b\.parquet: its columns differ"):
        open_source(tmp_path)


def test_columns_by_type_and_by_name(tmp_path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(
        pa.table(
            {
                "code": pa.array([5, 6]),
                "name": pa.array(["a", "b"]),
                "score": pa.array([0.5, 1.5]),
                "user": column(vectors(2)),
                "tags": pa.array([[1], [2]]),
                "item.weight": column(vectors(2) + 1),
            }
        ),
        path,
    )
    with pytest.raises(TableError, match="the ids may be in any of code, name; say which: id_column="):
        open_source(path)
    found = open_source(path, id_column="name")
    assert list(found) == ["user", "item.weight"]
    np.testing.assert_array_equal(found["item.weight"].array(), vectors(2) + 1)
    assert list(open_source(path, id_column="code", vector_column="user")) == ["user"]
    with pytest.raises(TableError, match="no column 'x' to take as ids; its columns are code"):
        open_source(path, id_column="x")
    with pytest.raises(TableError, match="column 'score' is double; ids are integers or strings"):
        open_source(path, id_column="score")
    with pytest.raises(TableError, match=r"column 'tags' is list.*lists of floats are needed"):
        open_source(path, id_column="code", vector_column="tags")
    with pytest.raises(TableError, match=r"(?s)no table matches 'z'.*tags list<.*not a list of floats"):
        open_source(path, "z", id_column="code")


@pytest.mark.parametrize("kind", ["list", "large"])
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([1.0, 2.0], "row 11 has 2 values, and 3 are needed"),
        ([], "row 11 has 0 values, and 3 are needed"),
        (None, "row 11 has no vector"),
        ([1.0, None, 2.0], "row 11 has a missing value"),
    ],
)
def test_a_row_that_is_no_vector_is_named(tmp_path, kind, bad, said) -> None:
    lists = [*vectors(11).tolist(), bad, *vectors(3).tolist()]
    array = pa.array(lists, pa.list_(pa.float32()) if kind == "list" else pa.large_list(pa.float32()))
    pq.write_table(pa.table({"v": array}), tmp_path / "x.parquet", row_group_size=4)
    table = open_source(tmp_path / "x.parquet")["v"]
    for _ in range(2):
        with pytest.raises(TableError, match=rf"x\.parquet: column 'v': {said}"):
            table.array()
    np.testing.assert_array_equal(table.read(0, 8), vectors(8))


def test_a_fixed_list_with_a_null_is_refused(tmp_path) -> None:
    array = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"v": array}), tmp_path / "x.parquet")
    with pytest.raises(TableError, match=r"x\.parquet"):
        open_source(tmp_path / "x.parquet")["v"].array()


def test_wrong_ids_are_refused_with_the_column(tmp_path) -> None:
    for ids, said in (
        ([4, 5, 4], "the id 4 stands twice, at rows 0 and 2"),
        ([4, None, 5], "the id of row 1 is missing"),
    ):
        pq.write_table(pa.table({"id": pa.array(ids), "v": column(vectors(3))}), tmp_path / "x.parquet")
        with pytest.raises(TableError, match=rf"x\.parquet: column 'id': {said}"):
            open_source(tmp_path / "x.parquet")


def test_a_cut_file_is_refused(tmp_path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"v": column(vectors(100))}), path)
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(TableError, match=r"x\.parquet: cannot be read"):
            open_source(path)


def test_damaged_pages_are_an_error_when_read(tmp_path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"v": column(vectors(1000))}), path, write_page_checksum=False)
    whole = bytearray(path.read_bytes())
    whole[4:200] = b"\xff" * 196
    path.write_bytes(whole)
    table = open_source(path)["v"]
    with pytest.raises(TableError, match=r"x\.parquet: cannot be read"):
        table.array()
