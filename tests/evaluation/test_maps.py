"""Maps before and after."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pintsize as pz
from pintsize.evaluation import compare_maps, tsne_map
from pintsize.lab.map_page import read_labels, write_map_page

pytest.importorskip("openTSNE")


@pytest.fixture(scope="module")
def grouped():
    rng = np.random.default_rng(0)
    centres = 4 * rng.standard_normal((3, 8))
    groups = rng.integers(0, 3, 90)
    return (centres[groups] + rng.standard_normal((90, 8))).astype(np.float32), groups


def test_a_map_keeps_groups_apart(grouped):
    rows, groups = grouped
    places = tsne_map(rows, fit=60)
    assert places.shape == (90, 2) and np.isfinite(places).all()
    near = np.argsort(((places[:, None] - places[None]) ** 2).sum(-1), axis=1)[:, 1:6]
    assert (groups[near] == groups[:, None]).mean() > 0.9


def test_before_and_after_on_one_page(grouped, tmp_path):
    rows, groups = grouped
    ids = pz.Ids([f"i{i}" for i in range(90)])
    table = pz.EmbeddingTable(rows, ids)
    found = compare_maps(table, pz.compress(rows, "integer:bits=4"), points=80, fit=60, k=5)
    assert found.overlap.mean > 0.6 and found.trust_before > 0.8 and len(found.rows) == 80
    names = [f"g<{g}>" for g in groups]
    pq.write_table(pa.table({"id": ids.arrow[::-1], "group": names[::-1]}), tmp_path / "labels.parquet")
    values = read_labels(tmp_path / "labels.parquet", "id", "group", ids, 90)
    assert values == names
    write_map_page(tmp_path / "map.html", found, "item", "integer:bits=4", ids, values, "group")
    page = (tmp_path / "map.html").read_text()
    assert "g&lt;0&gt;" in page and "g<0>" not in page and "http" not in page.replace("http://www.w3.org", "")
    assert f"{found.overlap.mean:.1%}" in page


def test_labels_by_row_from_csv(tmp_path):
    (tmp_path / "l.csv").write_text("id,year\n2,1999\n0,1980\n")
    assert read_labels(tmp_path / "l.csv", "id", "year", None, 3) == [1980.0, None, 1999.0]
    with pytest.raises(pz.TableError, match="there is no column 'genre'"):
        read_labels(tmp_path / "l.csv", "id", "genre", None, 3)
    with pytest.raises(pz.TableError, match="Parquet or CSV"):
        read_labels(tmp_path / "none.parquet", "id", "year", None, 3)


def test_too_few_rows():
    with pytest.raises(pz.TableError, match="8 rows"):
        tsne_map(np.ones((3, 4), np.float32))
