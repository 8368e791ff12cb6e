"""Draw a figure by matplotlib: SVG and PNG files, and SVG for a page whose marks know their values.

Equal numbers give equal bytes. Text stays text, dark mode keeps it readable, and the colour-blind can tell series apart.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

from roberta_lab.reports.figures.figure import Figure, xml_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Okabe and Ito's colours; each with a line style and a mark of its own.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
STYLES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))  # 5 beside 6: thirty lines before a pair repeats
MARKS = ("o", "s", "^", "D", "v", "P", "X")
GREYS = ("#8a8a8a", "#b9b9b9", "#666666")  # of published figures, which are not ours
NEAR = 0.08  # of a logarithmic axis: closer marks are one place


def style(figure: Figure, number: int) -> dict[str, Any]:
    """Return colour, line and mark of a series, as matplotlib's keywords."""
    series = figure.series[number]
    if series.published and figure.kind == "lines" and len(series.points) > 12:  # a formula on top of what was counted
        return {"color": "#000000", "linestyle": ":", "marker": "", "linewidth": 1.2, "zorder": 3}
    like = sum(before.published == series.published for before in figure.series[:number])
    colours, place = (GREYS, number) if series.published else (COLOURS, like)
    return {
        "color": colours[like % len(colours)],
        "linestyle": STYLES[place % len(STYLES)],
        "marker": MARKS[place % len(MARKS)],
    }


def plain(text: str) -> str:
    """Return text that matplotlib draws as it is: no formula, and no leading underscore, which hides a line from the legend."""
    return re.sub("^_", "\N{WORD JOINER}_", xml_text(text)).replace("$", r"\$")


def svg_for_page(figure: Figure) -> str:
    """Return raw SVG without a legend, which the page has. The id of a group of marks names its series: `series0`, `series0.1`."""
    with _drawn(figure, legend=False) as drawn:
        return _saved(drawn, "svg", transparent=True).decode()


def files(figure: Figure) -> dict[str, bytes]:
    """Return the content of `SLUG.svg` and `SLUG.png`, with a legend, on white."""
    with _drawn(figure, legend=True) as drawn:
        return {f"{figure.slug}.{kind}": _saved(drawn, kind) for kind in ("svg", "png")}


def _saved(drawn: Canvas, kind: str, transparent: bool = False) -> bytes:
    written = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    drawn.savefig(written, format=kind, transparent=transparent, metadata=metadata, dpi=200)
    return written.getvalue()


@contextmanager
def _drawn(figure: Figure, legend: bool) -> Iterator[Canvas]:
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": figure.salt}
    settings |= {"font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's fonts draw it
        canvas = Canvas(figsize=(6.4, 3.6 + (0.5 if legend else 0)), layout="constrained")
        axes = canvas.add_subplot()
        {"lines": _lines, "bars": _bars, "steps": _steps, "points": _points}[figure.kind](axes, figure)
        _dress(axes, figure)
        if legend:
            axes.set_title(plain(figure.title), fontsize=10, loc="left")
            if axes.get_legend_handles_labels()[0]:
                canvas.legend(loc="outside lower left", frameon=False, ncols=3, fontsize=8)
        yield canvas


def _dress(axes: Axes, figure: Figure) -> None:
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

    if figure.reference is not None and figure.holds((1.0, figure.reference[1])):
        name, level = figure.reference
        axes.axhline(level, color="black", linewidth=1, linestyle=(0, (1, 3)), label=plain(name))
        if figure.kind in ("lines", "points"):
            ends = ("axes fraction", "data")
            axes.annotate(plain(name), (0.995, level), xycoords=ends, ha="right", va="bottom", fontsize=8)
    for name, x in figure.places:
        axes.axvline(x, color="black", linewidth=1, linestyle=(0, (1, 3)))
        ends = ("data", "axes fraction")
        axes.annotate(
            plain(name), (x, 0.98), xytext=(3, 0), xycoords=ends, textcoords="offset points", va="top", fontsize=8
        )
    axes.set(xlabel=plain(figure.x_label), ylabel=plain(figure.y_said))
    _begin(axes, figure)
    if figure.categories:
        axes.set_xticks(range(len(figure.categories)), [plain(name) for name in figure.categories])
        if len(figure.categories) > 6 or max(map(len, figure.categories)) > 14:
            for label in axes.get_xticklabels():
                label.set(rotation=30, ha="right", rotation_mode="anchor")
    else:
        axes.set_xscale("log" if figure.log_x else "linear")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())
        places = sorted(set(_places(figure).values())) if figure.log_x else []
        if 0 < len(places) <= 8:  # numbers also where the axis spans less than a decade
            axes.set_xticks(places, [EngFormatter(sep="")(float(f"{x:.3g}")) for x in places])
            axes.set_xticks([], minor=True)
    axes.set_yscale("log" if figure.log_y else "linear")
    if figure.log_y:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, axis="y" if figure.categories else "both")
    axes.set_axisbelow(True)


def _begin(axes: Axes, figure: Figure) -> None:
    """Let the axes begin at 0 where values come near it; else mark the y axis as cut."""
    if figure.kind in ("bars", "steps"):
        return  # which stand on 0
    if figure.is_cut:
        look: dict[str, Any] = {"marker": [(-1, -0.5), (1, 0.5)], "markersize": 8, "color": "black", "clip_on": False}
        axes.plot([0, 0], [0.02, 0.045], transform=axes.transAxes, linestyle="none", markeredgewidth=1, **look)
    elif not figure.log_y and figure.y_range[0] == 0:
        axes.set_ylim(bottom=0)
    across = [x for points in figure.shown for x, _, _ in points]
    if not figure.log_x and not figure.categories and across and min(across) >= 0:
        axes.set_xlim(left=0)


def _places(figure: Figure) -> dict[float, float]:
    """Return where each x of the marks is named: at the smallest x close to it, since names would cover each other."""
    values = sorted({x for points in figure.shown for x, _, _ in points})
    near = (values[-1] / values[0]) ** NEAR if figure.log_x and values else 1.0
    found: dict[float, float] = {}
    place = 0.0
    for x in values:
        place = place if 0 < x <= place * near else x
        found[x] = place
    return found


def _lines(axes: Axes, figure: Figure) -> None:
    for number, points in enumerate(figure.shown):
        series, look = figure.series[number], style(figure, number)
        if not series.joined:
            look["linestyle"] = "none"
        x, y = zip(*((x, y) for x, y, _ in points), strict=True) if points else ((), ())
        size = 3 if len(points) > 12 else 5
        axes.plot(x, y, markersize=size, label=plain(series.name), gid=f"series{number}", **look)
        if series.ends:
            lows, highs = zip(*series.ends, strict=True)
            axes.vlines([x for x, _ in series.points], lows, highs, color=look["color"], gid=f"series{number}.ends")
    _name_places(axes, figure)


def _name_places(axes: Axes, figure: Figure) -> None:
    """Name the rows of unjoined marks, above the highest mark at each place."""
    places, found = _places(figure), dict[float, dict[str, float]]()
    for series, points in zip(figure.series, figure.shown, strict=True):
        for x, y, note in points if not series.joined and not series.published else []:
            names = found.setdefault(places[x], {})
            name = note.partition(":")[0]
            names[name] = max(y, names.get(name, y))
    for x, names in found.items():
        above = plain("\n".join(sorted(names, key=names.__getitem__, reverse=True)))  # as their highest marks are
        highest = (x, max(names.values()))
        axes.annotate(above, highest, xytext=(0, 6), textcoords="offset points", ha="center", fontsize=7)
    if found:
        axes.margins(x=0.12, y=0.2)


def _points(axes: Axes, figure: Figure) -> None:
    """Draw each value beside the others of its category, with a bar at their median."""
    for number, points in enumerate(figure.shown):
        series, look = figure.series[number], style(figure, number)
        x, y = zip(*((x, y) for x, y, _ in points), strict=True) if points else ((), ())
        axes.plot(x, y, **{**look, "linestyle": "none"}, markersize=5, label=plain(series.name), gid=f"series{number}")
        found: dict[int, list[float]] = {}
        for place, value, _ in points:
            found.setdefault(round(place), []).append(value)
        for place, values in found.items():
            axes.hlines(median(values), place - 0.3, place + 0.3, color=look["color"], linewidth=2, alpha=0.6)
    axes.set_xlim(-0.6, len(figure.categories) - 0.4)


def _bars(axes: Axes, figure: Figure) -> None:
    width = 0.8 / max(1, len(figure.series))
    for number, points in enumerate(figure.shown):
        series = figure.series[number]
        left = (number - (len(figure.series) - 1) / 2) * width
        x, heights, label = [x + left for x, _, _ in points], [y for _, y, _ in points], plain(series.name)
        hatch, edge = ("//", "white") if series.published else (None, "none")
        look = {"color": style(figure, number)["color"], "hatch": hatch, "edgecolor": edge, "linewidth": 0}
        drawn = axes.bar(x, heights, width, label=label, **look)
        for i, bar in enumerate(drawn):
            bar.set_gid(f"series{number}.{i}")
        for middle, (low, high) in zip(x, series.ends, strict=False):
            [line] = axes.plot([middle] * 2, [low, high], color="black", linewidth=1)
            line.set_gid(f"series{number}.ends")


def _steps(axes: Axes, figure: Figure) -> None:
    """Draw a waterfall of one series: each bar begins where the one before it ended; x counts categories."""
    from matplotlib.transforms import offset_copy

    [points], before = figure.shown[:1], 0.0
    for i, (x, y, note) in enumerate(points):
        # From its lower end up: no margin is left beyond the other end of a bar that begins at it.
        colour = COLOURS[2] if y >= before else COLOURS[1]
        hatch = "//" if figure.series[0].published else None
        [bar] = axes.bar([x], [abs(y - before)], 0.6, min(y, before), color=colour, hatch=hatch, edgecolor="white")
        bar.set_linewidth(0.6)
        bar.set_gid(f"series0.{i}")
        word = plain(note.partition(":")[0])
        place = offset_copy(axes.transData, axes.get_figure(root=True), y=2, units="points")
        axes.text(x, max(y, before), word, transform=place, ha="center", fontsize=8)
        if i:
            axes.plot([x - 0.7, x - 0.3], [before, before], color="black", linewidth=0.6)
        before = y
    axes.margins(y=0.25)
