"""Two-dimensional maps of a table before and after compression: a way to look, not a way to serve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError, require
from pintsize.evaluation.neighbourhoods import Overlap, neighbour_overlap, trustworthiness
from pintsize.formats.base import CompressedTable
from pintsize.table import EmbeddingTable

__all__ = ["MapComparison", "compare_maps", "tsne_map"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class MapComparison:
    """A table mapped before and after compression.

    Attributes:
        rows: (n,) int64, the rows that are drawn, rising.
        before: (n, 2) float64 places of the given rows.
        after: (n, 2) float64 places of the served rows.
        overlap: Nearest rows that compression kept, over the whole table.
        trust_before: Trustworthiness of the map `before`, as a picture of the given rows.
        trust_after: Trustworthiness of the map `after`, as a picture of the served rows.
        fitted: How many rows each map was fitted on; the others were placed among them.
    """

    rows: NDArray[np.int64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    overlap: Overlap
    trust_before: float
    trust_after: float
    fitted: int


def tsne_map(
    rows: Floats, *, columns: int = 2, fit: int = 2000, seed: int = 0, start: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Reduces rows to two or three columns by t-SNE (van der Maaten and Hinton 2008), on cosine distances.

    Args:
        rows: (n, d) float32, n at least 8.
        columns: 2 or 3.
        fit: How many rows, drawn at random, the map is fitted on; openTSNE places the others among them.
        seed: The same seed gives the same map.
        start: (n, columns) another map of the same rows, from whose places this one starts: comparable maps.

    Returns:
        (n, columns) float64.

    Raises:
        TableError: Fewer than 8 rows, or columns that are not 2 or 3.
        MissingExtra: openTSNE is not installed.
    """
    n = len(rows)
    if n < 8 or columns not in (2, 3) or fit < 8:
        raise TableError(f"a map needs 8 rows, 8 to fit on, and 2 or 3 columns; found {n}, {fit} and {columns}")
    opentsne = require("openTSNE", "report")
    # Between rows of length 1, Euclidean and cosine distances have the same neighbours.
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    sample = np.sort(np.random.default_rng(seed).choice(n, min(fit, n), replace=False))
    first = "pca" if start is None else start[sample] / max(float(start[sample][:, 0].std()), 1e-12) * 1e-4
    model = opentsne.TSNE(
        n_components=columns,
        perplexity=min(30, (len(sample) - 1) / 3),
        metric="euclidean",
        initialization=first,
        # Interpolation on a grid is for two columns; three need the tree.
        negative_gradient_method="fft" if columns == 2 and len(sample) > 3000 else "bh",
        random_state=seed,
        # Maps of a few thousand rows are faster on one core: the threads of openTSNE mostly wait for each other.
        n_jobs=1,
    )
    fitted = model.fit(np.ascontiguousarray(rows[sample]))
    places = np.empty((n, columns))
    places[sample] = fitted
    rest = np.setdiff1d(np.arange(n), sample)
    if len(rest):
        places[rest] = fitted.transform(np.ascontiguousarray(rows[rest]))
    return places


def compare_maps(
    table: EmbeddingTable,
    compressed: CompressedTable,
    *,
    points: int = 5000,
    fit: int = 2000,
    k: int = 15,
    seed: int = 0,
) -> MapComparison:
    """Maps the same rows before and after compression; the second map starts from the first.

    Args:
        table: (num_embeddings, d) rows as they were.
        compressed: The same rows as they are served; their width may differ.
        points: How many rows are drawn, at random.
        fit: How many of them each map is fitted on.
        k: Neighbours for overlap and trustworthiness.
        seed: Of the choice of rows and of the maps.

    Raises:
        TableError: Numbers of rows that differ, or too few rows.
        MissingExtra: openTSNE or scikit-learn is not installed.
    """
    n = table.num_embeddings
    overlap = neighbour_overlap(table, compressed, k=k, seed=seed)
    rows = np.sort(np.random.default_rng(seed).choice(n, min(points, n), replace=False)).astype(np.int64)
    given, served = table.take(rows), compressed.lookup(rows)
    before = tsne_map(given, fit=fit, seed=seed)
    after = tsne_map(served, fit=fit, seed=seed, start=before)
    judged = np.random.default_rng(seed).permutation(len(rows))[:2000]
    trust = [trustworthiness(x[judged], y[judged], k=k) for x, y in ((given, before), (served, after))]
    return MapComparison(rows, before, after, overlap, trust[0], trust[1], min(fit, len(rows)))
