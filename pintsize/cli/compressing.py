"""``pintsize compress``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pintsize.cli._screen import AsJson, progress
from pintsize.cli.bundles import show_bundle

__all__ = ["compress"]


def compress(
    source: Annotated[str, typer.Argument(help=".npy, .npz, .safetensors, a torch checkpoint or Parquet.")],
    method: Annotated[
        list[str],
        typer.Option(
            "--method", "-m", help="A spec such as rotated:bits=2; or PATTERN=SPEC, several times, first match wins."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bundle to write.")],
    tables: Annotated[str, typer.Option(help="Pattern of the names of tables to take.")] = "*",
    pair: Annotated[
        str | None, typer.Option(metavar="LEFT,RIGHT", help="Two tables to compress together, e.g. user,item.")
    ] = None,
    on_nan: Annotated[
        str, typer.Option(metavar="[raise|zero]", help="NaN and infinity: an error, or read as 0.")
    ] = "raise",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compress the embedding tables of a source into a bundle."""
    if on_nan not in ("raise", "zero"):
        raise typer.BadParameter(f"raise or zero; found {on_nan!r}", param_hint="--on-nan")
    chosen, two = _methods(method), _pair(pair)
    from pintsize.api import compress_source, open_source

    names: Any = list(two) if two is not None and tables == "*" and isinstance(chosen, str) else tables
    opened = open_source(source, names)
    if on_nan == "zero":
        opened = {name: table.zero_nonfinite() for name, table in opened.items()}
    with progress() as told:
        bundle = compress_source(opened, chosen, out=out, seed=seed, pair=two, progress=told)
    show_bundle(bundle, as_json)


def _methods(given: list[str]) -> str | dict[str, str]:
    """One spec, or specs by pattern. A spec has its colon before any equals sign; a pattern has no colon."""
    chosen: dict[str, str] = {}
    for text in given:
        pattern, equals, spec = text.partition("=")
        if not equals or ":" in pattern:
            if len(given) > 1:
                raise typer.BadParameter(f"several methods are written PATTERN=SPEC; found {text!r}", param_hint="-m")
            return text
        chosen.setdefault(pattern, spec)
    return chosen


def _pair(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise typer.BadParameter(f"two names parted by a comma; found {text!r}", param_hint="--pair")
    return names[0], names[1]
