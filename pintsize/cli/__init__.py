"""The command line: parse, call, print. Commands import what they need when they run."""

from __future__ import annotations

import errno
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pintsize.cli import bundles, comparing, compressing, showing

__all__ = ["app"]


class _Commands(TyperGroup):
    """Answers foreseen errors with one line on stderr and exit code 2, as wrong use is."""

    def invoke(self, ctx: Any) -> Any:
        from pintsize.errors import PintsizeError

        try:
            return super().invoke(ctx)
        except (PintsizeError, IndexError, KeyError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise
            typer.echo(f"error: {_one_line(error)}", err=True)
            raise typer.Exit(2) from error


def _one_line(error: BaseException) -> str:
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        text = error.args[0]
    elif isinstance(error, KeyError):
        text = f"no such key: {error}"
    elif isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__


def _version(wanted: bool) -> None:
    if wanted:
        from pintsize import __version__

        typer.echo(f"pintsize {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Small embedding tables for recommender systems: compress, keep, look up, with the loss measured.

    Every command takes --json. Exit codes: 0 done, 1 the answer is no, 2 wrong use or bad input.
    """


app.command()(compressing.compress)
app.command()(bundles.inspect)
app.command()(bundles.verify)
app.command(context_settings={"ignore_unknown_options": True})(bundles.lookup)
app.command()(comparing.evaluate)
app.command()(bundles.export)
app.command()(showing.methods)
app.command("map")(comparing.draw_map)
app.command()(showing.demo)
