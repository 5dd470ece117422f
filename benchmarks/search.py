"""Top-20 of compressed rows against flat, quantized and graph indexes of other packages.

    python benchmarks/search.py --data DIRECTORY_OF_GOWALLA

Three data sets of 1,000,000 x 64 (an easy mixture, one whose clusters overlap, items of Gowalla tiled with noise) and
the two mixtures at 256 columns; 1,024 queries, one query alone; one thread and two. Each data set and number of threads
is a process of its own, in which all sides take turns. Recall is counted against the exact top 20 of the float rows.
"Flat" is the fastest float32 search of all that `search_peers.flat_searches` knows, found anew in every process. A peer
counts at the least effort that comes within 0.02 of the recall of our 8-bit scan: peers round rows to 8 bits with one
step for all, which costs them about 0.01. Its time is then compared; what never gets there is listed with the best it
reached.

Results are written after every process: one that they hold is not repeated. Peers that are not installed are left out
and named.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import RESULTS, provenance, write

Floats = NDArray[np.float32]
K = 20
QUERIES = 1024
_SLACK = 0.02  # of recall, in favour of peers
_SLOW = 4  # peers that take this many times as long as ours are timed three times only


def mixture(rows: int, columns: int, noise: float, seed: int = 0) -> tuple[Floats, Floats]:
    """Rows and queries around 2,000 centres."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((2000, columns)).astype(np.float32)

    def drawn(n: int) -> Floats:
        out = rng.standard_normal((n, columns), dtype=np.float32)
        out *= np.float32(noise)
        out += centres[rng.integers(0, len(centres), n)]
        return out

    return drawn(rows), drawn(QUERIES)


def gowalla(rows: int, columns: int, folder: Path) -> tuple[Floats, Floats]:
    """Spectral items of Gowalla, repeated with noise of a tenth of their length; queries are users."""
    from pintsize.lab.datasets.gowalla import read_gowalla
    from pintsize.lab.spectral import spectral_embedding

    users, items = spectral_embedding(read_gowalla(folder).train.matrix(), columns)
    rng = np.random.default_rng(0)
    tiled = items[np.arange(rows) % len(items)]
    length = np.linalg.norm(tiled, axis=1, keepdims=True) / np.sqrt(columns)
    tiled = tiled + 0.1 * length * rng.standard_normal(tiled.shape, dtype=np.float32)
    return tiled.astype(np.float32), np.ascontiguousarray(users[rng.permutation(len(users))[:QUERIES]])


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean([len(set(a) & set(b)) / truth.shape[1] for a, b in zip(found, truth, strict=True)]))


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alternated(calls: dict[str, Callable[[], Any]], repeats: int, few: set[str]) -> dict[str, list[float]]:
    """Seconds of each call, in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats):
        for name, call in calls.items():
            if name not in few or repeat < 3:
                times[name].append(seconds(call))
    return times


def against(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """How many times as long theirs takes: the median, and the quartiles over repeats side by side."""
    ratios = np.array(theirs) / np.array(ours[: len(theirs)])
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {"times": float(middle), "low": float(low), "high": float(high), "repeats": len(ratios)}


def best_flat(rows: Floats, queries: Floats, threads: int) -> tuple[str, Callable[[], Any]]:
    from search_peers import flat_searches

    tried = {}
    for name, search in flat_searches(rows, threads):
        if len(queries) == 1 or "one query" not in name:
            call = lambda search=search: search(queries, K)  # noqa: E731
            call()
            tried[name] = (min(seconds(call) for _ in range(5 if len(queries) == 1 else 1)), call)
    name = min(tried, key=lambda key: tried[key][0])
    return name, tried[name][1]


def peers(rows: Floats, cache: Path, threads: int, graphs: bool, missing: list[str]) -> Iterator[Any]:
    from search_peers import faiss_peers, turbovec_peers, usearch_peers

    for name, made in (
        ("faiss", lambda: faiss_peers(rows, cache, threads)),
        ("usearch", lambda: usearch_peers(rows, cache, threads, graphs)),
        ("turbovec", lambda: turbovec_peers(rows)),
    ):
        try:
            yield from made()
        except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            missing.append(f"{name}: {type(error).__name__}: {error}"[:300])


def measured(rows: Floats, queries: Floats, arguments: argparse.Namespace) -> dict[str, Any]:
    """All that is measured on one data set at one number of threads."""
    import pintsize as pz
    from pintsize.kernels import _native
    from pintsize.search import TwoStage

    threads, repeats = arguments.threads, arguments.repeats
    _native.set_threads(threads)
    wide = rows.shape[1] > 64
    flat_name, flat = best_flat(rows, queries, threads)
    truth = np.asarray(flat())
    table = pz.compress(rows, "integer:bits=8")
    search = TwoStage(pz.compress(rows, "rabitq:bits=1"), table)
    plan = search.calibrate(queries[: QUERIES // 2], K, 0.98)
    unseen = queries[QUERIES // 2 :]
    ours, exact = "pintsize, 8 bits, exact", lambda: table.topk(queries, K)
    calls: dict[str, Callable[[], Any]] = {
        ours: exact,
        "pintsize, two stages, min_recall=0.98": lambda: search.topk(queries, K, min_recall=0.98),
        "Flat": flat,
    }
    recalls = {
        ours: recall(exact()[1], truth),
        "pintsize, two stages, min_recall=0.98": recall(search.topk(queries, K, min_recall=0.98)[1], truth),
        "Flat": 1.0,
    }
    nbytes = {ours: table.nbytes / len(rows), "Flat": 4.0 * rows.shape[1]}
    nbytes["pintsize, two stages, min_recall=0.98"] = search.nbytes / len(rows)
    short, missing = [], []
    wanted = recalls[ours] - _SLACK
    if not wide:
        for peer in peers(rows, arguments.cache, threads, arguments.graphs, missing):
            best = 0.0
            for setting, run in peer.searches:
                got = recall(run(queries, K), truth)
                best = max(best, got)
                if got >= wanted:
                    name = f"{peer.name} {setting}".strip()
                    calls[name] = lambda run=run: run(queries, K)
                    recalls[name], nbytes[name] = got, peer.bytes_a_row
                    break
            else:
                short.append({"name": peer.name, "recall": best, "bytes_a_row": peer.bytes_a_row})
    once = {name: seconds(call) for name, call in calls.items()}
    few = {name for name, took in once.items() if took > _SLOW * once[ours] and name != "Flat"}
    times = alternated(calls, repeats, few)
    one = queries[:1].copy()
    one_name, one_flat = best_flat(rows, one, threads)
    alone = alternated({ours: lambda: table.topk(one, K), "Flat": one_flat}, max(repeats, 15), set())
    own, both = table.topk(unseen, K)[1], search.topk(unseen, K, min_recall=0.98)[1]
    return {
        "rows": len(rows), "columns": rows.shape[1], "threads": threads, "queries": len(queries),
        "flat": flat_name, "flat_one": one_name, "plan": plan.reason, "recall_asked": wanted,
        "recall_of_two_stages_on_unseen_queries": recall(both, own),
        "sides": [
            {
                "name": name, "seconds": float(np.median(took)), "recall": recalls[name], "bytes_a_row": nbytes[name],
                "against_exact": against(times[ours], took),
            }
            for name, took in times.items()
        ],
        "one_query": {
            "seconds": float(np.median(alone[ours])), "flat_seconds": float(np.median(alone["Flat"])),
            "against_exact": against(alone[ours], alone["Flat"]),
        },
        "short_of_recall": short, "left_out": missing,
    }  # fmt: skip


def shown(key: str, run: dict[str, Any]) -> Iterator[str]:
    yield f"{key}: {run['rows']:,} x {run['columns']}, {run['queries']} queries, Flat is {run['flat']}"
    for side in run["sides"]:
        ratio = side["against_exact"]
        yield (
            f"  {side['seconds'] * 1e3:9.1f} ms  {ratio['times']:6.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}) "
            f"times ours  recall {side['recall']:.4f}  {side['bytes_a_row']:6.1f} bytes a row  {side['name']}"
        )
    one, ratio = run["one_query"], run["one_query"]["against_exact"]
    yield (
        f"  one query: {one['seconds'] * 1e3:.2f} ms, Flat ({run['flat_one']}) {one['flat_seconds'] * 1e3:.2f} ms, "
        f"{ratio['times']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}) times"
    )
    kept = run["recall_of_two_stages_on_unseen_queries"]
    yield f"  two stages: {run['plan']}; recall on unseen queries {kept:.4f}"
    for side in run["short_of_recall"]:
        yield f"  short of {run['recall_asked']:.3f}: {side['name']} reaches {side['recall']:.3f}"
    for name in run["left_out"]:
        yield f"  left out: {name}"


def child(arguments: argparse.Namespace) -> None:
    name, columns = arguments.child.split("/")
    noise = {"easy": 0.35, "overlapping": 1.5}
    if name in noise:
        rows, queries = mixture(arguments.rows, int(columns), noise[name])
    else:
        rows, queries = gowalla(arguments.rows, int(columns), arguments.data)
    print(json.dumps(measured(rows, queries, arguments)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="directory with Gowalla's train.parquet; without it two data sets")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", default="", help="runs whose name begins so, e.g. easy/64/1")
    parser.add_argument("--graphs", action="store_true", help="build usearch's graphs too: minutes a data set")
    parser.add_argument("--cache", type=Path, help="where indexes are kept between processes")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    name = "search" if arguments.rows == 1_000_000 else f"search_{arguments.rows}"
    path = RESULTS / f"{name}.json"
    runs: dict[str, Any] = json.loads(path.read_text())["runs"] if path.exists() else {}
    sets = ["easy/64", "overlapping/64", *(["gowalla/64"] if arguments.data else []), "easy/256", "overlapping/256"]
    for data in sets:
        with tempfile.TemporaryDirectory() as scratch:
            for threads in (1, 2):
                key = f"{data}/{threads}"
                if not key.startswith(arguments.only):
                    continue
                if key not in runs:
                    runs[key] = run_child(arguments, data, threads, arguments.cache or Path(scratch))
                    about = provenance("numpy", "torch", "faiss-cpu")
                    write(name, about | {"runs": runs, "results": list(flattened(runs))})
                print(*shown(key, runs[key]), sep="\n", flush=True)


def run_child(arguments: argparse.Namespace, data: str, threads: int, cache: Path) -> dict[str, Any]:
    kept = cache / data.replace("/", "-")
    kept.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--child", data, "--threads", str(threads), "--cache", str(kept)]
    command += ["--rows", str(arguments.rows), "--repeats", str(arguments.repeats)]
    command += ["--graphs"] if arguments.graphs else []
    command += ["--data", str(arguments.data)] if arguments.data else []
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(command, env=os.environ | counts, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result | {"commit": provenance()["commit"]}


def flattened(runs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row a side, for the tables of the docs."""
    for key, run in runs.items():
        about = {"data": key.split("/")[0], "columns": run["columns"], "threads": run["threads"]}
        for side in run["sides"]:
            ratio = side["against_exact"]
            spread = f"{ratio['low']:.2f} to {ratio['high']:.2f}"
            yield about | {
                "queries": run["queries"], "side": side["name"], "milliseconds": 1e3 * side["seconds"],
                "recall": side["recall"], "bytes_a_row": side["bytes_a_row"], "times": ratio["times"], "spread": spread,
            }  # fmt: skip
        one, ratio = run["one_query"], run["one_query"]["against_exact"]
        yield about | {
            "queries": 1, "side": "Flat", "milliseconds": 1e3 * one["flat_seconds"], "recall": 1.0,
            "bytes_a_row": 4.0 * run["columns"], "times": ratio["times"],
            "spread": f"{ratio['low']:.2f} to {ratio['high']:.2f}",
        }  # fmt: skip


if __name__ == "__main__":
    main()
