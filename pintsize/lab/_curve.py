"""The size-quality curve as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from pintsize.lab._labels import Box, place_labels

__all__ = ["COLOURS", "Mark", "draw_curve"]

COLOURS: Mapping[str, str] = {
    "full": "#4b5563",
    "quantization": "#1d5fa6",
    "codebooks": "#0f766e",
    "decomposition": "#7e3fa8",
    "dimension": "#8a5a00",
    "sharing": "#9d174d",
    "partition": "#9d174d",
    "pair": "#c2410c",
}
"""One colour a family, each readable as text on white."""

Scale: TypeAlias = Callable[[float], float]
"""From a ratio or a share to pixels."""

_WIDTH, _HEIGHT = 980, 560
_PLOT = Box(72, 16, 964, 496)


class Mark(NamedTuple):
    """A point of the curve.

    Attributes:
        series: Points of one series are joined, and named once.
        family: Gives the colour.
        title: What a reader sees who points at it.
        ratio: How many times smaller than float32, at least 1.
        share: Of the quality of float32, 1 being the same.
    """

    series: str
    family: str
    title: str
    ratio: float
    share: float


def draw_curve(marks: Sequence[Mark], *, x_title: str, y_title: str, title: str, description: str) -> str:
    """The marks over a logarithmic axis of size, as one ``<svg>`` element that needs nothing else."""
    top_exponent = max(1, math.ceil(math.log2(max(m.ratio for m in marks)) - 1e-9))
    low = math.floor(min(min(m.share for m in marks), 0.95) * 20 - 0.2) / 20
    high = max(1.02, max(m.share for m in marks) + 0.01)

    def x(ratio: float) -> float:
        return _PLOT.left + 24 + (_PLOT.right - _PLOT.left - 60) * math.log2(max(ratio, 1)) / top_exponent

    def y(share: float) -> float:
        return _PLOT.bottom - (_PLOT.bottom - _PLOT.top) * (share - low) / (high - low)

    series: dict[str, list[Mark]] = {}
    for mark in sorted(marks, key=lambda m: m.ratio):
        series.setdefault(mark.series, []).append(mark)
    spots = {name: [(x(m.ratio), y(m.share)) for m in own] for name, own in series.items()}
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="curve-title curve-description" '
        'xmlns="http://www.w3.org/2000/svg">',
        f'<title id="curve-title">{escape(title)}</title>',
        f'<desc id="curve-description">{escape(description)}</desc>',
        *_axes(x, y, top_exponent, low, high, x_title, y_title),
    ]
    order = sorted(series, key=lambda name: series[name][0].family == "pair")
    for name in order:
        parts += _series(series[name], spots[name])
    parts += _names(series, spots)
    return "\n".join([*parts, "</svg>"])


def _axes(x: Scale, y: Scale, top_exponent: int, low: float, high: float, x_title: str, y_title: str) -> list[str]:
    parts = []
    step = 0.05 if high - low <= 0.5 else 0.1
    for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        share = index * step
        weight = ' class="even"' if abs(share - 1) < 1e-9 else ' class="grid"'
        parts.append(f'<line{weight} x1="{_PLOT.left}" x2="{_PLOT.right}" y1="{y(share):.1f}" y2="{y(share):.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_PLOT.left - 10}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        )
    for exponent in range(top_exponent + 1):
        at = x(2**exponent)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_PLOT.top}" y2="{_PLOT.bottom}"/>')
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{_PLOT.bottom + 20}" text-anchor="middle">{2**exponent}×</text>'
        )
    middle = (_PLOT.left + _PLOT.right) / 2
    parts.append(f'<text class="axis" x="{middle}" y="{_HEIGHT - 14}" text-anchor="middle">{escape(x_title)}</text>')
    half = (_PLOT.top + _PLOT.bottom) / 2
    parts.append(
        f'<text class="axis" transform="translate(18 {half}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>'
    )
    return parts


def _series(marks: Sequence[Mark], spots: Sequence[tuple[float, float]]) -> list[str]:
    colour, wide = COLOURS[marks[0].family], marks[0].family == "pair"
    parts = []
    if len(spots) > 1:
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{2.5 if wide else 1.5}"/>')
    for mark, (px, py) in zip(marks, spots, strict=True):
        parts.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{6 if wide else 4.5}" fill="{colour}" stroke="#fff" '
            f'stroke-width="1.5"><title>{escape(mark.title)}</title></circle>'
        )
    return parts


def _names(series: Mapping[str, Sequence[Mark]], spots: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    dots = [spot for own in spots.values() for spot in own]
    lines = [pair for own in spots.values() for pair in pairwise(own)]
    # The smallest table of a series is where it is furthest from the others.
    order = sorted(series, key=lambda name: (series[name][0].family != "pair", len(spots[name]), name))
    labels = place_labels([(name, spots[name][::-1]) for name in order], dots, lines, _PLOT)
    parts = []
    for label in labels:
        mark = series[label.text][0]
        (px, py), box = label.anchor, label.box
        if box.distance(px, py) > 12:
            nx, ny = min(max(px, box.left), box.right), min(max(py, box.top), box.bottom)
            parts.append(f'<line class="leader" x1="{px:.1f}" y1="{py:.1f}" x2="{nx:.1f}" y2="{ny:.1f}"/>')
        bold = ' font-weight="700"' if mark.family == "pair" else ""
        middle = (box.left + box.right) / 2
        parts.append(
            f'<text class="name" x="{middle:.1f}" y="{box.bottom - 4:.1f}" text-anchor="middle" '
            f'fill="{COLOURS[mark.family]}"{bold}>{escape(label.text)}</text>'
        )
    return parts
