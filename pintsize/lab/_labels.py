"""Where the names of points go in a chart, so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Box", "Label", "place_labels"]

_DISTANCES = (6, 12, 20, 34, 46, 60, 76, 94, 114, 136, 160)
_DIRECTIONS = 16


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def inside(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )

    def distance(self, x: float, y: float) -> float:
        """From the point to the nearest spot of the rectangle; 0 within."""
        return math.hypot(max(self.left - x, 0, x - self.right), max(self.top - y, 0, y - self.bottom))


@dataclass(frozen=True)
class Label:
    """A name at its place.

    Attributes:
        text: The name.
        anchor: The point it names.
        box: Where it stands.
    """

    text: str
    anchor: tuple[float, float]
    box: Box


def place_labels(
    wanted: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    dots: Sequence[tuple[float, float]],
    lines: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    frame: Box,
    *,
    character: float = 8.2,
    height: float = 16,
) -> list[Label]:
    """Places each name beside one of the points it may name, clear of names and dots and of lines where possible.

    Args:
        wanted: Names, each with the points that it may stand beside, the best first.
        dots: Points that no name may cover.
        lines: Segments that names should not cross.
        frame: Where names may stand.
        character: Width of a character, in pixels.
        height: Height of a name, in pixels.

    Returns:
        The labels, in the order of `wanted`. One for which no place is clear stands where least is covered.
    """
    placed: list[Label] = []
    for text, anchors in wanted:
        width = character * len(text)
        best: tuple[float, Label] | None = None
        for rank, (x, y) in enumerate(anchors):
            for distance in _DISTANCES:
                for step in range(_DIRECTIONS):
                    box = _beside(x, y, distance, 2 * math.pi * step / _DIRECTIONS, width, height)
                    cost = 12.0 * rank + distance
                    cost += 1e6 * (not box.inside(frame))
                    cost += 1e4 * sum(box.overlaps(other.box) for other in placed)
                    cost += 1e3 * sum(box.distance(*dot) < 6 for dot in dots)
                    cost += 25 * sum(_crosses(line, box) for line in lines)
                    if best is None or cost < best[0]:
                        best = cost, Label(text, (x, y), box)
        if best is not None:
            placed.append(best[1])
    return placed


def _beside(x: float, y: float, distance: float, angle: float, width: float, height: float) -> Box:
    """A rectangle whose edge lies `distance` from the point, in the given direction."""
    dx, dy = math.cos(angle), math.sin(angle)
    middle_x = x + dx * (distance + width / 2)
    middle_y = y + dy * (distance + height / 2)
    return Box(middle_x - width / 2, middle_y - height / 2, middle_x + width / 2, middle_y + height / 2)


def _crosses(line: tuple[tuple[float, float], tuple[float, float]], box: Box) -> bool:
    (x0, y0), (x1, y1) = line
    steps = max(2, int(math.hypot(x1 - x0, y1 - y0) / 4))
    spots = ((x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps) for i in range(steps + 1))
    return any(box.left < x < box.right and box.top < y < box.bottom for x, y in spots)
