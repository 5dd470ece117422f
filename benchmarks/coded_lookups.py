"""Look-ups of coded, factored, rotated and partitioned tables against faiss, torch and plain scalar rows.

    python benchmarks/coded_lookups.py              (10,000,000 rows of 64 columns; needs 6 GB of memory)

Product quantization against both ways in which faiss decodes rows: `reconstruct_batch`, and a gather of codes followed
by `sa_decode`. Factored rows (rank 16, in float32 and in 8 bits) against torch's embedding followed by a matrix
product. Rotated and partitioned rows have no peer: they stand against our own 4-bit rows. Outputs are fresh on every
side, 65,536 new row numbers at every call, agreement is checked first.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from alternating import best, by_turns, ratio, rows_of
from lookups import BATCH, Sides, figures, threads
from numpy.typing import NDArray
from record import provenance, write

import pintsize as pz
from pintsize.formats.base import CompressedTable
from pintsize.formats.dense import DenseTable
from pintsize.formats.factored import FactoredTable
from pintsize.formats.partitioned import PartitionedTable
from pintsize.integrations.faiss import to_faiss

COLUMNS = 64
SAMPLE = 100_000


def repeated(table: CompressedTable, rows: int) -> CompressedTable:
    """The table's rows over and over, scattered: look-ups cost what those of `rows` different rows cost."""
    tensors = table.tensors()
    chosen = np.random.default_rng(1).integers(0, table.num_embeddings, rows)
    tensors |= {name: np.ascontiguousarray(tensors[name][chosen]) for name in table.row_tensors()}
    return CompressedTable.from_tensors(table.header(), tensors)


def agree(ours: Any, theirs: Any) -> None:
    """Both decode the same codes."""
    worst = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
    if not worst <= 1e-4:
        raise SystemExit(f"the sides do not agree: {worst} apart")


def product_quantized(sample: NDArray[np.float32], codebooks: int, rows: int) -> tuple[CompressedTable, Any]:
    """Ours, and an index of faiss with the same codes."""
    table = repeated(pz.compress(sample, f"pq:codebooks={codebooks},codewords=256"), rows)
    return table, to_faiss(table)


def pq_sides(table: CompressedTable, index: Any, sets: list[NDArray[np.int64]], count: int) -> Sides:
    import faiss

    faiss.omp_set_num_threads(count)
    codes = faiss.vector_to_array(index.codes).reshape(table.num_embeddings, -1)
    sides: Sides = {
        "ours": lambda r: table.lookup(sets[r]),
        "faiss reconstruct_batch": lambda r: index.reconstruct_batch(sets[r]),
        "faiss gather, sa_decode": lambda r: index.sa_decode(codes[sets[r]]),
    }
    for name in list(sides)[1:]:
        agree(sides["ours"](0), sides[name](0))
    return sides


def factored_sides(
    tables: dict[str, CompressedTable], held: torch.Tensor, basis: torch.Tensor, sets: list[NDArray[np.int64]]
) -> Sides:
    asked = [torch.from_numpy(numbers) for numbers in sets]
    sides: Sides = {name: lambda r, t=table: t.lookup(sets[r]) for name, table in tables.items()}
    sides["torch"] = lambda r: torch.nn.functional.embedding(asked[r], held) @ basis
    agree(sides["rank 16"](0), sides["torch"](0))
    return sides


def partitioned(sample: NDArray[np.float32], rows: int) -> CompressedTable:
    """A tenth of the rows in 8 bits, three tenths in 4, the rest in 2."""
    part = np.random.default_rng(2).choice(3, rows, p=[0.1, 0.3, 0.6]).astype(np.uint8)
    parts = [
        repeated(pz.compress(sample, f"integer:bits={bits}"), int((part == place).sum()))
        for place, bits in enumerate((8, 4, 2))
    ]
    return PartitionedTable.from_parts(part, parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--name", default="coded_lookups", help="of the result file")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    rows, repeats = arguments.rows, arguments.repeats
    sample = np.random.default_rng(0).standard_normal((SAMPLE, COLUMNS), np.float32)
    sets = {
        kind: [rows_of(kind, rows, (BATCH,), seed=repeat) for repeat in range(repeats + 1)]
        for kind in ("uniform", "zipf")
    }
    results: list[dict[str, Any]] = []

    def record(point: dict[str, Any], found: dict[str, Any]) -> None:
        results.append(point | found)
        print(point, {k: round(v["ratio"], 2) for k, v in found.items() if isinstance(v, dict)}, flush=True)
        write(arguments.name, provenance("numpy", "torch", "faiss-cpu") | {"rows": rows, "results": results})

    def points() -> list[tuple[int, str]]:
        return [(count, kind) for count in (1, 2) for kind in sets]

    for codebooks in (8, 16):
        table, index = product_quantized(sample, codebooks, rows)
        for count, kind in points():
            threads(count)
            seconds = by_turns(pq_sides(table, index, sets[kind], count), repeats)
            peers = {"faster of faiss": [best(seconds, [name for name in seconds if name != "ours"])]}
            peers |= {name: [name] for name in seconds if name != "ours"}
            point = {"table": f"pq, {codebooks} codebooks", "threads": count, "ids": kind}
            record(point, figures(seconds, "ours", peers))
        del table, index
    narrow = repeated(DenseTable(sample[:, :16].copy()), rows)
    directions = np.ascontiguousarray(sample[:16])
    basis = DenseTable(directions)
    held = torch.from_numpy(np.asarray(narrow.tensors()["rows"]))
    factored: dict[str, CompressedTable] = {
        "rank 16": FactoredTable(narrow, basis=basis),
        "rank 16 in 8 bits": FactoredTable(
            repeated(pz.compress(sample[:, :16].copy(), "integer:bits=8"), rows), basis=basis
        ),
    }
    for count, kind in points():
        threads(count)
        seconds = by_turns(factored_sides(factored, held, torch.from_numpy(directions), sets[kind]), repeats)
        for name in factored:
            found = figures(seconds, name, {"torch embedding and product": ["torch"]})
            record({"table": f"factored, {name}", "threads": count, "ids": kind}, found)
    del factored, held, narrow
    alone = {
        "4 bits": repeated(pz.compress(sample, "integer:bits=4"), rows),
        "rotated, 4 bits": repeated(pz.compress(sample, "rotated:bits=4"), rows),
        "partitioned, 8, 4 and 2 bits": partitioned(sample, rows),
    }
    for count, kind in points():
        threads(count)
        seconds = by_turns({n: lambda r, t=t, k=kind: t.lookup(sets[k][r]) for n, t in alone.items()}, repeats)
        for name in list(alone)[1:]:
            found = {"ours_seconds": float(np.median(seconds[name]))}
            found |= {"our plain 4 bits": ratio(seconds["4 bits"], seconds[name])}
            record({"table": name, "threads": count, "ids": kind}, found)


if __name__ == "__main__":
    main()
