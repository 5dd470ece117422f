"""Rows compressed a second, against FBGEMM and faiss, and time and memory against the number of rows.

    python benchmarks/compression_speed.py           (10,000,000 x 64; needs fbgemm-gpu-cpu, and 14 GB of memory)
    python benchmarks/compression_speed.py --lines   (1, 10 and 80 million rows of a file; needs 21 GB of disk)

Both sides start from the same float32 rows in memory. "fresh": each returns a new result, as its user gets it.
"streamed": chunks of 262,144 rows, whose results are dropped as a writer would drop them; the peer is given the same
chunks. Medians of alternating repeats, one and two threads each. Codes are compared by the error that they leave: ours
may be at most 5% above the peer's.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from alternating import by_turns, ratio
from numpy.typing import NDArray
from record import provenance, write

import pintsize as pz
from pintsize.kernels import native
from pintsize.table import EmbeddingTable

CHUNK = 1 << 18
COLUMNS = 64
LINES = (1_000_000, 10_000_000, 80_000_000)
LINE_SPECS = ("integer:bits=4", "rabitq:bits=2", "pq:codebooks=8", "svd:rank=16")
# What is wanted of each, in the order of the table: our spec, FBGEMM's bits.
PAIRS = [("integer:bits=8", 8), ("integer:bits=4", 4), ("rotated:bits=2", 2), ("rabitq:bits=2", 2)]

Floats = NDArray[np.float32]


def fbgemm(bits: int) -> tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]:
    """FBGEMM's quantizer and its way back."""
    import fbgemm_gpu  # noqa: F401  (registers the operators)

    ops = torch.ops.fbgemm
    if bits == 8:
        return ops.FloatToFused8BitRowwiseQuantized, ops.Fused8BitRowwiseQuantizedToFloat
    return (
        lambda rows: ops.FloatToFusedNBitRowwiseQuantizedSBHalf(rows, bits),
        lambda codes: ops.FusedNBitRowwiseQuantizedSBHalfToFloat(codes, bits),
    )


def error(rows: Floats, served: Floats) -> float:
    """Mean squared error."""
    return float(np.mean((rows - served) ** 2))


def threads(count: int) -> None:
    """The same number for every side."""
    torch.set_num_threads(count)
    native().set_threads(count)
    faiss.omp_set_num_threads(count)


def of_chunks(encode: Callable[[Any], Any], rows: Any) -> None:
    """Encodes chunk by chunk and keeps nothing."""
    for start in range(0, len(rows), CHUNK):
        encode(rows[start : start + CHUNK])


def against_fbgemm(rows: Floats, repeats: int) -> list[dict[str, Any]]:
    """Scalar codes, at each width, fresh and streamed."""
    shared = torch.from_numpy(rows)
    results = []
    for spec, bits in PAIRS:
        encoder = pz.method(spec).fit(EmbeddingTable(rows))  # type: ignore[attr-defined]
        theirs, back = fbgemm(bits)
        some = rows[:10_000]
        ours_error = error(some, encoder.encode(some).lookup(np.arange(len(some))))
        theirs_error = error(some, back(theirs(shared[: len(some)])).numpy()[:, :COLUMNS])
        if not ours_error <= 1.05 * theirs_error:
            raise SystemExit(f"{spec}: error {ours_error} against {theirs_error}")
        for count in (1, 2):
            threads(count)
            for way in ("fresh", "streamed"):
                sides = {
                    "ours": lambda _, encoder=encoder: encoder.encode(rows),
                    "fbgemm": lambda _, theirs=theirs: theirs(shared),
                }
                if way == "streamed":
                    sides = {
                        "ours": lambda _, encoder=encoder: of_chunks(encoder.encode, rows),
                        "fbgemm": lambda _, theirs=theirs: of_chunks(theirs, shared),
                    }
                seconds = by_turns(sides, repeats)
                results.append(
                    {
                        "method": spec, "peer": f"FBGEMM {bits} bits", "threads": count, "output": way,
                        "rows_a_second": len(rows) / statistics.median(seconds["ours"]),
                        "error_of_peer": ours_error / theirs_error, **ratio(seconds["fbgemm"], seconds["ours"]),
                    }
                )  # fmt: skip
                print(results[-1], flush=True)
    return results


def against_faiss(rows: Floats, repeats: int) -> list[dict[str, Any]]:
    """Product quantization: the codes of the same codebooks, by both."""
    rows = rows[: min(len(rows), 1_000_000)]
    results = []
    for codebooks in (8, 16):
        encoder = pz.method(f"pq:codebooks={codebooks}").fit(EmbeddingTable(rows))  # type: ignore[attr-defined]
        quantizer = faiss.ProductQuantizer(COLUMNS, codebooks, 8)
        faiss.copy_array_to_vector(encoder.books.reshape(-1), quantizer.centroids)
        framed = encoder.frame.enter(rows)
        ours = encoder.encode(rows[:10_000]).records[:, :codebooks]
        same = float((ours == quantizer.compute_codes(framed[:10_000])).mean())
        if same < 0.999:
            raise SystemExit(f"pq: {same:.2%} of the codes agree")
        for count in (1, 2):
            threads(count)
            seconds = by_turns(
                {
                    "ours": lambda _, encoder=encoder: encoder.encode(rows),
                    "faiss": lambda _, quantizer=quantizer, framed=framed: quantizer.compute_codes(framed),
                },
                repeats,
            )
            results.append(
                {
                    "method": f"pq:codebooks={codebooks}", "peer": "faiss ProductQuantizer", "threads": count,
                    "output": "fresh", "rows_a_second": len(rows) / statistics.median(seconds["ours"]),
                    "codes_alike": same, **ratio(seconds["faiss"], seconds["ours"]),
                }
            )  # fmt: skip
            print(results[-1], flush=True)
    return results


def one_line(path: Path, count: int, spec: str) -> dict[str, Any]:
    """A file's first rows compressed, in a process of its own: seconds and peak memory, the result included."""
    rows = np.load(path, mmap_mode="r")[:count]
    start = time.perf_counter()
    table = pz.compress(EmbeddingTable(rows), spec)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": count, "method": spec, "seconds": seconds, "peak_mib": peak, "output_mib": table.nbytes / 2**20}


def lines(folder: Path) -> list[dict[str, Any]]:
    """Time and memory at each size."""
    path = folder / "rows.npy"
    if not path.exists():
        file = np.lib.format.open_memmap(path, "w+", np.float32, (LINES[-1], COLUMNS))
        for start in range(0, LINES[-1], CHUNK):
            part = file[start : start + CHUNK]
            part[:] = np.random.default_rng(start).standard_normal(part.shape, np.float32)
        file.flush()
        del file
    found = []
    for spec in LINE_SPECS:
        for count in LINES:
            words = [sys.executable, __file__, "--one", str(path), str(count), spec]
            found.append(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout))
            print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--lines", action="store_true", help="time and memory against rows, instead of ratios")
    parser.add_argument("--folder", type=Path, help="where the file of --lines goes; a temporary folder by default")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        path, count, spec = arguments.one
        print(json.dumps(one_line(Path(path), int(count), spec)))
        return
    if arguments.lines:
        with tempfile.TemporaryDirectory() as folder:
            found = lines(arguments.folder or Path(folder))
        write("compression_lines", provenance("numpy", "faiss-cpu") | {"results": found})
        return
    torch.set_grad_enabled(False)
    rows = np.empty((arguments.rows, COLUMNS), np.float32)
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        part[:] = np.random.default_rng(start).standard_normal(part.shape, np.float32)
    results = against_fbgemm(rows, arguments.repeats) + against_faiss(rows, arguments.repeats)
    versions = provenance("numpy", "torch", "fbgemm-gpu-cpu", "faiss-cpu")
    write("compression_speed", versions | {"rows": arguments.rows, "results": results})


if __name__ == "__main__":
    main()
