"""What a figure is: its series and axes as data, before anything is drawn."""

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Series:
    """A line of points, or the bars of one row."""

    name: str
    points: tuple[tuple[float, float], ...]
    notes: tuple[str, ...] = ()  # of each point, where a number is not enough
    published: bool = False
    joined: bool = True  # a line through the points
    ends: tuple[tuple[float, float], ...] = ()  # smallest and largest value at each point


@dataclass(frozen=True)
class Figure:
    """Everything that is drawn. x of bars and steps is the number of a category."""

    slug: str  # of its files
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    kind: Literal["lines", "bars", "steps"] = "lines"
    categories: tuple[str, ...] = ()
    reference: tuple[str, float] | None = None  # a dotted level
    places: tuple[tuple[str, float], ...] = ()  # dotted verticals: what happens at an x
    log_x: bool = False
    log_y: bool = False
    note: str = ""  # below it: what the numbers are

    @property
    def salt(self) -> str:
        """Return what sets the ids of one figure in a page apart from another's."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]

    def holds(self, point: tuple[float, float]) -> bool:
        """Return whether the axes can hold a point: finite, and positive where they are logarithmic."""
        x, y = point
        return math.isfinite(x) and math.isfinite(y) and (x > 0 or not self.log_x) and (y > 0 or not self.log_y)

    @property
    def shown(self) -> list[list[tuple[float, float, str]]]:
        """Return, for each series, the (x, y, note) points that the axes can hold."""
        noted = [zip(s.points, s.notes or ("",) * len(s.points), strict=True) for s in self.series]
        return [[(*point, note) for point, note in pairs if self.holds(point)] for pairs in noted]


def xml_text(text: str) -> str:
    """Return text without the characters that XML forbids."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\N{REPLACEMENT CHARACTER}", text)
