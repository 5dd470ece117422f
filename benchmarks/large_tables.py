"""Tables larger than is comfortable: a file of 8.2 GB to 4 bits in bounded memory, and a table of more than 2^31 codes.

python benchmarks/large_tables.py --directory DIR   (needs 12 GB of disk there)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from record import provenance, write

import pintsize as pz
from pintsize import kernels

STREAMED = (16_000_000, 128)
MANY_CODES = (80_000_000, 32)
MIB = 2**20


def make_file(path: Path, shape: tuple[int, int], seed: int = 0) -> None:
    """A float32 .npy of standard normal rows, written in blocks."""
    if path.exists():
        return
    block = 1 << 18
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        np.lib.format.write_array_header_2_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for start in range(0, shape[0], block):
            rng = np.random.default_rng([seed, start])
            file.write(rng.standard_normal((min(block, shape[0] - start), shape[1]), np.float32).tobytes())
    part.rename(path)


def agreement(source: Path, bundle: Path, spec: str) -> float:
    """Largest difference of served rows from those that the NumPy twin makes of the same source rows."""
    table = next(iter(pz.open_source(source).values()))
    compressed = next(iter(pz.load(bundle).values()))
    n = table.num_embeddings
    rows = np.unique(np.concatenate([[0, 1, n - 2, n - 1], np.random.default_rng(1).integers(0, n, 2000)]))
    served = compressed.lookup(rows)
    encoder = pz.method(spec).fit(table)
    before = kernels.use(None)
    twin = encoder.encode(table.take(rows)).lookup(np.arange(len(rows)))
    kernels.use(before)
    return float(np.abs(served - twin).max())


def peak_rss_mib() -> float:
    """Most memory this process has held; getrusage would count what its parent held, too."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def one(source: Path, bundle: Path, spec: str) -> dict[str, float]:
    started = time.perf_counter()
    start_rss = peak_rss_mib()
    result = pz.compress_source(source, spec, out=bundle)
    seconds = time.perf_counter() - started
    peak = peak_rss_mib()
    table = next(iter(result.values()))
    return {
        "seconds": seconds,
        "peak_rss_mib": peak,
        "start_rss_mib": start_rss,
        "output_mib": table.nbytes / MIB,
        "rows_per_second": table.num_embeddings / seconds,
    }


def in_child(*words: str) -> dict[str, float]:
    """A measurement in a process of its own, so that its peak memory is its own."""
    run = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--one", nargs=3, metavar=("SOURCE", "BUNDLE", "SPEC"))
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(Path(arguments.one[0]), Path(arguments.one[1]), arguments.one[2])))
        return
    results = []
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for shape, spec in ((STREAMED, "integer:bits=4"), (MANY_CODES, "integer:bits=8")):
        source = arguments.directory / f"{shape[0]}x{shape[1]}.npy"
        bundle = arguments.directory / f"{shape[0]}x{shape[1]}.bundle"
        make_file(source, shape)
        figures = in_child("--directory", str(arguments.directory), "--one", str(source), str(bundle), spec)
        figures["largest_difference_from_twin"] = agreement(source, bundle, spec)
        results.append({"rows": shape[0], "columns": shape[1], "method": spec, **figures})
        print(json.dumps(results[-1], indent=1))
    print(write("large_tables", {**provenance("numpy"), "results": results}))


if __name__ == "__main__":
    main()
