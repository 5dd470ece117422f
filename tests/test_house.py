"""The rules of the house that a machine can keep."""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import re
import subprocess
import types
from pathlib import Path

import pytest

import pintsize
from pintsize.formats import FORMATS, format_class
from pintsize.formats.base import CompressedTable
from pintsize.methods import METHODS, method_class
from pintsize.methods.base import Method

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pintsize"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
FOUND = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "pintsize.")]
# Triton is not to be had everywhere.
AWAY = () if importlib.util.find_spec("triton") else ("pintsize.kernels.triton",)
MODULES = [name for name in FOUND if not name.endswith(("__main__", "_native")) and not name.startswith(AWAY)]

LIMIT = 300
# A ratchet: what is longer today may shrink, not grow.
LONGER: dict[str, int] = {}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}
NOT_METHODS = {"base", "spec", "sum", "trainable"}


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if (ROOT / name).is_file()]


def test_files_are_short() -> None:
    lengths = {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > LONGER.get(name, LIMIT)} == {}
    assert [name for name in LONGER if lengths.get(name, 0) <= LIMIT] == [], "these fit now: take them out of LONGER"


def test_file_names_say_something() -> None:
    assert [str(path) for path in {*tracked(), *FILES} if path.stem.strip("_") in NAMES_THAT_SAY_NOTHING] == []


def test_all_is_sorted_and_true() -> None:
    for name in MODULES:
        declared = getattr(importlib.import_module(name), "__all__", None)
        if declared is not None:
            key = [(0 if n.isupper() else 1 if n[0].isupper() else 2, n) for n in declared]
            assert key == sorted(key), f"{name}.__all__ is not sorted"
            assert [n for n in declared if not hasattr(importlib.import_module(name), n)] == [], name


def test_no_asserts_and_no_prints() -> None:
    found = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            prints = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if isinstance(node, ast.Assert) or prints:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize(
    ("folder", "registry", "found", "base", "shared"),
    [
        ("methods", METHODS, method_class, Method, NOT_METHODS),
        ("formats", FORMATS, format_class, CompressedTable, {"base"}),
    ],
)
def test_what_is_written_is_registered(folder, registry, found, base, shared) -> None:
    assert list(registry) == sorted(registry), "the registry is sorted by name"
    for name in registry:
        kind = found(name)
        assert issubclass(kind, base)
        assert name == (kind.name if base is Method else kind.tag)
    files = {path.stem for path in (PACKAGE / folder).glob("*.py") if not path.stem.startswith("_")}
    assert files - shared == {line.partition(":")[0].rpartition(".")[2] for line in registry.values()}


def test_public_names_survive_the_import_of_every_module() -> None:
    for name in MODULES:
        importlib.import_module(name)
    assert set(pintsize.__all__) == set(pintsize._HOME)
    for name, home in pintsize._HOME.items():
        value = getattr(pintsize, name)
        assert not isinstance(value, types.ModuleType), f"pintsize.{name} is hidden by a module of that name"
        assert value is getattr(importlib.import_module(f"pintsize.{home}"), name)


def test_nothing_names_the_machine_it_was_written_on() -> None:
    place = re.compile(r"(?<![\w.~-])/(?:h[o]me|ro{2}t|wo[r]k|fa[r]m)/\w")
    assert [str(path) for path in tracked() if place.search(path.read_text(encoding="utf-8", errors="replace"))] == []
