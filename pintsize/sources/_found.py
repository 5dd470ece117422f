"""What a source holds: the tables, and what is not a table and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pintsize.arrays import dtype_name
from pintsize.errors import PintsizeError, TableError
from pintsize.table import EmbeddingTable, Ids

__all__ = ["Found", "described", "first_line", "not_a_table", "reading"]

FLOATS = ("bfloat16", "float16", "float32", "float64")
_LISTED = 40


@contextmanager
def reading(where: Path | str) -> Iterator[None]:
    """Turns whatever a broken file makes a parser raise into a TableError that names the file."""
    try:
        yield
    except (PintsizeError, MemoryError):
        raise
    except Exception as error:
        reason = first_line(error)
        raise TableError(f"{where}: cannot be read: {reason}; the file may be cut short or damaged") from error


def first_line(error: Exception) -> str:
    """What an error says, without the advice to developers that may follow."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".;") if lines else type(error).__name__


def described(shape: Sequence[int], dtype: str) -> str:
    """``(1000, 64) float32``."""
    return f"({', '.join(map(str, shape))}) {dtype}"


def not_a_table(shape: Sequence[int], dtype: str) -> str | None:
    """Why an array of this shape and dtype is no embedding table, or None if it is one."""
    if len(shape) != 2:
        return f"{len(shape)} dimension{'s' * (len(shape) != 1)}, not 2"
    if dtype not in FLOATS:
        return f"{dtype} is not one of {', '.join(FLOATS)}"
    if shape[1] == 0:
        return "no columns"
    return None


@dataclass
class Found:
    """Tables by name, in the order found, and the reasons why other entries are none."""

    tables: dict[str, EmbeddingTable] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, rows: Any, shape: Sequence[int], dtype: str, ids: Ids | None = None) -> None:
        """Takes `rows` as a table if its shape and dtype are a table's, and notes why not otherwise."""
        reason = not_a_table(shape, dtype)
        if reason:
            self.skip(name, f"{described(shape, dtype)}: {reason}")
        else:
            self.put(name, EmbeddingTable(rows, ids))

    def put(self, name: str, table: EmbeddingTable) -> None:
        """Takes a table; a name stands once."""
        if name in self.tables:
            raise TableError(f"two tables are called {name!r}; names must differ")
        self.tables[name] = table

    def skip(self, name: str, reason: str) -> None:
        """Notes why an entry is no table."""
        self.skipped[name] = reason

    def extend(self, other: Found) -> None:
        """Takes all that another part of the same source holds."""
        for name, table in other.tables.items():
            self.put(name, table)
        self.skipped.update(other.skipped)

    def select(self, patterns: str | Sequence[str], where: str) -> dict[str, EmbeddingTable]:
        """The tables whose names match a pattern.

        Raises:
            TableError: None does; lists what there is.
        """
        wanted = [patterns] if isinstance(patterns, str) else list(patterns)
        chosen = {n: t for n, t in self.tables.items() if any(fnmatchcase(n, pattern) for pattern in wanted)}
        if chosen:
            return chosen
        if self.tables:
            head = f"{where}: no table matches {', '.join(map(repr, wanted)) or 'an empty list of patterns'}"
        else:
            head = f"{where}: holds no table (a table is a two-dimensional array of floats)"
        tables = [f"{n} {described(t.rows.shape, dtype_name(t.rows))}" for n, t in self.tables.items()]
        skipped = [f"{n} {reason}" for n, reason in self.skipped.items()]
        raise TableError(head + _listed("tables", tables) + _listed("not tables", skipped))


def _listed(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    more = [f"... and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return f"\n{title}:" + "".join(f"\n  {line}" for line in [*lines[:_LISTED], *more])
