"""The command line, run as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import pintsize as pz
from pintsize.cli import app


def run(*args, code=0):
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def said(*args, code=0):
    return json.loads(run(*args, "--json", code=code).stdout)


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)


@pytest.fixture
def source(tmp_path, rows):
    np.savez(tmp_path / "t.npz", user=rows, item=rows[:30] * 2)
    return tmp_path / "t.npz"


@pytest.fixture
def bundle(tmp_path, source):
    run("compress", source, "-m", "integer:bits=8", "-o", tmp_path / "b")
    return tmp_path / "b"


def test_compress_then_inspect(source, tmp_path):
    made = said("compress", source, "-m", "item=float16", "-m", "*=integer:bits=4", "-o", tmp_path / "b", "--seed", 3)
    assert said("inspect", tmp_path / "b") == made
    assert [t["method"] for t in made["tables"]] == ["integer:bits=4", "float16"]
    item = made["tables"][1]
    assert (item["rows"], item["columns"], item["bytes"], item["ratio"]) == (30, 8, 480, 2.0)
    assert made["bytes"] == sum(t["bytes"] for t in made["tables"]) and made["notes"]["seed"] == 3
    assert all(f["bytes"] and f["sha256"] for t in made["tables"] for f in t["files"])
    shown = run("inspect", tmp_path / "b").stdout
    assert "integer:bits=4" in shown and "float16" in shown and "times smaller" in shown


def test_tables_are_picked(source, tmp_path):
    made = said("compress", source, "-m", "full", "-o", tmp_path / "b", "--tables", "it*")
    assert [t["table"] for t in made["tables"]] == ["item"]


def test_a_pair(source, tmp_path):
    made = said("compress", source, "-m", "paired:columns=12", "--pair", "user,item", "-o", tmp_path / "b")
    assert [(t["table"], t["columns"]) for t in made["tables"]] == [("user", 12), ("item", 12)]
    user = made["tables"][0]
    assert user["bytes_float32"] == 4 * 40 * 8 and user["ratio"] == user["bytes_float32"] / user["bytes"]
    found = said("evaluate", source, tmp_path / "b", "--k", 5)
    assert all(t["rows"] is None and t["neighbours"] for t in found["tables"])
    assert "--pair" in run("compress", source, "-m", "paired:columns=12", "-o", tmp_path / "c", code=2).stderr


def test_nan(tmp_path, rows):
    rows[3, 1] = np.nan
    np.save(tmp_path / "x.npy", rows)
    failed = run("compress", tmp_path / "x.npy", "-m", "full", "-o", tmp_path / "b", code=2)
    assert failed.stdout == "" and "row 3 holds nan" in failed.stderr and "--on-nan zero" in failed.stderr
    assert not (tmp_path / "b").exists()
    run("compress", tmp_path / "x.npy", "-m", "full", "-o", tmp_path / "b", "--on-nan", "zero")
    assert pz.load(tmp_path / "b")["x"].lookup([3])[0, 1] == 0
    run("compress", tmp_path / "x.npy", "-m", "full", "-o", tmp_path / "b", "--on-nan", "skip", code=2)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-m", "intege:bits=4"], "did you mean integer"),
        (["-m", "integer:bits=44"], "bits"),
        (["-m", "item=full"], "no method for user"),
        (["-m", "full", "--tables", "shop"], "shop"),
        (["-m", "full", "--pair", "user"], "comma"),
        (["-m", "full", "--pair", "user,item"], "two tables together"),
    ],
)
def test_wrong_use_of_compress(source, tmp_path, args, words):
    failed = run("compress", source, "-o", tmp_path / "b", *args, code=2)
    assert words in failed.stderr and failed.stdout == "" and not (tmp_path / "b").exists()


def test_errors_are_one_line(tmp_path):
    failed = run("compress", tmp_path / "none.npy", "-m", "full", "-o", tmp_path / "b", code=2)
    assert failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1
    assert run("inspect", tmp_path, code=2).stderr.startswith("error: ")


def test_verify(bundle, tmp_path):
    assert said("verify", bundle) == {"bundle": str(bundle), "ok": True, "error": None}
    file = next(bundle.glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    broken = said("verify", bundle, code=1)
    assert broken["ok"] is False and file.name in broken["error"]
    assert run("verify", bundle, code=1).stderr.startswith("broken: ")
    assert run("verify", tmp_path / "none", code=2).stderr.startswith("error: ")


def test_lookup(bundle, tmp_path, rows):
    found = said("lookup", bundle, "user", 3, 39)
    assert found["ids"] == [3, 39]
    np.testing.assert_allclose(found["rows"], rows[[3, 39]], atol=0.05)
    assert run("lookup", bundle, "user", 3).stdout.startswith("3\t")
    assert "40" in run("lookup", bundle, "user", 40, code=2).stderr
    assert "-1" in run("lookup", bundle, "user", "-1", code=2).stderr
    assert "'x'" in run("lookup", bundle, "user", "x", code=2).stderr
    assert "user, item" in run("lookup", bundle, "shop", 1, code=2).stderr
    ids = {"s": [f"u{i}" for i in range(40)], "n": np.arange(40) * 10}
    pz.save({name: pz.compress(rows, "full") for name in ids}, tmp_path / "named", ids=ids)
    assert said("lookup", tmp_path / "named", "s", "u3")["rows"] == [pytest.approx(rows[3].tolist())]
    assert said("lookup", tmp_path / "named", "n", "390")["rows"] == [pytest.approx(rows[39].tolist())]
    assert "'nobody'" in run("lookup", tmp_path / "named", "s", "u3", "nobody", code=2).stderr
    assert "no id 5" in run("lookup", tmp_path / "named", "n", 5, code=2).stderr


def test_export(bundle, tmp_path, rows):
    made = said("export", bundle, tmp_path / "out.npz")
    assert made["tables"] == ["user", "item"]
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["user"], rows, atol=0.05)
    run("export", bundle, tmp_path / "out.npy", "--tables", "item")
    assert np.load(tmp_path / "out.npy").shape == (30, 8)
    assert "suffix" in run("export", bundle, tmp_path / "out.csv", code=2).stderr
    assert "shop" in run("export", bundle, tmp_path / "out.npz", "--tables", "shop", code=2).stderr


def test_evaluate(source, bundle, tmp_path, rows):
    found = said("evaluate", source, bundle, "--k", 5)
    assert [t["table"] for t in found["tables"]] == ["user", "item"] and found["ranking"] is None
    assert found["tables"][0]["rows"]["relative"] < 1e-3 and found["tables"][0]["neighbours"]["mean"] > 0.9
    best = np.argsort(-(rows @ rows[:30].T), axis=1)
    pairs = {"train": best[:, 0], "test": best[:, 1]}
    for name, items in pairs.items():
        pq.write_table(pa.table({"user": np.arange(40), "item": items}), tmp_path / f"{name}.parquet")
    files = [tmp_path / "train.parquet", tmp_path / "test.parquet"]
    ranked = said("evaluate", source, bundle, "--k", 3, "--interactions", *files, "--users", "user", "--items", "item")
    assert ranked["ranking"]["recall"]["float32"] == 1.0 and ranked["ranking"]["recall"]["compressed"] > 0.9
    shown = run("evaluate", source, bundle, "--interactions", *files, "--users", "user", "--items", "item").stdout
    assert "Recall@20" in shown and "nearest 20 kept" in shown
    run("evaluate", source, bundle, "--interactions", *files, code=2)
    assert (
        "shop"
        in run(
            "evaluate", source, bundle, "--interactions", *files, "--users", "shop", "--items", "item", code=2
        ).stderr
    )


def test_methods():
    found = said("methods")
    assert [m["name"] for m in found] == sorted(m["name"] for m in found)
    assert {"name", "family", "kinds", "paper"} == found[0].keys()
    assert "integer" in run("methods").stdout


def test_map(source, bundle, tmp_path):
    pytest.importorskip("openTSNE")
    (tmp_path / "l.csv").write_text("id,kind\n" + "\n".join(f"{i},{'ab'[i % 2]}" for i in range(40)))
    options = [
        "--table",
        "user",
        "--labels",
        tmp_path / "l.csv",
        "--colour",
        "kind",
        "--k",
        5,
        "-o",
        tmp_path / "m.html",
    ]
    found = said("map", source, bundle, *options)
    assert 0 < found["trustworthiness_after"] <= 1 and found["overlap"]["mean"] > 0.8
    assert "Coloured by kind" in (tmp_path / "m.html").read_text()
    assert "--table" in run("map", source, bundle, "-o", tmp_path / "n.html", code=2).stderr


def test_version_and_help():
    assert run("--version").stdout == f"pintsize {pz.__version__}\n"
    names = ["compress", "inspect", "verify", "lookup", "evaluate", "export", "methods", "map", "demo"]
    assert all(name in run("--help").stdout for name in names)
    for name in names:
        assert "--json" in run(name, "--help").stdout


def test_it_is_a_program(bundle):
    command = [sys.executable, "-m", "pintsize"]
    done = subprocess.run([*command, "verify", str(bundle), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and json.loads(done.stdout)["ok"]
    failed = subprocess.run(
        [*command, "lookup", str(bundle), "user", "99"], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 2 and failed.stdout == "" and failed.stderr.startswith("error: ")


@pytest.mark.parametrize("args", [["verify"], ["inspect"], ["lookup", "user", "1"]])
def test_serving_commands_need_no_training_stack(bundle, args):
    """Neither torch nor another extra is imported, and none is missed."""
    command, *rest = args
    code = (
        "import sys\n"
        "for name in ('torch', 'scipy', 'sklearn', 'faiss', 'polars', 'openTSNE'): sys.modules[name] = None\n"
        "from pintsize.cli import app\n"
        f"app({[command, str(bundle), *rest]!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_imports_nothing_heavy():
    code = "import sys, pintsize.cli; print([m for m in ('numpy', 'pyarrow', 'pydantic', 'torch') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"}
    )
    assert done.stdout.strip() == "[]"
