"""``pintsize evaluate`` and ``pintsize map``: a source against the bundle that was made of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pintsize.cli._screen import AsJson, emit, show_table

if TYPE_CHECKING:
    from pintsize.bundle import Bundle
    from pintsize.table import EmbeddingTable

__all__ = ["draw_map", "evaluate"]

Source = Annotated[str, typer.Argument(help="The tables as they were.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle that was made of them.")]
Seed = Annotated[int, typer.Option(help="Of the samples that are drawn.")]


def evaluate(
    source: Source,
    bundle: BundlePath,
    tables: Annotated[str, typer.Option(help="Pattern of the names of tables to compare.")] = "*",
    k: Annotated[int, typer.Option("--k", min=1, help="Length of the lists.")] = 20,
    queries: Annotated[int, typer.Option(min=1, help="Rows whose neighbours are compared.")] = 1000,
    metric: Annotated[str, typer.Option(metavar="[cosine|inner]", help="What makes neighbours near.")] = "cosine",
    interactions: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="TRAIN TEST", help="Parquet files (user, item): adds Recall and NDCG."),
    ] = None,
    users: Annotated[str | None, typer.Option(help="The table of users, with --interactions.")] = None,
    items: Annotated[str | None, typer.Option(help="The table of items, with --interactions.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure what compression lost: row error, cosine, nearest rows, and Recall and NDCG given interactions."""
    if interactions is not None and (users is None or items is None):
        raise typer.BadParameter("name the two tables with --users and --items", param_hint="--interactions")
    given, opened = _both(source, bundle, tables)
    measured = [_compared(given[name], opened, name, k, queries, metric, seed) for name in given if name in opened]
    found: dict[str, Any] = {"tables": measured, "ranking": None}
    if interactions is not None and users is not None and items is not None:
        found["ranking"] = _ranking(given, opened, (users, items), interactions, k)
    if as_json:
        emit(found)
        return
    _show(measured, k, metric)
    if found["ranking"] is not None:
        _show_ranking(found["ranking"], k)


def draw_map(
    source: Source,
    bundle: BundlePath,
    table: Annotated[
        str, typer.Option("--table", "-t", help="The table to draw; not needed if there is only one.")
    ] = "",
    labels: Annotated[Path | None, typer.Option(help="Parquet or CSV with a column to colour by.")] = None,
    colour: Annotated[str | None, typer.Option(help="The column to colour by.")] = None,
    key: Annotated[str, typer.Option(help="The column of ids in --labels (rows, if the table has no ids).")] = "id",
    points: Annotated[int, typer.Option(min=8, help="Rows to draw.")] = 5000,
    fit: Annotated[
        int, typer.Option(min=8, help="Rows each map is fitted on; the others are placed among them.")
    ] = 2000,
    k: Annotated[int, typer.Option("--k", min=1, help="Neighbours, for the numbers.")] = 15,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("map.html"),
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw a table before and after compression side by side (t-SNE), as one HTML page."""
    if (labels is None) != (colour is None):
        raise typer.BadParameter("--labels and --colour go together")
    given, opened = _both(source, bundle, table or "*")
    names = [name for name in given if name in opened]
    if len(names) != 1:
        raise typer.BadParameter(f"name one table of {', '.join(names)}", param_hint="--table")
    from pintsize.evaluation import compare_maps
    from pintsize.lab.map_page import read_labels, write_map_page

    (name,) = names
    known = opened.ids.get(name) or given[name].ids
    values = (
        None
        if labels is None or colour is None
        else read_labels(labels, key, colour, known, opened[name].num_embeddings)
    )
    found = compare_maps(given[name], opened[name], points=points, fit=fit, k=k, seed=seed)
    method = opened.manifest["tables"][name]["method"] or "method not recorded"
    write_map_page(out, found, name, method, known, values, colour)
    numbers = {
        "overlap": asdict(found.overlap),
        "trustworthiness_before": found.trust_before,
        "trustworthiness_after": found.trust_after,
        "points": len(found.rows),
        "fitted": found.fitted,
    }
    if as_json:
        emit({"out": str(out), "table": name, "method": method, **numbers})
        return
    typer.echo(f"{out}: {len(found.rows)} rows of {name}, before and after {method}")
    typer.echo(f"nearest {found.overlap.k} kept: {found.overlap.mean:.1%}")
    typer.echo(f"trustworthiness of the maps: {found.trust_before:.3f} before, {found.trust_after:.3f} after")


def _both(source: str, bundle: Path, pattern: str) -> tuple[dict[str, EmbeddingTable], Bundle]:
    from pintsize.bundle import load
    from pintsize.errors import TableError
    from pintsize.sources import open_source

    opened = load(bundle)
    given = open_source(source, pattern)
    if not any(name in opened for name in given):
        raise TableError(f"no table is in both: {source} has {', '.join(given)}; {bundle} has {', '.join(opened)}")
    return given, opened


def _compared(
    table: EmbeddingTable, bundle: Bundle, name: str, k: int, queries: int, metric: Any, seed: int
) -> dict[str, Any]:
    from pintsize.evaluation import neighbour_overlap, row_errors

    compressed, method = bundle[name], bundle.manifest["tables"][name]["method"]
    rows = (
        None if _of_a_pair(method) or table.embedding_dim != compressed.embedding_dim else row_errors(table, compressed)
    )
    near = None
    if table.num_embeddings > 1:
        near = asdict(neighbour_overlap(table, compressed, k=k, queries=queries, metric=metric, seed=seed))
    return {
        "table": name,
        "method": method,
        "bytes": compressed.nbytes,
        "ratio": table.nbytes_float32 / compressed.nbytes if compressed.nbytes else None,
        "rows": None if rows is None else asdict(rows),
        "neighbours": near,
    }


def _of_a_pair(spec: str | None) -> bool:
    """Whether a pair method made the table: its columns are then others than the source's."""
    from pintsize.errors import MethodError
    from pintsize.methods.base import PairMethod
    from pintsize.methods.spec import parse

    try:
        return spec is not None and isinstance(parse(spec), PairMethod)
    except MethodError:
        return False


def _ranking(
    given: dict[str, EmbeddingTable], bundle: Bundle, pair: tuple[str, str], files: tuple[Path, Path], k: int
) -> dict[str, Any]:
    import numpy as np

    from pintsize.errors import TableError
    from pintsize.evaluation import ranking_metrics
    from pintsize.evaluation.interactions import read_interactions

    for name in pair:
        if name not in given or name not in bundle:
            raise TableError(f"table {name!r} is not in both the source and the bundle")
    ids = [bundle.ids.get(name) or given[name].ids for name in pair]
    sizes = [bundle[name].num_embeddings for name in pair]
    train, test = (read_interactions(f, *sizes, user_ids=ids[0], item_ids=ids[1]) for f in files)
    if not len(test[1]):
        raise TableError(f"{files[1]}: there are no interactions to judge by")
    before = ranking_metrics(given[pair[0]].array(), given[pair[1]].array(), test, exclude=train, k=k)
    users, items = (bundle[name].lookup(np.arange(n)) for name, n in zip(pair, sizes, strict=True))
    after = ranking_metrics(users, items, test, exclude=train, k=k)
    found: dict[str, Any] = {"k": k, "num_users": after.num_users}
    for name in ("recall", "ndcg"):
        x, y = getattr(before, name), getattr(after, name)
        found[name] = {
            "float32": x.mean,
            "compressed": y.mean,
            "share": y.mean / x.mean if x.mean else None,
            "standard_error": y.standard_error if after.num_users > 1 else None,
        }
    return found


def _show(measured: list[dict[str, Any]], k: int, metric: str) -> None:
    cells = []
    for one in measured:
        rows, near = one["rows"], one["neighbours"]
        error = f"{rows['relative']:.4g}" if rows and rows["relative"] is not None else "-"
        cosine = f"{rows['cosine']['mean']:.4f}" if rows and rows["cosine"] else "-"
        low = f"{rows['cosine']['p05']:.4f}" if rows and rows["cosine"] else "-"
        kept = f"{near['mean']:.1%}" if near else "-"
        ratio = "-" if one["ratio"] is None else f"{one['ratio']:.1f}"
        cells.append([one["table"], one["method"] or "-", ratio, error, cosine, low, kept])
    names = ["table", "method", "times smaller", "row error", "cosine", "cosine p05", f"nearest {k} kept ({metric})"]
    show_table(names, cells, left=2)
    if any(one["rows"] is None for one in measured):
        typer.echo("-: the method keeps products of two tables, not rows; judge it by --interactions")


def _show_ranking(found: dict[str, Any], k: int) -> None:
    cells = []
    for name, words in (("recall", f"Recall@{k}"), ("ndcg", f"NDCG@{k}")):
        one = found[name]
        share = "-" if one["share"] is None else f"{one['share']:.1%}"
        cells.append([words, f"{one['float32']:.4f}", f"{one['compressed']:.4f}", share])
    show_table(["", "float32", "compressed", "share"], cells)
    typer.echo(f"over {found['num_users']:,} users, all items ranked, those of training left out")
