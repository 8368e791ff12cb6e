"""What a figure is: its series and axes as data, before anything is drawn."""

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Literal

NEAR_ZERO = 0.4  # of the highest value: an axis whose lowest value is below that begins at 0


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
    """Everything that is drawn. x of bars, steps and points is the number of a category, of points also a little beside it."""

    slug: str  # of its files
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    kind: Literal["lines", "bars", "steps", "points"] = "lines"
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

    @property
    def y_range(self) -> tuple[float, float]:
        """Return the lowest and the highest value of the y axis: 0 where the values come near it, which is then not cut."""
        points = [y for points in self.shown for _, y, _ in points]
        ends = [end for series in self.series for both in series.ends for end in both if self.holds((1.0, end))]
        level = [self.reference[1]] if self.reference is not None and self.holds((1.0, self.reference[1])) else []
        found = [*points, *ends, *level] or [0.0, 1.0]
        low, high = min(found), max(found)
        return (0.0, high) if not self.log_y and 0 <= low < NEAR_ZERO * high else (low, high)

    @property
    def is_cut(self) -> bool:
        """Return whether the y axis begins above 0, which its figure then says."""
        return self.kind in ("lines", "points") and not self.log_y and self.y_range[0] > 0

    @property
    def y_said(self) -> str:
        """Return the name of the y axis, with what a reader must know of how it is drawn."""
        said = "axis is cut" if self.is_cut else "logarithmic" if self.log_y else ""
        return f"{self.y_label} ({said})" if said else self.y_label

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
