"""The demonstration: MovieLens 100K, many methods, and what each size costs under full ranking."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pintsize.api import compress_pair, method
from pintsize.bundle import save
from pintsize.errors import MethodError, TableError
from pintsize.evaluation.ranking import RankingMetrics, ranking_metrics
from pintsize.formats.base import CompressedTable
from pintsize.ids import Ids
from pintsize.lab.datasets.interactions import Interactions, random_split
from pintsize.lab.datasets.movielens import MovieLens, read_movielens
from pintsize.lab.demo_page import write_demo_page
from pintsize.lab.spectral import spectral_embedding
from pintsize.sources import write_source
from pintsize.table import EmbeddingTable

__all__ = ["DEMO_METHODS", "DemoResult", "Point", "run_demo"]

DEMO_METHODS = (
    "float16",
    "integer:bits=8",
    "integer:bits=4",
    "integer:bits=2",
    "rotated:bits=4",
    "rotated:bits=2",
    "rabitq:bits=4",
    "rabitq:bits=2",
    "rabitq:bits=1",
    "ternary",
    "binary",
    "pq:codebooks=16,codewords=16",
    "pq:codebooks=8,codewords=16",
    "pq:codebooks=4,codewords=16",
    "svd:rank=16",
    "svd:rank=16 + integer:bits=8",
    "svd:rank=16 + integer:bits=4",
    "svd:rank=8 + integer:bits=4",
    "svd:rank=4 + integer:bits=4",
    "paired:columns=60,weight=4",
    "paired:columns=28,weight=4",
    "paired:columns=20,weight=4",
    "paired:columns=12,weight=4",
    "paired:columns=8,weight=4",
)
"""From 2 to over 64 times smaller on tables of 32 columns.

The columns of `paired`, with the 4 bits of an item's scale, fill whole bytes. Its weight was chosen on pairs held out
of the training part, among 4, 10, 30 and 100.
"""

# First taken after seeing test results, where 64 columns ranked worse and flattered every method that drops columns. On
# pairs held out of the training part 16 to 32 columns rank alike and 48 worse.
_COLUMNS = 32
_K = 20
_BUNDLE_RATIO = 16
_TIMED_SECONDS = 0.05


@dataclass(frozen=True)
class Point:
    """One method at one size.

    Attributes:
        method: Its spec.
        family: Its family.
        bytes: Both tables, everything that answers a look-up.
        ratio: How many times smaller than float32.
        recall: Recall@20 over all users with test items.
        recall_error: Standard error of that mean.
        ndcg: NDCG@20.
        share: `recall` divided by that of float32.
        lookups_per_second: Rows of the item table decoded a second, in batches of 4096.
        seconds: What compressing both tables took.
    """

    method: str
    family: str
    bytes: int
    ratio: float
    recall: float
    recall_error: float
    ndcg: float
    share: float
    lookups_per_second: float
    seconds: float


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration measured and wrote.

    Attributes:
        points: float32 first, then by size.
        users: Rows of the user table.
        items: Rows of the item table.
        columns: Columns of both.
        train: Interactions the vectors were made from.
        test: Interactions they were judged by.
        seed: Of the split, the vectors and the methods.
        left_out: Methods that do not apply to these tables, and why.
        bundle: Directory of the bundle.
        bundle_method: The method it was made by.
        page: The HTML page.
    """

    points: list[Point]
    users: int
    items: int
    columns: int
    train: int
    test: int
    seed: int
    left_out: dict[str, str]
    bundle: str
    bundle_method: str
    page: str


def run_demo(
    data: str | Path | None = None,
    out: str | Path = "demo-output",
    *,
    seed: int = 0,
    methods: Sequence[str] = DEMO_METHODS,
    told: Callable[[str], None] | None = None,
) -> DemoResult:
    """Splits the ratings, makes vectors, compresses them by every method, and writes a bundle and a page.

    Args:
        data: As for `read_movielens`; None downloads it once.
        out: Directory for ``bundle/``, ``index.html``, the float32 tables, the split, and the films' fields.
        seed: Of the split (a fifth of the ratings is held out), the vectors and the methods.
        methods: Specs; those that do not apply to tables of this size are left out.
        told: Called with lines that say how far it is.

    Raises:
        TableError: The data cannot be read, or is too small.
        MissingExtra: scipy, or what one of the methods needs, is not installed.
    """
    say = told or (lambda line: None)
    say("reading MovieLens 100K")
    lens = read_movielens(data)
    split = random_split(lens.pairs, share=0.2, seed=seed)
    columns = min(_COLUMNS, lens.pairs.num_users // 2, lens.pairs.num_items // 2)
    if columns < 2 or not len(split.test) or not len(split.train):
        raise TableError(f"{lens.pairs.num_users} users and {lens.pairs.num_items} items are too few for the demo")
    say(f"spectral vectors of {columns} columns from {len(split.train):,} interactions")
    matrix = split.train.matrix()
    oversampling = min(32, min(matrix.shape) - columns)
    vectors = spectral_embedding(matrix, columns, oversampling=oversampling, seed=seed)
    tables = (EmbeddingTable(vectors[0], _ids(lens.user_ids)), EmbeddingTable(vectors[1], _ids(lens.item_ids)))
    held, seen = split.test.matrix(), matrix

    def ranked(pair: tuple[CompressedTable, CompressedTable]) -> RankingMetrics:
        users, items = (table.lookup(np.arange(table.num_embeddings)) for table in pair)
        return ranking_metrics(
            users, items, (held.indptr, held.indices), exclude=(seen.indptr, seen.indices), k=min(_K, len(items))
        )

    left_out: dict[str, str] = {}
    made: list[tuple[Point, tuple[CompressedTable, CompressedTable]]] = []
    reference = 0.0
    for spec in ("full", *methods):
        say(spec)
        begin = time.perf_counter()
        try:
            pair = compress_pair(*tables, spec, seed=seed)
        except MethodError as error:
            left_out[spec] = str(error)
            say(f"{spec} is left out: {error}")
            continue
        seconds = time.perf_counter() - begin
        metrics = ranked(pair)
        reference = reference or metrics.recall.mean
        made.append((_point(spec, tables, pair, metrics, reference, seconds), pair))
    made[1:] = sorted(made[1:], key=lambda one: one[0].ratio)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    chosen, pair = _for_bundle(made)
    save(
        dict(zip(("user", "item"), pair, strict=True)),
        out / "bundle",
        ids=dict(zip(("user", "item"), (table.ids for table in tables), strict=True)),
        methods=dict.fromkeys(("user", "item"), chosen.method),
        notes={"seed": seed, "source_columns": {"user": columns, "item": columns}, "made by": "pintsize demo"},
    )
    write_source(dict(zip(("user", "item"), tables, strict=True)), out / "tables.safetensors")
    _write_frames(out, lens, tables, split.train, split.test)
    result = DemoResult(
        points=[point for point, _ in made],
        users=lens.pairs.num_users,
        items=lens.pairs.num_items,
        columns=columns,
        train=len(split.train),
        test=len(split.test),
        seed=seed,
        left_out=left_out,
        bundle=str(out / "bundle"),
        bundle_method=chosen.method,
        page=str(out / "index.html"),
    )
    write_demo_page(result, Path(result.page), None if data is None else str(data))
    return result


def _point(
    spec: str,
    tables: tuple[EmbeddingTable, EmbeddingTable],
    pair: tuple[CompressedTable, CompressedTable],
    metrics: RankingMetrics,
    reference: float,
    seconds: float,
) -> Point:
    size = pair[0].nbytes + pair[1].nbytes
    return Point(
        method=str(method(spec)),
        family=method(spec).family,
        bytes=size,
        ratio=sum(table.nbytes_float32 for table in tables) / size,
        recall=metrics.recall.mean,
        recall_error=metrics.recall.standard_error,
        ndcg=metrics.ndcg.mean,
        share=metrics.recall.mean / reference if reference else 0.0,
        lookups_per_second=_speed(pair[1]),
        seconds=seconds,
    )


def _speed(table: CompressedTable) -> float:
    rows = np.random.default_rng(0).integers(0, table.num_embeddings, 4096)
    out = np.empty((len(rows), table.embedding_dim), np.float32)
    table.lookup(rows, out=out)
    done, begin = 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < _TIMED_SECONDS:
        table.lookup(rows, out=out)
        done += len(rows)
    return done / spent


def _for_bundle(
    made: Sequence[tuple[Point, tuple[CompressedTable, CompressedTable]]],
) -> tuple[Point, tuple[CompressedTable, CompressedTable]]:
    """What is saved: a pair method near 16 times smaller, or the best of that size where none applied."""
    pairs = [one for one in made if one[0].family == "pair"] or made
    return min(pairs, key=lambda one: abs(np.log2(one[0].ratio / _BUNDLE_RATIO)))


def _ids(names: Sequence[str]) -> Ids:
    return Ids([int(name) for name in names] if all(name.isdecimal() for name in names) else list(names))


def _write_frames(
    out: Path, lens: MovieLens, tables: tuple[EmbeddingTable, EmbeddingTable], train: Interactions, test: Interactions
) -> None:
    """The split and the films' fields, keyed by id, for ``pintsize evaluate`` and ``pintsize map``."""
    users, items = (table.ids.arrow for table in tables if table.ids is not None)
    for name, pairs in (("train", train), ("test", test)):
        frame = {"user": users.take(pa.array(pairs.users)), "item": items.take(pa.array(pairs.items))}
        pq.write_table(pa.table(frame), out / f"{name}.parquet")
    fields = {name: list(column) for name, column in lens.item_fields.items()}
    pq.write_table(pa.table({"id": items, **fields}), out / "items.parquet")
