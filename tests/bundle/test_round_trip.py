"""What is saved comes back, bit for bit, from any name, at its own size, without being read."""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import pintsize as pz
from pintsize.bundle import BundleWriter, verify
from pintsize.bundle._tensors import layout
from pintsize.errors import BundleError, TableError
from pintsize.formats import FORMATS
from pintsize.formats.dense import DenseTable
from pintsize.formats.scalar import ScalarTable
from tests.bundle.samples import EVERY_FORMAT, IDS, every_format, same, table
from tests.contracts.format_cases import CASES


def test_the_samples_are_every_format() -> None:
    assert {t.tag for t in every_format().values()} == set(FORMATS)


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("n", [0, 1, 300])
def test_every_format_comes_back(tmp_path: Path, n: int, resident: bool) -> None:
    tables = {case: table(case, n) for case in CASES}
    pz.save(tables, tmp_path / "b")
    verify(tmp_path / "b")
    bundle = pz.load(tmp_path / "b", resident=resident)
    assert list(bundle) == list(tables)
    assert bundle.nbytes == sum(t.nbytes for t in tables.values())
    for name, saved in tables.items():
        found = bundle[name]
        assert same(found, saved) and found.header() == saved.header()
        assert not any(a.flags.writeable for a in found.tensors().values())
        assert np.array_equal(found.lookup(np.arange(n)), saved.lookup(np.arange(n)))
        on_disk = os.path.getsize(tmp_path / "b" / bundle.manifest["tables"][name]["file"])
        assert saved.nbytes <= on_disk <= 1.01 * saved.nbytes + 4096


@settings(deadline=None, max_examples=25)
@given(case=st.sampled_from(sorted(CASES)), n=st.integers(0, 70), d=st.integers(2, 70), seed=st.integers(0, 9))
def test_odd_shapes_come_back(tmp_path_factory: pytest.TempPathFactory, case: str, n: int, d: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("odd") / "b"
    saved = table(case, n, d, seed)
    pz.save({case: saved}, path)
    verify(path)
    assert same(pz.load(path)[case], saved)


def test_safetensors_reads_our_files(bundle: Path) -> None:
    for name, found in pz.load(bundle).items():
        file = pz.load(bundle).manifest["tables"][name]["file"]
        theirs = safetensors.numpy.load_file(bundle / file)
        ours = found.tensors()
        assert theirs.keys() == ours.keys()
        assert all(
            np.array_equal(theirs[n], a, equal_nan=False) and theirs[n].dtype == a.dtype for n, a in ours.items()
        )


def test_arrays_of_no_bytes_and_of_no_dimension(tmp_path: Path) -> None:
    header, placed, size = layout(
        {"a": ((3, 0), np.dtype("f4")), "b": ((), np.dtype("i8")), "c": ((0, 2**40), np.dtype("u1"))}
    )
    (tmp_path / "x").write_bytes(header + bytes(8))
    assert (len(header) + 8) == size and len(header) % 64 == 0
    theirs = safetensors.numpy.load_file(tmp_path / "x")
    assert {n: a.shape for n, a in theirs.items()} == {n: p.shape for n, p in placed.items()}


NAMES = [
    "",
    "/",
    "..",
    "../../etc/passwd",
    "a/b",
    "ü/日本",
    "x" * 300,
    "CON",
    "manifest.json",
    "nul\0byte",
    "\ud800",
    "A",
    "a",
    ".",
]


def test_any_string_is_a_name(tmp_path: Path) -> None:
    tables = {name: table("dense-float32", seed=i) for i, name in enumerate(NAMES)}
    pz.save(tables, tmp_path / "shop")
    verify(tmp_path / "shop")
    bundle = pz.load(tmp_path / "shop")
    assert list(bundle) == NAMES and all(same(bundle[n], tables[n]) for n in NAMES)
    assert os.listdir(tmp_path) == ["shop"]
    assert all(len(f) < 80 and f.isascii() and os.sep not in f for f in os.listdir(tmp_path / "shop"))


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pz.save(every_format(), tmp_path / name, ids=IDS, methods={"sparse": "magnitude"}, notes={"seed": 3})
    files = sorted(os.listdir(tmp_path / "a"))
    assert files == sorted(os.listdir(tmp_path / "b"))
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    bundle = pz.load(tmp_path / "a")
    assert bundle.manifest["notes"] == {"seed": 3} and bundle.manifest["creator"] == f"pintsize {pz.__version__}"
    assert bundle.manifest["tables"]["sparse"]["method"] == "magnitude"
    assert json.loads((tmp_path / "a" / "manifest.json").read_text()) == dict(bundle.manifest)


def test_look_ups_by_id_and_by_row(bundle: Path) -> None:
    opened = pz.load(bundle)
    by_number, by_word, by_row = opened["dense-float32"], opened["scalar-3-grid"], opened["sparse"]
    numbers = IDS["dense-float32"]
    assert np.array_equal(
        opened.lookup("dense-float32", numbers[:6].reshape(2, 3)), by_number.lookup([[0, 1, 2], [3, 4, 5]])
    )
    assert np.array_equal(opened.lookup("dense-float32", int(numbers[3])), by_number.lookup(3))
    assert np.array_equal(
        opened.lookup("scalar-3-grid", IDS["scalar-3-grid"][::-1]), by_word.lookup(np.arange(40)[::-1])
    )
    assert np.array_equal(opened.lookup("scalar-3-grid", "item 3 3"), by_word.lookup(3))
    assert np.array_equal(opened.lookup("sparse", [1, 2]), by_row.lookup([1, 2]))
    assert opened.lookup("scalar-3-grid", []).shape == (0, 17)
    with pytest.raises(KeyError, match="4711"):
        opened.lookup("dense-float32", [numbers[0], 4711])
    with pytest.raises(KeyError, match="nobody"):
        opened.lookup("scalar-3-grid", ["item 0 0", "nobody"])
    with pytest.raises(KeyError, match="no such table"):
        opened.lookup("users", [0])
    with pytest.raises(IndexError, match="40"):
        opened.lookup("sparse", [40])
    with pytest.raises(TableError, match="strings"):
        opened.lookup("scalar-3-grid", [1])


def test_torch_ids_give_torch_rows(bundle: Path) -> None:
    torch = pytest.importorskip("torch")
    found = pz.load(bundle).lookup("dense-float32", torch.tensor(IDS["dense-float32"][:4]))
    assert isinstance(found, torch.Tensor) and found.shape == (4, 17)


@settings(deadline=None, max_examples=30)
@given(st.one_of(st.sets(st.integers(-(2**63), 2**63 - 1), max_size=600), st.sets(st.text(max_size=5), max_size=600)))
def test_ids_come_back_and_are_found(tmp_path_factory: pytest.TempPathFactory, values: set[Any]) -> None:
    path, ids = tmp_path_factory.mktemp("ids") / "b", list(values)
    ids = [i for i in ids if not isinstance(i, str) or i.isascii() or i.encode("utf-8", "ignore").decode() == i]
    pz.save({"t": table("dense-float32", len(ids))}, path, ids={"t": ids})
    verify(path)
    found = pz.load(path).ids["t"]
    assert found.to_list() == ids
    assert found.rows(ids).tolist() == list(range(len(ids)))
    assert [int(found.rows([i])[0]) for i in ids[:5]] == list(range(len(ids[:5])))


def test_rising_ids_store_no_order(tmp_path: Path) -> None:
    for name, ids in {"rising": np.arange(5000), "mixed": np.arange(5000)[::-1]}.items():
        pz.save({"t": table("dense-float32", 5000)}, tmp_path / name, ids={"t": ids})
        found = pz.load(tmp_path / name)
        assert found.ids["t"].rows([0, 4999]).tolist() == [int(np.flatnonzero(ids == v)[0]) for v in (0, 4999)]
        with pytest.raises(KeyError, match="5000"):
            found.ids["t"].rows([5000])
    sizes = [os.path.getsize(tmp_path / name / "0000-t.ids.arrow") for name in ("rising", "mixed")]
    assert sizes[0] < 8 * 5000 + 2048 < sizes[1]


def test_opening_reads_no_rows(tmp_path: Path) -> None:
    """A table of 64 GiB, nearly all of it a hole in the file, opens and answers, and stays out of memory."""
    path = tmp_path / "b"
    small = table("dense-float32", 1, 64)
    pz.save({"t": small}, path)
    rows = 2**28
    header, _, size = layout({"rows": ((rows, 64), np.dtype("f4"))})
    file = path / "0000-t.safetensors"
    file.write_bytes(header)
    os.truncate(file, size)
    from pintsize.bundle import _manifest

    manifest = json.loads((path / "manifest.json").read_bytes())
    entry = manifest["tables"]["t"]
    entry.update(num_embeddings=rows, nbytes=256 * rows, tensors={"rows": {"dtype": "float32", "shape": [rows, 64]}})
    files = {file.name: {"bytes": size, "sha256": "0" * 64}}
    (path / "manifest.json").write_bytes(_manifest.sealed("test", {}, manifest["tables"], files))
    before = _resident_pages()
    opened = pz.load(path)
    assert opened["t"].num_embeddings == rows and opened.nbytes == 256 * rows
    assert not opened["t"].lookup([0, rows - 1]).any()
    assert (_resident_pages() - before) * mmap.PAGESIZE < 32 << 20


def _resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_rows_go_straight_from_a_method_into_the_file(tmp_path: Path) -> None:
    from pintsize.methods.full import Float16

    rows = np.random.default_rng(0).standard_normal((1000, 12)).astype(np.float32)
    source = pz.EmbeddingTable(rows, ids=pz.Ids([f"i{k}" for k in range(1000)]))
    with BundleWriter(tmp_path / "b") as writer:
        streamed = Float16().compress(source, allocate=writer.allocate("item"))
        (inside,) = [p for p in tmp_path.rglob("streamed.*")]
        inode = inside.stat().st_ino
        writer.add("item", streamed, ids=source.ids, method=Float16())
        writer.add("copy", Float16().compress(source))
        Float16().compress(source, allocate=writer.allocate("dropped"))
    verify(tmp_path / "b")
    bundle = pz.load(tmp_path / "b")
    assert os.stat(tmp_path / "b" / "0000-item.safetensors").st_ino == inode
    assert len(os.listdir(tmp_path / "b")) == 4
    assert same(bundle["item"], bundle["copy"]) and same(bundle["item"], streamed)
    assert bundle.manifest["tables"]["item"]["method"] == "float16"
    assert np.array_equal(bundle.lookup("item", ["i7"]), rows[7:8].astype(np.float16).astype(np.float32))


def test_chunks_of_records_are_written_where_they_belong(tmp_path: Path) -> None:
    from pintsize.methods.base import assemble

    whole = table("scalar-16-groups", 500, 33)
    assert isinstance(whole, ScalarTable)
    parts = [
        ScalarTable(whole.records[a : a + 70], 33, whole.levels, whole.group, whole.scale, whole.offset, whole.bias)
        for a in range(0, 500, 70)
    ]
    with BundleWriter(tmp_path / "b") as writer:
        writer.add("t", assemble(parts, 500, writer.allocate("t")))
    assert same(pz.load(tmp_path / "b")["t"], whole)


def test_places_are_checked(tmp_path: Path) -> None:
    wanted = {"rows": ((10, 4), np.dtype("f4"))}
    with pytest.raises(BundleError, match="not written in full"), BundleWriter(tmp_path / "b") as writer:
        places = writer.allocate("t")(wanted)
        for key in (slice(8, 11), slice(-2, 4), slice(0, 4, 2), slice(5, 3)):
            with pytest.raises(BundleError):
                places["rows"][key] = np.zeros((3, 4), np.float32)
        with pytest.raises(BundleError, match="float64"):
            places["rows"][0:1] = np.zeros((1, 4))
        places["rows"][0:9] = np.zeros((9, 8), np.float32)[:, ::2]
        places.finish()
    assert os.listdir(tmp_path) == []


def test_torch_tables_and_slices_are_saved(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 12)).astype(np.float32)
    tables = {"strided": DenseTable(rows[::2, ::3])}
    pz.save(tables, tmp_path / "b")
    assert np.array_equal(pz.load(tmp_path / "b")["strided"].lookup([3]), rows[6:7, ::3])
    torch = pytest.importorskip("torch")
    pz.save({"t": DenseTable(torch.tensor(rows))}, tmp_path / "b")
    assert np.array_equal(pz.load(tmp_path / "b")["t"].lookup([3]), rows[3:4])


def test_every_sample_has_its_own_file(bundle: Path) -> None:
    assert len(os.listdir(bundle)) == 1 + len(EVERY_FORMAT) + len(IDS)
    assert repr(pz.load(bundle)).startswith(f"Bundle('{bundle}', {len(EVERY_FORMAT)} tables, ")
