"""Draw a figure small and fast, as SVG of its own: for pages of runs and the index, which have many of them.

Tables have matplotlib's figures. These take a millisecond each, need no library, and have the same marks for the page's script.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from roberta_lab.config.formatting import compact, short
from roberta_lab.reports.figures.drawing import COLOURS, GREYS
from roberta_lab.reports.figures.figure import Figure, xml_text
from roberta_lab.reports.figures.inline_svg import Inline, Key

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 22, 32  # of the frame, for numbers and names
NUM_TICKS = 4


@dataclass(frozen=True)
class Axis:
    """Where values stand along one side: `low` at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return the place of a value."""
        low, high, at = (math.log(v) if self.is_log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((at - low) / (high - low) if high > low else 0.5)

    @property
    def ticks(self) -> list[float]:
        """Return about NUM_TICKS round values between both ends; of a logarithmic axis 1, 2 and 5 times powers of ten."""
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [part * 10.0**power for power in powers for part in (1, 2, 5)]
            inside = [value for value in found if self.low <= value <= self.high]
            return inside[:: max(1, math.ceil(len(inside) / (NUM_TICKS + 1)))] or [self.low, self.high]
        step = round_step(self.high - self.low)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def round_step(width: float) -> float:
    """Return 1, 2 or 5 times a power of ten, of which about NUM_TICKS make up the width."""
    rough = width / NUM_TICKS if width > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(part * power for part in (1, 2, 5, 10) if part * power >= rough * (1 - 1e-9))


def small(figure: Figure, y_range: tuple[float, float] | None = None) -> Inline:
    """Return the figure with lines as a small one. `y_range`: the ends of the y axis, where several figures share them."""
    x, y = _axes(figure, y_range)
    label = xml_text(figure.title)
    body = "".join([*_frame(figure, x, y), *_lines(figure, x, y)])
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" class="small" '
        f"aria-label={quoteattr(label)}><title>{escape(label)}</title>{body}</svg>"
    )
    keys = tuple(Key(n, s.name, _colour(figure, n), None, None) for n, s in enumerate(figure.series))
    return Inline(figure, svg, keys if len(keys) > 1 else ())


def spark(points: Sequence[tuple[float, float]], x_end: float, y_range: tuple[float, float], said: str) -> str:
    """Return a curve without axes, with a dot at its end; `said` is what it shows, for those who do not see it."""
    width, height, edge = 120, 36, 4
    x, y = (
        Axis(0.0, x_end or 1.0, edge, width - edge),
        Axis(*y_range, height - edge, edge, is_log=0 < y_range[0] < y_range[1]),
    )
    drawn = [(x.place(a), y.place(min(max(b, y_range[0]), y_range[1]))) for a, b in points]
    end = f'<circle cx="{drawn[-1][0]:.1f}" cy="{drawn[-1][1]:.1f}" r="2.5" fill="{COLOURS[1]}"/>' if drawn else ""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" class="spark" aria-label={quoteattr(xml_text(said))}>'
        f'<path d="{_path(drawn)}" fill="none" stroke="currentColor" stroke-width="1.5"/>{end}</svg>'
    )


def _colour(figure: Figure, number: int) -> str:
    colours = GREYS if figure.series[number].published else COLOURS
    return colours[number % len(colours)]


def _axes(figure: Figure, y_range: tuple[float, float] | None) -> tuple[Axis, Axis]:
    """Return both axes: x from 0, y as the figure wants it, with a little room above."""
    across = [x for points in figure.shown for x, _, _ in points] or [1.0]
    if y_range is None:
        low, high = figure.y_range
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        cut = figure.is_cut or low < 0
        y_range = (low, high) if figure.log_y else (low - room if cut else low, high + room)
        if figure.log_y:
            y_range = (low / 1.05, high * 1.05)
    x = Axis(min(0.0, *across), max(across), LEFT, WIDTH - RIGHT)
    return x, Axis(*y_range, HEIGHT - BOTTOM, TOP, is_log=figure.log_y)


def _frame(figure: Figure, x: Axis, y: Axis) -> Iterator[str]:
    """Yield the axes with their numbers and names, and the sign of a cut axis."""
    text = 'fill="currentColor" font-family="system-ui, sans-serif" font-size="10"'
    for value in y.ticks:
        at = y.place(value)
        yield f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity=".15"/>'
        yield f'<text x="{LEFT - 5}" y="{at + 3.5:.1f}" text-anchor="end" {text}>{_tick(value)}</text>'
    for value in x.ticks:
        yield f'<text x="{x.place(value):.1f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle" {text}>{_tick(value)}</text>'
    bottom = HEIGHT - BOTTOM
    yield f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="currentColor" stroke-opacity=".6"/>'
    if figure.is_cut:
        yield f'<path class="cut" d="M{LEFT - 4} {bottom - 5}l8 -4M{LEFT - 4} {bottom - 9}l8 -4" stroke="currentColor"/>'
    yield f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end" {text}>{escape(xml_text(figure.x_label))}</text>'
    yield f'<text x="4" y="11" {text}>{escape(xml_text(figure.y_said))}</text>'
    if figure.reference is not None and y.low <= figure.reference[1] <= y.high:
        name, level = figure.reference
        at = y.place(level)
        yield f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-dasharray="1 3"/>'
        yield f'<text x="{WIDTH - RIGHT}" y="{at - 3:.1f}" text-anchor="end" {text}>{escape(xml_text(name))}</text>'


def _lines(figure: Figure, x: Axis, y: Axis) -> Iterator[str]:
    """Yield a group for each series: a band from the smallest to the largest values, the line, and a mark for each value."""
    for number, points in enumerate(figure.shown):
        series, colour = figure.series[number], _colour(figure, number)
        drawn = [(x.place(a), y.place(b)) for a, b, _ in points]
        yield f'<g data-series="{number}">'
        if len(series.ends) == len(points) and all(figure.holds((1.0, end)) for ends in series.ends for end in ends):
            low, high = zip(*series.ends, strict=True) if series.ends else ((), ())
            across = [place for place, _ in drawn]
            around = [*zip(across, map(y.place, high), strict=True)]
            around += reversed([*zip(across, map(y.place, low), strict=True)])
            yield f'<path d="{_path(around)}Z" fill="{colour}" fill-opacity=".2"/>' if around else ""
        yield f'<path d="{_path(drawn)}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>'
        radius = 2 if len(points) <= 25 else 0.8
        for (a, b, note), (across_at, up) in zip(points, drawn, strict=True):
            said = xml_text(f"{note or compact(b)}, {figure.x_label} {compact(a, digits=6)}")
            name = f"{xml_text(series.name)}: " if len(figure.series) > 1 else ""
            tip = quoteattr(name + said)
            yield f'<circle cx="{across_at:.1f}" cy="{up:.1f}" r="{radius}" fill="{colour}" data-tip={tip}/>'
        yield "</g>"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points) if points else ""


def _tick(value: float) -> str:
    if abs(value) >= 10_000:
        return short(value).replace("K", "k")
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 0.001 else f"{round(value, 6):g}"
