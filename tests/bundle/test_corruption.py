"""Whatever is wrong with a bundle is a BundleError that says what and where, and never anything worse."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pintsize as pz
from pintsize.bundle import verify
from pintsize.bundle._tensors import read_layout
from pintsize.errors import BundleError, PintsizeError
from tests.bundle.samples import every_format, reseal, rewrite_header, table

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A bundle a format, every second with ids."""
    directory = tmp_path_factory.mktemp("bundles")
    for index, (case, saved) in enumerate(every_format().items()):
        ids = [range(40), np.arange(40)[::-1], [f"item {i % 7}" * (i % 3) + str(i) for i in range(40)]][index % 3]
        pz.save({case: saved}, directory / case, ids={case: ids} if index % 2 else {})
    return sorted(directory.iterdir())


def test_every_single_byte_change_is_detected(bundles: list[Path]) -> None:
    """2,000 random bytes over all files: verify finds each; a load that does not notice serves without a crash."""
    rng = np.random.default_rng(0)
    files = [file for bundle in bundles for file in sorted(bundle.iterdir())]
    # Files alike, and half of all changes where they can do most: in the first bytes, where headers are.
    for round_ in range(2000):
        file = files[int(rng.integers(len(files)))]
        original = file.read_bytes()
        data = bytearray(original)
        place = int(rng.integers(len(data) if round_ % 2 else min(len(data), 600)))
        data[place] ^= int(rng.integers(1, 256))
        file.write_bytes(data)
        with pytest.raises(BundleError):
            verify(file.parent)
        if round_ % 8 == 0:
            _use(file.parent)
        file.write_bytes(original)
    for bundle in bundles:
        verify(bundle)


def _use(path: Path) -> None:
    """Loads and looks up; only errors of this package, or about the asked row or id, may come out."""
    try:
        opened = pz.load(path)
        for name, found in opened.items():
            found.lookup(np.arange(found.num_embeddings))
            if name in opened.ids:
                opened.lookup(name, opened.ids[name].to_list()[:3])
    except (PintsizeError, KeyError):
        pass


def test_truncated_and_lengthened_files(bundle: Path) -> None:
    for file in sorted(bundle.iterdir()):
        original = file.read_bytes()
        for data in (b"", original[:7], original[: len(original) // 2], original[:-1], original + b"\0"):
            file.write_bytes(data)
            for check in (verify, pz.load):
                with pytest.raises(BundleError, match=file.name):
                    check(bundle)
        file.unlink()
        with pytest.raises(BundleError, match=f"{file.name}.*No such file"):
            pz.load(bundle)
        file.write_bytes(original)
    verify(bundle)


def test_truncated_files_of_a_sealed_manifest(bundle: Path) -> None:
    for file in sorted(bundle.glob("0*")):
        original = file.read_bytes()
        for length in (0, 1, 8, len(original) // 3, len(original) - 8):
            file.write_bytes(original[:length])
            reseal(bundle)
            with pytest.raises(BundleError, match=file.name):
                pz.load(bundle)
        file.write_bytes(original)
    reseal(bundle)
    verify(bundle)


def test_a_manifest_of_a_gigabyte_is_not_read(bundle: Path) -> None:
    os.truncate(bundle / "manifest.json", 1 << 30)
    for check in (verify, pz.load):
        with pytest.raises(BundleError, match=r"manifest.json.*1073741824"):
            check(bundle)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    (tmp_path / "empty").mkdir()
    for name in ("missing", "file", "empty", "nul\0"):
        for check in (verify, pz.load):
            with pytest.raises(BundleError, match="manifest.json"):
                check(tmp_path / name)


def test_files_too_many(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    assert len(pz.load(bundle))
    with pytest.raises(BundleError, match=r"notes\.txt"):
        verify(bundle)


def _first(manifest: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = manifest["tables"]["dense-float32"]
    return entry


PLACES = [
    "../shop/x",
    "/etc/passwd",
    "a/b",
    "..",
    ".",
    "",
    "a\0b",
    "manifest.json",
    ".hidden",
    "x" * 200,
    "ü",
    "A",
    "a\n",
]


@pytest.mark.parametrize("place", PLACES)
def test_places_outside_the_bundle(bundle: Path, place: str) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["files"][place] = manifest["files"].pop(_first(manifest)["file"])
        _first(manifest)["file"] = place

    reseal(bundle, edit)
    with pytest.raises(BundleError, match="plain names"):
        pz.load(bundle)


def test_links_and_pipes_in_the_place_of_files(bundle: Path, tmp_path: Path) -> None:
    for file in sorted(bundle.iterdir()):
        aside = tmp_path / "aside"
        file.rename(aside)
        for make in (lambda f, to=aside: f.symlink_to(to), lambda f: os.mkfifo(f)):
            make(file)
            for check in (verify, pz.load):
                with pytest.raises(BundleError, match=file.name):
                    check(bundle)
            file.unlink()
        file.mkdir()
        with pytest.raises(BundleError, match=file.name):
            pz.load(bundle)
        file.rmdir()
        aside.rename(file)
    verify(bundle)


EDITS: dict[str, tuple[Edit, str]] = {
    "newer version": (lambda m: m.update(version=2), "version 1 is known; found 2"),
    "version true": (lambda m: m.update(version=True), "version"),
    "other format": (lambda m: m.update(format="zip"), "format"),
    "no tables": (lambda m: m.pop("tables"), "keys"),
    "extra key": (lambda m: m.update(surprise=1), "surprise"),
    "unknown format": (lambda m: _first(m)["header"].update(format="quantum"), "quantum"),
    "no format": (lambda m: _first(m)["header"].pop("format"), "format"),
    "format a list": (lambda m: _first(m)["header"].update(format=[]), "format"),
    "unknown field": (lambda m: _first(m)["header"].update(flavour=1), "flavour"),
    "wrong dtype": (lambda m: _first(m)["header"].update(dtype="float16"), "float16"),
    "dtype of manifest": (lambda m: _first(m)["tensors"]["rows"].update(dtype="int32"), "manifest gives.*int32"),
    "shape of manifest": (lambda m: _first(m)["tensors"]["rows"].update(shape=[17, 40]), "manifest gives"),
    "negative shape": (lambda m: _first(m)["tensors"]["rows"].update(shape=[-40, 17]), "manifest gives"),
    "shape null": (lambda m: _first(m)["tensors"]["rows"].update(shape=None), "shape"),
    "rows": (lambda m: _first(m).update(num_embeddings=41), "41"),
    "columns": (lambda m: _first(m).update(embedding_dim=2**62), "4611686018427387904"),
    "nbytes": (lambda m: _first(m).update(nbytes=0), "nbytes"),
    "negative rows": (lambda m: _first(m).update(num_embeddings=-1), "0 or more"),
    "array missing": (lambda m: _first(m)["tensors"].pop("rows"), "rows"),
    "no such file": (lambda m: _first(m).update(file="0099-x.safetensors"), "not among"),
    "one file twice": (lambda m: _first(m).update(file=m["tables"]["sparse"]["file"]), "one table"),
    "digest": (lambda m: m["files"][_first(m)["file"]].update(sha256="0" * 63), "64 hexadecimal"),
    "kind of ids": (lambda m: _first(m)["ids"].update(kind="float"), "int64 or string"),
    "other kind of ids": (lambda m: _first(m)["ids"].update(kind="string"), "string ids"),
    "ids of another": (lambda m: _first(m)["ids"].update(file=_first(m)["file"]), "one table"),
    "scale past float": (lambda m: m["tables"]["scalar-3-grid"]["header"].update(unit=3.0), "power of two"),
    "column a text": (lambda m: m["tables"]["scalar-3-grid"]["header"].update(columns="ten"), "scalar"),
    "levels a list": (lambda m: m["tables"]["scalar-3-grid"]["header"].update(levels=[3]), "scalar"),
    "parts no list": (lambda m: m["tables"]["partitioned-deep"]["header"].update(parts=3), "partitioned"),
    "part missing": (lambda m: m["tables"]["partitioned-deep"]["header"]["parts"].pop(), "partitioned"),
}


@pytest.mark.parametrize("name", EDITS)
def test_manifests_that_lie(bundle: Path, name: str) -> None:
    edit, message = EDITS[name]
    reseal(bundle, edit)
    with pytest.raises(BundleError, match=message):
        pz.load(bundle)
    with pytest.raises(BundleError):
        verify(bundle)


def test_manifests_that_are_no_strict_json(bundle: Path) -> None:
    good = (bundle / "manifest.json").read_bytes()
    faults = [
        b"[]", b"null", b"", b"\xff\xfe", b"{", b'{"a":1,"a":1}', b"[" * 100_000, b'{"a":' * 5000, b'{"a":NaN}',
        b'{"a":1e999}', b'{"a":' + b"9" * 5000 + b"}", good.replace(b'": ', b'":', 1), good + b"\n",
        good.replace(b"pintsize 0", b"pintsize\\u00200"), good.replace(b'"version": 1', b'"version": 1.0'),
    ]  # fmt: skip
    for data in faults:
        (bundle / "manifest.json").write_bytes(data)
        for check in (verify, pz.load):
            with pytest.raises(BundleError, match="manifest.json"):
                check(bundle)


HEADERS: dict[str, tuple[Edit, str]] = {
    "negative shape": (lambda h: h["rows"].update(shape=[-40, 17]), "from 0 on"),
    "two negative": (lambda h: h["rows"].update(shape=[-40, -17]), "from 0 on"),
    "larger shape": (lambda h: h["rows"].update(shape=[41, 17]), "takes"),
    "huge shape": (lambda h: h["rows"].update(shape=[2**62, 2**62]), "below 2"),
    "wrapping shape": (lambda h: h["rows"].update(shape=[2**62, 4]), "below 2"),
    "huge empty": (lambda h: h["rows"].update(shape=[0, 2**62, 2**62], data_offsets=[0, 0]), "below 2"),
    "float shape": (lambda h: h["rows"].update(shape=[40.0, 17]), "from 0 on"),
    "bool shape": (lambda h: h["rows"].update(shape=[True, 17]), "from 0 on"),
    "many dimensions": (lambda h: h["rows"].update(shape=[1] * 50 + [40, 17]), "8 dimensions"),
    "dtype": (lambda h: h["rows"].update(dtype="F8_E4M3"), "F8_E4M3"),
    "dtype a list": (lambda h: h["rows"].update(dtype=["F32"]), "F32"),
    "other dtype": (lambda h: h["rows"].update(dtype="I32"), "manifest gives"),
    "out of bounds": (lambda h: h["rows"].update(data_offsets=[4, 4 + 2720]), "hole"),
    "backwards": (lambda h: h["rows"].update(data_offsets=[2720, 0]), "takes"),
    "three offsets": (lambda h: h["rows"].update(data_offsets=[0, 0, 2720]), "two offsets"),
    "hole": (lambda h: h.update(rows={"dtype": "F32", "shape": [39, 17], "data_offsets": [68, 2720]}), "hole"),
    "end too early": (
        lambda h: h.update(rows={"dtype": "F32", "shape": [39, 17], "data_offsets": [0, 2652]}),
        "end at",
    ),
    "overlap": (lambda h: h.update(x={"dtype": "U8", "shape": [4], "data_offsets": [2716, 2720]}), "overlap"),
    "extra array": (lambda h: h.update(x={"dtype": "U8", "shape": [0], "data_offsets": [2720, 2720]}), "'x'"),
    "renamed": (lambda h: h.update(rose=h.pop("rows")), "ro[ws][se]"),
    "empty": (lambda h: b"{}", "end at"),
    "missing key": (lambda h: h["rows"].pop("shape"), "expected"),
    "extra key": (lambda h: h["rows"].update(strides=[1]), "expected"),
    "array null": (lambda h: h.update(rows=None), "expected"),
    "a list": (lambda h: b"[]", "object"),
    "twice": (lambda h: json.dumps(h).encode()[:-1] + b"," + json.dumps(h).encode()[1:], "twice"),
    "not UTF-8": (lambda h: b"\xff" * 64, "JSON"),
    "deep": (lambda h: b'{"rows":' + b"[" * 90_000, "JSON"),
    "unaligned": (
        lambda h: h.update(
            rows={"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
            x={"dtype": "F32", "shape": [0], "data_offsets": [1, 1]},
        ),
        "aligned",
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_lie(bundle: Path, name: str) -> None:
    edit, message = HEADERS[name]
    file = bundle / "0000-dense-float32.safetensors"
    rewrite_header(file, edit)
    reseal(bundle)
    for check in (pz.load, verify):
        with pytest.raises(BundleError, match=message) as raised:
            check(bundle)
        assert file.name in str(raised.value)


def test_lengths_of_headers_that_lie(bundle: Path) -> None:
    file = bundle / "0000-dense-float32.safetensors"
    data = file.read_bytes()
    for length in (0, 1, len(data) - 8, len(data) - 7, 100 << 20, 2**63, 2**64 - 1):
        file.write_bytes(length.to_bytes(8, "little") + data[8:])
        reseal(bundle)
        with pytest.raises(BundleError, match=file.name):
            pz.load(bundle)


def test_values_that_no_reader_may_follow(tmp_path: Path) -> None:
    """Digests agree, shapes agree, and the rows point past the codebook: only reading them shows it."""
    faults = {
        "codebook-10": ("records", 255, "past its codebook"),
        "sparse": ("starts", 200, "starts"),
        "partitioned-deep": ("part", 7, "part"),
        "dense-float32": ("rows", 255, "not finite"),
    }
    for case, (array, value, message) in faults.items():
        path = tmp_path / case
        pz.save({case: table(case)}, path)
        (file,) = path.glob("*.safetensors")
        data = bytearray(file.read_bytes())
        place = read_layout(np.frombuffer(bytes(data), np.uint8), "")[array]
        data[place.begin : place.begin + 8] = bytes([value] * 8)
        file.write_bytes(data)
        reseal(path)
        with pytest.raises(BundleError, match=message) as raised:
            verify(path)
        assert file.name in str(raised.value)


def test_ids_that_lie(bundle: Path) -> None:
    import pyarrow as pa

    file = bundle / "0000-dense-float32.ids.arrow"
    n = 40
    order = pa.array(np.arange(n, dtype=np.int32))
    rising = pa.array(np.arange(n))
    faults: dict[str, dict[str, Any]] = {
        "does not sort": {"id": pa.array(np.arange(n)[::-1]), "order": order},
        "rows that do not exist": {"id": rising, "order": pa.array(np.arange(1, n + 1, dtype=np.int32))},
        "stands twice": {"id": pa.array(np.zeros(n, np.int64)), "order": order},
        "does not sort them": {"id": pa.array([5, *range(1, n)])},
        "expected; found id: int32": {"id": rising.cast(pa.int32())},
        "order: int64": {"id": rising, "order": rising},
        "name: int64": {"name": rising},
        "40 ids are expected": {"id": rising[:39]},
        "missing": {"id": pa.array([None, *range(1, n)])},
    }
    for message, columns in faults.items():
        _write_arrow(file, [pa.record_batch(columns)])
        reseal(bundle)
        with pytest.raises(BundleError, match=message):
            verify(bundle)
    batch = pa.record_batch({"id": rising})
    _write_arrow(file, [batch.slice(0, 20), batch.slice(20)])
    reseal(bundle)
    with pytest.raises(BundleError, match="one batch"):
        pz.load(bundle)
    _write_arrow(file, [batch], pa.ipc.IpcWriteOptions(compression="lz4"))
    reseal(bundle)
    with pytest.raises(BundleError, match="compressed"):
        pz.load(bundle)


def _write_arrow(file: Path, batches: list[Any], options: Any = None) -> None:
    import pyarrow as pa

    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)


def test_offsets_of_string_ids_that_lie(bundle: Path) -> None:
    """Arrow follows offsets wherever they lead: they are checked before the first look-up."""
    (file,) = bundle.glob("*scalar-3-grid.ids.arrow")
    data = bytearray(file.read_bytes())
    place = bytes(data).index(np.array([0, 8, 16, 24], np.int64).tobytes())
    for value in (2**40, -(2**40), 2**63 - 1):
        data[place + 80 : place + 88] = int(value).to_bytes(8, "little", signed=True)
        file.write_bytes(data)
        reseal(bundle)
        opened = pz.load(bundle)
        with pytest.raises(PintsizeError, match="damaged"):
            opened.lookup("scalar-3-grid", "item 3 3")
        with pytest.raises(BundleError, match=r"ids\.arrow"):
            verify(bundle)


# -- fuzzing: any JSON in any place of a manifest or header that is sealed again ---------------------------------------

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.sampled_from([-1, 0, 1, 2, 3, 17, 40, 255, 256, 2**31, 2**32, 2**62]),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["", "dense", "scalar", "factored", "codebook", "rows", "float16", "uint8", "none", "../x"]),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


def _paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [p for key in keys for p in ((*prefix, key), *_paths(value[key], (*prefix, key)))]


def _replace(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzzed_manifests(bundles: list[Path], tmp_path: Path, data: st.DataObject) -> None:
    path = _copy(data.draw(st.sampled_from(bundles)), tmp_path)

    def edit(manifest: dict[str, Any]) -> None:
        _replace(manifest, data.draw(st.sampled_from(_paths(manifest))), data.draw(json_values))

    reseal(path, edit)
    _load_or_refuse(path)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzzed_headers(bundles: list[Path], tmp_path: Path, data: st.DataObject) -> None:
    path = _copy(data.draw(st.sampled_from(bundles)), tmp_path)
    file = data.draw(st.sampled_from(sorted(path.glob("*.safetensors"))))

    def edit(header: dict[str, Any]) -> None:
        _replace(header, data.draw(st.sampled_from(_paths(header))), data.draw(json_values))

    rewrite_header(file, edit)
    reseal(path)
    _load_or_refuse(path)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400))
def test_fuzzed_bytes(content: bytes) -> None:
    for data in (content, len(content).to_bytes(8, "little") + content):
        with pytest.raises(BundleError):
            read_layout(np.frombuffer(data, np.uint8), "file")


@pytest.mark.parametrize("ending", ["safetensors", "arrow"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_mutated_files_of_a_sealed_manifest(bundles: list[Path], ending: str) -> None:
    """Several bytes changed and digests that agree: the parsers themselves must hold."""
    rng = np.random.default_rng(1)
    files = [file for bundle in bundles for file in sorted(bundle.glob(f"*.{ending}"))]
    for _ in range(150):
        file = files[int(rng.integers(len(files)))]
        original = file.read_bytes()
        data = bytearray(original)
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
        file.write_bytes(data)
        reseal(file.parent)
        _load_or_refuse(file.parent)
        _use(file.parent)
        file.write_bytes(original)
        reseal(file.parent)


def _copy(source: Path, directory: Path) -> Path:
    path = directory / "shop"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(source, path)
    return path


def _load_or_refuse(path: Path) -> None:
    for check in (pz.load, verify):
        try:
            check(path)
        except BundleError:
            pass
