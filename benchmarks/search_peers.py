"""Other packages' indexes for `search.py`, each at about the bytes of 8-bit rows, and what trades their recall."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Search = Callable[[Floats, int], NDArray[np.int64]]


@dataclass
class Peer:
    """An index, its bytes, and its searches by rising effort."""

    name: str
    bytes_a_row: float
    searches: list[tuple[str, Search]]


def flat_searches(rows: Floats, threads: int) -> Iterator[tuple[str, Search]]:
    """Exact searches over float32 rows, in all block sizes that may be the best."""
    import faiss
    import torch

    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    held = torch.from_numpy(rows)

    def by_blocks(block: int) -> Search:
        def search(queries: Floats, k: int) -> NDArray[np.int64]:
            asked = torch.from_numpy(queries)
            values, places = [], []
            for start in range(0, len(held), block):
                part = held[start : start + block]
                scores = part @ asked[0] if len(asked) == 1 else asked @ part.T
                best, at = torch.topk(scores.reshape(len(asked), -1), k)
                values.append(best)
                places.append(at + start)
            order = torch.topk(torch.cat(values, 1), k).indices
            return torch.cat(places, 1).gather(1, order).numpy()

        return search

    for block in (4096, 16384, 65536, 262144, len(rows)):
        if block <= len(rows):
            yield f"torch, blocks of {block}", by_blocks(block)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)

    def by_faiss(block: int) -> Search:
        def search(queries: Floats, k: int) -> NDArray[np.int64]:
            faiss.cvar.distance_compute_blas_threshold = 20
            faiss.cvar.distance_compute_blas_database_bs = block
            return index.search(queries, k)[1]

        return search

    for block in (1024, 4096, 16384):
        yield f"faiss IndexFlatIP, blocks of {block}", by_faiss(block)

    def by_numpy(queries: Floats, k: int) -> NDArray[np.int64]:
        scores = rows @ queries[0]
        best = np.argpartition(scores, len(scores) - k)[-k:]
        return best[np.argsort(-scores[best])][None]

    yield "numpy @ and argpartition (one query)", by_numpy


def _faiss_kept(path: Path, build: Callable[[], Any]) -> Any:
    import faiss

    if not path.exists():
        faiss.omp_set_num_threads(faiss.omp_get_max_threads())
        faiss.write_index(build(), str(path))
    return faiss.read_index(str(path))


def _by_factor(index: Any, threads: int) -> list[tuple[str, Search]]:
    import faiss

    def at(factor: int) -> Search:
        def search(queries: Floats, k: int) -> NDArray[np.int64]:
            faiss.omp_set_num_threads(threads)
            index.k_factor = factor
            return index.search(queries, k)[1]

        return search

    return [(f"k_factor={f}", at(f)) for f in (2, 4, 8, 16, 32, 64, 128)]


def _by_probes(index: Any, threads: int, factor: int = 0) -> list[tuple[str, Search]]:
    import faiss

    inner = faiss.extract_index_ivf(index.base_index) if factor else index

    def at(probes: int) -> Search:
        def search(queries: Floats, k: int) -> NDArray[np.int64]:
            faiss.omp_set_num_threads(threads)
            inner.nprobe = probes
            if factor:
                index.k_factor = factor
            return index.search(queries, k)[1]

        return search

    tried = [p for p in (1, 2, 4, 8, 16, 32, 64, 128, 256) if p <= inner.nlist]
    return [(f"nprobe={p}" + (f",k_factor={factor}" if factor else ""), at(p)) for p in tried]


def faiss_peers(rows: Floats, cache: Path, threads: int) -> Iterator[Peer]:
    """PQ fast scan and RaBitQ fast scan with refinement, and inverted files."""
    import faiss

    n, d = rows.shape
    ip = faiss.METRIC_INNER_PRODUCT
    kind = faiss.ScalarQuantizer.QT_8bit
    nlist = int(min(1024, max(16, n // 256)))

    def filled(index: Any) -> Any:
        index.train(rows[:: max(1, n // 200_000)].copy())
        index.add(rows)
        return index

    def fine() -> Any:
        return filled(faiss.IndexScalarQuantizer(d, kind, ip))

    def refined(make: Callable[[], Any]) -> Callable[[], Any]:
        def build() -> Any:
            base, keeper = filled(make()), fine()
            index = faiss.IndexRefine(base, keeper)
            index.own_fields = index.own_refine_index = False
            index.referenced_objects = [base, keeper]
            return index

        return build

    def pq_fast_scan() -> Any:
        return faiss.IndexPQFastScan(d, d // 4, 4, ip)

    def rabitq_fast_scan() -> Any:
        return faiss.IndexRaBitQFastScan(d, ip)

    def ivf(index_class: Any, *settings: Any) -> Any:
        index = index_class(faiss.IndexFlatIP(d), d, nlist, *settings)
        index.cp.spherical = True
        return index

    index = _faiss_kept(cache / "pqfs", refined(pq_fast_scan))
    yield Peer("faiss PQ fast scan, refined by SQ8", d / 8 + d, _by_factor(index, threads))
    index = _faiss_kept(cache / "rabitqfs", refined(rabitq_fast_scan))
    yield Peer("faiss RaBitQ fast scan, refined by SQ8", d / 8 + 8 + d, _by_factor(index, threads))
    index = _faiss_kept(cache / "ivfsq8", lambda: filled(ivf(faiss.IndexIVFScalarQuantizer, kind, ip, False)))
    yield Peer(f"faiss IVF{nlist}, SQ8", d + 8, _by_probes(index, threads))
    index = _faiss_kept(cache / "ivfpqfs", refined(lambda: ivf(faiss.IndexIVFPQFastScan, d // 4, 4, ip)))
    yield Peer(f"faiss IVF{nlist}, PQ fast scan, refined by SQ8", d / 8 + d + 8, _by_probes(index, threads, 16))


def usearch_peers(rows: Floats, cache: Path, threads: int, graphs: bool) -> Iterator[Peer]:
    """Scans of usearch over bytes and bits, and graphs where asked."""
    usearch = importlib.import_module("usearch.index")
    n, d = rows.shape
    step = float(np.abs(rows).max()) / 127
    codes = np.rint(rows / step).astype(np.int8)
    bits = np.packbits(rows >= 0, axis=1)

    def scaled(queries: Floats) -> NDArray[np.int8]:
        peak = np.abs(queries).max(axis=1, keepdims=True)
        return np.rint(queries / np.maximum(peak, 1e-30) * 127).astype(np.int8)

    def bytes_scan(queries: Floats, k: int) -> NDArray[np.int64]:
        return usearch.search(codes, scaled(queries), k, "ip", exact=True, threads=threads).keys.astype(np.int64)

    def bits_scan(factor: int) -> Search:
        def search(queries: Floats, k: int) -> NDArray[np.int64]:
            asked = np.packbits(queries >= 0, axis=1)
            found = usearch.search(bits, asked, factor * k, "hamming", exact=True, threads=threads, dtype="b1")
            keys = found.keys.astype(np.int64)
            scores = np.einsum("qd,qcd->qc", queries, codes[keys].astype(np.float32))
            return np.take_along_axis(keys, np.argsort(-scores, axis=1)[:, :k], 1)

        return search

    yield Peer("usearch i8, scan", d, [("", bytes_scan)])
    yield Peer("usearch b1, scan, refined by i8", d / 8 + d, [(f"factor={f}", bits_scan(f)) for f in (4, 16, 64)])
    if not graphs:
        return
    path = cache / "usearch.i8"
    if not path.exists():
        building = usearch.Index(ndim=d, metric="ip", dtype="i8", connectivity=16, expansion_add=64)
        building.add(np.arange(n), codes)
        building.save(str(path))
    index = usearch.Index.restore(str(path))

    def graph(effort: int) -> Search:
        def search(queries: Floats, k: int) -> NDArray[np.int64]:
            index.expansion_search = effort
            found = index.search(scaled(queries), k, threads=threads).keys
            return np.atleast_2d(found).astype(np.int64)

        return search

    yield Peer(
        "usearch i8, graph", path.stat().st_size / n, [(f"expansion={e}", graph(e)) for e in (32, 64, 128, 256, 512)]
    )


def turbovec_peers(rows: Floats) -> Iterator[Peer]:
    """The index of turbovec at 2 and 4 bits. Its threads are those of RAYON_NUM_THREADS at its import."""
    turbovec = importlib.import_module("turbovec")
    for width in (2, 4):
        index = turbovec.TurboQuantIndex(dim=rows.shape[1], bit_width=width)
        index.add(rows)

        def search(queries: Floats, k: int, index: Any = index) -> NDArray[np.int64]:
            return np.asarray(index.search(queries, k)[1]).astype(np.int64)

        yield Peer(f"turbovec, {width} bits", rows.shape[1] * width / 8 + 4, [("", search)])
