"""Look-ups and bags against FBGEMM, torch and the memory itself.

    python benchmarks/lookups.py                    (10,000,000 rows; needs 14 GB of memory and fbgemm-gpu-cpu)

Every side reads the same rows at the same width, is given new row numbers at every call, and returns a fresh result;
peers are called in each way their API allows (operator and module, int32 and int64), of which the fastest counts. One
and two threads each, uniform and Zipf(1.05) row numbers, medians of alternating repeats. Agreement is checked first.
Our table lies in 2 MB pages, where NumPy puts large arrays; FBGEMM's lies where torch puts it, and in a second series
in 2 MB pages as well. The ceiling is a loop that only touches the cache lines of the same records (`ceiling.cpp`).
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alternating import best, by_turns, ratio, rows_of
from lookup_peers import FBGEMM, prepacked, torch_bags
from numpy.typing import NDArray
from record import provenance, write

import pintsize as pz
from pintsize.formats.base import CompressedTable
from pintsize.kernels import native

BLOCK = 1 << 18
BATCH = 65_536
BAGS = {1: 65_536, 20: 8_192, 100: 2_048}
WIDTHS = {8: "integer:bits=8", 4: "integer:bits=4", 2: "integer:bits=2"}
OURS_ALONE = {1: "binary", 3: "ternary"}

Sides = dict[str, Callable[[int], Any]]


def blocks(rows: int, columns: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The float rows, block by block; the same at every call."""
    for start in range(0, rows, BLOCK):
        rng = np.random.default_rng([columns, start])
        yield start, rng.standard_normal((min(BLOCK, rows - start), columns), np.float32)


def compressed(rows: int, columns: int, spec: str) -> CompressedTable:
    """Our table, its records in one large array."""
    first = pz.compress(next(blocks(min(rows, 1000), columns))[1], spec)
    records = np.empty((rows, first.record_bytes), np.uint8)
    for start, block in blocks(rows, columns):
        records[start : start + len(block)] = pz.compress(block, spec).tensors()["records"]
    return CompressedTable.from_tensors(first.header(), first.tensors() | {"records": records})


def threads(count: int) -> None:
    """The same number for both sides."""
    torch.set_num_threads(count)
    native().set_threads(count)


def sets_of(kind: str, rows: int, size: int, repeats: int) -> list[dict[str, Any]]:
    """Row numbers for every repeat (the last for the round that is not counted), in all forms that sides take."""
    made = []
    for repeat in range(repeats + 1):
        numbers = rows_of(kind, rows, (size,), seed=1000 * size + repeat)
        made.append({"numpy": numbers, 64: torch.from_numpy(numbers), 32: torch.from_numpy(numbers.astype(np.int32))})
    return made


def fbgemm_sides(name: str, peer: FBGEMM, sets: list[dict[str, Any]], bag: int | None) -> Sides:
    """Every way to call FBGEMM, ready made for every repeat: only the call is timed."""
    sides: Sides = {}
    for width, dtype in ((32, torch.int32), (64, torch.int64)):
        offsets = None if bag is None else torch.arange(0, len(sets[0][width]) + 1, bag, dtype=dtype)
        ready = [peer.calls(each[width], offsets) for each in sets]
        for way in ready[0]:
            sides[f"{name} {way} int{width}"] = lambda repeat, way=way, ready=ready: ready[repeat][way]()
    return sides


class Ceiling:
    """Touches the cache lines of records, at the best of several distances ahead."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        library = Path(self.folder.name) / "ceiling.so"
        source = Path(__file__).with_name("ceiling.cpp")
        compiler = os.environ.get("CXX", "g++")
        subprocess.run([compiler, "-O2", "-march=native", "-shared", "-fPIC", source, "-o", library], check=True)
        self.touch = ctypes.CDLL(str(library)).touch
        self.touch.restype = ctypes.c_uint64
        self.touch.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64] + [
            ctypes.c_int64
        ]

    def sides(self, table: CompressedTable, sets: list[dict[str, Any]]) -> Sides:
        """One side a distance."""
        records = table.tensors()["records"]
        at, stride = records.ctypes.data, records.shape[1]
        return {
            f"ceiling {ahead}": lambda repeat, ahead=ahead: self.touch(
                at, stride, stride, sets[repeat]["numpy"].ctypes.data, len(sets[repeat]["numpy"]), ahead
            )
            for ahead in (8, 16, 24, 32, 48)
        }


def agree(ours: Any, theirs: Any, bits: int, bag: int = 1) -> None:
    """Both read the same rows, to about a step of the coarser rounding each."""
    step = 11.0 / (2**bits - 1)  # the range of the widest of ten million normal rows is below 11
    worst = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
    if not worst <= step * bag:
        raise SystemExit(f"the sides do not agree: {worst} apart, a step is {step}")


def figures(seconds: dict[str, list[float]], ours: str, peers: dict[str, list[str]]) -> dict[str, Any]:
    """Ratios of one point: for each kind of peer, its fastest way against ours."""
    found: dict[str, Any] = {"ours_seconds": statistics.median(seconds[ours])}
    for kind, names in peers.items():
        fastest = best(seconds, names)
        found[kind] = {
            **ratio(seconds[fastest], seconds[ours]), "way": fastest, "seconds": statistics.median(seconds[fastest]),
        }  # fmt: skip
    return found


class Benchmark:
    """All points of one table width."""

    def __init__(self, rows: int, columns: int, repeats: int) -> None:
        self.rows, self.columns, self.repeats = rows, columns, repeats
        self.results: list[dict[str, Any]] = []
        self.ceiling = Ceiling()
        self.sets = {
            (kind, size): sets_of(kind, rows, size, repeats)
            for kind in ("uniform", "zipf")
            for size in {BATCH, *(bag * count for bag, count in BAGS.items())}
        }

    def record(self, point: dict[str, Any], found: dict[str, Any]) -> None:
        self.results.append({"columns": self.columns, **point, **found})
        short = {k: round(v["ratio"], 2) for k, v in found.items() if isinstance(v, dict)}
        print(self.columns, point, short, flush=True)

    def points(self) -> Iterator[tuple[int, str]]:
        for count in (1, 2):
            threads(count)
            for kind in ("uniform", "zipf"):
                yield count, kind

    def against_fbgemm(self, bits: int) -> None:
        """Look-ups and bags at one width of codes, against FBGEMM twice, torch, and the ceiling."""
        ours = compressed(self.rows, self.columns, WIDTHS[bits])
        peers = {"fbgemm": FBGEMM(self.rows, self.columns, bits, huge_pages=False)}
        peers["fbgemm on huge pages"] = FBGEMM(self.rows, self.columns, bits, huge_pages=True)
        packed: torch.Tensor | None = None
        for start, block in blocks(self.rows, self.columns):
            for peer in peers.values():
                peer.fill(start, block)
            part = prepacked(block, bits)
            if packed is None:
                packed = torch.empty((self.rows, part.shape[1]), dtype=torch.uint8)
            packed[start : start + len(block)] = part
        assert packed is not None
        quantized = torch_bags(packed, bits)
        for count, kind in self.points():
            self.unpooled(bits, ours, peers, count, kind)
            for bag in BAGS:
                self.pooled(bits, ours, peers, quantized, (count, kind, bag))

    def unpooled(self, bits: int, ours: CompressedTable, peers: dict[str, FBGEMM], count: int, kind: str) -> None:
        sets = self.sets[kind, BATCH]
        into = np.empty((BATCH, self.columns), np.float32)
        sides: Sides = {
            "ours": lambda r: ours.lookup(sets[r]["numpy"]),
            "ours fresh": lambda r: ours.lookup(sets[r]["numpy"], out=np.empty((BATCH, self.columns), np.float32)),
            "ours out": lambda r: ours.lookup(sets[r]["numpy"], out=into),
        }
        for name, peer in peers.items():
            sides |= fbgemm_sides(name, peer, sets, None)
        for side, call in sides.items():
            if side.startswith("fbgemm"):
                agree(sides["ours"](0), call(0), bits)
        names = {name: ways(sides, name) for name in peers}
        seconds = by_turns(sides, self.repeats)
        for way in ("ours", "ours fresh", "ours out"):
            point = {"what": "look-up", "bits": bits, "threads": count, "ids": kind, "output": way}
            self.record(point, figures(seconds, way, names))

    def pooled(
        self, bits: int, ours: CompressedTable, peers: dict[str, FBGEMM], quantized: Any, at: tuple[int, str, int]
    ) -> None:
        count, kind, bag = at
        sets = self.sets[kind, bag * BAGS[bag]]
        starts = np.arange(0, bag * BAGS[bag], bag)
        bounds = torch.arange(0, bag * BAGS[bag] + 1, bag)
        sides: Sides = {
            "ours": lambda r: ours.bag(sets[r]["numpy"], starts),
            "torch": lambda r: quantized(sets[r][64], bounds),
        }
        for name, peer in peers.items():
            sides |= fbgemm_sides(name, peer, sets, bag)
        for call in list(sides.values())[1:]:
            agree(sides["ours"](0), call(0), bits, bag)
        names = {name: ways(sides, name) for name in [*peers, "torch"]}
        if count == 1:
            sides |= self.ceiling.sides(ours, sets)
        seconds = by_turns(sides, self.repeats)
        found = figures(seconds, "ours", names)
        if count == 1:
            fastest = best(seconds, [name for name in sides if name.startswith("ceiling")])
            found["share of the ceiling"] = ratio(seconds[fastest], seconds["ours"]) | {"way": fastest}
        self.record({"what": f"bags of {bag}", "bits": bits, "threads": count, "ids": kind}, found)

    def against_two_bits(self) -> None:
        """1 bit and trits, which have no peer, against our own 2 bits."""
        specs = {2: WIDTHS[2]} | OURS_ALONE
        tables = {bits: compressed(self.rows, self.columns, spec) for bits, spec in specs.items()}
        for count, kind in self.points():
            seconds = by_turns(lookups(tables, self.sets[kind, BATCH]), self.repeats)
            for bits, spec in OURS_ALONE.items():
                point = {"what": "look-up", "bits": spec, "threads": count, "ids": kind}
                self.record(point, figures(seconds, str(bits), {"ours at 2 bits": ["2"]}))

    def against_floats(self) -> None:
        """8 and 4 bits against torch's embedding and embedding bag on float32."""
        weight = torch.empty((self.rows, self.columns))
        for start, block in blocks(self.rows, self.columns):
            weight[start : start + len(block)] = torch.from_numpy(block)
        tables = {bits: compressed(self.rows, self.columns, WIDTHS[bits]) for bits in (8, 4)}
        for count, kind in self.points():
            of = {
                "look-up": float_lookups(weight, self.sets[kind, BATCH]) | lookups(tables, self.sets[kind, BATCH]),
                "bags of 20": bags_of_20(weight, tables, self.sets[kind, 20 * BAGS[20]]),
            }
            for what, sides in of.items():
                seconds = by_turns(sides, self.repeats)
                for bits in tables:
                    point = {"what": what, "bits": bits, "threads": count, "ids": kind}
                    self.record(point, figures(seconds, str(bits), {"torch float32": ["float"]}))


def ways(sides: Sides, name: str) -> list[str]:
    """The sides that are ways to call the peer of this name."""
    return [side for side in sides if side == name or (side.startswith(name) and " on " not in side[len(name) :])]


def lookups(tables: dict[int, CompressedTable], sets: list[dict[str, Any]]) -> Sides:
    """Unpooled look-ups of tables of our own."""
    return {str(bits): lambda r, t=table: t.lookup(sets[r]["numpy"]) for bits, table in tables.items()}


def float_lookups(weight: torch.Tensor, sets: list[dict[str, Any]]) -> Sides:
    """What nn.Embedding does."""
    return {"float": lambda r: torch.nn.functional.embedding(sets[r][64], weight)}


def bags_of_20(weight: torch.Tensor, tables: dict[int, CompressedTable], sets: list[dict[str, Any]]) -> Sides:
    """Sums of 20 rows, of ours and of floats."""
    starts = np.arange(0, 20 * BAGS[20], 20)
    bounds = torch.from_numpy(starts)
    sides: Sides = {str(bits): lambda r, t=table: t.bag(sets[r]["numpy"], starts) for bits, table in tables.items()}
    sides["float"] = lambda r: torch.nn.functional.embedding_bag(sets[r][64], weight, bounds, mode="sum")
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 4, 2])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--name", default="lookups", help="of the result file")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    results: list[dict[str, Any]] = []
    for columns in arguments.columns:
        benchmark = Benchmark(arguments.rows, columns, arguments.repeats)
        for bits in arguments.bits:
            benchmark.against_fbgemm(bits)
        benchmark.against_two_bits()
        benchmark.against_floats()
        results += benchmark.results
        write(arguments.name, provenance("numpy", "torch") | {"rows": arguments.rows, "results": results})


if __name__ == "__main__":
    main()
