"""Look-ups in a table larger than memory, held against a mapped file and against what the storage gives.

A bundle of 400,000,000 x 64 at 4 bits (14.4 GB) is made through the streaming path, from rows made as they are asked
for. Both that and the reading happen in processes that a control group holds to 2 GiB, of which the page cache is a
part; where no group can be made, the result says so. Batches of uniform rows start cold: before each, the pages of the
file are dropped. Batches of Zipf rows, popular rows scattered over the file, follow each other under the limit.

python benchmarks/out_of_core.py --folder DIR   (15 GB of disk there; --rows 2000000 tries it out)
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from large_tables import peak_rss_mib
from record import provenance, write

import pintsize as pz
from pintsize.bundle._tensors import read_layout
from pintsize.formats.scalar import ScalarTable

COLUMNS, METHOD, TABLE = 64, "integer:bits=4", "item"
BATCH, EXPONENT = 4096, 1.05
LIMIT, CACHE = 2 << 30, 512 << 20
WARM_IDS, WARM_SECONDS = 8_000_000, 90
CEILINGS = ("threads", "ring", "ring in batches")
READ_AHEAD = ("memmap", "mapped lookup")
PEER = "memmap, MADV_RANDOM"
MIB = 2**20

Read = Callable[[np.ndarray], np.ndarray]


class MadeRows:
    """Float rows that are made when they are asked for: one block of normal rows, each time at another scale."""

    dtype = np.dtype(np.float32)

    def __init__(self, rows: int) -> None:
        self.shape = (rows, COLUMNS)
        self._block = np.random.default_rng(0).standard_normal((1 << 16, COLUMNS), np.float32)

    def __getitem__(self, key: slice) -> np.ndarray:
        return self.at(np.arange(*key.indices(self.shape[0])))

    def at(self, rows: np.ndarray) -> np.ndarray:
        turn, place = np.divmod(rows, len(self._block))
        return self._block[place] * (1 + turn / 1024).astype(np.float32)[:, None]


def make_bundle(path: Path, rows: int) -> dict[str, Any]:
    """Compresses the rows into a bundle, chunk by chunk."""
    started = time.perf_counter()
    pz.compress_source({TABLE: pz.EmbeddingTable(MadeRows(rows))}, METHOD, out=path)
    return {"seconds": time.perf_counter() - started, "peak_rss_mib": peak_rss_mib()}


@contextlib.contextmanager
def control_group(limit: int) -> Iterator[Path | None]:
    """A control group of this much memory inside our own, or None where none can be made."""
    places = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    root, own = Path("/sys/fs/cgroup"), f"pintsize-{os.getpid()}"
    found = None
    for parent, setting in (
        (root / "memory" / places.get("memory", "/none").lstrip("/"), "memory.limit_in_bytes"),
        (root / places.get("", "/none").lstrip("/"), "memory.max"),
    ):
        group = parent / own
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / setting).write_text(str(limit))
            found = group
            break
        except OSError:
            group.rmdir()
    try:
        yield found
    finally:
        if found is not None:
            found.rmdir()


def most_held(group: Path) -> dict[str, Any]:
    """The most memory that a group has held, its share of the page cache with it, and whether it ever ran out."""
    peak = next(g for g in (group / "memory.max_usage_in_bytes", group / "memory.peak") if g.exists())
    control = next(g for g in (group / "memory.oom_control", group / "memory.events") if g.exists())
    killed = dict(line.split() for line in control.read_text().splitlines()).get("oom_kill", "0")
    return {"group_peak_mib": int(peak.read_text()) / MIB, "group_out_of_memory": int(killed)}


def ceiling_reader(folder: str) -> Callable[[Path, np.ndarray, int, int], float]:
    """Compiles random_reads.cpp; reads a second of these pages of a file at a depth, by one of `CEILINGS`."""
    library = Path(folder) / "random_reads.so"
    source = Path(__file__).with_name("random_reads.cpp")
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, "-std=c++20", "-O2", "-shared", "-fPIC", "-pthread", source, "-o", library], check=True)
    call = ctypes.CDLL(str(library)).random_reads
    call.restype = ctypes.c_double
    call.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_int]

    def read(path: Path, pages: np.ndarray, depth: int, by: int) -> float:
        seconds = call(bytes(path), pages.ctypes.data, len(pages), depth, by)
        return len(pages) / seconds if seconds > 0 else float("nan")

    return read


def mapping_under(array: np.ndarray) -> mmap.mmap:
    """The mapping in which an array of a loaded bundle lies."""
    base: Any = array
    while not isinstance(base, mmap.mmap):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base


def zipf_rows(rng: np.random.Generator, rows: int, count: int) -> np.ndarray:
    """Rows drawn by Zipf's law; rank r lies at a place that a multiplication modulo `rows` scatters."""
    power = 1 - EXPONENT
    ranks = (1 + rng.random(count) * (rows**power - 1)) ** (1 / power)
    factor = 2_654_435_761  # a prime, and so without a common factor with any smaller number of rows
    return np.minimum(ranks.astype(np.int64) - 1, rows - 1) * factor % rows


def spread(rates: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(rates, [25, 50, 75])
    return {"median": middle, "lower_quartile": low, "upper_quartile": high}


class Readers:
    """Every way of reading a batch, over the same file."""

    def __init__(self, bundle: Path) -> None:
        loaded = pz.load(bundle)
        self.file = bundle / loaded.manifest["tables"][TABLE]["file"]
        self.table: Any = loaded[TABLE]
        place = read_layout(np.memmap(self.file, np.uint8, "r"), "the file")["records"]
        self._maps = [mapping_under(self.table.records)]
        self.ways: dict[str, Read] = {
            "memmap": self._memmap(place, None),
            PEER: self._memmap(place, mmap.MADV_RANDOM),
            "mapped lookup": self.table.lookup,
        }
        paged, passed, cached = (loaded.cold(TABLE, cache_bytes=size) for size in (None, 0, CACHE))
        self.depth = paged.depth
        self.ways |= {
            "cold, page cache": paged.lookup,
            "cold, no cache": passed.lookup,
            "cold, cache of 512 MiB": cached.lookup,
        }
        self.cold_cache = cached

    def _memmap(self, place: Any, advice: int | None) -> Read:
        records = np.memmap(self.file, np.uint8, "r", offset=place.begin, shape=place.shape)
        self._maps.append(records._mmap)  # type: ignore[attr-defined]
        if advice is not None:
            self._maps[-1].madvise(advice)
        t, every = self.table, np.arange(BATCH)

        def read(rows: np.ndarray) -> np.ndarray:
            gathered = records[rows]
            return ScalarTable(gathered, t.columns, t.levels, t.group, unit=t.unit).lookup(every[: len(rows)])

        return read

    def drop(self) -> None:
        """Takes the pages of the file out of the process and out of the page cache."""
        for mapping in self._maps:
            mapping.madvise(mmap.MADV_DONTNEED)
        fd = os.open(self.file, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def uniform(readers: Readers, repeats: int, ceiling: Callable[..., float]) -> dict[str, Any]:
    """Rows a second of cold batches, one way after the other, and the machine's reads a second at the same depth."""
    rng = np.random.default_rng(1)
    n, pages = readers.table.num_embeddings, readers.file.stat().st_size // 4096
    rates: dict[str, list[float]] = {}
    agree = True
    for repeat in range(repeats + 1):
        # In a new order each time: a map that reads ahead leaves reads in flight behind it.
        for name in rng.permutation([*readers.ways, *CEILINGS]).tolist():
            readers.drop()
            if name in readers.ways:
                rows = rng.integers(0, n, timed_rows(name))
                started = time.perf_counter()
                found = readers.ways[name](rows)
                rate = len(rows) / (time.perf_counter() - started)
                agree = agree and np.array_equal(found, readers.ways[PEER](rows))
            else:
                rate = ceiling(
                    readers.file, np.sort(rng.integers(0, pages, BATCH)), readers.depth, CEILINGS.index(name)
                )
            if repeat:  # the first round warms up code, not pages
                rates.setdefault(name, []).append(rate)
    best = max(CEILINGS, key=lambda name: float(np.median(rates[name])))
    ways = [
        {
            "way": name,
            "rows_timed": timed_rows(name),
            "rows_per_second": spread(rates[name]),
            "share_of_ceiling": spread(list(np.divide(rates[name], rates[best]))),
            "times_advised_memmap": spread(list(np.divide(rates[name], rates[PEER]))),
            "times_memmap": float(np.median(rates[name]) / np.median(rates["memmap"])),
        }
        for name in readers.ways
    ]
    ceilings = {name: spread(rates[name]) for name in CEILINGS}
    return {"ways": ways, "ceiling_reads_per_second": ceilings, "ceiling": best, "rows_agree": bool(agree)}


def timed_rows(name: str) -> int:
    """Where the system reads ahead around every row, a part of a batch tells the rate: a whole one takes a minute."""
    return BATCH // 128 if name in READ_AHEAD else BATCH


def zipf(readers: Readers, repeats: int) -> list[dict[str, Any]]:
    """Rows a second of Zipf batches under the limit, each way after its own warm-up."""
    n = readers.table.num_embeddings
    found: list[dict[str, Any]] = []
    for name in (PEER, "cold, page cache", "cold, cache of 512 MiB"):
        rng = np.random.default_rng(2)
        readers.drop()
        began, warmed = time.perf_counter(), 0
        while warmed < WARM_IDS and time.perf_counter() - began < WARM_SECONDS:
            readers.ways[name](zipf_rows(rng, n, BATCH))
            warmed += BATCH
        rates, distinct = [], []
        for _ in range(repeats):
            rows = zipf_rows(rng, n, BATCH)
            started = time.perf_counter()
            readers.ways[name](rows)
            rates.append(BATCH / (time.perf_counter() - started))
            distinct.append(len(np.unique(rows)) / BATCH)
        found.append(
            {"way": name, "warmed_by": warmed, "rows_per_second": spread(rates), "distinct": float(np.mean(distinct))}
        )
    peer = found[0]["rows_per_second"]["median"]
    return [{**record, "times_advised_memmap": record["rows_per_second"]["median"] / peer} for record in found]


def agreement(readers: Readers) -> float:
    """Largest difference of served rows from an encoding of the same rows alone."""
    n = readers.table.num_embeddings
    rows = np.unique(np.concatenate([[0, n - 1], np.random.default_rng(4).integers(0, n, 2000)]))
    source = MadeRows(n)
    alone = pz.method(METHOD).fit(pz.EmbeddingTable(source)).encode(source.at(rows))
    return float(np.abs(alone.lookup(np.arange(len(rows))) - readers.ways["cold, page cache"](rows)).max())


def measure(bundle: Path, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        ceiling = ceiling_reader(folder)
        readers = Readers(bundle)
        started = peak_rss_mib()
        return {
            "rows": readers.table.num_embeddings,
            "columns": COLUMNS,
            "batch": BATCH,
            "repeats": repeats,
            "file_mib": readers.file.stat().st_size / MIB,
            "depth": readers.depth,
            "largest_difference_from_encoder": agreement(readers),
            "uniform": uniform(readers, repeats, ceiling),
            "zipf": zipf(readers, repeats),
            "start_rss_mib": started,
            "peak_rss_mib": peak_rss_mib(),
        }


def in_group(*words: str) -> dict[str, Any]:
    """What this program says when it is run with these words in a child process inside a control group."""
    with control_group(LIMIT) as group:

        def enter() -> None:
            if group is not None:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        command = [sys.executable, __file__, *words]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=enter)
        if run.returncode:
            raise SystemExit(f"the process in the control group ended with {run.returncode}")
        held = {} if group is None else most_held(group)
    said = "none could be made: pages are dropped before each uniform batch, and Zipf batches have the whole machine"
    return {"control_group": "2 GiB" if group is not None else said, **held, **json.loads(run.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=400_000_000)
    parser.add_argument("--repeats", type=int, default=41)
    parser.add_argument("--step", choices=["make", "measure"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    bundle = arguments.folder / f"{arguments.rows}x{COLUMNS}.bundle"
    if arguments.step == "make":
        print(json.dumps(make_bundle(bundle, arguments.rows)))
    elif arguments.step == "measure":
        print(json.dumps(measure(bundle, arguments.repeats)))
    else:
        words = [f"--{name}={getattr(arguments, name)}" for name in ("folder", "rows", "repeats")]
        made = "it was there" if bundle.exists() else in_group(*words, "--step=make")
        results = {"method": METHOD, "making": made, **in_group(*words, "--step=measure")}
        print(json.dumps(results, indent=1))
        print(write("out_of_core", {**provenance("numpy"), "results": results}))


if __name__ == "__main__":
    main()
