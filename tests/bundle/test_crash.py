"""A save that is killed leaves the old bundle or the new one, whole, and nothing that the next save does not clean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import pintsize as pz
from pintsize.bundle import _publishing, verify
from pintsize.formats.dense import DenseTable
from tests.bundle import crashing_saves
from tests.bundle.samples import every_format, same, table


def test_killed_at_a_hundred_random_moments_and_at_every_call() -> None:
    # In memory where that is possible: a killed process loses nothing that it wrote, and no disk has to be waited for.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        program = [sys.executable, crashing_saves.__file__, directory, "100"]
        ended = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout)
    assert found["random"]["kills"] == 100
    assert found["random"]["leftovers"] > 10, "kills that hit no save in progress show nothing"
    assert found["random"]["versions"] > 5
    assert found["steps"]["gone"] == 0 and found["steps"]["old"] > 10 and found["steps"]["new"] > 1
    # Where names cannot be exchanged there is one moment without a bundle, which the next save mends.
    assert found["read"]["reads"] > 10
    assert 1 <= found["fallback"]["gone"] <= 3 and found["fallback"]["old"] > 10


def test_readers_keep_what_they_have(tmp_path: Path) -> None:
    path = tmp_path / "shop"
    pz.save(every_format(seed=1), path, ids={"sparse": [f"old {i}" for i in range(40)]})
    old = pz.load(path)
    pz.save({"dense-float32": table("dense-float32", seed=2)}, path)
    for name, saved in every_format(seed=1).items():
        assert same(old[name], saved)
    assert old.lookup("sparse", "old 3").shape == (17,)
    assert list(pz.load(path)) == ["dense-float32"] and os.listdir(tmp_path) == ["shop"]


def test_what_the_living_write_is_left_alone(tmp_path: Path) -> None:
    path, one = tmp_path / "shop", {"t": DenseTable(np.ones((3, 2), np.float32))}
    with pz.bundle.BundleWriter(path) as writer:
        pz.save(one, path)
        assert len(os.listdir(tmp_path)) == 2
        writer.add("t", DenseTable(np.zeros((3, 2), np.float32)))
    assert not pz.load(path)["t"].lookup([0, 1, 2]).any() and os.listdir(tmp_path) == ["shop"]
    # The lock tells a living writer whose process number is unknown here, as in another container.
    dead = tmp_path / ".shop.99999999.0.tmp"
    draft = _publishing.Draft(path)
    draft.path.rename(dead)
    pz.save(one, path)
    assert dead.exists()
    os.close(draft._lock)
    pz.save(one, path)
    assert os.listdir(tmp_path) == ["shop"]


def test_a_bundle_moved_aside_is_put_back(tmp_path: Path) -> None:
    path, one = tmp_path / "shop", {"t": table("sparse")}
    pz.save(one, path)
    path.rename(tmp_path / ".shop.99999999.3.old")
    with pytest.raises(pz.BundleError, match="compressed table is expected"):
        pz.save({"t": "no string"}, path)
    verify(path)
    assert os.listdir(tmp_path) == ["shop"]
