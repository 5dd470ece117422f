"""``pintsize methods`` and ``pintsize demo``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pintsize.cli._screen import AsJson, emit, show_table

__all__ = ["demo", "methods"]


def methods(as_json: AsJson = False) -> None:
    """List the methods: name, family, what each can do, and its paper."""
    from pintsize.api import available_methods

    rows = available_methods()
    if as_json:
        emit([{**row._asdict(), "kinds": list(row.kinds)} for row in rows])
    else:
        show_table(
            ["name", "family", "does", "paper"],
            [[row.name, row.family, ", ".join(row.kinds), row.paper] for row in rows],
            left=4,
        )


def demo(
    data: Annotated[
        Path | None, typer.Option(help="ml-100k.zip, its directory, or RecBole's wheel; downloaded once by default.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the bundle and the page go.")] = Path("demo-output"),
    seed: Annotated[int, typer.Option(help="Of the split, the vectors and the methods.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compress the users and films of MovieLens 100K by many methods, and show what each size costs."""
    from pintsize.lab.demo import run_demo

    quiet = as_json
    result = run_demo(
        data,
        out,
        seed=seed,
        told=None if quiet else lambda line: typer.echo(line, err=True),
    )
    if as_json:
        emit(asdict(result))
        return
    show_table(
        ["method", "bytes", "times smaller", "Recall@20", "NDCG@20", "of float32", "look-ups/s"],
        [
            (
                *("float32" if p.method == "full" else p.method, f"{p.bytes:,}", f"{p.ratio:.1f}"),
                *(f"{p.recall:.4f}", f"{p.ndcg:.4f}", f"{p.share:.1%}", f"{p.lookups_per_second:,.0f}"),
            )
            for p in result.points
        ],
    )
    typer.echo(f"bundle: {result.bundle} ({result.bundle_method})")
    typer.echo(f"page:   {result.page}")
