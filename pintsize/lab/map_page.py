"""The page of `pintsize map`: two maps side by side in one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.evaluation.maps import MapComparison
from pintsize.ids import Ids

__all__ = ["read_labels", "write_map_page"]

_PALETTE = (
    "#1d5fa6",
    "#c2410c",
    "#0f766e",
    "#7e3fa8",
    "#b4870b",
    "#be185d",
    "#0891b2",
    "#4d7c0f",
    "#6d4c41",
    "#374151",
)
_OTHER = "#c3cad1"


def read_labels(path: str | Path, key: str, column: str, ids: Ids | None, num_rows: int) -> list[str | float | None]:
    """A column of a Parquet or CSV file, row by row of a table.

    Args:
        path: The file; ``.csv`` and ``.tsv`` are read as text, all else as Parquet.
        key: The column that names rows.
        column: The column wanted.
        ids: The names of the table's rows; None where `key` holds row numbers.
        num_rows: Rows of the table.

    Returns:
        Numbers where the column is numeric, else strings; None for a row that the file does not have.

    Raises:
        TableError: No such file or column, or a key that stands twice.
    """
    frame = _frame(Path(path))
    for name in (key, column):
        if name not in frame.column_names:
            raise TableError(f"{path}: there is no column {name!r}; it has {', '.join(frame.column_names)}")
    keys = frame[key].combine_chunks()
    wanted = pa.array(np.arange(num_rows)) if ids is None else ids.arrow
    if pa.types.is_integer(keys.type) != pa.types.is_integer(wanted.type):
        keys, wanted = keys.cast(pa.large_string()), wanted.cast(pa.large_string())
    else:
        keys = keys.cast(wanted.type)
    if len(pc.unique(keys)) != len(keys):
        raise TableError(f"{path}: column {key!r} names a row twice")
    values = frame[column].combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    numeric = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    values = values.cast(pa.float64() if numeric else pa.large_string())
    found: list[str | float | None] = values.take(pc.index_in(wanted, value_set=keys)).to_pylist()
    return found


def write_map_page(
    path: str | Path,
    found: MapComparison,
    table: str,
    method: str,
    ids: Ids | None,
    values: Sequence[str | float | None] | None,
    column: str | None,
) -> None:
    """Writes the page.

    Args:
        path: Where it goes.
        found: The two maps.
        table: The table's name.
        method: What compressed it.
        ids: The names of its rows.
        values: What each row of the table is coloured by.
        column: What `values` are called.
    """
    own = None if values is None else [values[row] for row in found.rows.tolist()]
    colours, legend = _colours(own, len(found.rows))
    names = found.rows.tolist() if ids is None else ids.take(found.rows).to_list()
    said = [str(n) if own is None or v is None else f"{n}: {v}" for n, v in zip(names, own or names, strict=True)]
    data = {"before": _places(found.before), "after": _places(found.after), "colours": colours, "names": said}
    template = Template((files("pintsize.lab") / "pages" / "map.html").read_text("utf-8"))
    text = template.substitute(
        table=escape(table),
        method=escape(method),
        # A script ends at the first "</", wherever it stands.
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        legend=legend,
        column="" if column is None else f"Coloured by {escape(column)}.",
        points=f"{len(found.rows):,}",
        fitted=f"{found.fitted:,}",
        k=found.overlap.k,
        queries=f"{found.overlap.num_queries:,}",
        overlap=f"{found.overlap.mean:.1%}",
        trust_before=f"{found.trust_before:.3f}",
        trust_after=f"{found.trust_after:.3f}",
    )
    Path(path).write_text(text, "utf-8")


def _frame(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            from pyarrow import csv

            return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter="\t" if path.suffix == ".tsv" else ","))
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path}: a Parquet or CSV file with labels is needed ({error})") from error


def _places(places: NDArray[np.float64]) -> list[list[float]]:
    """Into the unit square, three digits, the shape kept."""
    low = places.min(axis=0)
    span = float((places.max(axis=0) - low).max()) or 1.0
    return np.round((places - low) / span, 3).tolist()  # type: ignore[no-any-return]


def _colours(values: Sequence[Any] | None, n: int) -> tuple[list[str], str]:
    """A colour a row, and the legend as HTML."""
    if values is None:
        return [_PALETTE[0]] * n, ""
    known = [v for v in values if v is not None and v == v]
    if known and isinstance(known[0], float) and len(set(known)) > len(_PALETTE):
        return _by_amount(values, np.array(known))
    common = sorted(value for value, _ in Counter(known).most_common(len(_PALETTE)))
    colour_of = dict(zip(common, _PALETTE, strict=False))
    rest = sum(v not in colour_of for v in values)
    entries = [_entry(colour, _text(value)) for value, colour in colour_of.items()]
    return [colour_of.get(v, _OTHER) for v in values], "".join(
        [*entries, _entry(_OTHER, "others")] if rest else entries
    )


def _by_amount(values: Sequence[Any], known: NDArray[np.float64]) -> tuple[list[str], str]:
    low, high = np.quantile(known, [0.02, 0.98])
    colours = []
    for value in values:
        if value is None or value != value:
            colours.append(_OTHER)
            continue
        part = min(max((value - low) / ((high - low) or 1), 0), 1)
        # From blue to orange through a grey of middling lightness.
        start, end = ((29, 95, 166), (150, 150, 150)) if part < 0.5 else ((150, 150, 150), (224, 90, 20))
        along = 2 * part if part < 0.5 else 2 * part - 1
        colours.append("#" + "".join(f"{round(a + (b - a) * along):02x}" for a, b in zip(start, end, strict=True)))
    return colours, _entry("#1d5fa6", f"{low:g} or less") + _entry("#969696", "between") + _entry(
        "#e05a14", f"{high:g} or more"
    )


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _entry(colour: str, text: str) -> str:
    return f'<li><span style="background:{colour}"></span>{escape(text)}</li>'
