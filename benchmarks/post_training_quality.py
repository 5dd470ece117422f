"""Ranking quality against size, after training: `paired` and the best textbook method at each size.

    python benchmarks/post_training_quality.py --data DIRECTORY_OF_GOWALLA

Users and items are both compressed; every unseen item of every test user is ranked. Shares are of the Recall@20 and
NDCG@20 of the same seed's float32 tables of 256 columns (64 for ALS). Settings were chosen on a tenth of the training
interactions held out (``--holdout``), never on the test part. Results are written after every run, so that an
interrupted one goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pintsize as pz
from pintsize.evaluation.ranking import ranking_metrics
from pintsize.lab.datasets.gowalla import read_gowalla
from pintsize.lab.datasets.interactions import Split, random_split
from pintsize.lab.spectral import spectral_embedding
from pintsize.methods._paired_fit import fit_pair

Floats = NDArray[np.float32]
Tables = tuple[Floats, Floats]
HEADERS = 64 + 4096  # what a bundle adds to the records: headers and manifest, rounded up


@dataclass(frozen=True)
class Setting:
    """One run of `paired`, for a nominal ratio to float32 tables of the source's width."""

    ratio: int
    columns: int
    levels: int = 2
    middle: bool = False
    neighbours: int = 64
    weight: float = 100.0
    relist: bool = True
    rounds: int = 8

    def spec(self) -> str:
        """The settings as one line."""
        return "paired:" + ",".join(f"{name}={value}" for name, value in asdict(self).items() if name != "ratio")

    def nbytes(self, num_users: int, num_items: int) -> int:
        """Bytes of both tables: byte-aligned records, item scales as further digits, the middle matrix, headers."""
        digits = {2: 8, 3: 5, 4: 4}[self.levels]
        scale = {2: 4, 3: 3, 4: 2}[self.levels]
        users, items = -(-self.columns // digits), -(-(self.columns + scale) // digits)
        return num_users * users + num_items * items + 2 * self.columns**2 * self.middle + HEADERS


SPECTRAL = [
    Setting(8, 508, levels=4, relist=False, rounds=4),
    Setting(16, 252, levels=4, relist=False, rounds=6),
    Setting(20, 404, relist=True, rounds=6),
    Setting(32, 248, rounds=8),
    Setting(64, 120, rounds=12),
    Setting(128, 56, middle=True, rounds=12),
]
WIDE = [Setting(36, 216, rounds=8), Setting(64, 120, rounds=12)]
ALS = [Setting(16, 124, rounds=8), Setting(32, 56, rounds=12)]

# The methods that others would reach for, at the settings that fit each size; d is the source's width.
TEXTBOOK = {
    8: ["rabitq:bits=4", "integer:bits=4,clip=mse", "pq:codebooks={d_half},codewords=256", "svd:rank={d_8}"],
    16: ["rabitq:bits=2", "rotated:bits=2", "pq:codebooks={d_4},codewords=256", "opq:codebooks={d_4},codewords=256"],
    20: ["ternary", "pq:codebooks={d_5},codewords=256", "opq:codebooks={d_5},codewords=256"],
    32: ["rabitq:bits=1", "binary", "pq:codebooks={d_8},codewords=256", "opq:codebooks={d_8},codewords=256"],
    36: ["pq:codebooks={d_9},codewords=256", "opq:codebooks={d_9},codewords=256"],
    64: ["pq:codebooks={d_16},codewords=256", "opq:codebooks={d_16},codewords=256"],
    128: ["pq:codebooks={d_32},codewords=256", "opq:codebooks={d_32},codewords=256"],
}


def textbook_specs(ratio: int, columns: int) -> list[str]:
    """The textbook specs for a size, written out for tables of `columns` columns."""
    widths = {f"d_{n}": max(columns // n, 1) for n in (4, 5, 8, 9, 16, 32)} | {"d_half": columns // 2}
    return [spec.format(**widths) for spec in TEXTBOOK[ratio]]


def als_embedding(train: Any, columns: int, seed: int) -> Tables:
    """User and item vectors by implicit-feedback ALS (Hu et al. 2008); settings chosen on held-out training pairs."""
    model = importlib.import_module("implicit.als").AlternatingLeastSquares(
        factors=columns, regularization=ALS_REGULARIZATION, alpha=ALS_ALPHA, iterations=ALS_ITERATIONS,
        random_state=seed, use_gpu=False,
    )  # fmt: skip
    model.fit(train, show_progress=False)
    return np.asarray(model.user_factors, np.float32), np.asarray(model.item_factors, np.float32)


ALS_REGULARIZATION, ALS_ALPHA, ALS_ITERATIONS = 0.01, 10.0, 15


def textbook(tables: Tables, spec: str, seed: int) -> tuple[Tables, int]:
    """Both tables compressed by one spec, looked up again, and the bytes of the bundle that holds them."""
    users, items = (pz.compress(table, spec, seed=seed) for table in tables)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        pz.save({"user": users, "item": items}, path)
        nbytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return (users.lookup(np.arange(len(tables[0]))), items.lookup(np.arange(len(tables[1])))), nbytes


def paired(tables: Tables, setting: Setting, seed: int) -> tuple[Tables, int]:
    """Both tables by `paired`, as their products see them, and their bytes."""
    options = {name: value for name, value in asdict(setting).items() if name != "ratio"}
    codes = fit_pair(*tables, **options, seed=seed)
    return (codes.left_values(), codes.right_values()), setting.nbytes(len(tables[0]), len(tables[1]))


class Record:
    """Runs by name, written to a JSON file after each; a run that the file holds is not repeated."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self.about = path, about
        self.runs: dict[str, dict[str, Any]] = json.loads(path.read_text())["runs"] if path.exists() else {}

    def once(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The run of this name, made now if the file lacks it."""
        if name not in self.runs:
            self.runs[name] = run()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps({"about": self.about, "runs": self.runs}, indent=1) + "\n")
        return self.runs[name]


@dataclass(frozen=True)
class Source:
    """Tables to compress, and what their shares are measured against."""

    name: str
    columns: int
    settings: list[Setting]
    embed: Callable[[int], Tables]
    against: str
    against_columns: int


def measured(split: Split, tables: Tables) -> dict[str, float]:
    """Recall@20 and NDCG@20 of full ranking, with standard errors over users."""
    train, test = split.train.matrix(), split.test.matrix()
    metrics = ranking_metrics(
        np.ascontiguousarray(tables[0]),
        np.ascontiguousarray(tables[1]),
        (test.indptr, test.indices),
        exclude=(train.indptr, train.indices),
    )
    return {
        "recall": metrics.recall.mean,
        "recall_error": metrics.recall.standard_error,
        "ndcg": metrics.ndcg.mean,
        "ndcg_error": metrics.ndcg.standard_error,
    }


def one_run(split: Split, compress: Callable[[], tuple[Tables, int]]) -> dict[str, Any]:
    """Bytes, seconds and quality of one compression; a method that is not there says so."""
    start = time.perf_counter()
    try:
        tables, nbytes = compress()
    except (ImportError, AttributeError, ValueError) as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    return {"seconds": time.perf_counter() - start, "nbytes": nbytes, **measured(split, tables)}


def runs(source: Source, seed: int) -> Iterator[tuple[str, Callable[[Tables], tuple[Tables, int]]]]:
    """Every compression of a source: its name and how it is made."""
    for setting in source.settings:
        yield f"{setting.ratio}/{setting.spec()}", lambda t, s=setting: paired(t, s, seed)  # type: ignore[misc]
        for spec in textbook_specs(setting.ratio, source.columns):
            yield f"{setting.ratio}/{spec}", lambda t, s=spec: textbook(t, s, seed)  # type: ignore[misc]


def measure(source: Source, split: Split, record: Record, seed: int, *, only_paired: bool) -> None:
    """All runs of one source and seed that the record lacks."""
    cache: list[Tables] = []

    def tables() -> Tables:
        if not cache:
            cache.append(source.embed(seed))
        return cache[0]

    record.once(f"{source.name}/{seed}/1/float32", lambda: measured(split, tables()))
    for name, compress in runs(source, seed):
        if not only_paired or "/paired:" in name:
            record.once(f"{source.name}/{seed}/{name}", lambda c=compress: one_run(split, lambda: c(tables())))  # type: ignore[misc]


def report(source: Source, record: Record, seeds: list[int], rows: int) -> Iterator[str]:
    """Lines of a table: for each size `paired` and the best textbook method, means over seeds with their spread."""
    yield f"{source.name}: percent of the float32 Recall@20 and NDCG@20 of {source.against}, {len(seeds)} seeds"
    for ratio in [s.ratio for s in source.settings]:
        found = []
        names = {n.split("/", 2)[2] for n in record.runs if n.startswith(f"{source.name}/")}
        for name in sorted(n for n in names if n.startswith(f"{ratio}/")):
            got = [record.runs.get(f"{source.name}/{seed}/{name}", {"failed": "not run"}) for seed in seeds]
            base = [record.runs.get(f"{source.against}/{seed}/1/float32") for seed in seeds]
            if any("failed" in g for g in got) or None in base:
                continue
            pairs = list(zip(got, base, strict=True))
            recall = np.array([g["recall"] / b["recall"] for g, b in pairs if b]) * 100
            ndcg = np.array([g["ndcg"] / b["ndcg"] for g, b in pairs if b]) * 100
            times = 4 * source.against_columns * rows / max(g["nbytes"] for g in got)
            spread = recall.std(ddof=1) if len(seeds) > 1 else float("nan")
            line = (
                f"  {ratio:4d}x  {recall.mean():6.2f} ± {spread:4.2f}  NDCG {ndcg.mean():6.2f}"
                f"  really {times:6.2f}x  {np.mean([g['seconds'] for g in got]):5.0f} s  {name.split('/', 1)[1]}"
            )
            found.append(("paired:" in name, times >= ratio, recall.mean(), line))
        yield from (line for ours, _, _, line in found if ours)
        if fitting := [entry for entry in found if not entry[0] and entry[1]]:
            yield max(fitting, key=lambda entry: entry[2])[3]


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    """What made the results: command, commit, data, versions, machine."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    sums = {
        name: hashlib.sha256((arguments.data / name).read_bytes()).hexdigest()
        for name in ("train.parquet", "test.parquet")
    }
    versions = {}
    for package in ("numpy", "scipy", "implicit", "faiss-cpu"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "command": "python benchmarks/post_training_quality.py " + " ".join(sys.argv[1:]),
        "commit": commit,
        "sha256": sums,
        "python": platform.python_version(),
        "versions": versions,
        "spectral": "oversampling 32, 4 iterations, seed as named",
        "als": f"regularization {ALS_REGULARIZATION}, alpha {ALS_ALPHA}, {ALS_ITERATIONS} iterations, seed as named",
    }


def main() -> None:
    """Run what the command line asks for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with train.parquet and test.parquet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sources", nargs="+", default=["spectral-256", "spectral-768", "als-64"])
    parser.add_argument("--only-paired", action="store_true", help="leave the textbook methods out")
    parser.add_argument("--holdout", action="store_true", help="judge on a tenth of the training pairs, for tuning")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/post_training_quality.json"))
    arguments = parser.parse_args()

    split = read_gowalla(arguments.data)
    if arguments.holdout:
        split = random_split(split.train, share=0.1, seed=77)
    train = split.train.matrix()
    sources = [
        Source("spectral-256", 256, SPECTRAL, lambda s: spectral_embedding(train, 256, seed=s), "spectral-256", 256),
        Source("spectral-768", 768, WIDE, lambda s: spectral_embedding(train, 768, seed=s), "spectral-256", 256),
        Source("als-64", 64, ALS, lambda s: als_embedding(train, 64, s), "als-64", 64),
    ]
    record = Record(arguments.out, about(arguments))
    for source in sources:
        if source.name not in arguments.sources:
            continue
        for seed in arguments.seeds:
            measure(source, split, record, seed, only_paired=arguments.only_paired)
            print(*report(source, record, [seed], sum(train.shape)), sep="\n", flush=True)
        print(*report(source, record, arguments.seeds, sum(train.shape)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
