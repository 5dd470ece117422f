"""``pintsize inspect``, ``verify``, ``lookup`` and ``export``: what is asked of a bundle."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pintsize.cli._screen import AsJson, amount, emit, show_table

if TYPE_CHECKING:
    from pintsize.bundle import Bundle
    from pintsize.formats.base import CompressedTable

__all__ = ["export", "format_of", "inspect", "lookup", "show_bundle", "source_columns", "verify"]

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The directory of a bundle.")]


def inspect(bundle: BundlePath, as_json: AsJson = False) -> None:
    """Show the tables of a bundle: format, method, shape, bytes, ratio to float32, files."""
    from pintsize.bundle import load

    show_bundle(load(bundle), as_json)


def verify(bundle: BundlePath, as_json: AsJson = False) -> None:
    """Read a bundle whole and check every byte; exit 1 if it is not what was saved."""
    from pintsize import bundle as bundles
    from pintsize.errors import BundleError

    if not bundle.exists():
        raise FileNotFoundError(2, "there is no such bundle", str(bundle))
    try:
        bundles.verify(bundle)
    except BundleError as error:
        if as_json:
            emit({"bundle": str(bundle), "ok": False, "error": str(error)})
        else:
            typer.echo(f"broken: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        emit({"bundle": str(bundle), "ok": True, "error": None})
    else:
        typer.echo(f"{bundle}: every byte is as it was saved")


def lookup(
    bundle: BundlePath,
    table: Annotated[str, typer.Argument(help="The name of a table.")],
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="The user's ids where the table has them, else rows.")
    ],
    as_json: AsJson = False,
) -> None:
    """Print the rows of some ids."""
    from pintsize.bundle import load
    from pintsize.errors import TableError

    opened = load(bundle)
    if table not in opened:
        raise TableError(f"{bundle} has no table {table!r}; it has {', '.join(opened)}")
    asked = _asked(opened, table, ids)
    try:
        rows = opened.lookup(table, asked)
    except KeyError as error:
        raise TableError(f"table {table!r} has no id {error.args[0]!r}") from None
    if as_json:
        emit({"table": table, "ids": asked, "rows": [[float(x) for x in row] for row in rows.tolist()]})
        return
    for name, row in zip(asked, rows, strict=True):
        typer.echo(f"{name}\t" + " ".join(f"{x:.6g}" for x in row))


def export(
    bundle: BundlePath,
    out: Annotated[Path, typer.Argument(help="Where to; the suffix says how: .npy .npz .safetensors .pt .parquet")],
    tables: Annotated[str, typer.Option(help="Pattern of the names of tables to take.")] = "*",
    as_json: AsJson = False,
) -> None:
    """Write the tables of a bundle back as float32 rows."""
    from pintsize.bundle import load
    from pintsize.errors import TableError
    from pintsize.sources import write_source

    opened = load(bundle)
    names = [name for name in opened if fnmatchcase(name, tables)]
    if not names:
        raise TableError(f"no table of {bundle} matches {tables!r}; it has {', '.join(opened)}")
    # Only Parquet has a place for ids; elsewhere rows keep their order.
    ids = {n: opened.ids[n] for n in names if n in opened.ids} if out.suffix.lower() == ".parquet" else None
    write_source({name: opened[name] for name in names}, out, ids=ids or None)
    if as_json:
        emit({"out": str(out), "tables": names, "bytes": out.stat().st_size})
    else:
        typer.echo(f"{out}: {', '.join(names)}, {amount(out.stat().st_size)}")


def show_bundle(bundle: Bundle, as_json: bool) -> None:
    """Prints what a bundle holds."""
    rows = [_described(bundle, name) for name in bundle]
    total, full = bundle.nbytes, sum(row["bytes_float32"] for row in rows)
    on_disk = sum(entry["bytes"] for entry in bundle.manifest["files"].values())
    if as_json:
        said = {"creator": bundle.manifest["creator"], "notes": dict(bundle.manifest["notes"])}
        sizes = {"bytes": total, "bytes_float32": full, "ratio": full / total if total else None}
        emit({"bundle": str(bundle.path), **said, **sizes, "bytes_on_disk": on_disk, "tables": rows})
        return
    columns = ["table", "format", "method", "files", "rows", "columns", "bytes", "times smaller"]
    cells = [
        (
            *(r["table"], r["format"], r["method"], " ".join(f["name"] for f in r["files"])),
            *(f"{r['rows']:,}", r["columns"], f"{r['bytes']:,}", _times(r["ratio"])),
        )
        for r in rows
    ]
    show_table(columns, cells, left=4)
    smaller = f", {full / total:.1f} times smaller than float32" if total else ""
    typer.echo(f"{bundle.path}: {amount(total)}{smaller}; {amount(on_disk)} of files, ids included")


def format_of(table: CompressedTable) -> str:
    """The format's tag, and in brackets those of the tables inside it."""
    inner = sorted({format_of(part) for _, part in table.nested()})
    return table.tag + (f"({', '.join(inner)})" if inner else "")


def source_columns(bundle: Bundle, name: str) -> int:
    """Columns of the table that was compressed, where the bundle says so; pair methods may serve another number."""
    said = bundle.manifest["notes"].get("source_columns")
    columns = said.get(name) if isinstance(said, dict) else None
    return columns if type(columns) is int and columns > 0 else bundle[name].embedding_dim


def _described(bundle: Bundle, name: str) -> dict[str, Any]:
    table, entry = bundle[name], bundle.manifest["tables"][name]
    full = 4 * table.num_embeddings * source_columns(bundle, name)
    files = [entry["file"], *([entry["ids"]["file"]] if entry["ids"] else [])]
    return {
        "table": name,
        "format": format_of(table),
        "method": entry["method"],
        "rows": table.num_embeddings,
        "columns": table.embedding_dim,
        "bytes": table.nbytes,
        "bytes_float32": full,
        "ratio": full / table.nbytes if table.nbytes else None,
        "ids": entry["ids"]["kind"] if entry["ids"] else None,
        "files": [{"name": file, **bundle.manifest["files"][file]} for file in files],
    }


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}"


def _asked(bundle: Bundle, table: str, ids: list[str]) -> list[Any]:
    from pintsize.errors import TableError

    if table in bundle.ids and not bundle.ids[table].is_integer:
        return list(ids)
    asked = []
    for text in ids:
        try:
            asked.append(int(text))
        except ValueError:
            what = "ids" if table in bundle.ids else "rows (it has no ids)"
            raise TableError(f"{what} of table {table!r} are integers; found {text!r}") from None
        if not -(2**63) <= asked[-1] < 2**63:
            raise TableError(f"table {table!r} has no id {text}")
    return asked
