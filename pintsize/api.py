"""The functions that users call: from a table, two tables or a whole source to compressed tables and bundles."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeAlias

from pintsize.bundle import Bundle, BundleWriter, load
from pintsize.errors import MethodError, MissingExtra, TableError
from pintsize.formats.base import CompressedTable
from pintsize.methods import METHODS, method_class
from pintsize.methods.base import Method, PairMethod, PostTraining, Progress, TrainTime
from pintsize.methods.spec import parse
from pintsize.sources import open_source
from pintsize.table import EmbeddingTable

__all__ = [
    "MethodRow",
    "available_methods",
    "compress",
    "compress_pair",
    "compress_source",
    "method",
    "open_source",
]

MethodLike: TypeAlias = "str | Method"
TableProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with a table's name, its rows done and its rows in all."""

_KINDS: tuple[tuple[str, type[Method]], ...] = (
    ("after", PostTraining),
    ("during", TrainTime),
    ("pair", PairMethod),
)


class MethodRow(NamedTuple):
    """A registered method.

    Attributes:
        name: What its spec begins with.
        family: Which kind of idea it is.
        kinds: What it can do: ``"after"`` training, ``"during"`` it, or a ``"pair"`` of tables.
        paper: Where it was published.
    """

    name: str
    family: str
    kinds: tuple[str, ...]
    paper: str


def method(spec: MethodLike) -> Method:
    """The method that a spec such as ``"rotated:bits=2"`` names; a method is returned as it is.

    Raises:
        MethodError: An unknown name or field, or a value that does not fit.
    """
    return parse(spec)


def available_methods() -> list[MethodRow]:
    """Every registered method, by name; those that only train in torch are left out where it is not installed."""
    rows = []
    for name in sorted(METHODS):
        try:
            kind = method_class(name)
        except MissingExtra:
            continue
        kinds = tuple(word for word, base in _KINDS if issubclass(kind, base))
        rows.append(MethodRow(name, kind.family, kinds, kind.paper))
    return rows


def compress(table: Any, method: MethodLike, *, seed: int = 0, progress: Progress | None = None) -> CompressedTable:
    """Compresses one table.

    Args:
        table: (num_embeddings, embedding_dim) floats: array, tensor, memory map or `EmbeddingTable`; never changed.
        method: A spec or a method that works after training.
        seed: The same seed gives the same bytes.
        progress: Called with rows done and rows in all.

    Returns:
        The table, backed by NumPy arrays whatever `table` was.

    Raises:
        MethodError: The method is unknown, or cannot be applied to this table.
        TableError: No table, or a row that is not finite.
    """
    return _after_training(parse(method)).compress(_as_table(table), seed=seed, progress=progress)


def compress_pair(
    left: Any, right: Any, method: MethodLike, *, seed: int = 0, progress: Progress | None = None
) -> tuple[CompressedTable, CompressedTable]:
    """Compresses two tables that meet in inner products, such as users and items.

    Args:
        left: (num_left, embedding_dim) floats, as for `compress`: the side that asks (users, queries).
        right: (num_right, embedding_dim) floats: the side that is ranked (items).
        method: A spec or a method. One that compresses table by table is applied to both sides.
        seed: The same seed gives the same bytes.
        progress: Called with rows done and rows in all.

    Returns:
        Both tables, NumPy-backed. After a pair method only their inner products mean anything, and their width may
        differ from `embedding_dim`.

    Raises:
        MethodError: The method is unknown, or cannot be applied to these tables.
        TableError: Widths that differ, or a row that is not finite.
    """
    chosen, tables = parse(method), (_as_table(left), _as_table(right))
    if tables[0].embedding_dim != tables[1].embedding_dim:
        widths = f"{tables[0].embedding_dim} and {tables[1].embedding_dim}"
        raise TableError(f"a pair of tables has one number of columns; found {widths}")
    if isinstance(chosen, PairMethod):
        return chosen.compress_pair(*tables, seed=seed, progress=progress)
    one = _after_training(chosen)
    return (
        one.compress(tables[0], seed=seed, progress=progress),
        one.compress(tables[1], seed=seed, progress=progress),
    )


def compress_source(
    path_or_module: Any,
    method: MethodLike | Mapping[str, MethodLike],
    *,
    tables: str = "*",
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    pair: tuple[str, str] | None = None,
    progress: TableProgress | None = None,
) -> Bundle:
    """Compresses the tables of a source into a bundle, in bounded memory where the method encodes row by row.

    Args:
        path_or_module: What `open_source` takes, or what it gave: tables by name.
        method: One spec or method for all tables, or one for each pattern of names; the first pattern that matches a
            table decides.
        tables: A pattern of names; other tables are left out.
        out: Where the bundle goes, whole or not at all. None: a temporary directory that is removed when the bundle is
            no longer used.
        seed: The same seed gives the same bytes.
        pair: Two of the names, (left, right), for a method that compresses two tables together. With a single method
            only these two are compressed.
        progress: Called with a table's name, its rows done and its rows in all.

    Raises:
        MethodError: An unknown method, a table that no pattern matches, or a pair method without its pair.
        TableError: Nothing that can be read, or a row that is not finite; nothing is left at `out`.
        BundleError: The bundle cannot be written.
    """
    methods = method if isinstance(method, Mapping) else {"*": parse(method)}
    names: Any = tables if pair is None or isinstance(method, Mapping) or tables != "*" else list(pair)
    opened = _selected(path_or_module, names)
    chosen = _assigned(opened, methods)
    _check_pair(chosen, pair)
    if out is not None:
        _write(opened, chosen, out, seed, pair, progress)
        return load(out)
    place = tempfile.TemporaryDirectory(prefix="pintsize-")
    try:
        _write(opened, chosen, os.path.join(place.name, "bundle"), seed, pair, progress)
        bundle = load(os.path.join(place.name, "bundle"))
    except BaseException:
        place.cleanup()
        raise
    # Tables that outlive the bundle keep their mapped files: unlinking takes only the names away.
    weakref.finalize(bundle, place.cleanup)
    return bundle


def _as_table(table: Any) -> EmbeddingTable:
    return table if isinstance(table, EmbeddingTable) else EmbeddingTable(table)


def _after_training(chosen: Method) -> PostTraining:
    if isinstance(chosen, PostTraining):
        return chosen
    if isinstance(chosen, PairMethod):
        raise MethodError(f"{chosen} compresses two tables together; use compress_pair, or --pair LEFT,RIGHT")
    raise MethodError(f"{chosen} works during training only; choose a method that compresses a trained table")


def _selected(source: Any, names: Any) -> dict[str, EmbeddingTable]:
    given = isinstance(source, Mapping) and all(isinstance(t, EmbeddingTable) for t in source.values())
    if not given:
        return open_source(source, names)
    patterns = [names] if isinstance(names, str) else names
    found = {n: t for n, t in source.items() if any(fnmatchcase(n, pattern) for pattern in patterns)}
    if not found:
        raise TableError(f"no table matches {', '.join(patterns)}; there are {', '.join(source) or 'none'}")
    return found


def _assigned(tables: Mapping[str, EmbeddingTable], methods: Mapping[str, MethodLike]) -> dict[str, Method]:
    parsed = {pattern: parse(spec) for pattern, spec in methods.items()}
    chosen = {}
    for name in tables:
        match = next((m for pattern, m in parsed.items() if fnmatchcase(name, pattern)), None)
        if match is not None:
            chosen[name] = match
    if missing := [name for name in tables if name not in chosen]:
        raise MethodError(
            f"no method for {', '.join(missing)}: none of the patterns {', '.join(parsed) or '(none given)'} matches; "
            "add one, or leave these tables out with tables= (--tables)"
        )
    return chosen


def _check_pair(chosen: Mapping[str, Method], pair: tuple[str, str] | None) -> None:
    if pair is not None:
        if missing := [name for name in pair if name not in chosen]:
            raise TableError(f"the pair names {', '.join(missing)}; the tables are {', '.join(chosen)}")
        if pair[0] == pair[1]:
            raise TableError(f"a pair is two tables; found {pair[0]} twice")
        if chosen[pair[0]] != chosen[pair[1]] or not isinstance(chosen[pair[0]], PairMethod):
            found = f"{chosen[pair[0]]} and {chosen[pair[1]]}"
            raise MethodError(f"a pair needs one method that compresses two tables together; found {found}")
    for name, one in chosen.items():
        if isinstance(one, PairMethod) and name not in (pair or ()):
            raise MethodError(
                f"{one} compresses two tables together, and {name} belongs to no pair; name the two with pair= "
                "(--pair LEFT,RIGHT)"
            )


def _write(
    tables: Mapping[str, EmbeddingTable],
    chosen: Mapping[str, Method],
    out: str | os.PathLike[str],
    seed: int,
    pair: tuple[str, str] | None,
    progress: TableProgress | None,
) -> None:
    def told(name: str) -> Progress | None:
        return None if progress is None else lambda done, total: progress(name, done, total)

    notes = {"seed": seed, "source_columns": {name: table.embedding_dim for name, table in tables.items()}}
    with BundleWriter(out, notes=notes) as writer:
        made: dict[str, CompressedTable] = {}
        for name, table in tables.items():
            one = chosen[name]
            if isinstance(one, PairMethod) and pair is not None:
                if not made:
                    left, right = tables[pair[0]], tables[pair[1]]
                    both = one.compress_pair(left, right, seed=seed, progress=told(",".join(pair)))
                    made = dict(zip(pair, both, strict=True))
                compressed = made[name]
            else:
                compressed = _after_training(one).compress(
                    table, seed=seed, allocate=writer.allocate(name), progress=told(name)
                )
            writer.add(name, compressed, ids=table.ids, method=one)
