"""Tables in Markdown are written from JSON, and a stale one is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.tables import best, filled, main

TABLE = {"results": "r.json", "command": "python bench.py", "columns": {"Name": "`{name}`", "Share": "{a[share]:.1%}"}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "tables.json").write_text(json.dumps({"t": TABLE}))
    (tmp_path / "README.md").write_text("before\n<!-- begin:t -->\nold\n<!-- end:t -->\nafter\n")
    return tmp_path


def test_rows_are_written_and_then_found_fresh(root: Path) -> None:
    (root / "r.json").write_text(json.dumps({"results": [{"name": "x", "a": {"share": 0.5}}]}))
    assert main(["--check"], root) == 1
    assert "old" in (root / "README.md").read_text()
    assert main([], root) == 0
    text = (root / "README.md").read_text()
    assert "| Name | Share |\n|---|---|\n| `x` | 50.0% |\n" in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- end:t -->\nafter\n")
    assert main(["--check"], root) == 0


def test_where_picks_records(root: Path) -> None:
    (root / "r.json").write_text(json.dumps({"results": [{"name": n, "a": {"share": 0}} for n in "xy"]}))
    body = filled("<!-- begin:t -->\n<!-- end:t -->", {"t": {**TABLE, "where": {"name": "y"}}}, root)
    assert "`y`" in body
    assert "`x`" not in body


def test_the_best_of_the_others_stands_beside_ours() -> None:
    rows = [
        {"size": n, "method": m, "share": s} for n in (8, 16) for m, s in (("a", 0.1), ("ours:x=1", 0.2), ("b", 0.3))
    ]
    kept = best(rows, by="size", of="share", beside="ours")
    assert [(row["size"], row["method"]) for row in kept] == [(8, "ours:x=1"), (8, "b"), (16, "ours:x=1"), (16, "b")]


def test_missing_results_are_said_to_be_missing(root: Path) -> None:
    assert "*Not measured yet: `python bench.py` writes `r.json`.*" in filled(
        "<!-- begin:t -->\n<!-- end:t -->", {"t": TABLE}, root
    )


@pytest.mark.parametrize("text", ["<!-- begin:t -->\n", "<!-- begin:u -->\n<!-- end:u -->"])
def test_bad_markers_are_refused(text: str, root: Path) -> None:
    with pytest.raises(SystemExit, match=r"without an end|does not have"):
        filled(text, {"t": TABLE}, root)
