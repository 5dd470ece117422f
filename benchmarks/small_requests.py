"""Small requests, and how long a fresh process takes to its first row.

    python benchmarks/small_requests.py          (needs fbgemm-gpu-cpu)

32 rows of a table of 1,000,000 x 64 at 8 bits, warm, NumPy to NumPy and torch to torch, against torch's embedding on
float32 and FBGEMM's operator; each figure is the median over repeats of the mean of a thousand calls, the sides by
turns. Then, each in fresh processes by turns: importing this package over NumPy alone, and over torch alone; a bundle
opened and its first row returned; and the command line's help.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alternating import by_turns, ratio
from lookup_peers import FBGEMM
from record import provenance, write

import pintsize as pz
from pintsize.kernels import native

ROWS, COLUMNS, ASKED, CALLS = 1_000_000, 64, 32, 1000
_CLOCK = "import time; start = time.perf_counter()\n"
_SAY = "\nprint(time.perf_counter() - start)"
PROCESSES = {
    "import torch": _CLOCK + "import torch" + _SAY,
    "import torch, pintsize": _CLOCK + "import torch, pintsize" + _SAY,
    "import pintsize after torch": "import torch\n" + _CLOCK + "import pintsize" + _SAY,
    "first row of a bundle, NumPy": _CLOCK + "import pintsize as pz; pz.load(PATH)['t'].lookup([123456])" + _SAY,
    "first row of a bundle, after NumPy": "import numpy as np\n"
    + _CLOCK
    + "import pintsize as pz; pz.load(PATH)['t'].lookup(np.array([123456]))"
    + _SAY,
    "first row of a bundle, after torch": "import torch\n"
    + _CLOCK
    + "import pintsize as pz; pz.load(PATH)['t'].lookup(torch.tensor([123456]))"
    + _SAY,
}


def many(call: Callable[[], Any]) -> Callable[[int], None]:
    """A side that calls a thousand times."""

    def side(_: int) -> None:
        for _ in range(CALLS):
            call()

    return side


def warm(repeats: int) -> list[dict[str, Any]]:
    """Microseconds of a request of every side, and ratios to torch and FBGEMM."""
    rng = np.random.default_rng(0)
    floats = rng.standard_normal((ROWS, COLUMNS), np.float32)
    ours = pz.compress(floats, "integer:bits=8")
    peer = FBGEMM(ROWS, COLUMNS, 8, huge_pages=False)
    for start in range(0, ROWS, 1 << 18):
        peer.fill(start, floats[start : start + (1 << 18)])
    weight = torch.from_numpy(floats)
    rows = rng.integers(0, ROWS, ASKED)
    asked, narrow = torch.from_numpy(rows), torch.from_numpy(rows.astype(np.int32))
    sides = {
        "ours, NumPy to NumPy": lambda: ours.lookup(rows),
        "ours, torch to torch": lambda: ours.lookup(asked),
        "torch embedding, float32": lambda: torch.nn.functional.embedding(asked, weight),
        "FBGEMM int64": peer.calls(asked, None)["unpooled op"],
        "FBGEMM int32": peer.calls(narrow, None)["unpooled op"],
        "FBGEMM int32, pooled": peer.calls(narrow, None)["op"],
    }
    for name, side in sides.items():
        worst = float(np.abs(np.asarray(side()) - floats[rows]).max())
        if worst > 0.1:
            raise SystemExit(f"{name} does not agree: {worst}")
    seconds = by_turns({name: many(side) for name, side in sides.items()}, repeats)
    fastest = min((name for name in sides if name.startswith("FBGEMM")), key=lambda n: statistics.median(seconds[n]))
    found = []
    for name in sides:
        each = np.array(seconds[name]) / CALLS * 1e6
        found.append(
            {
                "side": name,
                "microseconds": float(np.median(each)),
                "low": float(np.quantile(each, 0.25)),
                "high": float(np.quantile(each, 0.75)),
                "torch_ratio": ratio(seconds["torch embedding, float32"], seconds[name])["ratio"],
                "fbgemm_ratio": ratio(seconds[fastest], seconds[name])["ratio"],
            }
        )
    return found


def fresh(repeats: int) -> list[dict[str, Any]]:
    """Milliseconds of fresh processes, by turns."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        floats = np.random.default_rng(0).standard_normal((ROWS, COLUMNS), np.float32)
        pz.save({"t": pz.compress(floats, "integer:bits=8")}, path)
        taken: dict[str, list[float]] = {name: [] for name in [*PROCESSES, "pintsize --help"]}
        for _ in range(repeats + 1):
            for name, code in PROCESSES.items():
                words = [sys.executable, "-c", code.replace("PATH", repr(str(path)))]
                taken[name].append(float(subprocess.run(words, capture_output=True, text=True, check=True).stdout))
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "pintsize", "--help"], capture_output=True, check=True)
            taken["pintsize --help"].append(time.perf_counter() - start)
    taken = {name: seconds[1:] for name, seconds in taken.items()}  # the first fills the page cache
    return [
        {
            "process": name,
            "milliseconds": statistics.median(seconds) * 1e3,
            "low": float(np.quantile(seconds, 0.25)) * 1e3,
            "high": float(np.quantile(seconds, 0.75)) * 1e3,
        }
        for name, seconds in taken.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    native().set_threads(1)
    requests, processes = warm(arguments.repeats), fresh(arguments.repeats)
    for row in requests:
        print(f"{row['side']:28s} {row['microseconds']:7.2f} µs  ({row['low']:.2f} to {row['high']:.2f})")
    for row in processes:
        print(f"{row['process']:36s} {row['milliseconds']:7.1f} ms  ({row['low']:.1f} to {row['high']:.1f})")
    content = provenance("numpy", "torch", "fbgemm-gpu-cpu") | {"requests": requests, "processes": processes}
    print(write("small_requests", content).name)


if __name__ == "__main__":
    main()
