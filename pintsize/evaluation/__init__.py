"""What compression did to a table: errors of rows, neighbourhoods, rankings."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pintsize.evaluation.maps import MapComparison, compare_maps, tsne_map
    from pintsize.evaluation.neighbourhoods import Overlap, neighbour_overlap, trustworthiness
    from pintsize.evaluation.ranking import RankingMetrics, rank, ranking_metrics
    from pintsize.evaluation.rows import RowErrors, row_errors

_HOME = {
    "MapComparison": "maps",
    "Overlap": "neighbourhoods",
    "RankingMetrics": "ranking",
    "RowErrors": "rows",
    "compare_maps": "maps",
    "neighbour_overlap": "neighbourhoods",
    "rank": "ranking",
    "ranking_metrics": "ranking",
    "row_errors": "rows",
    "trustworthiness": "neighbourhoods",
    "tsne_map": "maps",
}

__all__ = [
    "MapComparison",
    "Overlap",
    "RankingMetrics",
    "RowErrors",
    "compare_maps",
    "neighbour_overlap",
    "rank",
    "ranking_metrics",
    "row_errors",
    "trustworthiness",
    "tsne_map",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"pintsize.evaluation.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'pintsize.evaluation' has no attribute {name!r}")
