"""Writes the tables of README and docs from the benchmarks' committed results.

A table stands between ``<!-- begin:NAME -->`` and ``<!-- end:NAME -->``; benchmarks/tables.json says what NAME is:
``results`` (the JSON file), ``command`` (what writes it), ``rows`` (dotted path to a list of records; ``results`` where
nothing is said), ``where`` (optional: values that a record must have), ``best`` (optional: of the records that agree in
the field ``by``, keep those whose ``method`` begins with ``beside``, and the one of the rest with most ``of``) and
``columns`` (heading: format string over the fields of a record, such as ``"{share:.1%}"``; ``{a[b]}`` reaches into a
nested record).

    python scripts/tables.py            rewrites what is out of date
    python scripts/tables.py --check    says what is out of date, and fails if anything is
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"(<!-- begin:(?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- end:(?P=name) -->)", re.DOTALL)


def markdown(table: dict[str, Any], root: Path) -> str:
    """The table as Markdown; where its results are missing, the command that makes them."""
    results = root / table["results"]
    rows: Any = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    for key in table.get("rows", "results").split("."):
        rows = rows.get(key, {})
    wanted = table.get("where", {})
    rows = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    if not rows:
        return f"*Not measured yet: `{table['command']}` writes `{table['results']}`.*\n"
    if "best" in table:
        rows = best(rows, **table["best"])
    columns: dict[str, str] = table["columns"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(text.format(**row) for text in columns.values()) + " |" for row in rows]
    return "\n".join(lines) + f"\n\nWritten by `{table['command']}` into `{table['results']}`.\n"


def best(rows: list[dict[str, Any]], by: str, of: str, beside: str) -> list[dict[str, Any]]:
    """The records of ours, and after them the best of the others, for each value of `by`."""
    kept = []
    for value in dict.fromkeys(row[by] for row in rows):
        here = [row for row in rows if row[by] == value]
        others = [row for row in here if not row["method"].startswith(beside)]
        kept += [row for row in here if row not in others] + sorted(others, key=lambda row: -row[of])[:1]
    return kept


def filled(text: str, tables: dict[str, Any], root: Path) -> str:
    """The text with every marked table written anew.

    Raises:
        SystemExit: A marker without its end, or with a name that benchmarks/tables.json does not have.
    """
    begun, whole = re.findall(r"<!-- begin:([\w-]+) -->", text), [match["name"] for match in MARKED.finditer(text)]
    if begun != whole:
        raise SystemExit(f"markers without an end: {sorted(set(begun) - set(whole)) or begun}")
    if unknown := sorted(set(whole) - set(tables)):
        raise SystemExit(f"tables that benchmarks/tables.json does not have: {', '.join(unknown)}")
    return MARKED.sub(lambda m: m[1] + markdown(tables[m["name"]], root) + m[4], text)


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Rewrites, or with ``--check`` only compares; 1 if something was out of date and ``--check`` was asked."""
    tables = json.loads((root / "benchmarks" / "tables.json").read_text(encoding="utf-8"))
    stale = []
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        if (new := filled(text, tables, root)) != text:
            stale.append(path)
            if "--check" not in arguments:
                path.write_text(new, encoding="utf-8")
    for path in stale:
        print(
            f"{path.relative_to(root)}: " + ("out of date; run make tables" if "--check" in arguments else "rewritten")
        )
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
