"""The demonstration, on data made for it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

import pintsize as pz
from pintsize.cli import app
from pintsize.lab._labels import Box, place_labels
from pintsize.lab.demo import run_demo

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two tastes, in GroupLens's form."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("ml")
    lines = []
    for user in range(60):
        liked = np.arange(25) + 25 * (user % 2)
        lines += [f"{user + 1}\t{item + 1}\t5\t{881250949 + user}" for item in rng.choice(liked, 12, replace=False)]
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    return folder


def test_the_whole_of_it(data, tmp_path):
    methods = ["float16", "integer:bits=4", "rabitq:bits=1", "no_such_method"]
    result = run_demo(data, tmp_path / "out", methods=methods)
    assert [p.method for p in result.points] == ["full", "float16", "integer:bits=4", "rabitq:bits=1"]
    assert list(result.left_out) == ["no_such_method"]
    full, half = result.points[:2]
    assert full.ratio == 1 and half.ratio == 2 and full.recall > 0.3 and half.share == pytest.approx(1, abs=0.05)
    assert all(p.bytes > 0 and p.lookups_per_second > 0 for p in result.points)
    bundle = pz.load(result.bundle)
    pz.bundle.verify(result.bundle)
    assert set(bundle) == {"user", "item"} and bundle.lookup("user", [60]).shape == (1, bundle["user"].embedding_dim)
    page = (tmp_path / "out" / "index.html").read_text()
    for words in ("float16", "integer", "rabitq", "no_such_method", "--seed 0", "NumPy", "<title", 'role="img"'):
        assert words in page
    assert not re.search(r"""(src|href)=|url\(|@import""", page)
    assert "$" not in page


def test_by_command(data, tmp_path, monkeypatch):
    monkeypatch.setattr("pintsize.lab.demo.DEMO_METHODS", ("float16",))
    done = CliRunner().invoke(app, ["demo", "--data", str(data), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["users"] == 60 and found["points"][0]["method"] == "full"


def test_data_that_is_not_there(tmp_path):
    done = CliRunner().invoke(app, ["demo", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and "error: " in done.stderr and not (tmp_path / "out").exists()


def test_labels_keep_clear_of_each_other_and_of_dots():
    rng = np.random.default_rng(0)
    dots = [tuple(map(float, spot)) for spot in rng.uniform((80, 30), (600, 300), (24, 2))]
    frame = Box(0, 0, 980, 560)
    labels = place_labels([(f"method number {i}", [dot]) for i, dot in enumerate(dots)], dots, [], frame)
    boxes = [label.box for label in labels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.inside(frame) and box.distance(*dot) > 0 for box in boxes for dot in dots)
