"""Time and peak memory of `paired` against the number of users.

    python benchmarks/paired_scaling.py

Tables are generated: power-law spectra, the same items for every size. Each size runs in a process of its own, so that
its peak memory is its own. A straight line is fitted to time and memory, and its worst relative miss printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from record import provenance, write

from pintsize.methods._paired_fit import fit_pair

SIZES = [30_000, 100_000, 300_000, 1_000_000, 3_000_000]


def generated(users: int, items: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """User and item tables, float32, made block by block."""
    decay = (np.arange(1, columns + 1) ** -0.5).astype(np.float32)
    left = np.empty((users, columns), np.float32)
    rng = np.random.default_rng(0)
    for start in range(0, users, 65536):
        part = left[start : start + 65536]
        part[:] = rng.standard_normal(part.shape, np.float32) * decay
    return left, np.random.default_rng(1).standard_normal((items, columns), np.float32) * decay


def one(users: int, items: int, columns: int) -> dict[str, Any]:
    """Fit one size in this process; memory is the peak over that of the tables alone."""
    left, right = generated(users, items, columns)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    fit_pair(
        left, right, columns=2 * columns, levels=2, middle=False, neighbours=64, weight=100.0, relist=True, rounds=2
    )
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "users": users,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "tables_mib": left.nbytes / 2**20,
        "peak_mib": peak / 1024,
        "over_tables_mib": (peak - before) / 1024,
    }


def line(users: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """The line of least relative error, and the worst relative miss of it."""
    weights = 1 / values
    design = np.stack([np.ones(len(users)), users], 1) * weights[:, None]
    (start, slope), *_ = np.linalg.lstsq(design, np.ones(len(users)), rcond=None)
    miss = np.abs((start + slope * users) / values - 1).max()
    return {"start": float(start), "per_million_users": float(slope * 1e6), "worst_miss": float(miss)}


def main() -> None:
    """Run every size, print the table and the lines, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=SIZES)
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.one, arguments.items, arguments.columns)))
        return

    rows: list[dict[str, Any]] = []
    for users in arguments.users:
        command = [sys.executable, __file__, "--one", str(users), "--items", str(arguments.items)]
        done = subprocess.run(
            [*command, "--columns", str(arguments.columns)], capture_output=True, text=True, check=True
        )
        rows.append(json.loads(done.stdout))
        print(
            f"{users:9,d} users  {rows[-1]['seconds']:7.1f} s  {rows[-1]['cpu_seconds']:7.1f} s of processors  "
            f"{rows[-1]['over_tables_mib']:7.0f} MiB over the tables' {rows[-1]['tables_mib']:.0f}",
            flush=True,
        )
    counts = np.array([row["users"] for row in rows], float)
    fits = {
        name: line(counts, np.array([row[name] for row in rows])) for name in ("seconds", "cpu_seconds", "peak_mib")
    }
    for name, fit in fits.items():
        print(
            f"{name}: {fit['start']:.1f} + {fit['per_million_users']:.1f} a million users, "
            f"at most {fit['worst_miss']:.0%} off"
        )
    about = provenance("numpy") | {"items": arguments.items, "columns": arguments.columns}
    write("paired_scaling", about | {"results": rows, "lines": fits})


if __name__ == "__main__":
    main()
