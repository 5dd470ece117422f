"""A save that cannot be done says why and leaves everything as it was: nothing new, nothing half, nothing beside."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pintsize as pz
from pintsize.bundle import BundleWriter, verify
from pintsize.errors import BundleError
from pintsize.formats.dense import DenseTable
from tests.bundle.samples import every_format, same, table

BIG = DenseTable(np.ones((300_000, 16), np.float32))


def _untouched(path: Path) -> None:
    assert os.listdir(path.parent) == [path.name]
    verify(path)
    assert same(pz.load(path)["dense-float32"], table("dense-float32"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "place" / "shop"
    pz.save({"dense-float32": table("dense-float32")}, path)
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, b"size=4m") != 0:
        pytest.skip(f"a small disk cannot be mounted here: {os.strerror(ctypes.get_errno())}")
    yield place
    libc.umount2(os.fsencode(place), 2)


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "shop"
    pz.save({"dense-float32": table("dense-float32")}, path)
    ids = [f"a rather long name of item {i}" for i in range(100_000)]
    for tables, names in (({"t": BIG}, {}), ({"t": table("dense-float32", 100_000, 2)}, {"t": ids})):
        with pytest.raises(BundleError, match=r"shop: cannot be written: .*No space left"):
            pz.save(tables, path, ids=names)
        _untouched(path)
    with pytest.raises(BundleError, match="No space left"):
        pz.save({"t": BIG}, small_disk / "other")
    _untouched(path)


def test_a_full_disk_while_rows_are_streamed(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pintsize.methods.full import Full

    path = small_disk / "shop"
    pz.save({"dense-float32": table("dense-float32")}, path)
    source = pz.EmbeddingTable(np.ones((300_000, 16), np.float32))
    for reserves in (True, False):
        if not reserves:
            # As on systems and file systems that cannot reserve room.
            monkeypatch.delattr(os, "posix_fallocate", raising=False)
        with pytest.raises(BundleError, match="No space left"), BundleWriter(path) as writer:
            writer.add("t", Full().compress(source, allocate=writer.allocate("t")))
        _untouched(path)


def test_a_disk_that_fills_at_any_write(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pwrite and fsync fail at their first call, their second, and so on."""
    for function in ("pwrite", "fsync", "posix_fallocate", "rename"):
        real, step = getattr(os, function), 0
        while True:
            step, calls = step + 1, 0

            def fails(*arguments: Any, **more: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == step:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(*arguments, **more)

            monkeypatch.setattr(os, function, fails)
            try:
                pz.save(every_format(seed=9), old.parent / "new", ids={"sparse": range(40)})
            except BundleError as error:
                assert "No space left" in str(error)
            else:
                break
            finally:
                monkeypatch.undo()
            if function != "fsync":
                _untouched(old)
        assert step > 1, f"os.{function} was never called"
        verify(old.parent / "new")
        (old.parent / "new").rename(old.parent.parent / f"new {function}")


def test_a_limit_on_the_size_of_files(old: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(BundleError, match="File too large"):
            pz.save({"t": BIG}, old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    _untouched(old)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_the_right_to_write(old: Path) -> None:
    old.parent.chmod(0o555)
    with pytest.raises(BundleError, match="Permission denied"):
        pz.save({"t": BIG}, old)
    old.parent.chmod(0o755)
    _untouched(old)


def test_an_error_in_the_block(old: Path) -> None:
    with pytest.raises(ZeroDivisionError), BundleWriter(old) as writer:
        writer.add("t", table("sparse"))
        writer.allocate("u")({"rows": ((10, 4), np.dtype("f4"))})
        raise ZeroDivisionError
    _untouched(old)
    with pytest.raises(KeyboardInterrupt), BundleWriter(old) as writer:
        raise KeyboardInterrupt
    _untouched(old)
    with pytest.raises(BundleError, match="with block"):
        writer.add("t", table("sparse"))


def _damaged() -> DenseTable:
    rows = np.ones((5, 2), np.float32)
    rows[3, 1] = np.nan
    return DenseTable(rows)


def _deep() -> dict[str, Any]:
    notes: dict[str, Any] = {}
    for _ in range(200):
        notes = {"x": notes}
    return notes


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "none": ({}, {}, "at least one table"),
    "no table": ({"t": np.ones((2, 2))}, {}, "compressed table is expected; found ndarray"),
    "number as name": ({3: table("sparse")}, {}, "string"),
    "damaged": ({"t": table("sparse"), "u": _damaged()}, {}, "'u': .*row 3"),
    "ids of nothing": ({"t": table("sparse")}, {"ids": {"u": [1]}}, r"ids are given for \['u'\]"),
    "methods of nothing": ({"t": table("sparse")}, {"methods": {"u": "x"}}, "methods are given"),
    "few ids": ({"t": table("sparse")}, {"ids": {"t": [1, 2]}}, "'t': 40 ids .*found 2"),
    "same ids": ({"t": table("sparse", 2)}, {"ids": {"t": ["a", "a"]}}, "'a' stands twice, at rows 0 and 1"),
    "mixed ids": ({"t": table("sparse", 2)}, {"ids": {"t": ["a", 1]}}, "integers or all strings"),
    "notes": ({"t": table("sparse")}, {"notes": {"x": object()}}, "JSON"),
    "notes NaN": ({"t": table("sparse")}, {"notes": {"x": float("nan")}}, "JSON"),
    "notes deep": ({"t": table("sparse")}, {"notes": _deep()}, "levels"),
    "no overwriting": ({"t": table("sparse")}, {"overwrite": False}, "overwrite is off"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(old: Path, name: str) -> None:
    tables, more, message = REFUSED[name]
    with pytest.raises(BundleError, match=message):
        pz.save(tables, old, **more)
    _untouched(old)


def test_only_bundles_and_empty_directories_are_replaced(tmp_path: Path) -> None:
    one = {"dense-float32": table("dense-float32")}
    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "manifest.json").write_text("{}")
    for name in ("file", "mine", "json"):
        with pytest.raises(BundleError, match=f"{name}: "):
            pz.save(one, tmp_path / name)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
    pz.save(one, tmp_path / "shop")
    (tmp_path / "shop" / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"thesis\.txt"):
        pz.save(one, tmp_path / "shop")
    (tmp_path / "shop" / "thesis.txt").unlink()
    (tmp_path / "empty").mkdir()
    for name in ("empty", "shop", "new/deep/shop", "x" * 250):
        pz.save(one, tmp_path / name)
        pz.save(one, tmp_path / name)
        verify(tmp_path / name)
    assert not [n for n in os.listdir(tmp_path) if n.startswith(".")]


def test_a_link_to_a_bundle_is_followed(old: Path) -> None:
    link = old.parent.parent / "current"
    link.symlink_to(old)
    pz.save({"sparse": table("sparse")}, link)
    assert link.is_symlink() and list(pz.load(old)) == ["sparse"] == list(pz.load(link))
