"""``python -m pintsize``: the command line."""

from pintsize.cli import app

app(prog_name="pintsize")
