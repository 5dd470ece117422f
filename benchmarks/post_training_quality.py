"""Ranking quality against size, after training: `paired` and the best textbook method at each size.

    python benchmarks/post_training_quality.py --data DIRECTORY_OF_GOWALLA

Users and items are both compressed and read back from a saved bundle, whose files are what is counted; every unseen
item of every test user is ranked. Shares are of the Recall@20 and NDCG@20 of the same seed's float32 tables of 256
columns (64 for ALS). Settings are chosen on a tenth of the training interactions held out (``--holdout``): those of the
wide source and of ALS at 16 times (columns with and without a middle matrix, levels, weights of 25 to 400, neighbours
of 32 to 128; powers of the singular values of 1 and 2), and that lists keep what was listed once. The middle matrix
and the number of rounds of spectral-256 at 64 and 128 times, and of ALS at 32 times, are not so chosen: they were taken
after results of the test part had been seen.

OPQ stops at 32 times: beyond, its rotation is larger than what is left for the smaller table; so are PQ's 256 codewords
at 128 times.
Textbook methods all run with the first seed; with the others, those that were best at their size with the first.

Results are written after every run: a run that they hold is not repeated.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import RESULTS, provenance, write

import pintsize as pz
from pintsize.evaluation.ranking import ranking_metrics
from pintsize.lab.datasets.gowalla import read_gowalla
from pintsize.lab.datasets.interactions import Split, random_split
from pintsize.lab.spectral import spectral_embedding

Tables = tuple[NDArray[np.float32], NDArray[np.float32]]

# At each nominal ratio to float32, of users and items together: `paired`, then what others would reach for.
SPECTRAL = {
    8: [
        "paired:columns=508,levels=4,relist=false,rounds=3",
        "rabitq:bits=4",
        "integer:bits=4,clip=mse",
        "pq:ratio=8",
        "svd:ratio=8",
    ],
    16: [
        "paired:columns=252,levels=4,relist=false,rounds=5",
        "rabitq:bits=2",
        "ternary",
        "pq:ratio=16",
        "opq:ratio=16",
        "svd:ratio=16",
    ],
    20: ["paired:columns=404,rounds=6", "rabitq:bits=1", "ternary", "pq:ratio=20", "opq:ratio=20", "svd:ratio=20"],
    32: ["paired:columns=248,rounds=10", "rabitq:bits=1", "binary", "pq:ratio=32", "opq:ratio=32"],
    64: [
        "paired:columns=116,middle=true,rounds=16",
        "pq:ratio=64",
        "pq:ratio=64,codewords=64",
        "mixed_precision:ratio=64",
    ],
    128: ["paired:columns=56,middle=true,rounds=16", "pq:ratio=128,codewords=64", "mixed_precision:ratio=128"],
}
WIDE = {36: ["paired:columns=220,rounds=12"], 64: ["paired:columns=120,rounds=16"]}
ALS = {
    16: ["paired:columns=75,levels=3,weight=400,rounds=16", "rabitq:bits=1", "pq:ratio=16", "opq:ratio=16"],
    32: ["paired:columns=56,middle=true,weight=400,rounds=16", "pq:ratio=32", "opq:ratio=32"],
}
WIDE_POWER = 2.0  # of singular values
_SLACK = 0.93  # a textbook method counts for a size even where its float scales make it this much larger
ALS_SETTINGS = {"regularization": 1.0, "alpha": 40.0, "iterations": 15}


@dataclass(frozen=True)
class Source:
    """Tables to compress, and those that shares are measured against."""

    name: str
    specs: dict[int, list[str]]
    embed: Callable[[int], Tables]
    against: str
    against_columns: int


def als_embedding(train: Any, columns: int, seed: int) -> Tables:
    """User and item vectors by implicit-feedback ALS (Hu et al. 2008); settings chosen on held-out training pairs."""
    als: Any = importlib.import_module("implicit.als")
    model = als.AlternatingLeastSquares(factors=columns, random_state=seed, use_gpu=False, **ALS_SETTINGS)
    model.fit(train, show_progress=False)
    return np.asarray(model.user_factors, np.float32), np.asarray(model.item_factors, np.float32)


def measured(split: Split, tables: Tables) -> dict[str, float]:
    """Recall@20 and NDCG@20 of full ranking, with standard errors over users."""
    train, test = split.train.matrix(), split.test.matrix()
    metrics = ranking_metrics(*tables, (test.indptr, test.indices), exclude=(train.indptr, train.indices))
    return {
        "recall": metrics.recall.mean,
        "recall_error": metrics.recall.standard_error,
        "ndcg": metrics.ndcg.mean,
        "ndcg_error": metrics.ndcg.standard_error,
    }


def compressed(tables: Tables, spec: str, seed: int) -> tuple[Tables, dict[str, float]]:
    """Both tables compressed, saved and read back; bytes of all files of the bundle, and seconds of compressing."""
    start = time.perf_counter()
    if spec.startswith("paired"):
        users, items = pz.compress_pair(*tables, spec, seed=seed)
    else:
        users, items = (pz.compress(table, spec, seed=seed) for table in tables)
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        pz.save({"user": users, "item": items}, path)
        nbytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        bundle = pz.load(path)
        user_rows, item_rows = (
            np.array(bundle[name].lookup(np.arange(len(rows))), np.float32)
            for name, rows in zip(("user", "item"), tables, strict=True)
        )
    return (user_rows, item_rows), {"seconds": seconds, "nbytes": nbytes}


class Runs:
    """Runs by name, written after each; a run that is held already is not repeated."""

    def __init__(self, name: str, sources: list[Source], rows: int) -> None:
        self.name, self.sources, self.rows = name, sources, rows
        path = RESULTS / f"{name}.json"
        self.held: dict[str, dict[str, Any]] = json.loads(path.read_text())["runs"] if path.exists() else {}

    def once(self, key: str, run: Callable[[], dict[str, Any]]) -> None:
        """Make the run of this key unless it is held."""
        if key not in self.held:
            self.held[key] = run() | {"commit": provenance()["commit"]}
            results = [row for source in self.sources for row in self.rows_of(source)]
            about = provenance("numpy", "scipy", "implicit", "faiss-cpu", "torch")
            about |= {"als": ALS_SETTINGS, "spectral": {"oversampling": 32, "iterations": 4, "wide_power": WIDE_POWER}}
            write(self.name, about | {"runs": self.held, "results": results})

    def rows_of(self, source: Source) -> Iterator[dict[str, Any]]:
        """Means over the seeds of each size and spec, with the spread over seeds."""
        for nominal, specs in source.specs.items():
            for spec in specs:
                pairs = [
                    (got, self.held[f"{source.against}/{key.split('/')[1]}/float32"])
                    for key, got in self.held.items()
                    if key.split("/")[0] == source.name and key.endswith(f"/{nominal}/{spec}") and "recall" in got
                ]
                if pairs:
                    yield self._row(source, nominal, spec, pairs)

    def _row(self, source: Source, nominal: int, spec: str, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        recall, ndcg = (np.array([got[name] / base[name] for got, base in pairs]) for name in ("recall", "ndcg"))
        return {
            "source": source.name,
            "nominal": nominal,
            "method": spec,
            "seeds": len(pairs),
            "ratio": 4 * source.against_columns * self.rows / max(got["nbytes"] for got, _ in pairs),
            "recall": float(np.mean([got["recall"] for got, _ in pairs])),
            "recall_share": float(recall.mean()),
            "spread": f"± {recall.std(ddof=1):.2%}, {len(pairs)} seeds" if len(pairs) > 1 else "one seed",
            "ndcg_share": float(ndcg.mean()),
            "seconds": float(np.mean([got["seconds"] for got, _ in pairs])),
        }


def best(source: Source, runs: Runs, nominal: int) -> list[str]:
    """Our specs of a size, and the textbook's that ranks best among those of about this size or smaller."""
    here = [row for row in runs.rows_of(source) if row["nominal"] == nominal]
    others = [row for row in here if not row["method"].startswith("paired") and row["ratio"] >= _SLACK * nominal]
    ours = [spec for spec in source.specs[nominal] if spec.startswith("paired")]
    return [*ours, *(row["method"] for row in sorted(others, key=lambda row: -row["recall_share"])[:1])]


def measure(source: Source, split: Split, runs: Runs, seed: int, *, only: str, first: bool) -> None:
    """All runs of one source and seed that are not held."""
    made: list[Tables] = []

    def tables() -> Tables:
        if not made:
            made.append(source.embed(seed))
        return made[0]

    def run(spec: str) -> dict[str, Any]:
        back, cost = compressed(tables(), spec, seed)
        return cost | measured(split, back)

    runs.once(f"{source.name}/{seed}/float32", lambda: measured(split, tables()))
    for nominal in source.specs:
        for spec in source.specs[nominal] if first else best(source, runs, nominal):
            if spec.startswith(only):
                runs.once(f"{source.name}/{seed}/{nominal}/{spec}", lambda spec=spec: run(spec))  # type: ignore[misc]


def table(source: Source, runs: Runs) -> Iterator[str]:
    """Lines: for each size `paired`, and the best textbook method of about its size or smaller."""
    yield f"{source.name}, in percent of float32 {source.against}"
    rows = list(runs.rows_of(source))
    for nominal in source.specs:
        here = {row["method"]: row for row in rows if row["nominal"] == nominal}
        for row in (here[spec] for spec in best(source, runs, nominal) if spec in here):
            yield (
                f"  {nominal:4d}x  Recall {row['recall_share']:7.2%} ({row['spread']})  NDCG "
                f"{row['ndcg_share']:7.2%}  {row['ratio']:6.2f} times smaller  {row['seconds']:4.0f} s  "
                f"{row['method']}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with train.parquet and test.parquet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sources", nargs="+", default=["spectral-256", "spectral-768", "als-64"])
    parser.add_argument("--only", default="", help="specs that begin so, e.g. paired")
    parser.add_argument("--holdout", action="store_true", help="judge on a tenth of the training pairs, for tuning")
    arguments = parser.parse_args()

    split = read_gowalla(arguments.data)
    if arguments.holdout:
        split = random_split(split.train, share=0.1, seed=77)
    train = split.train.matrix()
    wide = {"power": WIDE_POWER}
    sources = [
        Source("spectral-256", SPECTRAL, lambda s: spectral_embedding(train, 256, seed=s), "spectral-256", 256),
        Source("spectral-768", WIDE, lambda s: spectral_embedding(train, 768, seed=s, **wide), "spectral-256", 256),
        Source("als-64", ALS, lambda s: als_embedding(train, 64, s), "als-64", 64),
    ]
    name = "post_training_quality" + ("_holdout" if arguments.holdout else "")
    runs = Runs(name, sources, sum(train.shape))
    for seed in arguments.seeds:
        for source in sources:
            if source.name in arguments.sources:
                measure(source, split, runs, seed, only=arguments.only, first=seed == arguments.seeds[0])
                print(*table(source, runs), sep="\n", flush=True)


if __name__ == "__main__":
    main()
