from __future__ import annotations

import errno
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pintsize as pz
from pintsize import kernels
from pintsize.bundle import _depth, save
from pintsize.bundle._row_cache import RowCache
from pintsize.bundle._row_reads import BLOCK, RowFile
from pintsize.bundle.cold import ColdTable
from pintsize.errors import BundleError, TableError
from pintsize.formats.dense import DenseTable
from pintsize.formats.partitioned import PartitionedTable
from tests.bundle.samples import table
from tests.contracts.format_cases import floats

ROWS = 3000
CACHES = [None, 0, 5000, 1 << 20]
PARTS = ["scalar-4-rotated", "factored", "dense-float32"]


def partitioned(n: int, d: int, rng: np.random.Generator) -> PartitionedTable:
    part = rng.integers(0, 3, n).astype(np.uint8)
    sizes = np.bincount(part, minlength=3)
    parts = [table(case, int(size), d) for case, size in zip(PARTS, sizes, strict=True)]
    return PartitionedTable.from_parts(part, parts)


def tables(n: int, d: int, seed: int = 0) -> dict[str, pz.CompressedTable]:
    cases = ["dense-float32", "dense-bfloat16", "scalar-4-rotated", "scalar-3-grid", "codebook-10", "factored"]
    return {case: table(case, n, d, seed) for case in cases} | {
        "partitioned": partitioned(n, d, np.random.default_rng(seed))
    }


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> pz.Bundle:
    path = tmp_path_factory.mktemp("cold") / "shop"
    save({**tables(ROWS, 17), "sparse": table("sparse")}, path, ids={"dense-float32": np.arange(ROWS) * 7})
    return pz.load(path)


@pytest.fixture(params=["ring", "threads", "twin"])
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """By what rows are read: each of the ways there are."""
    which, module = request.param, kernels.native()
    if (which != "twin" and module is None) or (which == "ring" and not module.has_ring()):
        pytest.skip(f"no {which} here")
    before = kernels.use(None) if which == "twin" else module
    opened = RowFile.__init__

    def init(self: RowFile, *arguments: object, **named: object) -> None:
        opened(self, *arguments, **named)  # type: ignore[arg-type]
        self.ring = which == "ring"

    monkeypatch.setattr(RowFile, "__init__", init)
    yield which
    kernels.use(before)


@pytest.mark.parametrize("cache_bytes", CACHES)
@pytest.mark.parametrize("case", list(tables(8, 3)))
def test_rows_and_bags_are_those_of_the_mapped_table(bundle, means, case: str, cache_bytes: int | None) -> None:
    cold, mapped = bundle.cold(case, cache_bytes=cache_bytes, depth=7), bundle[case]
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(600).astype(np.float32)
    for _ in range(3):
        rows = rng.integers(0, ROWS, 600)
        rows[:3] = [ROWS - 1, 0, ROWS - 1]
        offsets = np.sort(rng.integers(0, 600, 40))
        offsets[0] = 0
        assert cold.lookup(rows).tobytes() == mapped.lookup(rows).tobytes()
        shaped = rows.reshape(20, 30)
        assert cold.lookup(shaped).tobytes() == mapped.lookup(shaped).tobytes()
        assert cold.bag(rows, offsets).tobytes() == mapped.bag(rows, offsets).tobytes()
        assert cold.bag(rows, offsets, mode="mean").tobytes() == mapped.bag(rows, offsets, mode="mean").tobytes()
        both = [t.bag(rows, offsets, weights=weights) for t in (cold, mapped)]
        assert both[0].tobytes() == both[1].tobytes()


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 400), st.integers(1, 1500)),
    places=st.lists(st.floats(0, 1, exclude_max=True), max_size=60),
    depth=st.sampled_from([1, 2, 64]),
    cache_bytes=st.sampled_from(CACHES),
    ring=st.booleans(),
)
def test_any_shape(tmp_path_factory, shape, places, depth, cache_bytes, ring) -> None:
    path = tmp_path_factory.mktemp("shape") / "b"
    dense = DenseTable(floats(*shape, np.random.default_rng(0)), "float32")
    save({"t": dense}, path)
    cold = pz.load(path).cold("t", cache_bytes=cache_bytes, depth=depth)
    for reader in cold._readers.values():
        reader._file.ring = ring and reader._file.ring
    rows = np.array([int(p * shape[0]) for p in places], np.int64)
    for _ in range(2):
        np.testing.assert_array_equal(cold.lookup(rows), dense.lookup(rows))


def test_rows_come_in_any_kind_and_go_where_they_are_wanted(bundle) -> None:
    cold, mapped = bundle.cold("scalar-4-rotated"), bundle["scalar-4-rotated"]
    assert torch.equal(cold.lookup(torch.tensor([[3, 9]])), mapped.lookup(torch.tensor([[3, 9]])))
    np.testing.assert_array_equal(cold.lookup([5, 5]), mapped.lookup([5, 5]))
    assert cold.lookup(5).shape == (17,)
    assert cold.lookup([]).shape == (0, 17)
    assert cold.lookup(np.zeros((2, 0, 3), np.int64)).shape == (2, 0, 3, 17)
    np.testing.assert_array_equal(cold.bag([], [0, 0]), np.zeros((2, 17)))
    out = np.empty((2, 17), np.float32)
    assert cold.lookup(np.array([1, 2]), out=out) is out
    np.testing.assert_array_equal(out, mapped.lookup([1, 2]))


def refusal(call: Callable[[], object]) -> tuple[type, str]:
    with pytest.raises((IndexError, TableError)) as caught:
        call()
    return caught.type, str(caught.value)


@pytest.mark.parametrize("case", ["dense-float32", "partitioned"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda t: t.lookup([0, ROWS]),
        lambda t: t.lookup([-1]),
        lambda t: t.lookup(np.array([2**63], np.uint64)),
        lambda t: t.lookup([0.5]),
        lambda t: t.lookup([1], out=np.empty((2, 17), np.float32)),
        lambda t: t.lookup(torch.tensor([1]), out=np.empty((1, 17), np.float32)),
        lambda t: t.bag([1, 2], [1]),
        lambda t: t.bag([1, 2], [0], mode="max"),
        lambda t: t.bag([1, 2], [0], weights=[1.0]),
        lambda t: t.bag([[1, 2]], [0]),
    ],
)
def test_refusals_are_those_of_the_mapped_table(bundle, case: str, ask) -> None:
    assert refusal(lambda: ask(bundle.cold(case))) == refusal(lambda: ask(bundle[case]))


def test_what_cannot_be_read_row_by_row_is_refused(bundle) -> None:
    with pytest.raises(TableError, match="sparse: .*resident=True"):
        bundle.cold("sparse")


@pytest.mark.parametrize(
    "wrong", [{"depth": 0}, {"depth": 5000}, {"depth": 2.5}, {"cache_bytes": -1}, {"cache_bytes": 1.5}]
)
def test_settings_out_of_range(bundle, wrong: dict[str, int]) -> None:
    with pytest.raises(TableError, match=f"{next(iter(wrong))} is"):
        bundle.cold("factored", **wrong)
    with pytest.raises(KeyError, match="no such table"):
        bundle.cold("nothing")


def own_bundle(path: Path, rows: int = 5000) -> tuple[pz.Bundle, Path]:
    save({"t": DenseTable(floats(rows, 16, np.random.default_rng(0)), "float32")}, path)
    bundle = pz.load(path)
    return bundle, path / bundle.manifest["tables"]["t"]["file"]


@pytest.mark.parametrize("cache_bytes", [None, 0])
def test_a_file_cut_while_it_is_open(tmp_path, means, cache_bytes: int | None) -> None:
    bundle, file = own_bundle(tmp_path / "b")
    cold = bundle.cold("t", cache_bytes=cache_bytes, depth=4)
    os.truncate(file, 200_000)
    with pytest.raises(BundleError, match=rf"{file}: \d+ bytes are expected; it ends at byte \d+: it was cut"):
        cold.lookup(np.arange(0, 5000, 3))
    assert cold.lookup([0]).any()


def test_a_file_that_cannot_be_read(tmp_path, means) -> None:
    bundle, file = own_bundle(tmp_path / "b")
    cold = bundle.cold("t", depth=4)
    (reader,) = cold._readers.values()
    reader._file.plain = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BundleError, match=f"{file}: it cannot be read at byte .*: {os.strerror(errno.EISDIR)}"):
        cold.lookup(np.arange(100))
    os.close(reader._file.plain)


def test_reads_that_the_device_refuses_are_made_plainly(tmp_path, means) -> None:
    bundle, _ = own_bundle(tmp_path / "b")
    cold = bundle.cold("t", cache_bytes=0, depth=4)
    (reader,) = cold._readers.values()
    reader._file.direct = folder = os.open(tmp_path, os.O_RDONLY)
    rows = np.arange(0, 5000, 7)
    np.testing.assert_array_equal(cold.lookup(rows), bundle["t"].lookup(rows))
    os.close(folder)


def test_a_bundle_replaced_or_removed_since_it_was_loaded(tmp_path) -> None:
    bundle, _ = own_bundle(tmp_path / "b")
    early = bundle.cold("t")
    save({"t": DenseTable(np.ones((5000, 16), np.float32), "float32")}, tmp_path / "b")
    np.testing.assert_array_equal(early.lookup([7]), bundle["t"].lookup([7]))
    with pytest.raises(BundleError, match="changed or replaced after the bundle was loaded; load it again"):
        bundle.cold("t")
    os.rename(tmp_path / "b", tmp_path / "c")
    with pytest.raises(BundleError, match="cannot be opened"):
        bundle.cold("t")


def test_a_resident_bundle_can_be_read_cold_too(tmp_path) -> None:
    bundle, file = own_bundle(tmp_path / "b")
    np.testing.assert_array_equal(pz.load(file.parent, resident=True).cold("t").lookup([4]), bundle["t"].lookup([4]))


def test_a_row_map_that_lies(tmp_path) -> None:
    honest = partitioned(ROWS, 5, np.random.default_rng(0))
    before = honest.before.copy()
    for lie in (10**6, -5, 0):
        before[3:] = lie
        cold = cold_over(tmp_path / f"b{lie}", PartitionedTable(honest.part, before=before, parts=honest.parts), honest)
        with pytest.raises(TableError, match="lies outside its part; the table is damaged"):
            cold.lookup(np.arange(ROWS))


def cold_over(path: Path, lying: PartitionedTable, honest: PartitionedTable) -> ColdTable:
    """A cold table whose shared arrays are those of `lying`, which could not be saved."""
    save({"t": honest}, path)
    cold = pz.load(path).cold("t")
    cold._table = lying
    return cold


def test_many_threads(bundle) -> None:
    cold, mapped = bundle.cold("scalar-4-rotated", cache_bytes=20_000, depth=16), bundle["scalar-4-rotated"]
    wrong = []

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            rows = np.minimum(rng.zipf(1.2, 200) - 1, ROWS - 1)
            if not np.array_equal(cold.lookup(rows), mapped.lookup(rows)):
                wrong.append(seed)

    askers = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert wrong == []


@pytest.mark.parametrize("case", ["scalar-4-rotated", "partitioned"])
@pytest.mark.parametrize("budget", [0, 1, 5000, 100_000])
def test_the_budget_is_kept(bundle, case: str, budget: int) -> None:
    cold = bundle.cold(case, cache_bytes=budget)
    for _ in range(3):
        cold.lookup(np.random.default_rng(0).integers(0, ROWS, 2000))
    assert sum(reader.cache.nbytes for reader in cold._readers.values()) <= budget


def test_kept_rows_are_not_read_again(bundle) -> None:
    cold = bundle.cold("dense-float32", cache_bytes=1 << 20)
    (reader,) = cold._readers.values()
    rows = np.arange(0, ROWS, 10)
    first = cold.lookup(rows)
    reader._file.plain = reader._file.direct = -1
    np.testing.assert_array_equal(cold.lookup(rows), first)


def test_the_cache_keeps_what_was_used_last() -> None:
    cache = RowCache(4, 16 * 8 * (4 + 12))
    records = np.arange(4 * 10_000, dtype=np.uint32).view(np.uint8).reshape(-1, 4)[:10_000]
    hot = np.arange(10)
    for start in range(0, 10_000, 50):
        rows = np.union1d(hot, np.arange(start, start + 50))
        out = np.zeros((len(rows), 4), np.uint8)
        missing = cache.find(rows, out)
        found = np.setdiff1d(np.arange(len(rows)), missing)
        np.testing.assert_array_equal(out[found], records[rows[found]])
        cache.keep(rows[missing], records[rows[missing]])
    missing = cache.find(hot, np.empty((10, 4), np.uint8))
    assert len(missing) == 0
    kept = cache._rows[cache._rows >= 0]
    assert len(kept) == len(np.unique(kept)) == 16 * 8


def test_a_row_brought_twice_is_kept_once() -> None:
    cache = RowCache(1, 1 << 12)
    for _ in range(2):
        cache.keep(np.array([5, 6]), np.array([[1], [2]], np.uint8))
    assert sorted(cache._rows[cache._rows >= 0]) == [5, 6]


def test_descriptors_are_given_back(bundle) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for cache_bytes in (None, 0):
        bundle.cold("factored", cache_bytes=cache_bytes).lookup([1])
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_depth_is_measured_once_a_device(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(_depth, "_known", {})
    bundle, file = own_bundle(tmp_path / "b", 3000 * BLOCK // 64)
    cold = bundle.cold("t")
    if kernels.native() is None or cold._readers["rows"]._file.direct < 0:
        assert cold.depth == _depth.UNMEASURED
        return
    measured = cold.depth
    assert measured in _depth._DEPTHS
    assert list(_depth._known) == [os.stat(file).st_dev]
    monkeypatch.setattr(_depth, "_measured", None)
    assert bundle.cold("t", cache_bytes=100).depth == bundle.cold("t").depth == measured


def test_the_shallowest_depth_that_is_near_the_best_is_taken(monkeypatch) -> None:
    class Device:
        """Answers as many reads at once as it has channels, each in a millisecond of a clock of its own."""

        now, channels = 0.0, 16

        def read(self, begin: int, rows: np.ndarray, out: np.ndarray, depth: int, uncached: bool) -> None:
            Device.now += 1e-3 * len(rows) / min(depth, self.channels)

    monkeypatch.setattr(_depth.time, "perf_counter", lambda: Device.now)
    monkeypatch.setattr(_depth, "_SECONDS", 1e9)
    assert _depth._measured(Device(), 10**6) == 16
    monkeypatch.setattr(_depth, "_SECONDS", 0.5)  # a slow device: what fits into the time decides
    assert _depth._measured(Device(), 10**6) in (4, 8, 16)


def test_ids_lead_to_cold_rows(bundle) -> None:
    rows = bundle.ids["dense-float32"].rows(np.array([21, 70]))
    np.testing.assert_array_equal(bundle.cold("dense-float32").lookup(rows), bundle["dense-float32"].lookup([3, 10]))
